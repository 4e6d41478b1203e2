package routing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Hop is one link of a chain: a peer, the layers it is asked for (all or a part of what it serves), and its offer.
type Hop struct {
	Peer  peer.ID
	Span  protocol.Span
	Offer protocol.Offer
}

// Measures is what this process knows of peers by its own experience. The zero value knows nothing.
type Measures struct {
	RTT    map[peer.ID]time.Duration // there and back
	Banned map[peer.ID]bool          // never chosen
	Prefer map[peer.ID]bool          // a session's own peers: chosen for every layer that they serve, whatever it costs

	Affinity Affinity // to peers that keep what the session begins with
}

// NoChainError says that some layers have no peer.
type NoChainError struct {
	Missing []protocol.Span
}

// Error names the layers.
func (e *NoChainError) Error() string {
	names := make([]string, len(e.Missing))
	for i, s := range e.Missing {
		names[i] = s.String()
	}
	return "no peer serves layers " + strings.Join(names, ", ")
}

// Plan finds the chain over layers 0..layers-1 that takes a token through in the least time: the layers at each peer's
// own rate, and one round trip for each hop, less what an [Affinity] is worth. Spans may be cut anywhere; no peer comes
// twice. Offers of peers that are banned or not online are left out, and of a peer's several offers the newest counts. The
// error is a [*NoChainError].
//
// Equal times are decided by peer id, and all sums are integers (microseconds): everyone finds the same.
func Plan(offers []protocol.Offer, m Measures, layers int) ([]Hop, error) {
	return PlanSpan(offers, m, layers, protocol.Span{End: layers})
}

// PlanSpan is Plan for some of the layers alone: a piece of a chain, to take the place of one that broke.
func PlanSpan(offers []protocol.Offer, m Measures, layers int, span protocol.Span) ([]Hop, error) {
	if layers < 1 || layers > protocol.MaxLayers || span.Start < 0 || span.Start >= span.End || span.End > layers {
		panic(fmt.Sprintf("routing: a plan over layers %v of %d", span, layers))
	}
	p := &planner{first: span.Start, layers: span.Len()}
	for _, o := range usable(offers, m, layers) {
		c := priced(o, m)
		c.span.Start, c.span.End = max(o.Span.Start, span.Start)-p.first, min(o.Span.End, span.End)-p.first
		if c.span.Start < c.span.End {
			p.peers = append(p.peers, c)
		}
	}
	if missing := p.missing(); len(missing) > 0 {
		return nil, &NoChainError{Missing: missing}
	}
	return p.searchWarm(m), nil
}

// usable keeps the newest offer of each peer that can be asked now, sorted by peer.
func usable(offers []protocol.Offer, m Measures, layers int) []protocol.Offer {
	all := slices.Clone(offers)
	slices.SortStableFunc(all, func(a, b protocol.Offer) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(b.Sequence, a.Sequence))
	})
	all = slices.CompactFunc(all, func(a, b protocol.Offer) bool { return a.Peer == b.Peer })
	return slices.DeleteFunc(all, func(o protocol.Offer) bool {
		return o.State != protocol.Online || o.Layers != layers || m.Banned[o.Peer] ||
			o.Span.Start < 0 || o.Span.Start >= o.Span.End || o.Span.End > layers
	})
}

// candidate is a peer with its prices in microseconds.
type candidate struct {
	offer protocol.Offer
	span  protocol.Span // of what is planned, in the planner's counting
	layer int64         // one layer of one token
	own   int64         // of it, without what strangers cost
	hop   int64         // being in the chain at all

	prefill int64 // one layer of one token of a prompt
	found   int64 // of a layer's price, because of what the peer holds
}

func priced(o protocol.Offer, m Measures) candidate {
	rate := int64(o.DecodeRate)
	if rate == 0 {
		rate = unknownRate
	}
	rtt, measured := m.RTT[o.Peer]
	if !measured {
		rtt = unknownRTT
	}
	c := candidate{offer: o, layer: (1_000_000 + rate - 1) / rate, hop: max(1, rtt.Microseconds())}
	c.own, c.prefill = c.layer, c.layer
	if o.PrefillRate > o.DecodeRate {
		c.prefill = 1_000_000 / int64(o.PrefillRate)
	}
	if len(m.Prefer) > 0 && !m.Prefer[o.Peer] {
		c.layer += strangerCost
	}
	return c
}

// planner searches among peers, which are sorted by id. It counts layers from the first one that is planned.
type planner struct {
	first  int
	layers int
	peers  []candidate
}

// missing returns the layers that no candidate serves.
func (p *planner) missing() (gaps []protocol.Span) {
	served := make([]bool, p.layers)
	for _, c := range p.peers {
		for i := c.span.Start; i < c.span.End; i++ {
			served[i] = true
		}
	}
	for i := 0; i < p.layers; i++ {
		if served[i] {
			continue
		}
		start := i
		for i < p.layers && !served[i] {
			i++
		}
		gaps = append(gaps, protocol.Span{Start: p.first + start, End: p.first + i})
	}
	return gaps
}

