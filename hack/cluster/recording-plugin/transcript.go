package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// call is one line of the transcript. Lines are written when calls end.
type call struct {
	// Number counts the calls in the order in which they came in, from 1.
	Number int `json:"number"`
	// Method is the full name, as in /package.Service/Method.
	Method string `json:"method"`
	// Authority is the :authority header.
	Authority string `json:"authority"`
	// Deadline is the seconds that the caller gave, rounded; nil is no deadline.
	Deadline *int64 `json:"deadline"`
	// Request is the message as JSON.
	Request json.RawMessage `json:"request,omitempty"`
	// Answer is the message as JSON; for a stream the list of its messages.
	Answer json.RawMessage `json:"answer,omitempty"`
	// Code and Error are set when the call failed.
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

// transcript writes calls to a file and events to standard output.
type transcript struct {
	mutex sync.Mutex
	file  *os.File
	out   io.Writer
	calls int
}

func newTranscript(path string, out io.Writer) (*transcript, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the transcript: %w", err)
	}
	return &transcript{file: file, out: out}, nil
}

func (t *transcript) close() {
	t.file.Close()
}

// emit writes an event. Nobody is left to read a failure to write it: the reader of standard output is gone.
func (t *transcript) emit(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		line = []byte(fmt.Sprintf(`{"event":"failed","error":%q}`, err.Error()))
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.out.Write(append(line, '\n'))
}

// begin records that a call came in.
func (t *transcript) begin(ctx context.Context, method string) *call {
	t.mutex.Lock()
	t.calls++
	c := &call{Number: t.calls, Method: method}
	t.mutex.Unlock()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for _, authority := range md.Get(":authority") {
			c.Authority = authority
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		seconds := int64(math.Round(time.Until(deadline).Seconds()))
		c.Deadline = &seconds
	}
	return c
}

// end records the call's end.
func (t *transcript) end(c *call, err error) {
	if err != nil {
		s := status.Convert(err)
		c.Code = s.Code().String()
		c.Error = s.Message()
	}
	line, marshalErr := json.Marshal(c)
	if marshalErr == nil {
		t.mutex.Lock()
		t.file.Write(append(line, '\n'))
		t.mutex.Unlock()
	}
	t.emit(event{Event: "recorded", Call: c})
}

// unary records calls with one answer.
func (t *transcript) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c := t.begin(ctx, info.FullMethod)
	c.Request = asJSON(req)
	t.emit(event{Event: "started", Call: c})
	answer, err := handler(ctx, req)
	if err == nil {
		c.Answer = asJSON(answer)
	}
	t.end(c, err)
	return answer, err
}

// stream records streams when they end, and calls of services that are not served.
func (t *transcript) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c := t.begin(ss.Context(), info.FullMethod)
	t.emit(event{Event: "started", Call: c})
	recorded := &recordedStream{ServerStream: ss}
	err := handler(srv, recorded)
	if err == nil || len(recorded.sent) > 0 {
		if list, marshalErr := json.Marshal(recorded.sent); marshalErr == nil {
			c.Answer = list
		}
	}
	t.end(c, err)
	return err
}

// recordedStream keeps what was sent.
type recordedStream struct {
	grpc.ServerStream
	sent []json.RawMessage
}

// SendMsg keeps a message once it is sent.
func (r *recordedStream) SendMsg(m any) error {
	err := r.ServerStream.SendMsg(m)
	if err == nil {
		r.sent = append(r.sent, asJSON(m))
	}
	return err
}

// asJSON is a message in protobuf's JSON with the names of the .proto file.
func asJSON(message any) json.RawMessage {
	m, ok := message.(proto.Message)
	if !ok {
		return json.RawMessage(`"not a message"`)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return json.RawMessage(`"not to be marshalled"`)
	}
	return text
}
