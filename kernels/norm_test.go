package kernels

import (
	"encoding/binary"
	"math"
	"math/rand"
	"testing"
)

// refNorm is rule 4.
func refNorm(x, gain []float32, eps float32) []float32 {
	terms, y := make([]float32, len(x)), make([]float32, len(x))
	for i, v := range x {
		if math.Abs(float64(v)) >= math.Ldexp(1, -60) {
			terms[i] = float32(v * v)
		}
	}
	mean := refLanes(terms) / float32(len(x))
	r := 1 / float32(math.Sqrt(float64(mean+eps)))
	for i, v := range x {
		y[i] = float32(float32(v*r) * gain[i])
	}
	return y
}

// gainOf stores a gain.
func gainOf(t testing.TB, c *CPU, g []float32) Weights {
	t.Helper()
	b := make([]byte, 4*len(g))
	for i, v := range g {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	w, err := c.Gain(b)
	if err != nil {
		t.Fatal(err)
	}
	if w.Bytes() != int64(len(b)) {
		t.Errorf("a gain of %d numbers takes %d bytes", len(g), w.Bytes())
	}
	return w
}

func TestRMSNorm_EqualsItsDefinition(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(2))
		for _, kind := range kinds() {
			for _, width := range []int{1, 15, 16, 17, 64, 333, 4096} {
				c := newTestCPU(t, s, 2)
				x, g := sample(rng, kind, 3*width), sample(rng, "normal", width)
				if kind == "huge" {
					for i := range x {
						x[i] /= 1e3
					}
				}
				dst, src := fill(t, c, make([]float32, 3*width), width), fill(t, c, x, width)
				c.RMSNorm(dst, src, 3, gainOf(t, c, g), 1e-6, 9)
				c.RMSNorm(src, src, 3, gainOf(t, c, g), 1e-6, 9)
				for i := range 3 {
					want := refNorm(x[i*width:][:width], g, 1e-6)
					sameBits(t, kind, read(c, dst, 3)[i*width:][:width], want)
					sameBits(t, kind+" in place", read(c, src, 3)[i*width:][:width], want)
				}
				noFaults(t, c, 3)
			}
		}
	})
}

func TestRMSNorm_AgreesWithFloat64(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	const width = 4096
	x, g, y := sample(rng, "normal", width), sample(rng, "normal", width), make([]float32, width)
	if !rmsNorm(y, x, g, 1e-6) {
		t.Fatal("a finite row faults")
	}
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	for i, got := range y {
		want := float64(x[i]) / math.Sqrt(sum/width+1e-6) * float64(g[i])
		if math.Abs(float64(got)-want) > 1e-5 {
			t.Fatalf("number %d is %v, want %v", i, got, want)
		}
	}
}

func TestRMSNorm_FaultsOneRowAndLeavesTheOthers(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		c := newTestCPU(t, s, 2)
		rng := rand.New(rand.NewSource(4))
		const width = 64
		x, g := sample(rng, "normal", 5*width), sample(rng, "normal", width)
		x[0*width+3] = float32(math.NaN())
		x[2*width+63] = float32(math.Inf(-1))
		x[3*width+7], x[3*width+8] = 3e38, 3e38 // finite, but the sum of squares is not
		src := fill(t, c, x, width)
		c.RMSNorm(src, src, 5, gainOf(t, c, g), 1e-6, 7)
		c.RMSNorm(src, src, 5, gainOf(t, c, g), 1e-6, 8)
		faults := make([]Place, 6)
		c.Faults(faults)
		for i, want := range []Place{7, 0, 7, 7, 0, 0} {
			if faults[i] != want {
				t.Errorf("row %d has fault %d, want %d", i, faults[i], want)
			}
		}
		c.Faults(faults)
		if faults[0] != 0 {
			t.Error("a fault that was read is still there")
		}
		y := read(c, src, 5)
		sameBits(t, "row 1", y[width:2*width], refNorm(refNorm(x[width:2*width], g, 1e-6), g, 1e-6))
		for i, v := range y[:width] {
			if v != 0 {
				t.Fatalf("number %d of a faulty row is %v, want 0", i, v)
			}
		}
	})
}
