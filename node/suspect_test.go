package node

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestSuspect_BadInputNamesTheHopBefore(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	owner, prev := newHost(t), newHost(t)
	row := func(c *caller, number uint64, position uint32, first uint16) protocol.Push {
		half := make([]byte, 128)
		binary.LittleEndian.PutUint16(half, first)
		return protocol.Push{Owner: owner.ID(), Session: c.key, Epoch: 1, Number: number, Position: position, N: 1, Width: 64, Exp: []byte{0}, Half: half}
	}
	for name, bad := range map[string]func(c *caller) protocol.Push{
		"a NaN":                          func(c *caller) protocol.Push { return row(c, 2, 1, 0x7e00) },
		"an exponent not the canonical":  func(c *caller) protocol.Push { p := row(c, 2, 1, 0); p.Exp[0] = 3; return p },
		"other rows for a step":          func(c *caller) protocol.Push { return row(c, 1, 0, 0x3c00) },
		"a step that was long overtaken": func(c *caller) protocol.Push { return row(c, 1, 1, 0x3c00) },
	} {
		for _, byOwner := range []bool{false, true} {
			way := " on the push stream"
			if byOwner {
				way = " by way of the owner"
			}
			t.Run(name+way, func(t *testing.T) {
				c := call(t, owner, n, way[4:8]+name)
				m := c.open(1, 1, 2, 0)
				m.Prev = prev.ID()
				c.opened(m, 0)
				ask[protocol.Push](c, row(c, 1, 0, 0x4000))
				p := bad(c)
				if byOwner {
					c.send(p)
				} else if err := protocol.WriteMessage(pushTo(t, prev, n), p); err != nil {
					t.Fatal(err)
				}
				f := answer[protocol.Failure](c)
				if f.Code != protocol.CodeBadInput || f.Suspect != prev.ID() || f.Number != p.Number || f.Code.Class() != protocol.Elsewhere {
					t.Errorf("the failure is %+v", f)
				}
				ask[protocol.Push](c, row(c, 2, 1, 0x4000)) // the session goes on
				c.send(protocol.Close{Session: c.key})
			})
		}
	}
}

func TestSuspect_WithoutAHopBeforeItIsTheOwners(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 1, 2, 0), 0)
	p := protocol.Push{Session: c.key, Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{3}, Half: make([]byte, 128)}
	if f := c.refused(p, protocol.CodeBadRequest); f.Suspect != "" {
		t.Errorf("the failure is %+v", f)
	}
}

func TestPush_BadRowsEndTheirStream(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	owner, prev := newHost(t), newHost(t)
	c := call(t, owner, n, "s")
	m := c.open(1, 1, 2, 0)
	m.Prev = prev.ID()
	c.opened(m, 0)
	out := pushTo(t, prev, n)
	p := protocol.Push{Owner: owner.ID(), Session: c.key, Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{3}, Half: make([]byte, 128)}
	eventually(t, "the stream has ended", func() bool { return protocol.WriteMessage(out, p) != nil })
	answer[protocol.Failure](c)
	c.send(protocol.Ping{})
	if msg, err := protocol.ReadMessage(c.s, c.lim); err != nil {
		t.Error(err)
	} else if _, ok := msg.(protocol.Heartbeat); !ok {
		t.Errorf("the owner hears %+v as well", msg)
	}
}

// small gives a node of layer 1 whose sessions may be evicted as soon as their owners are gone.
func small(t *testing.T, gone time.Duration) *Node {
	t.Helper()
	n := made(t, 1, 2, nil)
	n.table = session.New(session.Config{Layers: 3, Context: 640, GoneAfter: gone})
	run(t, n)
	return n
}

func TestEvict_AVanishedClientsPagesAreOthers(t *testing.T) {
	t.Parallel()
	n := small(t, 0) // the default
	var gone []*caller
	for i := range 4 {
		c := call(t, newHost(t), n, string(rune('a'+i)))
		m := c.open(1, 1, 2, 0)
		m.Expect = 512
		c.opened(m, 0)
		gone = append(gone, c)
	}
	c := call(t, newHost(t), n, "x")
	m := c.open(1, 1, 2, 0)
	m.Expect = 640
	c.refused(m, protocol.CodeNoMemory)
	for _, g := range gone[:2] {
		_ = g.s.Reset()
	}
	begun := time.Now()
	for ok := false; !ok; time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 15*time.Second {
			t.Fatal("the pages of clients that are gone stay theirs")
		}
		switch msg := ask[any](c, m).(type) {
		case protocol.Opened:
			ok = true
		case protocol.Failure:
			if msg.Code != protocol.CodeNoMemory {
				t.Fatal(msg)
			}
		}
	}
	if took := time.Since(begun); took < 2900*time.Millisecond {
		t.Errorf("their sessions were lost after %v already", took)
	}
	if got := count(t, n, "evictions_total"); got != 2 {
		t.Errorf("%d sessions were evicted, want 2", got)
	}
	if got := count(t, n, `opens_refused_total{code="no memory"}`); got == 0 {
		t.Error("refused opens are not counted")
	}
}

