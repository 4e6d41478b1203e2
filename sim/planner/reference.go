package planner

import (
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// weakest is what the weakest layer lets through, in thousandths of tokens/s.
func weakest(layers int, peers []placement.Peer, at []protocol.Span) int64 {
	rate := make([]int64, layers)
	for i, sp := range at {
		for x := sp.Start; x < sp.End; x++ {
			rate[x] += peers[i].Rate * 1000 / int64(sp.Len())
		}
	}
	return slices.Min(rate)
}

// reference is the long search that placements are measured by: from many random beginnings, servers are taken out and put
// where the sum of what the layers lack is least, as long as that comes to something.
type reference struct {
	layers int
	peers  []placement.Peer
	rng    *rand.Rand
	at     []int
	rate   []float64
}

// bestWeakest is the most that the weakest layer lets through in any placement that is found, and that placement.
func bestWeakest(d *Draw, starts, rounds int) (int64, []protocol.Span) {
	r := &reference{layers: d.Layers, peers: d.Peers, rng: rand.New(rand.NewPCG(1, uint64(len(d.Peers))))}
	best, where := int64(-1), []protocol.Span(nil)
	for range starts {
		r.begin()
		if at := r.climb(rounds); weakest(d.Layers, d.Peers, at) > best {
			best, where = weakest(d.Layers, d.Peers, at), at
		}
	}
	return best, where
}

func (r *reference) begin() {
	r.at, r.rate = make([]int, len(r.peers)), make([]float64, r.layers)
	for i, p := range r.peers {
		r.put(i, r.rng.IntN(r.layers-p.Layers+1))
	}
}

func (r *reference) put(i, start int) {
	r.at[i] = start
	r.add(i, 1)
}

func (r *reference) add(i int, sign float64) {
	for x := r.at[i]; x < r.at[i]+r.peers[i].Layers; x++ {
		r.rate[x] += sign * r.speed(i)
	}
}

func (r *reference) speed(i int) float64 {
	return float64(r.peers[i].Rate) / float64(r.peers[i].Layers)
}

// lacks sums the squares of what layers lack to an aim.
func (r *reference) lacks(aim float64) (sum float64) {
	for _, t := range r.rate {
		if t < aim {
			sum += (aim - t) * (aim - t)
		}
	}
	return sum
}

// climb moves single servers, and now and then several, for a higher and higher aim.
func (r *reference) climb(rounds int) []protocol.Span {
	best := slices.Min(r.rate)
	where := slices.Clone(r.at)
	for range rounds {
		aim := best + 0.05*best + 0.5
		from, before := slices.Clone(r.at), r.lacks(aim)
		for range r.rng.IntN(4) {
			i := r.rng.IntN(len(r.peers))
			r.add(i, -1)
			r.put(i, r.rng.IntN(r.layers-r.peers[i].Layers+1))
		}
		r.settle(aim)
		if now := slices.Min(r.rate); now > best {
			best, where = now, slices.Clone(r.at)
		} else if r.lacks(aim) > before {
			for i, a := range from {
				r.add(i, -1)
				r.put(i, a)
			}
		}
	}
	return r.spans(where)
}

// settle moves servers one by one until none mends anything.
func (r *reference) settle(aim float64) {
	order := r.rng.Perm(len(r.peers))
	for moved := true; moved; {
		moved = false
		for _, i := range order {
			r.add(i, -1)
			old := r.at[i]
			best, least := old, r.with(i, old, aim)-1e-6
			for a := 0; a+r.peers[i].Layers <= r.layers; a++ {
				if l := r.with(i, a, aim); l < least-1e-6 {
					best, least = a, l
				}
			}
			r.put(i, best)
			moved = moved || best != old
		}
	}
}

// with is what the layers of a span lack with a server there, less what they lack without it.
func (r *reference) with(i, start int, aim float64) (sum float64) {
	for x := start; x < start+r.peers[i].Layers; x++ {
		without, with := max(0, aim-r.rate[x]), max(0, aim-r.rate[x]-r.speed(i))
		sum += with*with - without*without
	}
	return sum
}

func (r *reference) spans(at []int) []protocol.Span {
	spans := make([]protocol.Span, len(at))
	for i, a := range at {
		spans[i] = protocol.Span{Start: a, End: a + r.peers[i].Layers}
	}
	return spans
}
