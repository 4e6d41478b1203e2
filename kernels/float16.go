package kernels

import "math"

// Float16 is the float16 nearest to x, ties to even: overflow (|x| >= 65520) gives an infinity, a NaN stays one.
func Float16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= absBits
	switch {
	case b > infBits:
		return sign | 0x7E00
	case b >= 0x477FF000: // 65520, half way from the largest float16 to 65536
		return sign | halfInf
	case b < 0x38800000: // 2^-14: subnormal or zero
		// Adding 0.5 moves the last bit that float16 keeps (2^-24) to the last bit of the sum, which rounds it.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3F000000)
	}
	b += 0x0FFF + b>>13&1 // round the 13 bits that go, ties to even
	return sign | uint16((b-0x38000000)>>13)
}

// Float16to32 is the float32 equal to a float16.
func Float16to32(h uint16) float32 {
	if h&halfAbs >= halfInf {
		return math.Float32frombits(uint32(h&0x8000)<<16 | infBits | uint32(h&0x3FF)<<13)
	}
	return finite16to32(h)
}

// finite16to32 is Float16to32 for what is neither an infinity nor a NaN. The product is exact, for subnormals too.
func finite16to32(h uint16) float32 {
	x := math.Float32frombits(uint32(h&halfAbs)<<13) * 0x1p112
	return math.Float32frombits(math.Float32bits(x) | uint32(h&0x8000)<<16)
}

// BFloat16 is the bfloat16 nearest to x, ties to even: overflow gives an infinity, a NaN stays one.
func BFloat16(x float32) uint16 {
	b := math.Float32bits(x)
	if b&absBits > infBits {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}

// BFloat16to32 is the float32 equal to a bfloat16.
func BFloat16to32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// notFinite tells a NaN or an Inf by its bits.
func notFinite(x float32) bool { return math.Float32bits(x)&absBits >= infBits }

// maxAbsBits is the largest magnitude of x as bits. It is a NaN or an Inf if x holds one (a float maximum may lose
// a NaN).
func maxAbsBits(x []float32) uint32 {
	m := uint32(0)
	for _, v := range x {
		m = max(m, math.Float32bits(v)&absBits)
	}
	return m
}
