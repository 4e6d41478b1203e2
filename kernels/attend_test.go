package kernels

import (
	"fmt"
	"math"
	"math/rand"
	"testing"
)

// refCache keeps what a sequence's cache of one layer means: for each token its keys and values, as codes and scales
// (int8) or as numbers (f16).
type refCache struct {
	shape          CacheShape
	keys, values   [][]refUnit
	wideK, wideV   [][]float32
	cosine, sinine []float32
	slopes         []float32
}

type refUnit struct {
	q     []int
	scale float32
}

func refUnits(x []float32, half bool) []refUnit {
	var units []refUnit
	for i := 0; i < len(x); i += 32 {
		q, s := refQuantise(x[i : i+32])
		if half {
			s = refHalf(nearestHalf(s))
			if s == 0 {
				q = make([]int, 32)
			}
		}
		units = append(units, refUnit{q, s})
	}
	return units
}

// rotated gives Q and K of a row at a position as rule 7 turns them.
func (r *refCache) rotated(row []float32, position int) []float32 {
	out := append([]float32(nil), row...)
	if r.shape.Theta == 0 {
		return out
	}
	size := r.shape.HeadSize
	half := size / 2
	for h := 0; h < 2*r.shape.Heads; h++ {
		for i := 0; i < half; i++ {
			c, s := r.cosine[position*half+i], r.sinine[position*half+i]
			a, b := row[h*size+i], row[h*size+i+half]
			ac, bs, bc, as := float32(a*c), float32(b*s), float32(b*c), float32(a*s)
			out[h*size+i], out[h*size+i+half] = ac-bs, bc+as
		}
	}
	return out
}

// append takes a rotated row.
func (r *refCache) append(row []float32) {
	n := len(row) / 3
	if r.shape.Format == Int8 {
		r.keys, r.values = append(r.keys, refUnits(row[n:2*n], true)), append(r.values, refUnits(row[2*n:], true))
		return
	}
	wide := make([]float32, 2*n)
	for i := range wide {
		wide[i] = refHalf(nearestHalf(row[n+i]))
	}
	r.wideK, r.wideV = append(r.wideK, wide[:n]), append(r.wideV, wide[n:])
}

// score of head h's query for position j; units are the query in the form that an 8-bit cache wants.
func (r *refCache) score(q []float32, units []refUnit, h, i, j int) float32 {
	size := r.shape.HeadSize
	s := float32(0)
	if r.shape.Format == Int8 {
		for b, u := range units {
			k := r.keys[j][h*size/32+b]
			d := 0
			for e := range u.q {
				d += u.q[e] * k.q[e]
			}
			s = s + float32(float32(d)*float32(u.scale*k.scale))
		}
	} else {
		terms := make([]float32, size)
		for e := range terms {
			terms[e] = float32(r.wideK[j][h*size+e] * q[e])
		}
		s = refLanes(terms)
	}
	s = float32(s * float32(1/math.Sqrt(float64(size))))
	if r.shape.Theta == 0 {
		s = s + float32(r.slopes[h]*float32(j-i))
	}
	return s
}

// attend is rule 7 for one head of the row at position i, row rotated.
func (r *refCache) attend(row []float32, h, i int) []float32 {
	size := r.shape.HeadSize
	q := row[h*size:][:size]
	units := refUnits(q, false)
	s, most := make([]float32, i+1), float32(math.Inf(-1))
	for j := range s {
		s[j] = r.score(q, units, h, i, j)
		most = max(most, s[j])
	}
	out, l := make([]float32, size), float32(0)
	for from := 0; from <= i; from += 256 {
		terms, total := []float32{}, make([]float32, size)
		for j := from; j <= i && j < from+256; j++ {
			p := float32(0)
			if s[j]-most >= -41.5 {
				p = Exp(s[j] - most)
			}
			terms = append(terms, p)
			for e := range total {
				if r.shape.Format == Int8 {
					v := r.values[j][(h*size+e)/32]
					total[e] = total[e] + float32(float32(p*v.scale)*float32(v.q[e%32]))
				} else {
					total[e] = total[e] + float32(p*r.wideV[j][h*size+e])
				}
			}
		}
		l = l + refLanes(terms)
		for e := range out {
			out[e] = out[e] + total[e]
		}
	}
	for e := range out {
		out[e] = out[e] / l
	}
	return out
}

