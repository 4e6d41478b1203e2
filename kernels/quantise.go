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

// Activations of quantised products are kept as pairs: two codes in one integer, so that one multiplication by a pair
// of weights makes both products and their sum.
//
//	(w0 + w1*2^32) * (a1 + a0*2^32) = w0*a1 + (w0*a0 + w1*a1)*2^32   modulo 2^64
//
// The pairs of a block of 64 are (8i+j, 8i+4+j), j < 4: the two nibbles of a byte of a panel. The sums of a block stay
// below 127*127*64 < 2^20, so pairSum gets the dot product back exactly.
const (
	pairShift  = 32
	blockPairs = Block / 2
)

// pairSum is the dot product in a sum of products of pairs.
func pairSum(acc int64) int32 { return int32((acc - int64(int32(acc))) >> pairShift) }

// activations are rows of quantised numbers: of each block of 64 the scale and the 32 pairs.
type activations struct {
	blocks int       // of a row
	pairs  []int64   // [row][block][32]
	scales []float32 // [row][block]
}

// reset makes room for n rows of k numbers.
func (a *activations) reset(n, k int) {
	a.blocks = k / Block
	a.pairs = grow(a.pairs, n*k/2)
	a.scales = grow(a.scales, n*a.blocks)
}

// row gives the pairs and scales of a row.
func (a *activations) row(t int) (pairs []int64, scales []float32) {
	return a.pairs[t*a.blocks*blockPairs:][:a.blocks*blockPairs], a.scales[t*a.blocks:][:a.blocks]
}

// setBlock quantises 64 numbers as block b of all rows counted through. It returns false if one was not finite.
func (a *activations) setBlock(b int, x []float32) bool {
	var q [Block]int8
	scale, ok := quantise(q[:], x)
	a.scales[b] = scale
	pairs := a.pairs[b*blockPairs:][:blockPairs]
	for i := range pairs {
		first := i/4*8 + i%4
		pairs[i] = int64(q[first+4]) + int64(q[first])<<pairShift
	}
	return ok
}

// grow gives s the length n, with whatever contents, in the same memory where that is large enough. What grows by one
// each token is moved rarely.
func grow[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
