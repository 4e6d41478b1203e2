package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// progressing is what a session knows of how fast it goes.
type progressing struct {
	token time.Duration // what a token takes on these hops, on average; 0: not known
	look  time.Time     // when a better chain is looked for
}

// told gives how busy the hops were when they were opened, and notes it for other sessions, with the ways to them.
func (s *session) told() map[peer.ID]uint32 {
	busy := make(map[peer.ID]uint32)
	for _, said := range s.link.chain.Said() {
		busy[said.Peer] = said.Busy
		s.client.directory.Told(said.Peer, said.Busy)
		s.client.directory.Heard(said.Peer, said.RTT)
	}
	return busy
}

// repair goes over to a better chain than the one that has just been opened, as its peers say that they are busy. Nothing has
// been computed yet.
func (s *session) repair(ctx context.Context) error {
	w := wish{span: protocol.Span{End: s.client.model.Manifest.Layers}, not: s.shunned(s.seen), affinity: s.affinity()}
	m := s.client.tiers(s.seen, time.Now(), w).strict
	r := routing.NewRepair(s.seen, m, s.client.model.Manifest.Layers, s.hops)
	for {
		hops := r.Next(s.told())
		if hops == nil {
			return nil
		}
		if err := s.goOver(ctx, hops); err != nil {
			return err
		}
		if !routing.SameChain(hops, s.hops) {
			return nil // some have failed, and others are in their places
		}
	}
}

// goOver has the session go on with other hops. Nothing is under way.
func (s *session) goOver(ctx context.Context, hops []routing.Hop) error {
	s.pace = progressing{}
	s.recorded = 0 // others hold the pages then
	return s.run(ctx, s.route(s.places(hops)), func(a chain.Action) (bool, error) {
		_, ready := a.(chain.Ready)
		return ready, nil
	})
}

// paced takes down what a token has taken.
func (s *session) paced(took time.Duration) {
	p := &s.pace
	if p.token == 0 {
		p.token = took
	}
	p.token += (took - p.token) / paceWeight
	s.client.directory.Stepped(s.hops, took)
}

// reconsider goes over to a chain that is better by so much that it pays for computing all again. It looks now and then, when
// nothing is under way, at what is known.
func (s *session) reconsider(ctx context.Context) error {
	now := time.Now()
	if s.pace.look.IsZero() {
		s.pace.look = now.Add(lookFirst + rand.N(lookMore))
	}
	if now.Before(s.pace.look) || s.pace.token == 0 || s.client.known == nil || !s.link.chain.Resting() {
		return nil
	}
	s.pace.look = now.Add(lookFirst + rand.N(lookMore))
	offers := s.client.known()
	hops, better := s.better(offers, now)
	if !better {
		return nil
	}
	s.seen = offers
	return s.goOver(ctx, hops)
}

// better plans among some offers, and says whether the session is to go over to what it finds.
func (s *session) better(offers []protocol.Offer, now time.Time) (hops []routing.Hop, better bool) {
	layers := s.client.model.Manifest.Layers
	offers = s.roomy(offers)
	w := wish{span: protocol.Span{End: layers}, not: s.shunned(offers), affinity: routing.Affinity{Room: s.expect}}
	m := s.client.tiers(offers, now, w).strict
	hops, err := routing.Plan(offers, m, layers)
	if err != nil || routing.SameChain(hops, s.hops) {
		return nil, false
	}
	// The session's own steps are in what its peers say of themselves: what is measured knows better.
	takes := min(s.pace.token, routing.Predict(newer(s.hops, offers), m).Total())
	would := routing.Predict(hops, m).Total()
	if takes-would < leastSaving {
		return nil, false
	}
	return hops, routing.Worth(takes, would, s.len, s.replays(hops))
}

// roomy gives the offers of the session's own peers the room that it has there already.
func (s *session) roomy(offers []protocol.Offer) []protocol.Offer {
	all := slices.Clone(offers)
	for i := range all {
		if slices.ContainsFunc(s.hops, func(h routing.Hop) bool { return h.Peer == all[i].Peer }) {
			all[i].CacheFree = max(all[i].CacheFree, uint32(s.expect))
		}
	}
	return all
}

// newer gives hops the offers that are known now.
func newer(hops []routing.Hop, offers []protocol.Offer) []routing.Hop {
	all := append([]routing.Hop(nil), hops...)
	for i := range all {
		for _, o := range offers {
			if o.Peer == all[i].Peer && o.Sequence > all[i].Offer.Sequence {
				all[i].Offer = o
			}
		}
	}
	return all
}

// replays is how long it takes until hops hold what the session's own hold. Those that it has already hold it.
func (s *session) replays(hops []routing.Hop) (sum time.Duration) {
	for k, p := range s.places(hops) {
		if p.id != 0 {
			continue
		}
		o := hops[k].Offer
		rate := max(o.PrefillRate, o.DecodeRate, 1)
		sum += time.Duration(s.len) * time.Duration(hops[k].Span.Len()) * time.Second / time.Duration(rate)
	}
	return sum
}
