package kernels

// useNEONRows puts its functions into s.
func useNEONRows(s *set) {
	s.rmsNorm, s.roundRow, s.widenRow, s.swiGLU, s.rotate = rmsNormNEON, roundRowNEON, widenRowNEON, swiGLUNEON, rotateNEON
	s.maxAbs, s.add, s.divide = maxAbsNEON, addNEON, divideNEON
}

// neonStep is how many numbers a loop in assembly takes at once. What is left over goes to the plain Go functions; rows of
// real models leave nothing.
const neonStep = 16

// The loops in assembly work on n numbers, a positive multiple of neonStep.

//go:noescape
func neonSquares(x *float32, n int) float32

//go:noescape
func neonNorm(dst, x, gain *float32, n int, r float32)

//go:noescape
func neonRound(half *byte, x *float32, n int, down, up float32)

//go:noescape
func neonWiden(dst *float32, half *byte, n int, up float32)

//go:noescape
func neonSwiGLU(dst, gate, up *float32, n int)

//go:noescape
func neonRotate(a, b, cos, sin *float32, n int)

//go:noescape
func neonMaxAbs(x *float32, n int) uint32

//go:noescape
func neonAdd(dst, src *float32, n int)

//go:noescape
func neonDivide(dst *float32, n int, by float32)

func rmsNormNEON(dst, x, gain []float32, eps float32) bool {
	n := len(x)
	if n == 0 || n%neonStep != 0 {
		return rmsNorm(dst, x, gain, eps)
	}
	dst, gain = dst[:n], gain[:n]
	sum := neonSquares(&x[0], n)
	if notFinite(sum) { // and so it is where one of x is not finite: squares do not cancel out
		clear(dst)
		return false
	}
	neonNorm(&dst[0], &x[0], &gain[0], n, 1/sqrt(sum/float32(n)+eps))
	return true
}

func roundRowNEON(half []byte, x []float32) (exp uint8, ok bool) {
	n := len(x)
	if n == 0 || n%neonStep != 0 {
		return roundRow(half, x)
	}
	e := max(0, int((maxAbsNEON(x)+1<<23-1)>>23)-127-15)
	if e > maxExponent {
		clear(half)
		clear(x)
		return 0, false
	}
	var to *byte
	if half != nil {
		to = &half[:2*n][0]
	}
	neonRound(to, &x[0], n, power2(-e), power2(e))
	return uint8(e), true
}

func widenRowNEON(dst []float32, half []byte, exp uint8) {
	half = half[:2*len(dst)]
	whole := len(dst) / neonStep * neonStep
	if whole > 0 {
		neonWiden(&dst[0], &half[0], whole, power2(int(exp)))
	}
	widenRow(dst[whole:], half[2*whole:], exp)
}

func swiGLUNEON(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	whole := len(dst) / neonStep * neonStep
	if whole > 0 {
		neonSwiGLU(&dst[0], &gate[0], &up[0], whole)
	}
	swiGLU(dst[whole:], gate[whole:], up[whole:])
}

func rotateNEON(x, cos, sin []float32) {
	n := len(cos)
	if n == 0 || n%neonStep != 0 {
		rotate(x, cos, sin)
		return
	}
	x, sin = x[:2*n], sin[:n]
	neonRotate(&x[0], &x[n], &cos[0], &sin[0], n)
}

func maxAbsNEON(x []float32) uint32 {
	whole := len(x) / neonStep * neonStep
	most := maxAbsBits(x[whole:])
	if whole > 0 {
		most = max(most, neonMaxAbs(&x[0], whole))
	}
	return most
}

func addNEON(dst, src []float32) {
	dst = dst[:len(src)]
	whole := len(src) / neonStep * neonStep
	if whole > 0 {
		neonAdd(&dst[0], &src[0], whole)
	}
	add(dst[whole:], src[whole:])
}

func divideNEON(dst []float32, by float32) {
	whole := len(dst) / neonStep * neonStep
	if whole > 0 {
		neonDivide(&dst[0], whole, by)
	}
	divide(dst[whole:], by)
}
