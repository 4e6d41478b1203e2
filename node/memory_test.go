package node

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// reservedBy is the memory that the streams of a node have reserved.
func reservedBy(n *Node) (bytes int64) {
	for _, conn := range n.host.Network().Conns() {
		for _, s := range conn.GetStreams() {
			if s.Protocol() == protocol.SessionID || s.Protocol() == protocol.PushID {
				bytes += s.Scope().Stat().Memory
			}
		}
	}
	return bytes
}

func TestMemory_OfStreamsIsReleasedWithEachAnswer(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	c := call(t, newHost(t), n, "s")
	before := reservedBy(n)
	c.opened(c.open(1, 0, 3, 0), 0)
	ids := sequence(60)
	released := func(what string) {
		t.Helper()
		eventually(t, "all memory is released after "+what, func() bool { return reservedBy(n) == before })
	}
	c.send(step(1, 1, 0, protocol.WantRows, ids[:20]...))
	c.logits(20)
	released("rows")
	c.send(step(1, 1, 0, protocol.WantRows, ids[:20]...))
	c.logits(20)
	released("rows from the ledger")
	ask[protocol.Result](c, step(1, 2, 20, protocol.WantCandidates, ids[20:40]...))
	released("candidates")
	ask[protocol.Result](c, step(1, 2, 20, protocol.WantCandidates, ids[20:40]...))
	released("candidates from the ledger")
	ask[protocol.Result](c, step(1, 3, 40, protocol.WantNone, ids[40]))
	released("nothing")
	c.refused(step(1, 4, 50, protocol.WantNone, ids[50]), protocol.CodeLostSession)
	released("a refusal")
	c.refused(protocol.Push{Session: protocol.Key{9}, Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{3}, Half: make([]byte, 128)}, protocol.CodeLostSession)
	released("rows of another session")
	c.opened(c.open(2, 0, 3, 20), 20)
	released("an open")
}

// accounts is what a node's memory is said to be, at one moment between two passes.
type accounts struct {
	pages, used, promised int
	bytes                 int64
	ended                 bool // sessions have ended that are not freed yet
}

func accountsOf(n *Node) (a accounts) {
	n.do(context.Background(), func(all caches) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for s, c := range all {
			a.pages += (c.Len() + kernels.PageSize - 1) / kernels.PageSize
			a.ended = a.ended || s.Closed()
		}
		a.used, a.promised, a.bytes = 2048-n.current().shard.CacheFree(), n.promised(), n.current().shard.CacheBytes()
	})
	return a
}

// tenant is an owner of a session of layer 0 who does what comes to mind.
type tenant struct {
	*caller
	epoch    uint32
	number   uint64
	position int
}

// movesIn opens the tenant's session, if there is room.
func (c *tenant) movesIn(rng *rand.Rand) bool {
	m := c.open(c.epoch, 0, 1, 0)
	m.Expect, m.Private = uint32(rng.IntN(300)), true
	o, ok := ask[any](c.caller, m).(protocol.Opened)
	c.number = o.Last // it may be there still
	return ok
}

// acts does one thing, and says whether the tenant stays.
func (c *tenant) acts(rng *rand.Rand, ids []uint32) bool {
	switch {
	case rng.IntN(6) == 0:
		c.send(protocol.Close{Session: c.key})
		return false
	case rng.IntN(6) == 0:
		_ = c.s.Reset() // its pages may be taken by others
		return false
	case rng.IntN(5) == 0:
		c.epoch++
		c.position = rng.IntN(c.position + 1)
		c.opened(c.open(c.epoch, 0, 1, c.position), c.position)
		return true
	}
	size := min(1+rng.IntN(150), len(ids)-c.position)
	if size == 0 {
		return true
	}
	switch m := ask[any](c.caller, step(c.epoch, c.number+1, c.position, protocol.WantNone, ids[c.position:c.position+size]...)).(type) {
	case protocol.Push:
		c.number++
		c.position += size
	case protocol.Failure:
		if m.Code != protocol.CodeNoMemory {
			c.t.Fatal(m)
		}
	}
	return true
}

// agree holds the books, the caches and the metric of a node against each other. page is the bytes of one, as far as known.
func agree(t *testing.T, n *Node, page int64) int64 {
	t.Helper()
	var a accounts
	eventually(t, "what has ended is freed", func() bool { a = accountsOf(n); return !a.ended })
	if a.used != a.pages*kernels.PageSize || a.used > a.promised || a.promised > 2048 {
		t.Fatalf("caches hold %d pages, the shard has %d tokens in use, promised are %d", a.pages, a.used, a.promised)
	}
	if page == 0 && a.pages > 0 {
		page = a.bytes / int64(a.pages)
	}
	if a.bytes != page*int64(a.pages) {
		t.Fatalf("%d pages of %d bytes are said to be %d", a.pages, page, a.bytes)
	}
	eventually(t, "the metric says so", func() bool { return int64(count(t, n, "cache_bytes")) == accountsOf(n).bytes }) // a close may be under way
	return page
}

