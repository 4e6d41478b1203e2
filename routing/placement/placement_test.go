package placement

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// made draws a swarm: everybody at some place, some of them on the way to another.
func made(rng *rand.Rand, layers, peers int) View {
	v := View{Layers: layers, RTT: far}
	for i := range peers {
		k := 1 + rng.IntN(layers)
		a := rng.IntN(layers - k + 1)
		sp := protocol.Span{Start: a, End: a + k}
		v.Peers = append(v.Peers, Peer{ID: fmt.Sprintf("%08x-%d", rng.Uint32(), i), Held: sp, Target: sp, Layers: k, Rate: 50 + rng.Int64N(2000)})
	}
	return v
}

// far is a round trip made of the ids alone: they tell where on a line a peer is. No detour is shorter than the way.
func far(a, b string) time.Duration {
	at := func(id string) (n int) {
		for _, c := range id {
			n = (n*31 + int(c)) % 150
		}
		return n
	}
	return time.Duration(5+max(at(a)-at(b), at(b)-at(a))) * time.Millisecond
}

// slowScore rates a placement by trying all chains: layer by layer, every peer to every peer.
func slowScore(v View) Score {
	s := newSwarm(v, "")
	s.ready()
	tau := int64(0)
	for _, client := range s.probes {
		tau += slowest(s, client)
	}
	s.load.count(s, -1)
	return s.score(s.load.gaps(), s.load.singles(), s.load.least(), tau/int64(len(s.probes)))
}

// slowest is one client's least time, without sources, lists and early ends.
func slowest(s *swarm, client []int64) int64 {
	n := len(s.peers)
	times := slices.Repeat([]int64{never}, n)
	for layer := range s.layers {
		next := slices.Repeat([]int64{never}, n)
		for q, sp := range s.at {
			if layer < sp.Start || layer >= sp.End {
				continue
			}
			best := times[q]
			if layer == 0 {
				best = client[q] + int64(hopCost)
			}
			for p := range s.at {
				if times[p] < never {
					best = min(best, times[p]+s.delay[p][q]+int64(hopCost))
				}
			}
			next[q] = best + s.step[q]
		}
		times = next
	}
	least := int64(never)
	for p, t := range times {
		least = min(least, t+client[p])
	}
	return least
}

// TestMeasure_EqualsTheSearchOfAllChains also shows that 16 sources at a boundary are enough.
func TestMeasure_EqualsTheSearchOfAllChains(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	covered := 0
	for range 300 {
		v := made(rng, 1+rng.IntN(20), 1+rng.IntN(30))
		got := Measure(v)
		if got.Gaps > 0 {
			continue
		}
		covered++
		if want := slowScore(v); got.Score != want {
			t.Fatalf("%+v: %v, want %v", v.Peers, got.Score, want)
		}
	}
	if covered < 100 {
		t.Fatalf("only %d of the swarms have all layers", covered)
	}
}

// TestOwn_EqualsRatingEachPlacement: the pass that rates all places of one peer finds what rating them one by one finds,
// except where a chain would leave the peer and come back to it: there it may say more, never less.
func TestOwn_EqualsRatingEachPlacement(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	equal, all := 0, 0
	for range 200 {
		v := made(rng, 2+rng.IntN(16), 1+rng.IntN(14))
		s := newSwarm(v, "")
		i := rng.IntN(len(s.peers))
		for _, sp := range s.choices(i) {
			got := s.without(i).at(sp)
			old := s.at[i]
			s.at[i] = sp
			want := s.measure().Score
			s.at[i] = old
			all++
			switch {
			case got == want:
				equal++
			case got.Gaps != want.Gaps || got.J < want.J:
				t.Fatalf("peer %d at %v of %+v: %v, want %v", i, sp, v.Peers, got, want)
			}
		}
	}
	if equal < all*95/100 {
		t.Errorf("%d of %d are equal", equal, all)
	}
}

func TestDecisions_DoNotDependOnTheOrderOfTheView(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 10 {
		v := made(rng, 8+rng.IntN(20), 3+rng.IntN(8))
		turned := v
		turned.Peers = slices.Clone(v.Peers)
		rng.Shuffle(len(turned.Peers), func(a, b int) {
			turned.Peers[a], turned.Peers[b] = turned.Peers[b], turned.Peers[a]
		})
		if a, b := Measure(v), Measure(turned); a != b {
			t.Fatalf("measured %v and %v", a, b)
		}
		me := Self{ID: "me", Choices: Spans(v.Layers, 3), Rate: 300}
		if a, b := Join(v, me), Join(turned, me); a != b {
			t.Fatalf("joins at %v and at %v", a, b)
		}
		a, gainA := Plan(v)
		b, gainB := Plan(turned)
		if !slices.Equal(a, b) || gainA != gainB {
			t.Fatalf("plans %v and %v", a, b)
		}
		placed, other := Place(v), Place(turned)
		for i, p := range v.Peers {
			j := slices.IndexFunc(turned.Peers, func(q Peer) bool { return q.ID == p.ID })
			if placed[i] != other[j] {
				t.Fatalf("%s is placed at %v and at %v", p.ID, placed[i], other[j])
			}
		}
	}
}

