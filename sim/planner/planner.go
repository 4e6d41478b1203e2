// Package planner tries the rules by which a swarm places itself, on made-up swarms in made-up time: no sockets, no models,
// only the code that decides, beside the best that a long search finds and beside Petals' rule, made again.
//
// All is drawn from seeds; the same trial gives the same figures everywhere.
package planner

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// What is drawn.
const (
	leastSpan, mostSpan   = 4, 20
	leastSpeed, mostSpeed = 5, 80 // tokens/s through the whole span
	lastMile              = 15    // milliseconds between a peer and its region, at most
	drawsEach             = 25
)

// Draw is a swarm: who there is, and how far they are from each other. Nobody is placed.
type Draw struct {
	Layers int
	Peers  []placement.Peer
	place  map[string]spot
	far    [][]int // milliseconds from region to region
}

// spot is where a peer lives.
type spot struct {
	region int
	mile   int // milliseconds to it
}

// NewDraw draws a swarm of unequal peers, spread over the world.
func NewDraw(layers, servers int, seed uint64) *Draw {
	rng := rand.New(rand.NewPCG(seed, uint64(layers*1000+servers)))
	d := &Draw{Layers: layers, place: map[string]spot{}, far: regions()}
	for range servers {
		d.add(rng)
	}
	return d
}

// add draws one more peer.
func (d *Draw) add(rng *rand.Rand) placement.Peer {
	k := leastSpan + rng.IntN(mostSpan-leastSpan+1)
	speed := leastSpeed + rng.IntN(mostSpeed-leastSpeed+1)
	p := placement.Peer{ID: fmt.Sprintf("%016x-%d", rng.Uint64(), len(d.place)), Layers: min(k, d.Layers), Rate: int64(speed * k)}
	d.place[p.ID] = spot{region: somewhere(rng), mile: 1 + rng.IntN(lastMile)}
	d.Peers = append(d.Peers, p)
	return p
}

// regions are round trips in milliseconds between some of the world's: west and east of North America, South America,
// Europe, Africa, India, East Asia, Australia.
func regions() [][]int {
	return [][]int{
		{10, 65, 175, 140, 280, 225, 110, 145},
		{65, 10, 120, 80, 220, 190, 170, 200},
		{175, 120, 10, 190, 330, 300, 270, 310},
		{140, 80, 190, 10, 150, 115, 220, 255},
		{280, 220, 330, 150, 10, 240, 330, 390},
		{225, 190, 300, 115, 240, 10, 90, 150},
		{110, 170, 270, 220, 330, 90, 10, 110},
		{145, 200, 310, 255, 390, 150, 110, 10},
	}
}

// somewhere draws a region: most machines are in North America, Europe and East Asia.
func somewhere(rng *rand.Rand) int {
	machines := []int{2, 3, 1, 4, 1, 1, 5, 1}
	n := rng.IntN(18)
	for region, m := range machines {
		if n -= m; n < 0 {
			return region
		}
	}
	panic("planner: more machines than there are")
}

// RTT is the round trip between two peers of a draw.
func (d *Draw) RTT(a, b string) time.Duration {
	p, q := d.place[a], d.place[b]
	return time.Duration(d.far[p.region][q.region]+p.mile+q.mile) * time.Millisecond
}

// View is the draw with everybody at some place.
func (d *Draw) View(at []protocol.Span) placement.View {
	v := placement.View{Layers: d.Layers, Peers: append([]placement.Peer(nil), d.Peers...), RTT: d.RTT}
	for i := range at {
		v.Peers[i].Held, v.Peers[i].Target = at[i], at[i]
	}
	return v
}

// Sizes are the swarms of the 150 draws: layers and servers.
func Sizes() [][2]int {
	return [][2]int{{32, 6}, {32, 10}, {32, 16}, {40, 6}, {40, 10}, {40, 16}}
}
