package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"
)

// tensor is a window on a blob. Offset and strides count elements; all elements lie within the blob.
type tensor struct {
	Info
	blob   *blob
	offset int64
	stride []int64
}

// errChecksum is the answer to a zip member that is not what was written.
var errChecksum = errors.New("damaged: its bytes do not have the checksum (CRC-32) that the zip states")

// blob is a run of bytes of a file: a zip's member, or a tensor's part of a safetensors file.
type blob struct {
	file io.ReaderAt
	off  int64
	size int64

	// A zip's member states its CRC. As long as its bytes are asked for in order, the sum is taken as they pass, and
	// compared at the end; a read out of order, and one of a tensor's last row, has the rest summed first. So a tensor
	// that was read whole was checked, at the price of reading its member at most twice.
	hasCRC bool
	crc    uint32

	mu  sync.Mutex
	at  int64 // bytes summed so far
	sum uint32
}

// readAt fills p from the blob's byte at.
func (b *blob) readAt(p []byte, at int64) error {
	if err := b.before(at); err != nil {
		return err
	}
	if err := readFull(b.file, p, b.off+at); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hasCRC && at == b.at {
		b.sum = crc32.Update(b.sum, crc32.IEEETable, p)
		b.at += int64(len(p))
	}
	return b.compare()
}

// before sums what is left when a read is not the next one in order. A second reader of the same bytes is out of order
// for the first one as well.
func (b *blob) before(at int64) error {
	b.mu.Lock()
	next := b.at
	b.mu.Unlock()
	if !b.hasCRC || at == next {
		return nil
	}
	return b.finish()
}

// finish sums the bytes that have not been summed yet, and compares.
func (b *blob) finish() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hasCRC {
		return nil
	}
	buf := make([]byte, min(chunkBytes, b.size-b.at))
	for b.at < b.size {
		p := buf[:min(int64(len(buf)), b.size-b.at)]
		if err := readFull(b.file, p, b.off+b.at); err != nil {
			return err
		}
		b.sum = crc32.Update(b.sum, crc32.IEEETable, p)
		b.at += int64(len(p))
	}
	return b.compare()
}

// compare fails once all bytes are summed and the sum is wrong.
func (b *blob) compare() error {
	if b.hasCRC && b.at == b.size && b.sum != b.crc {
		return errChecksum
	}
	return nil
}

// Read fills dst with whole rows of a tensor, beginning with the given one, as float32: exactly for F16 and BF16, NaN
// and Inf as they are. A tensor of one dimension is a single row.
//
// It is fastest from the first row to the last. The checksum of a torch file's storage is known at its end only: when
// rows are read in order, damage may be reported with the last of them, so no row is good until all are read.
func (c *Checkpoint) Read(name string, row int, dst []float32) error {
	t, ok := c.byName[name]
	if !ok {
		return fmt.Errorf("read tensor %s: there is none of that name", quote(name))
	}
	chunk, ok := c.chunks.Get().(*[chunkBytes]byte)
	if !ok {
		chunk = new([chunkBytes]byte)
	}
	defer c.chunks.Put(chunk)
	if err := t.read(row, dst, chunk[:]); err != nil {
		return fmt.Errorf("%s: read tensor %s: %w", t.File, quote(name), err)
	}
	return nil
}

// read does what [Checkpoint.Read] says; raw is memory to read into.
func (t *tensor) read(row int, dst []float32, raw []byte) error {
	if t.DType != F32 && t.DType != F16 && t.DType != BF16 {
		return fmt.Errorf("type %s is none of F32, F16, BF16", t.DType)
	}
	rows, cols, rowStride, colStride, err := t.matrix()
	if err != nil {
		return err
	}
	if cols == 0 || len(dst)%cols != 0 || row < 0 || row > rows || len(dst)/cols > rows-row {
		return fmt.Errorf("%d values from row %d do not fit %d rows of %d", len(dst), row, rows, cols)
	}
	n := len(dst) / cols
	start := t.offset + int64(row)*rowStride
	switch {
	case n == 0:
		return nil
	case colStride == 1 && (rowStride == int64(cols) || n == 1):
		err = t.convert(start, dst, raw)
	case colStride == 1:
		for i := 0; i < n && err == nil; i++ {
			err = t.convert(start+int64(i)*rowStride, dst[i*cols:(i+1)*cols], raw)
		}
	default:
		err = t.transpose(start, dst, n, colStride, raw)
	}
	if err != nil {
		return err
	}
	if row+n == rows {
		return t.blob.finish()
	}
	return nil
}

// matrix sees the tensor as rows and columns: one contiguous along either.
func (t *tensor) matrix() (rows, cols int, rowStride, colStride int64, err error) {
	switch len(t.Shape) {
	case 1:
		rows, cols, rowStride, colStride = 1, t.Shape[0], int64(t.Shape[0]), t.stride[0]
	case 2:
		rows, cols, rowStride, colStride = t.Shape[0], t.Shape[1], t.stride[0], t.stride[1]
	default:
		return 0, 0, 0, 0, fmt.Errorf("shape %v is neither a row nor a matrix", t.Shape)
	}
	if cols == 1 {
		colStride = 1
	}
	if rows == 1 && colStride != 1 {
		rowStride = 1 // a column of a matrix: walked like a transposed matrix of one row
	}
	if colStride != 1 && rowStride != 1 {
		return 0, 0, 0, 0, fmt.Errorf("a view with strides %v of shape %v is not supported", t.stride, t.Shape)
	}
	return rows, cols, rowStride, colStride, nil
}

// convert reads len(dst) consecutive elements by way of raw.
func (t *tensor) convert(from int64, dst []float32, raw []byte) error {
	size := t.DType.Size()
	for len(dst) > 0 {
		n := min(len(dst), len(raw)/size)
		if err := t.blob.readAt(raw[:n*size], from*int64(size)); err != nil {
			return err
		}
		widenTo(dst[:n], raw[:n*size], t.DType)
		from += int64(n)
		dst = dst[n:]
	}
	return nil
}

// transpose reads n rows of a matrix whose columns are contiguous: n elements of each column.
func (t *tensor) transpose(from int64, dst []float32, n int, colStride int64, raw []byte) error {
	cols := len(dst) / n
	column := make([]float32, n)
	for j := range cols {
		if err := t.convert(from+int64(j)*colStride, column, raw); err != nil {
			return err
		}
		for i, v := range column {
			dst[i*cols+j] = v
		}
	}
	return nil
}

// widenTo converts little-endian elements to float32, exactly.
func widenTo(dst []float32, raw []byte, dtype DType) {
	le := binary.LittleEndian
	switch dtype {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(raw[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = half(le.Uint16(raw[2*i:]))
		}
	}
}

// half is the float32 with the value of an IEEE binary16.
func half(h uint16) float32 {
	sign, b := uint32(h&0x8000)<<16, uint32(h&0x7FFF)<<13
	switch {
	case b >= 0x7C00<<13: // Inf and NaN
		b += (255 - 31) << 23
	case b >= 0x0400<<13:
		b += (127 - 15) << 23
	default: // m * 2^-24, as 2^-14 + m * 2^-24 - 2^-14, exactly
		b = math.Float32bits(math.Float32frombits(b+113<<23) - 0x1p-14)
	}
	return math.Float32frombits(sign | b)
}
