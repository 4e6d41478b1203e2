// Package kernels is the arithmetic of the network: norms, rotations, matrix products, attention over a paged
// cache, and the conversions between float32 and the stored formats, each defined down to the bit.
//
// The plain Go form of every operation is the definition (docs: NUMERICS); faster forms, on CPUs or GPUs, must
// equal it bit for bit. All products are rounded before they are added (float32(x*y) + z), no sum is
// reassociated, and m rows in one call give each row the bits of a call with that row alone. (The conversion is what
// keeps a compiler from fusing, also across statements: an assignment does not.)
//
// It knows numbers and nothing else: no model, file, network, log or session has a place here. A wrong shape is a
// fault of the caller and panics; a value that is not finite is a fault of the data and is reported per row.
package kernels

import "fmt"

// Sizes that the stored formats and the sums are built from (NUMERICS rule 2).
const (
	Block     = 64  // inputs that share a weight scale and an activation scale
	Segment   = 8   // blocks that are added up before the total is touched
	PanelRows = 16  // rows that are stored together
	Lanes     = 16  // partial sums of a float sum
	CacheUnit = 32  // elements of a head that share a scale in the 8-bit cache
	PageSize  = 64  // tokens in a page of cache
	Chunk     = 256 // positions whose values are added up before the total is touched
)

// Format is how the numbers of a matrix or of a cache are stored.
type Format uint8

// The formats. F32 is for gains alone.
const (
	F32 Format = iota + 1
	F16
	BF16
	Int8
	NF4
)

// Matrix is a stored weight matrix, (Rows, K) with y = W x. Data is what a part's file holds: Int8 and NF4 in
// panels of 16 rows, codes first, then scales; F16 and BF16 row-major, little endian. It may have any alignment.
type Matrix struct {
	Rows, K int
	Format  Format
	Data    []byte
}

// Table is a stored embedding, (Rows, K), row-major: F16, BF16, or Int8 with its scales [row][K/64] as float16 at
// the next multiple of 64 after the codes.
type Table struct {
	Rows, K int
	Format  Format
	Data    []byte
}

// Rows are hidden states as they travel between layers and peers: N rows of Width float16 numbers, row i times
// 2^Exp[i] (NUMERICS rule 5). Half is little endian, 2*N*Width bytes.
type Rows struct {
	N, Width int
	Exp      []uint8
	Half     []byte
}

// Place names where in a model an operation runs, so that a fault can be told: the caller's own number, not 0.
type Place uint32

// Buffer is float32 memory of one device, (rows, width) row-major. Only the device that made it can use it.
type Buffer interface {
	// Width is the length of a row.
	Width() int
}

// Weights is a matrix, a table or a gain that a device has made ready to use.
type Weights interface {
	// Bytes is the device memory that it takes beside the stored form.
	Bytes() int64
}

// Cache is the keys and values of some layers on a device, in pages of 64 tokens. Copy, ReadPage and WritePage take
// effect in the order of the device's operations and are called by whoever calls these.
type Cache interface {
	// Pages is how many pages there are.
	Pages() int
	// PageBytes is the memory of one page over all its layers.
	PageBytes() int64
	// Copy makes page dst what page src is, in all layers, as far as its first tokens go.
	Copy(dst, src int32, tokens int)
	// ReadPage writes the first tokens of one layer of a page to dst, whose length LayerBytes gives: keys' codes, keys'
	// scales, values' codes, values' scales, each head by head and there token by token.
	ReadPage(dst []byte, page int32, layer, tokens int)
	// WritePage is the reverse. Bytes that no storing gives are refused before anything has changed.
	WritePage(page int32, layer, tokens int, src []byte) error
	// LayerBytes is the size of so many tokens in one layer.
	LayerBytes(tokens int) int
	// Close gives the memory back. Nothing may use the cache after that.
	Close() error
}

// CacheShape says what a Cache holds and how attention reads it.
type CacheShape struct {
	Format   Format // Int8 or F16
	Layers   int
	Heads    int
	HeadSize int // a multiple of CacheUnit
	Pages    int
	// Positions is the context: rotary tables are made for as many. Theta > 0 means rotary positions with that
	// base (NUMERICS rule 7); Theta == 0 means ALiBi.
	Positions int
	Theta     float64
}

// Seat says where a row of a batch sits: its absolute position in its sequence and the pages that hold the
// sequence, position p in Pages[p/64] at p%64. The rows of one sequence are consecutive in a batch and in order.
type Seat struct {
	Position int
	Pages    []int32
}

