package kernels

import (
	"math"
	"math/rand"
	"testing"
)

func TestFloat16_EveryValueSurvivesTheRoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		h := uint16(h)
		got, want := Float16to32(h), refHalf(h)
		if want != want {
			if got == got || Float16(got)&0x7C00 != 0x7C00 || Float16(got)&0x3FF == 0 {
				t.Fatalf("%04x: NaN became %v, %04x", h, got, Float16(got))
			}
			continue
		}
		if math.Float32bits(got) != math.Float32bits(want) || Float16(got) != h {
			t.Fatalf("%04x: got %v and back %04x, want %v", h, got, Float16(got), want)
		}
	}
}

// nearestHalf finds the float16 by comparing distances in float64, ties to the even one.
func nearestHalf(x float32) uint16 {
	sign := uint16(0)
	if math.Signbit(float64(x)) {
		sign = 0x8000
	}
	a := math.Abs(float64(x))
	if a >= 65520 {
		return sign | 0x7C00
	}
	lo, hi := uint16(0), uint16(0x7BFF) // the last one not above a
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if float64(refHalf(mid)) <= a {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	if lo == 0x7BFF {
		return sign | lo
	}
	below, above := a-float64(refHalf(lo)), float64(refHalf(lo+1))-a
	if above < below || (above == below && lo%2 == 1) {
		lo++
	}
	return sign | lo
}

func TestFloat16_RoundsToNearestEven(t *testing.T) {
	for h := uint16(0); h < 0x7BFF; h++ {
		middle := (refHalf(h) + refHalf(h+1)) / 2 // exact
		for _, x := range []float32{middle, math.Nextafter32(middle, 0), math.Nextafter32(middle, 1e9)} {
			if got, want := Float16(x), nearestHalf(x); got != want {
				t.Fatalf("Float16(%v) = %04x, want %04x", x, got, want)
			}
		}
	}
	rng := rand.New(rand.NewSource(1))
	for range 200000 {
		x := math.Float32frombits(rng.Uint32())
		if x != x {
			continue
		}
		if got, want := Float16(x), nearestHalf(x); got != want {
			t.Fatalf("Float16(%v) = %04x, want %04x", x, got, want)
		}
	}
	for x, want := range map[float32]uint16{65504: 0x7BFF, 65519.996: 0x7BFF, 65520: 0x7C00, -1e30: 0xFC00, 0x1p-25: 0, 0x1.000002p-25: 1, 0x1p-149: 0} {
		if got := Float16(x); got != want {
			t.Errorf("Float16(%v) = %04x, want %04x", x, got, want)
		}
	}
}

func TestBFloat16_RoundsToNearestEven(t *testing.T) {
	for h := range 1 << 16 {
		x := BFloat16to32(uint16(h))
		if x == x && BFloat16(x) != uint16(h) {
			t.Fatalf("%04x became %04x", h, BFloat16(x))
		}
		if x != x && BFloat16to32(BFloat16(x)) == BFloat16to32(BFloat16(x)) {
			t.Fatalf("%04x: a NaN became %04x", h, BFloat16(x))
		}
	}
	for bits, want := range map[uint32]uint16{
		0x3F808000: 0x3F80, 0x3F818000: 0x3F82, 0x3F808001: 0x3F81, 0x3F807FFF: 0x3F80,
		0x7F7FFFFF: 0x7F80, 0x7F7F7FFF: 0x7F7F, 0xFF7F8000: 0xFF80, 0x7F800001: 0x7FC0, 0x00008000: 0, 0x00018000: 2,
	} {
		if got := BFloat16(math.Float32frombits(bits)); got != want {
			t.Errorf("BFloat16(%08x) = %04x, want %04x", bits, got, want)
		}
	}
}
