package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

const nearMost = 16 // round trips that an offer tells

// chains has clients anywhere plan by what they could read, and is what a token really takes, on average.
func (f *fleet) chains(v placement.View) (ms, hops float64) {
	seen := some(v.Peers, fleetView, f.rng)
	offers := f.offers(seen)
	n := 0.0
	for c := range fleetClients {
		client := fmt.Sprintf("client-%d", c)
		f.draw.place[client] = spot{region: somewhere(f.rng), mile: 1 + f.rng.IntN(lastMile)}
		m := routing.Measures{RTT: map[peer.ID]time.Duration{}}
		for _, p := range seen {
			m.RTT[peer.ID(p.ID)] = f.draw.RTT(client, p.ID)
		}
		chain, err := routing.Plan(offers, m, v.Layers)
		if err != nil {
			continue // of what it has read nobody serves some layer
		}
		n++
		ms += f.takes(client, chain).Seconds() * 1000
		hops += float64(len(chain))
	}
	return ms / max(1, n), hops / max(1, n)
}

// takes is what a token takes through a chain, by what the fleet really is.
func (f *fleet) takes(client string, chain []routing.Hop) (t time.Duration) {
	at := client
	for _, h := range chain {
		t += f.draw.RTT(at, string(h.Peer))/2 + time.Duration(h.Span.Len())*time.Second/time.Duration(f.byID[string(h.Peer)].self.Rate)
		at = string(h.Peer)
	}
	return t + f.draw.RTT(at, client)/2
}

// offers are those that such peers announce, each with the round trips to its nearest.
func (f *fleet) offers(peers []placement.Peer) []protocol.Offer {
	offers := make([]protocol.Offer, len(peers))
	for i, p := range peers {
		near := make([]protocol.Near, 0, len(peers))
		for _, q := range peers {
			if q.ID != p.ID {
				near = append(near, protocol.Near{Peer: protocol.TailOf(peer.ID(q.ID)), RTT: f.draw.RTT(p.ID, q.ID)})
			}
		}
		slices.SortStableFunc(near, func(a, b protocol.Near) int { return int(a.RTT - b.RTT) })
		offers[i] = protocol.Offer{Peer: peer.ID(p.ID), Layers: fleetLayers, State: protocol.Online, Span: p.Held, Target: p.Held,
			DecodeRate: uint32(p.Rate), Near: near[:min(len(near), nearMost)]}
	}
	return offers
}