// A problem narrows where peers may serve, so that no peer comes twice.
type problem struct {
	span map[int]protocol.Span // peer -> the part of its span that it may serve
	only map[int]int           // layer -> the one peer that may serve it
	cost int64                 // of its cheapest chain
	hops []piece
}

// piece is layers start..end-1 at a peer.
type piece struct {
	peer, start, end int
}

// search finds the cheapest chain in which no peer comes twice. The shortest path may use a peer, leave it for a faster
// one and come back. Then there are three ways on: the peer serves below the layer where it was left, or above it, or
// that layer as well. The cheapest problem is split first, so the first chain without a return is the best.
func (p *planner) search() []piece {
	first := &problem{}
	p.solve(first)
	open := []*problem{first}
	for made := 1; ; {
		slices.SortStableFunc(open, func(a, b *problem) int { return cmp.Compare(a.cost, b.cost) })
		best := open[0]
		who, gap, twice := returning(best.hops)
		if !twice {
			return best.hops
		}
		if made >= maxProblems {
			return straightened(best.hops)
		}
		open = open[1:]
		for _, next := range p.split(best, who, gap) {
			made++
			if p.solve(next) {
				open = append(open, next)
			}
		}
	}
}

// split returns the three problems in which peer who can't be left at layer gap and come again.
func (p *planner) split(from *problem, who, gap int) []*problem {
	span := p.spanOf(from, who)
	below, above, through := from.copy(), from.copy(), from.copy()
	below.span[who] = protocol.Span{Start: span.Start, End: gap}
	above.span[who] = protocol.Span{Start: gap + 1, End: span.End}
	through.only[gap] = who
	return []*problem{through, below, above}
}

func (q *problem) copy() *problem {
	c := &problem{span: map[int]protocol.Span{}, only: map[int]int{}}
	for k, v := range q.span {
		c.span[k] = v
	}
	for k, v := range q.only {
		c.only[k] = v
	}
	return c
}

// spanOf is where a peer may serve in q.
func (p *planner) spanOf(q *problem, i int) protocol.Span {
	if s, narrowed := q.span[i]; narrowed {
		return s
	}
	return p.peers[i].span
}

// solve finds q's cheapest chain, a peer's return allowed, and reports whether there is one. Layer by layer, stay[i] is
// the least time that ends at peer i, and reached[b] the least for the first b layers.
func (p *planner) solve(q *problem) bool {
	const never = math.MaxInt64
	type state struct {
		cost  int64
		start int // of the hop under way
	}
	stay := make([]state, len(p.peers))
	reached := make([]int64, p.layers+1)
	last := make([]piece, p.layers+1) // the hop that reached it
	for layer := range p.layers {
		best, arrived := state{cost: never}, -1
		only, forced := q.only[layer]
		for i, c := range p.peers {
			if s := p.spanOf(q, i); layer < s.Start || layer >= s.End || (forced && i != only) {
				stay[i].cost = never
				continue
			}
			begun := layer > 0 && stay[i].cost != never
			if enter := reached[layer] + c.hop; reached[layer] != never && (!begun || enter < stay[i].cost) {
				stay[i], begun = state{enter, layer}, true
			}
			if !begun {
				stay[i].cost = never
				continue
			}
			stay[i].cost += c.layer - c.found
			if stay[i].cost < best.cost {
				best, arrived = stay[i], i
			}
		}
		reached[layer+1] = best.cost
		last[layer+1] = piece{arrived, best.start, layer + 1}
	}
	q.cost = reached[p.layers]
	if q.cost == never {
		return false
	}
	for b := p.layers; b > 0; b = last[b].start {
		q.hops = append(q.hops, last[b])
	}
	slices.Reverse(q.hops)
	return true
}

// returning finds a peer that comes twice, and the layer where it was left.
func returning(hops []piece) (who, gap int, twice bool) {
	left := map[int]int{}
	for _, h := range hops {
		if at, seen := left[h.peer]; seen {
			return h.peer, at, true
		}
		left[h.peer] = h.end
	}
	return 0, 0, false
}

// straightened lets a peer that comes twice serve all between as well, which its span always covers.
func straightened(hops []piece) (out []piece) {
	for i := 0; i < len(hops); i++ {
		h := hops[i]
		for j := len(hops) - 1; j > i; j-- {
			if hops[j].peer == h.peer {
				h.end, i = hops[j].end, j
				break
			}
		}
		out = append(out, h)
	}
	return out
}

func (p *planner) chain(pieces []piece) []Hop {
	hops := make([]Hop, len(pieces))
	for i, h := range pieces {
		o := p.peers[h.peer].offer
		hops[i] = Hop{Peer: o.Peer, Span: protocol.Span{Start: p.first + h.start, End: p.first + h.end}, Offer: o}
	}
	return hops
}
