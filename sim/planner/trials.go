package planner

import (
	"math/rand/v2"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// How trials are played.
const (
	joinEvery    = 30 * time.Minute // between two newcomers: enough for the swarm to come to rest
	countFrom    = 10               // servers: a smaller swarm moves because it must
	sampleEvery  = 5 * time.Second
	churnSpread  = 2 // servers more or fewer than the draw has
	searchStarts = 3 // of the searches that trials are measured by
	searchRounds = 200
)

// ratio is how good a placement is beside the best: nothing with more layers that nobody serves.
func ratio(best, now placement.Score) float64 {
	if now.Gaps > best.Gaps {
		return 0
	}
	return min(1, float64(best.J)/float64(now.J))
}

// rest is what became of a draw whose servers came one by one.
type rest struct {
	ratio  float64
	moves  float64 // for each server that was there at a join, from the tenth on
	opened int
}

// joins lets the servers of a draw come one by one, each when the others have come to rest.
func joins(d *Draw, petals bool) (r rest) {
	w := newWorld(d, 1)
	w.petals = petals
	counted := 0
	for _, p := range d.Peers {
		before := w.moves
		w.join(p, protocol.Span{})
		w.run(joinEvery, nil)
		if n := len(w.nodes); n >= countFrom {
			r.moves += float64(w.moves-before) / float64(n)
			counted++
		}
	}
	r.moves /= float64(max(1, counted))
	r.opened = w.opened
	v := w.truth(false)
	_, best := placement.Search(v, searchStarts, searchRounds)
	r.ratio = ratio(best, placement.Measure(v).Score)
	return r
}

// fate is what befalls a draw, whatever rule its servers follow: where all begin, and the best that a search finds then and
// after each event.
type fate struct {
	seed  uint64
	begin []protocol.Span
	best  []placement.Score
}

// newFate searches anew after each event, from several beginnings.
func newFate(layers, servers int, seed uint64, events int) fate {
	d := NewDraw(layers, servers, seed)
	begin, best := placement.Search(d.View(nil), searchStarts, searchRounds)
	f := fate{seed: seed, begin: begin, best: []placement.Score{best}}
	w := newWorld(d, seed)
	for _, p := range d.Peers {
		w.join(p, protocol.Span{})
	}
	for range events {
		w.event(servers)
		_, best = placement.Search(w.truth(false), searchStarts, searchRounds)
		f.best = append(f.best, best)
	}
	return f
}

// churn is a swarm that somebody joins or leaves without a word, again and again.
type churn struct {
	every  time.Duration
	wrong  int // percent of what is read
	petals bool
}

// course is what became of it: the mean ratios, by what is announced and by what is served.
type course struct {
	target, served float64
	moves          float64 // for each event
	opened         int
}

// run lets a draw meet its fate.
func (c churn) run(d *Draw, f fate) (out course) {
	w := newWorld(d, f.seed)
	w.wrong, w.petals = c.wrong, c.petals
	for i, p := range d.Peers {
		w.join(p, f.begin[i])
	}
	w.settle()
	usual, samples, events := len(d.Peers), 0, len(f.best)-1
	for k := range events {
		seen, target, served := -1, 0.0, 0.0
		w.run(c.every, func() {
			if w.now%sampleEvery != 0 {
				return
			}
			if seen != w.version {
				seen = w.version
				target = ratio(f.best[k], placement.Measure(w.truth(false)).Score)
				served = ratio(f.best[k], placement.Measure(w.truth(true)).Score)
			}
			samples++
			out.target += target
			out.served += served
		})
		w.event(usual)
	}
	out.target /= float64(max(1, samples))
	out.served /= float64(max(1, samples))
	out.moves, out.opened = float64(w.moves)/float64(max(1, events)), w.opened
	return out
}

// event lets somebody join or die.
func (w *world) event(usual int) {
	n := len(w.nodes)
	if n <= usual-churnSpread || (n < usual+churnSpread && w.fate.IntN(2) == 0) {
		w.join(w.draw.add(w.fate), protocol.Span{})
		return
	}
	w.kill(w.nodes[w.fate.IntN(n)])
}

// petalsFromScratch lets the servers of a draw choose one after another by Petals' rule, and then change five times.
func petalsFromScratch(d *Draw) []protocol.Span {
	rng := rand.New(rand.NewPCG(1, 5))
	var all []petalsServer
	for _, p := range d.Peers {
		s := petalsServer{id: p.ID, throughput: float64(p.Rate) / float64(p.Layers)}
		s.span = newPetals(d.Layers, all).choose(p.Layers)
		all = append(all, s)
	}
	for range 5 {
		for _, i := range rng.Perm(len(all)) {
			if newPetals(d.Layers, all).shouldMove(all[i].id, petalsQuality, rng) {
				others := append(append([]petalsServer{}, all[:i]...), all[i+1:]...)
				all[i].span = newPetals(d.Layers, others).choose(all[i].span.Len())
			}
		}
	}
	at := make([]protocol.Span, len(all))
	for i, s := range all {
		at[i] = s.span
	}
	return at
}
