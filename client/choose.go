package client

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// BusyError says that the peers of some layers have no room for another session now.
type BusyError struct {
	Layers []protocol.Span
}

func (e *BusyError) Error() string {
	names := make([]string, len(e.Layers))
	for i, s := range e.Layers {
		names[i] = s.String()
	}
	return fmt.Sprintf("the peers of layers %s have no room now", strings.Join(names, ", "))
}

// wish is what a session wants a plan for.
type wish struct {
	span   protocol.Span
	not    map[peer.ID]bool // who is not to be in it
	prefer map[peer.ID]bool // who is chosen wherever it serves

	before, after peer.ID // the hops around it; "": the client
	affinity      routing.Affinity
}

// tiers are measures under which peers are left out that failed lately or have no room: strict leaves out all of them,
// full those that failed, last those that failed and get no mercy, and those without room.
type tiers struct {
	strict, full, last routing.Measures
	paused             bool // somebody has no room
}

func (c *Client) tiers(offers []protocol.Offer, now time.Time, w wish) (t tiers) {
	t.strict = c.directory.Measures()
	t.strict.Prefer, t.strict.Affinity = w.prefer, w.affinity
	t.strict.Before, t.strict.After = w.before, w.after
	t.strict.Allow, t.strict.Block, t.strict.Why = c.allow, c.block, make(map[peer.ID]string)
	t.full, t.last = t.strict, t.strict
	for _, m := range []*routing.Measures{&t.strict, &t.full, &t.last} {
		m.Banned = make(map[peer.ID]bool)
		maps.Copy(m.Banned, w.not)
	}
	for _, o := range offers {
		if routing.OnLoopback(&o) {
			t.strict.RTT[o.Peer] = 0 // the map is that of all three
		}
		s := c.bans.of(o.Peer, o.Boot, now)
		if why := s.String(); why != "" {
			t.strict.Why[o.Peer] = why
		}
		if s.paused > 0 {
			t.paused, t.strict.Banned[o.Peer], t.last.Banned[o.Peer] = true, true, true
		}
		if s.banned > 0 {
			t.strict.Banned[o.Peer], t.full.Banned[o.Peer] = true, true
			if !s.mercy || !s.fresh && !routing.Connected(c.host, o.Peer) {
				t.last.Banned[o.Peer] = true
			}
		}
	}
	return t
}

// A chooser plans for some layers.
type chooser func([]protocol.Offer, time.Time, wish) ([]routing.Hop, error)

// sound plans without peers that failed lately, or that have no room: if it is for the latter alone that there is no plan, the
// error is a *BusyError.
func (c *Client) sound(offers []protocol.Offer, now time.Time, w wish) ([]routing.Hop, error) {
	return c.tiers(offers, now, w).sound(offers, c.model.Manifest.Layers, w.span)
}

func (t tiers) sound(offers []protocol.Offer, layers int, span protocol.Span) ([]routing.Hop, error) {
	hops, err := routing.PlanSpan(offers, t.strict, layers, span)
	if err == nil || !t.paused {
		return hops, err
	}
	if _, other := routing.PlanSpan(offers, t.full, layers, span); other == nil {
		return nil, &BusyError{Layers: err.(*routing.NoChainError).Missing}
	}
	return nil, err
}

// choose is sound, and where there is no other, a peer that has failed is chosen now and then, if it was started anew since, or
// is still connected and may only have been held up: a conversation that stumbles is better than none.
func (c *Client) choose(offers []protocol.Offer, now time.Time, w wish) ([]routing.Hop, error) {
	t, layers := c.tiers(offers, now, w), c.model.Manifest.Layers
	hops, err := t.sound(offers, layers, w.span)
	if busy := (*BusyError)(nil); err == nil || errors.As(err, &busy) {
		return hops, err
	}
	return routing.PlanSpan(offers, t.last, layers, w.span)
}

// spare says whether there are good peers for some layers without some.
func (c *Client) spare(offers []protocol.Offer, now time.Time, span protocol.Span, not map[peer.ID]bool) bool {
	t := c.tiers(offers, now, wish{span: span, not: not})
	_, err := routing.PlanSpan(offers, t.strict, c.model.Manifest.Layers, span)
	return err == nil
}
