package node

import (
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// leastConns and mostConns are what a host whose connections are trimmed keeps of those that nobody needs.
const leastConns, mostConns = 2, 4

// newTrimming makes a host like those of routing.NewHost, which trims 384 connections down to 192 and spares young ones.
func newTrimming(t *testing.T) host.Host {
	t.Helper()
	conns, err := connmgr.NewConnManager(leastConns, mostConns, connmgr.WithGracePeriod(0))
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.ConnectionManager(conns), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// crowdOf connects hosts that want nothing.
func crowdOf(t *testing.T, h host.Host) (ids []peer.ID) {
	t.Helper()
	for range 3 * mostConns {
		idle := newHost(t)
		if err := idle.Connect(t.Context(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, idle.ID())
	}
	return ids
}

func connected(h host.Host, to ...peer.ID) (n int) {
	for _, id := range to {
		if h.Network().Connectedness(id) == network.Connected {
			n++
		}
	}
	return n
}

// When there are too many connections, those to a session's owner, to the hop before and to the next one stay, whatever becomes
// of others; once it is over, they are protected no longer.
func TestSession_KeepsItsConnectionsWhenOthersAreTrimmed(t *testing.T) {
	var nodes []*Node
	for i := range 3 {
		n := madeOn(t, newTrimming(t), tiny, loaded(t, i, i+1), nil)
		run(t, n)
		nodes = append(nodes, n)
	}
	owner := newHost(t)
	c := newChain(t, owner, "kept", nodes...)
	ids := sequence(3)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:2]...), want, 0, 2, "before")

	needed := [][]peer.ID{
		{owner.ID(), nodes[1].host.ID()}, {owner.ID(), nodes[0].host.ID(), nodes[2].host.ID()}, {owner.ID(), nodes[1].host.ID()},
	}
	key := c.first().key
	tag := (&hop{books: &session.Session{ID: session.ID{Owner: owner.ID(), Key: key}}}).tag()
	protected := func(n *Node, id peer.ID) bool { // the directory may protect it, too
		if id == owner.ID() {
			return n.host.ConnManager().IsProtected(id, protectTag(key))
		}
		return n.host.ConnManager().IsProtected(id, tag)
	}
	for i, n := range nodes {
		others := crowdOf(t, n.host)
		eventually(t, "all are connected", func() bool { return connected(n.host, others...) == len(others) })
		n.host.ConnManager().TrimOpenConns(t.Context())
		if left := connected(n.host, others...); left > leastConns {
			t.Errorf("hop %d: %d of %d connections that nobody needs are left", i, left, len(others))
		}
		if left := connected(n.host, needed[i]...); left != len(needed[i]) {
			t.Errorf("hop %d: %d of %d connections that a session needs are left", i, left, len(needed[i]))
		}
		for k, id := range needed[i] {
			if !protected(n, id) {
				t.Errorf("hop %d: connection %d that a session needs is not protected", i, k)
			}
		}
	}
	c.same(c.step(2, 2, ids[2]), want, 2, 1, "after")
	c.counts("push_repairs_total", 0, 0, 0)

	for _, hop := range c.hops {
		hop.send(protocol.Close{Session: hop.key})
	}
	for i, n := range nodes {
		for _, id := range needed[i] {
			eventually(t, "the session needs nothing any more", func() bool { return !protected(n, id) })
		}
	}
}
