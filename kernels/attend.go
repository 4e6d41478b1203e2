package kernels

import (
	"encoding/binary"
	"math"
)

// attention is the scratch of one worker: what a few queries of one head need.
type attention struct {
	queries queries
	scores  []float32 // [query][position], a row for each query; then their weights, chunk by chunk
	total   []float32 // [query][head size], of a chunk
	sums    []float32 // [query], of the weights
	most    []float32 // [query]
}

// queries are the questions of one head at neighbouring positions of a sequence, quantised where keys are.
type queries struct {
	n, size int       // how many, of how many elements
	root    float32   // 1/sqrt(size)
	codes   []int8    // [query][size]
	scales  []float32 // [query][size/32]
	starts  []int32   // [query][size/32], -128 times the sum of the unit's codes
}

// reset makes room for n queries of a size.
func (q *queries) reset(n, size int, root float32) {
	q.n, q.size, q.root = n, size, root
	q.codes = grow(q.codes, n*size)
	q.scales = grow(q.scales, n*size/CacheUnit)
	q.starts = grow(q.starts, n*size/CacheUnit)
}

// quantiseQuery writes x as query i, in units of 32 with float32 scales. It returns false where x is not finite.
func quantiseQuery(q *queries, i int, x []float32) bool {
	units := q.size / CacheUnit
	for b := range units {
		codes := q.codes[i*q.size+b*CacheUnit:][:CacheUnit]
		scale, ok := quantise(codes, x[b*CacheUnit:][:CacheUnit])
		if !ok {
			return false
		}
		q.scales[i*units+b] = scale
		q.starts[i*units+b] = -unsignedBias * codeSum(codes)
	}
	return true
}

// view is where a head's keys and values lie in a layer's part of a page: from its first code and scale of token 0.
type view struct {
	keys, keyScales, values, valScales []byte
}

// view gives what a head reads of a page.
func (c *pagedCache) view(page int32, layer, head int) view {
	p := c.layer(page, layer)
	codes, scales := head*PageSize*c.codeBytes, head*PageSize*c.scaleBytes
	return view{
		keys: p[codes:][:PageSize*c.codeBytes], keyScales: p[c.keyScales+scales:][:PageSize*c.scaleBytes],
		values: p[c.values+codes:][:PageSize*c.codeBytes], valScales: p[c.valScales+scales:][:PageSize*c.scaleBytes],
	}
}

// attendance is what attend works on: the queries of one head at the rows first..first+n-1 of a batch, neighbours of one
// sequence.
type attendance struct {
	cache       *pagedCache
	layer, head int
	dst, x      *buffer
	seats       []Seat // of these rows
	first       int
}

// query gives the head's query in row i, and out where its result goes.
func (t *attendance) query(i int) []float32 {
	return t.x.row(t.first + i)[t.head*t.cache.HeadSize:][:t.cache.HeadSize]
}

func (t *attendance) out(i int) []float32 {
	return t.dst.row(t.first + i)[t.head*t.cache.HeadSize:][:t.cache.HeadSize]
}

// afterKeys tells how far ahead of a page of the head's keys lies what is read next: the next page's, at last the first
// page of values. It asks for the scales there; the codes are for the loops to ask for. (One page lies far from another:
// the processor does not foresee it.)
func (t *attendance) afterKeys(s *set, page int) (ahead int) {
	last := t.seats[len(t.seats)-1]
	if page < last.Position/PageSize {
		s.prefetch(t.cache.view(last.Pages[page+1], t.layer, t.head).keyScales)
		return t.cache.apart(last.Pages[page], last.Pages[page+1])
	}
	s.prefetch(t.cache.view(last.Pages[0], t.layer, t.head).valScales)
	return t.cache.apart(last.Pages[page], last.Pages[0]) + t.cache.values
}

// afterValues does so for values, after which the next head's keys come.
func (t *attendance) afterValues(s *set, page int) (ahead int) {
	last := t.seats[len(t.seats)-1]
	switch {
	case page < last.Position/PageSize:
		s.prefetch(t.cache.view(last.Pages[page+1], t.layer, t.head).valScales)
		return t.cache.apart(last.Pages[page], last.Pages[page+1])
	case t.head+1 < t.cache.Heads:
		s.prefetch(t.cache.view(last.Pages[0], t.layer, t.head+1).keyScales)
		return t.cache.apart(last.Pages[page], last.Pages[0]) - t.cache.values + PageSize*t.cache.codeBytes
	}
	return 0
}

