package node

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
)

// chain is a session along some nodes as its owner has it.
type chain struct {
	t     *testing.T
	host  host.Host
	key   string
	hops  []*caller
	nodes []*Node
	epoch uint32
}

// sealed gives the signed offer of a node.
func sealed(t *testing.T, n *Node, addrs ...string) []byte {
	t.Helper()
	o := n.offer()
	o.Version, o.Peer, o.Sequence, o.LifeMS, o.Addrs = protocol.OfferVersion, n.host.ID(), 1, 1000, addrs
	if len(addrs) == 0 {
		for _, a := range n.host.Addrs() {
			o.Addrs = append(o.Addrs, a.String())
		}
	}
	b, err := protocol.Seal(o, n.host.Peerstore().PrivKey(n.host.ID()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// threeNodes serves a layer each.
func threeNodes(t *testing.T) []*Node {
	t.Helper()
	var nodes []*Node
	for i := range 3 {
		n, _ := serve(t, i, i+1, nil)
		nodes = append(nodes, n)
	}
	return nodes
}

// newChain calls the nodes, each of which is to compute what it serves.
func newChain(t *testing.T, h host.Host, key string, nodes ...*Node) *chain {
	t.Helper()
	c := &chain{t: t, host: h, key: key, nodes: nodes}
	for _, n := range nodes {
		c.hops = append(c.hops, call(t, h, n, key))
	}
	return c
}

// shardOf is the shard that takes a node's new sessions.
func shardOf(n *Node) *shard.Shard {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current().shard
}

// open opens the session at all hops in a new epoch, and gives the positions.
func (c *chain) open(position int, change func(hop int, m *protocol.Open)) []int {
	c.t.Helper()
	c.epoch++
	for i, hop := range c.hops {
		span := shardOf(c.nodes[i]).Span()
		m := hop.open(c.epoch, span.Start, span.End, position)
		if i > 0 {
			m.Prev = c.nodes[i-1].host.ID()
		}
		if i < len(c.hops)-1 {
			m.Next = sealed(c.t, c.nodes[i+1])
		}
		if change != nil {
			change(i, &m)
		}
		hop.send(m)
	}
	var at []int
	for _, hop := range c.hops {
		o := answer[protocol.Opened](hop)
		if o.Epoch != c.epoch {
			c.t.Fatalf("opened %+v, want epoch %d", o, c.epoch)
		}
		at = append(at, int(o.Position))
	}
	return at
}

// replace has another node at a place of the chain.
func (c *chain) replace(hop int, n *Node) {
	c.nodes = slices.Clone(c.nodes)
	c.nodes[hop] = n
	c.hops[hop] = call(c.t, c.host, n, c.key)
}

func (c *chain) first() *caller { return c.hops[0] }

func (c *chain) last() *caller { return c.hops[len(c.hops)-1] }

// step runs tokens through the chain and gives their logits.
func (c *chain) step(number uint64, position int, ids ...uint32) []byte {
	c.t.Helper()
	c.first().send(step(c.epoch, number, position, protocol.WantRows, ids...))
	return c.last().logits(len(ids))
}

// rows is some of the rows of logits.
func (c *chain) rows(logits []byte, from, n int) []byte {
	row := 4 * c.nodes[0].limits.Vocab
	return logits[from*row : (from+n)*row]
}

// same reports logits that are not those of tokens position.. by direct computation.
func (c *chain) same(got, want []byte, position, n int, what string) {
	c.t.Helper()
	if !bytes.Equal(got, c.rows(want, position, n)) {
		c.t.Errorf("other logits than by computing directly: %s", what)
	}
}

// count reads a counter.
func count(t *testing.T, n *Node, name string) int {
	t.Helper()
	for line := range strings.Lines(scrape(t, n)) {
		if value, ok := strings.CutPrefix(line, "baichuan_node_"+name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(v)
		}
	}
	return 0
}

const direct, byClient = `pushes_total{way="direct"}`, `pushes_total{way="client"}`

// counts checks a counter of each node.
func (c *chain) counts(name string, want ...int) {
	c.t.Helper()
	for i, n := range c.nodes {
		if got := count(c.t, n, name); got != want[i] {
			c.t.Errorf("hop %d: %s is %d, want %d", i, name, got, want[i])
		}
	}
}

// resetPushes resets the push streams between two nodes, at the receiver.
func resetPushes(from, to *Node) int {
	reset := 0
	for _, conn := range to.host.Network().ConnsToPeer(from.host.ID()) {
		for _, s := range conn.GetStreams() {
			if s.Protocol() == protocol.PushID {
				_ = s.Reset()
				reset++
			}
		}
	}
	return reset
}

func TestPush_RowsGoStraightFromHopToHop(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	ids := sequence(80)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:70]...), want, 0, 70, "a prompt")
	for i := 70; i < 80; i++ {
		c.same(c.step(uint64(i), i, ids[i]), want, i, 1, "a token")
	}
	// The owner hears of results alone: the caller of a hop that is not the last would have failed over a Push.
	c.counts(direct, 11, 11, 0)
	c.counts(byClient, 0, 0, 0)
	for _, hop := range c.hops[:2] {
		hop.send(protocol.Ping{})
		msg, err := protocol.ReadMessage(hop.s, hop.lim)
		if b, ok := msg.(protocol.Heartbeat); err != nil || !ok || b.Number != 0 || b.Progress == 0 {
			t.Errorf("an idle hop says %+v, %v", msg, err)
		}
	}
}

