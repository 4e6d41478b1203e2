package client

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// errLeaving is why a hop was replaced that did nothing wrong.
var errLeaving = errors.New("it is leaving")

// shunnedError is why a hop was replaced that had failed another conversation.
type shunnedError struct{ why error }

func (e *shunnedError) Error() string { return "it failed another conversation: " + e.why.Error() }

// blame decides what a fault means for the peer: whether it is reached anew, left alone for a moment, or kept out of the
// next chains for a while.
func (s *session) blame(fault *chain.Fault) {
	m := &s.mind
	h := routing.Hop{}
	i := slices.Index(s.ids, fault.Hop)
	if i >= 0 {
		h = s.hops[i]
	} else if v := m.moving; v != nil && v.id == fault.Hop {
		h = v.hop
		m.unmoved(fault)
	} else {
		return
	}
	if m.since.IsZero() {
		m.since = time.Now().Add(-fault.For)
	}
	m.last = &HopError{Peer: h.Peer, Layers: h.Span, Class: fault.Class, Err: fault.Err}
	var said protocol.Failure
	refused := errors.As(fault.Err, &said)
	switch {
	case errors.As(fault.Err, new(*shunnedError)): // whoever found out has banned it
	case refused && noRoom(said.Code):
		s.client.bans.pause(h.Peer, time.Now())
		s.books.stats.Pauses++
		m.refused++
	case said.Code == protocol.CodeNoSuchSpan: // it has moved since it made the offer: it counts again when it makes another
		m.failed = true
		m.leaving[h.Peer] = max(m.leaving[h.Peer], h.Offer.Sequence)
	case refused && i < 0 && said.Suspect != "": // of a cache that was handed over: it is computed again
	case fault.Class == protocol.Never && i >= 0, said.Code == protocol.CodeBadInput && i > 0 && said.Suspect == s.hops[i-1].Peer:
		m.failed = true
		s.accuse(i)
	case fault.Class == protocol.Again && m.again[h.Peer] < maxAgain:
		m.failed = true
		m.again[h.Peer]++
		m.reach[fault.Hop] = true
	default:
		m.failed = true
		s.strike(h, fault.Err)
	}
}

// noRoom says whether a refusal is for want of room, which may be there in a moment.
func noRoom(code protocol.Code) bool {
	switch code {
	case protocol.CodeBusy, protocol.CodeLoading, protocol.CodeNoMemory, protocol.CodeDraining:
		return true
	}
	return false
}

// strike keeps a peer out of the chains of all sessions for a while.
func (s *session) strike(h routing.Hop, why error) {
	s.client.bans.strike(h.Peer, h.Offer.Boot, why, time.Now())
	s.books.stats.Bans++
}

// shun gives up hops that have failed other sessions of the client since, where others can do the same.
func (s *session) shun() {
	now := time.Now()
	faults := s.faults()
	for i, h := range s.hops {
		x := s.client.bans.of(h.Peer, h.Offer.Boot, now)
		if x.banned == 0 || x.why == nil || faults[i] != nil {
			continue
		}
		offers := s.seen
		if s.client.known != nil {
			offers = s.client.known()
		}
		not := s.shunned(offers)
		for _, o := range s.hops {
			not[o.Peer] = true
		}
		if !s.client.spare(offers, now, h.Span, not) {
			continue
		}
		for _, a := range s.link.chain.Lost(s.ids[i], protocol.Elsewhere, &shunnedError{x.why}) {
			s.note(a)
		}
	}
}

// shunned are the peers that the session gives nothing more to do, whatever others think of them. Who was leaving and has
// offered itself anew since is welcome.
func (s *session) shunned(offers []protocol.Offer) map[peer.ID]bool {
	all := make(map[peer.ID]bool)
	for p := range s.mind.leaving {
		all[p] = true
	}
	for _, o := range offers {
		if was, left := s.mind.leaving[o.Peer]; left && o.Sequence > was && o.State == protocol.Online {
			delete(all, o.Peer)
		}
	}
	for p := range s.mind.quarrel.accusers {
		all[p] = true
	}
	return all
}

// quarrel is about a refusal that says that no peer could do what was asked. Most of it is what the hop before sent, so it
// may be that one which did wrong, or the one that refuses lies. A hop is not believed at first: another takes its place.
// If that one says so too, the hop before must go. If even that does not help, the client's own request is at fault.
type quarrel struct {
	accusers map[peer.ID]routing.Hop // who was not believed
	turned   bool                    // the hop before has gone
	refusal  *HopError               // the newest
	over     bool                    // it is true
}

// accuse sees to the refusal of hop i.
func (s *session) accuse(i int) {
	q := &s.mind.quarrel
	q.refusal = s.mind.last
	switch {
	case len(q.accusers) == 0 && !q.turned:
		q.accusers = map[peer.ID]routing.Hop{s.hops[i].Peer: s.hops[i]}
	case i == 0 || q.turned:
		q.over = true
	default:
		s.turn(i)
	}
}

// turn gives up the hop before hop i, which two have refused rows of, or one that nobody can take the place of.
func (s *session) turn(i int) {
	q := &s.mind.quarrel
	q.turned, q.accusers = true, nil
	s.mind.reach[s.ids[i]] = true
	why := fmt.Errorf("the hop behind it refuses its rows: %w", q.refusal.Err)
	for _, a := range s.link.chain.Lost(s.ids[i-1], protocol.Elsewhere, why) {
		s.note(a)
	}
}

// blameBefore turns to the hop before one that was not believed, if nobody takes that one's place. It reports whether that
// is worth another plan; if there is a quarrel and no way on, it is over.
func (s *session) blameBefore() bool {
	q := &s.mind.quarrel
	if q.refusal == nil {
		return false
	}
	i := slices.IndexFunc(s.hops, func(h routing.Hop) bool { _, accuses := q.accusers[h.Peer]; return accuses })
	switch {
	case i > 0 && !q.turned:
		s.turn(i)
		return true
	case i < 0 && len(q.accusers) > 0: // whoever took its place has failed: it may try once more
		q.turned, q.accusers = true, nil
		return true
	}
	q.over = i >= 0
	return false
}

// endQuarrel believes the refusal.
func (s *session) endQuarrel() error {
	err := s.mind.quarrel.refusal
	s.mind.quarrel = quarrel{}
	return err
}

// reconcile ends a quarrel that has been got over: who was not believed has lied, unless the hop before had to go.
func (s *session) reconcile() {
	q := &s.mind.quarrel
	for _, h := range q.accusers {
		s.strike(h, q.refusal.Err)
	}
	*q = quarrel{}
}
