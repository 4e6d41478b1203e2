package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// header is the union of all messages' headers: one flat map of short keys. Integers are as wide as msgpack has them, so
// that a number out of range is seen by the check that names it and never cut to fit. Absent and zero are the same.
type header struct {
	Type     string `msgpack:"t"`
	Session  []byte `msgpack:"s,omitempty"`
	Epoch    uint64 `msgpack:"e,omitempty"`
	Number   uint64 `msgpack:"n,omitempty"`
	Position uint64 `msgpack:"p,omitempty"`
	Want     uint64 `msgpack:"w,omitempty"`
	Final    bool   `msgpack:"f,omitempty"`
	Running  bool   `msgpack:"run,omitempty"`

	IDs    uint64 `msgpack:"ids,omitempty"` // counts of what the body holds
	NewIDs uint64 `msgpack:"new,omitempty"`
	Rows   uint64 `msgpack:"r,omitempty"`
	Width  uint64 `msgpack:"wd,omitempty"`
	Cands  uint64 `msgpack:"cd,omitempty"`
	Next   uint64 `msgpack:"nx,omitempty"`  // bytes of a sealed offer
	Count  uint64 `msgpack:"ct,omitempty"`  // sealed offers
	Bytes  uint64 `msgpack:"b,omitempty"`   // of all sealed offers, or of a piece of a blob
	Hints  uint64 `msgpack:"h,omitempty"`   // hinted addresses
	HintsB uint64 `msgpack:"hb,omitempty"`  // their bytes
	Length uint64 `msgpack:"l,omitempty"`   // asked for
	Offset uint64 `msgpack:"o,omitempty"`   // into a blob
	Total  uint64 `msgpack:"tot,omitempty"` // bytes of a blob

	Model  []byte `msgpack:"m,omitempty"` // or any other SHA-256
	Start  uint64 `msgpack:"a,omitempty"`
	End    uint64 `msgpack:"z,omitempty"`
	Expect uint64 `msgpack:"x,omitempty"`
	Last   uint64 `msgpack:"la,omitempty"`
	Prev   []byte `msgpack:"pv,omitempty"`
	Salt   []byte `msgpack:"sa,omitempty"`

	Owner    []byte `msgpack:"ow,omitempty"` // peers
	From     []byte `msgpack:"fr,omitempty"`
	Through  []byte `msgpack:"th,omitempty"`
	Private  bool   `msgpack:"pr,omitempty"`
	Names    uint64 `msgpack:"nm,omitempty"` // how many names of pages the body holds
	Until    uint64 `msgpack:"u,omitempty"`
	Index    uint64 `msgpack:"ix,omitempty"`
	Layer    int64  `msgpack:"ly,omitempty"`
	Within   uint64 `msgpack:"ms,omitempty"`
	HandOver uint64 `msgpack:"hm,omitempty"`
	Suspect  []byte `msgpack:"su,omitempty"`
	Progress uint64 `msgpack:"pg,omitempty"`
	Busy     uint64 `msgpack:"bu,omitempty"`
	Yes      bool   `msgpack:"y,omitempty"`
	Spent    []byte `msgpack:"sp,omitempty"` // two uvarints of microseconds for each hop

	Temp float32 `msgpack:"T,omitempty"`
	TopK int64   `msgpack:"K,omitempty"`
	TopP float64 `msgpack:"P,omitempty"`
	Pen  float32 `msgpack:"R,omitempty"`

	Load *loadRecord `msgpack:"ld,omitempty"`

	Code uint64 `msgpack:"c,omitempty"`
	Text string `msgpack:"tx,omitempty"`
}