// Device runs the operations of the contract on memory of its own. Its methods are called by one goroutine at a
// time and take effect in that order; a device that works beside its caller finishes before Read, Round and
// Faults return. n is the number of rows, from the start of each buffer.
//
// An operation that meets a NaN or an Inf (NUMERICS rule 8) records its place as the fault of that row, if the row
// has none yet, and goes on: the other rows keep their bits.
type Device interface {
	// Name is what offers and `version` show, such as "cpu/avx2".
	Name() string

	Matrix(m Matrix) (Weights, error)
	Table(t Table) (Weights, error)
	Gain(g []byte) (Weights, error) // float32, little endian
	Buffer(rows, width int) (Buffer, error)
	Cache(s CacheShape) (Cache, error)

	// Embed writes the rows of a table to dst, as float32.
	Embed(dst Buffer, table Weights, ids []uint32)
	// Widen writes rows that came from elsewhere to dst, as float32.
	Widen(dst Buffer, src Rows)
	// RMSNorm writes the normed rows of x times the gain to dst (rule 4). dst may be x.
	RMSNorm(dst, x Buffer, n int, gain Weights, eps float32, at Place)
	// MatMul writes the products of a matrix with the first n rows of x to dst (rules 2 and 6). AddMatMul adds them to
	// dst, and GatedMatMul writes silu(gate x) * (up x) (rule 5). x may not be dst.
	MatMul(dst, x Buffer, n int, w Weights, at Place)
	AddMatMul(dst, x Buffer, n int, w Weights, at Place)
	GatedMatMul(dst, x Buffer, n int, gate, up Weights, at Place)
	// Append rotates (where the cache has rotary positions) the queries and keys of qkv (rows of Q, K and V side by
	// side) in place and stores keys and values of the layer at their seats (rule 7).
	Append(c Cache, layer int, qkv Buffer, seats []Seat, at Place)
	// Attend writes to dst what the queries of qkv read from positions 0..Position of their pages (rule 7).
	Attend(dst Buffer, c Cache, layer int, qkv Buffer, seats []Seat, at Place)
	// Round rounds the rows of x in place to float16 with one exponent per row (rule 5); where dst is not nil it
	// also gives them in that form, in dst's own memory (dst.N = n, dst.Width as x).
	Round(dst *Rows, x Buffer, n int, at Place)
	// Read copies n rows to the host, checking each for NaN and Inf.
	Read(dst []float32, x Buffer, n int, at Place)

	// Faults writes the fault of each of the first len(dst) rows (0: none) and forgets them all.
	Faults(dst []Place)

	Close() error
}

// String gives the format's name as flags and manifests have it.
func (f Format) String() string {
	switch f {
	case F32:
		return "f32"
	case F16:
		return "f16"
	case BF16:
		return "bf16"
	case Int8:
		return "int8"
	case NF4:
		return "nf4"
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// ParseFormat is the reverse of Format.String.
func ParseFormat(name string) (Format, error) {
	for f := F32; f <= NF4; f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("unknown format %q: want nf4, int8, bf16, f16 or f32", name)
}

// MatrixSize is the number of bytes of a stored matrix, and scalesAt where its scales begin (the size itself where
// there are none).
func (f Format) MatrixSize(rows, k int) (size, scalesAt int64) {
	panels := int64((rows + PanelRows - 1) / PanelRows)
	blocks := int64(k / Block)
	switch f {
	case F32:
		size = 4 * int64(rows) * int64(k)
		return size, size
	case F16, BF16:
		size = 2 * int64(rows) * int64(k)
		return size, size
	case Int8:
		scalesAt = panels * blocks * PanelRows * Block
		return scalesAt + panels*blocks*PanelRows*2, scalesAt
	case NF4:
		scalesAt = panels * blocks * PanelRows * Block / 2
		return scalesAt + panels*blocks*PanelRows*2, scalesAt
	}
	panic("kernels: MatrixSize of an unknown format")
}

// TableSize is the number of bytes of a stored table, and where its scales begin.
func (f Format) TableSize(rows, k int) (size, scalesAt int64) {
	if f != Int8 {
		return f.MatrixSize(rows, k)
	}
	scalesAt = (int64(rows)*int64(k) + 63) &^ 63
	return scalesAt + 2*int64(rows)*int64(k/Block), scalesAt
}
