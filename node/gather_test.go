package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
)

func TestRhythm_KnowsTheUsualAndForgetsPauses(t *testing.T) {
	start := time.Unix(1000, 0)
	var r rhythm
	at := start
	goes := func(away time.Duration) {
		r.leaves(at)
		at = at.Add(away)
		r.returns(at)
	}
	goes(10 * time.Millisecond)
	goes(2 * time.Millisecond)
	if r.usual != 2*time.Millisecond {
		t.Errorf("usual is %v: a shorter time counts at once", r.usual)
	}
	goes(time.Minute)
	if r.usual != 2*time.Millisecond {
		t.Errorf("usual is %v after a reader's pause", r.usual)
	}
	for range 200 {
		goes(20 * time.Millisecond)
	}
	if r.usual < 19*time.Millisecond || r.more > time.Millisecond {
		t.Errorf("usual is %v, now and then %v more: a new rhythm is not followed", r.usual, r.more)
	}
	if !r.left.IsZero() {
		t.Error("it is back, and still said to be away")
	}
}

// gathering is a node that has done a pass of 20 ms, with a step that waits and a session that is away.
func gathering(usual time.Duration) (n *Node, here, away *hop) {
	n = &Node{work: make(chan struct{}, 1), hops: make(map[*session.Session]*hop), passEnd: time.Now(), passTook: 20 * time.Millisecond}
	here, away = newHop("here"), newHop("away")
	for _, h := range []*hop{here, away} {
		n.hops[h.books] = h
	}
	away.rhythm = rhythm{left: n.passEnd, usual: usual}
	j := newJob(here, 1, 1)
	j.arrived = time.Now()
	n.queue.push(j)
	return n, here, away
}

func TestGather_WaitsForWhoIsAboutToBeBack(t *testing.T) {
	for _, tc := range []struct {
		name   string
		usual  time.Duration
		change func(n *Node, away *hop)
		want   time.Duration
	}{
		{"one that is due soon", 3 * time.Millisecond, nil, 3*time.Millisecond + gatherSlack},
		{"at most a part of a pass", 10 * time.Millisecond, func(_ *Node, away *hop) { away.rhythm.more = time.Second }, 10 * time.Millisecond},
		{"nobody who is due later", 11 * time.Millisecond, nil, 0},
		{"nobody who is late", 3 * time.Millisecond, func(_ *Node, away *hop) { away.rhythm.left = time.Now().Add(-time.Second) }, 0},
		{"nobody who is late by half a pass, however irregular", 3 * time.Millisecond, func(n *Node, away *hop) {
			away.rhythm.left, away.rhythm.more = n.passEnd.Add(-15*time.Millisecond), time.Second
		}, 0},
		{"nobody whose rhythm is unknown", 0, nil, 0},
		{"nobody while a chore waits", 3 * time.Millisecond, func(n *Node, _ *hop) { n.queue.chores = []*chore{{}} }, 0},
		{"nobody if nothing waits", 3 * time.Millisecond, func(n *Node, _ *hop) { n.queue = queue{} }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _, away := gathering(tc.usual)
				if tc.change != nil {
					tc.change(n, away)
				}
				begun := time.Now()
				n.gather(t.Context())
				if took := time.Since(begun); took != tc.want {
					t.Errorf("the pass was put off for %v, want %v", took, tc.want)
				}
			})
		})
	}
}

func TestGather_EndsWhenAllAreHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, away := gathering(8 * time.Millisecond)
		begun := time.Now()
		time.AfterFunc(2*time.Millisecond, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			away.rhythm.returns(time.Now())
			n.queue.push(newJob(away, 1, 1))
			n.wake()
		})
		n.gather(t.Context())
		if took := time.Since(begun); took != 2*time.Millisecond {
			t.Errorf("the pass was put off for %v, all were here after 2ms", took)
		}
		if batch := n.queue.take(func(*hop) int { return 1 }, anyMore); len(batch) != 2 {
			t.Errorf("a pass of %d steps", len(batch))
		}
	})
}

func TestGather_EndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, _ := gathering(8 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		begun := time.Now()
		n.gather(ctx)
		if took := time.Since(begun); took != time.Millisecond {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestPace_SaysHowManyTokensOfPromptsRideAlong(t *testing.T) {
	for _, tc := range []struct {
		decode, prefill float64
		want            int
	}{
		{71, 380, 4},            // the 7B on two cores of Zen 4
		{71, 71, 1}, {71, 9, 1}, // plain Go: nothing comes for free
		{100, 399, 3}, {100, 400, 4}, {100, 1699, 16}, {1, 1e6, chunkAlone},
	} {
		p := pace{now: Speed{Decode: tc.decode, Prefill: tc.prefill}}
		if got := p.beside(); got != tc.want {
			t.Errorf("one by one %v tokens/s, many at once %v: %d ride along, want %d", tc.decode, tc.prefill, got, tc.want)
		}
	}
}
