package kernels

import "slices"

// useAVX2Attention puts its functions into s.
func useAVX2Attention(s *set) {
	s.prefetch = prefetch
	s.queries = 4
	s.storeUnits, s.quantiseQuery = storeUnitsAVX2, quantiseQueryAVX2
	s.scores, s.values = scoresAVX2, valuesAVX2
	s.scoresHalf, s.valuesHalf = scoresHalfAVX2, valuesHalfAVX2
	s.bias, s.largest, s.softWeights = biasAVX2, largestAVX2, softWeightsAVX2
}

// The loops in assembly take at least one unit and one token (scoresLoop: four), and whole vectors of numbers. width and
// tokens are as in set; units are those of a head, pairs two of them: the 64 codes that fill a line of the processor's cache.

//go:noescape
func storeLoopAVX2(codes, scales *byte, x *float32, units int) (most uint32)

//go:noescape
func quantiseLoopAVX2(codes *int8, scales *float32, starts *int32, x *float32, units int) (most uint32)

//go:noescape
func scoresLoopAVX2(dst *float32, codes *int8, own *float32, keys, scales *byte, width, tokens, pairs int, root float32)

//go:noescape
func valuesLoopAVX2(total, p *float32, codes, scales *byte, width, tokens, pairs int)

//go:noescape
func valuesTwoLoopAVX2(total0, total1, p0, p1 *float32, codes, scales *byte, width, tokens, units int)

//go:noescape
func scoresHalfLoopAVX2(dst, x *float32, root float32, keys *byte, width, tokens, units int)

//go:noescape
func valuesHalfLoopAVX2(total, p *float32, codes *byte, width, tokens, units int)

//go:noescape
func biasLoopAVX2(s *float32, n int, slope float32, first int32)

//go:noescape
func largestLoopAVX2(s *float32, n int) float32

func storeUnitsAVX2(codes, scales []byte, x []float32) bool {
	units := len(x) / CacheUnit
	if units == 0 {
		return true
	}
	codes, scales = codes[:units*CacheUnit], scales[:2*units]
	return storeLoopAVX2(&codes[0], &scales[0], &x[0], units) < halfInf
}

func quantiseQueryAVX2(q *queries, i int, x []float32) bool {
	units := q.size / CacheUnit
	codes, x := q.codes[i*q.size:][:q.size], x[:q.size]
	scales, starts := q.scales[i*units:][:units], q.starts[i*units:][:units]
	return quantiseLoopAVX2(&codes[0], &scales[0], &starts[0], &x[0], units) < infBits
}

// pair is two units, which scores and values take together; an odd number of units is left to plain Go.
const pair = 2 * CacheUnit

// reach checks that tokens so far apart, each of so many bytes, are all there.
func reach(b []byte, apart, tokens, size int) *byte { return &b[:(tokens-1)*apart+size][0] }

func scoresAVX2(dst []float32, stride int, q *queries, keys, scales []byte, width, tokens, ahead int) {
	if q.size%pair != 0 || tokens < 4 {
		scores(dst, stride, q, keys, scales, width, tokens, ahead)
		return
	}
	prefetchAhead(keys, ahead)
	units := q.size / CacheUnit
	k, s := reach(keys, width, tokens, q.size), reach(scales, width/(CacheUnit/2), tokens, 2*units)
	for i := range q.n {
		codes, own := q.codes[i*q.size:][:q.size], q.scales[i*units:][:units]
		scoresLoopAVX2(&dst[i*stride:][:tokens][0], &codes[0], &own[0], k, s, width, tokens, units/2, q.root)
	}
}

func valuesAVX2(total []float32, n int, p []float32, stride int, codes, scales []byte, width, tokens, ahead int) {
	size := len(total) / n
	if size%pair != 0 || tokens == 0 {
		values(total, n, p, stride, codes, scales, width, tokens, ahead)
		return
	}
	prefetchAhead(codes, ahead)
	units := size / CacheUnit
	c, s := reach(codes, width, tokens, size), reach(scales, width/(CacheUnit/2), tokens, 2*units)
	row := func(i int) (*float32, *float32) { return &total[i*size:][:size][0], &p[i*stride:][:tokens][0] }
	i := 0
	for ; i+1 < n; i += 2 {
		total0, p0 := row(i)
		total1, p1 := row(i + 1)
		valuesTwoLoopAVX2(total0, total1, p0, p1, c, s, width, tokens, units)
	}
	if i < n {
		total0, p0 := row(i)
		valuesLoopAVX2(total0, p0, c, s, width, tokens, units/2)
	}
}

func scoresHalfAVX2(dst []float32, x []float32, root float32, keys []byte, width, tokens int) {
	if tokens == 0 {
		return
	}
	k := reach(keys, 2*width, tokens, 2*len(x))
	scoresHalfLoopAVX2(&dst[:tokens][0], &x[0], root, k, width, tokens, len(x)/CacheUnit)
}

func valuesHalfAVX2(total, p []float32, codes []byte, width, tokens int) {
	if tokens == 0 {
		return
	}
	c := reach(codes, 2*width, tokens, 2*len(total))
	valuesHalfLoopAVX2(&total[0], &p[:tokens][0], c, width, tokens, len(total)/CacheUnit)
}

func biasAVX2(s []float32, slope float32, first int) {
	n := len(s) &^ (vector - 1)
	if n > 0 {
		biasLoopAVX2(&s[0], n, slope, int32(first)) // positions are below maxSide
	}
	bias(s[n:], slope, first+n)
}

func largestAVX2(s []float32) float32 {
	n := len(s) &^ (vector - 1)
	most := largest(s[n:])
	if n > 0 {
		most = max(most, largestLoopAVX2(&s[0], n)) // neither is a NaN
	}
	if most != 0 {
		return most
	}
	return s[slices.Index(s, 0)] // the first zero, as its sign counts
}
