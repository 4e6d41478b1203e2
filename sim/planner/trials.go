package planner

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// Trial is what rules came to in some swarms. Ratios are of the best that a search knows.
type Trial struct {
	Draws  int
	Mean   float64 // of the ratios
	Worst  float64
	Served float64 // the mean by what is served, not by what is announced
	Moves  float64 // for each event, or for each server and join
	Opened int     // gaps that moves have opened
}

func (t *Trial) add(ratio float64) {
	if t.Draws == 0 || ratio < t.Worst {
		t.Worst = ratio
	}
	t.Mean = (t.Mean*float64(t.Draws) + ratio) / float64(t.Draws+1)
	t.Draws++
}

// ratio is how good a placement is beside the best: none with a layer that nobody serves.
func ratio(best placement.Score, now placement.Score) float64 {
	if now.Gaps > best.Gaps {
		return 0
	}
	return min(1, float64(best.J)/float64(now.J))
}

// joinEvery is the time between two joins: enough for the swarm to come to rest.
const joinEvery = 30 * time.Minute

// Joins lets the servers of a draw come one by one.
func Joins(d *Draw, petals bool) (w *world, final placement.Score) {
	w = newWorld(d, 1)
	w.petals = petals
	for _, p := range d.Peers {
		w.join(p, protocol.Span{})
		before := w.moves
		w.run(joinEvery, nil)
		if len(w.nodes) >= 10 {
			w.late += float64(w.moves-before) / float64(len(w.nodes))
			w.lateJoins++
		}
	}
	return w, placement.Measure(w.truth(false)).Score
}

// Churn is a swarm that somebody joins or leaves again and again.
type Churn struct {
	Every  time.Duration
	For    time.Duration
	Wrong  int // percent of each view
	Petals bool
}

// Run begins with the best placement of a draw. It returns the mean ratios by what is announced and by what is served.
func (c Churn) Run(d *Draw, seed uint64) (target, served float64, w *world, events int) {
	w = newWorld(d, seed)
	w.wrong, w.petals = c.Wrong, c.Petals
	at, best := placement.Search(d.View(nil), 3, searchRounds)
	for i, p := range d.Peers {
		w.join(p, at[i])
	}
	for _, n := range w.nodes {
		w.read(n)
	}
	least, most := len(d.Peers)-2, len(d.Peers)+2
	samples := 0
	for end := w.now + c.For; w.now < end; events++ {
		w.run(c.Every, func() {
			if w.now%(5*time.Second) == 0 {
				samples++
				target += ratio(best, placement.Measure(w.truth(false)).Score)
				served += ratio(best, placement.Measure(w.truth(true)).Score)
			}
		})
		if n := len(w.nodes); n <= least || (n < most && w.rng.IntN(2) == 0) {
			w.join(d.add(w.rng), protocol.Span{})
		} else {
			w.kill(w.nodes[w.rng.IntN(n)])
		}
		_, best = placement.Search(w.truth(false), 3, searchRounds)
	}
	return target / float64(samples), served / float64(samples), w, events
}

// searchRounds is how long a search for what rules are measured by goes on, from each beginning.
const searchRounds = 200