// apart is how many bytes page b lies behind page a.
func (c *pagedCache) apart(a, b int32) int { return int(int64(b-a) * c.pageBytes) }

// attend writes to dst what the queries read (NUMERICS rule 7): with s_j the scores of the positions 0..i and M their
// maximum, p_j = Exp(s_j - M), or 0 where s_j - M < -41.5, the sum of p_j v_j over the sum of p_j, both by chunks of
// 256 positions whose totals are added in order. A query that is not finite reads zeros; it returns a bit for each.
func (a *attention) attend(s *set, t *attendance) (bad uint64) {
	n, c := len(t.seats), t.cache
	a.queries.reset(n, c.HeadSize, c.scale)
	a.most, a.sums, a.total = grow(a.most, n), grow(a.sums, n), grow(a.total, n*c.HeadSize)
	clear(a.sums)
	for i := range n {
		clear(t.out(i))
		if !a.setQuery(s, t, i) {
			bad |= 1 << i
		}
	}
	last := t.seats[n-1].Position
	stride := (last + PageSize) &^ (PageSize - 1)
	a.scores = grow(a.scores, n*stride)
	a.score(s, t, stride)
	for from := 0; from <= last; from += Chunk {
		a.addChunk(s, t, stride, from)
	}
	for i := range n {
		if bad>>i&1 == 0 {
			s.divide(t.out(i), a.sums[i])
		} else {
			clear(t.out(i))
		}
	}
	return bad
}

// setQuery takes in query i, as zeros if it is not finite: then it returns false.
func (a *attention) setQuery(s *set, t *attendance, i int) bool {
	x := t.query(i)
	if t.cache.Format == F16 {
		return s.maxAbs(x) < infBits
	}
	if s.quantiseQuery(&a.queries, i, x) {
		return true
	}
	units := t.cache.HeadSize / CacheUnit
	clear(a.queries.codes[i*len(x):][:len(x)])
	clear(a.queries.scales[i*units:][:units])
	clear(a.queries.starts[i*units:][:units])
	return false
}

// score writes the scores of all positions that a query sees, and finds the largest.
func (a *attention) score(s *set, t *attendance, stride int) {
	c := t.cache
	last := t.seats[len(t.seats)-1]
	for from := 0; from <= last.Position; from += PageSize {
		v := c.view(last.Pages[from/PageSize], t.layer, t.head)
		tokens := min(PageSize, last.Position+1-from)
		ahead := t.afterKeys(s, from/PageSize)
		if c.Format == Int8 {
			s.scores(a.scores[from:], stride, &a.queries, v.keys, v.keyScales, c.HeadSize, tokens, ahead)
			continue
		}
		for i := range t.seats {
			s.scoresHalf(a.scores[i*stride+from:][:tokens], t.query(i), c.scale, v.keys, c.HeadSize, tokens)
		}
	}
	for i, seat := range t.seats {
		scores := a.scores[i*stride:][:seat.Position+1]
		if c.slopes != nil {
			s.bias(scores, c.slopes[t.head], -seat.Position)
		}
		a.most[i] = s.largest(scores)
	}
}

// addChunk makes weights of the scores of the chunk of positions from..from+255, and adds to each query's result the
// values that they weigh.
func (a *attention) addChunk(s *set, t *attendance, stride, from int) {
	c, n := t.cache, len(t.seats)
	last := t.seats[n-1]
	to := min(from+Chunk, last.Position+1)
	weight := float32(0)
	for i, seat := range t.seats {
		row := a.scores[i*stride:][:to]
		own := min(to, seat.Position+1)
		if own > from {
			sum := s.softWeights(row[from:own], a.most[i])
			a.sums[i] += sum
			weight += sum
		}
		clear(row[max(own, from):])
	}
	if weight == 0 {
		return // far away under ALiBi: nothing to add
	}
	clear(a.total)
	for at := from; at < to; at += PageSize {
		v := c.view(last.Pages[at/PageSize], t.layer, t.head)
		tokens := min(PageSize, to-at)
		ahead := t.afterValues(s, at/PageSize)
		if c.Format == Int8 {
			s.values(a.total, n, a.scores[at:], stride, v.values, v.valScales, c.HeadSize, tokens, ahead)
			continue
		}
		for i := range n {
			s.valuesHalf(a.total[i*c.HeadSize:][:c.HeadSize], a.scores[i*stride+at:][:tokens], v.values, c.HeadSize, tokens)
		}
	}
	for i := range n {
		s.add(t.out(i), a.total[i*c.HeadSize:][:c.HeadSize])
	}
}

