package kernels

// useAVX2Rows puts its functions into s.
func useAVX2Rows(s *set) {
	s.rmsNorm, s.roundRow, s.widenRow, s.swiGLU = rmsNormAVX2, roundRowAVX2, widenRowAVX2, swiGLUAVX2
	s.rotate, s.maxAbs, s.add, s.divide = rotateAVX2, maxAbsAVX2, addAVX2, divideAVX2
}

// vector is how many float32 lie in a register of AVX2. Lanes are two registers.
const vector = 8

// The loops in assembly take n numbers, whole vectors (squares: whole Lanes) and at least one.

//go:noescape
func squaresLoopAVX2(lanes *[Lanes]float32, x *float32, n int) (most uint32)

//go:noescape
func normLoopAVX2(dst, x, gain *float32, n int, r float32)

//go:noescape
func roundLoopAVX2(x *float32, n int, down, up float32)

//go:noescape
func roundHalfLoopAVX2(half *byte, x *float32, n int, down, up float32)

//go:noescape
func widenLoopAVX2(dst *float32, half *byte, n int, up float32)

//go:noescape
func rotateLoopAVX2(a, b, cos, sin *float32, n int)

//go:noescape
func maxAbsLoopAVX2(x *float32, n int) uint32

//go:noescape
func addLoopAVX2(dst, src *float32, n int)

//go:noescape
func divideLoopAVX2(dst *float32, n int, by float32)

func rmsNormAVX2(dst, x, gain []float32, eps float32) bool {
	n := len(x)
	if n == 0 || n%Lanes != 0 {
		return rmsNorm(dst, x, gain, eps)
	}
	dst, gain = dst[:n], gain[:n]
	var lanes [Lanes]float32
	most := squaresLoopAVX2(&lanes, &x[0], n)
	sum := sumLanes(&lanes)
	if most >= infBits || notFinite(sum) {
		clear(dst)
		return false
	}
	normLoopAVX2(&dst[0], &x[0], &gain[0], n, 1/sqrt(sum/float32(n)+eps))
	return true
}

func roundRowAVX2(half []byte, x []float32) (exp uint8, ok bool) {
	n := len(x)
	if n == 0 || n%vector != 0 {
		return roundRow(half, x)
	}
	most := maxAbsLoopAVX2(&x[0], n)
	e := max(0, int((most+1<<23-1)>>23)-127-15) // as in roundRow
	if e > maxExponent {
		clear(half)
		clear(x)
		return 0, false
	}
	if half == nil {
		roundLoopAVX2(&x[0], n, power2(-e), power2(e))
	} else {
		roundHalfLoopAVX2(&half[:2*n][0], &x[0], n, power2(-e), power2(e))
	}
	return uint8(e), true
}

func widenRowAVX2(dst []float32, half []byte, exp uint8) {
	half = half[:2*len(dst)]
	n := len(dst) &^ (vector - 1)
	if n > 0 {
		widenLoopAVX2(&dst[0], &half[0], n, power2(int(exp)))
	}
	widenRow(dst[n:], half[2*n:], exp)
}

func rotateAVX2(x, cos, sin []float32) {
	n := len(cos)
	if n == 0 || n%vector != 0 {
		rotate(x, cos, sin)
		return
	}
	a, b := x[:n], x[n:2*n]
	rotateLoopAVX2(&a[0], &b[0], &cos[0], &sin[:n][0], n)
}

func maxAbsAVX2(x []float32) uint32 {
	n := len(x) &^ (vector - 1)
	most := maxAbsBits(x[n:])
	if n > 0 {
		most = max(most, maxAbsLoopAVX2(&x[0], n))
	}
	return most
}

func addAVX2(dst, src []float32) {
	dst = dst[:len(src)]
	n := len(src) &^ (vector - 1)
	if n > 0 {
		addLoopAVX2(&dst[0], &src[0], n)
	}
	add(dst[n:], src[n:])
}

func divideAVX2(dst []float32, by float32) {
	n := len(dst) &^ (vector - 1)
	if n > 0 {
		divideLoopAVX2(&dst[0], n, by)
	}
	divide(dst[n:], by)
}
