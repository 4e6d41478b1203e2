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
	c.pool.run(len(ids), int64(d.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			UnpackTable(d.row(i), t.Table, int(ids[i]), 1)
		}
	})
}

// Widen writes rows that came from elsewhere to dst, as float32.
func (c *CPU) Widen(dst Buffer, src Rows) {
	d := c.rows(dst, src.N)
	sameWidth("Widen", d.width, src.Width)
	c.pool.run(src.N, int64(d.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			widenRow(d.row(i), src.Half[2*i*d.width:][:2*d.width], src.Exp[i])
		}
	})
}

// RMSNorm writes the normed rows of x times the gain to dst. A row that faults becomes zeros.
func (c *CPU) RMSNorm(dst, x Buffer, n int, weights Weights, eps float32, at Place) {
	d, s, g := c.rows(dst, n), c.rows(x, n), weights.(*gain)
	sameWidth("RMSNorm", d.width, s.width, len(g.values))
	c.pool.run(n, 4*int64(s.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			if !rmsNorm(d.row(i), s.row(i), g.values, eps) {
				c.fault(i, at)
			}
		}
	})
}

// SwiGLU writes silu(gate) * up to dst.
func (c *CPU) SwiGLU(dst, gate, up Buffer, n int) {
	d, g, u := c.rows(dst, n), c.rows(gate, n), c.rows(up, n)
	sameWidth("SwiGLU", d.width, g.width, u.width)
	c.pool.run(n*d.width, 16, func(_, from, to int) {
		swiGLU(d.data[from:to], g.data[from:to], u.data[from:to])
	})
}

// Add adds y to x.
func (c *CPU) Add(x, y Buffer, n int) {
	a, b := c.rows(x, n), c.rows(y, n)
	sameWidth("Add", a.width, b.width)
	c.pool.run(n*a.width, 1, func(_, from, to int) {
		dst, src := a.data[from:to], b.data[from:to]
		for i, v := range src {
			dst[i] += v
		}
	})
}

// Round rounds the rows of x in place to float16 with one exponent per row and gives them to dst in that form, where
// dst is not nil. A row that faults becomes zeros with exponent 0.
func (c *CPU) Round(dst *Rows, x Buffer, n int, at Place) {
	s := c.rows(x, n)
	if dst != nil {
		dst.N, dst.Width = n, s.width
		dst.Exp, dst.Half = grow(dst.Exp, n), grow(dst.Half, 2*n*s.width)
	}
	c.pool.run(n, 4*int64(s.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			var half []byte
			if dst != nil {
				half = dst.Half[2*i*s.width:][:2*s.width]
			}
			exp, ok := roundRow(half, s.row(i))
			if !ok {
				c.fault(i, at)
			}
			if dst != nil {
				dst.Exp[i] = exp
			}
		}
	})
}

// Read copies n rows to dst as they are, checking each for NaN and Inf.
func (c *CPU) Read(dst []float32, x Buffer, n int, at Place) {
	s := c.rows(x, n)
	if len(dst) != n*s.width {
		panic(fmt.Sprintf("kernels: Read of %d rows of %d into %d numbers", n, s.width, len(dst)))
	}
	c.pool.run(n, int64(s.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			copy(dst[i*s.width:], s.row(i))
			if maxAbsBits(s.row(i)) >= infBits {
				c.fault(i, at)
			}
		}
	})
}

// Append rotates the queries and keys and stores the keys and values of a layer. A token that faults is stored as
// zeros.
func (c *CPU) Append(cache Cache, layer int, qkv Buffer, seats []Seat, at Place) {
	p, x := c.seated("Append", cache, layer, qkv, seats)
	if p.rotary != nil {
		for _, s := range seats {
			if s.Position*p.rotary.half >= len(p.rotary.cos) {
				p.rotary.extend(min(s.Position/tableStep*tableStep+tableStep, p.Positions))
			}
		}
	}
	c.pool.run(len(seats), 8*int64(x.width), func(_, from, to int) {
		for i := from; i < to; i++ {
			row, s := x.row(i), seats[i]
			if p.rotary != nil {
				cos, sin := p.rotary.at(s.Position)
				for h := 0; h < 2*p.hidden; h += p.HeadSize { // the heads of Q, then those of K
					rotate(row[h:h+p.HeadSize], cos, sin)
				}
			}
			page := p.layer(s.Pages[s.Position/PageSize], layer)
			if !p.append(page, s.Position%PageSize, row) {
				c.fault(i, at)
			}
		}
	})
}

// Attend writes to dst what the queries read. A head whose query is not finite reads zeros.
func (c *CPU) Attend(dst Buffer, cache Cache, layer int, qkv Buffer, seats []Seat, at Place) {
	p, x := c.seated("Attend", cache, layer, qkv, seats)
	d := c.rows(dst, len(seats))
	sameWidth("Attend", d.width, p.hidden)
	longest := 0
	for _, s := range seats {
		longest = max(longest, s.Position+1)
	}
	c.pool.run(len(seats)*p.Heads, 2*int64(longest)*int64(p.HeadSize), func(worker, from, to int) {
		for u := from; u < to; u++ {
			i, head := u/p.Heads, u%p.Heads
			at0 := head * p.HeadSize
			q := query{cache: p, layer: layer, head: head, seat: seats[i], x: x.row(i)[at0:][:p.HeadSize]}
			if !c.work[worker].attend.attend(d.row(i)[at0:][:p.HeadSize], q) {
				c.fault(i, at)
			}
		}
	})
}

// seated checks what Append and Attend are given.
func (c *CPU) seated(op string, cache Cache, layer int, qkv Buffer, seats []Seat) (*pagedCache, *buffer) {
	p, x := cache.(*pagedCache), c.rows(qkv, len(seats))
	sameWidth(op, x.width, 3*p.hidden)
	if layer < 0 || layer >= p.Layers {
		panic(fmt.Sprintf("kernels: %s in layer %d of a cache of %d", op, layer, p.Layers))
	}
	for i, s := range seats {
		if s.Position < 0 || s.Position >= p.Positions || s.Position/PageSize >= len(s.Pages) {
			panic(fmt.Sprintf("kernels: %s of row %d at position %d of %d with %d pages", op, i, s.Position, p.Positions, len(s.Pages)))
		}
		for _, page := range s.Pages {
			if page < 0 || int(page) >= p.Pages() {
				panic(fmt.Sprintf("kernels: %s of row %d on page %d of %d", op, i, page, p.Pages()))
			}
		}
	}
	return p, x
}