func TestMemory_OfSessionsIsAccountedToTheByte(t *testing.T) {
	t.Parallel()
	n := made(t, 0, 1, nil)
	n.table = session.New(session.Config{Layers: 3, Context: 640, GoneAfter: time.Millisecond})
	run(t, n)
	rng := rand.New(rand.NewPCG(7, 7))
	owners := []host.Host{newHost(t), newHost(t)}
	ids := sequence(640)
	page := int64(0) // bytes
	var tenants [7]*tenant
	for i := range 140 {
		at := rng.IntN(len(tenants))
		c := tenants[at]
		stays := false
		if c == nil {
			c = &tenant{caller: call(t, owners[at%2], n, string(rune('a'+at))), epoch: uint32(1000 * (i + 1))}
			stays = c.movesIn(rng)
		} else {
			stays = c.acts(rng, ids)
		}
		if tenants[at] = c; !stays {
			tenants[at] = nil
		}
		page = agree(t, n, page)
	}
	for _, c := range tenants {
		if c != nil {
			c.send(protocol.Close{Session: c.key})
		}
	}
	for id := range 4 { // those whose owners have gone give way
		c := call(t, owners[0], n, string(rune('p'+id)))
		m := c.open(1, 0, 1, 0)
		m.Expect = 512
		eventually(t, "there is room", func() bool { _, ok := ask[any](c, m).(protocol.Opened); return ok })
		defer c.send(protocol.Close{Session: c.key})
	}
	eventually(t, "nothing is left", func() bool { a := accountsOf(n); return a.used == 0 && a.pages == 0 && count(t, n, "cache_bytes") == 0 })
}

// A chore that frees what was cut comes late, when a step has begun and was given up meanwhile: what was computed of it stays.
func TestTrim_LeavesWhatWasComputedMeanwhile(t *testing.T) {
	n, pass := hold(t, made(t, 0, 1, nil))
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 1, 0), 0)
	ids := sequence(400)
	c.send(step(1, 1, 0, protocol.WantNone, ids[:60]...))
	eventually(t, "the step waits", func() bool { return queued(n) == 1 })
	pass()
	answer[protocol.Push](c)
	c.send(c.open(2, 0, 1, 40))
	var late []*chore
	eventually(t, "the cut is to be freed", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		late = n.queue.takeChores()
		return len(late) > 0
	})
	prompt := step(2, 2, 40, protocol.WantNone, ids[40:340]...)
	c.send(prompt)
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	pass()
	c.send(c.open(3, 0, 1, 640))
	eventually(t, "it is given up", func() bool { return queued(n) == 0 })
	n.mu.Lock()
	n.queue.chores = append(n.queue.chores, late...)
	n.mu.Unlock()
	pass()
	prompt.Epoch = 3
	c.send(prompt)
	eventually(t, "it has come again", func() bool { return queued(n) == 1 })
	for queued(n) > 0 {
		pass()
	}
	if got := count(t, n, "tokens_total"); got != 60+300 {
		t.Errorf("%d tokens were computed for 360", got)
	}
}

func TestOpen_InALoopWaitsForWhatHasEnded(t *testing.T) {
	n, pass := hold(t, made(t, 0, 1, nil))
	c := call(t, newHost(t), n, "s")
	const all = maxDropped + 100
	dropped := func() int { // not one that is open still, or a pass would be thought to free it
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.table.Dropped()
	}
	for epoch := range uint32(all) {
		c.send(c.open(epoch+1, 0, 1, 0))
		c.send(protocol.Close{Session: c.key})
	}
	eventually(t, "as many as may have ended", func() bool { return dropped() == maxDropped })
	time.Sleep(10 * time.Millisecond) // one more would come now
	n.mu.Lock()
	got := len(n.hops)
	n.mu.Unlock()
	if got != maxDropped {
		t.Errorf("%d sessions hold memory, want %d at most", got, maxDropped)
	}
	for seen := 0; seen < all; seen += maxDropped {
		pass()
		eventually(t, "the next may be opened", func() bool { return dropped() == min(maxDropped, max(0, all-seen-maxDropped)) })
	}
}
