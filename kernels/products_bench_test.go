package kernels

import (
	"fmt"
	"math/rand"
	"testing"
)

// benchK is the width of the benchmarks' products: the hidden size of a 7B model.
const benchK = 4096

// BenchmarkProducts multiplies 16 rows of weights, from cache, with rows of activations. MB/s counts the weights.
func BenchmarkProducts(b *testing.B) {
	rng := rand.New(rand.NewSource(1))
	for _, f := range []Format{NF4, Int8, F16, BF16} {
		w := pack(b, f, sample(rng, "normal", PanelRows*benchK), PanelRows, benchK)
		for _, n := range []int{1, 2, 4, 8, 12, 48} {
			x := sample(rng, "normal", n*benchK)
			for _, s := range sets() {
				b.Run(fmt.Sprintf("%v/rows=%d/%s", f, n, s.name()), func(b *testing.B) {
					multiply := panelProducts(b, s, w, x, n)
					b.SetBytes(int64(len(w.Data)))
					for b.Loop() {
						multiply()
					}
					operations := 2 * float64(n) * PanelRows * benchK * float64(b.N)
					b.ReportMetric(operations/b.Elapsed().Seconds()/1e9, "GOPS")
				})
			}
		}
	}
}

// panelProducts gives a function that multiplies the first 16 rows of w with all n rows of x, in as many calls as the
// set's tile makes of them.
func panelProducts(b *testing.B, s *set, w Matrix, x []float32, n int) func() {
	at, err := w.shape()
	if err != nil {
		b.Fatal(err)
	}
	m := &matrix{Matrix: w, codes: w.Data[:at], scales: w.Data[at:]}
	dst := make([]float32, s.tile*PanelRows)
	if !m.quantised() {
		return func() {
			for i := 0; i < n; i += s.tile {
				rows := min(s.tile, n-i)
				s.mulWide(dst[:rows*PanelRows], w.Format, m.codes, PanelRows, x[i*w.K:][:rows*w.K], rows)
			}
		}
	}
	var a activations
	a.reset(n, w.K, s.tile)
	for i := range n {
		s.quantise(&a, i, x[i*w.K:][:w.K])
	}
	p := m.panels(0, 1)
	return func() {
		for i := range a.groups() {
			g := a.group(i)
			s.mul(dst[:g.rows*PanelRows], p, g)
		}
	}
}

// BenchmarkQuantise quantises rows of activations. MB/s counts the float32 numbers.
func BenchmarkQuantise(b *testing.B) {
	rng := rand.New(rand.NewSource(2))
	for _, n := range []int{1, 12, 48} {
		x := sample(rng, "normal", n*benchK)
		for _, s := range sets() {
			b.Run(fmt.Sprintf("rows=%d/%s", n, s.name()), func(b *testing.B) {
				var a activations
				a.reset(n, benchK, s.tile)
				b.SetBytes(int64(4 * len(x)))
				for b.Loop() {
					for i := range n {
						s.quantise(&a, i, x[i*benchK:][:benchK])
					}
				}
			})
		}
	}
}
