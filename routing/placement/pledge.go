package placement

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// pledged is a word given, or got from a peer.
type pledged struct {
	Pledge
	at, until time.Duration
}

// Promise answers a peer that asks whether this one goes on serving layers for the next two minutes. Two that would both
// leave may both ask: the one with the lower id gets its yes.
func (m *Memory) Promise(me Self, asker string, layers protocol.Span, now time.Duration) bool {
	m.forget(now)
	leaving := me.Target != me.Held && !within(layers, me.Target)
	if layers.Len() <= 0 || !within(layers, me.Held) || (leaving && asker >= me.ID) || len(m.gave) >= maxPromises {
		return false
	}
	m.gave = append(m.gave, pledged{Pledge{asker, layers}, now, now + pledgeLife})
	return true
}

// Promised takes a peer's yes to what [Decide] had this one ask at a time.
func (m *Memory) Promised(p Pledge, asked time.Duration) {
	m.got = append(m.got, pledged{p, asked, asked + pledgeFresh})
}

// within reports whether b holds all of a.
func within(a, b protocol.Span) bool { return a.Start >= b.Start && a.End <= b.End }

// overlap is what both hold.
func overlap(a, b protocol.Span) protocol.Span {
	o := protocol.Span{Start: max(a.Start, b.Start), End: min(a.End, b.End)}
	if o.Start >= o.End {
		return protocol.Span{}
	}
	return o
}

// less lists the layers of a that are not b's.
func less(a, b protocol.Span) (out []protocol.Span) {
	both := overlap(a, b)
	if both.Len() == 0 {
		both = protocol.Span{Start: a.End, End: a.End}
	}
	for _, s := range []protocol.Span{{Start: a.Start, End: both.Start}, {Start: both.End, End: a.End}} {
		if s.Len() > 0 {
			out = append(out, s)
		}
	}
	return out
}

// keepsWord reports whether a move leaves no layer that this peer has promised to serve.
func (d *decision) keepsWord(to protocol.Span) bool {
	return d.wordGiven(to) == 0
}

// wordGiven is when this peer last promised to serve a layer that a move leaves; 0: it has not.
func (d *decision) wordGiven(to protocol.Span) (last time.Duration) {
	for _, gone := range less(d.me.Held, to) {
		for _, p := range d.m.gave {
			if overlap(gone, p.Layers).Len() > 0 {
				last = max(last, p.at, 1)
			}
		}
	}
	return last
}

// bound is until when somebody may still leave because this peer has promised to stay: later it may leave as well, if others
// promise to stay in their turn.
func (d *decision) bound(to protocol.Span) time.Duration {
	if given := d.wordGiven(to); given > 0 {
		return given + pledgeFresh + pledgeSlack
	}
	return 0
}

// finish goes on with a move that is announced: load, have the others promise to stay, leave.
func (d *decision) finish() Action {
	me, m := d.me, d.m
	gone := less(me.Held, me.Target)
	until := d.bound(me.Target)
	switch relief := d.relief(gone); {
	case relief == hopeless: // also while it loads: who would have stayed may have died
		m.asking, m.got = 0, nil
		return Action{Kind: Withdraw, Span: me.Held, Again: d.now + lookEvery, Why: "nobody else would hold what it leaves"}
	case !me.Loaded:
		return d.stay(d.now+lookEvery, "loading %v", me.Target)
	case d.now < until:
		return d.stay(until, "another leaves because this node stays")
	case relief == relieved:
		m.asking, m.got = 0, nil
		return Action{Kind: Serve, Span: me.Target, Again: d.now + lookEvery, Why: "loaded, and all that it leaves is held by others"}
	}
	if m.asking == 0 {
		m.asking, m.asked = d.now, d.now-pledgeAgain
	}
	if d.now-m.asking >= pledgeWithin {
		m.asking, m.got = 0, nil
		return Action{Kind: Withdraw, Span: me.Held, Again: d.now + lookEvery, Why: "nobody promises to stay"}
	}
	if next := m.asked + pledgeAgain; d.now < next {
		return d.stay(next, "waiting for others' promises to stay")
	}
	asks := d.asks(gone)
	if len(asks) == 0 { // who is to hold it is still loading, and is asked as soon as it serves
		return d.stay(d.now+pledgeAgain, "nobody else holds what it would leave")
	}
	m.asked = d.now
	return Action{Kind: Ask, Ask: asks, Again: d.now + pledgeAgain, Why: "loaded: who stays?"}
}

// relief is whether a peer may leave layers.
type relief int

const (
	waiting relief = iota
	relieved
	hopeless
)

// relief is given when each layer that is left is held by a peer that has just promised to stay. A layer that nobody else
// holds or will hold makes a move hopeless, unless the swarm has gaps of which it closes more than it opens; and that has
// to be so for so long that it is no error of the view.
func (d *decision) relief(gone []protocol.Span) relief {
	open, bare := false, false
	for _, span := range gone {
		for x := span.Start; x < span.End; x++ {
			switch {
			case d.promised(x):
			case d.s.held(x, d.i) || d.s.holds(x, d.i):
				open = true
			default:
				bare = true
			}
		}
	}
	switch {
	case bare && !d.closesMore():
		return hopeless
	case bare && d.now-d.m.bareSince < gapSure, open:
		return waiting
	}
	return relieved
}

// promised reports whether somebody has just promised to hold a layer.
func (d *decision) promised(layer int) bool {
	for _, p := range d.m.got {
		if layer >= p.Layers.Start && layer < p.Layers.End {
			return true
		}
	}
	return false
}

// held reports whether anybody but one peer serves a layer now.
func (s *swarm) held(layer, but int) bool {
	for i, p := range s.peers {
		if i != but && layer >= p.Held.Start && layer < p.Held.End {
			return true
		}
	}
	return false
}

// closesMore reports whether the swarm would have fewer gaps after the move than without it, and notes since when. A layer that
// somebody has announced is none, as for who decided to move.
func (d *decision) closesMore() bool {
	before, after := 0, 0
	for x := range d.s.layers {
		if d.s.held(x, d.i) || d.s.holds(x, d.i) {
			continue
		}
		if x < d.me.Held.Start || x >= d.me.Held.End {
			before++
		}
		if x < d.me.Target.Start || x >= d.me.Target.End {
			after++
		}
	}
	if after >= before {
		d.m.bareSince = 0
		return false
	}
	if d.m.bareSince == 0 {
		d.m.bareSince = max(1, d.now)
	}
	return true
}

// asks is whom to ask for what: every other holder of the layers that are left.
func (d *decision) asks(gone []protocol.Span) (asks []Pledge) {
	for i, p := range d.s.peers {
		if i == d.i {
			continue
		}
		for _, span := range gone {
			if both := overlap(span, p.Held); both.Len() > 0 {
				asks = append(asks, Pledge{p.ID, both})
			}
		}
	}
	return asks
}
