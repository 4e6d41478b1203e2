package node

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// mover is a node that moves, and the shards that it has been given for it.
type mover struct {
	*Node
	t       *testing.T
	mu      sync.Mutex
	lent    map[*shard.Shard]bool // loaded for it and not given back yet; guarded by mu
	retired []store.Span          // guarded by mu
}

// moves runs a node of layers start..end-1 that is going to move, and takes its time to drain.
func moves(t *testing.T, start, end int, drain time.Duration) (*mover, func()) {
	t.Helper()
	m := &mover{t: t, lent: make(map[*shard.Shard]bool)}
	t.Cleanup(func() { // after Run
		for s := range m.lent {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	n, stop := serve(t, start, end, func(c *Config) { c.DrainFor = drain })
	m.Node = n
	t.Cleanup(func() { // so that Run need not wait until their owners count as gone
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, h := range n.hops {
			n.endSession(h, "the test is over")
		}
	})
	return m, stop
}

// beside loads other layers on the node's device. They are closed when they are given back, or when the test ends.
func (m *mover) beside(start, end int) *shard.Shard {
	m.t.Helper()
	dev := shardOf(m.Node).Device()
	s, err := shard.Load(m.t.Context(), tiny, store.Span{Start: start, End: end}, dev, shard.Config{CacheTokens: 2048})
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lent[s] = true
	return s
}

// move moves the node to other layers.
func (m *mover) move(start, end int) {
	m.t.Helper()
	if err := m.Move(m.t.Context(), m.beside(start, end), m.retire); err != nil {
		m.t.Fatal(err)
	}
}

// retire closes a shard that the node has given back.
func (m *mover) retire(s *shard.Shard) {
	span := s.Span()
	if err := s.Close(); err != nil {
		m.t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = append(m.retired, span)
	delete(m.lent, s)
}

// gone says whether so many shards have been given back.
func (m *mover) gone(shards int) func() bool {
	return func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.retired) == shards
	}
}

// neighbour serves layers for which the node's sessions may go elsewhere.
func (m *mover) neighbour(start, end int) *Node {
	m.t.Helper()
	n, _ := serve(m.t, start, end, nil)
	if err := n.directory.Join(m.t.Context(), []peer.AddrInfo{{ID: m.host.ID(), Addrs: m.host.Addrs()}}); err != nil {
		m.t.Fatal(err)
	}
	n.announce(m.t.Context())
	return n
}

func TestMove_OpensNewSessionsOnTheNewLayers(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	h := newHost(t)
	ids := sequence(20)
	old := call(t, h, n.Node, "old")
	old.opened(old.open(1, 0, 2, 0), 0)
	rows := ask[protocol.Push](old, step(1, 1, 0, protocol.WantRows, ids[:10]...))

	n.move(2, 3)
	if o := n.offer(); o.HeadRate == 0 || o.Span != (protocol.Span{Start: 2, End: 3}) || o.Target != o.Span || o.State != protocol.Online {
		t.Errorf("the offer says %v, target %v, state %v, and a head of %d tokens/s", o.Span, o.Target, o.State, o.HeadRate)
	}
	if p := answer[protocol.Parting](old); p.WithinMS < 50_000 || p.WithinMS > 60_000 {
		t.Errorf("the session is served for %d ms", p.WithinMS)
	}
	stale := call(t, h, n.Node, "stale")
	stale.refused(stale.open(1, 0, 2, 0), protocol.CodeNoSuchSpan)
	fresh := call(t, h, n.Node, "fresh")
	fresh.opened(fresh.open(1, 2, 3, 0), 0)
	more := ask[protocol.Push](old, step(1, 2, 10, protocol.WantRows, ids[10:]...)) // it is served still
	want := newOracle(t).logits(ids...)
	for _, p := range []protocol.Push{rows, more} {
		fresh.send(fresh.push(p))
		row := 4 * n.limits.Vocab
		if !bytes.Equal(fresh.logits(p.N), want[int(p.Position)*row:(int(p.Position)+p.N)*row]) {
			t.Errorf("other logits from token %d on than by computing directly", p.Position)
		}
	}
	if s := n.Stats(); s.Sessions != 2 || s.Layers != (protocol.Span{Start: 2, End: 3}) {
		t.Errorf("the node says %+v", s)
	}
	if n.gone(1)() {
		t.Error("a shard with a session has been given back")
	}
	old.send(protocol.Close{Session: old.key})
	eventually(t, "the old shard is given back", n.gone(1))
	fresh.opened(fresh.open(2, 2, 3, 20), 20)
}

func TestMove_LeavesSessionsOfTheOverlapAlone(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	h := newHost(t)
	ids := sequence(30)
	first, _ := serve(t, 0, 1, nil)
	before := call(t, h, first, "s")
	before.opened(before.open(1, 0, 1, 0), 0)
	in := ask[protocol.Push](before, step(1, 1, 0, protocol.WantRows, ids[:20]...))

	c := call(t, h, n.Node, "s")
	c.opened(c.open(1, 1, 2, 0), 0)
	ask[protocol.Push](c, c.push(in))
	n.move(1, 3)
	c.opened(c.open(2, 1, 2, 20), 20) // it hears of nothing, and keeps all
	in = ask[protocol.Push](before, step(1, 2, 20, protocol.WantRows, ids[20:]...))
	in.Epoch = 2
	out := ask[protocol.Push](c, c.push(in))

	last := call(t, h, n.Node, "last")
	last.opened(last.open(1, 2, 3, 0), 0)
	out.Epoch = 1
	out.Position = 0 // nothing of what was before matters to the count
	last.send(last.push(out))
	last.logits(10)
	if got := count(t, n.Node, "tokens_total"); got != 40 {
		t.Errorf("%d tokens were computed for 40", got)
	}
	c.send(protocol.Close{Session: c.key})
	eventually(t, "the old shard is given back", n.gone(1))
}

func TestMove_EndsWhatHasNotGoneElsewhereInTime(t *testing.T) {
	t.Parallel()
	n, _ := moves(t, 0, 2, 50*time.Millisecond)
	n.neighbour(0, 2)
	h := newHost(t)
	outside, inside := call(t, h, n.Node, "outside"), call(t, h, n.Node, "inside")
	outside.opened(outside.open(1, 0, 2, 0), 0)
	inside.opened(inside.open(1, 0, 1, 0), 0)
	n.move(0, 1)
	answer[protocol.Parting](outside)
	eventually(t, "one session is left", func() bool { return n.Stats().Sessions == 1 })
	outside.refused(step(1, 1, 0, protocol.WantNone, 1), protocol.CodeLostSession)
	outside.refused(outside.open(2, 0, 2, 0), protocol.CodeNoSuchSpan)
	ask[protocol.Push](inside, step(1, 1, 0, protocol.WantNone, 1))
	if n.gone(1)() {
		t.Error("a shard with a session has been given back")
	}
	_ = inside.s.Reset()
	eventually(t, "the old shard is given back when its last owner has gone", n.gone(1))
}

func TestMove_EndsNothingThatNobodyElseServes(t *testing.T) {
	t.Parallel()
	n, _ := moves(t, 0, 3, 0)
	n.neighbour(0, 1)
	c := call(t, newHost(t), n.Node, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	n.move(2, 3)
	if p := answer[protocol.Parting](c); p.WithinMS != 0 {
		t.Errorf("it is served for %d ms", p.WithinMS)
	}
	time.Sleep(2 * tendEvery)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1))
	n.neighbour(1, 2)
	eventually(t, "the session is ended", func() bool { return n.Stats().Sessions == 0 })
	eventually(t, "the old shard is given back", n.gone(1))
}

func TestMove_TakesAHandOverOnTheShardOfItsSession(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	owner := newHost(t)
	from, _ := serve(t, 0, 1, nil)
	ids := sequence(150)
	old := call(t, owner, from, "s")
	old.opened(old.open(1, 0, 1, 0), 0)
	rows := ask[protocol.Push](old, step(1, 1, 0, protocol.WantNone, ids[:140]...))

	c := call(t, owner, n.Node, "s")
	m := c.open(2, 0, 1, 0)
	m.From = from.host.ID()
	c.opened(m, 0)
	n.move(0, 3)
	old.send(protocol.HandOver{Epoch: 2, To: sealed(t, n.Node)})
	if r := answer[protocol.Replayed](c); r.Position != 140 {
		t.Errorf("%d tokens were taken over, want 140", r.Position)
	}
	n.move(0, 1) // once more, with a shard between
	c.opened(c.open(3, 0, 1, 140), 140)
	more := ask[protocol.Push](c, step(3, 2, 140, protocol.WantNone, ids[140:]...))
	if got := count(t, n.Node, "tokens_total"); got != 10 {
		t.Errorf("%d tokens were computed for 10", got)
	}
	last, _ := serve(t, 1, 3, nil)
	tail := call(t, owner, last, "s")
	tail.opened(tail.open(1, 1, 3, 0), 0)
	want := newOracle(t).logits(ids...)
	for _, p := range []protocol.Push{rows, more} {
		p.Epoch, p.Want = 1, protocol.WantRows
		tail.send(tail.push(p))
		row := 4 * n.limits.Vocab
		if !bytes.Equal(tail.logits(p.N), want[int(p.Position)*row:(int(p.Position)+p.N)*row]) {
			t.Errorf("other logits from token %d on than by computing directly", p.Position)
		}
	}
	eventually(t, "the shard between is given back", n.gone(1))
}

func TestMove_HoldsAndGoesOnInTheMidstOfIt(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	h := newHost(t)
	inside, outside := call(t, h, n.Node, "inside"), call(t, h, n.Node, "outside")
	inside.opened(inside.open(1, 1, 2, 0), 0)
	outside.opened(outside.open(1, 0, 2, 0), 0)
	n.move(1, 3)
	answer[protocol.Parting](outside)
	paused := make(chan error, 1)
	go func() { paused <- n.Pause(t.Context()) }()
	answer[protocol.Parting](inside)
	answer[protocol.Parting](outside)
	inside.refused(inside.open(2, 1, 3, 0), protocol.CodeDraining) // that would be a new one
	if s := n.Stats(); s.State != protocol.Draining {
		t.Errorf("the node says %+v", s)
	}
	n.move(0, 3) // it moves on while it holds
	if err := n.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-paused; err == nil {
		t.Error("a pause that was called off ended well")
	}
	fresh := call(t, h, n.Node, "fresh")
	fresh.opened(fresh.open(1, 0, 3, 0), 0)
	outside.opened(outside.open(2, 0, 2, 640), 0) // nothing of it was computed
	ask[protocol.Push](outside, step(2, 1, 0, protocol.WantNone, 1))
	for _, c := range []*caller{inside, outside, fresh} {
		c.send(protocol.Close{Session: c.key})
	}
	eventually(t, "all shards but one are given back", n.gone(2))
	eventually(t, "the sessions are closed", func() bool { return n.Stats().Sessions == 0 }) // a close has no answer
	if s := n.Stats(); s.State != protocol.Online {
		t.Errorf("the node says %+v", s)
	}
}

func TestMove_RefusesWhatItCanNotServe(t *testing.T) {
	n, stop := moves(t, 0, 2, 0)
	err := n.Move(t.Context(), loadedOf(t, long, 0, 1, 640), nil)
	if err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("it moves to a shard of another model: %v", err)
	}
	if err := n.Move(t.Context(), shardOf(n.Node), nil); err == nil {
		t.Error("it moves to where it is")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	next := n.beside(0, 1)
	for range 20 { // the self-test is withdrawn, or has begun
		if err := n.Move(gone, next, nil); err == nil {
			break // it had been done before the context was looked at
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	stop()
	idle := made(t, 0, 1, nil)
	if err := idle.Move(t.Context(), loaded(t, 0, 2), nil); err == nil {
		t.Error("a node moves that does not run")
	}
	if got := n.Stats().Sessions; got != 0 {
		t.Errorf("%d sessions are left", got)
	}
}

func TestMove_ASessionThatKeepsNothingBeginsAnewOnTheNewLayers(t *testing.T) {
	n, _ := moves(t, 0, 2, time.Minute)
	h := newHost(t)
	ids := sequence(10)
	c := call(t, h, n.Node, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, ids...))
	n.move(0, 3)
	c.opened(c.open(2, 0, 3, 10), 0)
	c.send(step(2, 2, 0, protocol.WantRows, ids...))
	if !bytes.Equal(c.logits(10), newOracle(t).logits(ids...)) {
		t.Error("other logits than by computing directly")
	}
	eventually(t, "the old shard is given back", n.gone(1))
	if got := n.Stats().Sessions; got != 1 {
		t.Errorf("%d sessions are left", got)
	}
}

func TestMove_RunGivesAllShardsBack(t *testing.T) {
	n, stop := moves(t, 0, 1, 0)
	h := newHost(t)
	var callers []*caller
	for i, key := range []string{"a", "b"} {
		c := call(t, h, n.Node, key)
		c.opened(c.open(1, 0, 1, 0), 0)
		callers = append(callers, c)
		n.move(0, i+2)
	}
	third := n.beside(1, 2)
	if err := n.Move(t.Context(), third, nil); err == nil {
		t.Error("there is no end of shards")
	}
	if got := n.Stats().Sessions; got != 2 {
		t.Errorf("%d sessions are left", got)
	}
	stop()
	if !n.gone(2)() {
		t.Errorf("given back are %v", n.retired)
	}
	if left := leftOver(); left != "" {
		t.Errorf("after Run has returned there is\n%s", left)
	}
	if err := n.Move(context.Background(), third, nil); err == nil {
		t.Error("a node that has left moves on")
	}
	_ = callers
}

func TestAim_AnnouncesWhatIsToCome(t *testing.T) {
	n, _ := serve(t, 0, 1, func(c *Config) { c.Fixed, c.Capacity = true, 2 })
	span, target := protocol.Span{Start: 0, End: 1}, protocol.Span{Start: 1, End: 3}
	says := func(want protocol.Span) {
		t.Helper()
		seen := n.directory.Known(n.limits.Model)
		if len(seen) != 1 || seen[0].Offer.Span != span || seen[0].Offer.Target != want || !seen[0].Offer.Fixed || seen[0].Offer.Capacity != 2 {
			t.Errorf("the swarm knows %+v", seen)
		}
	}
	says(span)
	for _, aim := range []protocol.Span{target, span} {
		if err := n.Aim(t.Context(), aim); err != nil {
			t.Fatal(err)
		}
		says(aim)
	}
	for _, bad := range []protocol.Span{{Start: 1, End: 1}, {Start: -1, End: 1}, {Start: 0, End: 4}} {
		if err := n.Aim(t.Context(), bad); err == nil {
			t.Errorf("it aims at layers %v", bad)
		}
	}
}