// TestPlan_IsSafeStepByStep: each move of a plan leaves every layer a holder, and the whole is worth it.
func TestPlan_IsSafeStepByStep(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	moves := 0
	for range 20 {
		v := made(rng, 8+rng.IntN(20), 4+rng.IntN(9))
		before := Measure(v.coarse())
		plan, gain := Plan(v)
		gaps := before.Gaps
		for _, m := range plan {
			i := slices.IndexFunc(v.Peers, func(p Peer) bool { return p.ID == m.Peer })
			v.Peers[i].Target = m.To
			now := Measure(v.coarse()).Gaps
			if now > gaps {
				t.Fatalf("move %v opens a gap", m)
			}
			gaps = now
			moves++
		}
		after := Measure(v.coarse())
		if got := before.gain(after.Score); len(plan) > 0 && (got != gain || got <= 0) {
			t.Fatalf("the plan's gain is %d, it says %d", got, gain)
		}
	}
	if moves == 0 {
		t.Fatal("no plan moves anybody")
	}
}

// TestPlace_FindsTheBestOfAll in swarms that are small enough to try everything.
func TestPlace_FindsTheBestOfAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	found := 0
	const swarms = 60
	for range swarms {
		v := made(rng, 5+rng.IntN(5), 2+rng.IntN(3))
		want := tryAll(v, 0)
		for i, sp := range Place(v) {
			v.Peers[i].Target = sp
		}
		got := weakest(v)
		if got > want || got*100 < want*92 {
			t.Fatalf("%+v: %d, the best is %d", v.Peers, got, want)
		}
		if got == want {
			found++
		}
	}
	if found < swarms*9/10 {
		t.Errorf("found the best in %d of %d swarms", found, swarms)
	}
}

func weakest(v View) int64 {
	rate := make([]int64, v.Layers)
	for _, p := range v.Peers {
		for x := p.Target.Start; x < p.Target.End; x++ {
			rate[x] += p.Rate * 1000 / int64(p.Target.Len())
		}
	}
	return slices.Min(rate)
}

// tryAll tries all places of the peers from i on.
func tryAll(v View, i int) (best int64) {
	if i == len(v.Peers) {
		return weakest(v)
	}
	for _, sp := range Spans(v.Layers, v.Peers[i].Layers) {
		v.Peers[i].Target = sp
		best = max(best, tryAll(v, i+1))
	}
	return best
}

// TestCoarse_ForgivesSmallErrors: what differs by a few percent is mostly the same, and nothing grows.
func TestCoarse_ForgivesSmallErrors(t *testing.T) {
	steps := tenths()
	for n := int64(0); n < 1<<30; n += 1 + n/7 {
		if got := roundDown(steps, n); got > n || got < n-n/10-1 {
			t.Fatalf("%d becomes %d", n, got)
		}
	}
}

// TestJoin_FillsTheGapsOfPetalsVectors: where Petals' rule has an answer that is the only one without a gap more, ours is
// the same.
func TestJoin_FillsTheGapsOfPetalsVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/petals.txt")
	if err != nil {
		t.Fatal(err)
	}
	choose := regexp.MustCompile(`^choose (\d+) k=(\d+)\s+\{(.*)\} .*-> \[(\d+),(\d+)\]`)
	cases := 0
	for line := range strings.Lines(string(text)) {
		m := choose.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		cases++
		var k int
		var want protocol.Span
		v := petalsView(m[1], m[3])
		fmt.Sscan(m[2]+" "+m[4]+" "+m[5], &k, &want.Start, &want.End)
		got := Join(v, Self{ID: "Z", Choices: Spans(v.Layers, k), Rate: int64(100 * k)})
		if holesIn(v, got) != holesIn(v, want) || got.Len() != want.Len() {
			t.Errorf("%s: %v", strings.TrimSpace(line), got)
		}
	}
	if cases != 6 {
		t.Fatalf("%d cases, want 6", cases)
	}
}

