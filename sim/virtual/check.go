package virtual

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// deadAfter is how long a dead peer may be offered: a life, and what an offer may be older than its age says.
const deadAfter = 30 * time.Second

// look sees, each second, to what must hold at any time.
func (w *world) look() {
	for _, pl := range w.players {
		if pl.wanted {
			if err := pl.start(context.Background()); err != nil {
				w.wrong("start node %d again: %v", pl.name, err)
			}
		}
	}
	w.gaps()
	for _, c := range w.clients {
		w.cover(c)
		w.judge("client", c.name, c.known())
	}
	for _, pl := range w.players {
		if pl.run != nil && pl.cast.Kind != Forger {
			w.judge("node", pl.name, pl.run.dir.Known(protocol.ModelID(w.model.stored.ID)))
		}
	}
}

// cover takes down since when a client can reach honest holders of all layers.
func (w *world) cover(c *asker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.held(func(pl *player) bool { return w.sides == nil || w.sides(pl.id) == w.sides(c.id) })
	switch {
	case !all:
		c.covered = time.Time{}
	case c.covered.IsZero():
		c.covered = time.Now()
	}
}

// held says whether honest nodes hold all layers, those that count.
func (w *world) held(counts func(*player) bool) bool {
	var held [Layers]bool
	for _, pl := range w.players {
		if pl.up && pl.cast.Kind == Honest && counts(pl) {
			for l := pl.span.Start; l < pl.span.End; l++ {
				held[l] = true
			}
		}
	}
	return !slices.Contains(held[:], false)
}

// How long a gap may last that the living could fill, and how long after the last fault it is no consequence of that any
// more: the dead must be missed, after up to 24 s, those who choose their layers decide, load and offer them.
const (
	fillLimit = 50 * time.Second
	aftermath = 35 * time.Second
)

// gaps sees to it that layers without a holder find one, and that no move takes the last from any. Nodes can't know that a
// bragger lies who says that it has all layers: while there is one, gaps are not theirs to find.
func (w *world) gaps() {
	w.mu.Lock()
	room, lied, since, faults := 0, false, w.gap, w.faults
	for _, pl := range w.players {
		if pl.up && pl.cast.Kind == Honest {
			room += pl.cast.Span.Len()
		}
		lied = lied || pl.cast.Kind == Bragger || pl.cast.Kind == Mute || pl.cast.Kind == Babbler
	}
	all := w.held(func(*player) bool { return true })
	switch {
	case all || room < Layers || lied || w.sides != nil:
		w.gap, w.told = time.Time{}, false
	case since.IsZero():
		w.gap = time.Now()
	}
	began, told := w.gap, w.told
	w.mu.Unlock()
	if began.IsZero() {
		return
	}
	switch lasts := time.Since(began); {
	case since.IsZero() && time.Since(faults) > aftermath && time.Since(w.began) > warmUp+aftermath:
		w.wrong("a gap opens %.0f s after the last fault", time.Since(faults).Seconds())
	case lasts >= fillLimit && time.Since(faults) >= fillLimit && !told:
		w.mu.Lock()
		w.told = true
		w.mu.Unlock()
		w.wrong("a gap that %d layers of room could fill lasts for %.0f s", room, lasts.Seconds())
	}
}

// judge holds what somebody knows against the truth: nothing forged, and nobody who has been dead for long.
func (w *world) judge(what string, name int, known []routing.Seen) {
	for _, s := range known {
		pl := w.playerOf(s.Offer.Peer)
		switch {
		case s.Offer.Nick == forged:
			w.wrong("%s %d believes a forged offer of %s", what, name, w.nameOf(s.Offer.Peer))
		case pl == nil:
			w.wrong("%s %d knows of %s, who has never been there", what, name, s.Offer.Peer)
		case !pl.up && time.Since(pl.since) > deadAfter+drainFor && !w.repeats():
			w.wrong("%s %d still knows of node %d, dead for %.0f s", what, name, pl.name, time.Since(pl.since).Seconds())
		}
	}
}

// repeats says whether somebody is or was lately there who repeats what others have signed. To those who have not heard of a
// dead peer's last offers it can hand them one after the other as if they were new, and each is believed for its life: who
// has signed an offer is certain, when it was made is the relay's word. A client that dials such a peer bans it.
func (w *world) repeats() bool {
	return slices.ContainsFunc(w.players, func(pl *player) bool {
		return pl.cast.Kind == Forger && pl.starts > 0 && (pl.up || time.Since(pl.since) < deadAfter)
	})
}

// lookClosely sees, at the end, whether every client that asks hears of everyone who is there.
func (w *world) lookClosely() {
	for _, c := range w.clients {
		var missing []int
		known := c.look()
		for _, pl := range w.players {
			isKnown := slices.ContainsFunc(known, func(s routing.Seen) bool { return s.Offer.Peer == pl.id })
			if pl.up && pl.cast.Kind == Honest && !isKnown {
				missing = append(missing, pl.name)
			}
		}
		if len(missing) > 0 {
			w.wrong("client %d does not know of nodes %v, and has had %d answers; it has done this for %.1f s: %s; known are %s", c.name,
				missing, c.answers, time.Since(c.since).Seconds(), c.doing, w.whoKnows(missing, known))
		}
	}
	if w.report.Answers == 0 {
		w.wrong("nobody has got an answer")
	}
}

// whoKnows tells which nodes know the missing, and how old the client's offers are.
func (w *world) whoKnows(missing []int, known []routing.Seen) (s string) {
	for _, name := range missing {
		var by []int
		for _, pl := range w.players {
			if pl.run != nil && slices.ContainsFunc(pl.run.dir.Known(protocol.ModelID(w.model.stored.ID)), func(s routing.Seen) bool {
				return s.Offer.Peer == w.players[name].id
			}) {
				by = append(by, pl.name)
			}
		}
		w.mu.Lock()
		s += fmt.Sprintf("%d, which %s, by nodes %v, ", name, w.players[name].doing, by)
		w.mu.Unlock()
	}
	for _, x := range known {
		s += fmt.Sprintf("%s for %.0f s, ", w.nameOf(x.Offer.Peer), x.Age.Seconds())
	}
	return s
}

func (w *world) playerOf(id peer.ID) *player { return w.byID[id] }

// nameOf names a peer as the plan does.
func (w *world) nameOf(id peer.ID) string {
	if pl := w.playerOf(id); pl != nil {
		return fmt.Sprintf("node %02d", pl.name)
	}
	return id.String()
}
