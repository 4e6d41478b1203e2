package checkpoint

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// openSafetensors reads the header of a safetensors file and returns its tensors in the order of their data, which
// must fill the file exactly.
func openSafetensors(f io.ReaderAt, path string, size int64) ([]*tensor, error) {
	var length [8]byte
	if err := readFull(f, length[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > uint64(size)-8 {
		return nil, fmt.Errorf("header of %d bytes in a file of %d (cut off, or no safetensors file)", n, size)
	}
	if n > maxHeaderBytes {
		return nil, fmt.Errorf("header of %d bytes, more than the %d allowed", n, maxHeaderBytes)
	}
	header := make([]byte, n)
	if err := readFull(f, header, 8); err != nil {
		return nil, err
	}
	entries, err := parseHeader(header, size-8-int64(n))
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	all := make([]*tensor, len(entries))
	for i, e := range entries {
		all[i] = &tensor{
			Info:   Info{Name: e.name, DType: e.dtype, Shape: ints(e.shape), File: path},
			blob:   &blob{file: f, off: 8 + int64(n) + e.begin, size: e.end - e.begin},
			stride: contiguous(e.shape),
		}
	}
	return all, nil
}

// entry is one tensor of a safetensors header: bytes begin to end of the data.
type entry struct {
	name       string
	dtype      DType
	shape      []int64
	begin, end int64
}

// parseHeader reads a header for data bytes of data. The entries are returned in the data's order; they cover it
// without gap and overlap, as the format demands, so that nothing can hide between them.
func parseHeader(header []byte, data int64) ([]entry, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, errors.New("does not begin with {")
	}
	o, err := parseObject(header, maxTensors+1)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, name := range o.keys {
		if name == "__metadata__" {
			continue // free words of whoever wrote it
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		e, err := parseEntry(o.values[name])
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		e.name = name
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := int64(0)
	for _, e := range entries {
		switch {
		case e.end > data:
			return nil, fmt.Errorf("tensor %s: bytes %d to %d of %d (cut off?)", quote(e.name), e.begin, e.end, data)
		case e.begin < at:
			return nil, fmt.Errorf("tensor %s: bytes %d to %d overlap another tensor", quote(e.name), e.begin, e.end)
		case e.begin > at:
			return nil, fmt.Errorf("tensor %s: bytes %d to %d before it belong to no tensor", quote(e.name), at, e.begin)
		}
		at = e.end
	}
	if at != data {
		return nil, fmt.Errorf("bytes %d to %d belong to no tensor", at, data)
	}
	return entries, nil
}

// parseEntry reads one tensor's description and checks that its range has the size that type and shape ask for.
func parseEntry(raw json.RawMessage) (entry, error) {
	o, err := parseObject(raw, 3)
	if err != nil {
		return entry{}, err
	}
	var e entry
	dtype, err := o.text("dtype")
	if err != nil {
		return entry{}, err
	}
	if e.dtype = DType(dtype); e.dtype.Size() == 0 {
		return entry{}, fmt.Errorf("type %s is unknown", quote(dtype))
	}
	if e.shape, err = integers(o.values["shape"], maxDims); err != nil {
		return entry{}, fmt.Errorf("shape: %w", err)
	}
	n, err := elements(e.shape)
	if err != nil {
		return entry{}, err
	}
	offsets, err := integers(o.values["data_offsets"], 2)
	if err != nil {
		return entry{}, fmt.Errorf("data_offsets: %w", err)
	}
	if len(offsets) != 2 || offsets[1] < offsets[0] {
		return entry{}, fmt.Errorf("data_offsets: %v is no range", offsets)
	}
	e.begin, e.end = offsets[0], offsets[1]
	if want := n * int64(e.dtype.Size()); e.end-e.begin != want {
		return entry{}, fmt.Errorf("%d bytes do not hold shape %v of %s, which needs %d", e.end-e.begin, e.shape, e.dtype, want)
	}
	return e, nil
}

// contiguous returns the strides of a row-major tensor. (A dimension of 0 makes strides that nothing uses.)
func contiguous(shape []int64) []int64 {
	stride := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = n
		n *= shape[i]
	}
	return stride
}
