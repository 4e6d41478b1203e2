package kernels

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"
)

// emptyActivations makes room for n rows of k numbers, holding anything.
func emptyActivations(rng *rand.Rand, n, k, tile int) activations {
	a := activations{}
	a.reset(n, k, tile)
	for i := range a.codes {
		a.codes[i] = int8(rng.Intn(255) - 127)
	}
	for i := range a.scales {
		a.scales[i], a.starts[i] = rng.Float32(), rng.Int31()
	}
	return a
}

// quantise tries n rows, which are written in any order.
func (tr *trial) quantise(what string, x []float32, n int) {
	tr.t.Helper()
	k := len(x) / n
	want := emptyActivations(tr.rng, n, k, tr.set.tile)
	got := want
	got.codes, got.scales, got.starts = output(tr.mem, want.codes), output(tr.mem, want.scales), output(tr.mem, want.starts)
	rows, ok, wantOK := make([][]float32, n), make([]bool, n), make([]bool, n)
	for i := range rows {
		rows[i] = input(tr.mem, x[i*k:][:k])
	}
	order := tr.rng.Perm(n)
	tr.mem.call(what, func() {
		for _, i := range order {
			ok[i] = tr.set.quantise(&got, i, rows[i])
		}
	})
	for i := range n {
		wantOK[i] = quantiseRow(&want, i, x[i*k:][:k])
	}
	sameList(tr.t, what+": finite", ok, wantOK)
	sameList(tr.t, what+": codes", got.codes, want.codes)
	tr.same(what+": scales", got.scales, want.scales)
	sameList(tr.t, what+": starts", got.starts, want.starts)
}

// quantised gives rows as activations, as the definition makes them.
func quantised(x []float32, n, tile int) activations {
	k := len(x) / n
	a := activations{}
	a.reset(n, k, tile)
	for i := range n {
		quantiseRow(&a, i, x[i*k:][:k])
	}
	return a
}

// mul tries the products of panels with n rows in groups.
func (tr *trial) mul(what string, p panels, x []float32, n int) {
	tr.t.Helper()
	fast, slow := quantised(x, n, tr.set.tile), quantised(x, n, genericTile)
	want := make([]float32, p.n*n*PanelRows)
	for j := range p.n {
		for i := range slow.groups() {
			g := slow.group(i)
			mulPanel(want[(j*n+i*genericTile)*PanelRows:][:g.rows*PanelRows], p.panel(j), g)
		}
	}
	for i := range fast.groups() {
		g := fast.group(i)
		size := g.rows * PanelRows
		got := output(tr.mem, tr.garbage(p.n*size))
		g.codes, g.scales, g.starts = input(tr.mem, g.codes), input(tr.mem, g.scales), input(tr.mem, g.starts)
		q := panels{format: p.format, n: p.n, codes: input(tr.mem, p.codes), scales: input(tr.mem, p.scales)}
		tr.mem.call(what, func() { tr.set.mul(got, q, g) })
		for j := range p.n {
			at := fmt.Sprintf("%s: panel %d, group %d (%d rows)", what, j, i, g.rows)
			tr.same(at, got[j*size:][:size], want[(j*n+i*tr.set.tile)*PanelRows:][:size])
		}
	}
}

// mulWide tries the product of rows of weights with n rows.
func (tr *trial) mulWide(what string, f Format, w []byte, rows int, x []float32, n int) {
	tr.t.Helper()
	want := tr.garbage(n * PanelRows)
	got, weights, acts := output(tr.mem, want), input(tr.mem, w), input(tr.mem, x)
	tr.mem.call(what, func() { tr.set.mulWide(got, f, weights, rows, acts, n) })
	mulWide(want, f, w, rows, x, n)
	tr.same(what, got, want)
}

