package placement

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// never is the time of a chain that does not exist, with room to add to it.
const never = math.MaxInt64 / 4

// swarm is a view made ready for searches: peers by number, in the order of their ids, times in nanoseconds.
type swarm struct {
	layers  int
	demand  int64
	peers   []Peer
	at      []protocol.Span   // where each peer is; searches change it
	step    []int64           // a peer's time for one layer
	could   [][]protocol.Span // what each peer could serve, when it was first asked for
	timed   []bool            // whether chains may lead through it
	ways    func()            // asks for all round trips, of which there are many, when they are first needed
	delay   [][]int64         // one way from peer to peer, among those that are timed
	probes  [][]int64         // one way from a client to each peer
	probing []int             // the peers that stand in for clients
	spare   []int64           // of the peer that would take the place of one of them; nil: there is none
	known   int               // the peer of which more is known than what others see:
	chosen  []protocol.Span   // what it could serve; empty: of nobody

	// Scratch of the functions that rate placements: they take turns.
	passes  []pass // one for each probe
	times   []int64
	holders [][]int // of each layer, by id, of those that are timed
	load    load
	own     own
	fates   fates
	risk    int64 // percent of a rating that is about what is left after a death
}

// newSwarm makes a view ready. A peer named here is timed however many there are.
func newSwarm(v View, always string) *swarm {
	peers := slices.Clone(v.Peers)
	slices.SortStableFunc(peers, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	peers = slices.CompactFunc(peers, func(a, b Peer) bool { return a.ID == b.ID })
	s := &swarm{layers: v.Layers, demand: int64(min(max(v.Demand, leastDemand), maxDemand)), peers: peers}
	for _, p := range peers {
		rate := p.Rate
		if rate <= 0 {
			rate = unknownRate
		}
		s.step = append(s.step, max(1, int64(time.Second)/rate))
		s.at = append(s.at, clip(p.Target, v.Layers))
	}
	s.could = make([][]protocol.Span, len(peers))
	s.load = load{rate: make([]int64, s.layers), holders: make([]int, s.layers)}
	byHash := s.byHash()
	s.sample(byHash, always)
	s.ways = func() { s.measureWays(v, byHash) }
	return s
}

// ready makes the scratch when it is first needed: most looks at a swarm rate nothing.
func (s *swarm) ready() {
	if s.holders != nil {
		return
	}
	s.ways()
	s.passes, s.times = make([]pass, len(s.probes)), make([]int64, len(s.peers))
	for i := range s.passes {
		s.passes[i] = pass{from: make([]sources, s.layers+1), to: make([]sources, s.layers+1)}
	}
	s.holders = make([][]int, s.layers)
	s.own = newOwn(s)
	s.fates.pass = pass{from: make([]sources, s.layers+1), to: make([]sources, s.layers+1)}
}

// clip keeps of a span what the model has.
func clip(sp protocol.Span, layers int) protocol.Span {
	sp.Start, sp.End = max(0, sp.Start), min(sp.End, layers)
	if sp.Start >= sp.End {
		return protocol.Span{}
	}
	return sp
}

// byHash lists the peers in an order that has nothing to do with what they are, and that all agree on.
func (s *swarm) byHash() []int {
	order, hash := make([]int, len(s.peers)), make([]uint64, len(s.peers))
	for i, p := range s.peers {
		h := fnv.New64a()
		_, _ = h.Write([]byte(p.ID)) // never fails
		order[i], hash[i] = i, h.Sum64()
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(hash[a], hash[b]), cmp.Compare(a, b)) })
	return order
}

// sample chooses the peers among whom chains are timed.
func (s *swarm) sample(byHash []int, always string) {
	s.timed = make([]bool, len(s.peers))
	for _, i := range byHash[:min(len(byHash), maxTimed)] {
		s.timed[i] = true
	}
	if i := s.index(always); i >= 0 {
		s.timed[i] = true
	}
}

// index is the number of a peer, or -1.
func (s *swarm) index(id string) int {
	i, found := slices.BinarySearchFunc(s.peers, id, func(p Peer, id string) int { return strings.Compare(p.ID, id) })
	if !found {
		return -1
	}
	return i
}

