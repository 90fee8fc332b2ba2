// The reference for device selectors: Kubernetes' own compiler, asked over stdin and stdout.
//
// A line in is {"expression", "device", "features"}, a line out one of
//
//	{"compileError": "..."}
//	{"result": true, "cost": 7}
//	{"evalError": "...", "cost": 7}
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/cel"
)

// compiler is what the package makes and does not name.
type compiler interface {
	CompileCELExpression(expression string, options cel.Options) cel.CompilationResult
}

type question struct {
	Expression string   `json:"expression"`
	Device     device   `json:"device"`
	Features   features `json:"features"`
}

type device struct {
	Driver                   string                                                     `json:"driver"`
	AllowMultipleAllocations *bool                                                      `json:"allowMultipleAllocations"`
	Attributes               map[resourceapi.QualifiedName]resourceapi.DeviceAttribute `json:"attributes"`
	Capacity                 map[resourceapi.QualifiedName]resourceapi.DeviceCapacity  `json:"capacity"`
}

type features struct {
	ConsumableCapacity bool `json:"consumableCapacity"`
	ListAttributes     bool `json:"listAttributes"`
}

type answer struct {
	InputError   string  `json:"inputError,omitempty"`
	CompileError string  `json:"compileError,omitempty"`
	EvalError    string  `json:"evalError,omitempty"`
	Result       *bool   `json:"result,omitempty"`
	Cost         *uint64 `json:"cost,omitempty"`
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	compilers := map[features]compiler{}
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var asked question
			reply := answer{}
			if wrong := json.Unmarshal(line, &asked); wrong != nil {
				reply.InputError = wrong.Error()
			} else {
				reply = ask(compilers, asked)
			}
			if wrong := json.NewEncoder(out).Encode(reply); wrong != nil {
				fmt.Fprintln(os.Stderr, wrong)
				os.Exit(1)
			}
			if lines.Buffered() == 0 {
				out.Flush()
			}
		}
		if err != nil {
			out.Flush()
			return
		}
	}
}

func ask(compilers map[features]compiler, asked question) (reply answer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			reply = answer{EvalError: fmt.Sprintf("panic: %v", panicked)}
		}
	}()
	with := compilers[asked.Features]
	if with == nil {
		with = cel.GetCompiler(cel.Features{
			EnableConsumableCapacity: asked.Features.ConsumableCapacity,
			EnableListTypeAttributes: asked.Features.ListAttributes,
		})
		compilers[asked.Features] = with
	}
	compiled := with.CompileCELExpression(asked.Expression, cel.Options{DisableCostEstimation: true})
	if compiled.Error != nil {
		return answer{CompileError: compiled.Error.Error()}
	}
	limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	matches, details, err := compiled.DeviceMatches(limit, cel.Device{
		Driver:                   asked.Device.Driver,
		AllowMultipleAllocations: asked.Device.AllowMultipleAllocations,
		Attributes:               asked.Device.Attributes,
		Capacity:                 asked.Device.Capacity,
	})
	if details != nil {
		reply.Cost = details.ActualCost()
	}
	if err != nil {
		reply.EvalError = err.Error()
		return reply
	}
	reply.Result = &matches
	return reply
}
