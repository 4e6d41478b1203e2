package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/edsrzf/mmap-go"
)

// geometry is where things lie in a page of cache. A page holds its layers one after another, a layer the 64 tokens'
// keys and then their values: the codes [head][token][element], then in the 8-bit form the float16 scales
// [head][token][element/32]. A head's are read from end to end; with the heads of a token side by side they would lie
// a power of two apart, in the same few sets of a processor's cache.
type geometry struct {
	CacheShape
	hidden     int // elements of a token
	codeBytes  int // of a token in one head
	scaleBytes int
	keyScales  int // offsets from the begin of the layer; the keys' codes are at 0
	values     int
	valScales  int
	layerBytes int
}

func newGeometry(s CacheShape) geometry {
	g := geometry{CacheShape: s, hidden: s.Heads * s.HeadSize, codeBytes: s.HeadSize}
	if s.Format == F16 {
		g.codeBytes *= 2
	} else {
		g.scaleBytes = s.HeadSize / CacheUnit * 2
	}
	g.keyScales = PageSize * s.Heads * g.codeBytes
	g.values = g.keyScales + PageSize*s.Heads*g.scaleBytes
	g.valScales = g.values + g.keyScales
	g.layerBytes = 2 * g.values
	return g
}

// check says what is wrong with a shape.
func (s CacheShape) check() error {
	switch {
	case s.Format != Int8 && s.Format != F16:
		return fmt.Errorf("cache of format %v: want int8 or f16", s.Format)
	case s.Layers < 1 || s.Heads < 1 || s.HeadSize < 1 || s.Pages < 1 || s.Positions < 1:
		return fmt.Errorf("cache of %d layers, %d heads of %d, %d pages and %d positions: all must be at least 1",
			s.Layers, s.Heads, s.HeadSize, s.Pages, s.Positions)
	case s.HeadSize%CacheUnit != 0:
		return fmt.Errorf("cache with head size %d: want a multiple of %d", s.HeadSize, CacheUnit)
	case s.Theta != 0 && !(s.Theta >= 1 && s.Theta < maxTheta):
		return fmt.Errorf("cache with rotary base %v: want 1 or more, below %v", s.Theta, float64(maxTheta))
	case max(s.Layers, s.Heads, s.HeadSize, s.Pages, s.Positions) > maxSide || int64(s.Heads)*int64(s.HeadSize) > maxSide:
		return fmt.Errorf("cache of %d layers, %d heads of %d, %d pages and %d positions: too large",
			s.Layers, s.Heads, s.HeadSize, s.Pages, s.Positions)
	}
	return nil
}

// pagedCache keeps its pages in memory of its own outside the Go heap, which the system gives page by page as it is
// first written.
type pagedCache struct {
	geometry
	arena     mmap.MMap
	pageBytes int64
	scale     float32   // 1/sqrt(head size)
	slopes    []float32 // of ALiBi, or nil
	rotary    *rotary   // or nil
}

// newPagedCache maps the memory of a cache.
func newPagedCache(s CacheShape) (*pagedCache, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	g := newGeometry(s)
	c := &pagedCache{geometry: g, pageBytes: int64(g.layerBytes) * int64(s.Layers), scale: rootScale(s.HeadSize)}
	if c.pageBytes > min(maxArena, math.MaxInt)/int64(s.Pages) {
		return nil, fmt.Errorf("map %d pages of %d bytes of cache: more than a process can address", s.Pages, c.pageBytes)
	}
	size := c.pageBytes * int64(s.Pages)
	arena, err := mapArena(int(size))
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of cache: %w", size, err)
	}
	c.arena = arena
	return c, nil
}

// rootScale is the float32 nearest to 1/sqrt(n). (The float64 steps round correctly; a test compares every head size
// with a wider computation.)
func rootScale(n int) float32 { return float32(1 / math.Sqrt(float64(n))) }

func (c *pagedCache) Pages() int       { return c.geometry.Pages }
func (c *pagedCache) PageBytes() int64 { return c.pageBytes }

// Close gives the memory back. Nothing may use the cache after that.
func (c *pagedCache) Close() error {
	if c.arena == nil {
		return nil
	}
	if err := c.arena.Unmap(); err != nil {
		return fmt.Errorf("unmap cache: %w", err)
	}
	return nil
}

// layer is one layer's part of a page.
func (c *pagedCache) layer(page int32, layer int) []byte {
	return c.arena[int64(page)*c.pageBytes+int64(layer)*int64(c.layerBytes):][:c.layerBytes:c.layerBytes]
}

// store writes a token's keys or values, x, to the pieces of a layer that begin at codes and at scales. Where a number is
// not finite, or becomes infinite in float16, it stores zeros for the token and returns false.
func (g *geometry) store(s *set, page []byte, codes, scales, token int, x []float32) bool {
	ok := true
	for h := range g.Heads {
		c, sc := g.place(page, codes, scales, token, h)
		if head := x[h*g.HeadSize:][:g.HeadSize]; g.Format == F16 {
			ok = storeHalf(c, head) && ok
		} else {
			ok = s.storeUnits(c, sc, head) && ok
		}
	}
	for h := 0; h < g.Heads && !ok; h++ {
		c, sc := g.place(page, codes, scales, token, h)
		clear(c)
		clear(sc)
	}
	return ok
}

// place gives a token's codes and scales in a head.
func (g *geometry) place(page []byte, codes, scales, token, head int) (c, s []byte) {
	i := head*PageSize + token
	return page[codes+i*g.codeBytes:][:g.codeBytes], page[scales+i*g.scaleBytes:][:g.scaleBytes]
}

// storeHalf stores float16(x); false means that one of them is not finite.
func storeHalf(codes []byte, x []float32) bool {
	ok := true
	for i, v := range x {
		h := Float16(v)
		ok = ok && h&halfAbs < halfInf
		binary.LittleEndian.PutUint16(codes[2*i:], h)
	}
	return ok
}

// storeUnits stores whole units of 32 numbers.
func storeUnits(codes, scales []byte, x []float32) bool {
	ok := true
	for b := range len(x) / CacheUnit {
		ok = storeUnit(codes[b*CacheUnit:][:CacheUnit], scales[2*b:], x[b*CacheUnit:][:CacheUnit]) && ok
	}
	return ok
}

// storeUnit stores 32 numbers as codes and a float16 scale. A unit whose stored scale is 0 is zeros.
func storeUnit(codes, scale []byte, x []float32) bool {
	var q [CacheUnit]int8
	s, ok := quantise(q[:], x)
	h := Float16(s)
	if h == 0 {
		q = [CacheUnit]int8{}
	}
	for i, v := range q {
		codes[i] = byte(v)
	}
	binary.LittleEndian.PutUint16(scale, h)
	return ok && h < halfInf
}

// append stores the keys and values of a token: row is its Q, K and V side by side.
func (c *pagedCache) append(s *set, page []byte, token int, row []float32) bool {
	ok := c.store(s, page, 0, c.keyScales, token, row[c.hidden:2*c.hidden])
	return c.store(s, page, c.values, c.valScales, token, row[2*c.hidden:]) && ok
}
