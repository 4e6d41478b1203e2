package routing

import (
	"cmp"
	"math"
	"slices"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// planner searches among peers, which are sorted by id. It counts layers from the first one that is planned.
type planner struct {
	first  int
	layers int
	ends   bool // with the model's last layer: whoever has it applies the head
	peers  []candidate
	near   links

	// What solve needs, made once.
	span []protocol.Span // of each peer, as a problem has it
	time []int64         // that ends at each peer
	best []int64         // at which a layer can be begun there
	by   []int32         // from which peer
	far  []int64         // round trips of one peer that are measured; -1: it is not
	from []int32         // [layer][peer]: the peer before; stayed: the same, origin: none
	here []int32         // who has a layer

	rtt    []int64 // of each peer, to the client
	behind []bool  // a relay

	after func() // called when a layer is done, if it is not nil
}

// What came before a layer at a peer, beside another peer.
const (
	stayed = -1
	origin = -2
	never  = math.MaxInt64
)

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
	most := max(leastProblems, min(maxProblems, maxVisits/(len(p.peers)*p.layers)))
	for made := 1; ; {
		slices.SortStableFunc(open, func(a, b *problem) int { return cmp.Compare(a.cost, b.cost) })
		best := open[0]
		who, gap, twice := returning(best.hops)
		if !twice {
			return best.hops
		}
		if made >= most {
			return p.straightest(open)
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
	span := p.peers[who].span
	if s, narrowed := from.span[who]; narrowed {
		span = s
	}
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

// prepare makes room for solve.
func (p *planner) prepare() {
	n := len(p.peers)
	if len(p.span) == n {
		return
	}
	p.span = make([]protocol.Span, n)
	sums := make([]int64, 4*n)
	p.time, p.best, p.far, p.rtt = sums[:n], sums[n:2*n], sums[2*n:3*n], sums[3*n:]
	refs := make([]int32, (2+p.layers)*n)
	p.by, p.here, p.from = refs[:n], refs[n:n:2*n], refs[2*n:]
	p.behind = make([]bool, n)
	for i := range p.peers {
		p.far[i], p.rtt[i], p.behind[i] = -1, p.peers[i].rtt, p.peers[i].offer.Relayed
	}
}

// solve finds q's cheapest chain, a peer's return allowed, and reports whether there is one. Layer by layer, time[i] is the
// least that ends at peer i.
func (p *planner) solve(q *problem) bool {
	p.prepare()
	for i := range p.peers {
		p.span[i], p.time[i] = p.peers[i].span, never
	}
	for i, s := range q.span {
		p.span[i] = s
	}
	for layer := range p.layers {
		only, forced := q.only[layer]
		p.arrive(layer)
		from := p.from[layer*len(p.peers):]
		for i := range p.peers {
			c := &p.peers[i]
			if s := p.span[i]; layer < s.Start || layer >= s.End || (forced && i != only) {
				p.time[i] = never
				continue
			}
			from[i] = stayed
			if p.best[i] != never && (p.time[i] == never || p.best[i]+c.enter() < p.time[i]) {
				p.time[i], from[i] = p.best[i]+c.enter(), p.by[i]
			}
			if p.time[i] != never {
				p.time[i] += c.layer - c.found
			}
		}
		if p.after != nil {
			p.after()
		}
	}
	return p.finish(q)
}

// arrive finds for each peer the least time at which it can begin a layer that another has left: from one of the peers that
// can send it soonest. best says when and by whom.
func (p *planner) arrive(layer int) {
	if layer == 0 {
		for i := range p.peers {
			p.best[i], p.by[i] = p.peers[i].in, origin
		}
		return
	}
	for i := range p.best {
		p.best[i] = never
	}
	p.here = p.here[:0]
	for i := range p.span {
		if s := p.span[i]; s.Start <= layer && layer < s.End {
			p.here = append(p.here, int32(i))
		}
	}
	var sources [mostSources]int32
	for _, s := range p.soonest(sources[:0]) {
		p.leave(s, p.time[s]+p.peers[s].send)
	}
}

// leave has a peer send its rows at some time to all who have the next layer.
func (p *planner) leave(from int32, left int64) {
	known := p.near.of(int(from))
	for _, n := range known {
		p.far[n.to] = max(p.far[n.to], n.rtt)
	}
	here, behind := p.rtt[from], p.peers[from].offer.Relayed
	for _, i := range p.here {
		if left >= p.best[i] || i == from {
			continue
		}
		rtt := p.far[i]
		switch there := p.rtt[i]; {
		case here == 0 && there == 0:
			rtt = 0
		case rtt >= 0:
		case behind || p.behind[i]:
			rtt = here + there
		default:
			rtt = max(here, there)
		}
		if at := left + rtt/2; at < p.best[i] {
			p.best[i], p.by[i] = at, from
		}
	}
	for _, n := range known {
		p.far[n.to] = -1
	}
}

// soonest appends the peers that can send a layer on soonest.
func (p *planner) soonest(to []int32) []int32 {
	for i := range p.peers {
		if p.time[i] == never {
			continue
		}
		left := p.time[i] + p.peers[i].send
		k := len(to)
		for k > 0 && left < p.time[to[k-1]]+p.peers[to[k-1]].send {
			k--
		}
		if k == mostSources {
			continue
		}
		if len(to) == mostSources {
			to = to[:mostSources-1]
		}
		to = slices.Insert(to, k, int32(i))
	}
	return to
}

// finish takes the cheapest way back from the last layer, and goes back along it.
func (p *planner) finish(q *problem) bool {
	at := -1
	q.cost = never
	for i := range p.peers {
		if p.time[i] != never && p.time[i]+p.peers[i].out < q.cost {
			at, q.cost = i, p.time[i]+p.peers[i].out
		}
	}
	if at < 0 {
		return false
	}
	q.hops = p.back(q.hops[:0], at, p.layers)
	return true
}

// back appends the chain whose last hop ends at a layer.
func (p *planner) back(hops []piece, at, end int) []piece {
	for layer := end - 1; layer >= 0; layer-- {
		before := p.from[layer*len(p.peers)+at]
		if before == stayed {
			continue
		}
		hops = append(hops, piece{at, layer, end})
		at, end = int(before), layer
	}
	slices.Reverse(hops)
	return hops
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

// straightest is the cheapest of what problems come to if no peer is left before it is needed again.
func (p *planner) straightest(open []*problem) (best []piece) {
	least := int64(never)
	for _, q := range open {
		hops := straightened(q.hops)
		if t := p.taken(hops); t < least {
			best, least = hops, t
		}
	}
	return best
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

// taken is the time of a chain.
func (p *planner) taken(hops []piece) (sum int64) {
	for k, h := range hops {
		c := &p.peers[h.peer]
		sum += p.way(hops, k) + c.enter() + (c.layer-c.found)*int64(h.end-h.start)
	}
	return sum + p.peers[hops[len(hops)-1].peer].out
}

// way is the time to hop k from the one before it.
func (p *planner) way(hops []piece, k int) int64 {
	if k == 0 {
		return p.peers[hops[0].peer].in
	}
	a, b := &p.peers[hops[k-1].peer], &p.peers[hops[k].peer]
	return a.send + between(a, b)/2
}