// attention's tests use shapes of few heads, with pages in no order.
func testShape(f Format, theta float64) CacheShape {
	return CacheShape{Format: f, Layers: 2, Heads: 2, HeadSize: 64, Pages: 24, Positions: 700, Theta: theta}
}

func newTestCache(t testing.TB, c *CPU, s CacheShape) Cache {
	t.Helper()
	cache, err := c.Cache(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return cache
}

// seatsAt gives n seats from a position on, on the given pages.
func seatsAt(from, n int, pages []int32) []Seat {
	seats := make([]Seat, n)
	for i := range seats {
		seats[i] = Seat{Position: from + i, Pages: pages}
	}
	return seats
}

// step appends rows and gives what they read.
func step(t testing.TB, c *CPU, cache Cache, layer int, x []float32, seats []Seat) []float32 {
	t.Helper()
	width := len(x) / len(seats)
	qkv := fill(t, c, x, width)
	dst := fill(t, c, make([]float32, len(x)/3), width/3)
	c.Append(cache, layer, qkv, seats, 5)
	c.Attend(dst, cache, layer, qkv, seats, 6)
	return dst.(*buffer).data
}

func TestAttend_EqualsItsDefinition(t *testing.T) {
	for _, f := range []Format{Int8, F16} {
		for _, theta := range []float64{0, 10000} {
			for _, kind := range few([]string{"normal", "wide", "denormal", "zero"}, 1) {
				t.Run(fmt.Sprintf("%v theta %v %s", f, theta, kind), func(t *testing.T) {
					rng := rand.New(rand.NewSource(18))
					shape := testShape(f, theta)
					const n = 530 // three chunks
					hidden := shape.Heads * shape.HeadSize
					x := sample(rng, kind, n*3*hidden)
					for i := range x { // scores of some hundreds, so that many weights are cut
						x[i] = min(max(x[i], -30000), 30000)
					}
					ref := refCache{shape: shape, slopes: Slopes(shape.Heads)}
					if theta > 0 {
						ref.cosine, ref.sinine = RotaryTable(theta, shape.HeadSize, n)
					}
					var asked []int
					var want []float32
					for i := range n {
						row := ref.rotated(x[i*3*hidden:][:3*hidden], i)
						ref.append(row)
						if i%53 == 0 || i == n-1 || i == 255 || i == 256 {
							asked = append(asked, i)
							for h := range shape.Heads {
								want = append(want, ref.attend(row, h, i)...)
							}
						}
					}
					everySet(t, func(t *testing.T, s *set) {
						c := newTestCPU(t, s, 2)
						sameBits(t, "rows side by side", askRows(t, c, shape, x, asked), want)
						noFaults(t, c, n)
					})
				})
			}
		}
	}
}

// askRows appends rows and gives what those asked read, side by side in a batch.
func askRows(t *testing.T, c *CPU, shape CacheShape, x []float32, asked []int) []float32 {
	t.Helper()
	hidden := shape.Heads * shape.HeadSize
	n := len(x) / (3 * hidden)
	cache, seats := newTestCache(t, c, shape), seatsAt(0, n, []int32{7, 2, 23, 4, 9, 1, 11, 0, 13})
	qkv := fill(t, c, x, 3*hidden)
	c.Append(cache, 1, qkv, seats, 5)
	var rows []float32
	var places []Seat
	for _, i := range asked {
		rows, places = append(rows, qkv.(*buffer).row(i)...), append(places, seats[i])
	}
	dst := fill(t, c, make([]float32, len(asked)*hidden), hidden)
	c.Attend(dst, cache, 1, fill(t, c, rows, 3*hidden), places, 6)
	return dst.(*buffer).data
}

func TestAttend_BatchesAndThreadsDoNotChangeBits(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(19))
		const n = 270 // two chunks
		pages := []int32{3, 9, 5, 0, 8}
		for _, f := range []Format{Int8, F16} {
			shape := testShape(f, 10000)
			width := 3 * shape.Heads * shape.HeadSize
			x := sample(rng, "normal", n*width)
			one := newTestCPU(t, s, 1)
			want := step(t, one, newTestCache(t, one, shape), 0, x, seatsAt(0, n, pages))
			for _, threads := range []int{1, 2, 3, 8} {
				c := newTestCPU(t, s, threads)
				cache := newTestCache(t, c, shape)
				var got []float32
				for from := 0; from < n; {
					m := min(1+rng.Intn(17*threads), n-from)
					got = append(got, step(t, c, cache, 0, x[from*width:][:m*width], seatsAt(from, m, pages))...)
					from += m
				}
				sameBits(t, fmt.Sprintf("%v, %d threads", f, threads), got, want)
			}
		}
	})
}

