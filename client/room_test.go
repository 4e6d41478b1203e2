package client

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Ten sessions want hops that have room for one or two. Each needs both, and must not wait for one with the other in its hand.
func TestSession_ACrowdQueuesWhereThereIsLittleRoom(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4))
		w.hops[0].room, w.hops[1].room = 2, 1
		w.grace = time.Minute
		o := Options{MaxTokens: 20, Sampling: seeded, IgnoreEOS: true}
		want := oracle(t, prompt(70), o)
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				s := w.client.NewSession(SessionConfig{Grace: w.grace})
				defer s.Close()
				_, out, err := answer(t, NewConversation(w.client.model, s).Generate(t.Context(), prompt(70), o))
				if err != nil {
					t.Error(err)
					return
				}
				sameAnswer(t, out, want)
				if out.Stats.Bans > 0 {
					t.Errorf("somebody was banned for want of room: %+v", out.Stats)
				}
			})
		}
		asking.Wait()
		time.Sleep(time.Minute)
	})
}

func TestSession_SaysThatThereIsNoRoomWhenThatLasts(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4))
		w.hops[1].spoil = func(n int, _ network.Stream, a any) any {
			if o, ok := a.(protocol.Opened); ok {
				return protocol.Failure{Epoch: o.Epoch, Code: protocol.CodeBusy, Text: "come later"}
			}
			return a
		}
		told := 0
		s := w.client.NewSession(SessionConfig{Grace: 20 * time.Second, Waiting: func(x Waiting) {
			if told++; !x.Busy || x.Missing[0] != span(2, 4) {
				t.Errorf("it waits for %+v", x)
			}
		}})
		defer s.Close()
		began := time.Now()
		_, _, err := answer(t, NewConversation(w.client.model, s).Generate(t.Context(), prompt(5), Options{Sampling: seeded}))
		if err == nil || !strings.Contains(err.Error(), "layers 2:4 have no room") || !strings.Contains(err.Error(), "come later") {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took < 20*time.Second || took > 23*time.Second || told < 10 {
			t.Errorf("it waited for %v and said so %d times", took, told)
		}
		time.Sleep(time.Minute)
	})
}

func TestSession_NoticesANewcomerWithinASecond(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{100 * time.Millisecond, 5300 * time.Millisecond, 14 * time.Second} {
			w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4), span(2, 4))
			w.grace = 20 * time.Second
			came := time.Now().Add(after)
			w.hops[2].since = came
			w.hops[1].spoil = func(n int, s network.Stream, a any) any {
				if n > 2 {
					return failure(protocol.CodeInternal)(s, a)
				}
				return a
			}
			c, s := w.session(t)
			o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
			_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
			if err != nil {
				t.Fatal(err)
			}
			if late := time.Since(came); late > time.Second {
				t.Errorf("who came after %v was found %v later", after, late)
			}
			sameAnswer(t, out, oracle(t, prompt(5), o))
			s.Close()
		}
		time.Sleep(time.Minute)
	})
}

func TestSession_LeavesAPeerThatFailedAnotherSession(t *testing.T) {
	w := newToySwarm(t, newHost, span(0, 4), span(0, 4))
	o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
	first, _ := w.session(t)
	second, _ := w.session(t)
	for _, c := range []*Conversation{first, second} {
		if _, _, err := answer(t, c.Generate(t.Context(), prompt(20), o)); err != nil {
			t.Fatal(err)
		}
	}
	w.hops[0].spoil = func(n int, s network.Stream, a any) any {
		if n > 12 {
			return failure(protocol.CodeInternal)(s, a)
		}
		return a
	}
	if _, _, err := answer(t, first.Generate(t.Context(), prompt(30), o)); err != nil {
		t.Fatal(err)
	}
	opens, _, _, _ := w.hops[0].counts()
	_, out, err := answer(t, second.Generate(t.Context(), prompt(30), o))
	if err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, out, oracle(t, prompt(30), o))
	if now, _, _, _ := w.hops[0].counts(); now != opens || len(out.Failovers) != 1 || out.Stats.Bans != 0 ||
		!strings.Contains(out.Failovers[0].Reason.Error(), "another conversation") {
		t.Errorf("it was asked %d times more, failovers %+v, %+v", now-opens, out.Failovers, out.Stats)
	}
}
