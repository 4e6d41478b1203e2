package routing

import (
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Repair looks for a better chain than one that was planned by offers, which are seconds old: when many come at once all
// find the same peers free. Whoever opens a chain hears from each of its hops how busy it is now; with that the chain is
// planned again, its peers are asked, and so on, for at most four rounds. Then the cheapest of those that have answered is
// taken.
type Repair struct {
	offers []protocol.Offer
	m      Measures
	layers int
	told   map[peer.ID]bool
	open   []Hop
	rounds int
}

// NewRepair begins with a chain that has just been opened.
func NewRepair(offers []protocol.Offer, m Measures, layers int, opened []Hop) *Repair {
	m.Busy = maps.Clone(m.Busy)
	if m.Busy == nil {
		m.Busy = make(map[peer.ID]uint32)
	}
	return &Repair{offers: offers, m: m, layers: layers, told: make(map[peer.ID]bool), open: opened}
}

// Next takes what the hops of the open chain have said, and gives the chain that is to be opened in its place; nil: this one
// stays. It is better by a margin: what is opened for nothing costs others as well.
func (r *Repair) Next(busy map[peer.ID]uint32) []Hop {
	r.rounds++
	for id, b := range busy {
		r.m.Busy[id], r.told[id] = b, true
	}
	if r.rounds > repairRounds {
		return nil
	}
	m := r.m
	if r.rounds == repairRounds {
		m.Allow = make(map[peer.ID]bool)
		for id := range r.told {
			m.Allow[id] = len(r.m.Allow) == 0 || r.m.Allow[id]
		}
	}
	hops, err := Plan(r.offers, m, r.layers)
	if err != nil || SameChain(hops, r.open) {
		return nil
	}
	now, then := Predict(r.open, r.m), Predict(hops, r.m)
	if then.Total() >= now.Total()-max((now.Total()-now.Lacking)/repairMargin, repairLeast) {
		return nil
	}
	r.open = hops
	return hops
}

// Busy is what is known by now.
func (r *Repair) Busy() map[peer.ID]uint32 { return r.m.Busy }

// SameChain says whether two chains have the same peers for the same layers.
func SameChain(a, b []Hop) bool {
	return slices.EqualFunc(a, b, func(x, y Hop) bool { return x.Peer == y.Peer && x.Span == y.Span })
}

// Worth says whether a session is to go over from a chain in which a token takes now to one in which it would take then,
// after tokens of them, if computing them again takes replay. It is to win back twice what it costs, in as many tokens as it
// has had already and 64 at least; and a tenth of each at least, for without that sessions follow each other around.
func Worth(now, then time.Duration, tokens int, replay time.Duration) bool {
	if then <= 0 || then >= now-now/10 {
		return false
	}
	ahead := time.Duration(max(tokens, leastAhead))
	return now-then > 2*replay/ahead // no product that could overflow
}
