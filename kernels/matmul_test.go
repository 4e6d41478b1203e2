package kernels

import (
	"fmt"
	"math"
	"math/rand"
	"testing"
)

func TestQuantise_StaysInRangeForEveryMantissa(t *testing.T) {
	for _, exp := range []uint32{67, 127, 254} { // 2^-60, 1, 2^127
		for mantissa := range uint32(1 << 23) {
			m := math.Float32frombits(exp<<23 | mantissa)
			if v := float32(m * float32(127/m)); !(v < 127.5) {
				t.Fatalf("%v times 127 over itself is %v", m, v)
			}
		}
	}
	q := make([]int8, 3)
	for _, x := range [][]float32{{math.MaxFloat32, -math.MaxFloat32, 0}, {0x1p-60, -0x1p-60, 0x1p-149}, {1, -0.5, -1}} {
		if _, ok := quantise(q, x); !ok || max(q[0], q[1], q[2]) != 127 || min(q[0], q[1], q[2]) != -127 {
			t.Errorf("%v became %v", x, q)
		}
	}
}

func TestQuantise_EqualsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewSource(6))
	for _, kind := range kinds() {
		for n := 1; n <= 64; n++ {
			x, q := sample(rng, kind, n), make([]int8, n)
			scale, ok := quantise(q, x)
			want, wantScale := refQuantise(x)
			if !ok || scale != wantScale {
				t.Fatalf("%s: scale %v, want %v", kind, scale, wantScale)
			}
			for i := range q {
				if int(q[i]) != want[i] {
					t.Fatalf("%s: code %d of %v is %d, want %d", kind, i, x[i], q[i], want[i])
				}
			}
		}
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		q := []int8{1, 2}
		if scale, ok := quantise(q, []float32{1, bad}); ok || scale != 0 || q[0] != 0 {
			t.Errorf("%v: scale %v, %v", bad, scale, ok)
		}
	}
}

func TestMatMul_EqualsItsDefinition(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(7))
		c := newTestCPU(t, s, 2)
		for _, f := range []Format{NF4, Int8, F16, BF16} {
			for _, shape := range few([][2]int{{15, 128}, {17, 576}, {1, 64}, {16, 512}, {33, 1088}}, 2) {
				rows, k := shape[0], shape[1]
				m := pack(t, f, sample(rng, "normal", rows*k), rows, k)
				for _, kind := range kinds() {
					for _, n := range []int{1, 2, 33} {
						x := sample(rng, kind, n*k)
						got := multiply(t, c, m, x)
						noFaults(t, c, n)
						for i := 0; i < n; i += 16 {
							for r := range rows {
								want := refDot(m, r, x[i*k:][:k])
								sameBits(t, fmt.Sprintf("%v (%d, %d), %s, %d rows: row %d, output %d", f, rows, k, kind, n, i, r), got[i*rows+r:][:1], []float32{want})
							}
						}
					}
				}
			}
		}
	})
}

// multiply gives W x for each of the rows of x.
func multiply(t testing.TB, c *CPU, m Matrix, x []float32) []float32 {
	t.Helper()
	w := matrixOf(t, c, m)
	n := len(x) / m.K
	dst := fill(t, c, make([]float32, n*m.Rows), m.Rows)
	c.MatMul(dst, fill(t, c, x, m.K), n, w, 3)
	return append([]float32(nil), dst.(*buffer).data...)
}

func TestMatMul_RowsAndThreadsDoNotChangeBits(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(8))
		const rows, k = 100, 640
		for _, f := range []Format{NF4, Int8, F16, BF16} {
			m := pack(t, f, storable(sample(rng, "wide", rows*k)), rows, k)
			x := sample(rng, "wide", 17*k)
			one := newTestCPU(t, s, 1)
			var want []float32
			for i := range 17 {
				want = append(want, multiply(t, one, m, x[i*k:][:k])...)
			}
			for _, threads := range few([]int{3, 1, 2, 4, 5, 6, 7, 8}, 2) {
				c := newTestCPU(t, s, threads)
				for n := 1; n <= 17; n++ {
					sameBits(t, fmt.Sprintf("%v, %d threads, %d rows", f, threads, n), multiply(t, c, m, x[:n*k]), want[:n*rows])
				}
			}
		}
	})
}

