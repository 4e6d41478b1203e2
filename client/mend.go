package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// mind is what a session remembers of trouble.
type mind struct {
	since   time.Time          // when the present trouble began; zero: there is none
	failed  bool               // somebody did, and not only for want of room
	tries   int                // routes for that reason since anything was computed
	refused int                // how often somebody had no room since then
	again   map[peer.ID]int    // how often a peer was reached anew since then
	reach   map[int]bool       // hops whose peers are to be reached anew
	last    *HopError          // the newest failure
	leaving map[peer.ID]uint64 // peers that have said so, and the sequence of their offers then
	quarrel quarrel
	cut     bool // all connections broke at once, and their peers were reached anew

	parting *chain.Parting // to be seen to
	moving  *moving        // a hand-over under way
	moves   map[int]int    // hand-overs of hops that have failed; maxMoves: there is to be no other
	stays   map[int]*stay  // hops that are leaving and whose place nobody can take
}

// moving is a hand-over to a hop that has no place in the chain yet.
type moving struct {
	parting chain.Parting
	id      int
	hop     routing.Hop
	began   time.Time
}

func newMind() mind {
	return mind{
		again: map[peer.ID]int{}, reach: map[int]bool{}, leaving: map[peer.ID]uint64{}, moves: map[int]int{}, stays: map[int]*stay{},
	}
}

// progress forgets trouble that has been got over.
func (s *session) progress() {
	m := &s.mind
	s.reconcile()
	m.since, m.tries, m.refused, m.failed, m.cut = time.Time{}, 0, 0, false, false
	clear(m.again)
}

// asked begins to count: what happened while the session was at rest, or before somebody asked again, has cost nobody any time.
func (m *mind) asked() { m.since, m.tries, m.refused = time.Time{}, 0, 0 }

// mend finds other peers for what has broken. If there are none, it waits for some, for a time.
func (s *session) mend(ctx context.Context) ([]chain.Action, error) {
	m := &s.mind
	if m.quarrel.over {
		return nil, s.endQuarrel()
	}
	if s.parts() {
		return s.part(ctx)
	}
	if err := s.cutOff(ctx); err != nil {
		return nil, err
	}
	if m.failed {
		m.failed = false
		m.tries++
	}
	if m.since.IsZero() {
		m.since = time.Now()
	}
	if m.tries >= maxTries && m.last != nil {
		if err := s.despair(ctx); err != nil {
			return nil, err
		}
	}
	if m.refused >= maxTries && m.last != nil { // one after the other is full, and the first may be tried again by now
		if err := s.wait(ctx, waitFirst, &BusyError{Layers: []protocol.Span{m.last.Layers}}); err != nil {
			return nil, err
		}
	}
	for wait := time.Duration(0); ; wait = min(max(2*wait, waitFirst), waitLongest) {
		places, err := s.replan(ctx, wait)
		if err == nil {
			return s.route(places), nil
		}
		if s.blameBefore() {
			continue
		}
		if m.quarrel.over {
			return nil, s.endQuarrel()
		}
		if err := s.wait(ctx, max(wait, waitFirst), err); err != nil {
			return nil, err
		}
	}
}

// despair lets some time pass because so many have failed: a swarm that falls apart may be whole again in a moment. In the end
// it gives up.
func (s *session) despair(ctx context.Context) error {
	m := &s.mind
	if time.Since(m.since) >= s.cfg.Grace {
		tries, last := m.tries, m.last
		m.tries, m.since = 0, time.Time{}
		return fmt.Errorf("gave up after %d tries: %w", tries, last)
	}
	err := s.meanwhile(ctx, waitLongest/2+rand.N(waitLongest/2))
	if errors.Is(err, errPause) {
		return nil
	}
	return err
}

