package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
)

// nf4Borders are the borders between the 16 levels: x above one means the next level (bitsandbytes' NF4).
func nf4Borders() [15]float32 {
	return [15]float32{
		-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
		-0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
		0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
	}
}

// nf4Zero is the index of the level 0.
const nf4Zero = 7

// PackMatrix quantises or converts rows consecutive rows of a matrix, a run of whole panels, to that run's codes and
// scales. Only the last run of a matrix may end inside a panel: it is padded with all-zero blocks. The 16-bit formats
// have row-major codes and no scales.
//
//	w (rows, k) row-major   codes, scales: as long as MatrixSize says for a matrix of these rows
//
// The error names the row, counted from the begin of the run, that holds a number which is not finite or too large.
func PackMatrix(f Format, w []float32, rows, k int, codes, scales []byte) error {
	size, at := f.MatrixSize(rows, k)
	checkRun("PackMatrix", f, w, rows, k, int64(len(codes)) == at && int64(len(scales)) == size-at)
	if f == F16 || f == BF16 {
		return pack16(f, w, k, codes)
	}
	coder := newNF4Coder()
	blocks := k / Block
	panels := (rows + PanelRows - 1) / PanelRows
	for r := range panels * PanelRows {
		for b := range blocks {
			var q [Block]uint8
			scale := uint16(0)
			if r < rows {
				var err error
				if scale, err = packBlock(&q, f, coder, w[r*k+b*Block:][:Block]); err != nil {
					return fmt.Errorf("pack row %d as %v: block %d %w", r, f, b, err)
				}
			} else {
				zeroBlock(&q, f)
			}
			at := r/PanelRows*blocks + b
			placeBlock(codes, f, at, r%PanelRows, &q)
			binary.LittleEndian.PutUint16(scales[at*scaleBlockBytes+r%PanelRows*2:], scale)
		}
	}
	return nil
}

// PackTable does the same for rows of an embedding, whose form is row-major: in int8 two's complement codes
// (rows, k) and float16 scales (rows, k/64).
func PackTable(f Format, w []float32, rows, k int, codes, scales []byte) error {
	if f != Int8 {
		checkRun("PackTable", f, w, rows, k, f != NF4 && len(codes) == 2*rows*k && len(scales) == 0)
		return pack16(f, w, k, codes)
	}
	checkRun("PackTable", f, w, rows, k, len(codes) == rows*k && len(scales) == rows*k/Block*2)
	for at := range rows * k / Block {
		var q [Block]uint8
		scale, err := packBlock(&q, f, nil, w[at*Block:][:Block])
		if err != nil {
			return fmt.Errorf("pack row %d as %v: block %d %w", at*Block/k, f, at%(k/Block), err)
		}
		copy(codes[at*Block:], q[:])
		binary.LittleEndian.PutUint16(scales[2*at:], scale)
	}
	return nil
}

// checkRun panics if a run's shape is wrong.
func checkRun(op string, f Format, w []float32, rows, k int, fits bool) {
	wide := f == F16 || f == BF16
	if rows < 1 || k < 1 || len(w) != rows*k || !fits || f == F32 || (!wide && k%Block != 0) {
		panic(fmt.Sprintf("kernels: %s of %d rows of %d as %v: lengths do not fit", op, rows, k, f))
	}
}

// pack16 converts numbers to 16 bits. An infinity is refused, also one that rounding makes.
func pack16(f Format, w []float32, k int, codes []byte) error {
	convert, inf := Float16, uint16(halfInf)
	if f == BF16 {
		convert, inf = BFloat16, infBits>>16
	}
	for i, v := range w {
		h := convert(v)
		if h&halfAbs >= inf {
			return fmt.Errorf("pack row %d as %v: column %d is %v", i/k, f, i%k, v)
		}
		binary.LittleEndian.PutUint16(codes[2*i:], h)
	}
	return nil
}

// zeroBlock fills q with the code of 0.
func zeroBlock(q *[Block]uint8, f Format) {
	*q = [Block]uint8{}
	if f == NF4 {
		for i := range q {
			q[i] = nf4Zero
		}
	}
}

// packBlock quantises 64 weights to codes (nf4: indices; int8: two's complement) and a float16 scale (NUMERICS
// "Weight formats"); the coder is needed for nf4 alone. A block with absmax < 2^-60 is all zero.
func packBlock(q *[Block]uint8, f Format, coder *nf4Coder, w []float32) (scale uint16, err error) {
	most := maxAbsBits(w)
	if most >= infBits {
		return 0, fmt.Errorf("holds a number that is not finite")
	}
	if most < tinyBits {
		zeroBlock(q, f)
		return 0, nil
	}
	absmax := math.Float32frombits(most)
	if f == NF4 {
		scale = Float16(absmax)
		coder.pack(q, w, 1/absmax)
	} else {
		scale = max(Float16(absmax/127), 1)
		if scale < halfInf {
			packInt8(q, w, Float16to32(scale))
		}
	}
	if scale >= halfInf {
		return 0, fmt.Errorf("holds %v, too large for its scale", absmax)
	}
	return scale, nil
}

// nf4Coder finds levels: x lies in cell floor(16 * (x+1)) of the 33, a cell holds one border at most (they are 0.08
// apart), so the levels below the cell and one comparison give the level.
type nf4Coder struct {
	first   [33]uint8   // the level of the least x that can land in the cell
	borders [16]float32 // the border above each level; none above the last
}

func newNF4Coder() *nf4Coder {
	c := &nf4Coder{}
	borders := nf4Borders()
	copy(c.borders[:], borders[:])
	c.borders[15] = math.MaxFloat32
	for cell := range c.first {
		// x+1 is rounded: a number just below the cell may land in it.
		least := float32(float32(cell)/16) - 1 - 0x1p-20
		for _, border := range borders {
			if least > border {
				c.first[cell]++
			}
		}
	}
	return c
}

// pack finds the level of each weight times inv: how many borders lie below it.
func (c *nf4Coder) pack(q *[Block]uint8, w []float32, inv float32) {
	for i, v := range w {
		x := float32(v * inv)
		level := c.first[min(uint32((x+1)*16), 32)]
		if x > c.borders[level&15] {
			level++
		}
		q[i] = level
	}
}

// packInt8 rounds weights over the scale and clamps them to [-127, 127].
func packInt8(q *[Block]uint8, w []float32, scale float32) {
	for i, v := range w {
		x := min(max(v/scale, -127), 127)
		q[i] = uint8(math.Float32bits(x+roundShift) - roundShiftBits)
	}
}

// placeBlock writes the codes of one row of a panel's block, at counting blocks through all panels.
func placeBlock(codes []byte, f Format, at, row int, q *[Block]uint8) {
	if f == NF4 {
		block := codes[at*nf4BlockBytes:][:nf4BlockBytes]
		for n := range blockPairs { // n = 4i+j
			k := n/4*8 + n%4
			block[n/4*lineBytes+4*row+n%4] = q[k] | q[k+4]<<4
		}
		return
	}
	block := codes[at*int8BlockBytes:][:int8BlockBytes]
	for k, v := range q {
		block[k/4*lineBytes+4*row+k%4] = v ^ 0x80
	}
}
