package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// mind is what a session remembers of trouble.
type mind struct {
	since   time.Time        // when the present trouble began; zero: there is none
	tries   int              // routes since anything was computed
	again   map[peer.ID]int  // how often a peer was reached anew since then
	reach   map[int]bool     // hops whose peers are to be reached anew
	never   *HopError        // a refusal that no other peer would take back
	last    *HopError        // the newest failure
	leaving map[peer.ID]bool // peers that have said so get nothing more to do

	parting *chain.Parting // to be seen to
	moving  *moving        // a hand-over under way
	stuck   map[int]bool   // hops whose hand-over has failed
}

// moving is a hand-over to a hop that has no place in the chain yet.
type moving struct {
	parting chain.Parting
	id      int
	hop     routing.Hop
}

func newMind() mind {
	return mind{again: map[peer.ID]int{}, reach: map[int]bool{}, leaving: map[peer.ID]bool{}, stuck: map[int]bool{}}
}

// progress forgets trouble that has been got over.
func (m *mind) progress() {
	m.since, m.tries = time.Time{}, 0
	clear(m.again)
}

// errLeaving is why a hop was replaced that did nothing wrong.
var errLeaving = errors.New("it is leaving")

// blame decides what a fault means for the peer: whether it is reached anew, or kept out of the next chains for a while.
func (s *session) blame(fault *chain.Fault) {
	m := &s.mind
	h := routing.Hop{}
	if i := slices.Index(s.ids, fault.Hop); i >= 0 {
		h = s.hops[i]
	} else if v := m.moving; v != nil && v.id == fault.Hop {
		h = v.hop
		m.stuck[v.parting.Hop], m.parting, m.moving = true, &v.parting, nil
	} else {
		return
	}
	if m.since.IsZero() {
		m.since = time.Now().Add(-fault.For)
	}
	m.last = &HopError{Peer: h.Peer, Layers: h.Span, Class: fault.Class, Err: fault.Err}
	var said protocol.Failure
	busy := errors.As(fault.Err, &said) && (said.Code == protocol.CodeBusy || said.Code == protocol.CodeLoading)
	switch {
	case fault.Class == protocol.Never:
		m.never = m.last
	case fault.Class == protocol.Again && !busy && m.again[h.Peer] < maxAgain:
		m.again[h.Peer]++
		m.reach[fault.Hop] = true
	default:
		s.client.bans.strike(h.Peer, fault.Class, time.Now())
		s.books.stats.Bans++
	}
}

// mend finds other peers for what has broken. If there are none, it waits for some, for a time.
func (s *session) mend(ctx context.Context) ([]chain.Action, error) {
	m := &s.mind
	if never := m.never; never != nil {
		m.never = nil
		return nil, never
	}
	if m.parting != nil && !s.link.chain.Broken() {
		return s.part(ctx)
	}
	if m.tries++; m.tries > maxTries && m.last != nil {
		m.tries = 0
		return nil, fmt.Errorf("gave up after %d tries: %w", maxTries, m.last)
	}
	if m.since.IsZero() {
		m.since = time.Now()
	}
	for wait := pauseFirst; ; wait = min(2*wait, pauseLongest) {
		places, err := s.replan(ctx, s.opened && wait == pauseFirst)
		if err == nil {
			return s.route(places), nil
		}
		if err := s.wait(ctx, wait, err); err != nil {
			return nil, err
		}
	}
}

// wait lets some time pass because there is no chain, if that may help.
func (s *session) wait(ctx context.Context, pause time.Duration, err error) error {
	m := &s.mind
	none := (*routing.NoChainError)(nil)
	waited := time.Since(m.since)
	switch {
	case !errors.As(err, &none):
		return err
	case m.last == nil && !s.client.bans.any(time.Now()) || waited >= s.cfg.Grace: // nobody has ever been there
		return s.hopeless(err, waited)
	}
	if s.cfg.Waiting != nil {
		s.cfg.Waiting(Waiting{Missing: none.Missing, For: waited, Grace: s.cfg.Grace})
	}
	pause = max(min(pause, s.cfg.Grace-waited), time.Millisecond)
	err = s.link.drive(ctx, pause, nil, func(a chain.Action) (bool, error) { return s.note(a), nil })
	if errors.Is(err, errPause) {
		return nil
	}
	return err
}

