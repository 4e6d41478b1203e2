package kernels

import "fmt"

// MatMul writes the products of the matrix with the first n rows of x to dst; a quantised matrix multiplies them
// quantised. A block of x that is not finite counts as zeros there and is a fault of its row, as it is with 16-bit
// weights.
func (c *CPU) MatMul(dst, x Buffer, n int, w Weights, at Place) {
	c.product(dst, x, n, at, productLoop{w: w.(*matrix)})
}

// AddMatMul adds the products to dst.
func (c *CPU) AddMatMul(dst, x Buffer, n int, w Weights, at Place) {
	c.product(dst, x, n, at, productLoop{w: w.(*matrix), add: true})
}

// GatedMatMul writes silu(gate x) * (up x) to dst.
func (c *CPU) GatedMatMul(dst, x Buffer, n int, gate, up Weights, at Place) {
	c.product(dst, x, n, at, productLoop{w: up.(*matrix), gate: gate.(*matrix)})
}

// product makes what a matrix needs of x and runs the loop.
func (c *CPU) product(dst, x Buffer, n int, at Place, l productLoop) {
	l.c, l.dst, l.x, l.n = c, c.rows(dst, n), c.rows(x, n), n
	matrices := int64(1)
	l.w.fit(l.dst, l.x)
	if l.gate != nil {
		l.gate.fit(l.dst, l.x)
		matrices = 2
		if l.gate.quantised() != l.w.quantised() {
			panic(fmt.Sprintf("kernels: gate in %v beside %v", l.gate.Format, l.w.Format))
		}
	}
	if l.w.quantised() {
		c.quantiseRows(l.x, n, at)
	} else {
		c.checkRows(l.x, n, at)
	}
	c.loops.product = l
	c.pool.run((l.w.Rows+PanelRows-1)/PanelRows, matrices*int64(n)*int64(l.w.K)*PanelRows, &c.loops.product)
}

// fit panics if a matrix does not go from x to dst.
func (m *matrix) fit(dst, x *buffer) {
	if m.K != x.width || m.Rows != dst.width {
		panic(fmt.Sprintf("kernels: MatMul of a (%d, %d) matrix from width %d to width %d", m.Rows, m.K, x.width, dst.width))
	}
}

// quantised tells whether the matrix is stored in panels of codes.
func (m *matrix) quantised() bool { return m.Format == NF4 || m.Format == Int8 }

// quantiseRows quantises n rows.
func (c *CPU) quantiseRows(x *buffer, n int, at Place) {
	c.acts.reset(n, x.width, c.set.tile)
	c.loops.quantise = quantiseLoop{c: c, x: x, at: at}
	c.pool.run(n, 4*int64(x.width), &c.loops.quantise)
}

type quantiseLoop struct {
	c  *CPU
	x  *buffer
	at Place
}

func (l *quantiseLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		if !l.c.set.quantise(&l.c.acts, i, l.x.row(i)) {
			l.c.fault(i, l.at)
		}
	}
}

// checkRows finds NaN and Inf in n rows.
func (c *CPU) checkRows(x *buffer, n int, at Place) {
	c.loops.check = checkLoop{c: c, x: x, at: at}
	c.pool.run(n, int64(x.width), &c.loops.check)
}

type checkLoop struct {
	c  *CPU
	x  *buffer
	at Place
}

func (l *checkLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		if l.c.set.maxAbs(l.x.row(i)) >= infBits {
			l.c.fault(i, l.at)
		}
	}
}

// productLoop multiplies; its units are 16 rows of the matrix.
type productLoop struct {
	c       *CPU
	dst, x  *buffer
	n       int
	w, gate *matrix // gate may be nil
	add     bool
}

// do takes as many rows of x as fit in cache, multiplies all its panels with them, and goes on to the next. One row after
// another would read the panels again and again, one panel after another the rows.
func (l *productLoop) do(worker, from, to int) {
	s, w := l.c.set, &l.c.work[worker]
	bytes := l.w.K * s.tile
	if !l.w.quantised() {
		bytes *= 4
	}
	pass := max(passBytes/bytes, 1) * s.tile
	for first := 0; first < l.n; first += pass {
		last := min(first+pass, l.n)
		run := l.run(last - first)
		for u := from; u < to; u += run {
			units := min(run, to-u)
			for i := first; i < last; i += s.tile {
				l.tile(w, u, units, i, min(s.tile, last-i))
			}
		}
	}
}

// run is how many units are multiplied at once with n rows: where a tile of results has room for more than one, as many as
// can go through without being interrupted. Between two calls the memory waits.
func (l *productLoop) run(n int) int {
	s := l.c.set
	if !l.w.quantised() || n > s.tile {
		return 1
	}
	return max(min(s.tile/n, runBytes/l.w.panelBytes()), 1)
}

// tile makes the results of some units from unit u on for n rows from row i on.
func (l *productLoop) tile(w *scratch, u, units, i, n int) {
	s := l.c.set
	tile := w.tile[:units*n*PanelRows]
	l.multiply(tile, l.w, u, units, i, n)
	if l.gate != nil {
		gate := w.gate[:units*n*PanelRows]
		l.multiply(gate, l.gate, u, units, i, n)
		s.swiGLU(tile, gate, tile)
	}
	for ; units > 0; u, units = u+1, units-1 {
		rows := min(PanelRows, l.w.Rows-u*PanelRows)
		for r := range n {
			dst := l.dst.row(i + r)[u*PanelRows:][:rows]
			if l.add {
				s.add(dst, tile[:rows])
			} else {
				copy(dst, tile)
			}
			tile = tile[PanelRows:]
		}
	}
}

// multiply writes the products of units of a matrix (of one, if it has 16-bit weights) with n rows of x to tile.
func (l *productLoop) multiply(tile []float32, m *matrix, u, units, i, n int) {
	s := l.c.set
	if m.quantised() {
		s.mul(tile, m.panels(u, units), l.c.acts.group(i/s.tile))
		return
	}
	first := u * PanelRows
	rows := min(PanelRows, m.Rows-first)
	s.mulWide(tile, m.Format, m.codes[2*first*m.K:][:2*rows*m.K], rows, l.x.data[i*m.K:][:n*m.K], n)
}

// panels gives n panels of a quantised matrix from panel u on.
func (m *matrix) panels(u, n int) panels {
	codes, scales := m.panelBytes(), m.K/Block*scaleBlockBytes
	return panels{
		format: m.Format, n: n,
		codes:  m.codes[u*codes:][:n*codes],
		scales: m.scales[u*scales:][:n*scales],
	}
}

// panelBytes is the length of a panel's codes.
func (m *matrix) panelBytes() int {
	if m.Format == NF4 {
		return m.K / Block * nf4BlockBytes
	}
	return m.K / Block * int8BlockBytes
}
