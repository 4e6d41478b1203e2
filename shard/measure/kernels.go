package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/kernels/probe"
)

// KernelsConfig says which operations Kernels measures. DefaultKernels are those of the 7B.
type KernelsConfig struct {
	Hidden, Intermediate, Heads, Vocab int
	Formats                            []kernels.Format // of the layers' matrices; the head is int8
	Rows                               []int            // multiplied with a matrix at once, ascending
	HeadRows                           []int
	Contexts                           []int // that attention reads, ascending
	Prompt                             int   // rows of a prompt's piece that attend together
	Stream                             int64 // bytes that are gone through in turn
	Rounds                             int   // that medians are taken of, if there is the time
	Groups                             []string
}

// The groups of operations.
const (
	Products  = "products"  // of a layer's matrices
	Head      = "head"      // the product with the head
	Attention = "attention" // storing keys and values, and reading them
	Rows      = "rows"      // what is done to each row of activations
)

// DefaultKernels is the config of the 7B's shapes.
func DefaultKernels() KernelsConfig {
	return KernelsConfig{
		Hidden: 4096, Intermediate: 11008, Heads: 32, Vocab: 125696,
		Formats: []kernels.Format{kernels.NF4, kernels.Int8, kernels.F16, kernels.BF16},
		Rows:    []int{1, 2, 4, 8, 16, 64, 128, 512}, HeadRows: []int{1, 2, 4, 8},
		Contexts: []int{128, 1024, 2048, 4096}, Prompt: 128, Stream: streamBytes, Rounds: kernelRounds,
		Groups: []string{Products, Head, Attention, Rows},
	}
}

// KernelFigure is what an operation reached.
type KernelFigure struct {
	Kernel  string `json:"kernel"`
	Shape   string `json:"shape"` // rows x columns of a matrix, or what is gone through
	Rows    int    `json:"rows"`  // of activations
	Context int    `json:"context,omitempty"`
	Figure
}

// Figure is a time beside its limits: medians over rounds.
type Figure struct {
	Seconds float64      `json:"seconds"`
	Work    Work         `json:"work"`
	Bytes   float64      `json:"bytes_per_s"`
	Ops     float64      `json:"ops_per_s"`
	Limits  probe.Limits `json:"limits"`
	Share   float64      `json:"share"` // of the limit that binds: the least time over the time
	Bound   string       `json:"bound"` // memory or arithmetic
	Rounds  int          `json:"rounds"`
}

// figure makes one of the samples of some work.
func figure(w Work, samples []sample) Figure {
	f := Figure{
		Seconds: median(samples, func(s sample) float64 { return s.seconds }),
		Work:    w, Limits: medianLimits(samples), Rounds: len(samples),
		Share: median(samples, func(s sample) float64 { return max(w.memory(s.limits), w.arithmetic(s.limits)) / s.seconds }),
	}
	f.Bytes, f.Ops, f.Bound = float64(w.Bytes)/f.Seconds, float64(w.ops())/f.Seconds, w.bound(f.Limits)
	return f
}

// operation is one that a device is asked for. run does it for the turn-th time: each turn reads other memory.
type operation struct {
	kernel, shape string
	rows, context int
	work          Work
	run           func(turn int)
}

// bench measures operations of a device.
type bench struct {
	dev   kernels.Device
	cfg   KernelsConfig
	noise *noise
	probe *probe.Probe
	meter *meter // of the group
	each  func(KernelFigure)
}

// Kernels measures the operations of a device, one after another, and tells each of every figure. What would take too
// long is left out.
func Kernels(ctx context.Context, dev kernels.Device, p *probe.Probe, cfg KernelsConfig, each func(KernelFigure)) error {
	b := &bench{dev: dev, cfg: cfg, noise: newNoise(), probe: p, each: each}
	groups := map[string]func(context.Context) error{
		Products: b.allProducts, Head: b.head, Attention: b.attention, Rows: b.rows,
	}
	for _, name := range cfg.Groups {
		group, ok := groups[name]
		if !ok {
			return fmt.Errorf("measure %q: there are %s, %s, %s and %s", name, Products, Head, Attention, Rows)
		}
		b.meter = &meter{probe: p}
		if err := group(ctx); err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
	}
	return nil
}