func TestAttend_SequencesOfABatchDoNotMeet(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(20))
		c := newTestCPU(t, s, 2)
		shape := testShape(Int8, 0)
		width := 3 * shape.Heads * shape.HeadSize
		x, y := sample(rng, "normal", 70*width), sample(rng, "normal", 5*width)
		wantX := step(t, c, newTestCache(t, c, shape), 0, x, seatsAt(0, 70, []int32{0, 1}))
		wantY := step(t, c, newTestCache(t, c, shape), 0, y, seatsAt(0, 5, []int32{0}))
		both := append(append([]float32(nil), y...), x...)
		cache := newTestCache(t, c, shape)
		got := step(t, c, cache, 0, both, append(seatsAt(0, 5, []int32{20}), seatsAt(0, 70, []int32{4, 19})...))
		sameBits(t, "two sequences", got, append(append([]float32(nil), wantY...), wantX...))
		step(t, c, cache, 1, x, seatsAt(0, 70, []int32{4, 19})) // the other layer of the same pages
		qkv, dst := fill(t, c, both, width), fill(t, c, make([]float32, len(got)), width/3)
		c.Attend(dst, cache, 0, qkv, append(seatsAt(0, 5, []int32{20}), seatsAt(0, 70, []int32{4, 19})...), 1)
		sameBits(t, "after the other layer was written", dst.(*buffer).data, got)
	})
}

// Keys and values that float16 holds exactly: what remains is the arithmetic itself.
func TestAttend_AgreesWithFloat64(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(21))
		c := newTestCPU(t, s, 2)
		shape := testShape(F16, 0)
		const n = 400
		size, hidden := shape.HeadSize, shape.Heads*shape.HeadSize
		x := sample(rng, "normal", n*3*hidden)
		for i := range x {
			x[i] = Float16to32(Float16(x[i]))
		}
		got := step(t, c, newTestCache(t, c, shape), 0, x, seatsAt(0, n, []int32{0, 1, 2, 3, 4, 5, 6}))
		slopes := Slopes(shape.Heads)
		for _, i := range []int{0, 1, 255, 256, n - 1} {
			for h := range shape.Heads {
				s, total, l := make([]float64, i+1), make([]float64, size), 0.0
				for j := range s {
					for e := range size {
						s[j] += float64(x[i*3*hidden+h*size+e]) * float64(x[j*3*hidden+hidden+h*size+e])
					}
					s[j] = math.Exp(s[j]/math.Sqrt(float64(size)) + float64(slopes[h])*float64(j-i))
					l += s[j]
					for e := range size {
						total[e] += s[j] * float64(x[j*3*hidden+2*hidden+h*size+e])
					}
				}
				for e := range size {
					if math.Abs(float64(got[i*hidden+h*size+e])-total[e]/l) > 1e-5 {
						t.Fatalf("row %d, head %d, %d: %v, want %v", i, h, e, got[i*hidden+h*size+e], total[e]/l)
					}
				}
			}
		}
	})
}

func TestAppend_RotationAgreesWithFloat64(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(22))
		c := newTestCPU(t, s, 2)
		shape := testShape(Int8, 10000)
		size, hidden := shape.HeadSize, shape.Heads*shape.HeadSize
		const n = 650
		x := sample(rng, "normal", n*3*hidden)
		qkv := fill(t, c, x, 3*hidden)
		c.Append(newTestCache(t, c, shape), 0, qkv, seatsAt(0, n, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 1)
		got := read(c, qkv, n)
		for at := range got {
			p, in := at/(3*hidden), at%(3*hidden)
			want := float64(x[at])
			if in < 2*hidden {
				e := in % size
				i := e % (size / 2)
				sin, cos := math.Sincos(float64(p) * math.Pow(10000, -2*float64(i)/float64(size)))
				if e < size/2 {
					want = want*cos - float64(x[at+size/2])*sin
				} else {
					want = want*cos + float64(x[at-size/2])*sin
				}
			}
			if math.Abs(float64(got[at])-want) > 1e-5 {
				t.Fatalf("position %d, %d: %v, want %v", p, in, got[at], want)
			}
		}
	})
}

