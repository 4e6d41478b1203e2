package virtual

import (
	"context"
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
	var held [Layers]bool
	for _, pl := range w.players {
		if pl.up && pl.cast.Kind == Honest && (w.sides == nil || w.sides(pl.id) == w.sides(c.id)) {
			for l := pl.cast.Span.Start; l < pl.cast.Span.End; l++ {
				held[l] = true
			}
		}
	}
	switch all := !slices.Contains(held[:], false); {
	case !all:
		c.covered = time.Time{}
	case c.covered.IsZero():
		c.covered = time.Now()
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
		case !pl.up && time.Since(pl.since) > deadAfter+drainFor:
			w.wrong("%s %d still knows of node %d, dead for %.0f s", what, name, pl.name, time.Since(pl.since).Seconds())
		}
	}
}

// lookClosely sees, at the end, whether everyone knows who is there, and nobody else.
func (w *world) lookClosely() {
	for _, c := range w.clients {
		var missing []int
		known := c.known()
		for _, pl := range w.players {
			isKnown := slices.ContainsFunc(known, func(s routing.Seen) bool { return s.Offer.Peer == pl.id })
			if pl.up && pl.cast.Kind == Honest && !isKnown {
				missing = append(missing, pl.name)
			}
		}
		if len(missing) > 0 {
			w.wrong("client %d does not know of nodes %v, and has had %d answers; it has done this for %.1f s: %s", c.name, missing,
				c.answers, time.Since(c.since).Seconds(), c.doing)
		}
	}
	if w.report.Answers == 0 {
		w.wrong("nobody has got an answer")
	}
}

func (w *world) playerOf(id peer.ID) *player {
	i := slices.IndexFunc(w.players, func(p *player) bool { return p.id == id })
	if i < 0 {
		return nil
	}
	return w.players[i]
}

// nameOf names a peer as the plan does.
func (w *world) nameOf(id peer.ID) string {
	if pl := w.playerOf(id); pl != nil {
		return "node " + string(rune('0'+pl.name/10)) + string(rune('0'+pl.name%10))
	}
	return id.String()
}
