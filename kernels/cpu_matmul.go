package kernels

import "fmt"

// task is one matrix of a MatMul call: its units are 16 rows each, counted through all tasks from first.
type task struct {
	*matrix
	dst   *buffer
	first int
}

// MatMul multiplies the first n rows of x with each of the matrices; for the quantised ones x is quantised once. A
// block of x that is not finite counts as zeros there and is a fault of its row, as it is with 16-bit weights.
func (c *CPU) MatMul(x Buffer, n int, at Place, out ...Product) {
	s := c.rows(x, n)
	c.tasks = c.tasks[:0]
	units, quantised, plain := 0, false, false
	for _, p := range out {
		t := task{matrix: p.Weights.(*matrix), dst: c.rows(p.Dst, n), first: units}
		if t.K != s.width || t.Rows != t.dst.width {
			panic(fmt.Sprintf("kernels: MatMul of a (%d, %d) matrix from width %d to width %d", t.Rows, t.K, s.width, t.dst.width))
		}
		c.tasks = append(c.tasks, t)
		units += (t.Rows + PanelRows - 1) / PanelRows
		quantised = quantised || t.quantised()
		plain = plain || !t.quantised()
	}
	if quantised {
		c.quantiseRows(s, n, at)
	}
	if plain {
		c.checkRows(s, n, at)
	}
	c.pool.run(units, int64(n)*int64(s.width)*PanelRows, func(worker, from, to int) {
		t := 0
		for u := from; u < to; u++ {
			for t+1 < len(c.tasks) && c.tasks[t+1].first <= u {
				t++
			}
			c.tasks[t].multiply(c, &c.work[worker], s, n, u-c.tasks[t].first)
		}
	})
}

// quantised tells whether the matrix is stored in panels of codes.
func (m *matrix) quantised() bool { return m.Format == NF4 || m.Format == Int8 }

// quantiseRows quantises n rows.
func (c *CPU) quantiseRows(x *buffer, n int, at Place) {
	c.acts.reset(n, x.width)
	c.pool.run(n*c.acts.blocks, 4*Block, func(_, from, to int) {
		for b := from; b < to; b++ {
			if !c.acts.setBlock(b, x.data[b*Block:][:Block]) {
				c.fault(b/c.acts.blocks, at)
			}
		}
	})
}

// checkRows finds NaN and Inf in n rows.
func (c *CPU) checkRows(x *buffer, n int, at Place) {
	c.pool.run(n, int64(x.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			if maxAbsBits(x.row(i)) >= infBits {
				c.fault(i, at)
			}
		}
	})
}

// multiply makes the 16 results of unit u for each of n rows.
func (t *task) multiply(c *CPU, w *scratch, x *buffer, n, u int) {
	if !t.quantised() {
		t.multiplyWide(w, x, n, u)
		return
	}
	first := u * PanelRows
	rows := min(PanelRows, t.Rows-first)
	p := t.panel(u)
	if n == 1 {
		var sums [PanelRows]float32
		pairs, scales := c.acts.row(0)
		mulPanel(&sums, p, c.nf4, pairs, scales)
		copy(t.dst.row(0)[first:], sums[:rows])
		return
	}
	for from := 0; from < n; from += tileRows {
		m := min(tileRows, n-from)
		w.tile.mulPanelRows(p, c.nf4, &c.acts, from, m)
		for i := range m {
			copy(t.dst.row(from + i)[first:], w.tile.total[i][:rows])
		}
	}
}

// multiplyWide does the same for 16-bit weights: each row of them is made float32 once, then multiplied by lanes.
func (t *task) multiplyWide(w *scratch, x *buffer, n, u int) {
	w.wide = grow(w.wide, t.K)
	for r := u * PanelRows; r < min((u+1)*PanelRows, t.Rows); r++ {
		widen16(w.wide, t.Format, t.codes[2*r*t.K:][:2*t.K])
		for i := range n {
			t.dst.row(i)[r] = dotLanes(w.wide, x.row(i))
		}
	}
}

// panel gives 16 rows of a quantised matrix.
func (m *matrix) panel(u int) panel {
	blocks := m.K / Block
	codes := blocks * int8BlockBytes
	if m.Format == NF4 {
		codes = blocks * nf4BlockBytes
	}
	return panel{
		format: m.Format,
		codes:  m.codes[u*codes:][:codes],
		scales: m.scales[u*blocks*scaleBlockBytes:][:blocks*scaleBlockBytes],
	}
}
