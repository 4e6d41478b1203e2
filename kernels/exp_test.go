package kernels

import (
	"math"
	"testing"
)

func TestExp_StaysWithinItsErrorAndIsMonotone(t *testing.T) {
	last, worst := float32(2), 0.0
	for bits := uint32(0x80000000); bits <= math.Float32bits(-87); bits += 1021 {
		x := math.Float32frombits(bits)
		got := Exp(x)
		if got > last {
			t.Fatalf("Exp(%v) = %v is above its neighbour's %v", x, got, last)
		}
		last = got
		want := math.Exp(float64(x))
		worst = max(worst, math.Abs(float64(got)-want)/want)
	}
	if limit := math.Pow(2, -23.4); worst > limit {
		t.Errorf("relative error %v, want at most %v", worst, limit)
	}
}

func TestExp_IsMonotoneWhereTheExponentChanges(t *testing.T) {
	for n := 0; n < 126; n++ {
		x := float32(-(float64(n) + 0.5) * math.Ln2)
		for range 200 {
			x = math.Nextafter32(x, 0)
		}
		for range 400 {
			next := math.Nextafter32(x, -100)
			if Exp(next) > Exp(x) {
				t.Fatalf("Exp(%v) = %v is above Exp(%v) = %v", next, Exp(next), x, Exp(x))
			}
			x = next
		}
	}
}

func TestExp_Edges(t *testing.T) {
	inf := float32(math.Inf(-1))
	for x, want := range map[float32]float32{0: 1, -87.00001: 0, inf: 0, -1e30: 0, -1e-30: 1} {
		if got := Exp(x); got != want {
			t.Errorf("Exp(%v) = %v, want %v", x, got, want)
		}
	}
	if got := Exp(-87); got < 0x1p-126 {
		t.Errorf("Exp(-87) = %v is denormal", got)
	}
	if got := Exp(float32(math.NaN())); got == got {
		t.Errorf("Exp(NaN) = %v", got)
	}
}

func TestSiLU_AgreesWithFloat64(t *testing.T) {
	for x := -120.0; x <= 120; x += 0.0137 {
		z := float32(x)
		want := float64(z) / (1 + math.Exp(-float64(z)))
		got := float64(silu(z))
		if z < -87 {
			want = 0 // Exp is 0 there
		}
		if math.Abs(got-want) > 3e-7*math.Abs(want) {
			t.Fatalf("silu(%v) = %v, want %v", z, got, want)
		}
	}
	if got := silu(math.MaxFloat32); got != math.MaxFloat32 {
		t.Errorf("silu of the largest number is %v", got)
	}
	if got := silu(float32(math.NaN())); got == got {
		t.Errorf("silu(NaN) = %v", got)
	}
}

func TestSwiGLU_AgreesWithFloat64InPlace(t *testing.T) {
	gate, up := make([]float32, 6*512), make([]float32, 6*512)
	for i := range gate {
		gate[i], up[i] = float32(i%201-100)/9, float32(i%77-30)/11
	}
	g := append([]float32(nil), gate...)
	swiGLU(g, g, up)
	for i, got := range g {
		want := float64(gate[i]) / (1 + math.Exp(-float64(gate[i]))) * float64(up[i])
		if math.Abs(float64(got)-want) > 1e-5*max(1, math.Abs(want)) {
			t.Fatalf("number %d is %v, want %v", i, got, want)
		}
	}
}
