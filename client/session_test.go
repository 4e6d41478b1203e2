package client

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// oracle is the answer of the toy model in one piece.
func oracle(t *testing.T, ids []uint32, o Options) *Outcome {
	t.Helper()
	_, out, err := answer(t, NewConversation(toyModel(), newToyStepper()).Generate(t.Context(), ids, o))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameAnswer(t *testing.T, got, want *Outcome) {
	t.Helper()
	if !slices.Equal(got.IDs, want.IDs) || got.Text != want.Text || got.FinishReason != want.FinishReason {
		t.Errorf("the swarm says %v %q (%s), one process %v %q (%s)", got.IDs, got.Text, got.FinishReason, want.IDs, want.Text, want.FinishReason)
	}
}

func TestSession_AnyCutGivesTheAnswerOfOneProcess(t *testing.T) {
	cuts := map[string][]protocol.Span{
		"one hop": {span(0, 4)}, "two hops": {span(0, 3), span(3, 4)}, "every layer": {span(0, 1), span(1, 2), span(2, 3), span(3, 4)},
	}
	for name, spans := range cuts {
		t.Run(name, func(t *testing.T) {
			w := newToySwarm(t, newHost, spans...)
			for _, n := range []int{1, 17, 600, 1100} {
				for _, p := range []sample.Params{{Penalty: 1.3}, seeded} {
					o := Options{MaxTokens: 6, Sampling: p, Seed: 3, IgnoreEOS: true}
					c, s := w.session(t)
					_, got, err := answer(t, c.Generate(t.Context(), prompt(n), o))
					if err != nil {
						t.Fatalf("%d tokens: %v", n, err)
					}
					sameAnswer(t, got, oracle(t, prompt(n), o))
					if len(got.Chain) != len(spans) || got.Chain[0].Peer != w.hops[0].host.ID() || len(got.Failovers) != 0 {
						t.Errorf("the chain is %v, failovers %v", got.Chain, got.Failovers)
					}
					s.Close()
				}
			}
		})
	}
}

func TestSession_LogitsAreThoseOfOneProcess(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	c, _ := w.session(t)
	var got, want bytes.Buffer
	o := Options{MaxTokens: 4, Sampling: seeded, Seed: 3, IgnoreEOS: true, Logits: &got}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(530), o))
	if err != nil {
		t.Fatal(err)
	}
	o.Logits = &want
	sameAnswer(t, out, oracle(t, prompt(530), o))
	if !bytes.Equal(got.Bytes(), want.Bytes()) || got.Len() != 4*toyVocab*(530+3) {
		t.Errorf("%d bytes of logits are not the %d of one process", got.Len(), want.Len())
	}
}

