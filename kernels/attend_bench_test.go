package kernels

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"
)

// The shape of the 7B model's attention, and of its rows.
const (
	benchHead   = 128
	benchHeads  = 32
	benchWidth  = benchHead * benchHeads
	benchInner  = 11008
	benchTokens = 2048
)

// benchSets runs a benchmark with each set that the machine has.
func benchSets(b *testing.B, bench func(b *testing.B, s *set)) {
	for _, s := range sets() {
		b.Run(s.name(), func(b *testing.B) { bench(b, s) })
	}
}

// benchPage makes a head's keys (or values) of a page: codes and scales.
func benchPage(rng *rand.Rand) (codes, scales []byte) {
	codes, scales = make([]byte, PageSize*benchHead), make([]byte, PageSize*benchHead/CacheUnit*2)
	rng.Read(codes)
	for i := 0; i < len(scales); i += 2 {
		binary.LittleEndian.PutUint16(scales[i:], Float16(0.01+rng.Float32()))
	}
	return codes, scales
}

// queryCounts are the numbers of queries at once that are worth a figure: those that a set takes.
func queryCounts(s *set) (counts []int) {
	for _, n := range []int{1, 2, 4, 8} {
		if n <= s.queries {
			counts = append(counts, n)
		}
	}
	return counts
}

// Bytes are those of the codes that are read, once for each query: what one query at a time would have to read.
func BenchmarkScores(b *testing.B) {
	benchSets(b, func(b *testing.B, s *set) {
		for _, n := range queryCounts(s) {
			b.Run(fmt.Sprint("queries=", n), func(b *testing.B) {
				rng := rand.New(rand.NewSource(31))
				codes, scales := benchPage(rng)
				var q queries
				q.reset(n, benchHead, rootScale(benchHead))
				for i := range n {
					s.quantiseQuery(&q, i, sample(rng, "normal", benchHead))
				}
				dst := make([]float32, n*PageSize)
				b.SetBytes(int64(n * PageSize * benchHead))
				for b.Loop() {
					s.scores(dst, PageSize, &q, codes, scales, benchHead, PageSize, 0)
				}
			})
		}
	})
}

func BenchmarkValues(b *testing.B) {
	benchSets(b, func(b *testing.B, s *set) {
		for _, n := range queryCounts(s) {
			b.Run(fmt.Sprint("queries=", n), func(b *testing.B) {
				rng := rand.New(rand.NewSource(32))
				codes, scales := benchPage(rng)
				p, total := make([]float32, n*PageSize), make([]float32, n*benchHead)
				for i := range p {
					p[i] = rng.Float32() * 1e-3
				}
				b.SetBytes(int64(n * PageSize * benchHead))
				for b.Loop() {
					clear(total)
					s.values(total, n, p, PageSize, codes, scales, benchHead, PageSize, 0)
				}
			})
		}
	})
}

func BenchmarkHalfCache(b *testing.B) {
	benchSets(b, func(b *testing.B, s *set) {
		rng := rand.New(rand.NewSource(33))
		half := make([]byte, 2*PageSize*benchHead)
		for i := 0; i < len(half); i += 2 {
			binary.LittleEndian.PutUint16(half[i:], Float16(rng.Float32()))
		}
		x, p := sample(rng, "normal", benchHead), make([]float32, PageSize)
		b.Run("scores", func(b *testing.B) {
			b.SetBytes(2 * PageSize * benchHead)
			for b.Loop() {
				s.scoresHalf(p, x, rootScale(benchHead), half, benchHead, PageSize)
			}
		})
		for i := range p {
			p[i] = rng.Float32() * 1e-3
		}
		b.Run("values", func(b *testing.B) {
			b.SetBytes(2 * PageSize * benchHead)
			for b.Loop() {
				clear(x)
				s.valuesHalf(x, p, half, benchHead, PageSize)
			}
		})
	})
}

