package node

import (
	"io"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestAnswer_OfAnOlderEpochGoesNowhere(t *testing.T) {
	n, pass := held(t, 0, 3)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 3, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, 1, 2))
	eventually(t, "the step waits", func() bool { return queued(n) == 1 })
	// The step runs while the owner opens the session anew: the open waits for it, and is answered first.
	n.mu.Lock()
	p := n.queue.take(func(*hop) int { return chunkAlone }, anyMore)[0]
	begun := n.begin(time.Now(), p.job)
	n.mu.Unlock()
	if !begun {
		t.Fatalf("the step does not run: %v", p.failure)
	}
	c.send(c.open(2, 0, 3, 0))
	eventually(t, "the newer epoch is there", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return p.hop.books.Epoch() == 2
	})
	n.mu.Lock()
	p.done = p.in.N
	n.passed(time.Now(), p.job)
	n.broadcast()
	n.mu.Unlock()
	eventually(t, "the cache is to be cut", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queue.chores) == 1
	})
	pass()
	if o := answer[protocol.Opened](c); o.Epoch != 2 || o.Position != 0 {
		t.Errorf("opened %+v", o)
	}
	c.send(step(2, 1, 0, protocol.WantNone, 5))
	eventually(t, "the next step waits", func() bool { return queued(n) == 1 })
	pass()
	if r := answer[protocol.Result](c); r.Epoch != 2 {
		t.Errorf("the owner hears of a step of epoch %d", r.Epoch)
	}
}

func TestRelease_AnswersWhatWaitsAndWaitsForNobody(t *testing.T) {
	n, _ := held(t, 0, 1)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 1, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, 1))
	eventually(t, "the step waits", func() bool { return queued(n) == 1 })
	// The session gives way to another before the step's turn has come.
	n.mu.Lock()
	h := n.queue.turns[0]
	l := h.leg
	n.table.Close(h.books)
	dropped := n.table.TakeDropped()
	n.mu.Unlock()
	if len(dropped) != 1 || dropped[0] != h.books {
		t.Fatalf("%d sessions were dropped", len(dropped))
	}
	n.release(h.books, make(caches))
	if f := answer[protocol.Failure](c); f.Code != protocol.CodeLostSession || f.Number != 1 {
		t.Errorf("the step is answered by %+v", f)
	}
	if got := queued(n); got != 0 {
		t.Errorf("%d steps of a session that has ended wait", got)
	}
	if l.ctx.Err() == nil {
		t.Error("the hop may go on waiting for its neighbours")
	}
	eventually(t, "the step's memory is given back", func() bool { return reservedBy(n) == 0 })
}

func TestAsk_BoundsWhatASessionMayWantAtOnce(t *testing.T) {
	n := waiting(t) // outputs are never read
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	again := protocol.Replay{Epoch: 1, Until: 1, Through: n.host.ID()}
	for range maxAsked {
		c.send(again)
	}
	if f := c.refused(again, protocol.CodeLostSession); f.Epoch != 1 {
		t.Errorf("the refusal is of epoch %d", f.Epoch)
	}
}

func TestPush_ForAnOwnerWhoHasGoneIsDropped(t *testing.T) {
	n := small(t, time.Millisecond)
	owner, prev := newHost(t), newHost(t)
	c := call(t, owner, n, "s")
	m := c.open(1, 1, 2, 0)
	m.Prev = prev.ID()
	c.opened(m, 0)
	_ = c.s.Reset()
	eventually(t, "the owner has gone", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		s := n.table.Find(session.ID{Owner: owner.ID(), Key: c.key})
		return s != nil && s.Gone(time.Now())
	})
	out := pushTo(t, prev, n)
	rows := protocol.Push{Owner: owner.ID(), Session: c.key, Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{0}, Half: make([]byte, 128)}
	if err := protocol.WriteMessage(out, rows); err != nil {
		t.Fatal(err)
	}
	// What breaks the protocol ends the stream, after the rows have been read.
	if _, err := out.Write([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0xc1, 0xc1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(out); err == nil {
		t.Fatal("the stream has not been reset")
	}
	for range 2 { // chores come before the steps of their round
		n.do(t.Context(), func(caches) {})
	}
	if got := count(t, n, "tokens_total"); got != 0 {
		t.Errorf("%d tokens were computed for nobody", got)
	}
}