func TestSession_NextTurnComputesOnlyWhatIsNew(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	c, s := w.session(t)
	o := Options{MaxTokens: 5, Sampling: seeded, IgnoreEOS: true}
	_, first, err := answer(t, c.Generate(t.Context(), prompt(100), o))
	if err != nil {
		t.Fatal(err)
	}
	link := s.link
	next := slices.Concat(prompt(100), first.IDs, []uint32{400, 401})
	o.Sampling = sample.Params{Penalty: 1.2} // another turn may sample otherwise
	_, second, err := answer(t, c.Generate(t.Context(), next, o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, second, oracle(t, next, o))
	for _, h := range w.hops {
		if opens, _, tokens, _ := h.counts(); tokens != 104+3+4 || opens != 2 {
			t.Errorf("layers %v computed %d tokens in %d opens, want 111 in 2", h.span, tokens, opens)
		}
	}
	if s.link != link {
		t.Error("the second turn has another chain")
	}
}

// spoilStep spoils the n-th step of a hop and no other.
func spoilStep(n int, spoil func(network.Stream, any) any) func(int, network.Stream, any) any {
	return func(k int, s network.Stream, a any) any {
		if k != n {
			return a
		}
		return spoil(s, a)
	}
}

func failure(code protocol.Code) func(network.Stream, any) any {
	return func(_ network.Stream, a any) any {
		f := protocol.Failure{Code: code, Text: "as the test wants it"}
		switch a := a.(type) {
		case protocol.Push:
			f.Epoch, f.Number = a.Epoch, a.Number
		case protocol.Result:
			f.Epoch, f.Number = a.Epoch, a.Number
		}
		return f
	}
}

// hopFault is what one hop of two does instead of answering a step.
type hopFault struct {
	name  string
	hop   int
	spoil func(network.Stream, any) any
	again bool // the peer is reached anew
}

func hopFaults() []hopFault {
	return []hopFault{
		{"stream reset", 0, func(s network.Stream, a any) any { s.Reset(); return nil }, true},
		{"stream closed", 1, func(s network.Stream, a any) any { s.Close(); return nil }, true},
		{"connection closed", 1, func(s network.Stream, a any) any { s.Conn().Close(); return nil }, false},
		{"internal", 0, failure(protocol.CodeInternal), false},
		{"bad request", 0, failure(protocol.CodeBadRequest), false},
		{"bad request over the rows of another", 1, failure(protocol.CodeBadRequest), false},
		{"lost session", 1, failure(protocol.CodeLostSession), true},
		{"another epoch", 0, func(_ network.Stream, a any) any { p := a.(protocol.Push); p.Epoch++; return p }, false},
		{"another number", 1, func(_ network.Stream, a any) any { r := a.(protocol.Result); r.Number++; return r }, false},
		{"rows that do not travel", 0, func(_ network.Stream, a any) any {
			p := a.(protocol.Push)
			p.Half = slices.Clone(p.Half)
			p.Half[1] = 0x7e
			return p
		}, false},
		{"more candidates than sampling keeps", 1, func(_ network.Stream, a any) any {
			r := a.(protocol.Result)
			r.Candidates = nil
			for i := range 500 {
				r.Candidates = append(r.Candidates, protocol.Candidate{ID: uint32(i)})
			}
			return r
		}, false},
		{"an id beyond the vocabulary", 1, func(_ network.Stream, a any) any {
			r := a.(protocol.Result)
			r.Candidates = []protocol.Candidate{{ID: toyVocab}}
			return r
		}, false},
		{"a logit that is not finite", 1, func(_ network.Stream, a any) any {
			r := a.(protocol.Result)
			r.Candidates = []protocol.Candidate{{ID: 1, Penalised: float32(math.NaN())}}
			return r
		}, false},
		{"a message that is not for a client", 0, func(_ network.Stream, a any) any { return protocol.Info{} }, false},
	}
}

func TestSession_GoesOnWhenAHopFails(t *testing.T) {
	for _, tt := range hopFaults() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(0, 4))
			w.spares = 1
			w.hops[tt.hop].spoil = spoilStep(3, tt.spoil)
			c, _ := w.session(t)
			o := Options{MaxTokens: 8, Sampling: seeded, Seed: 9, IgnoreEOS: true}
			_, out, err := answer(t, c.Generate(t.Context(), prompt(20), o))
			if err != nil {
				t.Fatal(err)
			}
			sameAnswer(t, out, oracle(t, prompt(20), o))
			bad, good := w.hops[tt.hop], w.hops[1-tt.hop]
			if _, _, tokens, _ := good.counts(); tokens != 20+7 {
				t.Errorf("the hop that did not fail has computed %d tokens, want 27", tokens)
			}
			if tt.again {
				if len(out.Failovers) != 0 || out.Stats.Reconnects != 1 || out.Stats.Stall <= 0 || out.Chain[tt.hop].Peer != bad.host.ID() {
					t.Errorf("failovers: %v, stats %+v, chain %v", out.Failovers, out.Stats, out.Chain)
				}
				return
			}
			if len(out.Failovers) != 1 {
				t.Fatalf("failovers: %v", out.Failovers)
			}
			f := out.Failovers[0]
			if f.Peer != bad.host.ID() || f.Layers != bad.span || f.Replayed != 21 || f.Stall <= 0 ||
				len(f.Successors) != 1 || f.Successors[0] != w.hops[2].host.ID() || out.Stats.Bans != 1 {
				t.Errorf("the failover is %+v", f)
			}
			if reason := f.Reason.Error(); strings.Contains(reason, "127.0.0.1") || strings.Contains(reason, "stream reset") {
				t.Errorf("the reason tells of the layers below: %s", reason)
			}
		})
	}
}

