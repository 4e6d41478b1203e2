package node

import (
	"testing"
	"time"
)

func TestBusyness_ForgetsWhatIsOld(t *testing.T) {
	var b busyness
	now := time.Unix(1_000_000, 0)
	b.pass(now.Add(-2*time.Second), now)
	b.step(now, 30*time.Millisecond, 10*time.Millisecond)
	b.step(now, 50*time.Millisecond, 10*time.Millisecond)
	b.step(now, 5*time.Millisecond, 10*time.Millisecond) // no less than alone
	for _, c := range []struct {
		after time.Duration
		share int64
		more  time.Duration
		steps int
	}{
		{0, 200, 20 * time.Millisecond, 3},
		{(stepSeconds - 1) * time.Second, 200, 20 * time.Millisecond, 3},
		{stepSeconds * time.Second, 200, 0, 0},
		{busySeconds * time.Second, 0, 0, 0},
		{-time.Hour, 0, 0, 0},
	} {
		if share, more, steps := b.lately(now.Add(c.after)); share != c.share || more != c.more || steps != c.steps {
			t.Errorf("after %v: a share of %d, %v more in %d steps, want %d, %v, %d", c.after, share, more, steps, c.share, c.more, c.steps)
		}
	}
}

// A node tells whoever opens a session of the others that it has.
func TestBusy_CountsTheSessionsOfOthers(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	n := c.nodes[0]
	busy := func(but *hop) uint32 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.busyNow(time.Now(), but)
	}
	if got := busy(nil); got != 0 {
		t.Errorf("a node without sessions says %d", got)
	}
	c.open(0, nil)
	ids := sequence(80)
	c.step(1, 0, ids[:70]...)
	for i := range 5 {
		c.step(uint64(2+i), 70+i, ids[70+i])
	}
	if got := n.offer().Busy; got == 0 {
		t.Error("the offer of a node with a session that decodes says nothing of it")
	}
	var own *hop
	n.mu.Lock()
	for _, h := range n.hops {
		own = h
	}
	c.nodes[0].busyness = busyness{} // what the device did is the session's own doing
	n.mu.Unlock()
	if got := busy(own); got != 0 {
		t.Errorf("to the session that is alone there it says %d", got)
	}
}
