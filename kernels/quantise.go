package kernels

import (
	"math"
	"slices"
)

// inv127 is the float32 nearest to 1/127, the "c" of NUMERICS (bits 3C010204).
const inv127 = float32(1.0 / 127)

// quantise writes x as 8-bit codes with one scale (NUMERICS rule 6): with m = max|x|, scale = m * c and
// q = rne(x * (127/m)), which lies within [-127, 127] without a clamp. m < 2^-60 gives zeros with scale 0; a NaN or an
// Inf gives the same and false. len(q) = len(x).
func quantise(q []int8, x []float32) (scale float32, ok bool) {
	most := maxAbsBits(x)
	if most < tinyBits || most >= infBits {
		clear(q)
		return 0, most < infBits
	}
	m := math.Float32frombits(most)
	inv := 127 / m
	q = q[:len(x)]
	for i, v := range x {
		q[i] = int8(math.Float32bits(float32(v*inv)+roundShift) - roundShiftBits)
	}
	return float32(m * inv127), true
}

// codeSum is the sum of codes.
func codeSum(q []int8) int32 {
	sum := int32(0)
	for _, c := range q {
		sum += int32(c)
	}
	return sum
}

// unsignedBias makes a weight's code a byte without sign, as VPDPBUSD wants it. A dot product of such bytes starts at
// -unsignedBias times the sum of the other side's codes.
const unsignedBias = 128

// activations are rows of quantised numbers for products with panels. Rows are kept in groups of tile; a last group may
// be smaller. In a group of R rows, block after block, lie
//
//	codes  [block][quarter][R][16]  elements 16*quarter .. +15 of the block
//	scales [block][R]
//	starts [block][R]               -128 times the sum of the block's codes
//
// so that a loop over blocks reads all three from end to end, and no two rows are a power of two apart.
type activations struct {
	n, blocks, tile int
	codes           []int8
	scales          []float32
	starts          []int32
}

// quarter is how many codes of a row lie together.
const quarter = 16

// reset makes room for n rows of k numbers in groups of tile.
func (a *activations) reset(n, k, tile int) {
	a.n, a.blocks, a.tile = n, k/Block, tile
	a.codes = grow(a.codes, n*k)
	a.scales = grow(a.scales, n*a.blocks)
	a.starts = grow(a.starts, n*a.blocks)
}

// group is some rows of activations that are multiplied together.
type group struct {
	rows, blocks int
	codes        []int8
	scales       []float32
	starts       []int32
}

// groups is how many groups there are.
func (a *activations) groups() int { return (a.n + a.tile - 1) / a.tile }

// group gives group g.
func (a *activations) group(g int) group {
	first := g * a.tile
	rows := min(a.tile, a.n-first)
	at, n := first*a.blocks, rows*a.blocks
	return group{
		rows: rows, blocks: a.blocks,
		codes: a.codes[at*Block:][:n*Block], scales: a.scales[at:][:n], starts: a.starts[at:][:n],
	}
}

// row gives the group of row i and the row's index in it.
func (a *activations) row(i int) (g group, r int) { return a.group(i / a.tile), i % a.tile }

// quantiseRow writes x as row i of a. It returns false if a block is not finite; that block counts as zeros.
func quantiseRow(a *activations, i int, x []float32) bool {
	g, r := a.row(i)
	ok := true
	var q [Block]int8
	for b := range g.blocks {
		scale, finite := quantise(q[:], x[b*Block:][:Block])
		ok = ok && finite
		for c := range Block / quarter {
			copy(g.codes[((b*Block/quarter+c)*g.rows+r)*quarter:][:quarter], q[c*quarter:])
		}
		g.scales[b*g.rows+r] = scale
		g.starts[b*g.rows+r] = -unsignedBias * codeSum(q[:])
	}
	return ok
}

// grow gives s the length n, with whatever contents, in the same memory where that is large enough. What grows by one
// each token is moved rarely.
func grow[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
