package checkpoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// zipMember is one stored member of a zip file: size bytes at off, with the CRC-32 (IEEE) that the directory states.
type zipMember struct {
	name   string
	header int64 // where its local header begins
	off    int64
	size   int64
	crc    uint32
}

// Sizes and signatures of the records of a zip file (APPNOTE 4.3).
const (
	zipLocalSize     = 30
	zipEntrySize     = 46
	zipEndSize       = 22
	zipEnd64Size     = 56
	zipLocator64Size = 20

	zipLocalSignature   = 0x04034b50
	zipEntrySignature   = 0x02014b50
	zipEndSignature     = 0x06054b50
	zipEnd64Signature   = 0x06064b50
	zipLocatorSignature = 0x07064b50
)

// readZip reads the directory of a zip file of size bytes, as torch writes it: nothing before the first member, no
// comment at the end, every member stored as it is.
//
// archive/zip is more lenient than is good here: it takes the directory's word for how much to allocate, accepts
// members that overlap or hide under the same name, and looks for the directory in several places.
func readZip(f io.ReaderAt, size int64) ([]zipMember, error) {
	count, at, length, err := readZipEnd(f, size)
	if err != nil {
		return nil, err
	}
	directory := make([]byte, length)
	if err := readFull(f, directory, at); err != nil {
		return nil, fmt.Errorf("zip directory: %w", err)
	}
	members := make([]zipMember, 0, count)
	seen := make(map[string]bool, count)
	for range count {
		m, rest, err := parseZipEntry(directory)
		if err != nil {
			return nil, err
		}
		if seen[m.name] {
			return nil, fmt.Errorf("zip member %s occurs twice", quote(m.name))
		}
		seen[m.name] = true
		if err := m.locate(f, at); err != nil {
			return nil, fmt.Errorf("zip member %s: %w", quote(m.name), err)
		}
		members = append(members, m)
		directory = rest
	}
	if len(directory) > 0 {
		return nil, fmt.Errorf("zip directory: %d bytes beyond its %d entries", len(directory), count)
	}
	return members, checkOverlap(members)
}

