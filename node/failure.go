package node

import (
	"errors"
	"fmt"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
)

// failureOf gives what a client is told about an error of the shard.
func failureOf(err error) protocol.Failure {
	code := protocol.CodeInternal
	var memory *shard.NoMemoryError
	var context *shard.ContextFullError
	var infinite *shard.NotFiniteError
	switch {
	case errors.As(err, &memory):
		code = protocol.CodeNoMemory
	case errors.As(err, &context):
		code = protocol.CodeContextFull
	case errors.As(err, &infinite):
		code = protocol.CodeBadInput
	}
	return protocol.Failure{Code: code, Text: protocol.CleanText(err.Error(), protocol.MaxTextBytes)}
}

// fail makes f the answer to the step.
func (j *job) fail(f protocol.Failure) {
	f.Epoch, f.Number = j.in.Epoch, j.in.Number
	j.failure = &f
}

// suspect says whose fault a failure may be besides this node's: input that is not right comes from the hop before, even if
// the owner has passed it on; where there is none, a step that breaks the protocol is the owner's, and numbers that are not
// finite are this node's. Called with the mutex held.
func (h *hop) suspect(f *protocol.Failure) {
	prev := h.books.Prev()
	switch {
	case prev == "" && f.Code == protocol.CodeBadInput:
		f.Code = protocol.CodeInternal
	case prev != "" && (f.Code == protocol.CodeBadInput || f.Code == protocol.CodeBadRequest):
		f.Code, f.Suspect = protocol.CodeBadInput, prev
	}
}

func refusal(code protocol.Code, format string, args ...any) protocol.Failure {
	return protocol.Failure{Code: code, Text: fmt.Sprintf(format, args...)}
}

// asFailure gives the failure that an error of the session package is.
func asFailure(err error) protocol.Failure {
	var f protocol.Failure
	if !errors.As(err, &f) {
		panic(fmt.Sprintf("node: %v is not ready to be sent", err))
	}
	return f
}
