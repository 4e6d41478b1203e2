package routing

import (
	"crypto/rand"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// hostile is a host that answers the directory's questions as it likes; nil is a reset.
func hostile(t *testing.T, answer func(msg any) any) host.Host {
	t.Helper()
	h, err := NewHost(HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.SetStreamHandler(protocol.DirectoryID, func(st network.Stream) {
		defer st.Close()
		msg, err := protocol.ReadMessage(st, protocol.Limits{})
		if err != nil {
			return
		}
		if reply := answer(msg); reply != nil {
			_ = protocol.WriteMessage(st, reply)
			return
		}
		_ = st.Reset()
	})
	return h
}

// A keeper that says each time that it knows a higher sequence would have offers made, and told to everybody, without end.
func TestDirectory_HurriesAFewTimesAtMost(t *testing.T) {
	var puts atomic.Int64
	keeper := hostile(t, func(msg any) any {
		p, ok := msg.(protocol.Put)
		if !ok {
			return protocol.Offers{}
		}
		puts.Add(1)
		o, err := protocol.Unseal(p.Offer)
		if err != nil {
			return nil
		}
		return protocol.PutDone{Newest: o.Sequence + 1}
	})
	m := newMember(t, true)
	if err := m.Join(t.Context(), []peer.AddrInfo{{ID: keeper.ID(), Addrs: keeper.Addrs()}}); err != nil {
		t.Fatal(err)
	}
	m.mustAnnounce(t, layers(0, 6))
	waitFor(t, "offers that come early", func() bool { return puts.Load() >= 1+maxHurries })
	time.Sleep(200 * time.Millisecond)
	if n := puts.Load(); n > 1+maxHurries {
		t.Errorf("%d offers, want %d", n, 1+maxHurries)
	}
}

// Who answers the dial first may answer no question. The other is slower than Join waits for when one is there.
func TestJoin_GoesOnToWhoAnswers(t *testing.T) {
	silent := hostile(t, func(any) any { return nil })
	good := newMember(t, true)
	good.mustAnnounce(t, layers(0, 6))
	client := newMember(t, false)
	err := client.Join(t.Context(), []peer.AddrInfo{
		{ID: silent.ID(), Addrs: silent.Addrs()},
		{ID: good.ID(), Addrs: []ma.Multiaddr{slowly(t, good, joinGrace+300*time.Millisecond)}},
	})
	if known := client.Known(testModel); err != nil || len(known) != 1 {
		t.Errorf("%v, %d offers are known", err, len(known))
	}
}

func TestJoin_WaitsForNobodyWhenOneIsThere(t *testing.T) {
	first, late := newMember(t, true), newMember(t, true)
	first.mustAnnounce(t, layers(0, 6))
	client := newMember(t, false)
	hour := slowly(t, late, time.Hour)
	soon := slowly(t, late, joinGrace+300*time.Millisecond)
	for name, at := range map[string]ma.Multiaddr{"never": hour, "late": soon} {
		began := time.Now()
		err := client.Join(t.Context(), []peer.AddrInfo{{ID: late.ID(), Addrs: []ma.Multiaddr{at}}, {ID: first.ID(), Addrs: first.Addrs()}})
		if took := time.Since(began); err != nil || took > joinTimeout/2 || len(client.Known(testModel)) != 1 {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
	waitFor(t, "the late one", func() bool { return Connected(client.Host, late.ID()) })
}

// slowly is an address that leads to a member after a while.
func slowly(t *testing.T, m member, after time.Duration) ma.Multiaddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var at string
	for _, a := range m.Addrs() {
		if kind, to, err := manet.DialArgs(a); err == nil && kind == "tcp4" {
			at = to
		}
	}
	go func() { // until the listener and the hosts are closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				select {
				case <-time.After(after):
				case <-t.Context().Done():
					return
				}
				to, err := net.Dial("tcp", at)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, c) }()
				_, _ = io.Copy(c, to)
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	a, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A process whose sequences were driven up as far as that goes is believed after its restart, at its own word.
func TestDirectory_TakesAPeerThatIsBornAgain(t *testing.T) {
	keeper := newMember(t, true)
	keeper.mustAnnounce(t, layers(0, 6))
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	put := func(sequence, boot uint64) {
		o := layers(0, 6)
		o.Version, o.Peer, o.Sequence, o.LifeMS, o.Boot = protocol.OfferVersion, id, sequence, 24000, boot
		sealed, err := protocol.Seal(o, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := keeper.take(id, protocol.Put{Offer: sealed}).(protocol.PutDone); !ok {
			t.Fatal("the offer is not taken")
		}
	}
	put(maxSequence+1, 98)
	keeper.book.end(id, maxSequence+1, time.Now())
	put(7, 99)
	if o := keeper.book.offerOf(id, time.Now()); o == nil || o.Sequence != 7 {
		t.Errorf("its offer is %+v", o)
	}
}

// seenBy is a connection to a peer at some address.
type seenBy struct {
	network.Conn
	local, remote ma.Multiaddr
}

func (c seenBy) LocalMultiaddr() ma.Multiaddr  { return c.local }
func (c seenBy) RemoteMultiaddr() ma.Multiaddr { return c.remote }
func (c seenBy) RemotePeer() peer.ID           { return "somebody" }

// A stranger that says it sees us in its private network would have us believe that ours is the same, and dial into it.
func TestReach_TakesNoPrivateAddressFromOutside(t *testing.T) {
	for from, believed := range map[string]bool{"/ip4/8.8.8.8/tcp/999": false, "/ip4/10.9.9.8/tcp/999": true} {
		h, _, r := reachable(t, ReachConfig{}, "/ip4/127.0.0.1/tcp/0")
		local := slices.DeleteFunc(h.Network().ListenAddresses(), func(a ma.Multiaddr) bool { return !isTCP(a) })[0]
		r.mu.Lock()
		r.observe(seenBy{local: local, remote: ma.StringCast(from)}, ma.StringCast("/ip4/10.9.9.9/tcp/1"))
		r.mu.Unlock()
		holes := (*holes)(r).FilterRemote("", []ma.Multiaddr{ma.StringCast("/ip4/192.168.1.1/tcp/80")})
		if len(holes) > 0 != believed || r.Now().BehindNAT != believed {
			t.Errorf("from %s: holes to %v, behind a NAT %v", from, holes, r.Now().BehindNAT)
		}
	}
}
