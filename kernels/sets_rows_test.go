package kernels

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
)

// rmsNorm tries a row, and the same in place.
func (tr *trial) rmsNorm(what string, x, gain []float32, eps float32) {
	tr.t.Helper()
	want := tr.garbage(len(x))
	wantOK := rmsNorm(want, x, gain, eps)
	var ok bool
	dst, src, g := output(tr.mem, tr.garbage(len(x))), input(tr.mem, x), input(tr.mem, gain)
	tr.mem.call(what, func() { ok = tr.set.rmsNorm(dst, src, g, eps) })
	tr.same(what, dst, want)
	sameList(tr.t, what+": finite", []bool{ok}, []bool{wantOK})
	dst, g = output(tr.mem, x), input(tr.mem, gain)
	tr.mem.call(what, func() { ok = tr.set.rmsNorm(dst, dst, g, eps) })
	tr.same(what+" in place", dst, want)
	sameList(tr.t, what+" in place: finite", []bool{ok}, []bool{wantOK})
}

// roundRow tries a row with and without halves to keep.
func (tr *trial) roundRow(what string, x []float32) {
	tr.t.Helper()
	for _, keep := range []bool{true, false} {
		want := slices.Clone(x)
		var wantHalf, half []byte
		if keep {
			wantHalf = bytes.Repeat([]byte{3}, 2*len(x))
			half = output(tr.mem, wantHalf)
		}
		got := output(tr.mem, x)
		var exp uint8
		var ok bool
		tr.mem.call(what, func() { exp, ok = tr.set.roundRow(half, got) })
		wantExp, wantOK := roundRow(wantHalf, want)
		tr.same(what, got, want)
		sameList(tr.t, what+": halves", half, wantHalf)
		if exp != wantExp || ok != wantOK {
			tr.t.Fatalf("%s: exponent %d, %v, want %d, %v", what, exp, ok, wantExp, wantOK)
		}
	}
}

// widenRow tries a row.
func (tr *trial) widenRow(what string, half []byte, exp uint8) {
	tr.t.Helper()
	n := len(half) / 2
	want, src, got := make([]float32, n), input(tr.mem, half), output(tr.mem, tr.garbage(n))
	tr.mem.call(what, func() { tr.set.widenRow(got, src, exp) })
	widenRow(want, half, exp)
	tr.same(what, got, want)
}

// swiGLU tries a row, and the same where dst is either operand.
func (tr *trial) swiGLU(what string, gate, up []float32) {
	tr.t.Helper()
	want := make([]float32, len(gate))
	swiGLU(want, gate, up)
	dst, g, u := output(tr.mem, tr.garbage(len(gate))), input(tr.mem, gate), input(tr.mem, up)
	tr.mem.call(what, func() { tr.set.swiGLU(dst, g, u) })
	tr.same(what, dst, want)
	dst, u = output(tr.mem, gate), input(tr.mem, up)
	tr.mem.call(what, func() { tr.set.swiGLU(dst, dst, u) })
	tr.same(what+" over the gate", dst, want)
	dst, g = output(tr.mem, up), input(tr.mem, gate)
	tr.mem.call(what, func() { tr.set.swiGLU(dst, g, dst) })
	tr.same(what+" over up", dst, want)
}

// rotate tries a head.
func (tr *trial) rotate(what string, x, cos, sin []float32) {
	tr.t.Helper()
	want, got, c, s := slices.Clone(x), output(tr.mem, x), input(tr.mem, cos), input(tr.mem, sin)
	tr.mem.call(what, func() { tr.set.rotate(got, c, s) })
	rotate(want, cos, sin)
	tr.same(what, got, want)
}

// maxAbs tries a row.
func (tr *trial) maxAbs(what string, x []float32) {
	tr.t.Helper()
	src, got := input(tr.mem, x), uint32(0)
	tr.mem.call(what, func() { got = tr.set.maxAbs(src) })
	sameList(tr.t, what, []uint32{got}, []uint32{maxAbsBits(x)})
}

// addAndDivide tries x plus y, and x by the first of y.
func (tr *trial) addAndDivide(what string, x, y []float32) {
	tr.t.Helper()
	want, got, src := slices.Clone(x), output(tr.mem, x), input(tr.mem, y)
	tr.mem.call(what, func() { tr.set.add(got, src) })
	add(want, y)
	tr.same(what+", added", got, want)
	want, got = slices.Clone(x), output(tr.mem, x)
	tr.mem.call(what, func() { tr.set.divide(got, y[0]) })
	divide(want, y[0])
	tr.same(fmt.Sprintf("%s, divided by %v", what, y[0]), got, want)
}

