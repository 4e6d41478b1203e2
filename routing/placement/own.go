package placement

import "github.com/baichuan-node/baichuan-node/protocol"

// choice is a span and how good the swarm would be with a peer there.
type choice struct {
	span  protocol.Span
	score Score
}

// own rates every place of one peer after the others were looked at once: O(layers x capacity), and the same as rating
// each placement by itself, but that a chain which leaves the peer does not come back to it.
type own struct {
	s      *swarm
	peer   int
	lanes  []lane  // one for each probe
	gaps   []int   // in layers 0..x-1
	single []int   // in layers 0..x-1
	before []int64 // least rate in layers 0..x-1, of those that are served
	behind []int64 // least rate from layer x on
}

func newOwn(s *swarm) own {
	n := s.layers + 1
	return own{s: s, lanes: make([]lane, len(s.probes)), gaps: make([]int, n), single: make([]int, n),
		before: make([]int64, n), behind: make([]int64, n)}
}

// without looks at everybody but one peer. The result is good until the swarm rates something else.
func (s *swarm) without(peer int) *own {
	s.list(peer)
	o := &s.own
	o.peer = peer
	for i := range s.passes {
		s.passes[i].run(s, s.probes[i])
		o.lanes[i].set(&s.passes[i], s, s.probes[i], peer)
	}
	o.weigh()
	return o
}

// weigh looks at what everybody but the peer lets through.
func (o *own) weigh() {
	s := o.s
	s.load.count(s, o.peer)
	n := s.layers
	o.before[0], o.behind[n] = never, never
	for x, holders := range s.load.holders {
		o.gaps[x+1], o.single[x+1], o.before[x+1] = o.gaps[x], o.single[x], o.before[x]
		switch holders {
		case 0:
			o.gaps[x+1]++
			continue
		case 1:
			o.single[x+1]++
		}
		o.before[x+1] = min(o.before[x], s.load.rate[x])
	}
	for x := n - 1; x >= 0; x-- {
		o.behind[x] = o.behind[x+1]
		if s.load.holders[x] > 0 {
			o.behind[x] = min(o.behind[x], s.load.rate[x])
		}
	}
}

// at rates the swarm with the peer at a span.
func (o *own) at(sp protocol.Span) Score { return o.with(sp, o.meanAt(sp)) }

// with is at where tau is known.
func (o *own) with(sp protocol.Span, tau int64) Score {
	n := o.s.layers
	filled := o.gaps[sp.End] - o.gaps[sp.Start]
	joined := o.single[sp.End] - o.single[sp.Start]
	lambda := min(o.before[sp.Start], o.behind[sp.End])
	least := int64(never)
	for _, r := range o.s.load.rate[sp.Start:sp.End] {
		least = min(least, r)
	}
	lambda = min(lambda, least+o.s.weight(o.peer, sp.Len()))
	if lambda == never {
		lambda = 0
	}
	return o.s.score(o.gaps[n]-filled, o.single[n]+filled-joined, lambda, tau)
}

// meanAt is tau with the peer at a span.
func (o *own) meanAt(sp protocol.Span) (sum int64) {
	for i := range o.lanes {
		sum += o.lanes[i].at(sp)
	}
	return sum / int64(max(1, len(o.lanes)))
}

// best finds a peer's best place among some; of equal ones the first.
func (s *swarm) best(peer int, choices []protocol.Span) (best choice, any bool) {
	o := s.without(peer)
	for _, sp := range choices {
		sp = clip(sp, s.layers)
		if sp.Len() == 0 {
			continue
		}
		if c := (choice{sp, o.at(sp)}); !any || c.score.Compare(best.score) < 0 {
			best, any = c, true
		}
	}
	return best, any
}

// spared reports whether every layer that a peer would leave for another span keeps another holder, by what is announced.
func (s *swarm) spared(peer int, to protocol.Span) bool {
	from := s.at[peer]
	for x := from.Start; x < from.End; x++ {
		if x >= to.Start && x < to.End {
			continue
		}
		if !s.holds(x, peer) {
			return false
		}
	}
	return true
}

// holds reports whether anybody but one peer is at a layer.
func (s *swarm) holds(layer, but int) bool {
	for i, sp := range s.at {
		if i != but && layer >= sp.Start && layer < sp.End {
			return true
		}
	}
	return false
}

// weighed is without, but that tau is not known.
func (s *swarm) weighed(peer int) *own {
	o := &s.own
	o.peer = peer
	o.weigh()
	return o
}