func TestPush_WhatABrokenStreamHasLostComesAgain(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	ids := sequence(60)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:20]...), want, 0, 20, "a prompt")
	for i := 20; i < 60; i++ {
		// Before the step, or as it is on its way: then it may be lost, or not.
		if i%2 == 0 {
			resetPushes(c.nodes[0], c.nodes[1])
		}
		c.first().send(step(c.epoch, uint64(i), i, protocol.WantRows, ids[i]))
		if i%2 == 1 {
			time.Sleep(time.Duration(i%8) * 100 * time.Microsecond)
			resetPushes(c.nodes[0], c.nodes[1])
			resetPushes(c.nodes[1], c.nodes[2])
		}
		for done := false; !done; {
			r := answer[protocol.Result](c.last())
			if r.Number == uint64(i) { // else an earlier one is told again
				c.same(r.Logits, want, i, 1, fmt.Sprintf("token %d", i))
				done = true
			}
		}
	}
	c.counts("tokens_total", 60, 60, 60)
	c.counts(byClient, 0, 0, 0)
	if count(t, c.nodes[0], "push_repairs_total") == 0 {
		t.Error("nothing was repaired")
	}
}

// A neighbour that repairs its way opens a new stream while the old one's frames may still be read: those that come long
// after the new one's are no step that came too early, and not its fault.
func TestPush_WhatABrokenStreamBringsLateIsNobodysFault(t *testing.T) {
	n, _ := serve(t, 1, 3, nil)
	prev := newHost(t)
	rec := record(t, "s")
	c := call(t, newHost(t), n, "s")
	m := c.open(1, 1, 3, 0)
	m.Prev = prev.ID()
	c.opened(m, 0)
	broken, anew := pushTo(t, prev, n), pushTo(t, prev, n)
	push := func(s io.Writer, p protocol.Push) {
		p.Owner, p.Epoch = c.s.Conn().LocalPeer(), 1
		if err := protocol.WriteMessage(s, c.push(p)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range rec.steps[:4] {
		push(anew, p)
		c.logits(p.N)
	}
	push(broken, rec.steps[0]) // the ledger has 3 and 4
	push(broken, rec.steps[1])
	push(broken, rec.steps[2])
	c.logits(rec.steps[2].N) // told again, and nothing before it
	forged := rec.steps[3]   // that of a known number is its sender's fault
	forged.Position++
	push(broken, forged)
	if f := answer[protocol.Failure](c); f.Suspect != prev.ID() {
		t.Errorf("the owner hears %+v", f)
	}
	push(anew, rec.steps[4])
	c.logits(rec.steps[4].N)
	if got := count(t, n, "tokens_total"); got != 24 {
		t.Errorf("%d tokens were computed for 24", got)
	}
}

func TestPush_NothingIsRepairedForAnOwnerWhoHasGone(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	ids := sequence(30)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:20]...), want, 0, 20, "a prompt")
	for _, hop := range c.hops {
		_ = hop.s.Reset()
	}
	for i := range 2 {
		eventually(t, "the owner's stream has ended", func() bool { return c.nodes[i+1].openStreams() == 1 })
		resetPushes(c.nodes[i], c.nodes[i+1])
		eventually(t, "the push stream has ended", func() bool { return c.nodes[i+1].openStreams() == 0 })
	}
	time.Sleep(50 * time.Millisecond) // in which the hops before would have opened others
	for i, n := range c.nodes {
		if got := n.openStreams(); got != 0 {
			t.Errorf("hop %d: %d streams are open", i, got)
		}
		c.hops[i] = call(t, c.host, n, c.key)
	}
	c.counts("push_repairs_total", 0, 0, 0)
	c.open(20, nil)
	c.same(c.step(2, 20, ids[20:]...), want, 20, 10, "what follows when the owner has come back")
}