// hopeless is the error of a session for which nobody is there.
func (s *session) hopeless(err error, waited time.Duration) error {
	m := &s.mind
	last := m.last
	m.since, m.last = time.Time{}, nil
	err = fmt.Errorf("model %s: %w", s.client.model.Name, err)
	if last == nil {
		return err
	}
	return fmt.Errorf("%w (peer %s failed: %w; waited %v for another)", err, last.Peer, last.Err, waited.Round(time.Second/10))
}

// place is a hop of a chain to be: id is 0 if it has to be connected to.
type place struct {
	hop routing.Hop
	id  int
}

// replan gives the chain with others in the place of those that failed, or if that is not possible another chain that has
// as much of this one as possible. quick uses what is known before it asks the swarm.
func (s *session) replan(ctx context.Context, quick bool) ([]place, error) {
	var err error
	if quick && s.client.known != nil {
		var places []place
		if places, err = s.rechoose(s.client.known()); err == nil {
			return places, nil
		}
	}
	offers, asked := s.client.offers(ctx)
	if asked != nil {
		if err != nil && ctx.Err() == nil {
			return nil, err // the swarm can't be asked now
		}
		return nil, asked
	}
	return s.rechoose(offers)
}

// rechoose is replan among some offers.
func (s *session) rechoose(offers []protocol.Offer) ([]place, error) {
	whole := protocol.Span{End: s.client.model.Manifest.Layers}
	now := time.Now()
	if len(s.hops) == 0 {
		hops, err := s.client.choose(offers, now, whole, s.mind.leaving, nil)
		return s.places(hops), err
	}
	places, err := s.patch(offers, now)
	if err == nil {
		return places, nil
	}
	prefer := make(map[peer.ID]bool)
	for i, f := range s.faults() {
		if f == nil {
			prefer[s.hops[i].Peer] = true
		}
	}
	if hops, other := s.client.choose(offers, now, whole, s.mind.leaving, prefer); other == nil {
		return s.places(hops), nil
	}
	return nil, err
}

// faults says of each hop why it failed; nil: it did not.
func (s *session) faults() []*chain.Fault {
	_, faults := s.link.chain.Hops()
	return faults
}

// patch keeps the hops that have not failed, reaches anew those whose stream alone is gone, and finds others for the rest.
func (s *session) patch(offers []protocol.Offer, now time.Time) ([]place, error) {
	var places []place
	not := maps.Clone(s.mind.leaving)
	faults := s.faults()
	for i, h := range s.hops {
		if faults[i] == nil || s.mind.reach[s.ids[i]] {
			not[h.Peer] = true
		}
	}
	for i := 0; i < len(s.hops); {
		if id := s.ids[i]; faults[i] == nil || s.mind.reach[id] {
			if h := s.link.hops[id]; h == nil || h.failed {
				id = 0
			}
			places = append(places, place{s.hops[i], id})
			i++
			continue
		}
		gap := s.hops[i].Span
		for ; i < len(s.hops) && faults[i] != nil && !s.mind.reach[s.ids[i]]; i++ {
			gap.End = s.hops[i].Span.End
		}
		hops, err := s.client.choose(offers, now, gap, not, nil)
		if err != nil {
			return nil, err
		}
		for _, h := range hops {
			not[h.Peer] = true
			places = append(places, place{h, 0})
		}
	}
	return places, nil
}

// places finds those of some hops that the chain has already.
func (s *session) places(hops []routing.Hop) []place {
	places := make([]place, len(hops))
	var faults []*chain.Fault
	if s.link != nil {
		faults = s.faults()
	}
	for k, h := range hops {
		places[k] = place{hop: h}
		for i, old := range s.hops {
			if old.Peer == h.Peer && old.Span == h.Span && faults[i] == nil {
				places[k].id = s.ids[i]
			}
		}
	}
	return places
}

