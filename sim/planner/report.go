package planner

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// Config says how much is tried.
type Config struct {
	Draws  int                               // of each size, at most 25; 0: all
	Events int                               // of churn; 0: 24
	Tell   func(Figure)                      // is told of each figure when it is there; nil: nobody is
	Played func(trial string, done, all int) // is told of each draw that a trial has played; nil: nobody is
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
	for _, size := range joinSizes() {
		r.oneByOne(size[0], size[1])
	}
}

func (r *report) allTimesPerToken() {
	for _, size := range tokenSizes() {
		r.timePerToken(size[0], size[1])
	}
}

func (r *report) churns() {
	fates := r.fates()
	for _, every := range churnTimes() {
		r.churn(fates, every)
	}
}

// joinSizes are the sizes whose servers come one by one: smaller swarms move because they must.
func joinSizes() [][2]int {
	return slices.DeleteFunc(Sizes(), func(size [2]int) bool { return size[1] < countFrom })
}

func tokenSizes() [][2]int { return [][2]int{{32, 16}, {40, 16}, {40, 24}} }

func churnTimes() []time.Duration { return []time.Duration{300 * time.Second, 60 * time.Second} }

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

// each plays something with each draw of a size, several side by side: play is to keep what it finds by the draw's number.
func (r *report) each(trial string, play func(i int)) {
	var all sync.WaitGroup
	var mu sync.Mutex
	done, slots := 0, make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range r.cfg.Draws {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if r.ctx.Err() != nil {
				return
			}
			play(i)
			mu.Lock()
			defer mu.Unlock()
			done++
			if r.cfg.Played != nil {
				r.cfg.Played(trial, done, r.cfg.Draws)
			}
		})
	}
	all.Wait()
}

// fromScratch measures [placement.Place] by the weakest layer.
func (r *report) fromScratch(layers, servers int) {
	trial := fmt.Sprintf("Place, %d layers, %d servers", layers, servers)
	took := r.timePlace(layers, servers)
	ours, theirs := make([]float64, r.cfg.Draws), make([]float64, r.cfg.Draws)
	r.each(trial, func(i int) {
		d := NewDraw(layers, servers, uint64(i))
		got := weakest(d.Layers, d.Peers, placement.Place(d.View(nil)))
		best, _ := bestWeakest(d, referenceStarts, referenceRounds)
		best = max(best, got)
		petals := weakest(d.Layers, d.Peers, petalsFromScratch(d))
		if best == 0 { // too little to cover the model
			best, got, petals = 1, 1, 1
		}
		ours[i], theirs[i] = float64(got)/float64(best), float64(petals)/float64(best)
	})
	r.ratios(trial, "mean of the best weakest layer", ours, 0.97, 0.92)
	r.tell(Figure{Trial: trial, Name: "ms", Value: took.Seconds() * 1000, Bar: 2, Most: true})
	r.petals(trial, theirs)
}

// timePlace is the mean time of Place in the draws of a size. What else runs on this machine is not to count: of several tries
// the fastest counts.
func (r *report) timePlace(layers, servers int) (mean time.Duration) {
	for i := range r.cfg.Draws {
		v := NewDraw(layers, servers, uint64(i)).View(nil)
		fastest := time.Hour
		for range placeTries {
			start := time.Now()
			placement.Place(v)
			fastest = min(fastest, time.Since(start))
		}
		mean += fastest / time.Duration(r.cfg.Draws)
	}
	return mean
}

// ratios tells the mean and the worst of some, each with its bar.
func (r *report) ratios(trial, name string, all []float64, mean, worst float64) {
	sum := 0.0
	for _, a := range all {
		sum += a
	}
	r.tell(Figure{Trial: trial, Name: name, Value: sum / float64(len(all)), Bar: mean, Free: mean == 0})
	r.tell(Figure{Trial: trial, Name: strings.Replace(name, "mean", "worst", 1), Value: slices.Min(all), Bar: worst, Free: mean == 0})
}

// petals tells what Petals' rule comes to, which has no bar.
func (r *report) petals(trial string, all []float64) {
	r.ratios(trial, "Petals' rule: mean", all, 0, 0)
}