// matrixOf gives a matrix to the device.
func matrixOf(t testing.TB, c *CPU, m Matrix) Weights {
	t.Helper()
	w, err := c.Matrix(m)
	if err != nil {
		t.Fatal(err)
	}
	if w.Bytes() != 0 {
		t.Errorf("a matrix takes %d bytes beside its stored form", w.Bytes())
	}
	return w
}

func TestMatMul_AddedAndGatedAreItsResultsCombined(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(9))
		c := newTestCPU(t, s, 3)
		const rows, k = 41, 192
		for _, f := range []Format{NF4, Int8, BF16, F16} {
			gate, up := pack(t, f, sample(rng, "normal", rows*k), rows, k), pack(t, f, sample(rng, "normal", rows*k), rows, k)
			for _, n := range []int{1, 5, 45} {
				x, before := sample(rng, "normal", n*k), sample(rng, "normal", n*rows)
				src, dst := fill(t, c, x, k), fill(t, c, before, rows)
				g, u := multiply(t, c, gate, x), multiply(t, c, up, x)
				c.AddMatMul(dst, src, n, matrixOf(t, c, up), 3)
				want := append([]float32(nil), before...)
				for i, v := range u {
					want[i] += v
				}
				sameBits(t, fmt.Sprintf("%v, %d rows, added", f, n), dst.(*buffer).data, want)
				c.GatedMatMul(dst, src, n, matrixOf(t, c, gate), matrixOf(t, c, up), 3)
				swiGLU(want, g, u)
				sameBits(t, fmt.Sprintf("%v, %d rows, gated", f, n), dst.(*buffer).data, want)
				sameBits(t, "the input", src.(*buffer).data, x)
			}
		}
	})
}

func TestMatMul_FaultsOneRowAndLeavesTheOthers(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(10))
		c := newTestCPU(t, s, 2)
		const rows, k, n = 40, 128, 4
		for _, f := range []Format{NF4, Int8, F16, BF16} {
			m := pack(t, f, sample(rng, "normal", rows*k), rows, k)
			x := sample(rng, "normal", n*k)
			want := multiply(t, c, m, x)
			noFaults(t, c, n)
			x[1*k+100] = float32(math.NaN())
			x[3*k] = float32(math.Inf(1))
			got := multiply(t, c, m, x)
			faults := make([]Place, n)
			c.Faults(faults)
			if [n]Place(faults) != [n]Place{0, 3, 0, 3} {
				t.Errorf("%v: faults %v", f, faults)
			}
			sameBits(t, "row 0", got[:rows], want[:rows])
			sameBits(t, "row 2", got[2*rows:3*rows], want[2*rows:3*rows])
		}
	})
}

// With int8 codes that stand for themselves on both sides, the product is exact: it must equal float64.
func TestMatMul_IsExactOnIntegers(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(11))
		c := newTestCPU(t, s, 1)
		const rows, k = 16, 256
		w, x := make([]float32, rows*k), make([]float32, k)
		for i := range w {
			w[i] = float32(rng.Intn(255) - 127)
		}
		for i := range x {
			x[i] = float32(rng.Intn(255) - 127)
		}
		for i := 0; i < len(w); i += 64 {
			w[i] = 127 // so that the scale is 1
		}
		for i := 0; i < k; i += 64 {
			x[i] = -127
		}
		got := multiply(t, c, pack(t, Int8, w, rows, k), x)
		for r := range rows {
			want := 0.0
			for i, v := range x {
				want += float64(v) * float64(w[r*k+i])
			}
			if math.Abs(float64(got[r])-want) > 1e-6*127*127*k {
				t.Errorf("row %d is %v, want %v", r, got[r], want)
			}
		}
	})
}

func TestMatMul_WideWeightsAgreeWithFloat64(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(12))
		c := newTestCPU(t, s, 1)
		const rows, k = 32, 512
		m := pack(t, BF16, sample(rng, "normal", rows*k), rows, k)
		w, x := make([]float32, rows*k), sample(rng, "normal", k)
		for i := range x {
			x[i] /= 32
		}
		UnpackMatrix(w, m, 0, rows)
		for r, got := range multiply(t, c, m, x) {
			want := 0.0
			for i, v := range x {
				want += float64(v) * float64(w[r*k+i])
			}
			if math.Abs(float64(got)-want) > 1e-5 {
				t.Errorf("row %d is %v, want %v", r, got, want)
			}
		}
	})
}
