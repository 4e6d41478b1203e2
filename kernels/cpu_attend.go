package kernels

import "fmt"

// Append rotates the queries and keys and stores the keys and values of a layer. A token that faults is stored as
// zeros.
func (c *CPU) Append(cache Cache, layer int, qkv Buffer, seats []Seat, at Place) {
	p, x := c.seated("Append", cache, layer, qkv, seats)
	if p.rotary != nil {
		for i := range seats {
			if s := &seats[i]; s.Position*p.rotary.half >= len(p.rotary.cos) {
				p.rotary.extend(min(s.Position/tableStep*tableStep+tableStep, p.Positions))
			}
		}
	}
	c.loops.append = appendLoop{c: c, cache: p, layer: layer, x: x, seats: seats, at: at}
	c.pool.run(len(seats), 8*int64(x.width), &c.loops.append)
}

type appendLoop struct {
	c     *CPU
	cache *pagedCache
	layer int
	x     *buffer
	seats []Seat
	at    Place
}

func (l *appendLoop) do(_, from, to int) {
	p := l.cache
	for i := from; i < to; i++ {
		row, s := l.x.row(i), &l.seats[i]
		if p.rotary != nil {
			cos, sin := p.rotary.at(s.Position)
			for h := 0; h < 2*p.hidden; h += p.HeadSize { // the heads of Q, then those of K
				l.c.set.rotate(row[h:h+p.HeadSize], cos, sin)
			}
		}
		page := p.layer(s.Pages[s.Position/PageSize], l.layer)
		if !p.append(l.c.set, page, s.Position%PageSize, row) {
			l.c.fault(i, l.at)
		}
	}
}

// Attend writes to dst what the queries read. A head whose query is not finite reads zeros.
func (c *CPU) Attend(dst Buffer, cache Cache, layer int, qkv Buffer, seats []Seat, at Place) {
	p, x := c.seated("Attend", cache, layer, qkv, seats)
	l := &c.loops.attend
	l.c, l.cache, l.layer, l.dst, l.x, l.seats, l.at = c, p, layer, c.rows(dst, len(seats)), x, seats, at
	sameWidth("Attend", l.dst.width, p.hidden)
	longest := l.gather(c.set.queries)
	c.pool.run(len(l.first)*p.Heads, 2*int64(longest)*int64(p.HeadSize)*int64(len(seats))/int64(max(len(l.first), 1)), l)
}

// attendLoop attends; its units are a head of a few neighbouring rows of one sequence, head after head.
type attendLoop struct {
	c      *CPU
	cache  *pagedCache
	layer  int
	dst, x *buffer
	seats  []Seat
	first  []int // the first row of each such group of rows
	at     Place
}

// gather cuts the rows into groups of at most so many and returns the longest context.
func (l *attendLoop) gather(most int) (longest int) {
	l.first = l.first[:0]
	for i := range l.seats {
		longest = max(longest, l.seats[i].Position+1)
		if i == 0 || i-l.first[len(l.first)-1] == most || !follows(&l.seats[i-1], &l.seats[i]) {
			l.first = append(l.first, i)
		}
	}
	return longest
}

// follows tells whether b is the next position of a's sequence.
func follows(a, b *Seat) bool { return b.Position == a.Position+1 && &a.Pages[0] == &b.Pages[0] }

func (l *attendLoop) do(worker, from, to int) {
	for u := from; u < to; u++ {
		g := u % len(l.first)
		first, last := l.first[g], len(l.seats)
		if g+1 < len(l.first) {
			last = l.first[g+1]
		}
		t := attendance{
			cache: l.cache, layer: l.layer, head: u / len(l.first),
			dst: l.dst, x: l.x, seats: l.seats[first:last], first: first,
		}
		bad := l.c.work[worker].attend.attend(l.c.set, &t)
		for i := range last - first {
			if bad>>i&1 != 0 {
				l.c.fault(first+i, l.at)
			}
		}
	}
}

// seated checks what Append and Attend are given.
func (c *CPU) seated(op string, cache Cache, layer int, qkv Buffer, seats []Seat) (*pagedCache, *buffer) {
	p, x := cache.(*pagedCache), c.rows(qkv, len(seats))
	sameWidth(op, x.width, 3*p.hidden)
	if layer < 0 || layer >= p.Layers {
		panic(fmt.Sprintf("kernels: %s in layer %d of a cache of %d", op, layer, p.Layers))
	}
	for i := range seats {
		s := &seats[i]
		if s.Position < 0 || s.Position >= p.Positions || s.Position/PageSize >= len(s.Pages) {
			panic(fmt.Sprintf("kernels: %s of row %d at position %d of %d with %d pages", op, i, s.Position, p.Positions, len(s.Pages)))
		}
		if i > 0 && follows(&seats[i-1], s) {
			continue // the same pages
		}
		for _, page := range s.Pages {
			if page < 0 || int(page) >= p.Pages() {
				panic(fmt.Sprintf("kernels: %s of row %d on page %d of %d", op, i, page, p.Pages()))
			}
		}
	}
	return p, x
}
