package kernels

import "encoding/binary"

// mulWideAVX2 is mulWide. It makes 4 dot products at a time: of 4 rows of weights with one row of x, or of 2 with 2. Where
// there are fewer, the last row is taken again.
func mulWideAVX2(dst []float32, f Format, w []byte, rows int, x []float32, n int) {
	k := len(x) / n
	if k == 0 {
		mulWide(dst, f, w, rows, x, n)
		return
	}
	var d wideDots
	d.steps = k / Lanes
	for i := 0; i+1 < n; i += 2 {
		d.setX(0, x[i*k:][:k])
		d.setX(1, x[(i+1)*k:][:k])
		for r := 0; r < rows; r += 2 {
			d.setWeights(2, w, r, rows, k)
			if f == BF16 {
				bf16Dots2x2AVX2(&d)
			} else {
				f16Dots2x2AVX2(&d)
			}
			copy(dst[i*PanelRows:][r:min(r+2, rows)], d.dots[0:])
			copy(dst[(i+1)*PanelRows:][r:min(r+2, rows)], d.dots[2:])
		}
	}
	if n%2 == 0 {
		return
	}
	d.setX(0, x[(n-1)*k:][:k])
	for r := 0; r < rows; r += 4 {
		d.setWeights(4, w, r, rows, k)
		if f == BF16 {
			bf16Dots4AVX2(&d)
		} else {
			f16Dots4AVX2(&d)
		}
		copy(dst[(n-1)*PanelRows:][r:min(r+4, rows)], d.dots[:])
	}
}

// wideDots is what makes 4 dot products: up to 4 rows of weights and 2 of x, and a copy of what of them is left after steps
// of 16, with zeros after it. (Sums by lanes start from +0 and so never are -0: zeros change no bit.)
type wideDots struct {
	weights     [4]*byte
	x           [2]*float32
	steps       int
	rest        int // 1 if there is something left
	restWeights [4][Lanes]uint16
	restX       [2][Lanes]float32
	dots        [4]float32
}

// setX takes row i of x.
func (d *wideDots) setX(i int, x []float32) {
	d.x[i] = &x[0]
	if rest := x[d.steps*Lanes:]; len(rest) > 0 {
		d.rest = 1
		copy(d.restX[i][:], rest)
	}
}

// setWeights takes n rows of weights from row r on.
func (d *wideDots) setWeights(n int, w []byte, r, rows, k int) {
	for i := range n {
		row := w[2*min(r+i, rows-1)*k:][:2*k]
		d.weights[i] = &row[0]
		for j := d.steps * Lanes; j < k; j++ {
			d.restWeights[i][j-d.steps*Lanes] = binary.LittleEndian.Uint16(row[2*j:])
		}
	}
}

//go:noescape
func f16Dots4AVX2(d *wideDots)

//go:noescape
func bf16Dots4AVX2(d *wideDots)

//go:noescape
func f16Dots2x2AVX2(d *wideDots)

//go:noescape
func bf16Dots2x2AVX2(d *wideDots)
