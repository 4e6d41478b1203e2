package kernels

import "math"

// useAVX512Attention puts its functions into s.
func useAVX512Attention(s *set) {
	s.prefetch = prefetch
	s.queries = 4
	s.storeUnits, s.quantiseQuery = storeUnitsAVX512, quantiseQueryAVX512
	s.scores, s.values = scoresAVX512, valuesAVX512
	s.scoresHalf, s.valuesHalf = scoresHalfAVX512, valuesHalfAVX512
	s.bias, s.largest, s.softWeights = biasAVX512, largestAVX512, softWeightsAVX512
}

// A slice is what the fast loops take of a head at once: 128 elements, the head size of every real model. What is left of
// other sizes goes unit by unit.
const (
	slice512      = 128
	sliceUnits512 = slice512 / CacheUnit
)

func storeUnitsAVX512(codes, scales []byte, x []float32) bool {
	units := len(x) / CacheUnit
	if units == 0 {
		return true
	}
	codes, scales = codes[:units*CacheUnit], scales[:2*units]
	most, scale := storeUnits512(&codes[0], &scales[0], &x[0], units)
	return most < infBits && scale < halfInf
}

func quantiseQueryAVX512(q *queries, i int, x []float32) bool {
	units := q.size / CacheUnit
	if units == 0 {
		return true
	}
	x, codes := x[:q.size], q.codes[i*q.size:][:q.size]
	scales, starts := q.scales[i*units:][:units], q.starts[i*units:][:units]
	return quantiseUnits512(&codes[0], &scales[0], &starts[0], &x[0], units) < infBits
}

func scoresAVX512(dst []float32, stride int, q *queries, keys, scales []byte, width, tokens, ahead int) {
	if tokens == 0 || q.n == 0 {
		return
	}
	units := q.size / CacheUnit
	_ = keys[:(tokens-1)*width+q.size]
	_ = scales[:(tokens-1)*(width/(CacheUnit/2))+2*units]
	_ = dst[:(q.n-1)*stride+tokens]
	if q.size == slice512 && tokens >= Lanes && q.n <= 4 {
		_, _, _ = q.codes[:q.n*q.size], q.scales[:q.n*units], q.starts[:q.n*units]
		scores512(&dst[0], stride, &q.codes[0], &q.scales[0], &q.starts[0], q.n, q.root, &keys[0], &scales[0], width, tokens, ahead)
		return
	}
	for i := range q.n {
		codes, own, starts := q.codes[i*q.size:][:q.size], q.scales[i*units:][:units], q.starts[i*units:][:units]
		scoresByUnit512(&dst[i*stride], &codes[0], &own[0], &starts[0], units, q.root, &keys[0], &scales[0], width, tokens)
	}
}

func valuesAVX512(total []float32, n int, p []float32, stride int, codes, scales []byte, width, tokens, ahead int) {
	if tokens == 0 || n == 0 {
		return
	}
	size := len(total) / n
	_ = codes[:(tokens-1)*width+size]
	_ = scales[:(tokens-1)*(width/(CacheUnit/2))+size/CacheUnit*2]
	_ = p[:(n-1)*stride+tokens]
	at := 0
	for ; at+slice512 <= size; at += slice512 {
		c, s := &codes[at], &scales[at/CacheUnit*2]
		i := 0
		for ; i+4 <= n; i += 4 {
			values512x4(&total[i*size+at], size, &p[i*stride], stride, c, s, width, tokens, ahead)
		}
		for ; i+2 <= n; i += 2 {
			values512x2(&total[i*size+at], size, &p[i*stride], stride, c, s, width, tokens, ahead)
		}
		if i < n {
			values512x1(&total[i*size+at], &p[i*stride], c, s, width, tokens, ahead)
		}
	}
	for ; at+CacheUnit <= size; at += CacheUnit {
		for i := range n {
			valuesOfUnit512(&total[i*size+at], &p[i*stride], &codes[at], &scales[at/CacheUnit*2], width, tokens)
		}
	}
}

func scoresHalfAVX512(dst, x []float32, root float32, keys []byte, width, tokens int) {
	if len(x) == 0 || len(x)%CacheUnit != 0 {
		scoresHalf(dst, x, root, keys, width, tokens)
		return
	}
	if tokens == 0 {
		return
	}
	dst, _ = dst[:tokens], keys[:2*((tokens-1)*width+len(x))]
	scoresHalf512(&dst[0], &x[0], len(x), root, &keys[0], width, tokens)
}

func valuesHalfAVX512(total, p []float32, codes []byte, width, tokens int) {
	if len(total)%CacheUnit != 0 {
		valuesHalf(total, p, codes, width, tokens)
		return
	}
	if len(total) == 0 || tokens == 0 {
		return
	}
	p, _ = p[:tokens], codes[:2*((tokens-1)*width+len(total))]
	at := 0
	for ; at+slice512 <= len(total); at += slice512 {
		valuesHalf512(&total[at], &p[0], &codes[2*at], width, tokens)
	}
	for ; at < len(total); at += CacheUnit {
		valuesHalfOfUnit512(&total[at], &p[0], &codes[2*at], width, tokens)
	}
}

func biasAVX512(s []float32, slope float32, first int) {
	if len(s) == 0 {
		return
	}
	if first < math.MinInt32 || first > math.MaxInt32-len(s) {
		bias(s, slope, first)
		return
	}
	bias512(&s[0], len(s), slope, int32(first))
}

func largestAVX512(s []float32) float32 {
	if len(s) == 0 {
		return largest(s)
	}
	most := largest512(&s[0], len(s))
	if most == 0 {
		return largest(s) // which of +0 and -0 is the first
	}
	return most
}

func softWeightsAVX512(s []float32, most float32) float32 {
	if len(s) == 0 {
		return 0
	}
	return softWeights512(&s[0], len(s), most)
}

//go:noescape
func storeUnits512(codes, scales *byte, x *float32, units int) (most, scale uint32)

//go:noescape
func quantiseUnits512(codes *int8, scales *float32, starts *int32, x *float32, units int) (most uint32)

//go:noescape
func scores512(dst *float32, stride int, codes *int8, own *float32, starts *int32, n int, root float32, keys, scales *byte, width, tokens, ahead int)

//go:noescape
func scoresByUnit512(dst *float32, codes *int8, own *float32, starts *int32, units int, root float32, keys, scales *byte, width, tokens int)

//go:noescape
func values512x1(total, p *float32, codes, scales *byte, width, tokens, ahead int)

//go:noescape
func values512x2(total *float32, size int, p *float32, stride int, codes, scales *byte, width, tokens, ahead int)

//go:noescape
func values512x4(total *float32, size int, p *float32, stride int, codes, scales *byte, width, tokens, ahead int)

//go:noescape
func valuesOfUnit512(total, p *float32, codes, scales *byte, width, tokens int)

//go:noescape
func scoresHalf512(dst, x *float32, size int, root float32, keys *byte, width, tokens int)

//go:noescape
func valuesHalf512(total, p *float32, codes *byte, width, tokens int)

//go:noescape
func valuesHalfOfUnit512(total, p *float32, codes *byte, width, tokens int)

//go:noescape
func bias512(s *float32, n int, slope float32, first int32)

//go:noescape
func largest512(s *float32, n int) float32

//go:noescape
func softWeights512(s *float32, n int, most float32) float32
