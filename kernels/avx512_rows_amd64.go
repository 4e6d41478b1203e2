package kernels

// useAVX512Rows puts its functions into s.
func useAVX512Rows(s *set) {
	s.rmsNorm, s.roundRow, s.widenRow = rmsNormAVX512, roundRowAVX512, widenRowAVX512
	s.swiGLU, s.rotate, s.maxAbs = swiGLUAVX512, rotateAVX512, maxAbsAVX512
	s.add, s.divide = addAVX512, divideAVX512
}

// avx512Exp are the numbers of Exp in the order in which its vector form loads them.
//
//lint:ignore U1000 assembly reads it
var avx512Exp = [11]float32{log2e, roundShift, ln2hi, ln2lo, exp7, exp6, exp5, exp4, exp3, exp2, 1}

func rmsNormAVX512(dst, x, gain []float32, eps float32) bool {
	if len(x) == 0 {
		return rmsNorm(dst, x, gain, eps)
	}
	dst, gain = dst[:len(x)], gain[:len(x)]
	sum, most := sumSquares512(&x[0], len(x))
	if most >= infBits || notFinite(sum) {
		clear(dst)
		return false
	}
	scaleRow512(&dst[0], &x[0], &gain[0], len(x), 1/sqrt(sum/float32(len(x))+eps))
	return true
}

func roundRowAVX512(half []byte, x []float32) (exp uint8, ok bool) {
	if len(x) == 0 {
		return roundRow(half, x)
	}
	most := maxAbs512(&x[0], len(x))
	e := max(0, int((most+1<<23-1)>>23)-127-15) // as in roundRow
	if e > maxExponent {
		clear(half)
		clear(x)
		return 0, false
	}
	if half == nil {
		roundInPlace512(&x[0], len(x), power2(-e), power2(e))
	} else {
		half = half[:2*len(x)]
		roundRow512(&half[0], &x[0], len(x), power2(-e), power2(e))
	}
	return uint8(e), true
}

func widenRowAVX512(dst []float32, half []byte, exp uint8) {
	if len(dst) == 0 {
		return
	}
	half = half[:2*len(dst)]
	widenRow512(&dst[0], &half[0], len(dst), power2(int(exp)))
}

func swiGLUAVX512(dst, gate, up []float32) {
	if len(dst) == 0 {
		return
	}
	gate, up = gate[:len(dst)], up[:len(dst)]
	swiGLU512(&dst[0], &gate[0], &up[0], len(dst))
}

func rotateAVX512(x, cos, sin []float32) {
	n := len(cos)
	if n == 0 {
		return
	}
	x, sin = x[:2*n], sin[:n]
	rotate512(&x[0], &x[n], &cos[0], &sin[0], n)
}

func maxAbsAVX512(x []float32) uint32 {
	if len(x) == 0 {
		return 0
	}
	return maxAbs512(&x[0], len(x))
}

func addAVX512(dst, src []float32) {
	if len(src) == 0 {
		return
	}
	dst = dst[:len(src)]
	add512(&dst[0], &src[0], len(src))
}

func divideAVX512(dst []float32, by float32) {
	if len(dst) != 0 {
		divide512(&dst[0], len(dst), by)
	}
}

//go:noescape
func sumSquares512(x *float32, n int) (sum float32, most uint32)

//go:noescape
func scaleRow512(dst, x, gain *float32, n int, r float32)

//go:noescape
func roundRow512(half *byte, x *float32, n int, down, up float32)

//go:noescape
func roundInPlace512(x *float32, n int, down, up float32)

//go:noescape
func widenRow512(dst *float32, half *byte, n int, up float32)

//go:noescape
func swiGLU512(dst, gate, up *float32, n int)

//go:noescape
func rotate512(a, b, cos, sin *float32, n int)

//go:noescape
func maxAbs512(x *float32, n int) uint32

//go:noescape
func add512(dst, src *float32, n int)

//go:noescape
func divide512(dst *float32, n int, by float32)
