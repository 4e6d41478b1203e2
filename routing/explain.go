package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Explanation is a plan with its reasons.
type Explanation struct {
	Chain  []PlannedHop
	Token  time.Duration // that one token is predicted to take, when all have room for the session
	Others []Reason      // of every other peer, by id
	Err    error         // there is no chain: a [*NoChainError]
}

// PlannedHop is a hop with what it takes of a token: with the way to it, and of the last one with the way back.
type PlannedHop struct {
	Hop
	Cost Cost
}

// Reason says in a sentence why a peer is not in the chain.
type Reason struct {
	Peer  peer.ID
	Offer protocol.Offer
	Why   string
}

// Explain plans as Plan does and says why: of every peer that is not in the chain, what keeps it out, or how much longer a
// token would take through it. Offers of other models than the one that is asked for are explained as well; the zero id asks
// for any.
func Explain(offers []protocol.Offer, m Measures, model protocol.ModelID, layers int) Explanation {
	mine := slices.DeleteFunc(slices.Clone(offers), func(o protocol.Offer) bool { return !isOf(&o, model) })
	var e Explanation
	hops, err := Plan(mine, m, layers)
	e.Err = err
	in := make(map[peer.ID]bool)
	for i, c := range predicted(hops, m) {
		e.Chain = append(e.Chain, PlannedHop{hops[i], c})
		e.Token += c.Takes()
		in[hops[i].Peer] = true
	}
	var t *through
	if err == nil {
		t = newThrough(mine, m, layers, e)
	}
	for _, o := range newest(offers) {
		if in[o.Peer] {
			continue
		}
		why := keptOut(o, &m, model, layers)
		switch {
		case why != "":
		case t == nil:
			why = fmt.Sprintf("it serves layers %v, but there is no chain: %v", o.Span, err)
		default:
			why = t.reason(o)
		}
		if o.State == protocol.Online && o.Target != o.Span {
			why += fmt.Sprintf("; it is moving to layers %v", o.Target)
		}
		e.Others = append(e.Others, Reason{Peer: o.Peer, Offer: *o, Why: why})
	}
	return e
}

func isOf(o *protocol.Offer, model protocol.ModelID) bool {
	return model == (protocol.ModelID{}) || o.Model == model
}

// keptOut says what keeps a peer out of any chain; "": nothing does.
func keptOut(o *protocol.Offer, m *Measures, model protocol.ModelID, layers int) string {
	bar := m.bars(o.Peer)
	switch {
	case !isOf(o, model):
		return fmt.Sprintf("it serves another model (%s)", cmp.Or(protocol.CleanText(o.ModelName, maxShownName), o.Model.String()[:2*leastPrefix]))
	case o.State == protocol.Joining:
		return fmt.Sprintf("it is joining with layers %v, which are not ready yet", o.Target)
	case o.State == protocol.Draining:
		return "it is draining: it takes no new sessions"
	case o.State != protocol.Online:
		return "it is leaving the swarm"
	case o.Layers != layers:
		return fmt.Sprintf("it serves a model of %d layers, this one has %d", o.Layers, layers)
	case !serves(o, layers):
		return fmt.Sprintf("layers %v, which it offers, are none of the model's", o.Span)
	case bar == barBlocked:
		return "it is on your block list"
	case bar == barUnlisted:
		return "it is not on your allow list"
	case bar != "":
		return cmp.Or(m.Why[o.Peer], "it is banned: it failed lately")
	}
	return ""
}

// through knows the best chain through each peer: the best that ends with some layer at it, and the best that goes on from
// there.
type through struct {
	ahead, back *planner
	to, from    []int64 // [layer][peer] of each; from is in back's counting
	index       map[peer.ID]int
	chain       []PlannedHop
	cost        Cost
	total       int64
	m           Measures
}

func newThrough(offers []protocol.Offer, m Measures, layers int, e Explanation) *through {
	p := newPlanner(offers, m, layers, protocol.Span{End: layers})
	t := &through{ahead: p, back: p.mirrored(), index: make(map[peer.ID]int), chain: e.Chain, m: m}
	t.to, t.from = t.ahead.times(), t.back.times()
	for i := range p.peers {
		t.index[p.peers[i].offer.Peer] = i
	}
	var pieces []piece
	for _, h := range e.Chain {
		pieces = append(pieces, piece{t.index[h.Peer], h.Span.Start, h.Span.End})
		t.cost = t.cost.plus(h.Cost)
	}
	t.total = p.taken(pieces)
	return t
}

// mirrored is the planner for the way back through the layers: what is paid for leaving a hop is paid for reaching it.
func (p *planner) mirrored() *planner {
	b := &planner{layers: p.layers, near: p.near, peers: slices.Clone(p.peers)}
	for i := range b.peers {
		c := &b.peers[i]
		c.span = protocol.Span{Start: p.layers - c.span.End, End: p.layers - c.span.Start}
		c.in, c.out = c.out-c.send, c.in
		c.fix, c.send = c.fix+c.send, 0
	}
	return b
}

