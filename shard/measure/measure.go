// Package measure finds how fast a device computes, and how near that is to what the machine can do at most.
//
// [Kernels] times the operations of a device one by one, [Steps] the passes of a shard (decode, batches, prompts), both
// in turns with the bare loops of package probe: each figure stands beside limits that were found just before and
// after it, and figures are medians over several such rounds. [SpeedOf] is the short form of it, for the offer of a node.
// [Synthetic] makes models of any shape whose weights are made up, to measure with.
//
// The package prints nothing, and its figures have no influence on any result.
package measure

import (
	"cmp"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
)

// Work is what something must at least read and compute.
type Work struct {
	Bytes   int64 `json:"bytes"`       // of weights or of cache
	Integer int64 `json:"integer_ops"` // on bytes; a multiplication and an addition are two
	Float   int64 `json:"float_ops"`
}

func (w Work) plus(v Work) Work {
	return Work{w.Bytes + v.Bytes, w.Integer + v.Integer, w.Float + v.Float}
}

// times is the work done n times.
func (w Work) times(n int) Work {
	return Work{w.Bytes * int64(n), w.Integer * int64(n), w.Float * int64(n)}
}

// ops is all operations.
func (w Work) ops() int64 { return w.Integer + w.Float }

// memory is the seconds that reading takes at least.
func (w Work) memory(l probe.Limits) float64 { return float64(w.Bytes) / l.Read }

// arithmetic is the seconds that computing takes at least.
func (w Work) arithmetic(l probe.Limits) float64 {
	return float64(w.Integer)/l.Integer + float64(w.Float)/l.Float
}

// Least is the seconds that a pass takes at least, as bench model and bench swarm tell it: reading at the speed of the
// bare loop, or computing at the share of the peak that is asked of matrix products, whichever is more.
func (w Work) Least(l probe.Limits) float64 {
	return max(w.memory(l), w.arithmetic(l)/attainable)
}

// The limits that may bind.
const (
	ByMemory     = "memory"
	ByArithmetic = "arithmetic"
)

// Bound tells which of Least's two limits binds.
func (w Work) Bound(l probe.Limits) string {
	if w.memory(l) >= w.arithmetic(l)/attainable {
		return ByMemory
	}
	return ByArithmetic
}

// bound tells which limit binds more.
func (w Work) bound(l probe.Limits) string {
	if w.memory(l) >= w.arithmetic(l) {
		return ByMemory
	}
	return ByArithmetic
}

// meter takes times in turns with limits.
type meter struct {
	probe *probe.Probe
	last  probe.Limits // found after the last sample,
	at    time.Time    // and when
}

// sample is a time beside the limits around it.
type sample struct {
	seconds float64
	limits  probe.Limits
}

// sample lets do measure something between two looks at the limits; of the two the mean counts.
func (m *meter) sample(do func() (time.Duration, error)) (sample, error) {
	if time.Since(m.at) > limitsAge {
		m.look()
	}
	before := m.last
	took, err := do()
	m.look()
	return sample{max(took.Seconds(), 1e-9), mean(before, m.last)}, err
}

func (m *meter) look() { m.last, m.at = m.probe.Limits(), time.Now() }

func mean(a, b probe.Limits) probe.Limits {
	return probe.Limits{Read: (a.Read + b.Read) / 2, Integer: (a.Integer + b.Integer) / 2, Float: (a.Float + b.Float) / 2}
}

// median of what a function makes of each sample: the lower one of two in the middle. There is at least one.
func median[S any, T cmp.Ordered](samples []S, of func(S) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// medianLimits is the median of each limit.
func medianLimits(samples []sample) probe.Limits {
	return probe.Limits{
		Read:    median(samples, func(s sample) float64 { return s.limits.Read }),
		Integer: median(samples, func(s sample) float64 { return s.limits.Integer }),
		Float:   median(samples, func(s sample) float64 { return s.limits.Float }),
	}
}

// timed gives the time that f takes.
func timed(f func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun), err
}
