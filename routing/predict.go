package routing

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Cost is what a token takes, or a hop of it.
type Cost struct {
	Compute time.Duration // of layers and of the head, with nobody else there
	Wait    time.Duration // for other sessions
	Network time.Duration // on the way, and for reading and writing
	Lacking time.Duration // a penalty: there is no room for the session
}

// Total is all of it, by which chains are compared.
func (c Cost) Total() time.Duration { return c.Takes() + c.Lacking }

// Takes is how long it takes once there is room: all but the penalty.
func (c Cost) Takes() time.Duration { return c.Compute + c.Wait + c.Network }

func (c Cost) plus(o Cost) Cost {
	return Cost{c.Compute + o.Compute, c.Wait + o.Wait, c.Network + o.Network, c.Lacking + o.Lacking}
}

// Predict says what a token takes through a chain, by the same prices that Plan goes by.
func Predict(hops []Hop, m Measures) (sum Cost) {
	for _, c := range predicted(hops, m) {
		sum = sum.plus(c)
	}
	return sum
}

// Ways gives how long a row is on its way to each hop, and in the end back from the last one, as far as round trips are known.
func Ways(hops []Hop, m Measures) []time.Duration {
	p, pieces := chained(hops, m)
	ways := make([]time.Duration, 0, len(hops)+1)
	for k := range pieces {
		ways = append(ways, micros(p.way(pieces, k)))
	}
	if n := len(pieces); n > 0 {
		last := p.peers[n-1]
		ways = append(ways, micros(last.rtt/2))
	}
	return ways
}

// predicted is Predict of each hop: with the way to it, and the last one with the way back.
func predicted(hops []Hop, m Measures) []Cost {
	p, pieces := chained(hops, m)
	costs := make([]Cost, len(hops))
	for k := range pieces {
		costs[k] = p.costOf(pieces, k)
	}
	return costs
}

// chained is a planner of the peers of a chain, in their order, and the pieces of the chain.
func chained(hops []Hop, m Measures) (*planner, []piece) {
	m.Prefer = nil
	p := &planner{layers: 1}
	if n := len(hops); n > 0 {
		p.ends = hops[n-1].Span.End == hops[n-1].Offer.Layers
	}
	for i := range hops {
		p.peers = append(p.peers, priced(&hops[i].Offer, &m))
	}
	offers := make([]protocol.Offer, len(hops))
	pieces := make([]piece, len(hops))
	for i, h := range hops {
		offers[i], pieces[i] = h.Offer, piece{i, h.Span.Start, h.Span.End}
	}
	p.connect(offers, m)
	return p, pieces
}

// costOf is what hop k of a chain takes.
func (p *planner) costOf(pieces []piece, k int) Cost {
	c := &p.peers[pieces[k].peer]
	layers := int64(pieces[k].end - pieces[k].start)
	net, compute := p.way(pieces, k)+c.fix, c.own*layers
	if k == len(pieces)-1 {
		net += c.out
		if p.ends {
			net, compute = net-c.head, compute+c.head
		}
	}
	return Cost{
		Compute: micros(compute), Wait: micros(c.wait), Network: micros(net), Lacking: micros(c.lacks),
	}
}