// packMap writes v, a struct, as one msgpack map.
func packMap(v any) ([]byte, error) {
	var b bytes.Buffer
	e := msgpack.NewEncoder(&b)
	e.UseCompactInts(true)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpackMap reads one msgpack map, and nothing behind it, into v. Keys that v does not have are ignored.
//
// The decoder allocates what a length says before it looks whether so many bytes are there: 4 GiB for five bytes. So the
// whole text is walked first; after that no length in it is longer than itself.
func unpackMap(b []byte, v any) error {
	if err := checkMap(b); err != nil {
		return err
	}
	if err := msgpack.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// maxDepth is how deep maps and arrays may lie in each other. We use two levels; the rest is for keys to come.
const maxDepth = 8

var (
	errNotMap    = errors.New("not a msgpack map")
	errCut       = errors.New("a length runs past the end")
	errTooDeep   = errors.New("nested too deep")
	errTrailing  = errors.New("bytes behind the map")
	errBadCode   = errors.New("not a msgpack code")
	errBadMapKey = errors.New("a map key is not a string")
)

// checkMap reports whether b is exactly one msgpack map with string keys in which every length fits.
func checkMap(b []byte) error {
	if len(b) == 0 || (b[0]&0xf0 != 0x80 && b[0] != 0xde && b[0] != 0xdf) {
		return errNotMap
	}
	rest, err := skipValue(b, 0)
	if err == nil && len(rest) > 0 {
		err = errTrailing
	}
	return err
}

// skipValue returns what follows the first msgpack value in b.
func skipValue(b []byte, depth int) ([]byte, error) {
	if len(b) == 0 {
		return nil, errCut
	}
	if depth > maxDepth {
		return nil, errTooDeep
	}
	c := b[0]
	switch {
	case c <= 0x7f || c >= 0xe0: // small integers
		return b[1:], nil
	case c <= 0x8f:
		return skipMany(b[1:], int(c&0x0f), true, depth)
	case c <= 0x9f:
		return skipMany(b[1:], int(c&0x0f), false, depth)
	case c <= 0xbf: // short strings
		return drop(b, 1+int(c&0x1f))
	}
	return skipLong(b, depth)
}

// skipLong is skipValue for codes 0xc0 to 0xdf.
func skipLong(b []byte, depth int) ([]byte, error) {
	switch c := b[0]; c {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return b[1:], nil
	case 0xcc, 0xd0: // integers and floats of 1, 2, 4, 8 bytes
		return drop(b, 2)
	case 0xcd, 0xd1:
		return drop(b, 3)
	case 0xca, 0xce, 0xd2:
		return drop(b, 5)
	case 0xcb, 0xcf, 0xd3:
		return drop(b, 9)
	case 0xc4, 0xd9, 0xc5, 0xda, 0xc6, 0xdb: // bytes and strings
		n, width, err := length(b, lengthWidth(c))
		if err != nil {
			return nil, err
		}
		return drop(b, 1+width+n)
	case 0xdc, 0xdd, 0xde, 0xdf: // arrays and maps
		n, width, err := length(b, lengthWidth(c))
		if err != nil {
			return nil, err
		}
		return skipMany(b[1+width:], n, c >= 0xde, depth)
	}
	return nil, errBadCode // extensions are not part of the protocol
}

// lengthWidth is the bytes of the length that follows code c.
func lengthWidth(c byte) int {
	switch c {
	case 0xc4, 0xd9:
		return 1
	case 0xc5, 0xda, 0xdc, 0xde:
		return 2
	}
	return 4
}

// length reads the length of width bytes behind the code.
func length(b []byte, width int) (n, w int, err error) {
	if len(b) < 1+width {
		return 0, 0, errCut
	}
	var wide [4]byte
	copy(wide[4-width:], b[1:1+width])
	v := binary.BigEndian.Uint32(wide[:])
	if uint64(v) > uint64(len(b)) { // each element takes a byte at least
		return 0, 0, errCut
	}
	return int(v), width, nil
}

// skipMany skips n values, or n pairs of a string and a value.
func skipMany(b []byte, n int, pairs bool, depth int) ([]byte, error) {
	var err error
	for range n {
		if pairs {
			if len(b) > 0 && b[0]&0xe0 != 0xa0 && (b[0] < 0xd9 || b[0] > 0xdb) {
				return nil, errBadMapKey
			}
			if b, err = skipValue(b, depth+1); err != nil {
				return nil, err
			}
		}
		if b, err = skipValue(b, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// drop cuts n bytes off the front.
func drop(b []byte, n int) ([]byte, error) {
	if n > len(b) {
		return nil, errCut
	}
	return b[n:], nil
}
