package routing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// offered is an online offer of peer id for layers start..end-1 of layers.
func offered(id string, start, end, layers int, rate uint32) protocol.Offer {
	s := protocol.Span{Start: start, End: end}
	return protocol.Offer{Version: 1, Peer: peer.ID(id), Sequence: 1, Span: s, Target: s, Layers: layers,
		State: protocol.Online, DecodeRate: rate}
}

// told changes an offer.
func told(o protocol.Offer, change func(*protocol.Offer)) protocol.Offer {
	change(&o)
	return o
}

// spelled writes a chain as "a 0:2, b 2:4".
func spelled(hops []Hop) string {
	var all []string
	for _, h := range hops {
		all = append(all, fmt.Sprintf("%s %s", string(h.Peer), h.Span))
	}
	return strings.Join(all, ", ")
}

func TestPlan_FindsTheFastestChain(t *testing.T) {
	ms := func(pairs ...any) map[peer.ID]time.Duration {
		m := map[peer.ID]time.Duration{}
		for i := 0; i < len(pairs); i += 2 {
			m[peer.ID(pairs[i].(string))] = time.Duration(pairs[i+1].(int)) * time.Millisecond
		}
		return m
	}
	set := func(names ...string) map[peer.ID]bool {
		m := map[peer.ID]bool{}
		for _, n := range names {
			m[peer.ID(n)] = true
		}
		return m
	}
	half := []protocol.Offer{offered("a", 0, 2, 4, 1000), offered("b", 2, 4, 4, 1000)}
	for _, c := range []struct {
		name   string
		offers []protocol.Offer
		m      Measures
		want   string
	}{
		{"one peer with all layers", []protocol.Offer{offered("a", 0, 4, 4, 0)}, Measures{}, "a 0:4"},
		{"two halves", half, Measures{}, "a 0:2, b 2:4"},
		{"fewer hops where rates are equal", append(half, offered("c", 0, 4, 4, 1000)), Measures{}, "c 0:4"},
		{"two near hops before one far", append(half, offered("c", 0, 4, 4, 1000)), Measures{RTT: ms("a", 1, "b", 1, "c", 30)}, "a 0:2, b 2:4"},
		{"a span is cut", []protocol.Offer{offered("a", 0, 3, 4, 1000), offered("b", 1, 4, 4, 10)}, Measures{}, "a 0:3, b 3:4"},
		{"a span is cut at its front", []protocol.Offer{offered("a", 0, 3, 4, 10), offered("b", 1, 4, 4, 1000)}, Measures{}, "a 0:1, b 1:4"},
		{"the lower peer among equals", []protocol.Offer{offered("b", 0, 4, 4, 9), offered("a", 0, 4, 4, 9)}, Measures{}, "a 0:4"},
		{"the faster head", []protocol.Offer{offered("a", 0, 2, 4, 1000),
			told(offered("b", 2, 4, 4, 1000), func(o *protocol.Offer) { o.HeadRate = 100 }),
			told(offered("c", 2, 4, 4, 800), func(o *protocol.Offer) { o.HeadRate = 200 })}, Measures{}, "a 0:2, c 2:4"},
		{"a head in the middle costs nothing", []protocol.Offer{
			told(offered("a", 0, 3, 4, 1000), func(o *protocol.Offer) { o.HeadRate = 1 }), offered("b", 1, 4, 4, 10)}, Measures{}, "a 0:3, b 3:4"},
		{"the faster peer", []protocol.Offer{offered("a", 0, 4, 4, 9), offered("b", 0, 4, 4, 10)}, Measures{}, "b 0:4"},
		{"a banned peer is left out", append(half, offered("c", 0, 4, 4, 1)), Measures{Banned: set("b")}, "a 0:2, c 2:4"},
		{"a session's peers first", append(half, offered("c", 0, 4, 4, 100000)), Measures{Prefer: set("a", "b")}, "a 0:2, b 2:4"},
		{"a session's peer and a newcomer", append(half, offered("c", 0, 4, 4, 100000)), Measures{Prefer: set("a", "x")}, "a 0:2, c 2:4"},
		{"draining, joining and leaving peers are left out", []protocol.Offer{
			told(offered("a", 0, 4, 4, 1000), func(o *protocol.Offer) { o.State = protocol.Draining }),
			told(offered("b", 0, 4, 4, 1000), func(o *protocol.Offer) { o.State = protocol.Joining }),
			told(offered("c", 0, 4, 4, 1000), func(o *protocol.Offer) { o.State = protocol.Leaving }),
			offered("d", 0, 4, 4, 1)}, Measures{}, "d 0:4"},
		{"an offer for another depth is left out", []protocol.Offer{offered("a", 0, 4, 5, 1000), offered("d", 0, 4, 4, 1)}, Measures{}, "d 0:4"},
		{"the newest offer of a peer counts", []protocol.Offer{offered("a", 0, 4, 4, 1000),
			told(offered("a", 0, 2, 4, 1000), func(o *protocol.Offer) { o.Sequence = 2 }), offered("b", 1, 4, 4, 1)}, Measures{}, "a 0:2, b 2:4"},
		{"a peer does not come twice: it goes through", []protocol.Offer{offered("a", 0, 4, 4, 100), offered("b", 1, 2, 4, 100000)},
			Measures{RTT: ms("a", 0, "b", 0)}, "a 0:4"},
		{"a peer does not come twice: another takes the rest", []protocol.Offer{offered("a", 0, 4, 4, 1), offered("b", 1, 2, 4, 100000),
			offered("c", 2, 4, 4, 2)}, Measures{}, "a 0:1, b 1:2, c 2:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Plan(c.offers, c.m, 4)
			if err != nil {
				t.Fatal(err)
			}
			if s := spelled(got); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestPlanSpan_PlansAPieceOfAChain(t *testing.T) {
	offers := []protocol.Offer{
		offered("a", 0, 8, 8, 1000), offered("b", 2, 4, 8, 4000), offered("c", 4, 7, 8, 4000), offered("d", 6, 8, 8, 9000),
	}
	for _, c := range []struct {
		span   protocol.Span
		banned peer.ID
		want   string
	}{
		{protocol.Span{Start: 2, End: 4}, "", "b 2:4"},
		{protocol.Span{Start: 3, End: 6}, "a", "b 3:4, c 4:6"},
		{protocol.Span{Start: 4, End: 8}, "a", "c 4:6, d 6:8"},
		{protocol.Span{Start: 1, End: 5}, "a", "no peer serves layers 1:2 that may be asked (1 banned)"},
		{protocol.Span{Start: 5, End: 8}, "d", "a 5:8"},
	} {
		hops, err := PlanSpan(offers, Measures{Banned: map[peer.ID]bool{c.banned: true}}, 8, c.span)
		got := spelled(hops)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("layers %v without %s: %s, want %s", c.span, string(c.banned), got, c.want)
		}
	}
}

func TestPlan_NamesTheLayersWithoutAPeer(t *testing.T) {
	for _, c := range []struct {
		offers []protocol.Offer
		want   string
	}{
		{nil, "no peer serves layers 0:8"},
		{[]protocol.Offer{offered("a", 0, 2, 8, 1), offered("b", 4, 8, 8, 1)}, "no peer serves layers 2:4"},
		{[]protocol.Offer{offered("a", 1, 4, 8, 1), offered("b", 3, 7, 8, 1)}, "no peer serves layers 0:1, 7:8"},
	} {
		_, err := Plan(c.offers, Measures{}, 8)
		var none *NoChainError
		if !errors.As(err, &none) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// cost is a chain's time by the definition in the package comment, and -1 if it is no chain.
func cost(hops []Hop, m Measures, layers int) int64 {
	at, sum := 0, int64(0)
	seen := map[peer.ID]bool{}
	rtt := func(o protocol.Offer) int64 {
		if r, known := m.RTT[o.Peer]; known {
			return r.Microseconds()
		}
		if o.Relayed {
			return 100_000
		}
		return 50_000
	}
	for k, h := range hops {
		o := h.Offer
		if h.Span.Start != at || h.Span.End <= at || seen[h.Peer] || h.Span.Start < o.Span.Start || h.Span.End > o.Span.End {
			return -1
		}
		at, seen[h.Peer] = h.Span.End, true
		rho := int64(min(o.Busy, 999))
		c := (1_000_000 + int64(o.DecodeRate) - 1) / int64(o.DecodeRate)
		head := int64(0)
		if o.HeadRate > 0 && o.Span.End == layers {
			head = (1_000_000 + int64(o.HeadRate) - 1) / int64(o.HeadRate)
		}
		if h.Span.End == layers {
			sum += head
		}
		fix := 150 + (150+c*int64(o.Span.Len())+head)*rho/(1000-rho)
		if o.Relayed {
			fix += 20_000
		}
		if len(m.Prefer) > 0 && !m.Prefer[h.Peer] {
			c += 1 << 40
		}
		if m.Affinity.Room > int(o.CacheFree) {
			fix += 10_000_000
		}
		sum += fix + c*int64(h.Span.Len())
		if k == 0 {
			sum += rtt(o) / 2
			continue
		}
		before := hops[k-1].Offer
		sum += pairRTT(before, o, rtt(before), rtt(o)) / 2
		if before.NetRate > 0 {
			sum += 10_304 * 1_000_000 / int64(before.NetRate)
		}
		if before.Relayed {
			sum += 20_000
		}
	}
	if at != layers {
		return -1
	}
	return sum + rtt(hops[len(hops)-1].Offer)/2
}

// pairRTT is the round trip between two peers: the longest that either says, or the longer of their ways to the client.
func pairRTT(a, b protocol.Offer, toA, toB int64) int64 {
	most := int64(-1)
	for _, n := range a.Near {
		if n.Peer == protocol.TailOf(b.Peer) {
			most = max(most, n.RTT.Microseconds())
		}
	}
	for _, n := range b.Near {
		if n.Peer == protocol.TailOf(a.Peer) {
			most = max(most, n.RTT.Microseconds())
		}
	}
	if toA == 0 && toB == 0 {
		return 0
	}
	if most >= 0 {
		return most
	}
	if a.Relayed || b.Relayed {
		return toA + toB
	}
	return max(toA, toB)
}

// cheapest tries all chains.
func cheapest(offers []protocol.Offer, m Measures, layers int) int64 {
	return cheapestWith(offers, m, layers, "")
}

// cheapestWith tries all chains that have some peer.
func cheapestWith(offers []protocol.Offer, m Measures, layers int, with peer.ID) int64 {
	best := int64(-1)
	var try func(at int, hops []Hop)
	try = func(at int, hops []Hop) {
		if at == layers {
			if c := cost(hops, m, layers); (with == "" || slices.ContainsFunc(hops, func(h Hop) bool { return h.Peer == with })) && c >= 0 && (best < 0 || c < best) {
				best = c
			}
			return
		}
		for _, o := range offers {
			for end := at + 1; end <= o.Span.End; end++ {
				if o.Span.Start <= at {
					try(end, append(hops[:len(hops):len(hops)], Hop{o.Peer, protocol.Span{Start: at, End: end}, o}))
				}
			}
		}
	}
	try(0, nil)
	return best
}

// someSwarm draws a small swarm in which everything that has a price differs.
func someSwarm(rng *rand.Rand, layers int) ([]protocol.Offer, Measures) {
	m := Measures{RTT: map[peer.ID]time.Duration{}, Prefer: map[peer.ID]bool{}, Affinity: Affinity{Room: 100 * rng.IntN(2)}}
	names := []string{"a", "b", "c", "d", "e"}[:1+rng.IntN(5)]
	var offers []protocol.Offer
	for _, name := range names {
		start := rng.IntN(layers)
		o := offered(name, start, start+1+rng.IntN(layers-start), layers, uint32(1+rng.IntN(2000)))
		o.CacheFree, o.Relayed = uint32(50+rng.IntN(500)), rng.IntN(8) == 0
		if rng.IntN(3) == 0 {
			o.Busy = uint32(rng.IntN(1001))
		}
		if o.HeadRate = uint32(1 + rng.IntN(2000)); rng.IntN(3) == 0 {
			o.HeadRate = 0
		}
		if rng.IntN(3) == 0 {
			o.NetRate = uint64(10_000 + rng.IntN(10_000_000))
		}
		for _, other := range names {
			if other != name && rng.IntN(3) == 0 {
				o.Near = append(o.Near, protocol.Near{Peer: protocol.TailOf(peer.ID(other)), RTT: time.Duration(rng.IntN(3000)) * time.Microsecond})
			}
		}
		if rng.IntN(5) > 0 {
			m.RTT[o.Peer] = time.Duration(rng.IntN(2000)) * time.Microsecond
		}
		if rng.IntN(6) == 0 {
			m.RTT[o.Peer] = 0
		}
		if rng.IntN(6) == 0 {
			m.Prefer[o.Peer] = true
		}
		offers = append(offers, o)
	}
	return offers, m
}

func TestPlan_EqualsTheExhaustiveSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		layers := 1 + rng.IntN(5)
		offers, m := someSwarm(rng, layers)
		want := cheapest(offers, m, layers)
		got, err := Plan(offers, m, layers)
		if (err == nil) != (want >= 0) {
			t.Fatalf("%v: got %v, %v, want cost %d", offers, got, err, want)
		}
		if err == nil && cost(got, m, layers) != want {
			t.Fatalf("%+v: got %s at %d, want %d", offers, spelled(got), cost(got, m, layers), want)
		}
		rng.Shuffle(len(offers), func(i, j int) { offers[i], offers[j] = offers[j], offers[i] })
		if again, _ := Plan(offers, m, layers); !reflect.DeepEqual(got, again) {
			t.Fatalf("the order of the offers changes %s to %s", spelled(got), spelled(again))
		}
	}
}

// crowded is a swarm of n peers with 40 layers, spread over the world: unequal speeds and spans, some busy, all with a few
// measured neighbours.
func crowded(n int) ([]protocol.Offer, Measures) {
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	m := Measures{RTT: map[peer.ID]time.Duration{}, Affinity: Affinity{Room: 600}}
	offers := make([]protocol.Offer, n)
	for i := range offers {
		start := rng.IntN(40)
		o := offered(fmt.Sprintf("peer%08d", rng.IntN(1e8)), start, min(40, start+4+rng.IntN(16)), 40, uint32(50+rng.IntN(2000)))
		o.CacheFree, o.Busy, o.Relayed = uint32(rng.IntN(9000)), uint32(rng.IntN(900)), rng.IntN(10) == 0
		m.RTT[o.Peer] = time.Duration(1+rng.IntN(300)) * time.Millisecond
		offers[i] = o
	}
	for i := range offers {
		for range 10 {
			offers[i].Near = append(offers[i].Near, protocol.Near{Peer: protocol.TailOf(offers[rng.IntN(n)].Peer), RTT: time.Duration(1+rng.IntN(300)) * time.Millisecond})
		}
	}
	return offers, m
}

// Looking at the 16 soonest sources of a layer alone loses nothing.
func TestPlan_FindsTheSameAsWithAllSources(t *testing.T) {
	for n := 100; n <= 300; n += 50 {
		offers, m := crowded(n)
		got, err := Plan(offers, m, 40)
		if err != nil {
			t.Fatal(err)
		}
		if c, least := cost(got, m, 40), leastTime(offers, m, 40); c != least {
			t.Errorf("%d peers: a chain of %d us, want %d", n, c, least)
		}
	}
}

// leastTime is the shortest path with all sources, a peer's return allowed.
func leastTime(offers []protocol.Offer, m Measures, layers int) int64 {
	p := newPlanner(offers, m, layers, protocol.Span{End: layers})
	n := len(p.peers)
	time := make([]int64, n)
	lags := make([]int64, n*n)
	for i := range lags {
		a, b := &p.peers[i/n], &p.peers[i%n]
		lags[i] = a.send + between(a, b)/2
	}
	for layer := range layers {
		next := make([]int64, n)
		for q := range next {
			next[q] = never
			c := &p.peers[q]
			if layer < c.span.Start || layer >= c.span.End {
				continue
			}
			if layer == 0 {
				next[q] = c.in + c.enter()
			} else {
				next[q] = time[q]
				for s := range n {
					if time[s] != never && s != q {
						next[q] = min(next[q], time[s]+lags[s*n+q]+c.enter())
					}
				}
			}
			if next[q] != never {
				next[q] += c.layer
			}
		}
		time = next
	}
	best := int64(never)
	for q := range time {
		if time[q] != never {
			best = min(best, time[q]+p.peers[q].out)
		}
	}
	return best
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{30, 100, 1000} {
		offers, m := crowded(n)
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := Plan(offers, m, 40); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Slow peers with fast ones amid their spans, in so many places that the search ends by its bound.
func TestPlan_StaysAChainWhereTheSearchIsCutShort(t *testing.T) {
	const blocks = 30
	layers := 3 * blocks
	m := Measures{RTT: map[peer.ID]time.Duration{}}
	var offers []protocol.Offer
	for b := range blocks {
		slow := offered(fmt.Sprintf("slow%02d", b), 3*b, 3*b+3, layers, 10)
		fast := offered(fmt.Sprintf("fast%02d", b), 3*b+1, 3*b+2, layers, 1000)
		m.RTT[slow.Peer], m.RTT[fast.Peer] = time.Millisecond, time.Millisecond
		offers = append(offers, slow, fast)
	}
	got, err := Plan(offers, m, layers)
	if err != nil || cost(got, m, layers) < 0 {
		t.Fatalf("got %s, %v", spelled(got), err)
	}
}

func TestPickModel_FindsItByNameOrID(t *testing.T) {
	model := func(peer, name string, id byte) protocol.Offer {
		return told(offered(peer, 0, 1, 1, 1), func(o *protocol.Offer) {
			o.ModelName = name
			for i := range o.Model {
				o.Model[i] = id
			}
		})
	}
	mini, other, twin := model("a", "mini", 0xaa), model("b", "other", 0xbb), model("c", "Mini", 0xcc)
	both := []protocol.Offer{mini, other}
	for _, c := range []struct {
		name   string
		offers []protocol.Offer
		want   string
		peer   string
		fault  string
	}{
		{"the only one", []protocol.Offer{mini, model("d", "mini", 0xaa)}, "", "a", ""},
		{"by name", both, "MINI", "a", ""},
		{"by the beginning of its id", both, "BBBBBBBB", "b", ""},
		{"by its id", both, other.Model.String(), "b", ""},
		{"a beginning too short", both, "bbbbbbb", "", `no peer of the swarm serves "bbbbbbb": there is mini (aaaaaaaaaaaaaaaa), other (bbbbbbbbbbbbbbbb)`},
		{"one of several", both, "", "", "the swarm serves several such models: name one of mini (aaaaaaaaaaaaaaaa), other (bbbbbbbbbbbbbbbb)"},
		{"a name that two have", append(both, twin), "mini", "", "the swarm serves several such models: name one of mini (aaaaaaaaaaaaaaaa), Mini (cccccccccccccccc)"},
		{"an empty swarm", nil, "mini", "", "no peer of the swarm serves a model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := PickModel(c.offers, c.want)
			if c.fault != "" {
				if err == nil || err.Error() != c.fault {
					t.Fatalf("got %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil || string(got.Peer) != c.peer {
				t.Fatalf("got %q, %v, want %s", string(got.Peer), err, c.peer)
			}
		})
	}
}
