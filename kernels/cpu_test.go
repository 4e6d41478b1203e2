package kernels

import (
	"math"
	"math/rand"
	"testing"
)

func TestCPU_ReadFindsWhatIsNotFinite(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		c := newTestCPU(t, s, 2)
		x := sample(rand.New(rand.NewSource(24)), "wide", 3*5)
		b := fill(t, c, x, 5)
		sameBits(t, "rows", read(c, b, 3), x)
		noFaults(t, c, 3)
		b.(*buffer).data[7] = float32(math.NaN())
		dst := make([]float32, 15)
		c.Read(dst, b, 3, 12)
		faults := make([]Place, 3)
		c.Faults(faults)
		if [3]Place(faults) != [3]Place{0, 12, 0} {
			t.Errorf("faults %v", faults)
		}
	})
}

func TestCPU_NameAndBuffers(t *testing.T) {
	c, err := NewCPUWith("generic", 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "cpu/generic" {
		t.Errorf("name %q", c.Name())
	}
	for _, shape := range [][2]int{{0, 1}, {1, 0}, {1 << 30, 1}, {-1, 5}} {
		if _, err := c.Buffer(shape[0], shape[1]); err == nil {
			t.Errorf("made a buffer of %v", shape)
		}
	}
	for range 2 { // closing twice is in order
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCPU_WrongShapesPanic(t *testing.T) {
	c := newTestCPU(t, generic(), 1)
	x, y := fill(t, c, make([]float32, 128), 64), fill(t, c, make([]float32, 64), 32)
	m, err := c.Matrix(pack(t, BF16, make([]float32, 64*32), 32, 64))
	if err != nil {
		t.Fatal(err)
	}
	table, err := c.Table(Table{Rows: 2, K: 64, Format: F16, Data: make([]byte, 256)})
	if err != nil {
		t.Fatal(err)
	}
	cache := newTestCache(t, c, testShape(Int8, 0))
	qkv := fill(t, c, make([]float32, 3*128), 3*128)
	seat := func(position int, pages ...int32) []Seat { return []Seat{{position, pages}} }
	for name, call := range map[string]func(){
		"too many rows":        func() { c.Round(nil, x, 3, 1) },
		"other widths":         func() { c.RMSNorm(x, y, 1, gainOf(t, c, make([]float32, 64)), 1, 1) },
		"matrix of other size": func() { c.MatMul(x, y, 1, m, 1) },
		"id out of the table":  func() { c.Embed(x, table, []uint32{2}) },
		"short destination":    func() { c.Read(make([]float32, 63), x, 1, 1) },
		"rows of other width":  func() { c.Widen(x, Rows{N: 1, Width: 3}) },
		"norm of other width":  func() { c.RMSNorm(x, x, 1, gainOf(t, c, make([]float32, 3)), 1, 1) },
		"no such layer":        func() { c.Append(cache, 2, qkv, seat(0, 0), 1) },
		"no such position":     func() { c.Append(cache, 0, qkv, seat(700, make([]int32, 20)...), 1) },
		"page missing":         func() { c.Append(cache, 0, qkv, seat(64, 0), 1) },
		"no such page":         func() { c.Attend(x, cache, 0, qkv, seat(0, 24), 1) },
		"negative page":        func() { c.Append(cache, 0, qkv, seat(0, -1), 1) },
	} {
		t.Run(name, func(t *testing.T) { mustPanic(t, call) })
	}
}

func TestFormat_NamesAndSizes(t *testing.T) {
	for f := F32; f <= NF4; f++ {
		if got, err := ParseFormat(f.String()); err != nil || got != f {
			t.Errorf("%v became %v, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("q4"); err == nil {
		t.Error("q4 is a format")
	}
	for _, c := range []struct {
		f        Format
		table    bool
		rows, k  int
		size, at int64
	}{
		{NF4, false, 17, 128, 2 * 2 * (512 + 32), 2 * 2 * 512},
		{Int8, false, 16, 64, 1024 + 32, 1024},
		{BF16, false, 17, 3, 102, 102},
		{F32, false, 1, 64, 256, 256},
		{Int8, true, 17, 128, 17 * (128 + 4), 17 * 128},
		{F16, true, 3, 64, 384, 384},
	} {
		size, at := c.f.MatrixSize(c.rows, c.k)
		if c.table {
			size, at = c.f.TableSize(c.rows, c.k)
		}
		if size != c.size || at != c.at {
			t.Errorf("%v (%d, %d): %d bytes, scales at %d; want %d, %d", c.f, c.rows, c.k, size, at, c.size, c.at)
		}
	}
}

// A token's step must leave nothing to the garbage collector.
func TestCPU_AStepAllocatesNothing(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		c := newTestCPU(t, s, 2)
		rng := rand.New(rand.NewSource(25))
		shape := testShape(Int8, 10000)
		hidden := shape.Heads * shape.HeadSize
		w, err := c.Matrix(pack(t, NF4, sample(rng, "normal", 3*hidden*hidden), 3*hidden, hidden))
		if err != nil {
			t.Fatal(err)
		}
		x, qkv := fill(t, c, sample(rng, "normal", hidden), hidden), fill(t, c, make([]float32, 3*hidden), 3*hidden)
		cache, seats := newTestCache(t, c, shape), seatsAt(40, 1, []int32{3})
		gain := gainOf(t, c, sample(rng, "normal", hidden))
		allocs := testing.AllocsPerRun(50, func() {
			c.RMSNorm(x, x, 1, gain, 1e-6, 1)
			c.MatMul(qkv, x, 1, w, 1)
			c.Append(cache, 0, qkv, seats, 1)
			c.Attend(x, cache, 0, qkv, seats, 1)
			c.Round(nil, x, 1, 1)
		})
		if allocs != 0 {
			t.Errorf("%v allocations in a step of five calls", allocs)
		}
	})
}
