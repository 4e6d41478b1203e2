package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// Stepper computes one sequence of tokens, which it keeps. The chain of a swarm is one, a whole model in this process
// (client/local) the other; both give the same bits. A Stepper is used by one goroutine at a time.
type Stepper interface {
	// Begin makes ready for the steps of one answer: all tokens from r.Keep on are forgotten, and r's sampling holds
	// from now on. Len says how many tokens there are then: fewer than r.Keep may be left, and more may have been found
	// that r.Prompt goes on with.
	Begin(ctx context.Context, r Run) error

	// Step appends ids, at least one, and brings back what want asks for: candidates, of the last token alone, or
	// nothing. It may cut the ids into pieces. After an error the sequence is as it was before, and Begin must come
	// next. When ctx ends, so does the step, and no further piece of it is computed.
	Step(ctx context.Context, ids []uint32, want Want) ([]sample.Candidate, error)

	// Len is the number of tokens in the sequence.
	Len() int

	// Chain lists who computes what, in the order of the layers.
	Chain() []HopInfo

	// Failovers lists which peers were replaced since the last Begin, and what that cost.
	Failovers() []Failover

	// Stats tells what has happened since the last Begin.
	Stats() Stats

	// Close ends the sequence here and at the peers, and waits until nothing of it runs in this process.
	Close() error
}

// Run is what holds for the steps of one answer.
type Run struct {
	Keep     int           // tokens of the sequence that stay
	Prompt   []uint32      // what the sequence is about to hold, its first Keep tokens included; nil: no others are looked for
	Expect   int           // tokens that the sequence will probably reach: peers keep room for them
	Sampling sample.Params // what candidates are chosen by
}

// Want says what a step is to bring back: nothing (the zero value), candidates, or rows.
type Want struct {
	Candidates bool

	// Rows is given the raw logits of every token of the step, in order and once each: position is the token's, the
	// slice is valid until Rows returns. Its error ends the step. Candidates are not given beside rows.
	Rows func(position int, logits []float32) error

	// Timed is told of each piece of the step when it was sent, and where the time went; nil: nobody is. At and Token are
	// left out: the Stepper does not know the answer.
	Timed func(sent time.Time, t StepTime)
}

// HopInfo is one hop of a chain, in the form of `generate --json`.
type HopInfo struct {
	Peer   peer.ID // "" for this process
	Layers protocol.Span
	Device string // as the peer calls it: untrusted text, as is the next
	Nick   string
}

// MarshalJSON gives {"peer","nick","layers","device"}.
func (h HopInfo) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Peer   string `json:"peer"`
		Nick   string `json:"nick"`
		Layers string `json:"layers"`
		Device string `json:"device"`
	}{h.Peer.String(), h.Nick, h.Layers.String(), h.Device})
}
