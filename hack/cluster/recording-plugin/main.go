// Command recording-plugin is a kubelet plugin for dynamic resource allocation whose answers are scripted and
// which records every call that it gets. The end-to-end tests run it against the real kubelet and against the
// stand-in, and compare the two records.
//
// It is started with the path of a JSON file (type settings). Standard input takes one JSON command a line (type
// command); standard output gives one JSON event a line (type event). It ends at the command "stop", at the end
// of standard input and at SIGTERM, and removes its sockets then.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// settings is the file that the plugin is started with.
type settings struct {
	// Driver is the name under which the plugin registers.
	Driver string `json:"driver"`
	// RegistrySockets are the sockets, by their full paths, on which GetInfo is answered.
	RegistrySockets []string `json:"registrySockets"`
	// PluginSocket is the full path of the socket of the plugin's own services.
	PluginSocket string `json:"pluginSocket"`
	// Endpoint is what GetInfo says about PluginSocket; empty says its path.
	Endpoint string `json:"endpoint"`
	// Type is what GetInfo says; empty says DRAPlugin.
	Type string `json:"type"`
	// Versions are the supported_versions of GetInfo.
	Versions []string `json:"versions"`
	// Services are those which are served: v1, v1beta1, health.v1alpha1, health.v1.
	Services []string `json:"services"`
	// CDI is the folder into which a spec is written for each prepared claim; empty writes none.
	CDI string `json:"cdi"`
	// Transcript is the file to which every call is appended.
	Transcript string `json:"transcript"`
	// Rules are the script at the start.
	Rules []rule `json:"rules"`
	// Health is the first list that each watcher gets.
	Health []deviceHealth `json:"health"`
}

// command is one line of standard input.
type command struct {
	// Do is script, health, drop, release, unregister, register or stop.
	Do string `json:"do"`
	// Rules replace the script.
	Rules []rule `json:"rules"`
	// Health replaces the list and is sent to all watchers.
	Health []deviceHealth `json:"health"`
	// Hold is the name to release.
	Hold string `json:"hold"`
}

// event is one line of standard output.
type event struct {
	// Event is ready, done, started (a call came in) or recorded (a call was answered).
	Event string `json:"event"`
	// Do is the command that is done.
	Do string `json:"do,omitempty"`
	// Error says why a command was not done.
	Error string `json:"error,omitempty"`
	// Call is the line of the transcript; for started without an answer.
	Call *call `json:"call,omitempty"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: recording-plugin SETTINGS.json; commands are read from standard input")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "recording-plugin:", err)
		os.Exit(1)
	}
}

// run serves until it is told to stop.
func run(path string, in io.Reader, out io.Writer) error {
	var s settings
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read the settings in %s: %w", path, err)
	}
	if s.Driver == "" || s.PluginSocket == "" || s.Transcript == "" {
		return fmt.Errorf("the settings in %s need driver, pluginSocket and transcript", path)
	}
	if s.Type == "" {
		s.Type = "DRAPlugin"
	}
	if s.Endpoint == "" {
		s.Endpoint = s.PluginSocket
	}
	record, err := newTranscript(s.Transcript, out)
	if err != nil {
		return err
	}
	defer record.close()
	p := newPlugin(s, record)
	if err := p.serve(); err != nil {
		return err
	}
	defer p.stop()
	record.emit(event{Event: "ready"})

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	lines := make(chan string)
	go readLines(in, lines)
	for {
		select {
		case <-signals:
			return nil
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			var c command
			done := event{Event: "done"}
			err := json.Unmarshal([]byte(line), &c)
			done.Do = c.Do
			if err == nil {
				err = p.obey(c)
			}
			if errors.Is(err, errStop) {
				p.stop()
				record.emit(done)
				return nil
			}
			if err != nil {
				done.Error = err.Error()
			}
			record.emit(done)
		}
	}
}

// readLines hands on the lines of a reader and closes the channel at its end.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines <- scanner.Text()
	}
}

// errStop is what obey returns for the command stop.
var errStop = errors.New("stop")

// obey carries out one command.
func (p *plugin) obey(c command) error {
	switch c.Do {
	case "script":
		p.script.replace(c.Rules)
	case "health":
		p.watchers.push(c.Health)
	case "drop":
		p.connections.drop()
	case "release":
		p.script.release(c.Hold)
	case "unregister":
		p.unregister()
	case "register":
		return p.register()
	case "stop":
		return errStop
	default:
		return fmt.Errorf("unknown command %q: say script, health, drop, release, unregister, register or stop", c.Do)
	}
	return nil
}

// freshSocket makes the folder of a socket and removes what an earlier plugin left at its path.
func freshSocket(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