// measure times operations that belong together in the same rounds, and adds up the whole under a name if there is one.
// It gives the time of one turn.
func (b *bench) measure(whole string, ops ...operation) (time.Duration, error) {
	begun := time.Now()
	runAll(ops, 0) // not counted: it finds out how long they take, and warms up
	first := time.Since(begun)
	turns := int(roundTime/max(first, 1)) + 1
	samples := make([][]sample, len(ops)+1) // of each, and of the whole
	begun = time.Now()
	for round := 0; round < b.cfg.Rounds && (round == 0 || time.Since(begun) < kernelBudget); round++ {
		for i, s := range b.round(ops, round*turns, turns) {
			samples[i] = append(samples[i], s)
		}
	}
	if err := b.faults(ops[0]); err != nil {
		return 0, err
	}
	b.report(whole, ops, samples)
	return first, nil
}

// round does all operations for some turns, one after another, and gives what each and all of them took in one.
func (b *bench) round(ops []operation, turn, turns int) []sample {
	took := make([]time.Duration, len(ops)+1)
	s, _ := b.meter.sample(func() (time.Duration, error) {
		for t := range turns {
			for i, op := range ops {
				begun := time.Now()
				op.run(turn + t)
				took[i] += time.Since(begun)
			}
		}
		return 0, nil // there is a time for each
	})
	samples := make([]sample, len(took))
	for i := range ops {
		took[len(ops)] += took[i]
	}
	for i, d := range took {
		samples[i] = sample{max(d.Seconds(), 1e-9) / float64(turns), s.limits}
	}
	return samples
}

func runAll(ops []operation, turn int) {
	for _, op := range ops {
		op.run(turn)
	}
}

// faults tells if a number was not finite, as made-up ones never should be.
func (b *bench) faults(op operation) error {
	at := make([]kernels.Place, op.rows)
	b.dev.Faults(at)
	for _, place := range at {
		if place != 0 {
			return fmt.Errorf("%s: a value is not finite", op.kernel)
		}
	}
	return nil
}

func (b *bench) report(whole string, ops []operation, samples [][]sample) {
	total := operation{kernel: whole, shape: "all of these", rows: ops[0].rows}
	for i, op := range ops {
		b.each(KernelFigure{Kernel: op.kernel, Shape: op.shape, Rows: op.rows, Context: op.context, Figure: figure(op.work, samples[i])})
		total.work = total.work.plus(op.work)
	}
	if whole != "" {
		b.each(KernelFigure{Kernel: whole, Shape: total.shape, Rows: total.rows, Figure: figure(total.work, samples[len(ops)])})
	}
}

// place is where all operations here say that they run.
const place kernels.Place = 1

// filled makes a buffer of hidden states.
func (b *bench) filled(rows, width int) (kernels.Buffer, error) {
	buffer, err := b.dev.Buffer(rows, width)
	if err == nil {
		b.dev.Widen(buffer, b.noise.rows(rows, width))
	}
	return buffer, err
}

// buffers makes one of each width.
func (b *bench) buffers(rows int, widths ...int) ([]kernels.Buffer, error) {
	var all []kernels.Buffer
	for _, width := range widths {
		buffer, err := b.filled(rows, width)
		if err != nil {
			return nil, err
		}
		all = append(all, buffer)
	}
	return all, nil
}

// product is what multiplying a matrix with some rows takes.
func product(f kernels.Format, rows, k, n int) Work {
	size, _ := f.MatrixSize(rows, k)
	ops := 2 * int64(n) * int64(rows) * int64(k)
	if f == kernels.F16 || f == kernels.BF16 {
		return Work{Bytes: size, Float: ops}
	}
	return Work{Bytes: size, Integer: ops}
}
