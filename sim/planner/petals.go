package planner

import (
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// petalsServer is a server as Petals' rule sees it: its own throughput at each of its layers.
type petalsServer struct {
	id         string
	span       protocol.Span
	throughput float64
}

// petals is Petals' placement, made again from its source (server/block_selection.py, v2.2.0): the anchor to beat.
type petals struct {
	layers  int
	servers []petalsServer
	sums    []float64
}

// petalsQuality is its default --balance_quality, petalsEps its allowance for sums of floats.
const (
	petalsQuality = 0.75
	petalsEps     = 1e-3
)

func newPetals(layers int, servers []petalsServer) *petals {
	p := &petals{layers: layers, servers: slices.Clone(servers), sums: make([]float64, layers)}
	slices.SortFunc(p.servers, func(a, b petalsServer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for _, s := range p.servers {
		p.add(s.span, s.throughput)
	}
	return p
}

func (p *petals) add(s protocol.Span, throughput float64) {
	for x := s.Start; x < s.End; x++ {
		p.sums[x] += throughput
	}
}

// choose is the span of k layers whose sorted throughputs are least.
func (p *petals) choose(k int) protocol.Span {
	best, least := 0, []float64(nil)
	for a := 0; a+k <= p.layers; a++ {
		sorted := slices.Clone(p.sums[a : a+k])
		slices.Sort(sorted)
		if least == nil || slices.Compare(sorted, least) < 0 {
			best, least = a, sorted
		}
	}
	return protocol.Span{Start: best, End: best + k}
}

// shouldMove says whether a server is to choose anew: whether, once all have reacted to its move, the weakest layer is
// better by so much.
func (p *petals) shouldMove(id string, quality float64, rng *rand.Rand) bool {
	if quality > 1 {
		return true
	}
	initial := slices.Min(p.sums)
	me := &p.servers[slices.IndexFunc(p.servers, func(s petalsServer) bool { return s.id == id })]
	p.add(me.span, -me.throughput*(1+petalsEps))
	if initial > petalsEps && slices.Min(p.sums) <= 0 {
		return false // the swarm would fall apart
	}
	to := p.choose(me.span.Len())
	if to == me.span {
		return false
	}
	p.add(me.span, me.throughput*petalsEps)
	me.span = to
	p.add(me.span, me.throughput)
	for moved := true; moved; {
		moved = false
		for _, i := range rng.Perm(len(p.servers)) {
			s := &p.servers[i]
			p.add(s.span, -s.throughput*(1+petalsEps))
			to := p.choose(s.span.Len())
			p.add(s.span, s.throughput*petalsEps)
			moved = moved || to != s.span
			s.span = to
			p.add(s.span, s.throughput)
		}
	}
	final := slices.Min(p.sums)
	return final >= initial && final >= petalsEps && initial/final < quality-petalsEps
}
