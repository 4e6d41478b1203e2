package shard

import (
	"fmt"
	"slices"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Step is one sequence's part of a pass: rows that are appended to its cache.
type Step struct {
	Cache *Cache
	IDs   []uint32     // where the cache's span begins at layer 0
	In    kernels.Rows // elsewhere: canonical rows (kernels.Rows.CheckCanonical)
	Out   kernels.Rows // set by Forward: what the span makes of them; its memory is used again if it suffices
	Err   error        // set by Forward: why this step, and none beside it, failed; the cache is as it was before
}

func (st *Step) rows() int {
	if st.Cache.span.Start == 0 {
		return len(st.IDs)
	}
	return st.In.N
}

// Forward computes the steps through their spans, all rows of one span together. The steps must be of different
// caches. It allocates nothing once its memory has grown to the size of the work.
func (s *Shard) Forward(steps ...*Step) {
	w := s.work
	w.todo = w.todo[:0]
	for _, st := range steps {
		if st.Err = s.prepare(st); st.Err == nil {
			w.todo = append(w.todo, st)
		}
	}
	for len(w.todo) > 0 {
		span := w.todo[0].Cache.span
		w.together = w.together[:0]
		rest := w.todo[:0]
		for _, st := range w.todo {
			if st.Cache.span == span {
				w.together = append(w.together, st)
			} else {
				rest = append(rest, st)
			}
		}
		w.todo = rest
		s.forwardSpan(span, w.together)
	}
	clear(w.together[:cap(w.together)]) // a step is not kept beyond the call
	clear(w.todo[:cap(w.todo)])
}

// prepare refuses a step that can't be computed, before anything has changed, and makes room for its results.
func (s *Shard) prepare(st *Step) error {
	if st.Cache.shard != s {
		panic("shard: a step with the cache of another shard")
	}
	n := st.rows()
	if n == 0 {
		return fmt.Errorf("a step of no tokens")
	}
	for _, id := range st.IDs {
		if int64(id) >= int64(s.manifest.Vocab) {
			return fmt.Errorf("token id %d is outside the vocabulary of %d", id, s.manifest.Vocab)
		}
	}
	width := s.manifest.Hidden
	if st.Cache.span.Start != 0 && (st.In.Width != width || len(st.In.Exp) != n || len(st.In.Half) != 2*n*width) {
		return fmt.Errorf("rows of width %d with %d bytes: the model's hidden size is %d", st.In.Width, len(st.In.Half), width)
	}
	if err := st.Cache.Reserve(st.Cache.len + n); err != nil {
		return err
	}
	st.Out = sized(st.Out, n, width)
	return nil
}

// sized gives rows of the wanted size, in r's memory if that suffices.
func sized(r kernels.Rows, n, width int) kernels.Rows {
	if cap(r.Exp) < n {
		r.Exp = make([]uint8, n)
	}
	if cap(r.Half) < 2*n*width {
		r.Half = make([]byte, 2*n*width)
	}
	return kernels.Rows{N: n, Width: width, Exp: r.Exp[:n], Half: r.Half[:2*n*width]}
}

// part gives rows from..from+n-1, in the same memory.
func part(r kernels.Rows, from, n int) kernels.Rows {
	return kernels.Rows{
		N: n, Width: r.Width, Exp: r.Exp[from : from+n],
		Half: r.Half[2*from*r.Width : 2*(from+n)*r.Width],
	}
}

// piece is the rows from..from+n-1 of a step, computed in one pass.
type piece struct {
	step    *Step
	from, n int
}

// forwardSpan cuts the steps into passes of at most maxBatch rows. A step may take several, in order.
func (s *Shard) forwardSpan(span store.Span, steps []*Step) {
	w := s.work
	w.start, w.batch = w.start[:0], w.batch[:0]
	rows := 0
	for _, st := range steps {
		w.start = append(w.start, st.Cache.len)
		for from := 0; from < st.rows(); {
			n := min(st.rows()-from, maxBatch-rows)
			w.batch = append(w.batch, piece{st, from, n})
			from, rows = from+n, rows+n
			if rows == maxBatch {
				s.pass(span, w.batch, rows)
				w.batch, rows = w.batch[:0], 0
			}
		}
	}
	if rows > 0 {
		s.pass(span, w.batch, rows)
	}
	for i, st := range steps {
		if st.Err != nil {
			st.Cache.Truncate(w.start[i])
		}
	}
	clear(w.batch)
}

// pass computes a batch through the span's layers and appends it to the caches.
func (s *Shard) pass(span store.Span, batch []piece, n int) {
	w := s.work
	s.gather(span, batch, n)
	for i := span.Start; i < span.End; i++ {
		out := &w.out
		if i < span.End-1 {
			out = nil
		}
		s.layer(i, n, out)
		s.progress.Add(1)
	}
	w.faults = w.faults[:n]
	s.dev.Faults(w.faults)
	row := 0
	for _, p := range batch {
		copy(p.step.Out.Exp[p.from:], w.out.Exp[row:row+p.n])
		copy(p.step.Out.Half[2*p.from*w.out.Width:], w.out.Half[2*row*w.out.Width:2*(row+p.n)*w.out.Width])
		for r := row; r < row+p.n && p.step.Err == nil; r++ {
			if at := w.faults[r]; at != 0 {
				p.step.Err = &NotFiniteError{Position: w.seats[r].Position, Where: describe(at)}
			}
		}
		s.keep(p, row)
		row += p.n
	}
}

// keep appends a piece, which begins at a row of the pass, to its cache. What failed is counted alone: it will be cut off.
func (s *Shard) keep(p piece, row int) {
	w, c, bytes := s.work, p.step.Cache, 2*s.manifest.Hidden
	for r := row; r < row+p.n; r++ {
		switch {
		case p.step.Err != nil:
			c.len++
		case c.span.Start == 0:
			c.keep(w.ids[r], 0, nil, w.out.Exp[r], w.out.Half[r*bytes:][:bytes])
		default:
			c.keep(0, w.in.Exp[r], w.in.Half[r*bytes:][:bytes], w.out.Exp[r], w.out.Half[r*bytes:][:bytes])
		}
	}
}

// gather brings the batch's input to the scratch x, as the float32 of rounded rows, and seats its rows.
func (s *Shard) gather(span store.Span, batch []piece, n int) {
	w := s.work
	w.seats, w.ids = w.seats[:0], w.ids[:0]
	w.in = sized(w.in, n, s.manifest.Hidden)
	for _, p := range batch {
		c := p.step.Cache
		row := len(w.seats)
		for r := range p.n {
			w.seats = append(w.seats, kernels.Seat{Position: c.len + r, Pages: c.pages})
		}
		if span.Start == 0 {
			w.ids = append(w.ids, p.step.IDs[p.from:p.from+p.n]...)
			continue
		}
		in := part(p.step.In, p.from, p.n)
		copy(w.in.Exp[row:], in.Exp)
		copy(w.in.Half[2*row*in.Width:], in.Half)
	}
	w.out = sized(w.out, n, s.manifest.Hidden)
	if span.Start != 0 {
		s.dev.Widen(w.x, w.in)
		return
	}
	s.dev.Embed(w.x, s.embed, w.ids)
	s.dev.Round(nil, w.x, n, placeEmbed)
}

// layer is one transformer layer over the first n rows of x: h = x + attention, y = h + mlp, and y rounded
// (NUMERICS rule 5). With out not nil the rounded rows go there too.
func (s *Shard) layer(index, n int, out *kernels.Rows) {
	w, d := s.work, s.dev
	l := &s.layers[index-s.span.Start]
	at := func(t tensor) kernels.Place { return place(index, t) }

	d.RMSNorm(w.normed, w.x, n, l.norm1, s.eps, at(inNorm1))
	d.MatMul(w.qkv, w.normed, n, l.wPack, at(inWPack))
	d.Append(s.pages.arena, index-s.span.Start, w.qkv, w.seats, at(inCache))
	d.Attend(w.normed, s.pages.arena, index-s.span.Start, w.qkv, w.seats, at(inAttention))
	d.AddMatMul(w.x, w.normed, n, l.oProj, at(inOProj))

	d.RMSNorm(w.normed, w.x, n, l.norm2, s.eps, at(inNorm2))
	d.GatedMatMul(w.gated, w.normed, n, l.gate, l.up, at(inGateUp))
	d.AddMatMul(w.x, w.gated, n, l.down, at(inDown))
	d.Round(out, w.x, n, at(inResidual))
}

// Ask is rows whose logits are wanted: From..From+N-1 of what the last layer gave.
type Ask struct {
	Rows    kernels.Rows
	From, N int
	Dst     []float32 // (N, vocab), what is asked for
	Err     error     // set by Heads: why it, and none beside it, failed
}

// Logits is Heads for one ask.
func (s *Shard) Logits(dst []float32, rows kernels.Rows, from, n int) error {
	w := s.work
	w.ask = Ask{Rows: rows, From: from, N: n, Dst: dst}
	w.asks = append(w.asks[:0], &w.ask)
	s.heads(w.asks)
	err := w.ask.Err
	w.ask = Ask{}
	return err
}

// Heads applies the final norm and the head to all the rows asked for, reading the head once for some of them at a
// time, whoever asks. An ask with a row that is not finite fails with *NotFiniteError.
func (s *Shard) Heads(asks ...*Ask) {
	for _, a := range asks {
		a.Err = nil
	}
	s.heads(asks)
}

// headRow is row of ask, of which the logits are computed in some pass.
type headRow struct {
	ask *Ask
	row int // counted from the ask's first
}

func (s *Shard) heads(asks []*Ask) {
	w, vocab := s.work, s.manifest.Vocab
	w.heads = w.heads[:0]
	for _, a := range asks {
		if !s.Last() || len(a.Dst) != a.N*vocab || a.From < 0 || a.From+a.N > a.Rows.N {
			panic(fmt.Sprintf("shard: %d logits of rows %d..%d of %d in a shard of %v", len(a.Dst), a.From, a.From+a.N, a.Rows.N, s.span))
		}
		for i := range a.N {
			w.heads = append(w.heads, headRow{a, i})
		}
	}
	for from := 0; from < len(w.heads); from += maxLogits {
		s.headPass(w.heads[from:min(from+maxLogits, len(w.heads))])
	}
	clear(w.heads)
}

// headPass computes the logits of a few rows.
func (s *Shard) headPass(rows []headRow) {
	w, d, n, vocab := s.work, s.dev, len(rows), s.manifest.Vocab
	w.in = sized(w.in, n, s.manifest.Hidden)
	for i, r := range rows {
		src := part(r.ask.Rows, r.ask.From+r.row, 1)
		w.in.Exp[i] = src.Exp[0]
		copy(w.in.Half[2*i*src.Width:], src.Half)
	}
	d.Widen(w.x, w.in)
	d.RMSNorm(w.normed, w.x, n, s.norm, s.eps, placeNorm)
	d.MatMul(w.logits, w.normed, n, s.head, placeHead)
	if first := rows[0]; first.ask == rows[n-1].ask { // then its rows lie side by side
		d.Read(first.ask.Dst[first.row*vocab:(first.row+n)*vocab], w.logits, n, placeLogits)
	} else {
		w.read = slices.Grow(w.read[:0], n*vocab)[:n*vocab]
		d.Read(w.read, w.logits, n, placeLogits)
		for i, r := range rows {
			copy(r.ask.Dst[r.row*vocab:(r.row+1)*vocab], w.read[i*vocab:])
		}
	}
	s.progress.Add(1)
	w.faults = w.faults[:n]
	d.Faults(w.faults)
	for i, at := range w.faults {
		if r := rows[i]; at != 0 && r.ask.Err == nil {
			r.ask.Err = &NotFiniteError{Position: -1, Row: r.ask.From + r.row, Where: describe(at)}
		}
	}
}

// scratch is the memory of a pass, made once.
type scratch struct {
	x, normed, qkv, gated, logits kernels.Buffer // normed holds what attention gives, too

	todo, together []*Step // of a call: not computed yet, and computed now
	start          []int   // lengths of their caches before
	batch          []piece

	ask   Ask // of Logits
	asks  []*Ask
	heads []headRow
	read  []float32

	seats   []kernels.Seat
	ids     []uint32
	faults  []kernels.Place
	in, out kernels.Rows
}

func newScratch(dev kernels.Device, m *store.Manifest, last bool) (*scratch, error) {
	w := &scratch{faults: make([]kernels.Place, maxBatch)}
	buffers := []struct {
		b           *kernels.Buffer
		rows, width int
	}{
		{&w.x, maxBatch, m.Hidden}, {&w.normed, maxBatch, m.Hidden},
		{&w.qkv, maxBatch, 3 * m.Hidden}, {&w.gated, maxBatch, m.Intermediate},
		{&w.logits, maxLogits, m.Vocab},
	}
	if !last {
		buffers = buffers[:len(buffers)-1]
	}
	for _, b := range buffers {
		var err error
		if *b.b, err = dev.Buffer(b.rows, b.width); err != nil {
			return nil, fmt.Errorf("make scratch of %d x %d: %w", b.rows, b.width, err)
		}
	}
	return w, nil
}
