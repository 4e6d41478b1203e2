package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// CPU is the Device of this machine's processor. Its results depend neither on the set of kernels that computes them
// nor on the number of threads.
type CPU struct {
	set    *set
	pool   *pool
	loops  loops
	acts   activations
	work   []scratch // of each worker
	faults []uint32  // of each row, set atomically
	making sync.Mutex
	rotary map[rotaryKey]*rotary // guarded by making; what it holds is extended by operations alone, once it is there
}

// scratch is what one worker needs to itself: two tiles of results, and attention's.
type scratch struct {
	tile, gate []float32
	attend     attention
}

// loops are the loops that the pool runs, one for each operation: kept, as a call must not allocate.
type loops struct {
	embed    embedLoop
	widen    widenLoop
	norm     normLoop
	round    roundLoop
	read     readLoop
	quantise quantiseLoop
	check    checkLoop
	product  productLoop
	append   appendLoop
	attend   attendLoop
}

type rotaryKey struct {
	theta    float64
	headSize int
}

// NewCPU gives a device that computes on so many threads, the caller's included, with the fastest kernels that the
// processor has; 0 or less means all cores. Close it.
func NewCPU(threads int) *CPU { return newCPU(sets()[0], threads) }

// NewCPUWith is NewCPU with a set of kernels that Sets lists; "" is the fastest.
func NewCPUWith(kernels string, threads int) (*CPU, error) {
	s, err := findSet(kernels)
	if err != nil {
		return nil, err
	}
	return newCPU(s, threads), nil
}

func newCPU(s *set, threads int) *CPU {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	c := &CPU{set: s, pool: newPool(threads), work: make([]scratch, threads), rotary: map[rotaryKey]*rotary{}}
	for w := range c.work {
		c.work[w].tile, c.work[w].gate = make([]float32, s.tile*PanelRows), make([]float32, s.tile*PanelRows)
	}
	return c
}

// Name is "cpu/" and the set of kernels.
func (c *CPU) Name() string { return "cpu/" + c.set.name() }

// Threads is how many threads compute.
func (c *CPU) Threads() int { return len(c.work) }

// Close stops the workers; no operation may follow. Caches are closed by themselves.
func (c *CPU) Close() error {
	if c.pool != nil {
		c.pool.close()
		c.pool = nil
	}
	return nil
}

// buffer is a Buffer in Go's memory.
type buffer struct {
	rows, width int
	data        []float32
}

func (b *buffer) Width() int { return b.width }

func (b *buffer) row(i int) []float32 { return b.data[i*b.width:][:b.width] }

// Buffer makes room for rows of so many float32 numbers, zeros at first.
func (c *CPU) Buffer(rows, width int) (Buffer, error) {
	if rows < 1 || width < 1 || rows > maxSide || width > maxSide || int64(rows)*int64(width)*4 > math.MaxInt {
		return nil, fmt.Errorf("make a buffer of %d rows of %d: out of range", rows, width)
	}
	if rows > len(c.faults) {
		c.faults = append(c.faults, make([]uint32, rows-len(c.faults))...)
	}
	return &buffer{rows: rows, width: width, data: make([]float32, rows*width)}, nil
}

// rows gives the buffer behind b, which must have n rows.
func (c *CPU) rows(b Buffer, n int) *buffer {
	buf, ok := b.(*buffer)
	if !ok || n < 0 || n > buf.rows {
		panic(fmt.Sprintf("kernels: %d rows of a buffer that has fewer or is of another device", n))
	}
	return buf
}

// sameWidth panics if the widths differ.
func sameWidth(op string, widths ...int) {
	for _, w := range widths[1:] {
		if w != widths[0] {
			panic(fmt.Sprintf("kernels: %s of widths %v", op, slices.Clone(widths))) // the clone keeps widths on the stack
		}
	}
}

// matrix, table and gain are Weights: the first two read what is stored and take no memory beside it.
type matrix struct {
	Matrix
	codes, scales []byte
}

type table struct{ Table }

type gain struct{ values []float32 }

func (m *matrix) Bytes() int64 { return 0 }
func (t *table) Bytes() int64  { return 0 }
func (g *gain) Bytes() int64   { return 4 * int64(len(g.values)) }

// Matrix checks the shape of a stored matrix (CheckMatrix checks its contents) and keeps its Data, which must stay as
// it is while the matrix is used.
func (c *CPU) Matrix(m Matrix) (Weights, error) {
	at, err := m.shape()
	if err != nil {
		return nil, err
	}
	return &matrix{Matrix: m, codes: m.Data[:at], scales: m.Data[at:]}, nil
}

// Table is Matrix for an embedding.
func (c *CPU) Table(t Table) (Weights, error) {
	if _, err := t.shape(); err != nil {
		return nil, err
	}
	return &table{Table: t}, nil
}

// Gain copies the gain of a norm.
func (c *CPU) Gain(b []byte) (Weights, error) {
	if err := CheckGain(b); err != nil {
		return nil, err
	}
	g := &gain{values: make([]float32, len(b)/4)}
	for i := range g.values {
		g.values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return g, nil
}

// Cache maps the memory of a cache. It may be called, as may what makes weights and buffers no larger than those that there
// are, while others compute on the device: a node loads a shard beside the one that it serves.
func (c *CPU) Cache(s CacheShape) (Cache, error) {
	cache, err := newPagedCache(s)
	if err != nil {
		return nil, err
	}
	if s.Theta == 0 {
		cache.slopes = Slopes(s.Heads)
		return cache, nil
	}
	key := rotaryKey{s.Theta, s.HeadSize}
	c.making.Lock()
	defer c.making.Unlock()
	if c.rotary[key] == nil {
		c.rotary[key] = newRotary(s.Theta, s.HeadSize)
		c.rotary[key].extend(min(s.Positions, tableAhead))
	} // else it may be in use now, and is extended by whoever computes
	cache.rotary = c.rotary[key]
	return cache, nil
}

// fault records a fault of a row, unless it has one.
func (c *CPU) fault(row int, at Place) {
	atomic.CompareAndSwapUint32(&c.faults[row], 0, uint32(at))
}

// Faults writes the fault of each of the first len(dst) rows and forgets them all.
func (c *CPU) Faults(dst []Place) {
	clear(dst)
	for i := range min(len(dst), len(c.faults)) {
		dst[i] = Place(c.faults[i])
	}
	clear(c.faults)
}