// readZipEnd finds the directory: the number of its entries, its offset and its length, within the limits.
func readZipEnd(f io.ReaderAt, size int64) (count int, at, length int64, err error) {
	if size < zipEndSize {
		return 0, 0, 0, fmt.Errorf("%d bytes are too few for a zip file", size)
	}
	var end [zipEndSize]byte
	if err := readFull(f, end[:], size-zipEndSize); err != nil {
		return 0, 0, 0, fmt.Errorf("zip directory: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(end[:]) != zipEndSignature || le.Uint16(end[20:]) != 0 {
		return 0, 0, 0, errors.New("does not end with a zip directory (cut off, or no torch file)")
	}
	n, l, o := uint64(le.Uint16(end[10:])), uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	limit := size - zipEndSize
	if n == math.MaxUint16 || l == math.MaxUint32 || o == math.MaxUint32 {
		if n, l, o, limit, err = readZipEnd64(f, size-zipEndSize); err != nil {
			return 0, 0, 0, err
		}
	}
	if n > maxMembers || l > maxDirectoryBytes {
		return 0, 0, 0, fmt.Errorf("zip directory of %d entries and %d bytes, more than the %d and %d allowed", n, l, maxMembers, maxDirectoryBytes)
	}
	if o > uint64(limit) || l > uint64(limit)-o || n*zipEntrySize > l {
		return 0, 0, 0, fmt.Errorf("zip directory: %d entries in %d bytes at %d do not fit a file of %d", n, l, o, size)
	}
	return int(n), int64(o), int64(l), nil
}

// readZipEnd64 reads the ZIP64 form of the end record, whose locator ends at end. limit is where the record begins.
func readZipEnd64(f io.ReaderAt, end int64) (n, l, o uint64, limit int64, err error) {
	if end < zipLocator64Size+zipEnd64Size {
		return 0, 0, 0, 0, errors.New("zip directory: too short for ZIP64")
	}
	var locator [zipLocator64Size]byte
	if err := readFull(f, locator[:], end-zipLocator64Size); err != nil {
		return 0, 0, 0, 0, fmt.Errorf("zip directory: %w", err)
	}
	le := binary.LittleEndian
	at := le.Uint64(locator[8:])
	if le.Uint32(locator[:]) != zipLocatorSignature || at > uint64(end-zipLocator64Size-zipEnd64Size) {
		return 0, 0, 0, 0, errors.New("zip directory: no ZIP64 record where one is needed")
	}
	var record [zipEnd64Size]byte
	if err := readFull(f, record[:], int64(at)); err != nil {
		return 0, 0, 0, 0, fmt.Errorf("zip directory: %w", err)
	}
	if le.Uint32(record[:]) != zipEnd64Signature {
		return 0, 0, 0, 0, errors.New("zip directory: no ZIP64 record where one is needed")
	}
	return le.Uint64(record[32:]), le.Uint64(record[40:]), le.Uint64(record[48:]), int64(at), nil
}

// parseZipEntry takes the first entry off a directory.
func parseZipEntry(d []byte) (m zipMember, rest []byte, err error) {
	le := binary.LittleEndian
	if len(d) < zipEntrySize || le.Uint32(d) != zipEntrySignature {
		return m, nil, errors.New("zip directory: not an entry where one should be")
	}
	name, extra, comment := int(le.Uint16(d[28:])), int(le.Uint16(d[30:])), int(le.Uint16(d[32:]))
	if len(d) < zipEntrySize+name+extra+comment {
		return m, nil, errors.New("zip directory: an entry is cut off")
	}
	m.name = string(d[zipEntrySize : zipEntrySize+name])
	if err := checkMemberName(m.name); err != nil {
		return m, nil, err
	}
	flags, method := le.Uint16(d[8:]), le.Uint16(d[10:])
	switch {
	case flags&1 != 0:
		return m, nil, fmt.Errorf("zip member %s is encrypted", quote(m.name))
	case method != 0:
		return m, nil, fmt.Errorf("zip member %s is compressed (method %d): torch stores them as they are", quote(m.name), method)
	}
	packed, size, header := uint64(le.Uint32(d[20:])), uint64(le.Uint32(d[24:])), uint64(le.Uint32(d[42:]))
	fields := []*uint64{&size, &packed, &header}
	if err := widen(fields, d[zipEntrySize+name:zipEntrySize+name+extra]); err != nil {
		return m, nil, fmt.Errorf("zip member %s: %w", quote(m.name), err)
	}
	if packed != size || size > math.MaxInt64/4 || header > math.MaxInt64/4 {
		return m, nil, fmt.Errorf("zip member %s: stored as %d bytes of %d at %d", quote(m.name), packed, size, header)
	}
	m.crc, m.size, m.header = le.Uint32(d[16:]), int64(size), int64(header)
	return m, d[zipEntrySize+name+extra+comment:], nil
}

// widen replaces the fields that are all ones by their 64-bit values from the ZIP64 extra field, in order.
func widen(fields []*uint64, extra []byte) error {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		tag, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return errors.New("an extra field is cut off")
		}
		body := extra[4 : 4+n]
		extra = extra[4+n:]
		if tag != 1 {
			continue
		}
		for _, f := range fields {
			if *f == math.MaxUint32 && len(body) >= 8 {
				*f = le.Uint64(body)
				body = body[8:]
			}
		}
		return nil
	}
	return nil
}

// checkMemberName refuses names that mean another place when they are taken for paths.
func checkMemberName(name string) error {
	if name == "" || len(name) > maxFileNameBytes || strings.ContainsAny(name, "\\:\x00") || strings.HasPrefix(name, "/") ||
		slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("zip member %s: not a name that torch gives", quote(name))
	}
	return nil
}

// locate reads the member's local header, which must agree with the directory, and finds its data, which must lie
// before the directory.
func (m *zipMember) locate(f io.ReaderAt, directory int64) error {
	if m.header > directory-zipLocalSize {
		return fmt.Errorf("begins at %d, beyond the zip directory at %d", m.header, directory)
	}
	local := make([]byte, zipLocalSize+len(m.name))
	if err := readFull(f, local, m.header); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(local) != zipLocalSignature {
		return fmt.Errorf("no zip header at %d", m.header)
	}
	if int(le.Uint16(local[26:])) != len(m.name) || string(local[zipLocalSize:]) != m.name || le.Uint16(local[8:]) != 0 {
		return fmt.Errorf("the zip header at %d and the directory contradict each other", m.header)
	}
	m.off = m.header + zipLocalSize + int64(le.Uint16(local[26:])) + int64(le.Uint16(local[28:]))
	if m.off > directory || m.size > directory-m.off {
		return fmt.Errorf("%d bytes at %d run into the zip directory at %d", m.size, m.off, directory)
	}
	return nil
}

// checkOverlap refuses members that share bytes.
func checkOverlap(members []zipMember) error {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b zipMember) int { return cmp.Compare(a.header, b.header) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.off+a.size > b.header {
			return fmt.Errorf("zip members %s and %s overlap", quote(a.name), quote(b.name))
		}
	}
	return nil
}

// readFull fills p from off; a file that ends before is cut off.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("cut off: %d bytes at %d, only %d there", len(p), off, n)
	}
	return err
}
