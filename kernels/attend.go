package kernels

import (
	"encoding/binary"
	"math"
)

// attention is the scratch of one worker: what one query of one head needs.
type attention struct {
	scores []float32 // of all positions up to the query's; then their weights, chunk by chunk
	codes  []int32   // of the query
	scales []float32 // of the query's units
	wide   []float32 // a key as float32
	total  []float32 // of a chunk
	live   [PageSize]int
	weight [PageSize]float32
}

// query is one head's question at a position.
type query struct {
	cache *pagedCache
	layer int
	head  int
	seat  Seat
	x     []float32 // head size
}

// attend writes to dst what a query reads (NUMERICS rule 7): with s_j the scores of the positions 0..i and M their
// maximum, p_j = Exp(s_j - M), or 0 where s_j - M < -41.5, the sum of p_j v_j over the sum of p_j, both by chunks of
// 256 positions whose totals are added in order. Where the query is not finite it writes zeros and returns false.
//
//	dst, q.x (head size)
func (a *attention) attend(dst []float32, q query) bool {
	if !a.setQuery(q) {
		clear(dst)
		return false
	}
	n := q.seat.Position + 1
	a.scores = grow(a.scores, n)
	most := a.score(q)
	a.total = grow(a.total, len(dst))
	clear(dst)
	l := float32(0)
	for from := 0; from < n; from += Chunk {
		p := a.scores[from:min(from+Chunk, n)]
		l += softWeights(p, most)
		clear(a.total)
		for page := 0; page*PageSize < len(p); page++ {
			data := q.cache.layer(q.seat.Pages[from/PageSize+page], q.layer)
			a.addValues(q, data, p[page*PageSize:min((page+1)*PageSize, len(p))])
		}
		for i, t := range a.total {
			dst[i] += t
		}
	}
	for i := range dst {
		dst[i] /= l
	}
	return true
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

// setQuery quantises the query, where keys are, in units of 32 with float32 scales.
func (a *attention) setQuery(q query) bool {
	if q.cache.Format == F16 {
		return maxAbsBits(q.x) < infBits
	}
	a.codes = grow(a.codes, len(q.x))
	a.scales = grow(a.scales, len(q.x)/CacheUnit)
	for b := range a.scales {
		var codes [CacheUnit]int8
		scale, ok := quantise(codes[:], q.x[b*CacheUnit:][:CacheUnit])
		if !ok {
			return false
		}
		a.scales[b] = scale
		for i, c := range codes {
			a.codes[b*CacheUnit+i] = int32(c)
		}
	}
	return true
}

// score writes the scores of the positions 0..i and returns the largest.
func (a *attention) score(q query) float32 {
	c, i := q.cache, q.seat.Position
	most := float32(math.Inf(-1))
	for from := 0; from <= i; from += PageSize {
		page := c.layer(q.seat.Pages[from/PageSize], q.layer)
		scores := a.scores[from:min(from+PageSize, i+1)]
		for token := range scores {
			s := float32(a.keyDot(q, page, token) * c.scale)
			if c.slopes != nil {
				s += float32(c.slopes[q.head] * float32(from+token-i))
			}
			scores[token] = s
			if s > most {
				most = s
			}
		}
	}
	return most
}

// keyDot is the query times a stored key: by units of 32 with their scales, or by lanes.
func (a *attention) keyDot(q query, page []byte, token int) float32 {
	c := q.cache
	size := c.HeadSize
	at := token*c.hidden + q.head*size
	if c.Format == F16 {
		a.wide = grow(a.wide, size)
		widen16(a.wide, F16, page[2*at:][:2*size])
		return dotLanes(a.wide, q.x)
	}
	codes, scales := page[at:][:size], page[c.keyScales+at/CacheUnit*2:]
	s := float32(0)
	for b, qs := range a.scales {
		d := dotUnit((*[CacheUnit]byte)(codes[b*CacheUnit:]), (*[CacheUnit]int32)(a.codes[b*CacheUnit:]))
		ks := finite16to32(binary.LittleEndian.Uint16(scales[2*b:]))
		s += float32(float32(d) * float32(qs*ks))
	}
	return s
}

// dotUnit is the dot product of 32 stored codes and 32 codes of a query.
func dotUnit(k *[CacheUnit]byte, q *[CacheUnit]int32) int32 {
	var even, odd int32
	for i := 0; i < CacheUnit; i += 4 {
		even += int32(int8(k[i]))*q[i] + int32(int8(k[i+1]))*q[i+1]
		odd += int32(int8(k[i+2]))*q[i+2] + int32(int8(k[i+3]))*q[i+3]
	}
	return even + odd
}

// addValues adds to the chunk's total the values of a page's first len(p) tokens, each times its weight, token by
// token. Tokens of weight 0 add nothing.
func (a *attention) addValues(q query, page []byte, p []float32) {
	c := q.cache
	live := a.live[:0]
	for token, w := range p {
		if w != 0 {
			live = append(live, token)
		}
	}
	first := q.head * c.HeadSize
	if c.Format == F16 {
		for _, token := range live {
			addHalf(a.total, page[c.values+2*(token*c.hidden+first):], p[token])
		}
		return
	}
	for b := range c.HeadSize / CacheUnit {
		at := first + b*CacheUnit
		for n, token := range live {
			scale := page[c.valScales+token*c.scaleBytes+at/CacheUnit*2:]
			a.weight[n] = p[token] * finite16to32(binary.LittleEndian.Uint16(scale))
		}
		for g := 0; g < CacheUnit; g += 8 {
			sums := (*[8]float32)(a.total[b*CacheUnit+g:])
			addCodes(sums, page[c.values+at+g:], c.hidden, live, &a.weight)
		}
	}
}

// addCodes adds 8 neighbouring codes of the live tokens, weight[n] * float32(code of live[n]), to the sums, which it
// keeps in registers.
func addCodes(sums *[8]float32, codes []byte, stride int, live []int, weight *[PageSize]float32) {
	s0, s1, s2, s3 := sums[0], sums[1], sums[2], sums[3]
	s4, s5, s6, s7 := sums[4], sums[5], sums[6], sums[7]
	for n, token := range live {
		w, v := weight[n%PageSize], codes[token*stride:][:8]
		s0 += float32(w * float32(int8(v[0])))
		s1 += float32(w * float32(int8(v[1])))
		s2 += float32(w * float32(int8(v[2])))
		s3 += float32(w * float32(int8(v[3])))
		s4 += float32(w * float32(int8(v[4])))
		s5 += float32(w * float32(int8(v[5])))
		s6 += float32(w * float32(int8(v[6])))
		s7 += float32(w * float32(int8(v[7])))
	}
	*sums = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
}

// addHalf adds w times each of the stored float16 values to the sums.
func addHalf(sums []float32, values []byte, w float32) {
	values = values[:2*len(sums)]
	for i := range sums {
		sums[i] += float32(w * finite16to32(binary.LittleEndian.Uint16(values[2*i:])))
	}
}
