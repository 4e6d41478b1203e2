package kernels

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"testing"
)

// digest is the SHA-256 of numbers as little-endian float32.
func digest(x []float32) string {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// The hashes were made by another program (Python's decimal at 60 digits, rounded exactly), not by this one.
func TestRotaryTable_HasTheKnownBits(t *testing.T) {
	for _, c := range []struct {
		theta           float64
		size, positions int
		cos, sin        string
	}{
		{10000, 32, 300, "a52169a1afcbd07bf03bb5181a8562bfd8cd2ebe1ba3da4b9ce007100b136931", "b5a9c788db303a5bc95e3e18ea341cf6acc16e7049e702f8dd325e43ced5f822"},
		{10000, 96, 300, "66a6700956f35bbbb6e1eacb9b998e3ff384c2ebb63358c66636374659f72ba5", "384924dc997c0528bd67e9d8f9907ce6ec478bb571f8d74689416f804ce54148"},
		{500000, 64, 300, "39bd8f8dd4437420c620ce469b017e9a5a475efb9ab20aa2adbd3c842c3b1f75", "fc3d6c9b0498681697b6b1f7a6f8d77f686f987307e75aa8c6bddaf52f8f1082"},
		{10000, 128, 4096, "90d05b8e91324ec94b8beda4a6930867e244dacae8468939a497ead1a653a413", "dd2b7a17afb0e0ffbf5fdae7c5720c7528855e21388bb5d2b16447a3e2aca687"},
	} {
		cos, sin := RotaryTable(c.theta, c.size, c.positions)
		if digest(cos) != c.cos || digest(sin) != c.sin {
			t.Errorf("theta %v, head size %d, %d positions: got %s, %s", c.theta, c.size, c.positions, digest(cos), digest(sin))
		}
	}
}

func TestRotaryTable_AgreesWithFloat64(t *testing.T) {
	const size, positions = 64, 1000
	for _, theta := range []float64{1, 10000, 1e11} {
		cos, sin := RotaryTable(theta, size, positions)
		for p := range positions {
			for i := range size / 2 {
				angle := float64(p) * math.Pow(theta, -2*float64(i)/size)
				at := p*size/2 + i
				if math.Abs(float64(cos[at])-math.Cos(angle)) > 0x1p-25+1e-11 || math.Abs(float64(sin[at])-math.Sin(angle)) > 0x1p-25+1e-11 {
					t.Fatalf("theta %v, position %d, %d: (%v, %v), want (%v, %v)", theta, p, i, cos[at], sin[at], math.Cos(angle), math.Sin(angle))
				}
			}
		}
	}
}

func TestRotary_ExtendedInStepsIsTheSameTable(t *testing.T) {
	cos, sin := RotaryTable(10000, 64, 500)
	r := newRotary(10000, 64)
	for _, n := range []int{1, 2, 7, 7, 3, 256, 500} {
		r.extend(n)
	}
	sameBits(t, "cos", r.cos, cos)
	sameBits(t, "sin", r.sin, sin)
}

func TestRotaryTable_PanicsOnNonsense(t *testing.T) {
	for name, call := range map[string]func(){
		"theta below 1": func() { RotaryTable(0.5, 64, 1) },
		"theta NaN":     func() { RotaryTable(math.NaN(), 64, 1) },
		"theta Inf":     func() { RotaryTable(math.Inf(1), 64, 1) },
		"odd head":      func() { RotaryTable(10000, 63, 1) },
		"no heads":      func() { Slopes(0) },
	} {
		t.Run(name, func(t *testing.T) { mustPanic(t, call) })
	}
}

// These hashes too were made by another program.
func TestSlopes_HaveTheKnownBits(t *testing.T) {
	for heads, want := range map[int]string{
		1:  "7c5c1d9451c2174c1707bf7f3174b294f8d4f28139a3b51c73cc210d920bb412",
		8:  "275bb4f75324a4e5d4dfbf9813a770a32dc12dcfa7331135c46542c97d07192b",
		12: "c9290db60fb24c9fe81d55019168b3f7544d1fbf66417c3c051ce81a3f518005",
		32: "091d67e03a0ef64a73d4edcd471e84e49eb444a3f10ff046c0fa9f8ce43d1a37",
		40: "a205caad9228389c535d89e05cd4ea25f7b14ae059974ed76782b39bf12a762c",
		71: "afe54972844dee65c8ade802d71cdbe3a2e473f585b7756b1c76c81ab0802738",
	} {
		if got := digest(Slopes(heads)); got != want {
			t.Errorf("%d heads: %s, want %s", heads, got, want)
		}
	}
	s := Slopes(40)
	for h, want := range map[int]float64{0: 0.8408964153, 3: 0.5, 31: 0.00390625, 32: 0.9170040432, 39: 0.2726269332} {
		if math.Abs(float64(s[h])-want) > 1e-7 {
			t.Errorf("slope %d of 40 is %v, want %v", h, s[h], want)
		}
	}
}

func TestRootScale_IsTheNearestFloat32(t *testing.T) {
	for n := CacheUnit; n <= 4096; n += CacheUnit {
		root := newFloat().Sqrt(newFloat().SetInt64(int64(n)))
		want, _ := new(big.Float).SetPrec(rootBits).Quo(newFloat().SetInt64(1), root).Float32()
		if got := rootScale(n); got != want {
			t.Errorf("head size %d: %v, want %v", n, got, want)
		}
	}
}
