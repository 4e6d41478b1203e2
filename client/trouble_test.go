package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// What a session has been through while nobody asked, or before somebody gave up waiting, takes nothing from how long it waits
// when it is asked again. The spare comes three seconds after that.
func TestSession_HasItsWholeGraceWhenAskedAgain(t *testing.T) {
	toyModel()
	o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
	for name, trouble := range map[string]func(*testing.T, *toyHop, *Conversation){
		"a peer fails while nobody asks": func(t *testing.T, first *toyHop, c *Conversation) {
			var stream network.Stream
			first.spoil = func(_ int, s network.Stream, a any) any {
				stream = s
				return a
			}
			if _, _, err := answer(t, c.Generate(t.Context(), prompt(5), o)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			first.since = time.Now().Add(time.Hour)
			if err := protocol.WriteMessage(stream, protocol.Failure{Epoch: first.epoch.Load(), Code: protocol.CodeInternal}); err != nil {
				t.Fatal(err)
			}
		},
		"somebody stops asking": func(t *testing.T, first *toyHop, c *Conversation) {
			first.spoil = spoilStep(3, func(s network.Stream, a any) any {
				first.since = time.Now().Add(time.Hour)
				return failure(protocol.CodeInternal)(s, a)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, _, err := answer(t, c.Generate(ctx, prompt(5), o)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("it waited for nobody: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4), span(0, 2))
				w.grace = 20 * time.Second
				spare := w.hops[2]
				spare.since = time.Now().Add(time.Hour)
				c, s := w.session(t)
				trouble(t, w.hops[0], c)
				time.Sleep(5 * time.Minute)
				spare.since = time.Now().Add(3 * time.Second)
				_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
				if err != nil {
					t.Fatal(err)
				}
				sameAnswer(t, out, oracle(t, prompt(5), o))
				if out.Stats.Stall < 3*time.Second || out.Stats.Stall > 10*time.Second {
					t.Errorf("it is said to have waited %v", out.Stats.Stall)
				}
				s.Close()
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// So many peers have no room that the first may be asked again when the last has said so.
func TestSession_EndsWhereAllAreFull(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, make([]protocol.Span, 24)...)
		w.grace = 20 * time.Second
		for _, h := range w.hops {
			h.span = span(0, 4)
			h.spoil = func(_ int, _ network.Stream, a any) any {
				if o, ok := a.(protocol.Opened); ok {
					time.Sleep(100 * time.Millisecond)
					return protocol.Failure{Epoch: o.Epoch, Code: protocol.CodeBusy}
				}
				return a
			}
		}
		told := 0
		s := w.client.NewSession(SessionConfig{Grace: w.grace, Waiting: func(Waiting) { told++ }}).(*session)
		began := time.Now()
		_, _, err := answer(t, NewConversation(w.client.model, s).Generate(t.Context(), prompt(5), Options{Sampling: seeded, MaxTokens: 6}))
		if err == nil || !strings.Contains(err.Error(), "have no room now") || told == 0 {
			t.Errorf("%v, told %d times", err, told)
		}
		if took := time.Since(began); took < w.grace || took > 2*w.grace {
			t.Errorf("it took %v", took)
		}
		s.Close()
		time.Sleep(2 * time.Hour)
	})
}

// A hop that another conversation has found out about is left when the chain must change anyway.
func TestSession_LeavesAHopThatHasFailedOthers(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 2), span(2, 4), span(0, 2), span(2, 4))
	w.hops[0].spoil = spoilStep(3, func(s network.Stream, a any) any {
		w.client.bans.strike(w.hops[1].host.ID(), 0, errors.New("it hung"), time.Now())
		return failure(protocol.CodeInternal)(s, a)
	})
	c, _ := w.session(t)
	o := Options{MaxTokens: 8, Sampling: seeded, Seed: 9, IgnoreEOS: true}
	_, out, err := answer(t, c.Generate(t.Context(), prompt(20), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(20), o))
	if len(out.Chain) != 2 || out.Chain[0].Peer != w.hops[2].host.ID() || out.Chain[1].Peer != w.hops[3].host.ID() {
		t.Errorf("the chain is %v", out.Chain)
	}
}
