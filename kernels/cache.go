package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/edsrzf/mmap-go"
)

// geometry is where things lie in a page of cache. A page holds its layers one after another, a layer the 64 tokens'
// keys and then their values, each token by token: the codes [token][head][element], then in the 8-bit form the
// float16 scales [token][head][element/32].
type geometry struct {
	CacheShape
	hidden     int // elements of a token
	scaleBytes int // of a token
	keyScales  int // offsets from the begin of the layer; the keys' codes are at 0
	values     int
	valScales  int
	layerBytes int
}

func newGeometry(s CacheShape) geometry {
	g := geometry{CacheShape: s, hidden: s.Heads * s.HeadSize}
	codeBytes := PageSize * g.hidden
	if s.Format == F16 {
		codeBytes *= 2
	} else {
		g.scaleBytes = g.hidden / CacheUnit * 2
	}
	g.keyScales = codeBytes
	g.values = codeBytes + PageSize*g.scaleBytes
	g.valScales = g.values + codeBytes
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
	arena, err := mmap.MapRegion(nil, int(size), mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of cache: %w", size, err)
	}
	adviseHuge(arena)
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

// store writes a token's keys or values, at the offset of its codes and of its scales. Where a number is not finite,
// or becomes infinite in float16, it stores zeros for the token and returns false.
func (g *geometry) store(s *set, codes, scales []byte, x []float32) bool {
	ok := true
	if g.Format == F16 {
		ok = storeHalf(codes, x)
	} else {
		ok = s.storeUnits(codes, scales, x)
	}
	if !ok {
		clear(codes)
		clear(scales)
	}
	return ok
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
	bytes := c.keyScales / PageSize // a token's codes
	at := func(codes, scales int) ([]byte, []byte) {
		return page[codes+token*bytes:][:bytes], page[scales+token*c.scaleBytes:][:c.scaleBytes]
	}
	codes, scales := at(0, c.keyScales)
	ok := c.store(s, codes, scales, row[c.hidden:2*c.hidden])
	codes, scales = at(c.values, c.valScales)
	return c.store(s, codes, scales, row[2*c.hidden:]) && ok
}
