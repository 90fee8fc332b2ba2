package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"
)

// manyExpressions is the size of a cache of compiled expressions. The scheduler keeps ten; here, cases follow each
// other whose expressions differ, and compiling them again would measure nothing else.
const manyExpressions = 4096

// answer is one line of standard output. One of Results, NoFit, Error, Timeout and Panic says what came out.
type answer struct {
	ID      json.RawMessage                 `json:"id,omitempty"`
	Results *[]resourceapi.AllocationResult `json:"results,omitempty"`
	NoFit   *noFit                          `json:"noFit,omitempty"`
	Error   string                          `json:"error,omitempty"`
	// Kind is "input" where the case itself was not understood.
	Kind string `json:"kind,omitempty"`
	// OneNode says of an error that it does not keep the scheduler from looking at other nodes.
	OneNode bool   `json:"oneNode,omitempty"`
	Timeout bool   `json:"timeout,omitempty"`
	Panic   string `json:"panic,omitempty"`

	// Nanos is what Allocate took, and NewNanos what NewAllocator took.
	Nanos    int64 `json:"nanos,omitempty"`
	NewNanos int64 `json:"newNanos,omitempty"`
	// Samples are the times of both together where the case asks for several.
	Samples []int64 `json:"samples,omitempty"`
	// TakenBack is how many chosen devices the search took back.
	TakenBack int `json:"takenBack,omitempty"`
}

// noFit has no reasons: upstream gives none.
type noFit struct {
	Reasons []string `json:"reasons"`
}

// expressions keeps what is compiled, by the features that decide what an expression may say.
type expressions struct {
	mutex  sync.Mutex
	caches map[cel.Features]*cel.Cache
}

func newExpressions() *expressions {
	return &expressions{caches: make(map[cel.Features]*cel.Cache)}
}

func (e *expressions) of(features structured.Features) *cel.Cache {
	key := cel.Features{
		EnableConsumableCapacity: features.ConsumableCapacity,
		EnableListTypeAttributes: features.ListTypeAttributes,
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.caches[key] == nil {
		e.caches[key] = cel.NewCache(manyExpressions, key)
	}
	return e.caches[key]
}

// solve asks upstream, as often as the case wants to be measured.
func solve(given *testCase, expressions *expressions, flags settings) answer {
	features, err := given.features()
	if err != nil {
		return answer{Error: err.Error(), Kind: "input"}
	}
	reply := solveOnce(given, features, expressions, flags)
	if given.Repeat > 1 && !reply.Timeout && reply.Panic == "" {
		for range given.Repeat {
			again := solveOnce(given, features, expressions, flags)
			reply.Samples = append(reply.Samples, again.NewNanos+again.Nanos)
		}
	}
	return reply
}

func solveOnce(given *testCase, features structured.Features, expressions *expressions, flags settings) (reply answer) {
	var started time.Time
	defer func() {
		if cause := recover(); cause != nil {
			reply = answer{Panic: fmt.Sprint(cause)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), flags.timeout)
	defer cancel()
	log := &takenBack{}
	if flags.count {
		ctx = klog.NewContext(ctx, logr.New(log))
	} else {
		ctx = klog.NewContext(ctx, logr.Discard())
	}

	state := given.state()
	cache := expressions.of(features)
	started = time.Now()
	allocator, err := structured.NewAllocator(ctx, features, state, classes(given.Classes), given.Slices, cache)
	newNanos := time.Since(started).Nanoseconds()
	if err != nil {
		return answer{Error: err.Error(), NewNanos: newNanos}
	}
	started = time.Now()
	results, err := allocator.Allocate(ctx, given.Node, given.Claims)
	nanos := time.Since(started).Nanoseconds()

	reply = answer{Nanos: nanos, NewNanos: newNanos, TakenBack: log.devices}
	switch {
	// An interrupted expression need not wrap the deadline.
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil):
		reply.Timeout = true
	case err != nil:
		reply.Error = err.Error()
		reply.OneNode = errors.Is(err, structured.ErrFailedAllocationOnNode)
	case results == nil:
		reply.NoFit = &noFit{Reasons: []string{}}
	default:
		reply.Results = &results
	}
	return reply
}

// takenBack is a log that counts the devices which a search chose and took back: the allocator tells nobody but its
// log. It is of one search, so nothing runs beside it.
type takenBack struct {
	devices int
}

var _ logr.LogSink = (*takenBack)(nil)

func (t *takenBack) Init(logr.RuntimeInfo)          {}
func (t *takenBack) Enabled(int) bool               { return true }
func (t *takenBack) Error(error, string, ...any)    {}
func (t *takenBack) WithValues(...any) logr.LogSink { return t }
func (t *takenBack) WithName(string) logr.LogSink   { return t }
func (t *takenBack) Info(_ int, message string, _ ...any) {
	if message == "Device deallocated" {
		t.devices++
	}
}