func TestAppendAndAttend_FaultOneRowAndLeaveTheOthers(t *testing.T) {
	everySet(t, func(t *testing.T, s *set) {
		rng := rand.New(rand.NewSource(23))
		for _, f := range []Format{Int8, F16} {
			for what, bad := range map[string]float32{"NaN": float32(math.NaN()), "infinity": float32(math.Inf(1)), "too large for float16": 3e7} {
				c := newTestCPU(t, s, 2)
				shape := testShape(f, 0)
				hidden := shape.Heads * shape.HeadSize
				good, lost := sample(rng, "normal", 3*3*hidden), sample(rng, "normal", 3*3*hidden)
				pages := []Seat{{0, []int32{1}}, {1, []int32{1}}, {2, []int32{1}}, {0, []int32{2}}, {1, []int32{2}}, {2, []int32{2}}}
				want := step(t, c, newTestCache(t, c, shape), 0, good, pages[:3])
				lost[3*hidden+hidden+5] = bad   // a key of the second row
				lost[6*hidden+2*hidden+9] = bad // a value of the third
				got := step(t, c, newTestCache(t, c, shape), 0, append(append([]float32(nil), lost...), good...), append(pages[3:], pages[:3]...))
				faults := make([]Place, 6)
				c.Faults(faults)
				if [6]Place(faults) != [6]Place{0, 5, 5, 0, 0, 0} {
					t.Errorf("%v, %s: faults %v", f, what, faults)
				}
				sameBits(t, what, got[3*hidden:], want)
				lost[0] = float32(math.NaN()) // a query
				c.Attend(fill(t, c, make([]float32, hidden), hidden), newTestCache(t, c, shape), 0, fill(t, c, lost[:3*hidden], 3*hidden), pages[:1], 6)
				c.Faults(faults)
				if faults[0] != 6 {
					t.Errorf("%v, %s: faults %v of a query that is NaN", f, what, faults)
				}
			}
		}
	})
}

func TestCache_TinyUnitsAreZeros(t *testing.T) {
	codes, scale := make([]byte, 32), make([]byte, 2)
	x := make([]float32, 32)
	for i := range x {
		x[i] = 127 * 0x1p-26 // its scale rounds to 0 in float16
	}
	codes[3], scale[0] = 1, 1
	if !storeUnit(codes, scale, x) || string(codes) != string(make([]byte, 32)) || scale[0]|scale[1] != 0 {
		t.Errorf("codes %v with scale %v", codes, scale)
	}
	x[0] = 127 * 0x1p-24
	if !storeUnit(codes, scale, x) || codes[0] != 127 || scale[0] != 1 {
		t.Errorf("codes %v with scale %v", codes, scale)
	}
}

func TestCache_ShapesAndSizes(t *testing.T) {
	c := newTestCPU(t, generic(), 1)
	for f, want := range map[Format]int64{Int8: 2 * 2 * 64 * 128 * 34 / 32, F16: 2 * 2 * 64 * 128 * 2} {
		cache := newTestCache(t, c, testShape(f, 0))
		if cache.PageBytes() != want || cache.Pages() != 24 {
			t.Errorf("%v: %d pages of %d bytes, want 24 of %d", f, cache.Pages(), cache.PageBytes(), want)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, spoil := range map[string]func(*CacheShape){
		"format":    func(s *CacheShape) { s.Format = NF4 },
		"layers":    func(s *CacheShape) { s.Layers = 0 },
		"head size": func(s *CacheShape) { s.HeadSize = 48 },
		"theta":     func(s *CacheShape) { s.Theta = -1 },
		"NaN theta": func(s *CacheShape) { s.Theta = math.NaN() },
		"too large": func(s *CacheShape) { s.Layers = 1 << 30 },
		"too wide":  func(s *CacheShape) { s.Heads, s.HeadSize = 1<<20, 1<<20 },
		"no memory": func(s *CacheShape) { s.Pages, s.Layers = 1<<24, 1<<20 },
	} {
		shape := testShape(Int8, 0)
		spoil(&shape)
		if cache, err := c.Cache(shape); err == nil {
			t.Errorf("%s: accepted %+v", name, cache)
		}
	}
}