// widths are lengths of rows: all small ones, and those of models.
func widths() []int {
	return few(append(upTo(130), 255, 256, 257, 320, 500, 704, 1088, 4096, 5120, 11008, 13696), 70)
}

func TestSets_RMSNorm(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range wildKinds() {
				what := fmt.Sprintf("%s, %d", kind, n)
				tr.rmsNorm(what, wild(tr.rng, kind, n), sample(tr.rng, oneOf(tr.rng, "normal", "wide"), n), oneOf[float32](tr.rng, 1e-6, 1e-5, 0, 1))
			}
		}
		x := make([]float32, 200) // either side of what counts as zero
		for i := range x {
			x[i] = math.Float32frombits(uint32(tinyBits + i - 100))
		}
		tr.rmsNorm("about 2^-60", x, sample(tr.rng, "normal", 200), 1e-30)
	})
}

func TestSets_RoundRow(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range wildKinds() {
				tr.roundRow(fmt.Sprintf("%s, %d", kind, n), wild(tr.rng, kind, n))
			}
			x := sample(tr.rng, "normal", n) // of each exponent, and where it changes
			top := math.Float32frombits(uint32(127+13+tr.rng.Intn(28))<<23 + uint32(tr.rng.Intn(3)) - 1)
			for i := range x {
				x[i] = min(max(x[i]*top, -top), top)
			}
			x[tr.rng.Intn(n)] = top
			tr.roundRow(fmt.Sprintf("at most %v, %d", top, n), x)
		}
		for high := range uint32(1 << 7) { // every float16 and the halves between them, and beside these
			x := make([]float32, 0, 6*1<<9)
			for low := range uint32(1 << 9) {
				bits := math.Float32bits(Float16to32(uint16(high<<9|low))) + 0x1000
				for d := range uint32(3) {
					x = append(x, math.Float32frombits(bits+d-1), math.Float32frombits(bits-0x1000+d-1))
				}
			}
			for i := range x {
				if !(x[i] <= 32768 && x[i] >= -32768) {
					x[i] = 1
				}
			}
			tr.roundRow(fmt.Sprintf("float16s from %04x", high<<9), x)
		}
	})
}

func TestSets_WidenRow(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		all := make([]byte, 0, 1<<17)
		for h := range 1 << 16 {
			if h&halfAbs < halfInf {
				all = append(all, byte(h), byte(h>>8))
			}
		}
		for _, n := range append(widths(), len(all)/2) {
			at := tr.rng.Intn(len(all)/2 - n + 1)
			exp := uint8(tr.rng.Intn(maxExponent + 1))
			tr.widenRow(fmt.Sprintf("%d, exponent %d", n, exp), all[2*at:][:2*n], exp)
		}
	})
}

func TestSets_SwiGLU(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range wildKinds() {
				tr.swiGLU(fmt.Sprintf("%s, %d", kind, n), wild(tr.rng, kind, n), wild(tr.rng, oneOf(tr.rng, wildKinds()...), n))
			}
		}
		// Gates through the whole range of Exp, and where it ends.
		gate := []float32{-87, 87, math.Nextafter32(-87, 0), math.Nextafter32(-87, -88), math.Nextafter32(87, 88), -88, 88, 1e-30}
		for x := float32(-90); x < 90; x += 0.0173 {
			gate = append(gate, x)
		}
		up := make([]float32, len(gate))
		for i := range up {
			up[i] = 1
		}
		tr.swiGLU("a ramp", gate, up)
	})
}

func TestSets_Rotate(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, half := range few(upTo(160), 70) {
			for _, kind := range wildKinds() {
				x, cos, sin := wild(tr.rng, kind, 2*half), sample(tr.rng, "normal", half), wild(tr.rng, oneOf(tr.rng, "normal", kind), half)
				tr.rotate(fmt.Sprintf("%s, %d", kind, 2*half), x, cos, sin)
			}
		}
	})
}

func TestSets_MaxAbs(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range wildKinds() {
				tr.maxAbs(fmt.Sprintf("%s, %d", kind, n), wild(tr.rng, kind, n))
			}
			x := make([]float32, n)
			x[tr.rng.Intn(n)] = math.Float32frombits(tr.rng.Uint32())
			tr.maxAbs(fmt.Sprintf("one number, %d", n), x)
		}
	})
}

func TestSets_AddAndDivide(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, n := range widths() {
			for _, kind := range wildKinds() {
				tr.addAndDivide(fmt.Sprintf("%s, %d", kind, n), wild(tr.rng, kind, n), wild(tr.rng, oneOf(tr.rng, wildKinds()...), n))
			}
		}
	})
}
