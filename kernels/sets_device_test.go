package kernels

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"
)

// faultsOf takes the faults of n rows.
func faultsOf(c *CPU, n int) []Place {
	faults := make([]Place, n)
	c.Faults(faults)
	return faults
}

// products are what MatMul, AddMatMul and GatedMatMul make of some rows, and the rows' faults.
type products struct {
	results [3][]float32
	faults  []Place
}

// product computes with matrices gate and up.
func product(t testing.TB, c *CPU, gate, up Matrix, x, before []float32) products {
	t.Helper()
	n := len(x) / up.K
	src, g, u := fill(t, c, x, up.K), matrixOf(t, c, gate), matrixOf(t, c, up)
	var p products
	for i := range p.results {
		dst := fill(t, c, before, up.Rows)
		switch i {
		case 0:
			c.MatMul(dst, src, n, u, 1)
		case 1:
			c.AddMatMul(dst, src, n, u, 2)
		case 2:
			c.GatedMatMul(dst, src, n, g, u, 3)
		}
		p.results[i] = dst.(*buffer).data
	}
	p.faults = faultsOf(c, n)
	return p
}

// Any number of rows, of any matrix, on any number of threads.
func TestMatMul_EverySetGivesTheBitsOfTheGenericOne(t *testing.T) {
	rng := rand.New(rand.NewSource(32))
	type shape struct{ n, rows, k int }
	var shapes []shape
	for n := range upTo(17) {
		shapes = append(shapes, shape{n + 1, oneOf(rng, 1, 15, 16, 17, 40, 100), oneOf(rng, 64, 128, 512, 576)})
	}
	shapes = append(shapes, shape{30, 33, 1088}, shape{512, 19, 320})
	if !testing.Short() {
		shapes = append(shapes, shape{1, 150, 4096}, shape{3, 17, 11008}, shape{64, 65, 1088}, shape{100, 31, 4096}, shape{512, 50, 576}, shape{300, 9, 2048})
	}
	generic := newTestCPU(t, generic(), 2)
	for _, f := range []Format{NF4, Int8, F16, BF16} {
		for i, sh := range shapes {
			gate := pack(t, f, storable(sample(rng, oneOf(rng, kinds()...), sh.rows*sh.k)), sh.rows, sh.k)
			up := pack(t, f, storable(sample(rng, "normal", sh.rows*sh.k)), sh.rows, sh.k)
			kind := oneOf(rng, wildKinds()...)
			x, before := wild(rng, kind, sh.n*sh.k), sample(rng, "normal", sh.n*sh.rows)
			want := product(t, generic, gate, up, x, before)
			for _, s := range nativeSets() {
				threads := 1 + (i+len(s.name()))%8
				what := fmt.Sprintf("%s, %v, %d rows %s through (%d, %d), %d threads", s.name(), f, sh.n, kind, sh.rows, sh.k, threads)
				got := product(t, newTestCPU(t, s, threads), gate, up, x, before)
				for i, w := range want.results {
					sameNumbers(t, what+": "+[]string{"MatMul", "AddMatMul", "GatedMatMul"}[i], got.results[i], w)
				}
				sameList(t, what+": faults", got.faults, want.faults)
			}
		}
	}
}

// sequence is the rows of one sequence, and what they read alone and at once with the generic set.
type sequence struct {
	x, want []float32
	faults  []Place
	pages   []int32
	done    int
}

// rowsOf makes rows of Q, K and V. A cache of float16 scales holds no more than some millions.
func rowsOf(rng *rand.Rand, kind string, n, width int) []float32 {
	x := wild(rng, kind, n*width)
	for i, v := range x {
		if v == v {
			x[i] = min(max(v, -60000), 60000)
		}
	}
	if kind == "holes" { // in few rows, or none would be left
		for i := range x {
			if i/width%20 != 7 && notFinite(x[i]) || math.Abs(float64(x[i])) > 1e4 {
				x[i] = 1
			}
		}
	}
	return x
}

// attendAll runs sequences in batches of random parts of each, and compares.
func attendAll(t *testing.T, what string, c *CPU, shape CacheShape, rng *rand.Rand, sequences []*sequence) {
	t.Helper()
	cache := newTestCache(t, c, shape)
	width := 3 * shape.Heads * shape.HeadSize
	for {
		var x, want []float32
		var faults []Place
		var seats []Seat
		for _, q := range sequences {
			total := len(q.x) / width
			n := min(oneOf(rng, 0, 1, 1, 1+rng.Intn(17), 1+rng.Intn(200)), total-q.done)
			x = append(x, q.x[q.done*width:][:n*width]...)
			want = append(want, q.want[q.done*width/3:][:n*width/3]...)
			faults = append(faults, q.faults[q.done:][:n]...)
			seats = append(seats, seatsAt(q.done, n, q.pages)...)
			q.done += n
		}
		if len(seats) > 0 {
			got := step(t, c, cache, 1, x, seats)
			at := fmt.Sprintf("%s, %d rows from position %d", what, len(seats), seats[0].Position)
			sameNumbers(t, at, got, want)
			sameList(t, at+": faults", faultsOf(c, len(seats)), faults)
		}
		if !slices.ContainsFunc(sequences, func(q *sequence) bool { return q.done < len(q.x)/width }) {
			break
		}
	}
	for _, q := range sequences {
		q.done = 0
	}
}

