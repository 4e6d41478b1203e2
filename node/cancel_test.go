package node

import (
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// prompting gives a held node of the long model in which the first chunk of a prompt of 4,000 tokens has been computed, and
// more of it waits.
func prompting(t *testing.T) (n *Node, c *caller, pass func()) {
	t.Helper()
	n, pass = hold(t, madeOf(t, long, loadedOf(t, long, 0, 1, 8192), nil))
	c = call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 1, 0), 0)
	ids := sequence(4000)
	for i := range stepsInFlight {
		c.send(step(1, uint64(i+1), 512*i, protocol.WantNone, ids[512*i:512*(i+1)]...))
	}
	eventually(t, "the prompt waits", func() bool { return queued(n) == stepsInFlight })
	pass()
	return n, c, pass
}

func TestCancel_AtMostOnePassMoreIsComputed(t *testing.T) {
	for name, leave := range map[string]func(n *Node, c *caller){
		"the client goes away":  func(_ *Node, c *caller) { _ = c.s.Reset() },
		"the client hangs up":   func(_ *Node, c *caller) { _ = c.s.CloseWrite() },
		"the client rolls back": func(_ *Node, c *caller) { c.send(c.open(2, 0, 1, 100)) },
		"the client closes":     func(_ *Node, c *caller) { c.send(protocol.Close{Session: c.key}) },
	} {
		t.Run(name, func(t *testing.T) {
			n, c, pass := prompting(t)
			leave(n, c)
			eventually(t, "nothing waits any more", func() bool { return queued(n) == 0 })
			for range 10 {
				pass()
			}
			if got := count(t, n, "tokens_total"); got > 2*chunkAlone {
				t.Errorf("%d tokens were computed, one pass more than %d at most", got, chunkAlone)
			}
			if got, want := count(t, n, "cancelled_tokens_total"), 1024-count(t, n, "tokens_total"); got != want {
				t.Errorf("%d tokens were cancelled, want %d", got, want)
			}
		})
	}
}

func TestCancel_WhileAPassOfItRuns(t *testing.T) {
	for name, leave := range map[string]func(c *caller){
		"the client goes away":  func(c *caller) { _ = c.s.Reset() },
		"the client rolls back": func(c *caller) { c.send(c.open(2, 0, 1, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			n, c, pass := prompting(t)
			// The step is taken from the queue as the client leaves: it goes back into no queue.
			n.mu.Lock()
			batch := n.queue.take(func(*hop) int { return chunkAlone }, anyMore)
			n.mu.Unlock()
			leave(c)
			eventually(t, "nothing waits any more", func() bool { return queued(n) == 0 })
			n.mu.Lock()
			for _, p := range batch {
				p.done += p.n
				n.passed(p.arrived, p.job)
			}
			left := n.queue.steps
			n.mu.Unlock()
			pass()
			if left > 0 || count(t, n, "tokens_total") != chunkAlone {
				t.Errorf("%d steps wait, %d tokens were computed", left, count(t, n, "tokens_total"))
			}
		})
	}
}

func TestCancel_RowsOfANeighbourEndWithTheOwner(t *testing.T) {
	n, pass := held(t, 1, 2)
	first, _ := serve(t, 0, 1, nil)
	owner, prev := newHost(t), newHost(t)
	c := call(t, owner, n, "s")
	m := c.open(1, 1, 2, 0)
	m.Prev = prev.ID()
	c.opened(m, 0)
	a := call(t, owner, first, "s")
	a.opened(a.open(1, 0, 1, 0), 0)
	p := ask[protocol.Push](a, step(1, 1, 0, protocol.WantNone, sequence(512)...))
	p.Session, p.Owner = c.key, owner.ID()
	if err := protocol.WriteMessage(pushTo(t, prev, n), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rows wait", func() bool { return queued(n) == 1 })
	pass()
	_ = c.s.Reset()
	eventually(t, "nothing waits any more", func() bool { return queued(n) == 0 })
	for range 5 {
		pass()
	}
	if got := count(t, n, "tokens_total"); got != chunkAlone {
		t.Errorf("%d tokens were computed, want %d", got, chunkAlone)
	}
	// The owner comes back, and what has been computed is of use.
	c = call(t, owner, n, "s")
	m.Epoch, m.Position = 2, 640
	c.opened(m, 0)
	p.Epoch = 2
	if err := protocol.WriteMessage(pushTo(t, prev, n), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rows wait", func() bool { return queued(n) == 1 })
	for range 512 / chunkAlone {
		pass()
	}
	answer[protocol.Push](c)
	if got := count(t, n, "tokens_total"); got != 512 {
		t.Errorf("%d tokens were computed for 512", got)
	}
}

func TestStep_OfANewEpochFindsRoomWhileOlderOnesWaitForTheirAnswer(t *testing.T) {
	n, c, pass := prompting(t)
	// The hop is busy with something that takes long, as a dial: what it is to answer waits behind it.
	n.mu.Lock()
	h := n.hops[n.table.Find(n.queue.turns[0].books.ID)]
	for _, j := range n.queue.drop(h, func(*job) bool { return true }) {
		h.giveUp(j.arrived, j, "test")
	}
	underWay := len(h.inflight)
	n.mu.Unlock()
	if underWay != 0 {
		t.Errorf("%d steps that were given up take others' places", underWay)
	}
	pass()
	for range stepsInFlight {
		answer[protocol.Failure](c)
	}
}

func TestQueue_IsFairBetweenOwners(t *testing.T) {
	n, pass := held(t, 0, 1)
	greedy, honest := newHost(t), newHost(t)
	ids := sequence(300)
	for i := range 5 {
		c := call(t, greedy, n, string(rune('a'+i)))
		c.opened(c.open(1, 0, 1, 0), 0)
		c.send(step(1, 1, 0, protocol.WantNone, ids...))
	}
	eventually(t, "five prompts wait", func() bool { return queued(n) == 5 })
	c := call(t, honest, n, "x")
	c.opened(c.open(1, 0, 1, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, ids...))
	eventually(t, "another's waits", func() bool { return queued(n) == 6 })
	const chunks = (300 + chunkAlone - 1) / chunkAlone
	for range 2 * chunks { // each behind one of the others
		pass()
	}
	if p := answer[protocol.Push](c); p.N != 300 {
		t.Errorf("%d rows", p.N)
	}
	if got := count(t, n, "tokens_total"); got > 2*chunks*chunkAlone {
		t.Errorf("%d tokens were computed in %d passes", got, 2*chunks)
	}
}
