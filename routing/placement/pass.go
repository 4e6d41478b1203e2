package placement

import "github.com/baichuan-node/baichuan-node/protocol"

// pass times the chains of one client, layer by layer. A chain goes from one peer to the next only where the one ends or
// the other begins: in between, either an earlier or a later step would be as good. (Only a way that is longer than a
// detour over a third peer could make that untrue, and then the time of a chain that exists is found all the same.)
type pass struct {
	from  []sources // boundary b: the best peers for having computed layers 0..b-1
	to    []sources // boundary b: the best peers for going on with layer b
	turns sources   // of the boundary at hand: those that end or begin there
	whole int64     // least time of a token
}

// source is a peer at a boundary. A gap is crossed from the last peers before it, at a price.
type source struct {
	peer int
	time int64
}

// sources are a boundary's peers. If there are more than fit, they are the best, the best first.
type sources struct {
	n    int
	best [maxSources]source
}

// add puts one of a boundary's peers in its place. Peers come in the order of their ids.
func (s *sources) add(peer int, time int64, all int) {
	i := s.n
	if all <= maxSources {
		s.best[i] = source{peer, time}
		s.n++
		return
	}
	if i == maxSources {
		if time >= s.best[i-1].time {
			return
		}
		i--
	} else {
		s.n++
	}
	for ; i > 0 && s.best[i-1].time > time; i-- {
		s.best[i] = s.best[i-1]
	}
	s.best[i] = source{peer, time}
}

// nearest is the least time to get from here to the sources, or from them here.
func (s *sources) nearest(ways []int64) int64 {
	least := int64(never)
	for i := range s.best[:s.n] {
		b := &s.best[i]
		least = min(least, b.time+ways[b.peer])
	}
	return least
}

// cross takes the sources of the other side of a layer that nobody serves.
func (s *sources) cross(other *sources) {
	s.n = other.n
	for i, b := range other.best[:other.n] {
		s.best[i] = source{b.peer, b.time + int64(gapCost)}
	}
}

// run times all chains that leave one peer out; both directions, so that the peer can be put anywhere afterwards.
func (p *pass) run(s *swarm, client []int64) {
	p.forward(s, client)
	p.backward(s, client)
}

// forward goes through the layers. A peer's time is the least until it has computed the layer. Before the first layer
// that is served the client is the only source, and start counts what the gaps until there have cost.
func (p *pass) forward(s *swarm, client []int64) {
	start := int64(0)
	p.from[0].n = 0
	for layer, holders := range s.holders {
		last, next := &p.from[layer], &p.from[layer+1]
		next.n = 0
		p.turns.n = 0
		for _, b := range last.best[:last.n] {
			if s.at[b.peer].End == layer {
				p.turns.add(b.peer, b.time, last.n)
			}
		}
		for _, q := range holders {
			t := s.times[q]
			switch {
			case layer > s.at[q].Start:
				t = min(t, p.turns.nearest(s.delay[q])+int64(hopCost))
			case last.n > 0:
				t = last.nearest(s.delay[q]) + int64(hopCost)
			default:
				t = start + client[q] + int64(hopCost)
			}
			t += s.step[q]
			s.times[q] = t
			next.add(q, t, len(holders))
		}
		if next.n == 0 {
			next.cross(last)
			start += int64(gapCost)
		}
	}
	p.whole = start
	if last := &p.from[s.layers]; last.n > 0 {
		p.whole = last.nearest(client)
	}
}

// backward goes from the last layer to the first. A peer's time is the least from when it has the activations before the
// layer until the client has the result.
func (p *pass) backward(s *swarm, client []int64) {
	end := int64(0)
	p.to[s.layers].n = 0
	for layer := s.layers - 1; layer >= 0; layer-- {
		next, here := &p.to[layer+1], &p.to[layer]
		here.n = 0
		p.turns.n = 0
		for _, b := range next.best[:next.n] {
			if s.at[b.peer].Start == layer+1 {
				p.turns.add(b.peer, b.time, next.n)
			}
		}
		for _, q := range s.holders[layer] {
			t := s.times[q]
			switch {
			case layer < s.at[q].End-1:
				t = min(t, p.turns.nearest(s.delay[q])+int64(hopCost))
			case next.n > 0:
				t = next.nearest(s.delay[q]) + int64(hopCost)
			default:
				t = end + client[q]
			}
			t += s.step[q]
			s.times[q] = t
			here.add(q, t, len(s.holders[layer]))
		}
		if here.n == 0 {
			here.cross(next)
			end += int64(gapCost)
		}
	}
}

// in is the least time to arrive at a peer with layers 0..b-1 computed; out from there, with those, to the client.
func (p *pass) in(s *swarm, client []int64, me, b int) int64 {
	if from := &p.from[b]; from.n > 0 {
		return from.nearest(s.delay[me]) + int64(hopCost)
	}
	return int64(b)*int64(gapCost) + client[me] + int64(hopCost)
}

func (p *pass) out(s *swarm, client []int64, me, b int) int64 {
	if to := &p.to[b]; to.n > 0 {
		return to.nearest(s.delay[me]) + int64(hopCost)
	}
	return int64(s.layers-b)*int64(gapCost) + client[me]
}

// lane is what a client's chains gain by a peer that was left out, wherever it is put.
type lane struct {
	in, out []int64 // by boundary
	without int64   // the client's time without the peer
	step    int64
}

// set fills in a lane after a run.
func (l *lane) set(p *pass, s *swarm, client []int64, me int) {
	l.without, l.step = p.whole, s.step[me]
	l.in, l.out = l.in[:0], l.out[:0]
	for b := range s.layers + 1 {
		l.in, l.out = append(l.in, p.in(s, client, me, b)), append(l.out, p.out(s, client, me, b))
	}
}

// at is the least time with the peer at a span, which may be entered and left at every layer.
func (l *lane) at(sp protocol.Span) int64 {
	run, best := int64(never), l.without
	for x := sp.Start; x < sp.End; x++ {
		run = min(run, l.in[x]) + l.step
		best = min(best, run+l.out[x+1])
	}
	return best
}
