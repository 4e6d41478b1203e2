package placement

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Place places all peers from nothing so that the weakest layer lets through as much as possible: what a swarm could do if
// it began anew. It returns where each peer of the view is to be, in the view's order; peers that are fixed stay.
//
// It descends on what lacks up to an aim, the sum over layers of max(0, aim-rate)^2, which sees every weak layer and not
// just the weakest; then takes peers out, puts them back otherwise, and descends again, with the aim just above what was
// reached.
func Place(v View) []protocol.Span {
	s := newSearch(v)
	best := s.greedy()
	least := best.least
	rng := rand.New(rand.NewPCG(jointSeed, uint64(v.Layers)))
	s.restore(best.at)
	lack := int64(never)
	for range placeRounds {
		s.aim = min(s.mean, least+max(1, least/aimAbove))
		from := slices.Clone(s.at)
		if lack == never {
			lack = s.lack()
		}
		s.shake(rng)
		s.descend()
		switch now := s.least(); {
		case now > least:
			least, lack, best.at = now, never, slices.Clone(s.at)
		case s.lack() <= lack:
			lack = s.lack()
		default:
			s.restore(from)
		}
	}
	return s.inOrder(v, best.at)
}

// search places peers by their rates alone.
type search struct {
	layers int
	ids    []string
	length []int
	weight []int64 // thousandths of tokens/s
	fixed  []bool
	at     []int // start of each; -1: it is out
	rate   []int64
	cost   []int64 // scratch: what a peer would mend in layers 0..x-1
	aim    int64
	mean   int64 // no placement lets more through
}

// placed is a placement and what its weakest layer lets through.
type placed struct {
	at    []int
	least int64
}

func newSearch(v View) *search {
	sw := newSwarm(View{Layers: v.Layers, Peers: v.Peers}, "")
	s := &search{layers: v.Layers, rate: make([]int64, v.Layers), cost: make([]int64, v.Layers+1)}
	for i, p := range sw.peers {
		n := min(p.capacity(), v.Layers)
		if p.Fixed {
			n = sw.at[i].Len()
		}
		s.ids, s.length = append(s.ids, p.ID), append(s.length, n)
		s.weight, s.fixed = append(s.weight, sw.weight(i, n)), append(s.fixed, p.Fixed)
		s.at = append(s.at, -1)
		s.mean += s.weight[i] * int64(n)
	}
	s.mean /= int64(max(1, v.Layers))
	for i, p := range sw.peers {
		if p.Fixed {
			s.put(i, sw.at[i].Start)
		}
	}
	return s
}

func (s *search) put(i, start int) {
	s.at[i] = start
	for x := start; x < start+s.length[i]; x++ {
		s.rate[x] += s.weight[i]
	}
}

func (s *search) take(i int) {
	for x := s.at[i]; x < s.at[i]+s.length[i]; x++ {
		s.rate[x] -= s.weight[i]
	}
	s.at[i] = -1
}

// restore puts all where they were.
func (s *search) restore(at []int) {
	for i, a := range at {
		if s.at[i] != a {
			if s.at[i] >= 0 {
				s.take(i)
			}
			if a >= 0 {
				s.put(i, a)
			}
		}
	}
}

func (s *search) least() int64 {
	if len(s.rate) == 0 {
		return 0
	}
	return slices.Min(s.rate)
}

// missing is what a layer lacks, squared, and cut so that a sum over 1,024 layers fits.
func (s *search) missing(rate int64) int64 {
	lack := min(max(0, s.aim-rate), maxLack)
	return lack * lack
}

func (s *search) lack() (sum int64) {
	for _, r := range s.rate {
		sum += s.missing(r)
	}
	return sum
}

// bestStart is where a peer that is out mends most; of equal places the first.
func (s *search) bestStart(i int) (start int) {
	w, n := s.weight[i], s.length[i]
	sum, most := int64(0), int64(-1)
	for x, r := range s.rate {
		if lack := min(s.aim-r, maxLack); lack > 0 {
			rest := max(0, lack-w)
			sum += lack*lack - rest*rest
		}
		s.cost[x+1] = sum
		if a := x + 1 - n; a >= 0 && sum-s.cost[a] > most {
			start, most = a, sum-s.cost[a]
		}
	}
	return start
}

// descend moves peers one by one as long as that mends something.
func (s *search) descend() {
	for range s.layers { // each round mends something: far fewer are needed
		moved := false
		for i, old := range s.at {
			if s.fixed[i] || s.length[i] == 0 {
				continue
			}
			s.take(i)
			a, n := s.bestStart(i), s.length[i]
			if s.cost[a+n]-s.cost[a] <= s.cost[old+n]-s.cost[old] {
				a = old
			}
			s.put(i, a)
			moved = moved || a != old
		}
		if !moved {
			return
		}
	}
}

// greedy puts the largest first, for several aims, and returns the best.
func (s *search) greedy() (best placed) {
	order := make([]int, len(s.ids))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(s.weight[b]*int64(s.length[b]), s.weight[a]*int64(s.length[a]))
	})
	best.least = -1
	for percent := int64(70); percent <= 100; percent += 5 {
		s.aim = s.mean * percent / 100
		for i := range s.at {
			if !s.fixed[i] && s.at[i] >= 0 {
				s.take(i)
			}
		}
		for _, i := range order {
			if !s.fixed[i] {
				s.put(i, s.bestStart(i))
			}
		}
		s.descend()
		if least := s.least(); least > best.least {
			best = placed{slices.Clone(s.at), least}
		}
	}
	return best
}

// shake takes one to four peers out and puts them back: most where they mend most, a third anywhere.
func (s *search) shake(rng *rand.Rand) {
	var out []int
	for range 1 + rng.IntN(4) {
		if i := rng.IntN(max(1, len(s.at))); i < len(s.at) && !s.fixed[i] && s.at[i] >= 0 {
			s.take(i)
			out = append(out, i)
		}
	}
	for _, i := range out {
		a := s.bestStart(i)
		if rng.IntN(3) == 0 {
			a = rng.IntN(s.layers - s.length[i] + 1)
		}
		s.put(i, a)
	}
}

// inOrder gives spans in the order of the view's peers.
func (s *search) inOrder(v View, at []int) []protocol.Span {
	spans := make([]protocol.Span, len(v.Peers))
	for k, p := range v.Peers {
		if i, known := slices.BinarySearch(s.ids, p.ID); known && s.length[i] > 0 {
			spans[k] = protocol.Span{Start: at[i], End: at[i] + s.length[i]}
		}
	}
	return spans
}
