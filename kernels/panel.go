package kernels

import "encoding/binary"

// nf4Levels are the levels of the 4-bit codebook times 127, rounded (NUMERICS "Weight formats"; the codebook is
// bitsandbytes' NF4, Dettmers et al. 2023).
func nf4Levels() [16]int8 {
	return [16]int8{-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127}
}

// nf4Pairs gives for each byte of a panel the pair of its weights: low nibble, and high nibble times 2^32.
func nf4Pairs() *[256]int64 {
	levels := nf4Levels()
	var pairs [256]int64
	for b := range pairs {
		pairs[b] = int64(levels[b&15]) + int64(levels[b>>4])<<pairShift
	}
	return &pairs
}

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

// mulPanel writes the 16 dot products of a panel with one row of activations: terms float32(d) * (w * a), added in
// order within segments of 8 blocks, whose totals are added in order (NUMERICS rule 2). This is the definition of a
// quantised product; the integer dot products are exact in any order.
func mulPanel(dst *[PanelRows]float32, p panel, nf4 *[256]int64, pairs []int64, scales []float32) {
	var d [PanelRows]int32
	var w, segment [PanelRows]float32
	*dst = [PanelRows]float32{}
	for b, a := range scales {
		block := (*[blockPairs]int64)(pairs[b*blockPairs:])
		if p.format == NF4 {
			dotNF4(&d, p.block(b), nf4, block)
		} else {
			dotInt8(&d, p.block(b), block)
		}
		p.weightScales(&w, b)
		for r := range segment {
			segment[r] += float32(float32(d[r]) * float32(w[r]*a))
		}
		if b%Segment == Segment-1 || b == len(scales)-1 {
			for r := range dst {
				dst[r] += segment[r]
			}
			segment = [PanelRows]float32{}
		}
	}
}

// dotNF4 writes the dot products of the 16 rows of a block with a block of activations.
func dotNF4(d *[PanelRows]int32, codes []byte, nf4 *[256]int64, a *[blockPairs]int64) {
	codes = codes[:nf4BlockBytes]
	for r := range d {
		acc := int64(0)
		for i := 0; i < 8; i++ {
			u := binary.LittleEndian.Uint32(codes[i*lineBytes+4*r:])
			acc += nf4[u&255]*a[4*i] + nf4[u>>8&255]*a[4*i+1] + nf4[u>>16&255]*a[4*i+2] + nf4[u>>24]*a[4*i+3]
		}
		d[r] = pairSum(acc)
	}
}

// dotInt8 does the same for 8-bit codes.
func dotInt8(d *[PanelRows]int32, codes []byte, a *[blockPairs]int64) {
	codes = codes[:int8BlockBytes]
	for r := range d {
		acc := int64(0)
		for i := 0; i < 8; i++ {
			w := int8Pairs(codes[2*i*lineBytes+4*r:], codes[(2*i+1)*lineBytes+4*r:])
			acc += w[0]*a[4*i] + w[1]*a[4*i+1] + w[2]*a[4*i+2] + w[3]*a[4*i+3]
		}
		d[r] = pairSum(acc)
	}
}

// int8Pairs makes the 4 pairs of a row from its 4 bytes of two consecutive lines. The stored byte is the code plus 128:
// one mask takes both of a pair, one subtraction takes both 128s off.
func int8Pairs(lo, hi []byte) [4]int64 {
	const mask, bias = 0xFF<<pairShift | 0xFF, 0x80<<pairShift | 0x80
	x := int64(binary.LittleEndian.Uint32(lo)) | int64(binary.LittleEndian.Uint32(hi))<<pairShift
	return [4]int64{x&mask - bias, x>>8&mask - bias, x>>16&mask - bias, x>>24&mask - bias}
}

// tile is the scratch of mulPanelRows: one block of a panel as pairs, and the sums of up to 32 rows.
type tile struct {
	weights [PanelRows][blockPairs]int64
	segment [tileRows][PanelRows]float32
	total   [tileRows][PanelRows]float32
}

// unpack writes block b of a panel as pairs.
func (t *tile) unpack(p panel, nf4 *[256]int64, b int) {
	codes := p.block(b)
	for r := range t.weights {
		row := &t.weights[r]
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

// mulPanelRows leaves in total[0..n-1] what mulPanel gives for each of the rows from..from+n-1 of the activations,
// n <= 32; a block of weights is unpacked once for all of them.
func (t *tile) mulPanelRows(p panel, nf4 *[256]int64, acts *activations, from, n int) {
	clear(t.segment[:n])
	clear(t.total[:n])
	var w [PanelRows]float32
	for b := range acts.blocks {
		t.unpack(p, nf4, b)
		p.weightScales(&w, b)
		for i := range n {
			at := (from+i)*acts.blocks + b
			a := acts.scales[at]
			if a == 0 {
				continue // its terms are +0
			}
			block := (*[blockPairs]int64)(acts.pairs[at*blockPairs:])
			segment := &t.segment[i]
			for r := range segment {
				segment[r] += float32(float32(dotPairs(&t.weights[r], block)) * float32(w[r]*a))
			}
		}
		if b%Segment == Segment-1 || b == acts.blocks-1 {
			t.closeSegment(n)
		}
	}
}

// closeSegment adds the segments of n rows to their totals.
func (t *tile) closeSegment(n int) {
	for i := range n {
		for r, s := range t.segment[i] {
			t.total[i][r] += s
		}
	}
	clear(t.segment[:n])
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
