package store

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// What a run makes and where it puts it must not depend on how a tensor was cut.
func TestRuns_MakeTheBytesOfOneCall(t *testing.T) {
	const rows, cols = 83, 192
	values := make([]float32, rows*cols)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range values {
		values[i] = float32(source.NormFloat64())
	}
	for _, tensor := range []Tensor{
		{Name: "gate", Format: "nf4"}, {Name: "gate", Format: "int8"}, {Name: "gate", Format: "bf16"}, {Name: "gate", Format: "f16"},
		{Name: "embed", Format: "int8"}, {Name: "embed", Format: "bf16"}, {Name: "embed", Format: "f16"},
		{Name: "norm", Format: "f32"},
	} {
		tensor.Rows, tensor.Cols = rows, cols
		tensor.Size, _ = tensor.size()
		t.Run(tensor.Name+" "+tensor.Format, func(t *testing.T) {
			want := assemble(t, tensor, values, []run{{tensor, 0, rows}})
			for _, limit := range []int{0, 2 * 16 * cols * 4, 3 * 16 * cols * 4} {
				runs := cut(tensor, limit)
				if len(runs) < 2 {
					t.Fatal("one run: nothing to compare")
				}
				if got := assemble(t, tensor, values, runs); !bytes.Equal(got, want) {
					t.Errorf("%d runs give other bytes than one", len(runs))
				}
			}
			for _, r := range cut(tensor, 0) {
				got := make([]float32, r.n*cols)
				r.unpack(got, want)
				checkNear(t, got, values[r.row*cols:][:r.n*cols])
			}
		})
	}
}

// assemble packs the runs into the bytes of their tensor.
func assemble(t *testing.T, tensor Tensor, values []float32, runs []run) []byte {
	t.Helper()
	data := make([]byte, tensor.Size)
	var b buffer
	for _, r := range runs {
		b.rows = append(b.rows[:0], values[r.row*tensor.Cols:][:r.n*tensor.Cols]...)
		if err := r.pack(&b); err != nil {
			t.Fatal(err)
		}
		codes, scales := r.places()
		copy(data[codes:], b.codes)
		copy(data[scales:], b.scales)
	}
	if err := checkTensorBytes(tensor, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// checkNear wants the values back as well as 4 bits can give them.
func checkNear(t *testing.T, got, want []float32) {
	t.Helper()
	var wrong, all float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		wrong += d * d
		all += float64(want[i]) * float64(want[i])
	}
	if r := math.Sqrt(wrong / all); r > 0.12 {
		t.Errorf("relative error %.3f", r)
	}
}

func TestNormalise_GivesRowsOfLengthOne(t *testing.T) {
	for _, c := range []struct{ row, want []float32 }{
		{[]float32{3, 4}, []float32{0.6, 0.8}},
		{[]float32{0, 0}, []float32{0, 0}},
		{[]float32{-2, 0, 0}, []float32{-1, 0, 0}},
		{[]float32{3e38, 3e38}, []float32{0.70710677, 0.70710677}}, // the squares overflow a float32
		{[]float32{1e-30, 0}, []float32{1e-18, 0}},                 // the norm counts as 1e-12
	} {
		row := append([]float32(nil), c.row...)
		normalise(row)
		for i := range row {
			if row[i] != c.want[i] {
				t.Errorf("%v gives %v, want %v", c.row, row, c.want)
				break
			}
		}
	}
}

func TestFirstBad_FindsWhatIsNoWeight(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x    []float32
		at   int
		what string
	}{
		{[]float32{1, -2, 0, math.MaxFloat32, math.SmallestNonzeroFloat32}, 0, ""},
		{[]float32{1, inf}, 1, "an infinity"},
		{[]float32{1, 2, -inf, inf}, 2, "an infinity"},
		{[]float32{float32(math.NaN()), inf}, 0, "a NaN"},
		{[]float32{1, math.Float32frombits(0xff800001)}, 1, "a NaN"},
	} {
		if at, what := firstBad(c.x); at != c.at || what != c.what {
			t.Errorf("%v: %d %q, want %d %q", c.x, at, what, c.at, c.what)
		}
	}
}