// pagesOf gives each sequence its pages of a cache, in no order.
func pagesOf(rng *rand.Rand, shape CacheShape, sequences []*sequence) {
	order := rng.Perm(shape.Pages)
	width := 3 * shape.Heads * shape.HeadSize
	for _, q := range sequences {
		n := (len(q.x)/width + PageSize - 1) / PageSize
		q.pages = nil
		for _, p := range order[:n] {
			q.pages = append(q.pages, int32(p))
		}
		order = order[n:]
	}
}

func TestAttend_EverySetGivesTheBitsOfTheGenericOne(t *testing.T) {
	rng := rand.New(rand.NewSource(33))
	longest := few([]int{150, 600}, 1)
	device := newTestCPU(t, generic(), 2)
	for _, f := range []Format{Int8, F16} {
		for _, theta := range []float64{0, 10000} {
			for _, size := range []int{32, 64, 96, 128} {
				shape := CacheShape{Format: f, Layers: 2, Heads: 2, HeadSize: size, Pages: 24, Positions: 700, Theta: theta}
				width := 3 * shape.Heads * size
				var sequences []*sequence
				for i, n := range []int{longest[len(longest)-1], 1 + rng.Intn(130), 1 + rng.Intn(300)} {
					kind := []string{"normal", oneOf(rng, "wide", "equal", "mixed"), "holes"}[i]
					q := &sequence{x: rowsOf(rng, kind, n, width)}
					sequences = append(sequences, q)
				}
				pagesOf(rng, shape, sequences)
				alone := newTestCache(t, device, shape)
				for _, q := range sequences {
					q.want = step(t, device, alone, 1, q.x, seatsAt(0, len(q.x)/width, q.pages))
					q.faults = faultsOf(device, len(q.x)/width)
				}
				for _, s := range nativeSets() {
					c := newTestCPU(t, s, 1+rng.Intn(8))
					c.rotary = device.rotary // making it again would take longer than all else
					what := fmt.Sprintf("%s, %v, theta %v, heads of %d, %d threads", s.name(), f, theta, size, c.Threads())
					attendAll(t, what, c, shape, rng, sequences)
				}
			}
		}
	}
}

// The longest context of the models: what is stored, and what one row and some rows read of it.
func TestAttend_EverySetReadsALongContext(t *testing.T) {
	rng := rand.New(rand.NewSource(34))
	n := few([]int{700, 4096}, 1)
	tokens := n[len(n)-1]
	rotary := map[rotaryKey]*rotary{} // made once for all
	for _, f := range []Format{Int8, F16} {
		for _, theta := range []float64{0, 10000} {
			shape := CacheShape{Format: f, Layers: 1, Heads: 2, HeadSize: 128, Pages: 64, Positions: 4096, Theta: theta}
			width := 3 * shape.Heads * shape.HeadSize
			q := &sequence{x: rowsOf(rng, "normal", tokens, width)}
			pagesOf(rng, shape, []*sequence{q})
			var want []float32
			var arena []byte
			for _, s := range append([]*set{generic()}, nativeSets()...) {
				what := fmt.Sprintf("%s, %v, theta %v", s.name(), f, theta)
				c := newTestCPU(t, s, 2)
				c.rotary = rotary
				cache, qkv := newTestCache(t, c, shape), fill(t, c, q.x, width)
				c.Append(cache, 0, qkv, seatsAt(0, tokens, q.pages), 1)
				var got []float32
				for _, part := range [][2]int{{tokens - 1, 1}, {tokens - 7, 7}, {tokens - 300, 40}, {tokens / 2, 1}, {tokens/2 + 255, 3}} {
					rows := fill(t, c, qkv.(*buffer).data[part[0]*width:][:part[1]*width], width)
					dst := fill(t, c, make([]float32, part[1]*width/3), width/3)
					c.Attend(dst, cache, 0, rows, seatsAt(part[0], part[1], q.pages), 2)
					got = append(got, dst.(*buffer).data...)
				}
				noFaults(t, c, tokens)
				if want == nil {
					want, arena = got, bytes.Clone(cache.(*pagedCache).arena)
					continue
				}
				sameNumbers(t, what, got, want)
				if !bytes.Equal(arena, cache.(*pagedCache).arena) {
					t.Fatalf("%s: the cache holds other bytes", what)
				}
			}
		}
	}
}