// softWeights replaces the scores of a chunk by their weights and returns the sum of these, by lanes.
func softWeights(s []float32, most float32) float32 {
	var lanes [Lanes]float32
	for j, v := range s {
		d := v - most
		p := float32(0)
		if !(d < scoreCut) {
			p = Exp(d)
		}
		s[j] = p
		lanes[j%Lanes] += p
	}
	return sumLanes(&lanes)
}

// bias adds ALiBi's slope * float32(first+j) to each score.
func bias(s []float32, slope float32, first int) {
	for j := range s {
		s[j] += float32(slope * float32(first+j))
	}
}

// largest is the largest score.
func largest(s []float32) float32 {
	most := float32(math.Inf(-1))
	for _, v := range s {
		if v > most {
			most = v
		}
	}
	return most
}

// scores writes to dst[i*stride+t] the products of query i and the key of token t: by units of 32, in order.
func scores(dst []float32, stride int, q *queries, keys, scales []byte, width, tokens, _ int) {
	units := q.size / CacheUnit
	for i := range q.n {
		codes, own := q.codes[i*q.size:][:q.size], q.scales[i*units:][:units]
		for t := range tokens {
			key, keyScales := keys[t*width:][:q.size], scales[t*width/(CacheUnit/2):]
			s := float32(0)
			for b, qs := range own {
				d := dotUnit((*[CacheUnit]byte)(key[b*CacheUnit:]), (*[CacheUnit]int8)(codes[b*CacheUnit:]))
				ks := finite16to32(binary.LittleEndian.Uint16(keyScales[2*b:]))
				s += float32(float32(d) * float32(qs*ks))
			}
			dst[i*stride+t] = float32(s * q.root)
		}
	}
}

// dotUnit is the dot product of 32 stored codes and 32 codes of a query.
func dotUnit(k *[CacheUnit]byte, q *[CacheUnit]int8) int32 {
	var even, odd int32
	for i := 0; i < CacheUnit; i += 2 {
		even += int32(int8(k[i])) * int32(q[i])
		odd += int32(int8(k[i+1])) * int32(q[i+1])
	}
	return even + odd
}

// scoresHalf writes to dst the products of a query and the float16 keys of tokens, by lanes, times root.
func scoresHalf(dst, x []float32, root float32, keys []byte, width, tokens int) {
	for t := range tokens {
		dst[t] = float32(dotHalf(keys[2*t*width:][:2*len(x)], x) * root)
	}
}

// dotHalf is the dot product of float16s and x, by lanes.
func dotHalf(half []byte, x []float32) float32 {
	var lanes [Lanes]float32
	for i, v := range x {
		lanes[i%Lanes] += float32(finite16to32(binary.LittleEndian.Uint16(half[2*i:])) * v)
	}
	return sumLanes(&lanes)
}

// values adds to total[i] the values of tokens, each times its weight p[i*stride+t], token by token. Tokens of weight 0
// add nothing.
func values(total []float32, n int, p []float32, stride int, codes, scales []byte, width, tokens, _ int) {
	size := len(total) / n
	for i := range n {
		for t := range tokens {
			w := p[i*stride+t]
			if w == 0 {
				continue
			}
			for b := range size / CacheUnit {
				scale := finite16to32(binary.LittleEndian.Uint16(scales[t*width/(CacheUnit/2)+2*b:]))
				addCodes((*[CacheUnit]float32)(total[i*size+b*CacheUnit:]), codes[t*width+b*CacheUnit:], float32(w*scale))
			}
		}
	}
}

// addCodes adds w * float32(code) of 32 codes to the sums.
func addCodes(sums *[CacheUnit]float32, codes []byte, w float32) {
	for i, v := range codes[:CacheUnit] {
		sums[i] += float32(w * float32(int8(v)))
	}
}

// valuesHalf adds to total p[t] * v for the float16 values of tokens, token by token.
func valuesHalf(total, p []float32, codes []byte, width, tokens int) {
	for t := range tokens {
		if w := p[t]; w != 0 {
			half := codes[2*t*width:][:2*len(total)]
			for i := range total {
				total[i] += float32(w * finite16to32(binary.LittleEndian.Uint16(half[2*i:])))
			}
		}
	}
}

// add adds src to dst, of the same length.
func add(dst, src []float32) {
	for i, v := range src {
		dst[i] += v
	}
}

// divide divides each of dst.
func divide(dst []float32, by float32) {
	for i := range dst {
		dst[i] /= by
	}
}