// wait lets some time pass because there is no chain, if that may help. A session that has computed nothing yet gives up
// the room that it has got meanwhile: others may need it to go on, as this one needs theirs.
func (s *session) wait(ctx context.Context, pause time.Duration, err error) error {
	m := &s.mind
	var none *routing.NoChainError
	var busy *BusyError
	told := Waiting{For: time.Since(m.since), Grace: s.cfg.Grace}
	switch {
	case errors.As(err, &busy):
		told.Missing, told.Busy = busy.Layers, true
		if !s.opened {
			s.release()
		}
	case errors.As(err, &none):
		told.Missing = none.Missing
		if m.last == nil && !s.client.bans.any(time.Now()) && !s.coming(none.Missing) { // nobody has ever been there
			return s.hopeless(err, told.For)
		}
	default:
		return err
	}
	if told.For >= s.cfg.Grace {
		return s.hopeless(err, told.For)
	}
	if s.cfg.Waiting != nil {
		s.cfg.Waiting(told)
	}
	pause = pause/2 + rand.N(pause/2) // a crowd does not come back at once
	pause = max(min(pause, s.cfg.Grace-told.For), time.Millisecond)
	err = s.meanwhile(ctx, pause)
	if errors.Is(err, errPause) {
		return nil
	}
	return err
}

// coming reports whether layers that nobody serves are on their way, as far as is known, with somebody who may be asked.
func (s *session) coming(missing []protocol.Span) bool {
	c := s.client
	if c.known == nil {
		return false
	}
	offers := slices.DeleteFunc(c.known(), func(o protocol.Offer) bool { return c.block[o.Peer] || len(c.allow) > 0 && !c.allow[o.Peer] })
	return coming(offers, missing)
}

// coming reports whether somebody has announced to serve layers that nobody serves now.
func coming(offers []protocol.Offer, missing []protocol.Span) bool {
	return slices.ContainsFunc(offers, func(o protocol.Offer) bool {
		return (o.State == protocol.Joining || o.State == protocol.Online) && slices.ContainsFunc(missing, func(lacks protocol.Span) bool {
			return max(o.Target.Start, lacks.Start) < min(o.Target.End, lacks.End)
		})
	})
}

// release ends the session at the hops that it has.
func (s *session) release() {
	if len(s.hops) > 0 {
		s.books.stall(s.mind.since)
		s.link.keep(nil)
		s.hops, s.ids = nil, nil
	}
}

// hopeless is the error of a session for which nobody is there. err names the layers.
func (s *session) hopeless(err error, waited time.Duration) error {
	m := &s.mind
	last := m.last
	m.since, m.last = time.Time{}, nil
	took := waited.Round(time.Second / 10)
	err = fmt.Errorf("model %s: %w", s.client.model.Name, err)
	const (
		another = "start another node for these layers, or ask again later"
		again   = "start a node for these layers and ask again"
	)
	switch busy := errors.As(err, new(*BusyError)); {
	case busy && last != nil:
		return fmt.Errorf("%w, and had none for %v (peer %s: %w): %s", err, took, last.Peer, last.Err, another)
	case busy:
		return fmt.Errorf("%w, and had none for %v: %s", err, took, another)
	case last != nil:
		return fmt.Errorf("%w: peer %s failed (%w), and for %v nobody took its place: %s", err, last.Peer, last.Err, took, again)
	case took > 0:
		return fmt.Errorf("%w, and nobody came for %v: %s", err, took, again)
	}
	if none := (*routing.NoChainError)(nil); errors.As(err, &none) && none.Listed() {
		return fmt.Errorf("%w: let more peers in by --allow or --block, or start a node for these layers", err)
	}
	return fmt.Errorf("%w: start a node for these layers", err)
}

// place is a hop of a chain to be: id is 0 if it has to be connected to.
type place struct {
	hop routing.Hop
	id  int
}

