package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// mortal is a model whose peer b dies before the third step, and has c take its place after some waiting.
type mortal struct{ *inProcess }

func (m mortal) NewSession(cfg client.SessionConfig) client.Stepper {
	return &mortalSession{Stepper: m.inProcess.NewSession(cfg), cfg: cfg}
}

type mortalSession struct {
	client.Stepper
	cfg   client.SessionConfig
	steps int
}

func (s *mortalSession) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	if s.steps++; s.steps == 3 {
		s.cfg.Waiting(client.Waiting{Missing: []protocol.Span{{Start: 2, End: 6}}, For: time.Second, Grace: time.Minute})
	}
	return s.Stepper.Step(ctx, ids, want)
}

func (s *mortalSession) Chain() []client.HopInfo {
	second := client.HopInfo{Peer: "b", Nick: "<b>", Layers: protocol.Span{Start: 2, End: 6}}
	if s.steps >= 3 {
		second.Peer, second.Nick = "c", "carl"
	}
	return []client.HopInfo{{Peer: "a", Nick: "ann", Layers: protocol.Span{End: 2}, Device: "cpu"}, second}
}

func (s *mortalSession) Failovers() []client.Failover {
	if s.steps < 3 {
		return nil
	}
	return []client.Failover{{
		Layers: protocol.Span{Start: 2, End: 6}, Peer: "b", Reason: errors.New("silent"), Successors: []peer.ID{"c"},
		Stall: 1500 * time.Millisecond, Replayed: 20,
	}}
}

// told is what a chunk says under "baichuan".
type told struct {
	Chain []struct {
		Peer, Nick, Layers, Device string
	}
	Failover *struct {
		Layers, Peer, Reason string
		Successors           []string
		Stall                int `json:"stall_ms"`
		Replayed             int `json:"replayed_tokens"`
	}
	Waiting *struct {
		Missing []string
		Busy    bool
		For     int `json:"for_ms"`
	}
	Pace float64 `json:"tokens_per_s"`
	MS   float64 `json:"ms"`
	Hops []struct {
		Layers  string
		Queue   float64 `json:"queue_ms"`
		Compute float64 `json:"compute_ms"`
		Network float64 `json:"network_ms"`
	}
}

// newsOf streams an answer and gives what its chunks tell, and its text.
func (f *front) newsOf(fields map[string]any) (all []*told, text string) {
	f.Helper()
	r := f.post("/v1/chat/completions", f.body(fields))
	for lines := bufio.NewScanner(bytes.NewReader(r.body)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var e struct {
			Baichuan *told
			Choices  []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || len(e.Choices) != 1 {
			f.Fatalf("%s (%v)", data, err)
		}
		all, text = append(all, e.Baichuan), text+e.Choices[0].Delta.Content
	}
	return all, text
}

func TestStream_TellsOfTheChain(t *testing.T) {
	m := bundledModel(t, bundled.Chat)
	f := newFront(t, Config{Models: []Model{mortal{m}}})
	ask := map[string]any{
		"messages": user("你好"), "stream": true, "temperature": 0, "max_tokens": 12, "stream_options": map[string]any{"include_chain": true},
	}
	all, text := f.newsOf(ask)
	if n := len(all); n < 5 || all[0] == nil || len(all[0].Chain) != 2 || all[0].Chain[1].Nick != "<b>" || all[0].Chain[1].Layers != "2:6" || all[0].Chain[0].Device != "cpu" {
		t.Fatalf("the first of %d chunks tells %+v", n, all[0])
	}
	var order []string
	for _, e := range all[1:] {
		switch {
		case e == nil:
		case e.Waiting != nil:
			order = append(order, "waiting")
			if !slices.Equal(e.Waiting.Missing, []string{"2:6"}) || e.Waiting.For != 1000 {
				t.Errorf("%+v", e.Waiting)
			}
		case e.Failover != nil:
			order = append(order, "failover")
			if o := e.Failover; o.Layers != "2:6" || o.Reason != "silent" || o.Stall != 1500 || o.Replayed != 20 || len(o.Successors) != 1 {
				t.Errorf("%+v", o)
			}
		case e.Chain != nil:
			order = append(order, "chain")
			if e.Chain[1].Nick != "carl" {
				t.Errorf("%+v", e.Chain)
			}
		}
	}
	if !slices.Equal(order, []string{"waiting", "failover", "chain"}) {
		t.Errorf("it tells of %v", order)
	}
	if last := all[len(all)-1]; last == nil || last.Pace <= 0 {
		t.Errorf("the last chunk tells %+v", last)
	}

	for i, e := range all {
		if e == nil || e.Waiting != nil || e.Failover != nil {
			continue
		}
		if len(e.Hops) != 1 || e.Hops[0].Layers != "0:6" || e.MS <= 0 || e.Hops[0].Compute != e.MS || e.Hops[0].Queue+e.Hops[0].Network != 0 {
			t.Errorf("chunk %d tells that %v ms went to %+v", i, e.MS, e.Hops)
		}
	}

	delete(ask, "stream_options")
	silent, same := f.newsOf(ask)
	if slices.ContainsFunc(silent, func(e *told) bool { return e != nil }) {
		t.Error("a stream tells of the chain to who has not asked")
	}
	if text == "" || text != same {
		t.Errorf("%q with news, %q without", text, same)
	}
}
