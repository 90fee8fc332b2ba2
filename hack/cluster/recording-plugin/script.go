package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rule says how calls are answered. The first rule that fits a call, or for the two node methods a claim of it,
// is used.
type rule struct {
	// Method is the last part of the method's name.
	Method string `json:"method"`
	// Claim is the name of the claim; empty fits every claim and methods without claims.
	Claim string `json:"claim"`
	// Times is how often the rule is used before it is over; zero is for ever.
	Times int `json:"times"`
	// DelayMillis is waited before the answer, as far as the caller's deadline allows.
	DelayMillis int64 `json:"delayMillis"`
	// Hold waits for the command release of this name, as far as the caller's deadline allows.
	Hold string `json:"hold"`
	// Code and Message are the gRPC status with which the whole call fails; empty lets it succeed.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Error is the answer for the claim alone.
	Error string `json:"error"`
	// Omit leaves the claim out of the answer.
	Omit bool `json:"omit"`
	// Devices is what a prepared claim consists of.
	Devices []device `json:"devices"`
}

// device is one device of a prepared claim.
type device struct {
	Requests []string `json:"requests"`
	Pool     string   `json:"pool"`
	Device   string   `json:"device"`
	// CDI are the device's ids.
	CDI []string `json:"cdi"`
	// Nodes are written into the CDI spec of each of the ids.
	Nodes []node `json:"nodes"`
}

// node is a device node as a CDI spec describes it.
type node struct {
	Path     string `json:"path"`
	HostPath string `json:"hostPath,omitempty"`
	Type     string `json:"type,omitempty"`
	Major    int64  `json:"major,omitempty"`
	Minor    int64  `json:"minor,omitempty"`
}

// errGaveUp is what is recorded, and nobody reads, when the caller ends a call that waits. Whether its own clock or
// the server's comes first differs from run to run, so the record does not tell.
var errGaveUp = status.Error(codes.Canceled, "the caller gave up")

// statusCodes are the gRPC codes that a rule can name.
var statusCodes = map[string]codes.Code{
	"CANCELLED": codes.Canceled, "UNKNOWN": codes.Unknown, "INVALID_ARGUMENT": codes.InvalidArgument,
	"DEADLINE_EXCEEDED": codes.DeadlineExceeded, "NOT_FOUND": codes.NotFound, "INTERNAL": codes.Internal,
	"FAILED_PRECONDITION": codes.FailedPrecondition, "UNAVAILABLE": codes.Unavailable,
	"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "UNIMPLEMENTED": codes.Unimplemented,
}

// script is the rules in force and the holds that calls wait for.
type script struct {
	mutex sync.Mutex
	rules []rule
	used  []int
	holds map[string]chan struct{}
}

func newScript(rules []rule) *script {
	s := &script{holds: map[string]chan struct{}{}}
	s.replace(rules)
	return s
}

// replace puts new rules in force; what was used of the old ones is forgotten.
func (s *script) replace(rules []rule) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.rules = rules
	s.used = make([]int, len(rules))
}

// release lets the calls go on that wait for a name, and those that will.
func (s *script) release(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	hold := s.hold(name)
	select {
	case <-hold:
	default:
		close(hold)
	}
}

// hold returns the channel of a name; the mutex is held.
func (s *script) hold(name string) chan struct{} {
	if s.holds[name] == nil {
		s.holds[name] = make(chan struct{})
	}
	return s.holds[name]
}

// use finds the rule for a call or claim, counts its use and waits as it says. Without a rule it returns nil.
func (s *script) use(ctx context.Context, method, claim string) (*rule, error) {
	r, hold := s.find(method, claim)
	if r == nil {
		return nil, nil
	}
	if r.DelayMillis > 0 {
		select {
		case <-time.After(time.Duration(r.DelayMillis) * time.Millisecond):
		case <-ctx.Done():
			return nil, errGaveUp
		}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, errGaveUp
		}
	}
	if r.Code != "" {
		code, ok := statusCodes[r.Code]
		if !ok {
			return nil, fmt.Errorf("the script names the unknown gRPC code %q", r.Code)
		}
		return nil, status.Error(code, r.Message)
	}
	return r, nil
}

func (s *script) find(method, claim string) (*rule, chan struct{}) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for i := range s.rules {
		r := &s.rules[i]
		if r.Method != method || (r.Claim != "" && r.Claim != claim) || (r.Times > 0 && s.used[i] >= r.Times) {
			continue
		}
		s.used[i]++
		if r.Hold != "" {
			return r, s.hold(r.Hold)
		}
		return r, nil
	}
	return nil, nil
}
