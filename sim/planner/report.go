package planner

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// Config says how much is tried.
type Config struct {
	Draws  int          // of each size, at most 25; 0: all
	Events int          // of churn; 0: 24
	Tell   func(Figure) // is told of each figure when it is there; nil: nobody is
}

// Figure is a number that a trial came to, beside the bar that it is held to.
type Figure struct {
	Trial string  `json:"trial"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Bar   float64 `json:"bar,omitempty"`
	Most  bool    `json:"most,omitempty"` // the value may be at most the bar, else at least
	Free  bool    `json:"free,omitempty"` // there is no bar
}

// Missed reports whether a figure is on the wrong side of its bar.
func (f Figure) Missed() bool {
	switch {
	case f.Free:
		return false
	case f.Most:
		return f.Value > f.Bar
	}
	return f.Value < f.Bar
}

// String is the figure in a line.
func (f Figure) String() string {
	line := fmt.Sprintf("%-44s %-40s %8.3f", f.Trial, f.Name, f.Value)
	if f.Free {
		return line
	}
	sign, verdict := ">=", "ok"
	if f.Most {
		sign = "<="
	}
	if f.Missed() {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%s   %s %.2f  %s", line, sign, f.Bar, verdict)
}

// report gathers the figures of the trials.
type report struct {
	ctx     context.Context
	cfg     Config
	figures []Figure
}

func newReport(ctx context.Context, cfg Config) *report {
	if cfg.Draws <= 0 || cfg.Draws > drawsEach {
		cfg.Draws = drawsEach
	}
	if cfg.Events <= 0 {
		cfg.Events = 24
	}
	return &report{ctx: ctx, cfg: cfg}
}

// Placement tries the rules of placement and returns what they came to; with an error, as far as it got.
func Placement(ctx context.Context, cfg Config) ([]Figure, error) {
	r := newReport(ctx, cfg)
	r.allFromScratch()
	r.allTimesPerToken()
	r.allOneByOne()
	r.churns()
	if err := ctx.Err(); err != nil {
		return r.figures, fmt.Errorf("try placement: %w", err)
	}
	return r.figures, nil
}

func (r *report) allFromScratch() {
	for _, size := range Sizes() {
		r.fromScratch(size[0], size[1])
	}
}

func (r *report) allOneByOne() {
	for _, size := range Sizes() {
		if size[1] >= countFrom {
			r.oneByOne(size[0], size[1])
		}
	}
}

func (r *report) allTimesPerToken() {
	for _, size := range [][2]int{{32, 16}, {40, 16}, {40, 24}} {
		r.timePerToken(size[0], size[1])
	}
}

// tell adds a figure, unless the trial was broken off.
func (r *report) tell(f Figure) {
	if r.ctx.Err() != nil {
		return
	}
	r.figures = append(r.figures, f)
	if r.cfg.Tell != nil {
		r.cfg.Tell(f)
	}
}

// each plays something with each draw of a size.
func (r *report) each(layers, servers int, play func(d *Draw, seed uint64)) {
	for i := range r.cfg.Draws {
		if r.ctx.Err() == nil {
			play(NewDraw(layers, servers, uint64(i)), uint64(i))
		}
	}
}

// fromScratch measures [placement.Place] by the weakest layer.
func (r *report) fromScratch(layers, servers int) {
	var place, petals spread
	var took time.Duration
	r.each(layers, servers, func(d *Draw, _ uint64) {
		var at []protocol.Span
		fastest := time.Hour
		for range 3 { // what else runs on this machine is not to count
			start := time.Now()
			at = placement.Place(d.View(nil))
			fastest = min(fastest, time.Since(start))
		}
		took += fastest
		got := weakest(d.Layers, d.Peers, at)
		best, _ := bestWeakest(d, referenceStarts, referenceRounds)
		best = max(best, got)
		theirs := weakest(d.Layers, d.Peers, petalsFromScratch(d))
		if best == 0 { // too little to cover the model
			best, got, theirs = 1, 1, 1
		}
		place.add(float64(got) / float64(best))
		petals.add(float64(theirs) / float64(best))
	})
	trial := fmt.Sprintf("Place, %d layers, %d servers", layers, servers)
	r.tell(Figure{Trial: trial, Name: "mean of the best weakest layer", Value: place.mean, Bar: 0.97})
	r.tell(Figure{Trial: trial, Name: "worst", Value: place.worst, Bar: 0.92})
	r.tell(Figure{Trial: trial, Name: "ms", Value: took.Seconds() * 1000 / float64(r.cfg.Draws), Bar: 2, Most: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: mean", Value: petals.mean, Free: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: worst", Value: petals.worst, Free: true})
}

// oneByOne measures joins with safe moves by J.
func (r *report) oneByOne(layers, servers int) {
	var ours, theirs spread
	moves, opened := 0.0, 0
	r.each(layers, servers, func(d *Draw, _ uint64) {
		a, b := joins(d, false), joins(d, true)
		ours.add(a.ratio)
		theirs.add(b.ratio)
		moves += a.moves / float64(r.cfg.Draws)
		opened += a.opened
	})
	trial := fmt.Sprintf("one by one, %d layers, %d servers", layers, servers)
	r.tell(Figure{Trial: trial, Name: "mean of the best J", Value: ours.mean, Bar: 0.95})
	r.tell(Figure{Trial: trial, Name: "worst", Value: ours.worst, Bar: 0.85})
	r.tell(Figure{Trial: trial, Name: "moves for each server and join", Value: moves, Bar: 0.2, Most: true})
	r.tell(Figure{Trial: trial, Name: "gaps opened by moves", Value: float64(opened), Most: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: mean", Value: theirs.mean, Free: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: worst", Value: theirs.worst, Free: true})
}

// timePerToken compares the best placement by J, for 64 sessions, with the best by the weakest layer alone.
func (r *report) timePerToken(layers, servers int) {
	var byJ, byWeakest time.Duration
	share := 0.0
	r.each(layers, servers, func(d *Draw, _ uint64) {
		best, at := bestWeakest(d, referenceStarts, referenceRounds)
		byWeakest += placement.Measure(d.View(at)).Tau
		good, _ := placement.Search(d.View(nil), searchStarts, searchRounds)
		m := placement.Measure(d.View(good))
		byJ += m.Tau
		share += float64(m.Lambda) / float64(max(1, best)) / float64(r.cfg.Draws)
	})
	trial := fmt.Sprintf("64 sessions, %d layers, %d servers", layers, servers)
	saved := 1 - byJ.Seconds()/max(byWeakest.Seconds(), 1e-9)
	r.tell(Figure{Trial: trial, Name: "time per token saved by J", Value: saved, Bar: 0.15})
	r.tell(Figure{Trial: trial, Name: "ms a token", Value: byJ.Seconds() * 1000 / float64(r.cfg.Draws), Free: true})
	r.tell(Figure{Trial: trial, Name: "of the best weakest layer", Value: share, Free: true})
}

// churns measures a swarm of 16 whose members come and go, and of whose views a fifth is wrong.
func (r *report) churns() {
	for _, c := range []struct {
		every time.Duration
		bar   float64
	}{{300 * time.Second, 0.95}, {60 * time.Second, 0.90}} {
		ours := r.churn(churn{every: c.every, events: r.cfg.Events, wrong: 20})
		theirs := r.churn(churn{every: c.every, events: r.cfg.Events, wrong: 20, petals: true})
		trial := fmt.Sprintf("churn, an event each %v", c.every)
		r.tell(Figure{Trial: trial, Name: "of the best J, as announced", Value: ours.target, Bar: c.bar})
		r.tell(Figure{Trial: trial, Name: "of the best J, as served", Value: ours.served, Free: true})
		r.tell(Figure{Trial: trial, Name: "moves for each event", Value: ours.moves, Bar: 0.5, Most: true, Free: c.every > time.Minute})
		r.tell(Figure{Trial: trial, Name: "gaps opened by moves", Value: float64(ours.opened), Most: true})
		r.tell(Figure{Trial: trial, Name: "Petals' rule: as announced", Value: theirs.target, Free: true})
		r.tell(Figure{Trial: trial, Name: "Petals' rule: as served", Value: theirs.served, Free: true})
		r.tell(Figure{Trial: trial, Name: "Petals' rule: moves for each event", Value: theirs.moves, Free: true})
	}
}

// churn plays one kind of it in some swarms.
func (r *report) churn(c churn) (mean course) {
	const layers, servers = 40, 16
	n := float64(min(r.cfg.Draws, churnDraws))
	for i := range int(n) {
		if r.ctx.Err() != nil {
			return mean
		}
		out := c.run(NewDraw(layers, servers, uint64(i)), uint64(i))
		mean.target += out.target / n
		mean.served += out.served / n
		mean.moves += out.moves / n
		mean.opened += out.opened
	}
	return mean
}

// How long the searches are by which weakest layers are measured, and in how many swarms somebody comes and goes.
const (
	referenceStarts = 10
	referenceRounds = 200
	churnDraws      = 6
)