// BenchmarkRowLoops has the loops over rows of one token.
func BenchmarkRowLoops(b *testing.B) {
	benchSets(b, func(b *testing.B, s *set) {
		rng := rand.New(rand.NewSource(34))
		x, y := sample(rng, "normal", benchInner), sample(rng, "normal", benchInner)
		dst, half := make([]float32, benchInner), make([]byte, 2*benchInner)
		row := x[:benchWidth]
		codes, scales := make([]byte, benchWidth), make([]byte, benchWidth/CacheUnit*2)
		var q queries
		q.reset(1, benchHead, rootScale(benchHead))
		for _, loop := range []struct {
			name string
			run  func()
		}{
			{"rmsNorm", func() { s.rmsNorm(dst[:benchWidth], row, y[:benchWidth], 1e-6) }},
			{"roundRow", func() { s.roundRow(half[:2*benchWidth], row) }},
			{"widenRow", func() { s.widenRow(dst[:benchWidth], half[:2*benchWidth], 3) }},
			{"swiGLU", func() { s.swiGLU(dst, x, y) }},
			{"rotate", func() { s.rotate(dst[:benchHead], x[:benchHead/2], y[:benchHead/2]) }},
			{"maxAbs", func() { s.maxAbs(row) }},
			{"add", func() { s.add(dst[:benchWidth], row) }},
			{"add16", func() { s.add(dst[:Lanes], row[:Lanes]) }},
			{"divide", func() { s.divide(dst[:benchHead], 1.0000001) }},
			{"storeUnits", func() { s.storeUnits(codes, scales, row) }},
			{"quantiseQuery", func() { s.quantiseQuery(&q, 0, x[:benchHead]) }},
			{"bias", func() { s.bias(dst[:Chunk], 1e-9, 5) }},
			{"largest", func() { s.largest(y[:benchTokens]) }},
		} {
			b.Run(loop.name, func(b *testing.B) {
				for b.Loop() {
					loop.run()
				}
			})
		}
		scores := sample(rng, "normal", Chunk)
		b.Run("softWeights", func(b *testing.B) {
			w := make([]float32, Chunk)
			for b.Loop() {
				copy(w, scores)
				s.softWeights(w, 5)
			}
		})
	})
}

// BenchmarkAttend is the attention of one layer with a context of 2,048 tokens, on one thread: of one token, as decoding
// has it, and of 16 neighbours. Bytes are those of the keys and values with their scales, once for each token. The cache
// has several layers, which take turns, so that it comes from memory.
func BenchmarkAttend(b *testing.B) {
	const layers = 8
	benchSets(b, func(b *testing.B, s *set) {
		for _, rows := range []int{1, 16} {
			b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
				c := newCPU(s, 1)
				defer c.Close()
				shape := CacheShape{
					Format: Int8, Layers: layers, Heads: benchHeads, HeadSize: benchHead,
					Pages: benchTokens / PageSize, Positions: benchTokens,
				}
				cache := newTestCache(b, c, shape).(*pagedCache)
				pages := benchFill(cache)
				x := sample(rand.New(rand.NewSource(35)), "normal", rows*3*benchWidth)
				qkv, dst := fill(b, c, x, 3*benchWidth), fill(b, c, make([]float32, rows*benchWidth), benchWidth)
				seats := seatsAt(benchTokens-rows, rows, pages)
				b.SetBytes(int64(rows) * int64(cache.layerBytes) * int64(shape.Pages))
				for i := 0; b.Loop(); i++ {
					c.Attend(dst, cache, i%layers, qkv, seats, 1)
				}
			})
		}
	})
}

// benchFill puts any codes, and scales of about 1/100, into a cache; it gives its pages.
func benchFill(c *pagedCache) (pages []int32) {
	rng := rand.New(rand.NewSource(36))
	rng.Read(c.arena)
	for page := range c.Pages() {
		pages = append(pages, int32(page))
		for layer := range c.Layers {
			p := c.layer(int32(page), layer)
			for _, scales := range [][]byte{p[c.keyScales:c.values], p[c.valScales:]} {
				for i := 0; i < len(scales); i += 2 {
					binary.LittleEndian.PutUint16(scales[i:], Float16(0.01+0.001*rng.Float32()))
				}
			}
		}
	}
	return pages
}