func TestSession_GoesOnWithLogitsWhenAHopFails(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 4), span(0, 2), span(2, 4))
	w.hops[0].spoil = func(n int, s network.Stream, a any) any {
		if r, ok := a.(protocol.Result); ok && r.Position == 16 {
			return failure(protocol.CodeInternal)(s, a)
		}
		return a
	}
	c, _ := w.session(t)
	var got, want bytes.Buffer
	o := Options{MaxTokens: 4, Sampling: seeded, Seed: 3, IgnoreEOS: true, Logits: &got}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(30), o))
	if err != nil {
		t.Fatal(err)
	}
	o.Logits = &want
	sameAnswer(t, out, oracle(t, prompt(30), o))
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes of logits are not the %d of one process", got.Len(), want.Len())
	}
	if len(out.Failovers) != 1 || out.Failovers[0].Replayed != 0 {
		t.Errorf("the failovers are %+v, want one: the step begins anew", out.Failovers)
	}
}

func TestSession_TellsWhichLayersNobodyServes(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	w.hops[1].spoil = func(n int, s network.Stream, a any) any {
		if n > 1 {
			return failure(protocol.CodeInternal)(s, a)
		}
		return a
	}
	c, _ := w.session(t)
	text, _, err := answer(t, c.Generate(t.Context(), prompt(20), Options{Sampling: seeded, IgnoreEOS: true}))
	none := (*routing.NoChainError)(nil)
	if !errors.As(err, &none) || len(none.Missing) != 1 || none.Missing[0] != span(2, 4) {
		t.Fatalf("after %q the error is %v", text, err)
	}
	for _, want := range []string{"layers 2:4", w.hops[1].host.ID().String(), "as the test wants it"} {
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error %q does not say %q in one line", err, want)
		}
	}
}

func TestSession_BelievesARefusalWhenTwoSayItOrThereIsNoOther(t *testing.T) {
	for name, hops := range map[string]int{"the only one": 1, "two": 2, "two of three": 3} {
		t.Run(name, func(t *testing.T) {
			w := newToySwarm(t, newHost, []protocol.Span{span(0, 4), span(0, 4), span(0, 4)}[:hops]...)
			for _, h := range w.hops {
				h.spoil = spoilStep(1, failure(protocol.CodeBadRequest))
			}
			w.grace = time.Hour
			c, _ := w.session(t)
			_, _, err := answer(t, c.Generate(t.Context(), prompt(20), Options{Sampling: seeded}))
			bad := (*HopError)(nil)
			if !errors.As(err, &bad) || bad.Class != protocol.Never {
				t.Errorf("the error is %v", err)
			}
			if hops < 3 {
				return
			}
			if _, steps, _, _ := w.hops[2].counts(); steps > 0 {
				t.Error("a third peer was asked the same")
			}
		})
	}
}