// panelOf makes a panel of codes and scales of some kinds.
func panelOf(rng *rand.Rand, f Format, blocks int, code, scale string) panels {
	p := panels{format: f, n: 1, codes: make([]byte, blocks*int8BlockBytes), scales: halves(rng, scale, blocks*PanelRows)}
	if f == NF4 {
		p.codes = p.codes[:blocks*nf4BlockBytes]
	}
	levels := nf4Levels()
	nibble := func(q int8) byte { i, _ := slices.BinarySearch(levels[:], q); return byte(min(i, 15)) }
	list := codes(rng, code, 2*len(p.codes))
	for i := range p.codes {
		if f == NF4 {
			p.codes[i] = nibble(list[2*i]) | nibble(list[2*i+1])<<4
		} else {
			p.codes[i] = byte(list[i]) ^ 0x80
		}
	}
	return p
}

// wideWeights makes 16-bit weights, all finite, of a kind.
func wideWeights(rng *rand.Rand, f Format, kind string, n int) []byte {
	b := make([]byte, 0, 2*n)
	for _, v := range sample(rng, kind, n) {
		h := uint16(rng.Uint32()) // of any size
		if kind != "bits" {
			h = BFloat16(v)
			if f == F16 {
				h = Float16(v)
			}
		}
		if f == F16 && h&halfAbs >= halfInf || f == BF16 && h&halfAbs >= infBits>>16 {
			h = 0x8000
		}
		b = append(b, byte(h), byte(h>>8))
	}
	return b
}

func TestSets_Quantise(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, k := range few([]int{64, 128, 512, 576, 1088, 4096, 11008}, 4) {
			for _, kind := range wildKinds() {
				n := 1 + tr.rng.Intn(min(2*tr.set.tile, 40000/k))
				tr.quantise(fmt.Sprintf("%s, %d rows of %d", kind, n, k), wild(tr.rng, kind, n*k), n)
			}
		}
		for n := range upTo(2 * tr.set.tile) {
			tr.quantise(fmt.Sprintf("%d rows", n+1), wild(tr.rng, "mixed", (n+1)*128), n+1)
		}
		// Quotients at and beside the middle of two codes: m = 127 makes inv = 1, other m round x * inv.
		for _, m := range []float32{127, 1, 3, 0x1.fffffep-61, 0x1p-60, math.MaxFloat32} {
			x := make([]float32, 0, 4*64)
			for i := range 254 {
				v := m / 127 * (float32(i/2) + 0.5)
				x = append(x, math.Nextafter32(v, float32(i%2)*2*v))
			}
			x = append(x, m, -m)
			for b := range 4 {
				x[64*b] = m
			}
			tr.quantise(fmt.Sprintf("halves of %v", m), x, 1)
		}
		for from := uint32(0); from < 1<<23; from += 64 * 1021 { // the largest number of a block through all mantissas
			x := make([]float32, 0, 64*64)
			for b := range uint32(64) {
				block := sample(tr.rng, "normal", 64)
				for i := range block {
					block[i] = min(max(block[i]/4, -1), 1)
				}
				block[b] = -math.Float32frombits(127<<23 | (from+b*1021)&(1<<23-1))
				x = append(x, block...)
			}
			tr.quantise("mantissas", x, 1)
		}
	})
}

func TestSets_Mul(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, f := range []Format{NF4, Int8} {
			for _, blocks := range few([]int{1, 2, 8, 9, 17, 64, 172}, 4) {
				for _, kind := range []string{"normal", "wide", "equal", "one-hot", "zero", "largest", "mixed", "holes"} {
					n := 1 + tr.rng.Intn(tr.set.tile)
					code, scale := oneOf(tr.rng, codeKinds()...), oneOf(tr.rng, scaleKinds()...)
					what := fmt.Sprintf("%v, %d blocks of %s with scales %s, %d rows %s", f, blocks, code, scale, n, kind)
					tr.mul(what, panelOf(tr.rng, f, blocks, code, scale), wild(tr.rng, kind, n*blocks*Block), n)
				}
			}
			for n := range upTo(2 * tr.set.tile) {
				p := panelOf(tr.rng, f, 9, "any", "usual")
				tr.mul(fmt.Sprintf("%v, %d rows", f, n+1), p, wild(tr.rng, "normal", (n+1)*9*Block), n+1)
				p.n = 3
				tr.mul(fmt.Sprintf("%v, 3 panels, %d rows", f, n+1), p, wild(tr.rng, "normal", (n+1)*3*Block), n+1)
			}
			for _, code := range codeKinds() {
				for _, scale := range scaleKinds() {
					for _, kind := range []string{"equal", "normal", "tiny", "huge", "largest"} {
						what := fmt.Sprintf("%v, codes %s, scales %s, rows %s", f, code, scale, kind)
						tr.mul(what, panelOf(tr.rng, f, 10, code, scale), wild(tr.rng, kind, 3*10*Block), 3)
					}
				}
			}
		}
	})
}

