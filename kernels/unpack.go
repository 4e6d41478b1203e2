package kernels

import (
	"encoding/binary"
	"fmt"
)

// UnpackMatrix writes what n rows of a stored matrix, from row on, mean in float32: for nf4 float32(level) *
// (float32(scale) * c), for int8 float32(q) * float32(scale), for 16 bits the number itself.
//
//	dst (n, K) row-major
func UnpackMatrix(dst []float32, m Matrix, row, n int) {
	at, err := m.shape()
	if err != nil || row < 0 || n < 0 || n > m.Rows-row || len(dst) != n*m.K {
		panic(fmt.Sprintf("kernels: UnpackMatrix of rows %d..%d of %d (%d wide) into %d numbers: %v", row, row+n, m.Rows, m.K, len(dst), err))
	}
	s := &matrix{Matrix: m, codes: m.Data[:at], scales: m.Data[at:]}
	if !s.quantised() {
		widen16(dst, m.Format, s.codes[2*row*m.K:][:2*n*m.K])
		return
	}
	for i := range n {
		s.unpackRow(dst[i*m.K:][:m.K], row+i)
	}
}

// unpackRow writes one row of a quantised matrix.
func (m *matrix) unpackRow(dst []float32, row int) {
	p := m.panels(row/PanelRows, 1).panel(0)
	r := row % PanelRows
	levels := nf4Levels()
	var w [PanelRows]float32
	for b := range m.K / Block {
		p.weightScales(&w, b)
		codes := p.block(b)
		for k := range Block {
			var q int8
			if m.Format == NF4 {
				c := codes[k/8*lineBytes+4*r+k%4]
				q = levels[c>>(k%8/4*4)&15]
			} else {
				q = int8(codes[k/4*lineBytes+4*r+k%4] ^ 0x80)
			}
			dst[b*Block+k] = float32(q) * w[r]
		}
	}
}

// UnpackTable is UnpackMatrix for the rows of an embedding.
func UnpackTable(dst []float32, t Table, row, n int) {
	at, err := t.shape()
	if err != nil || row < 0 || n < 0 || n > t.Rows-row || len(dst) != n*t.K {
		panic(fmt.Sprintf("kernels: UnpackTable of rows %d..%d of %d (%d wide) into %d numbers: %v", row, row+n, t.Rows, t.K, len(dst), err))
	}
	if t.Format != Int8 {
		widen16(dst, t.Format, t.Data[2*row*t.K:][:2*n*t.K])
		return
	}
	codes, scales := t.Data[row*t.K:], t.Data[int(at)+row*t.K/Block*2:]
	for b := range n * t.K / Block {
		scale := finite16to32(binary.LittleEndian.Uint16(scales[2*b:]))
		for k, c := range codes[b*Block:][:Block] {
			dst[b*Block+k] = float32(int8(c)) * scale
		}
	}
}