// petalsView reads A:[0,5,1],B:[0,5,1]: a throughput of 1 is that of the whole span.
func petalsView(layers, servers string) View {
	v := View{}
	fmt.Sscan(layers, &v.Layers)
	for _, m := range regexp.MustCompile(`(\w+):\[(\d+),(\d+),(\d+)\]`).FindAllStringSubmatch(servers, -1) {
		p := Peer{ID: m[1]}
		fmt.Sscan(m[2]+" "+m[3]+" "+m[4], &p.Target.Start, &p.Target.End, &p.Rate)
		p.Held = p.Target
		p.Rate *= 100 * int64(p.Target.Len())
		v.Peers = append(v.Peers, p)
	}
	return v
}

// holesIn counts the layers of a span that nobody serves.
func holesIn(v View, sp protocol.Span) (n int) {
	for x := sp.Start; x < sp.End; x++ {
		if !slices.ContainsFunc(v.Peers, func(p Peer) bool { return x >= p.Target.Start && x < p.Target.End }) {
			n++
		}
	}
	return n
}

func TestFromOffers_LeavesOutWhoLeaves(t *testing.T) {
	offer := func(id string, layers int, state protocol.State) protocol.Offer {
		return protocol.Offer{Peer: peer.ID(id), Layers: layers, State: state, Span: span(0, 4), Target: span(2, 6), DecodeRate: 700}
	}
	fixed := offer("f", 8, protocol.Online)
	fixed.Fixed, fixed.Capacity = true, 5
	v := FromOffers([]protocol.Offer{offer("a", 8, protocol.Online), offer("b", 8, protocol.Joining), offer("c", 8, protocol.Draining),
		offer("d", 8, protocol.Leaving), offer("e", 9, protocol.Online), fixed}, 8, "me", nil)
	want := []Peer{{ID: "a", Held: span(0, 4), Target: span(2, 6), Rate: 700}, {ID: "b", Target: span(2, 6), Rate: 700},
		{ID: "f", Held: span(0, 4), Target: span(2, 6), Rate: 700, Layers: 5, Fixed: true}}
	if v.Layers != 8 || !slices.Equal(v.Peers, want) {
		t.Errorf("%+v", v)
	}
}

// TestFromOffers_KnowsTheWayThatEitherEndTells, the shorter of two: all who have the same offers know the same.
func TestFromOffers_KnowsTheWayThatEitherEndTells(t *testing.T) {
	near := func(id string, ms int) protocol.Near {
		return protocol.Near{Peer: protocol.TailOf(peer.ID(id)), RTT: time.Duration(ms) * time.Millisecond}
	}
	v := FromOffers([]protocol.Offer{
		{Peer: "a", Near: []protocol.Near{near("b", 9), near("c", 3)}}, {Peer: "b", Near: []protocol.Near{near("a", 7), near("c", 0)}},
	}, 8, "me", map[peer.ID]time.Duration{"b": 2 * time.Millisecond})
	for _, c := range []struct {
		a, b string
		ms   int
	}{{"a", "b", 7}, {"a", "c", 3}, {"b", "c", 0}, {"me", "b", 2}, {"me", "a", -1}, {"c", "d", -1}} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			got := v.RTT(pair[0], pair[1])
			if got != time.Duration(c.ms)*time.Millisecond && !(got < 0 && c.ms < 0) {
				t.Errorf("from %s to %s it is %v, want %d ms", pair[0], pair[1], got, c.ms)
			}
		}
	}
}

// TestDecide_OfALargeSwarm: chains are timed among a sample of which this peer is one, and a gap is filled in the order of
// the ids.
func TestDecide_OfALargeSwarm(t *testing.T) {
	v := made(rand.New(rand.NewPCG(6, 6)), 40, 2000)
	for i := range v.Peers { // nobody is at the last layers
		v.Peers[i].Layers = 8
		v.Peers[i].Target = span(i%25, i%25+8)
		v.Peers[i].Held = v.Peers[i].Target
	}
	slices.SortFunc(v.Peers, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	for i, slots := range []time.Duration{0, 1, 2} {
		me := selfAt(v.Peers[i], 40)
		if a, at := until(v, me, &Memory{}, 0, time.Minute); a.Kind != Announce || a.Span.End != 40 || at != slots*turnEvery {
			t.Errorf("peer %d decides %+v after %v", i, a, at)
		}
	}
	me := Self{ID: "zz", Choices: Spans(40, 8), Rate: 900}
	if got := Join(v, me); got != span(32, 40) {
		t.Errorf("a newcomer joins at %v", got)
	}
}

func BenchmarkOwnMove(b *testing.B) {
	for _, peers := range []int{16, 100, 512} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) {
			v := made(rand.New(rand.NewPCG(1, 1)), 40, peers)
			me := v.Peers[0]
			for b.Loop() {
				Join(v, Self{ID: me.ID, Choices: Spans(40, 12), Rate: me.Rate})
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	v := made(rand.New(rand.NewPCG(1, 1)), 40, 16)
	for b.Loop() {
		Plan(v)
	}
}