// route goes on with other hops.
func (s *session) route(places []place) []chain.Action {
	s.books.failed(s.hops, s.faults(), places, s.mind.since)
	s.mind.moving = nil
	clear(s.mind.reach)
	old, _ := s.link.chain.Hops()
	ids := make(map[int]bool)
	hops := make([]chain.Hop, len(places))
	s.hops, s.ids = nil, nil
	rtt := s.client.directory.Measures().RTT
	for i, p := range places {
		if p.id == 0 {
			p.id = s.link.add(p.hop.Offer.Dialable())
		}
		hops[i] = chain.Hop{ID: p.id, Peer: p.hop.Peer, Span: p.hop.Span, RTT: rtt[p.hop.Peer], Offer: s.client.sealed(p.hop.Peer)}
		if k := slices.IndexFunc(old, func(h chain.Hop) bool { return h.Peer == p.hop.Peer }); k >= 0 && hops[i].Offer == nil {
			hops[i].Offer = old[k].Offer // it has run out, but the address is still right
		}
		ids[p.id] = true
		s.hops, s.ids = append(s.hops, p.hop), append(s.ids, p.id)
	}
	actions := s.link.chain.Route(s.link.now(), hops)
	s.link.keep(ids)
	return actions
}

// part finds a successor for a hop that is leaving: one that takes over its cache, or if there is none several who compute
// it again. Without any, the hop stays as long as it can.
func (s *session) part(ctx context.Context) ([]chain.Action, error) {
	m, l := &s.mind, s.link
	p := *m.parting
	m.parting = nil
	i := slices.Index(s.ids, p.Hop)
	if i < 0 {
		return l.chain.Stay(l.now(), p.Hop), nil
	}
	m.leaving[s.hops[i].Peer] = true
	hops, err := s.successors(ctx, s.hops[i].Span)
	switch {
	case ctx.Err() != nil:
		m.parting = &p
		return nil, ctx.Err()
	case err != nil:
		return l.chain.Stay(l.now(), p.Hop), nil
	case len(hops) == 1 && !m.stuck[p.Hop] && s.len > 0:
		if offer := s.client.sealed(hops[0].Peer); offer != nil {
			id := l.add(hops[0].Offer.Dialable())
			m.moving = &moving{parting: p, id: id, hop: hops[0]}
			return l.chain.Move(l.now(), p.Hop, chain.Hop{ID: id, Peer: hops[0].Peer, Span: hops[0].Span, Offer: offer}), nil
		}
	}
	s.books.left(s.hops[i], m.since)
	places := s.places(s.hops)
	rest := slices.Clone(places[i+1:])
	places = places[:i]
	for _, h := range hops {
		places = append(places, place{hop: h})
	}
	return s.route(append(places, rest...)), nil
}

// successors plans for the layers of a hop that is leaving.
func (s *session) successors(ctx context.Context, span protocol.Span) ([]routing.Hop, error) {
	not := maps.Clone(s.mind.leaving)
	for _, h := range s.hops {
		not[h.Peer] = true
	}
	if s.client.known != nil {
		if hops, err := s.client.choose(s.client.known(), time.Now(), span, not, nil); err == nil {
			return hops, nil
		}
	}
	offers, err := s.client.offers(ctx)
	if err != nil {
		return nil, err
	}
	return s.client.choose(offers, time.Now(), span, not, nil)
}

// moved puts the successor of a hop into its place.
func (s *session) moved(a chain.Moved) {
	v := s.mind.moving
	i := slices.Index(s.ids, a.From)
	if v == nil || v.id != a.To || i < 0 {
		return
	}
	s.books.handedOver(s.hops[i], s.mind.since, a.Tokens)
	s.mind.moving = nil
	s.hops, s.ids = slices.Clone(s.hops), slices.Clone(s.ids)
	s.hops[i], s.ids[i] = v.hop, a.To
	ids := make(map[int]bool)
	for _, id := range s.ids {
		ids[id] = true
	}
	s.link.keep(ids)
}
