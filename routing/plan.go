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

// Hop is one link of a chain: a peer, the layers it is asked for (all or a part of what it serves), and its offer.
type Hop struct {
	Peer  peer.ID
	Span  protocol.Span
	Offer protocol.Offer
}

// Measures is what this process knows of peers by its own experience, and what its owner and its sessions want. The zero
// value knows nothing and wants nothing.
type Measures struct {
	RTT  map[peer.ID]time.Duration // there and back
	Busy map[peer.ID]uint32        // as peers have said since their offers, in the offer's terms
	Pace map[peer.ID]uint32        // what their steps took beside what was predicted, in thousandths; none: as predicted

	Banned map[peer.ID]bool   // never chosen
	Why    map[peer.ID]string // why they are banned, for people: "failed 3 s ago: it refuses connections"
	Prefer map[peer.ID]bool   // a session's own peers: chosen for every layer that they serve, whatever it costs
	Allow  map[peer.ID]bool   // if not empty, no others are chosen
	Block  map[peer.ID]bool   // never chosen, as the owner wants it

	// Before and After are the hops around the piece of a chain that is planned; "": the client.
	Before, After peer.ID

	Affinity Affinity // to peers that keep what the session begins with
}

// NoChainError says that some layers have no peer that may be asked.
type NoChainError struct {
	Missing []protocol.Span

	// Barred says of how many peers each reason keeps out that serve some of the missing layers: "banned".
	Barred map[string]int
}

// Error names the layers, and who could serve them.
func (e *NoChainError) Error() string {
	names := make([]string, len(e.Missing))
	for i, s := range e.Missing {
		names[i] = s.String()
	}
	var barred []string
	for _, why := range []string{barBanned, barBlocked, barUnlisted} {
		if n := e.Barred[why]; n > 0 {
			barred = append(barred, fmt.Sprintf("%d %s", n, why))
		}
	}
	text := "no peer serves layers " + strings.Join(names, ", ")
	if len(barred) > 0 {
		text += " that may be asked (" + strings.Join(barred, ", ") + ")"
	}
	return text
}

// Listed reports whether the owner's own lists keep out peers that serve some of the missing layers.
func (e *NoChainError) Listed() bool { return e.Barred[barBlocked]+e.Barred[barUnlisted] > 0 }

// Why a peer is left out that could be asked.
const (
	barBanned   = "banned"
	barBlocked  = "on the block list"
	barUnlisted = "not on the allow list"
)

// Plan finds the chain over layers 0..layers-1 that takes a token through in the least time, by the cost that the package
// comment gives, less what an [Affinity] is worth. Spans may be cut anywhere; no peer comes twice. Offers of peers that are
// banned, blocked or not online are left out, and of a peer's several offers the newest counts. The error is a
// [*NoChainError].
//
// Equal times are decided by peer id, and all sums are integers (microseconds): everyone finds the same.
func Plan(offers []protocol.Offer, m Measures, layers int) ([]Hop, error) {
	return PlanSpan(offers, m, layers, protocol.Span{End: layers})
}

// PlanSpan is Plan for some of the layers alone: a piece of a chain, to take the place of one that broke.
func PlanSpan(offers []protocol.Offer, m Measures, layers int, span protocol.Span) ([]Hop, error) {
	p := newPlanner(offers, m, layers, span)
	if missing := p.missing(); len(missing) > 0 {
		return nil, &NoChainError{Missing: missing, Barred: barred(offers, m, layers, missing)}
	}
	return p.searchWarm(m), nil
}

// newPlanner prices all peers that may be asked for some of the layers.
func newPlanner(offers []protocol.Offer, m Measures, layers int, span protocol.Span) *planner {
	if layers < 1 || layers > protocol.MaxLayers || span.Start < 0 || span.Start >= span.End || span.End > layers {
		panic(fmt.Sprintf("routing: a plan over layers %v of %d", span, layers))
	}
	all := usable(offers, m, layers)
	p := &planner{first: span.Start, layers: span.Len(), ends: span.End == layers, peers: make([]candidate, 0, len(all))}
	for _, o := range all {
		served := protocol.Span{Start: max(o.Span.Start, span.Start) - p.first, End: min(o.Span.End, span.End) - p.first}
		if served.Start < served.End {
			c := priced(o, &m)
			c.span = served
			p.peers = append(p.peers, c)
		}
	}
	p.connect(offers, m)
	return p
}

// newest keeps the newest offer of each peer, sorted by peer.
func newest(offers []protocol.Offer) []*protocol.Offer {
	all := make([]*protocol.Offer, len(offers))
	for i := range offers {
		all[i] = &offers[i]
	}
	slices.SortStableFunc(all, func(a, b *protocol.Offer) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(b.Sequence, a.Sequence))
	})
	return slices.CompactFunc(all, func(a, b *protocol.Offer) bool { return a.Peer == b.Peer })
}

// usable keeps the newest offer of each peer that can be asked now, sorted by peer.
func usable(offers []protocol.Offer, m Measures, layers int) []*protocol.Offer {
	return slices.DeleteFunc(newest(offers), func(o *protocol.Offer) bool {
		return !serves(o, layers) || m.bars(o.Peer) != ""
	})
}

// serves says whether an offer is for a model of this depth, and stands.
func serves(o *protocol.Offer, layers int) bool {
	return o.State == protocol.Online && o.Layers == layers && o.Span.Start >= 0 && o.Span.Start < o.Span.End && o.Span.End <= layers
}

// bars says why a peer may not be asked; "": it may.
func (m *Measures) bars(id peer.ID) string {
	switch {
	case m.Block[id]:
		return barBlocked
	case len(m.Allow) > 0 && !m.Allow[id]:
		return barUnlisted
	case m.Banned[id]:
		return barBanned
	}
	return ""
}

// barred counts who is kept out of some layers by something else than its own offer.
func barred(offers []protocol.Offer, m Measures, layers int, missing []protocol.Span) map[string]int {
	var all map[string]int
	for _, o := range newest(offers) {
		why := m.bars(o.Peer)
		if why == "" || !serves(o, layers) ||
			!slices.ContainsFunc(missing, func(s protocol.Span) bool { return s.Start < o.Span.End && o.Span.Start < s.End }) {
			continue
		}
		if all == nil {
			all = make(map[string]int)
		}
		all[why]++
	}
	return all
}

// missing returns the layers that no candidate serves.
func (p *planner) missing() (gaps []protocol.Span) {
	served := make([]bool, p.layers)
	for _, c := range p.peers {
		for i := c.span.Start; i < c.span.End; i++ {
			served[i] = true
		}
	}
	for i := 0; i < p.layers; i++ {
		if served[i] {
			continue
		}
		start := i
		for i < p.layers && !served[i] {
			i++
		}
		gaps = append(gaps, protocol.Span{Start: p.first + start, End: p.first + i})
	}
	return gaps
}

func (p *planner) chain(pieces []piece) []Hop {
	hops := make([]Hop, len(pieces))
	for i, h := range pieces {
		o := p.peers[h.peer].offer
		hops[i] = Hop{Peer: o.Peer, Span: p.wire(h), Offer: *o}
	}
	return hops
}

// wire is a piece's layers as the model counts them.
func (p *planner) wire(h piece) protocol.Span {
	return protocol.Span{Start: p.first + h.start, End: p.first + h.end}
}
