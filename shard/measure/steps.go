package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// StepsConfig says which passes Steps measures. What would go beyond the model's context is cut to it.
type StepsConfig struct {
	Contexts []int // tokens in the cache of one sequence that decodes
	Batch    []int // sequences that decode together, and guesses of one sequence that are verified together; with the first context
	Prompts  []int // tokens of a prompt
	Rounds   int   // that medians are taken of, if there is the time
}

// DefaultSteps is what `bench model` measures when it is not told otherwise.
func DefaultSteps() StepsConfig {
	return StepsConfig{Contexts: []int{0, 512, 2048, 4095}, Batch: []int{1, 2, 4, 8}, Prompts: []int{128, 512}, Rounds: stepRounds}
}

// The kinds of passes.
const (
	Decode  = "decode"  // a token of each sequence
	Verify  = "verify"  // several tokens of one sequence, with the logits of each
	Prefill = "prefill" // a prompt, with the logits of its last token
)

// StepFigure is what a kind of pass reached. The work is that of the matrices.
type StepFigure struct {
	Kind       string  `json:"kind"`
	Sequences  int     `json:"sequences"`
	Rows       int     `json:"rows"`    // tokens of each
	Context    int     `json:"context"` // tokens before
	Tokens     float64 `json:"tokens_per_s"`
	Read       float64 `json:"share_of_reading"`    // weight bytes a second over the reading loop
	Arithmetic float64 `json:"share_of_arithmetic"` // operations over the peak of their kind
	// Ratio is the time over max(bytes / reading loop, operations / (0.75 x peak)).
	Ratio       float64 `json:"ratio"`
	Beside      float64 `json:"times_first"` // the time over that of the first kind of pass, in the same rounds
	Allocations uint64  `json:"allocations"` // of a pass
	Figure
}

// kind is a kind of pass to measure.
type kind struct {
	name                     string
	context, sequences, rows int
}

// kinds lists what is to be measured of a model with a context, each once.
func (c StepsConfig) kinds(most int) (decode, prefill []kind) {
	seen := make(map[kind]bool)
	add := func(list *[]kind, k kind) {
		k.rows = min(k.rows, most)
		k.context = min(k.context, most-k.rows)
		if !seen[k] {
			seen[k] = true
			*list = append(*list, k)
		}
	}
	for _, n := range c.Contexts {
		add(&decode, kind{Decode, n, 1, 1})
	}
	first := append(c.Contexts, 0)[0]
	for _, n := range c.Batch {
		add(&decode, kind{Decode, first, n, 1})
	}
	for _, n := range c.Batch {
		if n > 1 {
			add(&decode, kind{Verify, first, 1, n})
		}
	}
	for _, n := range c.Prompts {
		add(&prefill, kind{Prefill, 0, 1, n})
	}
	return decode, prefill
}

// CacheTokens is the room that a shard's cache needs for Steps.
func (c StepsConfig) CacheTokens(m *store.Manifest) int {
	decode, prefill := c.kinds(m.Context)
	tokens := 0
	for _, k := range append(decode, prefill...) {
		tokens += k.sequences * pagesFor(k.context+k.rows)
	}
	return max(tokens, pagesFor(1))
}

// Steps measures passes of a shard whose cache has room for them: those that decode in turns with each other and with the
// limits, then prompts, from the second on only if they are expected to be done in time.
func Steps(ctx context.Context, s *shard.Shard, p *probe.Probe, cfg StepsConfig) ([]StepFigure, error) {
	decode, prefill := cfg.kinds(s.Manifest().Context)
	r := &race{shard: s, meter: meter{probe: p.Over(s.Stored()...)}, rounds: cfg.Rounds}
	defer r.close()
	for _, k := range decode {
		if err := r.enter(k); err != nil {
			return nil, err
		}
	}
	figures, err := r.run(ctx)
	if err != nil {
		return nil, err
	}
	r.close()
	for _, k := range prefill {
		if err := r.enter(k); err != nil {
			return nil, err
		}
	}
	more, err := r.run(ctx)
	return append(figures, more...), err
}

// race is kinds of passes that are measured in turns.
type race struct {
	shard   *shard.Shard
	meter   meter
	rounds  int
	runners []*runner
}

// runner is one of them.
type runner struct {
	kind
	pass    *pass
	samples []sample
	beside  []float64
	allocs  uint64
}

// enter makes a pass ready to be measured.
func (r *race) enter(k kind) error {
	p, err := newPass(r.shard, k.context, k.sequences, k.rows, k.name == Verify)
	if err != nil {
		return fmt.Errorf("make ready to %s: %w", k.name, err)
	}
	r.runners = append(r.runners, &runner{kind: k, pass: p})
	return nil
}

// run measures all of them in rounds and gives their figures.
func (r *race) run(ctx context.Context) ([]StepFigure, error) {
	var took time.Duration // of the pass before, per row
	for _, u := range r.runners {
		if took*time.Duration(u.pass.rows) > warmUp {
			continue
		}
		d, err := u.pass.run()
		if err != nil {
			return nil, err
		}
		took = d / time.Duration(u.pass.rows)
	}
	begun := time.Now()
	for round := 0; round < r.rounds && (round == 0 || time.Since(begun) < stepBudget); round++ {
		for _, u := range r.runners {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := r.sample(u, round); err != nil {
				return nil, err
			}
		}
	}
	var figures []StepFigure
	for _, u := range r.runners {
		figures = append(figures, u.figure())
	}
	return figures, nil
}

// sample measures a pass once.
func (r *race) sample(u *runner, round int) error {
	var allocs uint64
	s, err := r.meter.sample(func() (took time.Duration, err error) {
		allocs, err = allocations(func() (err error) { took, err = u.pass.run(); return err })
		return took, err
	})
	if err != nil {
		return err
	}
	if round == 0 || allocs < u.allocs {
		u.allocs = allocs
	}
	u.samples = append(u.samples, s)
	u.beside = append(u.beside, s.seconds/r.runners[0].samples[round].seconds)
	return nil
}

func (u *runner) figure() StepFigure {
	w := u.pass.work()
	f := StepFigure{
		Kind: u.name, Sequences: u.sequences, Rows: u.rows, Context: u.context, Figure: figure(w, u.samples), Allocations: u.allocs,
		Read:       median(u.samples, func(s sample) float64 { return w.memory(s.limits) / s.seconds }),
		Arithmetic: median(u.samples, func(s sample) float64 { return w.arithmetic(s.limits) / s.seconds }),
		Ratio:      median(u.samples, func(s sample) float64 { return s.seconds / w.Least(s.limits) }),
		Beside:     median(u.beside, func(v float64) float64 { return v }),
	}
	f.Tokens = float64(u.pass.rows) / f.Seconds
	return f
}

// close gives back what the passes hold.
func (r *race) close() {
	for _, u := range r.runners {
		u.pass.close()
	}
	r.runners = nil
}