func TestHandOver_FreesWhatGivesWayForIt(t *testing.T) {
	n := small(t, time.Millisecond)
	first, _ := serve(t, 0, 1, nil)
	from, _ := serve(t, 1, 2, nil)
	owner := newHost(t)
	a := call(t, owner, first, "s")
	a.opened(a.open(1, 0, 1, 0), 0)
	ids := sequence(600)
	rows := []protocol.Push{
		ask[protocol.Push](a, step(1, 1, 0, protocol.WantNone, ids[:512]...)), ask[protocol.Push](a, step(1, 2, 512, protocol.WantNone, ids[512:]...)),
	}
	old := call(t, owner, from, "s")
	old.opened(old.open(1, 1, 2, 0), 0)
	for _, p := range rows {
		ask[protocol.Push](old, old.push(p))
	}
	for i := range 4 { // all of the cache is somebody's, who goes
		c := call(t, newHost(t), n, string(rune('a'+i)))
		m := c.open(1, 1, 2, 0)
		m.Private = true
		c.opened(m, 0)
		ask[protocol.Push](c, c.push(rows[0]))
		_ = c.s.Reset()
	}
	eventually(t, "they are gone", func() bool { return n.Stats().CacheFree == 2048 })
	c := call(t, owner, n, "s")
	m := c.open(2, 1, 2, 0)
	m.From = from.host.ID()
	c.opened(m, 0)
	old.send(protocol.HandOver{Epoch: 2, To: sealed(t, n)})
	if r := answer[protocol.Replayed](c); r.Position != 600 {
		t.Errorf("handed over: %+v", r)
	}
	if got := count(t, n, "handovers_taken_total"); got != 1 {
		t.Errorf("%d hand-overs are counted", got)
	}
}

func TestHandOver_IsRefusedWhereAReplayIsQuicker(t *testing.T) {
	slow, _ := serve(t, 0, 1, func(c *Config) { c.NetRate = 20_000 })
	to, _ := serve(t, 0, 1, nil)
	owner := newHost(t)
	c, d := call(t, owner, slow, "s"), call(t, owner, to, "s")
	c.opened(c.open(1, 0, 1, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, sequence(200)...))
	paused := make(chan error, 1)
	go func() { paused <- slow.Pause(t.Context()) }()
	// 200 tokens: keys and values of a layer and an output row of each, at 15,000 bytes/s.
	want := uint32(200 * (slow.kvBytes + slow.rowBytes()) * 1000 / 15_000)
	if p := answer[protocol.Parting](c); p.HandOverMS < want-1 || p.HandOverMS > want+1 {
		t.Errorf("handing over takes %d ms, want %d", p.HandOverMS, want)
	}
	m := d.open(2, 0, 1, 0)
	m.From = slow.host.ID()
	d.opened(m, 0)
	if f := c.refused(protocol.HandOver{Epoch: 2, To: sealed(t, to)}, protocol.CodeLostSession); f.Epoch != 2 || f.Number != 0 {
		t.Errorf("the failure is %+v", f)
	}
	slow.uplink.SetCap(1e9)
	c.refused(protocol.HandOver{Epoch: 1, To: sealed(t, to)}, protocol.CodeLostSession) // it comes too late: the session is in that epoch
	c.send(protocol.HandOver{Epoch: 2, To: sealed(t, to)})
	if r := answer[protocol.Replayed](d); r.Position != 200 {
		t.Errorf("handed over: %+v", r)
	}
	c.send(protocol.Close{Session: c.key})
	if err := <-paused; err != nil {
		t.Error(err)
	}
}

func TestOpen_ALateOneTakesNoStreamAway(t *testing.T) {
	n, _ := serve(t, 0, 1, nil)
	h := newHost(t)
	c, late := call(t, h, n, "s"), call(t, h, n, "s")
	c.opened(c.open(2, 0, 1, 0), 0)
	if o := ask[protocol.Opened](late, late.open(1, 0, 1, 0)); o.Epoch != 2 {
		t.Errorf("opened %+v", o)
	}
	ask[protocol.Push](c, step(2, 1, 0, protocol.WantNone, 1))
	late.refused(step(1, 1, 0, protocol.WantNone, 1), protocol.CodeLostSession)
}

func TestOpen_TooManyAtOnceWait(t *testing.T) {
	t.Parallel()
	n := waiting(t)
	h := newHost(t)
	c := call(t, h, n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	// An answer that waits for a step to end, which does not.
	c.send(step(1, 1, 0, protocol.WantNone, 1))
	eventually(t, "a step waits", func() bool { return queued(n) == 1 })
	n.mu.Lock()
	s := n.queue.turns[0].books
	if v, _, err := s.Begin(time.Now(), n.queue.jobs[n.queue.turns[0]][0].in); v != session.Compute {
		t.Fatal(err)
	}
	n.mu.Unlock()
	go func() {
		for epoch := uint32(2); protocol.WriteMessage(c.s, c.open(min(epoch, 3), 0, 2, 0)) == nil; epoch++ {
		}
	}()
	opens := func() (all int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, task := range n.hops[s].tasks {
			if _, ok := task.(*opening); ok {
				all++
			}
		}
		return all
	}
	eventually(t, "some opens wait", func() bool { return opens() > 0 })
	time.Sleep(100 * time.Millisecond)
	if got := opens(); got > maxAsked {
		t.Errorf("%d opens wait", got)
	}
	_ = c.s.Reset()
}

func TestDial_SessionsShareOne(t *testing.T) {
	n, _ := serve(t, 0, 1, nil)
	next, _ := serve(t, 1, 2, nil)
	owner := newHost(t)
	const many = 24 // three times as many as may be dialled for at once
	for i := range many {
		c := call(t, owner, n, string(rune('A'+i)))
		m := c.open(1, 0, 1, 0)
		m.Next = sealed(t, next)
		c.opened(m, 0)
		c.send(step(1, 1, 0, protocol.WantNone, 1))
	}
	eventually(t, "all rows have left", func() bool { return count(t, n, direct)+count(t, n, byClient) == many })
	if got := count(t, n, byClient); got > 0 {
		t.Errorf("the rows of %d sessions take the long way", got)
	}
}
