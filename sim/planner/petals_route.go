package planner

import (
	"math"
	"slices"
	"strings"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// petalsHop is a server as Petals' client sees it when it chooses a route. Times are in seconds.
type petalsHop struct {
	id    string
	span  protocol.Span
	rps   float64            // inference steps through one block; 0: unknown
	pings map[string]float64 // to the servers that may come next
	cache int                // tokens of keys or values of one block that are left
}

// What Petals assumes (client/routing/sequence_manager.py, v2.2.0).
const (
	petalsOverhead   = 0.018 // serialising, "empirically measured"
	petalsNoPing     = 0.15
	petalsMostPing   = 5
	petalsRPS        = 300
	petalsNoRoom     = 10
	petalsUnpinged   = math.MaxFloat64
	petalsCacheParts = 2 // keys and values
)

// petalsDelay is what a way costs of whose round trip is known what pings say.
func petalsDelay(pings map[string]float64, id string) float64 {
	rtt, known := pings[id]
	if !known {
		return petalsNoPing
	}
	return min(rtt/2, petalsMostPing)
}

// petalsRoute is Petals' min_latency: the cheapest path from the client through blocks 0..layers-1 and back. A server is
// left at the end of its span alone.
func petalsRoute(layers int, servers []petalsHop, client map[string]float64, need int) (route []string, cost float64) {
	enter := func(delay float64, s petalsHop) float64 {
		d := delay + petalsOverhead
		if petalsCacheParts*need*s.span.Len() > s.cache {
			d += petalsNoRoom
		}
		return d
	}
	type way struct {
		cost  float64
		route []string
	}
	at := make([][]way, layers+1) // [block][server]: before the block is computed, at that server
	for b := range at {
		at[b] = slices.Repeat([]way{{cost: petalsUnpinged}}, len(servers))
	}
	better := func(w *way, cost float64, route []string) {
		if cost < w.cost {
			*w = way{cost, route}
		}
	}
	for i, s := range servers {
		if s.span.Start == 0 {
			better(&at[0][i], enter(petalsDelay(client, s.id), s), []string{s.id})
		}
	}
	for b := range layers {
		for i, s := range servers {
			if w := at[b][i]; w.cost != petalsUnpinged && s.span.Start <= b && b < s.span.End {
				rps := s.rps
				if rps == 0 {
					rps = petalsRPS
				}
				better(&at[b+1][i], w.cost+1/rps, w.route)
			}
		}
		for i, s := range servers {
			w := at[b+1][i]
			if w.cost == petalsUnpinged || s.span.End != b+1 {
				continue
			}
			for k, t := range servers {
				if t.span.Start <= b+1 && b+1 < t.span.End && k != i {
					better(&at[b+1][k], w.cost+enter(petalsDelay(s.pings, t.id), t), append(slices.Clone(w.route), t.id))
				}
			}
		}
	}
	best := way{cost: petalsUnpinged}
	for i, s := range servers {
		if w := at[layers][i]; w.cost != petalsUnpinged {
			better(&best, w.cost+petalsDelay(client, s.id), w.route)
		}
	}
	return best.route, best.cost
}

// petalsChain writes a route as A,C.
func petalsChain(route []string) string { return strings.Join(route, ",") }