// The hop before pushes rows that are well formed and wrong, which those behind it find out.
func TestSession_ReplacesTheHopBeforeOneWhoseRowsAreRefused(t *testing.T) {
	for name, spares := range map[string][]protocol.Span{
		"both have spares": {span(0, 2), span(2, 4)}, "only the hop before has": {span(0, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newToySwarm(t, newHost, append([]protocol.Span{span(0, 2), span(2, 4)}, spares...)...)
			bad := w.hops[0].host.ID()
			refuses := func(h *toyHop) {
				h.spoil = func(n int, s network.Stream, a any) any {
					r, ok := a.(protocol.Result)
					if !ok || n < 1 || h.prev() != bad {
						return a
					}
					return protocol.Failure{Epoch: r.Epoch, Number: r.Number, Code: protocol.CodeBadInput, Suspect: bad, Text: "a NaN"}
				}
			}
			for _, h := range w.hops {
				if h.span == span(2, 4) {
					refuses(h)
				}
			}
			c, _ := w.session(t)
			o := Options{MaxTokens: 5, Sampling: seeded, Seed: 9, IgnoreEOS: true}
			_, out, err := answer(t, c.Generate(t.Context(), prompt(20), o))
			if err != nil {
				t.Fatal(err)
			}
			sameAnswer(t, out, oracle(t, prompt(20), o))
			if out.Chain[0].Peer != w.hops[2].host.ID() {
				t.Errorf("the chain is %v", out.Chain)
			}
			now := time.Now()
			for i, h := range w.hops {
				if banned := w.client.bans.of(h.host.ID(), 0, now).banned > 0; banned != (i == 0) {
					t.Errorf("hop %d is banned: %t", i, banned)
				}
			}
		})
	}
}

func TestSession_BansWhoRefusesRowsThatOthersTake(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(2, 4), span(0, 2))
	w.hops[1].spoil = func(n int, s network.Stream, a any) any {
		if r, ok := a.(protocol.Result); ok {
			return protocol.Failure{Epoch: r.Epoch, Number: r.Number, Code: protocol.CodeBadInput, Suspect: w.hops[0].host.ID()}
		}
		return a
	}
	c, _ := w.session(t)
	o := Options{MaxTokens: 5, Sampling: seeded, Seed: 9, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(20), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(20), o))
	now := time.Now()
	for i, h := range w.hops {
		if banned := w.client.bans.of(h.host.ID(), 0, now).banned > 0; banned != (i == 1) {
			t.Errorf("hop %d is banned: %t", i, banned)
		}
	}
}

func TestSession_AsksABusyPeerAgain(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 4))
	w.grace = 20 * time.Second
	refused := 0
	w.hops[0].spoil = func(n int, _ network.Stream, a any) any {
		if n == 0 && refused < 2 {
			refused++
			return protocol.Failure{Epoch: a.(protocol.Opened).Epoch, Code: protocol.CodeBusy}
		}
		return a
	}
	c, _ := w.session(t)
	o := Options{MaxTokens: 3, Sampling: seeded, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(5), o))
	if len(out.Failovers) != 0 || out.Stats.Pauses != 2 || out.Stats.Bans != 0 || out.Stats.Stall < pauseFirst {
		t.Errorf("the failovers are %v, stats %+v", out.Failovers, out.Stats)
	}
}

// failing is a swarm in which so many fail at whatever they are asked, before some that do not.
func failing(t *testing.T, bad, good int) *toySwarm {
	t.Helper()
	spans := make([]protocol.Span, bad+good)
	for i := range spans {
		spans[i] = span(0, 4)
	}
	w := newToySwarm(t, newHost, spans...)
	for _, h := range w.hops[:bad] {
		h.spoil = func(n int, _ network.Stream, a any) any { return protocol.Failure{Code: protocol.CodeInternal} }
	}
	return w
}

func TestSession_GivesUpInTheEnd(t *testing.T) {
	slow := int(time.Second / (waitLongest / 2)) // tries in the toy swarm's grace, when there is a pause before each
	w := failing(t, maxTries+slow+2, 0)
	c, _ := w.session(t)
	_, _, err := answer(t, c.Generate(t.Context(), prompt(5), Options{Sampling: seeded}))
	if !errors.As(err, new(*HopError)) || !strings.Contains(err.Error(), "gave up after") {
		t.Errorf("the error is %v", err)
	}
	tries := 0
	for _, h := range w.hops {
		opens, _, _, _ := h.counts()
		tries += opens
	}
	if tries < maxTries || tries > maxTries+slow+1 {
		t.Errorf("%d tries, want %d, and at most %d slow ones", tries, maxTries, slow+1)
	}
}