func TestLosePush_LosesWhatIsThenSentAgain(t *testing.T) {
	var nodes []*Node
	var sends atomic.Int64
	for i := range 3 {
		n, _ := serve(t, i, i+1, func(cfg *Config) {
			cfg.LosePush = func() bool { return sends.Add(1)%5 == 0 }
		})
		nodes = append(nodes, n)
	}
	c := newChain(t, newHost(t), "s", nodes...)
	ids := sequence(40)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	for i, number := 0, uint64(1); i < 40; i, number = i+1, number+1 {
		c.first().send(step(c.epoch, number, i, protocol.WantRows, ids[i]))
		for done := false; !done; {
			r := answer[protocol.Result](c.last())
			if done = r.Number == number; done { // else an earlier one is told again
				c.same(r.Logits, want, i, 1, fmt.Sprintf("token %d", i))
			}
		}
	}
	c.counts("tokens_total", 40, 40, 40)
	if lost, repairs := sends.Load()/5, count(t, nodes[0], "push_repairs_total")+count(t, nodes[1], "push_repairs_total"); lost == 0 || repairs == 0 {
		t.Errorf("%d frames were lost, %d streams repaired", lost, repairs)
	}
}

func TestPush_GoesByWayOfTheOwnerIfTheNextHopIsOutOfReach(t *testing.T) {
	c := newChain(t, newHost(t), "s", threeNodes(t)...)
	ids := sequence(30)
	want := newOracle(t).logits(ids...)
	c.open(0, func(hop int, m *protocol.Open) {
		if hop == 0 {
			m.Next = sealed(t, c.nodes[1], "/ip4/127.0.0.1/tcp/1")
		}
	})
	for i, number := 0, uint64(1); i < 30; i, number = i+10, number+1 {
		c.first().send(step(c.epoch, number, i, protocol.WantRows, ids[i:i+10]...))
		c.hops[1].send(answer[protocol.Push](c.first()))
		c.same(c.last().logits(10), want, i, 10, "some tokens")
	}
	c.counts(direct, 0, 3, 0)
	c.counts(byClient, 3, 0, 0)
	c.open(30, nil) // the next open tries again
	c.first().send(step(c.epoch, 9, 30, protocol.WantRows, 5))
	c.last().logits(1)
	c.counts(byClient, 3, 0, 0)
}

func TestPush_OfAStrangerIsIgnored(t *testing.T) {
	nodes := threeNodes(t)
	owner, stranger := newHost(t), newHost(t)
	c := newChain(t, owner, "s", nodes...)
	ids := sequence(20)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:10]...), want, 0, 10, "a prompt")

	forged := protocol.Push{
		Owner: owner.ID(), Session: c.first().key, Epoch: 1, Number: 2, Position: 10, Want: protocol.WantRows, N: 1, Width: 64,
		Exp: []byte{0}, Half: make([]byte, 128),
	}
	page := protocol.Page{Owner: owner.ID(), Session: c.first().key, Epoch: 1, Index: 1, Tokens: 64, Layer: 1, Bytes: []byte{1}}
	for _, from := range []host.Host{stranger, owner, nodes[2].host} { // the owner itself has its control stream
		s := pushTo(t, from, nodes[1])
		for _, msg := range []any{forged, protocol.Names{Owner: owner.ID(), Session: c.first().key, Epoch: 1}, page} {
			if err := protocol.WriteMessage(s, msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(100 * time.Millisecond)
	c.same(c.step(2, 10, ids[10:]...), want, 10, 10, "after frames of strangers")
	c.counts("tokens_total", 20, 20, 20)
}

func pushTo(t *testing.T, from host.Host, n *Node) network.Stream {
	t.Helper()
	if err := from.Connect(t.Context(), peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := from.NewStream(t.Context(), n.host.ID(), protocol.PushID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset() })
	return s
}

func TestPush_WaitsForItsSessionToBeOpened(t *testing.T) {
	nodes := threeNodes(t)
	h := newHost(t)
	ids := sequence(5)
	first, second, third := call(t, h, nodes[0], "s"), call(t, h, nodes[1], "s"), call(t, h, nodes[2], "s")
	m := first.open(1, 0, 1, 0)
	m.Next = sealed(t, nodes[1])
	first.opened(m, 0)
	first.send(step(1, 1, 0, protocol.WantRows, ids...))
	eventually(t, "the rows are on their way", func() bool { return count(t, nodes[0], direct) == 1 })
	time.Sleep(50 * time.Millisecond)
	m = second.open(1, 1, 2, 0)
	m.Prev, m.Next = nodes[0].host.ID(), sealed(t, nodes[2])
	ask[protocol.Opened](second, m) // before it is computed, or after
	m = third.open(1, 2, 3, 0)
	m.Prev = nodes[1].host.ID()
	third.send(m)
	for {
		if _, ok := third.receive().(protocol.Opened); ok {
			break
		}
	}
	if !bytes.Equal(third.logits(5), newOracle(t).logits(ids...)) {
		t.Error("other logits than by computing directly")
	}
}
