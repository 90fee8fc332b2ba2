// Command allocator-oracle answers allocation cases with upstream's structured allocator, the one in the scheduler.
// The conformance suite compares our allocator with it.
//
// Standard input takes one case a line (type testCase), standard output gives one answer a line (type answer) in the
// same order. Cases are answered side by side unless -workers says otherwise.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"k8s.io/dynamic-resource-allocation/structured"
)

// maxLine bounds one case: a cluster of 500 nodes takes some megabytes.
const maxLine = 1 << 30

// settings are the flags.
type settings struct {
	// timeout is what one Allocate gets. The scheduler gives 10 s.
	timeout time.Duration
	// workers is how many cases are answered at once.
	workers int
	// count makes answers say how many chosen devices the search took back. That costs time, so it is off for
	// measurements.
	count bool
}

func main() {
	var flags settings
	flag.DurationVar(&flags.timeout, "timeout", 10*time.Second, "what one case gets; the answer is then {\"timeout\":true}")
	flag.IntVar(&flags.workers, "workers", runtime.NumCPU(), "how many cases are answered at once")
	flag.BoolVar(&flags.count, "count-taken-back", false, "say how many chosen devices the search took back")
	flag.Parse()
	if flag.NArg() > 0 || flags.workers < 1 || flags.timeout <= 0 {
		fmt.Fprintln(os.Stderr, "allocator-oracle takes no arguments, and -workers and -timeout must be above zero; see -help")
		os.Exit(2)
	}
	// The scheduler takes the variant "stable" where a cluster has switched off what the others add. That one tries
	// pools in an order that is random, so its answers can be compared with nobody's.
	structured.EnableAllocators("incubating", "experimental")
	if err := serve(os.Stdin, os.Stdout, flags); err != nil {
		fmt.Fprintf(os.Stderr, "allocator-oracle: %v\n", err)
		os.Exit(1)
	}
}

// task is one line on its way to its answer.
type task struct {
	line   []byte
	answer chan []byte
}

// serve answers until the input ends.
func serve(input io.Reader, output io.Writer, flags settings) error {
	tasks := make(chan task)
	// In the order of the input: the writer waits for each answer in turn.
	pending := make(chan task, 4*flags.workers)
	expressions := newExpressions()
	for range flags.workers {
		go func() {
			for task := range tasks {
				task.answer <- answerLine(task.line, expressions, flags)
			}
		}()
	}

	readError := make(chan error, 1)
	go func() {
		defer close(pending)
		defer close(tasks)
		lines := bufio.NewScanner(input)
		lines.Buffer(make([]byte, 1<<20), maxLine)
		for lines.Scan() {
			next := task{line: append([]byte(nil), lines.Bytes()...), answer: make(chan []byte, 1)}
			pending <- next
			tasks <- next
		}
		readError <- lines.Err()
	}()

	writer := bufio.NewWriter(output)
	for next := range pending {
		if _, err := writer.Write(append(<-next.answer, '\n')); err != nil {
			return fmt.Errorf("cannot write an answer: %w", err)
		}
		// Whoever asks one case at a time waits for its answer.
		if len(pending) == 0 {
			if err := writer.Flush(); err != nil {
				return fmt.Errorf("cannot write an answer: %w", err)
			}
		}
	}
	if err := <-readError; err != nil {
		return fmt.Errorf("cannot read a case: %w", err)
	}
	return writer.Flush()
}

// answerLine answers one case as JSON.
func answerLine(line []byte, expressions *expressions, flags settings) []byte {
	var given testCase
	var reply answer
	if err := decode(line, &given); err != nil {
		reply = answer{Error: fmt.Sprintf("this line is no case: %v", err), Kind: "input"}
	} else {
		reply = solve(&given, expressions, flags)
		reply.ID = given.ID
	}
	text, err := json.Marshal(reply)
	if err != nil {
		text, _ = json.Marshal(answer{Error: fmt.Sprintf("cannot write the answer: %v", err), Kind: "input"})
	}
	return text
}