func TestSession_TriesMoreSlowlyWhenManyHaveFailed(t *testing.T) {
	w := failing(t, maxTries, 1)
	c, _ := w.session(t)
	o := Options{MaxTokens: 3, Sampling: seeded, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(5), o))
	if out.Stats.Bans != maxTries || out.Stats.Stall < waitLongest/2 {
		t.Errorf("stats %+v", out.Stats)
	}
}

func TestSession_ReplacesAPeerThatIsNotThere(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 4), span(0, 4))
	w.hops[0].host.Close()
	c, _ := w.session(t)
	o := Options{MaxTokens: 3, Sampling: seeded, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(5), o))
	if msg := out.Failovers[0].Reason.Error(); strings.Contains(msg, "\n") {
		t.Errorf("the reason %q has several lines", msg)
	}
}

func TestSession_CancelledAnswerEndsAtOnceAndTheNextGoesOn(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.hops[1].spoil = spoilStep(3, func(_ network.Stream, a any) any {
		cancel()
		time.Sleep(50 * time.Millisecond) // the answer comes when nobody wants it any more
		return a
	})
	c, s := w.session(t)
	o := Options{MaxTokens: 8, Sampling: seeded, Seed: 9, IgnoreEOS: true}
	_, _, err := answer(t, c.Generate(ctx, prompt(600), o))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	link := s.link
	_, out, err := answer(t, c.Generate(t.Context(), prompt(600), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(600), o))
	if s.link != link || len(out.Failovers) > 0 {
		t.Errorf("the next answer came over another chain: %v", out.Failovers)
	}
	if _, _, tokens, _ := w.hops[0].counts(); tokens > 600+8+4 {
		t.Errorf("the first hop computed %d tokens, the kept ones again", tokens)
	}
}

func TestSession_CancelledAnswerIsTakenBackAtThePeers(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.hops[0].spoil = spoilStep(2, func(_ network.Stream, a any) any {
		cancel()
		return nil
	})
	c, _ := w.session(t)
	if _, _, err := answer(t, c.Generate(ctx, prompt(600), Options{Sampling: seeded, IgnoreEOS: true})); !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	for _, h := range w.hops {
		for opens, until := 0, time.Now().Add(5*time.Second); opens < 2; opens, _, _, _ = h.counts() {
			if time.Now().After(until) {
				t.Fatal("the peers have not heard that nobody waits any more")
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestSession_CloseEndsItAtThePeers(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4))
	c, s := w.session(t)
	if _, _, err := answer(t, c.Generate(t.Context(), prompt(5), Options{MaxTokens: 2, Sampling: seeded, IgnoreEOS: true})); err != nil {
		t.Fatal(err)
	}
	tag := s.link.tag
	for _, h := range w.hops {
		if _, _, _, open := h.counts(); open != 1 || !w.client.host.ConnManager().IsProtected(h.host.ID(), tag) {
			t.Errorf("layers %v: %d sessions, or the connection is not protected", h.span, open)
		}
	}
	s.Close()
	for _, h := range w.hops {
		h.streams.Wait()
		if _, _, _, open := h.counts(); open != 0 || w.client.host.ConnManager().IsProtected(h.host.ID(), tag) {
			t.Errorf("layers %v: %d sessions are left, or the connection is still protected", h.span, open)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

func TestStep_OfNothingIsRefused(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 4))
	_, s := w.session(t)
	if _, err := s.Step(t.Context(), nil, Want{}); err == nil {
		t.Error("no error")
	}
}
