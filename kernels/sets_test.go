package kernels

import (
	"math"
	"math/rand"
	"slices"
	"testing"
)

// The functions of every set give the bits of the generic set's, which other tests hold against NUMERICS itself. What
// a trial does for a random input, a fuzz target does for any bytes.

// everySet runs a test on each set of this machine.
func everySet(t *testing.T, test func(t *testing.T, s *set)) {
	t.Helper()
	for _, s := range sets() {
		t.Run(s.name(), func(t *testing.T) { test(t, s) })
	}
}

// trial runs functions of a set beside their definitions.
type trial struct {
	t   testing.TB
	set *set
	mem *memory
	rng *rand.Rand
}

// everyPlace runs trials on each set but the generic one, with slices in each place.
func everyPlace(t *testing.T, test func(tr *trial)) {
	t.Helper()
	for _, s := range nativeSets() {
		for _, where := range placements() {
			t.Run(s.name()+"/"+where.String(), func(t *testing.T) {
				test(&trial{t: t, set: s, mem: newMemory(t, where), rng: rand.New(rand.NewSource(31))})
			})
		}
	}
}

// same wants numbers to be equal by their bits; one NaN is as good as another.
func (tr *trial) same(what string, got, want []float32) {
	tr.t.Helper()
	sameNumbers(tr.t, what, got, want)
}

func sameNumbers(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && !(g != g && w != w) {
			t.Fatalf("%s: number %d is %v (%08x), want %v (%08x)", what, i, g, math.Float32bits(g), w, math.Float32bits(w))
		}
	}
}

// sameList wants two lists of something else than floats to be equal.
func sameList[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if got[i] != w {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], w)
		}
	}
}

// wildKinds are kinds, and more that only equality between sets is asked for.
func wildKinds() []string {
	return append(kinds(), "largest", "minus zero", "bits", "holes", "mixed")
}

// wild gives numbers of any of wildKinds.
func wild(rng *rand.Rand, kind string, n int) []float32 {
	x := make([]float32, n)
	switch kind {
	case "largest":
		for i := range x {
			x[i] = math.MaxFloat32 * float32(1-2*rng.Intn(2))
		}
	case "minus zero":
		for i := range x {
			x[i] = math.Float32frombits(1 << 31)
		}
	case "bits":
		for i := range x {
			x[i] = math.Float32frombits(rng.Uint32())
		}
	case "holes":
		copy(x, sample(rng, "normal", n))
		for range 1 + n/50 {
			x[rng.Intn(n)] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[rng.Intn(3)]
		}
	case "mixed":
		for from := 0; from < n; from += 32 {
			part := sample(rng, kinds()[rng.Intn(len(kinds()))], min(32, n-from))
			copy(x[from:], part)
		}
	default:
		return sample(rng, kind, n)
	}
	return x
}

// garbage is what an output holds before.
func (tr *trial) garbage(n int) []float32 { return sample(tr.rng, "normal", n) }

// halves gives n float16s that are finite and not negative, of a kind, as scales are.
func halves(rng *rand.Rand, kind string, n int) []byte {
	b := make([]byte, 0, 2*n)
	for range n {
		h := uint16(0)
		switch kind {
		case "usual":
			h = Float16(float32(rng.ExpFloat64() / 100))
		case "any":
			h = uint16(rng.Intn(halfInf))
		case "denormal":
			h = uint16(rng.Intn(0x400))
		case "largest":
			h = halfInf - 1
		case "some zero":
			h = uint16(rng.Intn(halfInf) * rng.Intn(2))
		case "zero":
		}
		b = append(b, byte(h), byte(h>>8))
	}
	return b
}

func scaleKinds() []string {
	return []string{"usual", "any", "denormal", "largest", "some zero", "zero"}
}

// codes gives n codes within -127..127 of a kind.
func codes(rng *rand.Rand, kind string, n int) []int8 {
	q := make([]int8, n)
	for i := range q {
		switch kind {
		case "any":
			q[i] = int8(rng.Intn(255) - 127)
		case "most":
			q[i] = 127
		case "least":
			q[i] = -127
		case "ends":
			q[i] = int8(254*rng.Intn(2) - 127)
		case "zero":
		}
	}
	return q
}

func codeKinds() []string { return []string{"any", "most", "least", "ends", "zero"} }

// oneOf picks one.
func oneOf[T any](rng *rand.Rand, list ...T) T { return list[rng.Intn(len(list))] }

// few cuts a list short where tests shall be quick.
func few[T any](list []T, n int) []T {
	if testing.Short() {
		return list[:min(n, len(list))]
	}
	return list
}

// upTo lists 1..n.
func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

func TestSets_AreComplete(t *testing.T) {
	names := Sets()
	if names[len(names)-1] != "generic" {
		t.Errorf("the last of %v is not generic", names)
	}
	for i, s := range sets() {
		if slices.Contains(names[:i], names[i]) {
			t.Errorf("%v holds a name twice", names)
		}
		if s.tile < 1 || s.queries < 1 || s.queries > 64 { // attend keeps a bit for each query
			t.Errorf("%s: tile %d, queries %d", s.name(), s.tile, s.queries)
		}
		c, err := NewCPUWith(s.name(), 1)
		if err != nil {
			t.Fatal(err)
		}
		// A name without a variant is a family's, too, and means the first of it.
		if got := c.set; got.name() != s.name() && (s.variant != "" || got.family != s.family || slices.Index(names, got.name()) > i) {
			t.Errorf("%q gives %s", s.name(), got.name())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewCPUWith("sse", 1); err == nil {
		t.Error("there are kernels named sse")
	}
}
