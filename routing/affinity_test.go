package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// both is an offer whose peer reads prompts ten times as fast as it writes.
func both(id string, start, end int, rate uint32) protocol.Offer {
	return told(offered(id, start, end, 4, rate), func(o *protocol.Offer) { o.PrefillRate, o.CacheFree = 10*rate, 5000 })
}

func span(start, end int) protocol.Span { return protocol.Span{Start: start, End: end} }

func TestPlan_PrefersHoldersByWhatThePrefillWouldCost(t *testing.T) {
	// A layer of one token takes 10 ms at a and b, of a prompt 1 ms.
	offers := func(slow uint32) []protocol.Offer {
		return []protocol.Offer{both("a", 0, 2, 100), both("b", 2, 4, 100), both("c", 0, 2, slow), both("d", 2, 4, slow)}
	}
	held := func(tokens int, pairs ...any) map[peer.ID]Held {
		m := map[peer.ID]Held{}
		for i := 0; i < len(pairs); i += 2 {
			m[peer.ID(pairs[i].(string))] = Held{Span: pairs[i+1].(protocol.Span), Tokens: tokens}
		}
		return m
	}
	for _, c := range []struct {
		name   string
		slow   uint32
		held   map[peer.ID]Held
		busy   string
		banned string
		want   string
	}{
		{"nobody holds anything", 50, nil, "", "", "a 0:2, b 2:4"},
		{"500 tokens over 100 steps are worth 5 ms a layer, 10 are too many", 50, held(500, "c", span(0, 2), "d", span(2, 4)), "", "", "a 0:2, b 2:4"},
		{"and 4 are not", 72, held(500, "c", span(0, 2), "d", span(2, 4)), "", "", "c 0:2, d 2:4"},
		{"1,200 tokens are worth 12 ms", 50, held(1200, "c", span(0, 2), "d", span(2, 4)), "", "", "c 0:2, d 2:4"},
		{"behind a hop that finds nothing nothing is found", 50, held(1200, "d", span(2, 4)), "", "", "a 0:2, b 2:4"},
		{"nor for other layers", 50, held(1200, "c", span(0, 1), "d", span(2, 4)), "", "", "a 0:2, b 2:4"},
		{"a busy holder is not waited for", 50, held(1200, "c", span(0, 2), "d", span(2, 4)), "c", "", "a 0:2, b 2:4"},
		{"nor a banned one", 50, held(1200, "c", span(0, 2), "d", span(2, 4)), "", "c", "a 0:2, b 2:4"},
		{"one who holds what is behind is of use still", 50, held(1200, "c", span(0, 2), "d", span(2, 4)), "", "d", "c 0:2, b 2:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := offers(c.slow)
			for i := range all {
				if string(all[i].Peer) == c.busy {
					all[i].Queue = 2 * busyQueue
				}
			}
			m := Measures{Banned: map[peer.ID]bool{peer.ID(c.banned): true}, Affinity: Affinity{Held: c.held, Steps: 100}}
			got, err := Plan(all, m, 4)
			if err != nil {
				t.Fatal(err)
			}
			if s := spelled(got); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

// Strangers see other round trips, and the same offers. They meet where those are nearly the same.
func TestPlan_SessionsThatBeginAlikeMeetAtTheSamePeers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var offers []protocol.Offer
	for i := range 5 {
		offers = append(offers, both(fmt.Sprintf("first%d", i), 0, 2, 20_000+uint32(rng.IntN(9000))),
			both(fmt.Sprintf("second%d", i), 2, 4, 20_000+uint32(rng.IntN(9000))))
	}
	planned := func(name byte) string {
		m := Measures{RTT: map[peer.ID]time.Duration{}, Affinity: Affinity{Name: protocol.Digest{name}, Room: 600}}
		for _, o := range offers {
			m.RTT[o.Peer] = time.Duration(100+rng.IntN(4000)) * time.Microsecond
		}
		hops, err := Plan(offers, m, 4)
		if err != nil {
			t.Fatal(err)
		}
		return spelled(hops)
	}
	chains := map[string]bool{}
	for name := range byte(40) {
		want := planned(name + 1)
		chains[want] = true
		for range 10 {
			if got := planned(name + 1); got != want {
				t.Fatalf("sessions that begin alike go to %s and to %s", got, want)
			}
		}
	}
	if len(chains) < 10 {
		t.Errorf("40 beginnings share %d chains: the peers are not used alike", len(chains))
	}

	far := offers[0].Peer
	for name := range byte(40) {
		m := Measures{RTT: map[peer.ID]time.Duration{far: 300 * time.Millisecond}, Affinity: Affinity{Name: protocol.Digest{name + 1}}}
		if hops, _ := Plan(offers, m, 4); hops[0].Peer == far {
			t.Fatal("somebody went far to meet others")
		}
	}
	offers[0].CacheFree = 100
	for name := range byte(40) {
		m := Measures{Affinity: Affinity{Name: protocol.Digest{name + 1}, Room: 600}}
		if hops, _ := Plan(offers, m, 4); hops[0].Peer == far {
			t.Fatal("somebody went where there is no room")
		}
	}
}

func TestPlan_ASessionsOwnPeersComeBeforeMeetingOthers(t *testing.T) {
	offers := []protocol.Offer{both("a", 0, 4, 1000), both("b", 0, 4, 1000), both("c", 0, 4, 10)}
	for name := range byte(20) {
		m := Measures{Prefer: map[peer.ID]bool{"b": true}, Affinity: Affinity{Name: protocol.Digest{name + 1}}}
		if hops, _ := Plan(offers, m, 4); spelled(hops) != "b 0:4" {
			t.Fatalf("got %s", spelled(hops))
		}
		m.Prefer = map[peer.ID]bool{"x": true}
		if hops, _ := Plan(offers, m, 4); spelled(hops) == "c 0:4" {
			t.Fatal("among strangers speed does not count")
		}
	}
}