// Each code alone, in each row and at each place of a block, against each place of the activations.
func TestSets_MulFindsEveryPlace(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		for _, f := range []Format{NF4, Int8} {
			n := tr.set.tile
			x := make([]float32, n*Block)
			for k := range Block {
				p := panelOf(tr.rng, f, 1, "zero", "usual")
				for r := range PanelRows {
					q := byte(1+tr.rng.Intn(255)) ^ 0x80
					if f == NF4 {
						at := k/8*lineBytes + 4*r + k%4
						p.codes[at] = q&15<<(k%8/4*4) | nf4Zero<<(4-k%8/4*4)
						continue
					}
					p.codes[k/4*lineBytes+4*r+k%4] = q | 1
				}
				for i := range n {
					clear(x[i*Block:][:Block])
					x[i*Block+k], x[i*Block+tr.rng.Intn(Block)] = float32(i+1), float32(tr.rng.Intn(9)-4)
				}
				tr.mul(fmt.Sprintf("%v, place %d", f, k), p, x, n)
			}
		}
	})
}

func TestSets_MulWide(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		weightKinds := []string{"normal", "bits", "denormal", "zero", "one-hot", "equal"}
		for _, f := range []Format{F16, BF16} {
			for _, k := range append(upTo(70), few([]int{100, 128, 333, 512, 576, 1088, 4096, 11008}, 3)...) {
				rows, n := 1+tr.rng.Intn(PanelRows), 1+tr.rng.Intn(min(tr.set.tile, 1+40000/k))
				kind, weights := oneOf(tr.rng, wildKinds()...), oneOf(tr.rng, weightKinds...)
				what := fmt.Sprintf("%v, %d rows of %d %s, %d rows %s", f, rows, k, weights, n, kind)
				tr.mulWide(what, f, wideWeights(tr.rng, f, weights, rows*k), rows, wild(tr.rng, kind, n*k), n)
			}
			for n := range upTo(tr.set.tile) {
				for rows := range upTo(PanelRows) {
					k := oneOf(tr.rng, 16, 64, 128, 45)
					what := fmt.Sprintf("%v, %d rows of %d, %d rows", f, rows+1, k, n+1)
					tr.mulWide(what, f, wideWeights(tr.rng, f, "normal", (rows+1)*k), rows+1, wild(tr.rng, "normal", (n+1)*k), n+1)
				}
			}
			for _, kind := range wildKinds() {
				for _, weights := range weightKinds {
					what := fmt.Sprintf("%v, %s with %s", f, weights, kind)
					tr.mulWide(what, f, wideWeights(tr.rng, f, weights, 16*96), 16, wild(tr.rng, kind, 2*96), 2)
				}
			}
		}
	})
}

// Each 16-bit number alone, in each row and in each lane.
func TestSets_MulWideWidensEveryNumber(t *testing.T) {
	everyPlace(t, func(tr *trial) {
		x := make([]float32, Lanes*Lanes)
		for i := range Lanes {
			x[i*Lanes+i] = 1
		}
		for f, inf := range map[Format]int{F16: halfInf, BF16: infBits >> 16} {
			w := make([]byte, 0, 2*PanelRows*Lanes)
			for h := range 1 << 16 {
				if h&halfAbs >= inf {
					continue
				}
				if w = append(w, byte(h), byte(h>>8)); len(w) < cap(w) {
					continue
				}
				for from := 0; from < Lanes; from += tr.set.tile {
					n := min(tr.set.tile, Lanes-from)
					tr.mulWide(fmt.Sprintf("%v up to %04x", f, h), f, w, PanelRows, x[from*Lanes:][:n*Lanes], n)
				}
				w = w[:0]
			}
		}
	})
}
