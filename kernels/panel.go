package kernels

import (
	"encoding/binary"
	"sync"
)

// nf4Levels are the levels of the 4-bit codebook times 127, rounded (NUMERICS "Weight formats"; the codebook is
// bitsandbytes' NF4, Dettmers et al. 2023).
func nf4Levels() [16]int8 {
	return [16]int8{-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127}
}

// nf4Pairs gives for each byte of a panel the pair of its weights: low nibble, and high nibble times 2^32.
var nf4Pairs = sync.OnceValue(func() *[256]int64 {
	levels := nf4Levels()
	var pairs [256]int64
	for b := range pairs {
		pairs[b] = int64(levels[b&15]) + int64(levels[b>>4])<<pairShift
	}
	return &pairs
})

// Bytes of one block of one panel.
const (
	nf4BlockBytes   = PanelRows * Block / 2 // 8 lines of 64: byte 4r+j of line i is (row r, k = 8i+j), high nibble k+4
	int8BlockBytes  = PanelRows * Block     // 16 lines of 64: byte 4r+j of line i is (row r, k = 4i+j), xor 0x80
	scaleBlockBytes = PanelRows * 2
	lineBytes       = PanelRows * 4
)

// panel is 16 rows of a quantised matrix as they are stored: for each block its codes, and apart its 16 float16 scales.
type panel struct {
	format Format
	codes  []byte // [block][512 or 1024]
	scales []byte // [block][16] float16
}

// panels is n consecutive panels of a matrix, as they are stored.
type panels struct {
	format Format
	n      int
	codes  []byte // [panel][block][512 or 1024]
	scales []byte // [panel][block][16] float16
}

// panel gives panel i.
func (p panels) panel(i int) panel {
	codes, scales := len(p.codes)/p.n, len(p.scales)/p.n
	return panel{format: p.format, codes: p.codes[i*codes:][:codes], scales: p.scales[i*scales:][:scales]}
}

// eachPanel makes a set's mul of what multiplies one panel.
func eachPanel(mul func(dst []float32, p panel, g group)) func(dst []float32, p panels, g group) {
	return func(dst []float32, p panels, g group) {
		size := g.rows * PanelRows
		for i := range p.n {
			mul(dst[i*size:][:size], p.panel(i), g)
		}
	}
}

// block gives the codes of block b.
func (p panel) block(b int) []byte {
	if p.format == NF4 {
		return p.codes[b*nf4BlockBytes:][:nf4BlockBytes]
	}
	return p.codes[b*int8BlockBytes:][:int8BlockBytes]
}

// weightScales writes the scales of block b: what a term multiplies with the activation's scale. For nf4 that is
// the stored scale times c, as its levels are stretched to 127.
func (p panel) weightScales(w *[PanelRows]float32, b int) {
	s := p.scales[b*scaleBlockBytes:][:scaleBlockBytes]
	for r := range w {
		w[r] = finite16to32(binary.LittleEndian.Uint16(s[2*r:]))
	}
	if p.format == NF4 {
		for r := range w {
			w[r] *= inv127
		}
	}
}

// mulPanel writes the dot products of a panel's 16 rows with each row of a group: terms float32(d) * (w * a), added in
// order within segments of 8 blocks, whose totals are added in order (NUMERICS rule 2). This is the definition of a
// quantised product; the integer dot products are exact in any order.
//
//	dst (g.rows, 16)
func mulPanel(dst []float32, p panel, g group) {
	var weights [PanelRows][blockPairs]int64
	var segments [genericTile][PanelRows]float32
	var w [PanelRows]float32
	var acts [blockPairs]int64
	clear(dst)
	nf4 := nf4Pairs()
	for b := range g.blocks {
		p.unpack(&weights, nf4, b)
		p.weightScales(&w, b)
		for i := range g.rows {
			a := g.scales[b*g.rows+i]
			g.pairs(&acts, b, i)
			segment := &segments[i]
			for r := range segment {
				segment[r] += float32(float32(dotPairs(&weights[r], &acts)) * float32(w[r]*a))
			}
		}
		if b%Segment != Segment-1 && b != g.blocks-1 {
			continue
		}
		for i := range g.rows {
			for r, s := range segments[i] {
				dst[i*PanelRows+r] += s
			}
		}
		clear(segments[:g.rows])
	}
}

// Plain Go multiplies pairs: two codes in one integer, so that one multiplication makes both products and their sum.
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

// pairs writes block b of row i of a group as pairs.
func (g group) pairs(dst *[blockPairs]int64, b, i int) {
	for c := range Block / quarter {
		q := (*[quarter]int8)(g.codes[((b*Block/quarter+c)*g.rows+i)*quarter:])
		for j := range 4 {
			dst[8*c+j] = int64(q[4+j]) + int64(q[j])<<pairShift
			dst[8*c+4+j] = int64(q[12+j]) + int64(q[8+j])<<pairShift
		}
	}
}

// unpack writes block b of a panel as pairs.
func (p panel) unpack(weights *[PanelRows][blockPairs]int64, nf4 *[256]int64, b int) {
	codes := p.block(b)
	for r := range weights {
		row := &weights[r]
		for i := 0; i < 8; i++ {
			if p.format == NF4 {
				u := binary.LittleEndian.Uint32(codes[i*lineBytes+4*r:])
				row[4*i], row[4*i+1], row[4*i+2], row[4*i+3] = nf4[u&255], nf4[u>>8&255], nf4[u>>16&255], nf4[u>>24]
				continue
			}
			*(*[4]int64)(row[4*i:]) = int8Pairs(codes[2*i*lineBytes+4*r:], codes[(2*i+1)*lineBytes+4*r:])
		}
	}
}

// int8Pairs makes the 4 pairs of a row from its 4 bytes of two consecutive lines. The stored byte is the code plus 128:
// one mask takes both of a pair, one subtraction takes both 128s off.
func int8Pairs(lo, hi []byte) [4]int64 {
	const mask, bias = 0xFF<<pairShift | 0xFF, 0x80<<pairShift | 0x80
	x := int64(binary.LittleEndian.Uint32(lo)) | int64(binary.LittleEndian.Uint32(hi))<<pairShift
	return [4]int64{x&mask - bias, x>>8&mask - bias, x>>16&mask - bias, x>>24&mask - bias}
}

// dotPairs is the dot product of a row of a block and a block of activations.
func dotPairs(w, a *[blockPairs]int64) int32 {
	var even, odd int64
	for i := 0; i < blockPairs; i += 4 {
		even += w[i]*a[i] + w[i+1]*a[i+1]
		odd += w[i+2]*a[i+2] + w[i+3]*a[i+3]
	}
	return pairSum(even + odd)
}

// mulWide writes the products of up to 16 rows of 16-bit weights with n rows of x: float32 products, summed by lanes.
//
//	dst (n, 16), w (rows, k) as stored, x (n, k)
func mulWide(dst []float32, f Format, w []byte, rows int, x []float32, n int) {
	k := len(x) / n
	wide := make([]float32, k)
	for r := range rows {
		widen16(wide, f, w[2*r*k:][:2*k])
		for i := range n {
			dst[i*PanelRows+r] = dotLanes(wide, x[i*k:][:k])
		}
	}
}

// widen16 writes stored 16-bit numbers (finite, little endian) as float32.
func widen16(dst []float32, f Format, src []byte) {
	src = src[:2*len(dst)]
	if f == BF16 {
		for i := range dst {
			dst[i] = BFloat16to32(binary.LittleEndian.Uint16(src[2*i:]))
		}
		return
	}
	for i := range dst {
		dst[i] = finite16to32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}
