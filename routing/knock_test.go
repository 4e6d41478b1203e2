package routing

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// A process that is gone is in nobody's view long before its offer's time is over, and its next process is at once.
func TestKnock_WhoHasDiedIsOutOfTheDirectory(t *testing.T) {
	a, b := newMember(t, true), newMember(t, true)
	b.mustJoin(t, a)
	b.mustAnnounce(t, layers(0, 4))
	changed := a.Changed()
	if known := a.Known(testModel); len(known) != 1 {
		t.Fatalf("before it dies %d offers are known", len(known))
	}
	if err := b.Host.Close(); err != nil { // its directory says no goodbye
		t.Fatal(err)
	}
	for len(a.Known(testModel)) > 0 {
		select {
		case <-changed:
			changed = a.Changed()
		case <-time.After(offerLife):
			t.Fatal("nobody was told that a peer has died")
		}
	}
}

// A connection that ends proves nothing while somebody listens.
func TestKnock_ABrokenConnectionDoesNoHarm(t *testing.T) {
	a, b := newMember(t, true), newMember(t, true)
	b.mustJoin(t, a)
	b.mustAnnounce(t, layers(0, 4))
	if err := a.Network().ClosePeer(b.ID()); err != nil {
		t.Fatal(err)
	}
	a.knock(b.ID())
	if known := a.Known(testModel); len(known) != 1 {
		t.Fatalf("%d offers are known", len(known))
	}
}

// Whose renewal has not come is asked itself.
func TestAskLate(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, b member) // at the one who is late
		after     []int                        // offers of it that are known after each look
		span      protocol.Span
	}{
		"its renewal was lost": {func(t *testing.T, b member) {
			b.announcing.Lock()
			defer b.announcing.Unlock()
			if _, err := b.seal(layers(2, 6), offerLife); err != nil {
				t.Fatal(err)
			}
		}, []int{1, 1, 1}, protocol.Span{Start: 2, End: 6}},
		"it offers nothing any more": {func(_ *testing.T, b member) {
			b.announcing.Lock()
			defer b.announcing.Unlock()
			b.book.end(b.ID(), b.sequence, time.Now())
		}, []int{0}, protocol.Span{}},
		"it is silent twice": {func(_ *testing.T, b member) {
			b.Host.SetStreamHandler(protocol.DirectoryID, func(s network.Stream) { _ = s.Reset() })
		}, []int{1, 0}, protocol.Span{Start: 0, End: 4}},
		"it is silent twice, and was never reached from here": {func(_ *testing.T, b member) {
			b.Host.SetStreamHandler(protocol.DirectoryID, func(s network.Stream) { _ = s.Reset() })
		}, []int{1, 1, 1}, protocol.Span{Start: 0, End: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newMember(t, true), newMember(t, true)
			b.mustJoin(t, a)
			a.mustAnnounce(t, layers(0, 6))
			b.mustAnnounce(t, layers(0, 4))
			c.meanwhile(t, b)
			a.record.measured(b.ID(), time.Millisecond)
			if strings.Contains(name, "never reached") {
				a.record.mu.Lock()
				delete(a.record.peers, b.ID())
				a.record.mu.Unlock()
			}
			a.book.mu.Lock()
			a.book.entries[b.ID()].born = time.Now().Add(-lateAfter - time.Second)
			a.book.mu.Unlock()
			var silent map[peer.ID]uint64
			for look, want := range c.after {
				silent = a.askLate(silent)
				var of []Seen
				for _, s := range a.Known(testModel) {
					if s.Offer.Peer == b.ID() {
						of = append(of, s)
					}
				}
				if len(of) != want || (want > 0 && of[0].Offer.Span != c.span && look > 0) {
					t.Fatalf("after look %d: %+v", look+1, of)
				}
			}
		})
	}
}

func TestBook_EndsOnlyTheOfferThatWasMeant(t *testing.T) {
	b, now := newBook(), time.Now()
	o := layers(0, 4)
	o.Peer, o.Sequence, o.LifeMS = "somebody", 2, 1000
	if news, err := b.add(&o, []byte("sealed"), 0, now); !news || err != nil {
		t.Fatal(news, err)
	}
	changed := b.changed()
	b.end(o.Peer, 1, now) // it has renewed it since
	if b.offerOf(o.Peer, now) == nil {
		t.Fatal("a newer offer is over")
	}
	b.end(o.Peer, 2, now)
	if b.offerOf(o.Peer, now) != nil || b.live != 0 || len(b.sealed) != 0 {
		t.Fatal("the offer is still there")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	if news, err := b.add(&o, []byte("sealed"), 0, now); news || err != nil {
		t.Errorf("somebody who relays it revives it: %v, %v", news, err)
	}
	again := o
	again.Sequence++
	if news, err := b.add(&again, []byte("renewed"), 0, now); !news || err != nil {
		t.Errorf("its peer does not revive it: %v, %v", news, err)
	}
}

func TestRefused_BelievesMachinesAndNotSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shut, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := func(l net.Listener) string { return fmt.Sprint("/ip4/127.0.0.1/tcp/", l.Addr().(*net.TCPAddr).Port) }
	open, closed := port(l), port(shut)
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	quic := "/ip4/127.0.0.1/udp/9/quic-v1"
	relayed := closed + "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit"
	for name, c := range map[string]struct {
		addrs []string
		want  bool
	}{
		"nobody listens":             {[]string{closed}, true},
		"nor over QUIC, it seems":    {[]string{closed, quic}, true},
		"somebody listens elsewhere": {[]string{closed, open}, false},
		"only QUIC":                  {[]string{quic}, false},
		"only by a relay":            {[]string{relayed}, false},
		"no address":                 {nil, false},
	} {
		var addrs []ma.Multiaddr
		for _, a := range c.addrs {
			addrs = append(addrs, ma.StringCast(a))
		}
		if got := refused(t.Context(), addrs); got != c.want {
			t.Errorf("%s: refused is %v", name, got)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if refused(over, []ma.Multiaddr{ma.StringCast(closed)}) {
		t.Error("a knock that is given up says that nobody is there")
	}
}
