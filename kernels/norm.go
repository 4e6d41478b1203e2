package kernels

import "math"

// sumLanes adds up the lanes of a float sum (NUMERICS rule 2): l and l+8, then +4, +2, +1.
func sumLanes(lanes *[Lanes]float32) float32 {
	for step := Lanes / 2; step > 0; step /= 2 {
		for l := range step {
			lanes[l] += lanes[l+step]
		}
	}
	return lanes[0]
}

// dotLanes is the dot product of a and b, of the same length, by lanes: element i is added to lane i mod 16, in order.
func dotLanes(a, b []float32) float32 {
	var lanes [Lanes]float32
	b = b[:len(a)]
	whole := len(a) &^ (Lanes - 1)
	// Two passes of 8 lanes: 16 sums and their operands do not fit into the registers.
	for half := 0; half < Lanes; half += 8 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for i := half; i < whole; i += Lanes {
			x, y := a[i:i+8:i+8], b[i:i+8:i+8]
			s0 += float32(x[0] * y[0])
			s1 += float32(x[1] * y[1])
			s2 += float32(x[2] * y[2])
			s3 += float32(x[3] * y[3])
			s4 += float32(x[4] * y[4])
			s5 += float32(x[5] * y[5])
			s6 += float32(x[6] * y[6])
			s7 += float32(x[7] * y[7])
		}
		*(*[8]float32)(lanes[half:]) = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
	for i := whole; i < len(a); i++ {
		lanes[i%Lanes] += float32(a[i] * b[i])
	}
	return sumLanes(&lanes)
}

// rmsNorm writes x * (1/rms(x)) * gain to dst, for one row; all have the same length and dst may be x.
//
// rms(x) = sqrt(mean(x^2) + eps), summed by lanes, where |x| < 2^-60 counts as 0; computed as (x * (1/rms)) * gain
// (NUMERICS rules 2 and 4). Where x or the sum is not finite it writes zeros and returns false. Source: Zhang and
// Sennrich 2019.
func rmsNorm(dst, x, gain []float32, eps float32) bool {
	dst, gain = dst[:len(x)], gain[:len(x)]
	var lanes [Lanes]float32
	most := uint32(0)
	for i, v := range x {
		bits := math.Float32bits(v) & absBits
		most = max(most, bits)
		if bits < tinyBits {
			v = 0
		}
		lanes[i%Lanes] += float32(v * v)
	}
	sum := sumLanes(&lanes)
	if most >= infBits || notFinite(sum) {
		clear(dst)
		return false
	}
	r := 1 / sqrt(sum/float32(len(x))+eps)
	for i, v := range x {
		dst[i] = float32(float32(v*r) * gain[i])
	}
	return true
}

// sqrt is the correctly rounded float32 root: a float64 root of a float32, rounded again, is.
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
