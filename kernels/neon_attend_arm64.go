package kernels

// useNEONAttention puts its functions into s.
func useNEONAttention(s *set) {
	s.prefetch = prefetch
	s.queries = neonQueries
	s.storeUnits, s.quantiseQuery, s.scores, s.values = storeUnitsNEON, quantiseQueryNEON, scoresNEON, valuesNEON
	s.scoresHalf, s.valuesHalf = scoresHalfNEON, valuesHalfNEON
	s.bias, s.largest, s.softWeights = biasNEON, largestNEON, softWeightsNEON
}

const (
	// neonQueries share a pass over keys and values: the sums of four queries fit into the registers beside what they read.
	neonQueries = 4
	// neonTokens are taken at once: a register has a lane for each. The last of a page may be fewer.
	neonTokens = 4
)

// neonScores writes the scores of tokens >= 1. It writes them by fours, also beyond that of the last token.
//
//go:noescape
func neonScores(dst *float32, stride int, codes *int8, qs *float32, n, units int, root float32, keys, scales *byte, width, tokens int)

// neonValues adds the values of tokens >= 1. It reads weights by fours, also beyond that of the last token.
//
//go:noescape
func neonValues(total *float32, n, units int, p *float32, stride int, codes, scales *byte, width, tokens int)

// neonScoresHalf writes scores for tokens >= 1; size is a multiple of 16.
//
//go:noescape
func neonScoresHalf(dst, x *float32, size int, root float32, keys *byte, width, tokens int)

// neonValuesHalf adds the values of tokens >= 1; size is a multiple of 16. It reads weights by fours, also beyond that of
// the last token.
//
//go:noescape
func neonValuesHalf(total *float32, size int, p *float32, codes *byte, width, tokens int)

func scoresNEON(dst []float32, stride int, q *queries, keys, scales []byte, width, tokens, ahead int) {
	units := q.size / CacheUnit
	if q.n == 0 || tokens == 0 || units == 0 {
		scores(dst, stride, q, keys, scales, width, tokens, ahead)
		return
	}
	keys = keys[:(tokens-1)*width+q.size]
	prefetchAhead(keys, ahead)
	scales = scales[:(tokens-1)*(width/(CacheUnit/2))+2*units]
	dst = dst[:(q.n-1)*stride+tokens]
	codes, qs := q.codes[:q.n*q.size], q.scales[:q.n*units]
	whole := tokens / neonTokens * neonTokens
	if whole > 0 {
		neonScores(&dst[0], stride, &codes[0], &qs[0], q.n, units, q.root, &keys[0], &scales[0], width, whole)
	}
	if rest := tokens - whole; rest > 0 {
		var last [neonQueries * neonTokens]float32
		keys, scales = keys[whole*width:], scales[whole*(width/(CacheUnit/2)):]
		neonScores(&last[0], neonTokens, &codes[0], &qs[0], q.n, units, q.root, &keys[0], &scales[0], width, rest)
		for i := range q.n {
			copy(dst[i*stride+whole:][:rest], last[i*neonTokens:])
		}
	}
}

func valuesNEON(total []float32, n int, p []float32, stride int, codes, scales []byte, width, tokens, ahead int) {
	if n == 0 || tokens == 0 || len(total) == 0 {
		return
	}
	size := len(total) / n
	units := size / CacheUnit
	codes = codes[:(tokens-1)*width+size]
	prefetchAhead(codes, ahead)
	scales = scales[:(tokens-1)*(width/(CacheUnit/2))+2*units]
	p = p[:(n-1)*stride+tokens]
	whole := tokens / neonTokens * neonTokens
	if whole > 0 {
		neonValues(&total[0], n, units, &p[0], stride, &codes[0], &scales[0], width, whole)
	}
	if rest := tokens - whole; rest > 0 {
		var last [neonQueries * neonTokens]float32
		for i := range n {
			copy(last[i*neonTokens:], p[i*stride+whole:][:rest])
		}
		codes, scales = codes[whole*width:], scales[whole*(width/(CacheUnit/2)):]
		neonValues(&total[0], n, units, &last[0], neonTokens, &codes[0], &scales[0], width, rest)
	}
}

func scoresHalfNEON(dst, x []float32, root float32, keys []byte, width, tokens int) {
	if tokens == 0 || len(x) == 0 {
		return
	}
	dst, keys = dst[:tokens], keys[:2*((tokens-1)*width+len(x))]
	neonScoresHalf(&dst[0], &x[0], len(x), root, &keys[0], width, tokens)
}

func valuesHalfNEON(total, p []float32, codes []byte, width, tokens int) {
	if tokens == 0 || len(total) == 0 {
		return
	}
	p, codes = p[:tokens], codes[:2*((tokens-1)*width+len(total))]
	whole := tokens / neonTokens * neonTokens
	if whole > 0 {
		neonValuesHalf(&total[0], len(total), &p[0], &codes[0], width, whole)
	}
	if rest := tokens - whole; rest > 0 {
		var last [neonTokens]float32
		copy(last[:], p[whole:])
		codes = codes[2*whole*width:]
		neonValuesHalf(&total[0], len(total), &last[0], &codes[0], width, rest)
	}
}
