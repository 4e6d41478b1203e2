package kernels

import (
	"encoding/binary"
	"math"
	"math/rand"
	"testing"
)

// Each target makes the input of a function from any bytes, within what its callers promise, and holds every set against
// the definition. Slices end at a guard page.

// source reads numbers from bytes, and goes round where they end.
type source struct {
	data []byte
	at   int
}

func (s *source) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	s.at++
	return s.data[(s.at-1)%len(s.data)]
}

// below gives a number below n.
func (s *source) below(n int) int { return int(uint16(s.byte())|uint16(s.byte())<<8) % n }

func (s *source) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = s.byte()
	}
	return b
}

// floats gives numbers of any bits.
func (s *source) floats(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(s.bytes(4)))
	}
	return x
}

// halves gives finite float16s, or bfloat16s.
func (s *source) halves(f Format, n int, mask uint16) []byte {
	b := s.bytes(2 * n)
	inf := uint16(halfInf)
	if f == BF16 {
		inf = infBits >> 16
	}
	for i := 0; i < len(b); i += 2 {
		h := binary.LittleEndian.Uint16(b[i:]) & mask
		if h&halfAbs >= inf {
			h &^= inf &^ (inf << 1) // one bit of the exponent
		}
		binary.LittleEndian.PutUint16(b[i:], h)
	}
	return b
}

// codes gives codes of -127..127.
func (s *source) codes(n int) []byte {
	b := s.bytes(n)
	for i, q := range b {
		if q == 0x80 {
			b[i] = 0x81
		}
	}
	return b
}

// fuzz runs a target on every set.
func fuzz(f *testing.F, target func(tr *trial, s *source)) {
	rng := rand.New(rand.NewSource(51))
	for _, n := range []int{0, 1, 7, 64, 333, 1024, 4096} {
		seed := make([]byte, n)
		rng.Read(seed)
		f.Add(seed)
	}
	for _, kind := range wildKinds() {
		seed := []byte{1, 0, 3, 0, 2, 0, 5, 0}
		for _, v := range wild(rng, kind, 128) {
			seed = binary.LittleEndian.AppendUint32(seed, math.Float32bits(v))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, set := range nativeSets() {
			target(&trial{t: t, set: set, mem: newMemory(t, beforeGuard), rng: rand.New(rand.NewSource(52))}, &source{data: data})
		}
	})
}

func FuzzQuantise(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n, blocks := 1+s.below(2*tr.set.tile), 1+s.below(10)
		tr.quantise(tr.set.name(), s.floats(n*blocks*Block), n)
	})
}

func FuzzMul(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n, blocks, run := 1+s.below(tr.set.tile), 1+s.below(18), 1+s.below(3)
		p := panels{format: NF4, n: run, codes: s.bytes(run * blocks * nf4BlockBytes)}
		if s.below(2) == 0 {
			p = panels{format: Int8, n: run, codes: s.codes(run * blocks * int8BlockBytes)}
			for i := range p.codes {
				p.codes[i] ^= 0x80
			}
		}
		p.scales = s.halves(F16, run*blocks*PanelRows, halfAbs)
		tr.mul(tr.set.name(), p, s.floats(n*blocks*Block), n)
	})
}

func FuzzMulWide(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n, rows, k := 1+s.below(tr.set.tile), 1+s.below(PanelRows), 1+s.below(150)
		format := []Format{F16, BF16}[s.below(2)]
		tr.mulWide(tr.set.name(), format, s.halves(format, rows*k, 0xFFFF), rows, s.floats(n*k), n)
	})
}

func FuzzAttention(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n, size, tokens := 1+s.below(tr.set.queries), CacheUnit*(1+s.below(5)), 1+s.below(64)
		stride := tokens + s.below(20)
		cache := stored{width: size * (1 + s.below(3)), tokens: tokens}
		all := (tokens-1)*cache.width + size
		cache.codes, cache.scales = s.codes(all), s.halves(F16, all/CacheUnit, halfAbs)
		q := queries{}
		q.reset(n, size, rootScale(size))
		for i := range n {
			x := s.floats(size)
			tr.quantiseQuery(tr.set.name(), x, i, n)
			if !quantiseQuery(&q, i, x) {
				quantiseQuery(&q, i, make([]float32, size))
			}
		}
		tr.scores(tr.set.name(), q, cache, stride)
		p := s.floats((n-1)*stride + tokens)
		for i := range n {
			own := p[i*stride:][:tokens]
			tr.softWeights(tr.set.name(), own)
			softWeights(own, largest(own))
		}
		total := s.floats(n * size)
		for i := range total {
			total[i] += 0 // a sum that starts at 0 is never -0
		}
		tr.values(tr.set.name(), total, n, p, stride, cache)
	})
}

func FuzzHalfCache(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		size, tokens := CacheUnit*(1+s.below(5)), 1+s.below(64)
		width := size * (1 + s.below(3))
		x, p := s.floats(size), s.floats(tokens)
		for i := range x {
			x[i] += 0
		}
		softWeights(p, largest(p))
		tr.halfCache(tr.set.name(), x, p, s.halves(F16, (tokens-1)*width+size, 0xFFFF), width)
	})
}

func FuzzStoreUnits(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		tr.storeUnits(tr.set.name(), s.floats(CacheUnit*(1+s.below(12))))
	})
}

func FuzzRoundAndWidenRow(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n := 1 + s.below(300)
		x := s.floats(n)
		tr.roundRow(tr.set.name(), x)
		for i, v := range x { // most rows of any bits are too large
			x[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 29))
		}
		tr.roundRow(tr.set.name(), x)
		tr.widenRow(tr.set.name(), s.halves(F16, n, 0xFFFF), uint8(s.below(maxExponent+1)))
	})
}

func FuzzRMSNorm(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n := 1 + s.below(300)
		x, gain, eps := s.floats(n), s.floats(n), s.floats(1)[0]
		tr.rmsNorm(tr.set.name(), x, gain, eps)
		for i, v := range x { // most rows of any bits are not finite
			x[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 29))
		}
		tr.rmsNorm(tr.set.name(), x, gain, 1e-6)
	})
}

func FuzzSwiGLU(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n := 1 + s.below(300)
		gate, up := s.floats(n), s.floats(n)
		tr.swiGLU(tr.set.name(), gate, up)
		for i, v := range gate { // numbers whose Exp is of interest
			gate[i] = float32(math.Mod(float64(v), 90))
		}
		tr.swiGLU(tr.set.name(), gate, up)
	})
}

func FuzzRotateAddDivide(f *testing.F) {
	fuzz(f, func(tr *trial, s *source) {
		n := 1 + s.below(100)
		tr.rotate(tr.set.name(), s.floats(2*n), s.floats(n), s.floats(n))
		tr.addAndDivide(tr.set.name(), s.floats(n), s.floats(n))
		tr.bias(tr.set.name(), s.floats(n), s.floats(1)[0], -s.below(4096))
		tr.maxAbs(tr.set.name(), s.floats(n))
	})
}
