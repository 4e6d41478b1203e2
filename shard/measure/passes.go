package measure

import (
	"runtime"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// pass is some sequences that step together, again and again from the same lengths of their caches.
type pass struct {
	shard   *shard.Shard
	context int // tokens in each cache before
	steps   []*shard.Step
	asks    []*shard.Ask // where the shard has the head
	rows    int          // of all steps together
}

// newPass makes sequences of a context, each to step by so many rows, of which the last or all go through the head.
func newPass(s *shard.Shard, context, sequences, rows int, heads bool) (*pass, error) {
	p := &pass{shard: s, context: context, rows: sequences * rows}
	for range sequences {
		step := newStep(s, rows)
		p.steps = append(p.steps, step)
		if err := step.Cache.Fill(context); err != nil {
			p.close()
			return nil, err
		}
		if s.Last() {
			p.asks = append(p.asks, newAsk(s, rows, heads))
		}
	}
	return p, nil
}

// newStep makes a step of so many rows of noise, with an empty cache.
func newStep(s *shard.Shard, rows int) *shard.Step {
	step := &shard.Step{Cache: s.NewCache(s.Span())}
	m := s.Manifest()
	if !s.First() {
		step.In = newNoise().rows(rows, m.Hidden)
		return step
	}
	for i := range rows {
		step.IDs = append(step.IDs, uint32(i*7919%m.Vocab))
	}
	return step
}

// newAsk asks for the logits of the last of so many rows, or of all.
func newAsk(s *shard.Shard, rows int, all bool) *shard.Ask {
	a := &shard.Ask{From: rows - 1, N: 1}
	if all {
		a.From, a.N = 0, rows
	}
	a.Dst = make([]float32, a.N*s.Manifest().Vocab)
	return a
}

// run computes all steps once and gives the time that it took.
func (p *pass) run() (time.Duration, error) {
	for _, step := range p.steps {
		step.Cache.Truncate(p.context)
	}
	return timed(p.compute)
}

func (p *pass) compute() error {
	p.shard.Forward(p.steps...)
	for _, step := range p.steps {
		if step.Err != nil {
			return step.Err
		}
	}
	return p.heads()
}

// heads applies the head, where there is one, to what the steps have made.
func (p *pass) heads() error {
	if len(p.asks) == 0 {
		return nil
	}
	for i, a := range p.asks {
		a.Rows = p.steps[i].Out
	}
	p.shard.Heads(p.asks...)
	for _, a := range p.asks {
		if a.Err != nil {
			return a.Err
		}
	}
	return nil
}

// allocations is how many objects are allocated while f runs.
func allocations(f func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, err
}

func (p *pass) close() {
	for _, step := range p.steps {
		step.Cache.Close()
	}
}

// work is what the matrices of a pass take: the weights are read once, and each row is multiplied with them.
func (p *pass) work() Work {
	w := layersWork(p.shard.Manifest(), p.shard.Span(), p.rows)
	heads := 0
	for _, a := range p.asks {
		heads += a.N
	}
	if heads > 0 {
		w = w.plus(headWork(p.shard.Manifest(), heads))
	}
	return w
}

// layersWork is what multiplying n rows with all matrices of some layers takes.
func layersWork(m *store.Manifest, span store.Span, n int) Work {
	var w Work
	for _, part := range m.Parts[span.Start+1 : span.End+1] {
		w = w.plus(partWork(part, n))
	}
	return w
}

// headWork is the same for the head, which is the last part.
func headWork(m *store.Manifest, n int) Work { return partWork(m.Parts[len(m.Parts)-1], n) }

func partWork(part store.Part, n int) Work {
	var w Work
	for _, t := range part.Tensors {
		if f := formatOf(t); f != kernels.F32 {
			w = w.plus(product(f, t.Rows, t.Cols, n))
		}
	}
	return w
}

// DecodeWork is what the matrices of a whole model take for a pass in which n sequences decode a token each.
func DecodeWork(m *store.Manifest, n int) Work {
	return layersWork(m, store.Span{End: m.Layers}, n).plus(headWork(m, n))
}

// WeightBytes is what a token reads of some layers' matrices, and of the head where it rides with them.
func WeightBytes(m *store.Manifest, span store.Span) int64 {
	w := layersWork(m, span, 1)
	if span.End == m.Layers {
		w = w.plus(headWork(m, 1))
	}
	return w.Bytes
}
