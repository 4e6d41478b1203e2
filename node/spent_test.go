package node

import (
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// TestSpent_TravelsFromHopToHop has three nodes say where a step's time went.
func TestSpent_TravelsFromHopToHop(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	c.open(0, nil)
	for i, want := range []protocol.Want{protocol.WantCandidates, protocol.WantNone, protocol.WantRows} {
		number := uint64(i + 1)
		began := time.Now()
		c.first().send(step(c.epoch, number, 100*i, want, sequence(100)...)) // in pieces of 64 tokens
		took := c.checkSpent(func(s protocol.Spent) bool { return s.Computed > 0 })
		if all := time.Since(began); took > all {
			t.Errorf("want %d: the hops say that a step took them %v, and it took %v", want, took, all)
		}
	}
}

// TestSpent_OfWhatComesAgainIsNothing repeats a step, which the hops answer from what they keep.
func TestSpent_OfWhatComesAgainIsNothing(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	c.open(0, nil)
	for again := range 2 {
		c.first().send(step(c.epoch, 1, 0, protocol.WantNone, sequence(10)...))
		c.checkSpent(func(s protocol.Spent) bool { return (s.Computed > 0) == (again == 0) })
	}
}

// TestSpent_TellsWaitingFromComputing keeps the second of two nodes' devices for a while.
func TestSpent_TellsWaitingFromComputing(t *testing.T) {
	const kept = 20 * time.Millisecond
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	c.open(0, nil)
	busy := c.nodes[1]
	go busy.do(t.Context(), func(caches) {
		for deadline := time.Now().Add(10 * time.Second); busy.Stats().Queue == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(kept)
	})
	c.first().send(step(c.epoch, 1, 0, protocol.WantNone, 1))
	hop := 0
	c.checkSpent(func(s protocol.Spent) bool { hop++; return s.Computed > 0 && (hop != 2 || s.Waited >= kept) })
}

// checkSpent takes a result and gives what the hops say that they took together. Each must be as is says.
func (c *chain) checkSpent(is func(protocol.Spent) bool) (sum time.Duration) {
	c.t.Helper()
	for {
		r := answer[protocol.Result](c.last())
		if !r.Final {
			continue
		}
		if len(r.Spent) != len(c.hops) {
			c.t.Fatalf("times of %d hops, there are %d", len(r.Spent), len(c.hops))
		}
		for i, s := range r.Spent {
			if !is(s) {
				c.t.Errorf("want %d: hop %d says %+v", r.Want, i, s)
			}
			sum += s.Waited + s.Computed
		}
		return sum
	}
}
