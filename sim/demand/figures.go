package demand

import (
	"slices"

	"github.com/baichuan-node/baichuan-node/kernels/probe"
)

// Spread is how some times are spread.
type Spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_s"`
	P95 float64 `json:"p95_s"`
	Max float64 `json:"max_s"`
}

func spreadOf(times []float64) Spread {
	return Spread{N: len(times), P50: quantile(times, 0.5), P95: quantile(times, 0.95), Max: quantile(times, 1)}
}

// quantile is the smallest of some values that a share of them does not exceed; 0 of none.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := 0
	for float64(rank+1) < share*float64(len(sorted)) {
		rank++
	}
	return sorted[rank]
}

// pace is how many tokens a second come with such gaps.
func pace(gaps []float64) float64 {
	total := 0.0
	for _, g := range gaps {
		total += g
	}
	return float64(len(gaps)) / max(total, 1e-9)
}

func medianOf(turns []turn, of func(turn) float64) float64 {
	values := make([]float64, len(turns))
	for i, s := range turns {
		values[i] = of(s)
	}
	return quantile(values, 0.5)
}

func medianLimits(turns []turn) probe.Limits {
	return probe.Limits{
		Read:    medianOf(turns, func(s turn) float64 { return s.limits.Read }),
		Integer: medianOf(turns, func(s turn) float64 { return s.limits.Integer }),
		Float:   medianOf(turns, func(s turn) float64 { return s.limits.Float }),
	}
}

func mean(a, b probe.Limits) probe.Limits {
	return probe.Limits{Read: (a.Read + b.Read) / 2, Integer: (a.Integer + b.Integer) / 2, Float: (a.Float + b.Float) / 2}
}