// oneByOne measures joins with safe moves by J.
func (r *report) oneByOne(layers, servers int) {
	trial := fmt.Sprintf("one by one, %d layers, %d servers", layers, servers)
	ours, theirs := make([]float64, r.cfg.Draws), make([]float64, r.cfg.Draws)
	moves, opened := make([]float64, r.cfg.Draws), make([]int, r.cfg.Draws)
	r.each(trial, func(i int) {
		a := joins(NewDraw(layers, servers, uint64(i)), false)
		ours[i], moves[i], opened[i] = a.ratio, a.moves, a.opened
		theirs[i] = joins(NewDraw(layers, servers, uint64(i)), true).ratio
	})
	perJoin, gaps := 0.0, 0
	for i := range moves {
		perJoin += moves[i] / float64(len(moves))
		gaps += opened[i]
	}
	r.ratios(trial, "mean of the best J", ours, 0.95, 0.85)
	r.tell(Figure{Trial: trial, Name: "moves for each server and join", Value: perJoin, Bar: 0.2, Most: true})
	r.tell(Figure{Trial: trial, Name: "gaps opened by moves", Value: float64(gaps), Most: true})
	r.petals(trial, theirs)
}

// timePerToken compares the best placement by J, for 64 sessions, with the best by the weakest layer alone.
func (r *report) timePerToken(layers, servers int) {
	trial := fmt.Sprintf("64 sessions, %d layers, %d servers", layers, servers)
	byWeakest, byJ := make([]time.Duration, r.cfg.Draws), make([]time.Duration, r.cfg.Draws)
	shares := make([]float64, r.cfg.Draws)
	r.each(trial, func(i int) {
		d := NewDraw(layers, servers, uint64(i))
		best, at := bestWeakest(d, referenceStarts, referenceRounds)
		byWeakest[i] = placement.Measure(d.View(at)).Tau
		good, _ := placement.Search(d.View(nil), searchStarts, searchRounds)
		m := placement.Measure(d.View(good))
		byJ[i], shares[i] = m.Tau, float64(m.Lambda)/float64(max(1, best))
	})
	n := float64(r.cfg.Draws)
	weakest, fastest, share := 0.0, 0.0, 0.0
	for i := range byJ {
		weakest += byWeakest[i].Seconds() * 1000 / n
		fastest += byJ[i].Seconds() * 1000 / n
		share += shares[i] / n
	}
	r.tell(Figure{Trial: trial, Name: "time per token saved by J", Value: 1 - fastest/max(weakest, 1e-9), Bar: 0.15})
	r.tell(Figure{Trial: trial, Name: "ms a token", Value: fastest, Free: true})
	r.tell(Figure{Trial: trial, Name: "of the best weakest layer", Value: share, Free: true})
}

// fates finds what befalls the draws in which members come and go.
func (r *report) fates() []fate {
	fates := make([]fate, r.cfg.Draws)
	r.each("searches for churn", func(i int) { fates[i] = newFate(churnLayers, churnServers, uint64(i), r.cfg.Events) })
	return fates
}

// churn measures swarms whose members come and go, and of whose views a fifth is wrong.
func (r *report) churn(fates []fate, every time.Duration) {
	trial := fmt.Sprintf("churn, an event each %v", every)
	ours, theirs := make([]course, len(fates)), make([]course, len(fates))
	r.each(trial, func(i int) {
		c := churn{every: every, wrong: 20}
		ours[i] = c.run(NewDraw(churnLayers, churnServers, uint64(i)), fates[i])
		c.petals = true
		theirs[i] = c.run(NewDraw(churnLayers, churnServers, uint64(i)), fates[i])
	})
	a, b := mean(ours), mean(theirs)
	bar := 0.95
	if every <= time.Minute {
		bar = 0.90
	}
	r.tell(Figure{Trial: trial, Name: "of the best J, as announced", Value: a.target, Bar: bar})
	r.tell(Figure{Trial: trial, Name: "of the best J, as served", Value: a.served, Free: true})
	r.tell(Figure{Trial: trial, Name: "moves for each event", Value: a.moves, Bar: 0.5, Most: true, Free: every > time.Minute})
	r.tell(Figure{Trial: trial, Name: "gaps opened by moves", Value: float64(a.opened), Most: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: as announced", Value: b.target, Free: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: as served", Value: b.served, Free: true})
	r.tell(Figure{Trial: trial, Name: "Petals' rule: moves for each event", Value: b.moves, Free: true})
}

// mean is the mean of courses, and all gaps that were opened.
func mean(all []course) (m course) {
	n := float64(max(1, len(all)))
	for _, c := range all {
		m.target += c.target / n
		m.served += c.served / n
		m.moves += c.moves / n
		m.opened += c.opened
	}
	return m
}

// How long the searches are by which weakest layers are measured, how often Place is timed, and the swarms in which
// somebody comes and goes.
const (
	referenceStarts = 10
	referenceRounds = 200
	placeTries      = 5
	churnLayers     = 40
	churnServers    = 16
)
