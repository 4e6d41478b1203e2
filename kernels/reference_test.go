package kernels

import (
	"encoding/binary"
	"math"
	"math/rand"
	"testing"
)

// The reference forms below follow NUMERICS literally, one number at a time, with none of the package's helpers, so
// that a slip in the package is not repeated here.

// refLanes sums terms by lanes.
func refLanes(terms []float32) float32 {
	lanes := make([]float32, 16)
	for i, t := range terms {
		lanes[i%16] = lanes[i%16] + t
	}
	for _, step := range []int{8, 4, 2, 1} {
		for l := 0; l < step; l++ {
			lanes[l] = lanes[l] + lanes[l+step]
		}
	}
	return lanes[0]
}

// refQuantise quantises numbers that share a scale.
func refQuantise(x []float32) (q []int, scale float32) {
	m := float32(0)
	for _, v := range x {
		m = max(m, float32(math.Abs(float64(v))))
	}
	q = make([]int, len(x))
	if float64(m) < math.Ldexp(1, -60) {
		return q, 0
	}
	c := math.Float32frombits(0x3C010204)
	inv := 127 / m
	for i, v := range x {
		q[i] = int(math.RoundToEven(float64(float32(v * inv))))
	}
	return q, float32(m * c)
}

// refHalf reads a float16 by its definition.
func refHalf(h uint16) float32 {
	sign, exp, frac := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch exp {
	case 0:
		return float32(sign * math.Ldexp(frac, -24))
	case 31:
		if frac != 0 {
			return float32(math.NaN())
		}
		return float32(sign * math.Inf(1))
	}
	return float32(sign * math.Ldexp(1024+frac, exp-25))
}

// refWeight gives code and term scale of one weight of a stored matrix.
func refWeight(m Matrix, row, k int) (q int, scale float32) {
	levels := []int{-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127}
	panel, r, b, in, blocks := row/16, row%16, k/64, k%64, m.K/64
	size := 1024
	if m.Format == NF4 {
		size = 512
	}
	panels := (m.Rows + 15) / 16
	at := panels*blocks*size + ((panel*blocks+b)*16+r)*2
	scale = refHalf(uint16(m.Data[at]) | uint16(m.Data[at+1])<<8)
	block := m.Data[(panel*blocks+b)*size:]
	if m.Format == Int8 {
		return int(int8(block[in/4*64+4*r+in%4] ^ 0x80)), scale
	}
	code := block[in/8*64+4*r+in%4]
	if in%8 >= 4 {
		code >>= 4
	}
	return levels[code&15], float32(scale * math.Float32frombits(0x3C010204))
}

// refDot is one output of a matrix product.
func refDot(m Matrix, row int, x []float32) float32 {
	if m.Format == F16 || m.Format == BF16 {
		terms := make([]float32, m.K)
		for k := range terms {
			h := binary.LittleEndian.Uint16(m.Data[2*(row*m.K+k):])
			w := refHalf(h)
			if m.Format == BF16 {
				w = math.Float32frombits(uint32(h) << 16)
			}
			terms[k] = float32(w * x[k])
		}
		return refLanes(terms)
	}
	total, segment := float32(0), float32(0)
	for b := 0; b < m.K/64; b++ {
		if b%8 == 0 {
			total, segment = total+segment, 0
		}
		q, a := refQuantise(x[64*b : 64*b+64])
		d, w := 0, float32(0)
		for i, v := range q {
			var c int
			c, w = refWeight(m, row, 64*b+i)
			d += c * v
		}
		segment = segment + float32(float32(d)*float32(w*a))
	}
	return total + segment
}

// sample gives numbers of one of several kinds that kernels tend to get wrong.
func sample(rng *rand.Rand, kind string, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		switch kind {
		case "normal":
			x[i] = float32(rng.NormFloat64())
		case "wide":
			x[i] = float32(rng.NormFloat64() * math.Pow(2, float64(rng.Intn(60)-30)))
		case "huge":
			x[i] = float32(rng.NormFloat64() * 1e18)
		case "denormal":
			x[i] = math.Float32frombits(rng.Uint32() & 0x807FFFFF)
		case "tiny":
			x[i] = float32(rng.NormFloat64() * math.Pow(2, -60))
		case "equal":
			x[i] = 0.37
		case "one-hot":
			if i%97 == 5 {
				x[i] = -3
			}
		case "zero":
		}
	}
	return x
}

// storable cuts numbers to what every format can store.
func storable(w []float32) []float32 {
	for i := range w {
		w[i] = min(max(w[i], -60000), 60000)
	}
	return w
}

func kinds() []string {
	return []string{"normal", "wide", "huge", "denormal", "tiny", "equal", "one-hot", "zero"}
}

// newTestCPU gives a CPU with a set, closed with the test.
func newTestCPU(t testing.TB, s *set, threads int) *CPU {
	t.Helper()
	c := newCPU(s, threads)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// fill makes a buffer of the device that holds x.
func fill(t testing.TB, c *CPU, x []float32, width int) Buffer {
	t.Helper()
	b, err := c.Buffer(len(x)/width, width)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.(*buffer).data, x)
	return b
}

// read copies a buffer's rows out.
func read(c *CPU, b Buffer, n int) []float32 {
	dst := make([]float32, n*b.Width())
	c.Read(dst, b, n, 1)
	return dst
}

// sameBits fails if two results differ in any bit, by index.
func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: number %d is %v (%08x), want %v (%08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// noFaults fails if one of the first n rows has a fault.
func noFaults(t testing.TB, c *CPU, n int) {
	t.Helper()
	faults := make([]Place, n)
	c.Faults(faults)
	for i, f := range faults {
		if f != 0 {
			t.Fatalf("row %d has fault %d, want none", i, f)
		}
	}
}

// pack stores a matrix, at an odd address.
func pack(t testing.TB, f Format, w []float32, rows, k int) Matrix {
	t.Helper()
	size, at := f.MatrixSize(rows, k)
	data := make([]byte, size+1)[1:]
	if err := PackMatrix(f, w, rows, k, data[:at], data[at:]); err != nil {
		t.Fatal(err)
	}
	return Matrix{Rows: rows, K: k, Format: f, Data: data}
}
