package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
)

// power2 is 2^e as float32, for -126 <= e <= 127.
func power2(e int) float32 { return math.Float32frombits(uint32(e+127) << 23) }

// roundRow rounds a row in place to float16 with one power of two for the row (NUMERICS rule 5), writes the float16s
// to half (little endian) where that is not nil, and returns the exponent: the smallest e >= 0 with absmax <= 2^(15+e).
// Where x is not finite or e would be above 24 it writes zeros and returns false.
func roundRow(half []byte, x []float32) (exp uint8, ok bool) {
	most := maxAbsBits(x)
	e := max(0, int((most+1<<23-1)>>23)-127-15) // the exponent of most, rounded up
	if e > maxExponent {
		clear(half)
		clear(x)
		return 0, false
	}
	down, up := power2(-e), power2(e)
	for i, v := range x {
		h := Float16(v * down)
		x[i] = finite16to32(h) * up
		if half != nil {
			binary.LittleEndian.PutUint16(half[2*i:], h)
		}
	}
	return uint8(e), true
}

// widenRow is the reverse: dst[i] = float16 i of half, times 2^exp.
func widenRow(dst []float32, half []byte, exp uint8) {
	up := power2(int(exp))
	for i := range dst {
		dst[i] = finite16to32(binary.LittleEndian.Uint16(half[2*i:])) * up
	}
}

// CheckCanonical says what is wrong with rows that came from a stranger: lengths that do not fit, or a row that no
// rounding gives (NUMERICS rule 5): each number finite and at most 2^15, the exponent 0, or 1 to 24 with the largest
// magnitude at least 2^14. Zero rows are in order. The error names the row.
func (r Rows) CheckCanonical() error {
	if r.N < 0 || r.Width < 1 || r.Width > maxSide || r.N > maxSide {
		return fmt.Errorf("check rows: %d rows of %d numbers are out of range", r.N, r.Width)
	}
	if len(r.Exp) != r.N || int64(len(r.Half)) != 2*int64(r.N)*int64(r.Width) {
		return fmt.Errorf("check rows: %d exponents and %d bytes are not %d rows of %d float16 numbers",
			len(r.Exp), len(r.Half), r.N, r.Width)
	}
	for i, e := range r.Exp {
		most := maxAbsHalf(r.Half[2*i*r.Width:][:2*r.Width])
		switch {
		case most >= halfInf:
			return fmt.Errorf("check rows: row %d holds a number that is not finite", i)
		case most > halfMost:
			return fmt.Errorf("check rows: row %d holds a magnitude above 32768", i)
		case e > maxExponent:
			return fmt.Errorf("check rows: row %d has exponent %d, the largest is %d", i, e, maxExponent)
		case e > 0 && most < halfLeast:
			return fmt.Errorf("check rows: row %d has exponent %d but no magnitude of 16384 or more", i, e)
		}
	}
	return nil
}

// maxAbsHalf is the largest magnitude of little-endian float16s, as bits.
func maxAbsHalf(half []byte) uint16 {
	m := uint16(0)
	for i := 0; i+1 < len(half); i += 2 {
		m = max(m, binary.LittleEndian.Uint16(half[i:])&halfAbs)
	}
	return m
}