// replan gives the chain with others in the place of those that failed, or if that is not possible another chain that has
// as much of this one as possible; only then one with a peer that has failed. What is known is enough at first, if it is not old; who has waited asks the swarm, and
// does not wait long for its answers.
func (s *session) replan(ctx context.Context, waited time.Duration) ([]place, error) {
	c := s.client
	var err error
	if waited == 0 && c.known != nil && (s.opened || c.askedWithin(recently)) {
		var places []place
		if places, err = s.rechoose(c.known()); err == nil {
			return places, nil
		}
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if waited > 0 {
		asking, cancel = context.WithTimeout(ctx, pollLimit)
	}
	offers, asked := c.offers(asking)
	cancel()
	switch {
	case asked == nil:
		c.asksNow()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case waited > 0 && c.known != nil:
		offers = c.known()
	case err != nil:
		return nil, err // the swarm can't be asked now
	default:
		return nil, asked
	}
	return s.rechoose(offers)
}

// rechoose is replan among some offers.
func (s *session) rechoose(offers []protocol.Offer) ([]place, error) {
	w := wish{span: protocol.Span{End: s.client.model.Manifest.Layers}, not: s.shunned(offers), affinity: s.affinity()}
	now := time.Now()
	s.seen = offers
	if len(s.hops) == 0 {
		hops, err := s.client.choose(offers, now, w)
		return s.places(hops), err
	}
	s.shun()
	w.prefer = make(map[peer.ID]bool)
	for i, f := range s.faults() {
		if f == nil {
			w.prefer[s.hops[i].Peer] = true
		}
	}
	var err error
	for _, choose := range []chooser{s.client.sound, s.client.choose} {
		var places []place
		if places, err = s.patch(offers, now, choose); err == nil {
			return places, nil
		}
		if hops, other := choose(offers, now, w); other == nil {
			return s.places(hops), nil
		}
	}
	return nil, err
}

// faults says of each hop why it failed; nil: it did not.
func (s *session) faults() []*chain.Fault {
	_, faults := s.link.chain.Hops()
	return faults
}

// patch keeps the hops that have not failed, reaches anew those whose stream alone is gone, and has others chosen for the rest.
func (s *session) patch(offers []protocol.Offer, now time.Time, choose chooser) ([]place, error) {
	var places []place
	not := s.shunned(offers)
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
		w := wish{span: gap, not: not, affinity: s.affinity()}
		if len(places) > 0 {
			w.before = places[len(places)-1].hop.Peer
		}
		if i < len(s.hops) {
			w.after = s.hops[i].Peer
		}
		hops, err := choose(offers, now, w)
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
	s.books.failed(s.hops, s.faults(), func(i int) bool {
		return s.mind.reach[s.ids[i]] && slices.ContainsFunc(places, func(p place) bool { return p.hop.Peer == s.hops[i].Peer })
	}, s.mind.since)
	s.mind.parting, s.mind.moving = nil, nil // the chain will say again who is leaving
	clear(s.mind.reach)
	old, _ := s.link.chain.Hops()
	ids := make(map[int]bool)
	hops := make([]chain.Hop, len(places))
	s.hops, s.ids, s.ways = nil, nil, nil
	for i, p := range places {
		hops[i] = s.hopOf(p.hop)
		if p.id == 0 {
			p.id = s.link.add(p.hop.Offer.Dialable())
			hops[i].Patience = s.patience(p.hop, places)
		}
		hops[i].ID = p.id
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

// hopOf is what the chain is told of a hop, but for its ID.
func (s *session) hopOf(h routing.Hop) chain.Hop {
	x := chain.Hop{Peer: h.Peer, Span: h.Span, RTT: s.roundTrip(h), Offer: s.client.sealed(h.Peer)}
	if h.Offer.DecodeRate > 0 {
		x.Pace = time.Second / time.Duration(h.Offer.DecodeRate)
	}
	return x
}

// roundTrip is what is known of a peer's; 0: nothing.
func (s *session) roundTrip(h routing.Hop) time.Duration {
	rtt := s.client.directory.Measures().RTT[h.Peer]
	if routing.OnLoopback(&h.Offer) {
		return min(cmp.Or(rtt, nearRTT), nearRTT)
	}
	return rtt
}

// patience is how long a peer that is not connected may keep the session waiting: not as long as a dial may take, where
// others can do the same.
func (s *session) patience(h routing.Hop, places []place) time.Duration {
	not := s.shunned(s.seen)
	for _, p := range places {
		not[p.hop.Peer] = true
	}
	if !s.client.spare(s.seen, time.Now(), h.Span, not) {
		return 0
	}
	return spareDial + 4*cmp.Or(s.roundTrip(h), unknownRTT)
}
