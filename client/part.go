package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// part finds a successor for a hop that is leaving: one that takes over its cache, or if there is none several who compute
// it again. Without any, the hop stays as long as it can.
func (s *session) part(ctx context.Context) ([]chain.Action, error) {
	m, l := &s.mind, s.link
	p := *m.parting
	m.parting = nil
	if m.since.IsZero() {
		m.since = time.Now()
	}
	i := slices.Index(s.ids, p.Hop)
	if i < 0 {
		return l.chain.Stay(l.now(), p.Hop), nil
	}
	m.leaving[s.hops[i].Peer] = s.sequence(s.hops[i])
	hops, err := s.successors(ctx, s.hops[i].Span)
	switch {
	case ctx.Err() != nil:
		m.parting = &p
		return nil, ctx.Err()
	case err != nil:
		m.stays[p.Hop] = &stay{until: time.Now().Add(p.Within), next: time.Now().Add(remindEvery)}
		return l.chain.Stay(l.now(), p.Hop), nil
	case len(hops) == 1 && m.moves[p.Hop] < maxMoves && s.len > 0:
		to := s.hopOf(hops[0])
		if limit, worth := s.handOver(i, hops[0], p.HandOver); worth && to.Offer != nil {
			to.ID = l.add(hops[0].Offer.Dialable())
			m.moving = &moving{parting: p, id: to.ID, hop: hops[0], began: time.Now()}
			return l.chain.Move(l.now(), p.Hop, to, min(limit, p.Within)), nil
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

// parts says whether a hop is leaving, and may be seen to now.
func (s *session) parts() bool { return s.mind.parting != nil && s.link.chain.Resting() }

// unmoved takes down that a hand-over has failed. Another attempt is worth it unless it took long, or the peers themselves say
// that the cache can't be given or taken.
func (m *mind) unmoved(fault *chain.Fault) {
	v := m.moving
	took := time.Since(v.began)
	var said protocol.Failure
	m.moves[v.parting.Hop]++
	if took > moveFirst || errors.As(fault.Err, &said) && said.Code == protocol.CodeLostSession {
		m.moves[v.parting.Hop] = maxMoves
	}
	v.parting.Within = max(0, v.parting.Within-took)
	m.parting, m.moving = &v.parting, nil
}

// stopMove gives up a hand-over that is under way, if there is one, because the session is opened anew: then the chain tells
// again who is leaving.
func (s *session) stopMove() {
	s.mind.parting = nil
	if s.mind.moving == nil {
		return
	}
	s.mind.moving = nil
	s.keep()
}

// keep ends the streams to all peers that are not in the chain.
func (s *session) keep() {
	ids := make(map[int]bool)
	for _, id := range s.ids {
		ids[id] = true
	}
	s.link.keep(ids)
}

// stay is about a hop that is leaving and whose place nobody can take yet.
type stay struct {
	until time.Time // it is there so long
	next  time.Time // when somebody is looked for again
}

// remind looks among those that are known for successors of the hops that stay.
func (s *session) remind() {
	m := &s.mind
	now := time.Now()
	for id, st := range m.stays {
		i := slices.Index(s.ids, id)
		if i < 0 || now.After(st.until) {
			delete(m.stays, id)
			continue
		}
		if now.Before(st.next) || s.client.known == nil {
			continue
		}
		st.next = now.Add(remindEvery)
		if _, err := s.succeed(s.client.known(), s.hops[i].Span); err == nil {
			delete(m.stays, id)
			s.link.chain.Remind(id, st.until.Sub(now))
		}
	}
}

// sequence is that of the newest offer that is known of a hop.
func (s *session) sequence(h routing.Hop) uint64 {
	newest := h.Offer.Sequence
	if s.client.known == nil {
		return newest
	}
	for _, o := range s.client.known() {
		if o.Peer == h.Peer {
			newest = max(newest, o.Sequence)
		}
	}
	return newest
}

// handOver weighs sending the cache of hop i to a successor against computing it again, by what their offers say of
// bandwidth and speed, and the one that is leaving of what it needs (0: nothing). limit is how long it may take.
func (s *session) handOver(i int, to routing.Hop, said time.Duration) (limit time.Duration, worth bool) {
	tokens, layers, hidden := float64(s.len), float64(to.Span.Len()), float64(s.client.model.Manifest.Hidden)
	row := 2*hidden + 1
	bytes := tokens * (layers*cacheBytes(s.client.model.Manifest.KV)*hidden + row)
	rate := s.rate(s.hops[i], to)
	moves := cmp.Or(said, seconds(bytes/rate))
	limit = moveFirst + moveFactor*moves
	if to.Offer.PrefillRate == 0 {
		return limit, true
	}
	replays := tokens*layers/float64(to.Offer.PrefillRate) + tokens*row/rate
	return limit, moves <= seconds(replays)+time.Second/4 // which also costs others nothing: that breaks a tie
}

// cacheBytes is the bytes of keys and values for each element of a hidden state: 8-bit codes have scales beside them.
func cacheBytes(format string) float64 {
	if format == "f16" {
		return 4
	}
	return 2.25
}

// rate is the bytes/s between two peers, by their own words or as a guess.
func (s *session) rate(from, to routing.Hop) float64 {
	rate := min(cmp.Or(from.Offer.NetRate, to.Offer.NetRate), cmp.Or(to.Offer.NetRate, from.Offer.NetRate))
	if rate > 0 {
		return float64(rate)
	}
	for _, h := range []routing.Hop{from, to} {
		if rtt := s.roundTrip(h); rtt == 0 || rtt > nearRTT {
			return unknownRate
		}
	}
	return nearRate
}

func seconds(s float64) time.Duration {
	const most = float64(time.Hour / time.Second)
	return time.Duration(min(s, most) * float64(time.Second))
}

// successors plans for the layers of a hop that is leaving.
func (s *session) successors(ctx context.Context, span protocol.Span) ([]routing.Hop, error) {
	if s.client.known != nil {
		if hops, err := s.succeed(s.client.known(), span); err == nil {
			return hops, nil
		}
	}
	offers, err := s.client.offers(ctx)
	if err != nil {
		return nil, err
	}
	return s.succeed(offers, span)
}

// succeed is successors among some offers.
func (s *session) succeed(offers []protocol.Offer, span protocol.Span) ([]routing.Hop, error) {
	w := wish{span: span, affinity: s.affinity(), not: s.shunned(offers)}
	s.seen = offers
	for _, h := range s.hops {
		w.not[h.Peer] = true
		if h.Span.End == span.Start {
			w.before = h.Peer
		}
		if h.Span.Start == span.End {
			w.after = h.Peer
		}
	}
	return s.client.choose(offers, time.Now(), w)
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
	s.hops, s.ids, s.ways = slices.Clone(s.hops), slices.Clone(s.ids), nil
	s.hops[i], s.ids[i] = v.hop, a.To
	s.keep()
}