// measureWays asks for all round trips once. Half of one is the way.
func (s *swarm) measureWays(v View, byHash []int) {
	way := func(a, b string) int64 {
		rtt := unknownRTT
		if v.RTT != nil {
			if d := v.RTT(min(a, b), max(a, b)); d >= 0 {
				rtt = min(d, time.Minute)
			}
		}
		return int64(rtt / 2)
	}
	s.delay = make([][]int64, len(s.peers))
	for i := range s.peers {
		if !s.timed[i] {
			continue
		}
		s.delay[i] = make([]int64, len(s.peers))
		for j := range i {
			if s.timed[j] {
				d := way(s.peers[i].ID, s.peers[j].ID)
				s.delay[i][j], s.delay[j][i] = d, d
			}
		}
	}
	clients := slices.Clone(v.Clients)
	slices.Sort(clients)
	for _, c := range clients[:min(len(clients), maxProbes/2)] {
		ways := make([]int64, len(s.peers))
		for i := range ways {
			ways[i] = way(c, s.peers[i].ID)
		}
		s.probes = append(s.probes, ways)
	}
	s.probing = byHash[:min(len(byHash), maxProbes-len(s.probes))]
	for _, i := range s.probing {
		s.probes = append(s.probes, s.delay[i])
	}
	if len(s.probing) < len(byHash) {
		s.spare = s.delay[byHash[len(s.probing)]]
	}
}

// knows takes the spans that a peer could serve from itself. Others know only how many layers they have at most.
func (s *swarm) knows(i int, choices []protocol.Span) {
	s.known, s.chosen = i, nil
	for _, sp := range choices {
		if sp = clip(sp, s.layers); sp.Len() > 0 {
			s.chosen = append(s.chosen, sp)
		}
	}
}

// choices are the spans that a peer could serve, as itself or others see it.
func (s *swarm) choices(i int) []protocol.Span {
	switch {
	case s.peers[i].Fixed:
		return []protocol.Span{s.at[i]}
	case i == s.known && len(s.chosen) > 0:
		return s.chosen
	case s.could[i] == nil:
		s.could[i] = Spans(s.layers, s.peers[i].capacity())
	}
	return s.could[i]
}

// measure rates the placement as it is.
func (s *swarm) measure() Measured {
	s.list(-1)
	for i := range s.passes {
		s.passes[i].forward(s, s.probes[i])
	}
	s.load.count(s, -1)
	m := Measured{Lambda: s.load.least(), Singles: s.load.singles(), Tau: time.Duration(s.tau())}
	m.Score = s.score(s.load.gaps(), m.Singles, m.Lambda, int64(m.Tau))
	return m
}

// list finds the holders of each layer, one peer left out.
func (s *swarm) list(without int) {
	s.ready()
	for x := range s.holders {
		s.holders[x] = s.holders[x][:0]
	}
	for i, sp := range s.at {
		if i == without || !s.timed[i] {
			continue
		}
		for x := sp.Start; x < sp.End; x++ {
			s.holders[x] = append(s.holders[x], i)
		}
	}
}

// tau is the mean of the passes' results.
func (s *swarm) tau() (sum int64) {
	for i := range s.passes {
		sum += s.passes[i].whole
	}
	return sum / int64(max(1, len(s.passes)))
}

// score is (gaps, J).
func (s *swarm) score(gaps, singles int, lambda, tau int64) Score {
	const thousand = 1000
	queue := int64(noThroughput)
	if lambda > 0 {
		queue = min(queue, (s.demand-1)*int64(time.Second)*thousand/lambda)
	}
	twice := int64(2 * s.layers)
	return Score{Gaps: gaps, J: (tau + queue) * (twice + int64(singles)) / twice}
}

// load is what each layer's holders let through together.
type load struct {
	rate    []int64 // thousandths of tokens/s
	holders []int
}

// weight is what a peer with so many layers lets through.
func (s *swarm) weight(i, layers int) int64 {
	rate := s.peers[i].Rate
	if rate <= 0 {
		rate = unknownRate
	}
	return rate * 1000 / int64(max(1, layers))
}

// count adds up all peers but one.
func (l *load) count(s *swarm, without int) {
	clear(l.rate)
	clear(l.holders)
	for i, sp := range s.at {
		if i == without {
			continue
		}
		w := s.weight(i, sp.Len())
		for x := sp.Start; x < sp.End; x++ {
			l.rate[x] += w
			l.holders[x]++
		}
	}
}

// least is the rate of the weakest layer that is served at all.
func (l *load) least() (least int64) {
	for x, n := range l.holders {
		if n > 0 && (least == 0 || l.rate[x] < least) {
			least = l.rate[x]
		}
	}
	return least
}

func (l *load) gaps() (n int)    { return l.with(0) }
func (l *load) singles() (n int) { return l.with(1) }

// with counts the layers that have so many holders.
func (l *load) with(holders int) (n int) {
	for _, h := range l.holders {
		if h == holders {
			n++
		}
	}
	return n
}
