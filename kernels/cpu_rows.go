package kernels

import "fmt"

// The operations on rows. The arithmetic of each is a function on slices elsewhere in the package; here it is spread
// over rows and workers.

// Embed writes the rows ids of a table to dst, as float32.
func (c *CPU) Embed(dst Buffer, weights Weights, ids []uint32) {
	d, t := c.rows(dst, len(ids)), weights.(*table)
	sameWidth("Embed", d.width, t.K)
	for _, id := range ids {
		if int64(id) >= int64(t.Rows) {
			panic(fmt.Sprintf("kernels: Embed of id %d in a table of %d rows", id, t.Rows))
		}
	}
	c.loops.embed = embedLoop{dst: d, table: t, ids: ids}
	c.pool.run(len(ids), int64(d.width), &c.loops.embed)
}

type embedLoop struct {
	dst   *buffer
	table *table
	ids   []uint32
}

func (l *embedLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		UnpackTable(l.dst.row(i), l.table.Table, int(l.ids[i]), 1)
	}
}

// Widen writes rows that came from elsewhere to dst, as float32.
func (c *CPU) Widen(dst Buffer, src Rows) {
	d := c.rows(dst, src.N)
	sameWidth("Widen", d.width, src.Width)
	c.loops.widen = widenLoop{c: c, dst: d, src: src}
	c.pool.run(src.N, int64(d.width), &c.loops.widen)
}

type widenLoop struct {
	c   *CPU
	dst *buffer
	src Rows
}

func (l *widenLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		l.c.set.widenRow(l.dst.row(i), l.src.Half[2*i*l.dst.width:][:2*l.dst.width], l.src.Exp[i])
	}
}

// RMSNorm writes the normed rows of x times the gain to dst. A row that faults becomes zeros.
func (c *CPU) RMSNorm(dst, x Buffer, n int, weights Weights, eps float32, at Place) {
	d, s, g := c.rows(dst, n), c.rows(x, n), weights.(*gain)
	sameWidth("RMSNorm", d.width, s.width, len(g.values))
	c.loops.norm = normLoop{c: c, dst: d, x: s, gain: g.values, eps: eps, at: at}
	c.pool.run(n, 4*int64(s.width), &c.loops.norm)
}

type normLoop struct {
	c      *CPU
	dst, x *buffer
	gain   []float32
	eps    float32
	at     Place
}

func (l *normLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		if !l.c.set.rmsNorm(l.dst.row(i), l.x.row(i), l.gain, l.eps) {
			l.c.fault(i, l.at)
		}
	}
}

// Round rounds the rows of x in place to float16 with one exponent per row and gives them to dst in that form, where
// dst is not nil. A row that faults becomes zeros with exponent 0.
func (c *CPU) Round(dst *Rows, x Buffer, n int, at Place) {
	s := c.rows(x, n)
	if dst != nil {
		dst.N, dst.Width = n, s.width
		dst.Exp, dst.Half = grow(dst.Exp, n), grow(dst.Half, 2*n*s.width)
	}
	c.loops.round = roundLoop{c: c, dst: dst, x: s, at: at}
	c.pool.run(n, 4*int64(s.width), &c.loops.round)
}

type roundLoop struct {
	c   *CPU
	dst *Rows
	x   *buffer
	at  Place
}

func (l *roundLoop) do(_, from, to int) {
	width := l.x.width
	for i := from; i < to; i++ {
		var half []byte
		if l.dst != nil {
			half = l.dst.Half[2*i*width:][:2*width]
		}
		exp, ok := l.c.set.roundRow(half, l.x.row(i))
		if !ok {
			l.c.fault(i, l.at)
		}
		if l.dst != nil {
			l.dst.Exp[i] = exp
		}
	}
}

// Read copies n rows to dst as they are, checking each for NaN and Inf.
func (c *CPU) Read(dst []float32, x Buffer, n int, at Place) {
	s := c.rows(x, n)
	if len(dst) != n*s.width {
		panic(fmt.Sprintf("kernels: Read of %d rows of %d into %d numbers", n, s.width, len(dst)))
	}
	c.loops.read = readLoop{c: c, dst: dst, x: s, at: at}
	c.pool.run(n, int64(s.width), &c.loops.read)
}

type readLoop struct {
	c   *CPU
	dst []float32
	x   *buffer
	at  Place
}

func (l *readLoop) do(_, from, to int) {
	for i := from; i < to; i++ {
		copy(l.dst[i*l.x.width:], l.x.row(i))
		if l.c.set.maxAbs(l.x.row(i)) >= infBits {
			l.c.fault(i, l.at)
		}
	}
}