// times solves the problem without narrowing, and gives the least time for each layer and peer.
func (p *planner) times() []int64 {
	all := make([]int64, 0, p.layers*len(p.peers))
	p.after = func() { all = append(all, p.time...) }
	p.solve(&problem{})
	p.after = nil
	return all
}

// best is the cheapest chain through a peer, and its time. It may name another peer twice; then the real one is dearer yet.
func (t *through) best(q int) (hops []piece, total int64) {
	n, layers := len(t.ahead.peers), t.ahead.layers
	c := &t.ahead.peers[q]
	total, at := int64(never), -1
	for i := c.span.Start; i < c.span.End; i++ {
		a, b := t.to[i*n+q], t.from[(layers-1-i)*n+q]
		if a == never || b == never {
			continue
		}
		if sum := a + b - c.layer - c.enter(); sum < total {
			total, at = sum, i
		}
	}
	if at < 0 {
		return nil, never
	}
	hops = t.ahead.back(nil, q, at+1)
	rest := t.back.back(nil, q, layers-at)
	for k := len(rest) - 1; k >= 0; k-- {
		h := piece{rest[k].peer, layers - rest[k].end, layers - rest[k].start}
		if h.peer == q && len(hops) > 0 && h.start <= at && at < h.end {
			hops[len(hops)-1].end = h.end
			continue
		}
		hops = append(hops, h)
	}
	return hops, total
}

// reason says why a peer that could serve is not in the chain.
func (t *through) reason(o *protocol.Offer) string {
	q := t.index[o.Peer]
	hops, total := t.best(q)
	if hops == nil {
		return "no chain leads through it"
	}
	c := &t.ahead.peers[q]
	more := micros(total - t.total)
	instead := t.instead(o.Span)
	switch {
	case total-t.total >= c.lacks/2 && total-t.total < 2*c.lacks:
		return fmt.Sprintf("it has cache for %d tokens more, and the session may reach %d", o.CacheFree, t.m.Affinity.Room)
	case total-t.total > strangerCost/2:
		return fmt.Sprintf("the session has its own peers for layers %v: %s", o.Span, instead)
	case more < time.Microsecond:
		return fmt.Sprintf("it is as good as %s for layers %v, which comes first %s", instead, o.Span, t.tie())
	}
	it := "it"
	if o.Relayed {
		it = "it, which is behind a relay,"
	}
	return fmt.Sprintf("layers %v: through %s a token would take %s longer than through %s (%s)", o.Span, it, shown(more), instead, t.differs(hops))
}

// tie says what decides between equals.
func (t *through) tie() string {
	switch {
	case len(t.m.Affinity.Held) > 0:
		return "because of what it holds of the session's beginning"
	case t.m.Affinity.Name != (protocol.Digest{}):
		return "because sessions that begin like this one meet there"
	}
	return "by its id"
}

// instead names the peers of the chain that serve some layers.
func (t *through) instead(s protocol.Span) string {
	var names []string
	for _, h := range t.chain {
		if h.Span.Start < s.End && s.Start < h.Span.End {
			names = append(names, h.Peer.String())
		}
	}
	return strings.Join(names, ", ")
}

// differs says where another chain loses against this one, and where it wins.
func (t *through) differs(hops []piece) string {
	var sum Cost
	for k := range hops {
		sum = sum.plus(t.ahead.costOf(hops, k))
	}
	var parts []string
	for _, part := range []struct {
		name      string
		here, now time.Duration
	}{
		{"computing", sum.Compute, t.cost.Compute}, {"waiting for other sessions", sum.Wait, t.cost.Wait}, {"on the way", sum.Network, t.cost.Network},
	} {
		if d := part.here - part.now; d >= 50*time.Microsecond {
			parts = append(parts, fmt.Sprintf("%s %s more", part.name, shown(d)))
		} else if d <= -50*time.Microsecond {
			parts = append(parts, fmt.Sprintf("%s %s less", part.name, shown(-d)))
		}
	}
	if len(parts) == 0 {
		return "in all a little of everything"
	}
	return strings.Join(parts, ", ")
}

// shown is a time as people read it: 31 ms, 0.4 ms.
func shown(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
}

// Reprice says anew what a token takes through the chain, by what is measured of its peers by now.
func (e *Explanation) Reprice(m Measures) {
	hops := make([]Hop, len(e.Chain))
	for i, h := range e.Chain {
		hops[i] = h.Hop
	}
	e.Token = 0
	for i, c := range predicted(hops, m) {
		e.Chain[i].Cost = c
		e.Token += c.Takes()
	}
}
