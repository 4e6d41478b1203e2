package kernels

import "math"

// Coefficients of Exp (NUMERICS rule 3). The two parts of ln 2: the first has 15 bits, so that n times it is exact.
const (
	log2e = 0x1.715476p+0
	ln2hi = 0x1.62e4p-1
	ln2lo = 0x1.7f7d1cp-20
	exp7  = 0x1.a01a02p-13
	exp6  = 0x1.6c16c2p-10
	exp5  = 0x1.111112p-7
	exp4  = 0x1.555556p-5
	exp3  = 0x1.555556p-3
	exp2  = 0.5

	// roundShift added to |x| < 2^22 leaves the integer nearest to x, ties to even, in the low bits.
	roundShift     = 0x1.8p23
	roundShiftBits = 0x4B400000
)

// Exp is e^x for x <= 0, with a relative error below 2^-23.4; 0 for x < -87. A NaN stays one.
func Exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	shifted := float32(x*log2e) + roundShift
	n := shifted - roundShift
	r := (x - float32(n*ln2hi)) - float32(n*ln2lo)
	p := float32(float32(exp7)*r) + exp6
	p = float32(p*r) + exp5
	p = float32(p*r) + exp4
	p = float32(p*r) + exp3
	p = float32(p*r) + exp2
	p = float32(float32(r*r)*p) + r
	p++
	return float32(p * math.Float32frombits((math.Float32bits(shifted)-roundShiftBits+127)<<23))
}

// silu is z / (1 + e^-z), computed from e^-|z| so that nothing overflows.
func silu(z float32) float32 {
	t := Exp(-math.Float32frombits(math.Float32bits(z) & absBits))
	if z >= 0 {
		return z / (1 + t)
	}
	return float32(z*t) / (1 + t)
}

// swiGLU writes silu(gate) * up to dst, which may be gate. All have the same length.
func swiGLU(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	for i := range dst {
		dst[i] = float32(silu(gate[i]) * up[i])
	}
}
