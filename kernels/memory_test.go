package kernels

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"unsafe"
)

// placement is where in memory a slice lies.
type placement int

// An access beyond the slice meets a page that can't be touched, or (margin) bytes that it must not change.
const (
	beforeGuard placement = iota // the slice ends where such a page begins
	afterGuard                   // it begins where such a page ends
	unaligned                    // it begins at an address that is odd, or for larger elements an odd multiple of their size
)

func placements() []placement { return []placement{beforeGuard, afterGuard, unaligned} }

func (p placement) String() string {
	return [...]string{"before a guard page", "after a guard page", "unaligned"}[p]
}

const (
	margin  = 192  // bytes on the open sides of a slice whose contents are watched
	pattern = 0xA7 // what they hold; as float32 and float16 it is a small negative number
)

// memory hands out slices that lie beside pages that can't be touched, and tells whether anything but what was meant to
// be written has changed.
type memory struct {
	t     testing.TB
	where placement
	free  map[int][][]byte // regions by size
	used  []region
}

// region is the pages of one slice.
type region struct {
	mem      []byte // between the guard pages
	from, to int    // the slice
	want     []byte // what it must hold at the end; nil where it may change
}

// newMemory gives memory that lasts until the test's end.
func newMemory(t testing.TB, where placement) *memory {
	return &memory{t: t, where: where, free: map[int][][]byte{}}
}

// input copies x to a place where it must not be changed.
func input[T any](m *memory, x []T) []T {
	y := output(m, x)
	r := &m.used[len(m.used)-1]
	r.want = bytes.Clone(r.mem[r.from:r.to])
	return y
}

// output copies x to a place that may be written.
func output[T any](m *memory, x []T) []T {
	var zero T
	size := int(unsafe.Sizeof(zero))
	n := len(x) * size
	pages := os.Getpagesize()
	for pages < n+2*margin {
		pages *= 2
	}
	mem := m.region(pages)
	from := 0
	switch m.where {
	case beforeGuard:
		from = pages - n
	case unaligned:
		from = margin - margin%size - size
		if from/size%2 == 0 {
			from -= size
		}
	}
	r := region{mem: mem, from: from, to: from + n}
	for _, open := range [][]byte{r.before(), r.behind()} {
		for i := range open {
			open[i] = pattern
		}
	}
	m.used = append(m.used, r)
	if n == 0 {
		return []T{}
	}
	y := unsafe.Slice((*T)(unsafe.Pointer(&mem[from])), len(x))
	copy(y, x)
	return y
}

// region gives a region of so many bytes.
func (m *memory) region(size int) []byte {
	list := m.free[size]
	if len(list) == 0 {
		return mapGuarded(m.t, size)
	}
	m.free[size] = list[:len(list)-1]
	return list[len(list)-1]
}

// before and behind are the watched bytes on both sides.
func (r *region) before() []byte { return r.mem[max(r.from-margin, 0):r.from] }
func (r *region) behind() []byte { return r.mem[r.to:min(r.to+margin, len(r.mem))] }

// call runs f, which must touch nothing but the slices that were handed out since the last call, and change only the
// outputs. These may be read until the next slice is handed out.
func (m *memory) call(what string, f func()) {
	m.t.Helper()
	defer m.release()
	if fault := m.try(f); fault != "" {
		m.t.Fatalf("%s: %s", what, fault)
	}
	for i := range m.used {
		r := &m.used[i]
		for _, open := range [][]byte{r.before(), r.behind()} {
			for _, b := range open {
				if b != pattern {
					m.t.Fatalf("%s: memory beside slice %d of %d was changed", what, i, len(m.used))
				}
			}
		}
		if r.want != nil && !bytes.Equal(r.mem[r.from:r.to], r.want) {
			m.t.Fatalf("%s: input %d of %d was changed", what, i, len(m.used))
		}
	}
}

// try runs f and says where it touched memory that it must not.
func (m *memory) try(f func()) (fault string) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			fault = m.locate(r.Addr())
		default:
			fault = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

// locate says where an address lies.
func (m *memory) locate(at uintptr) string {
	for i, r := range m.used {
		first := uintptr(unsafe.Pointer(unsafe.SliceData(r.mem)))
		from, to := first+uintptr(r.from), first+uintptr(r.to)
		switch page := uintptr(os.Getpagesize()); {
		case at >= to && at < first+uintptr(len(r.mem))+page:
			return fmt.Sprintf("touches memory %d bytes behind the end of slice %d of %d (%d bytes)", at-to, i, len(m.used), to-from)
		case at < from && at+page >= first:
			return fmt.Sprintf("touches memory %d bytes before slice %d of %d (%d bytes)", from-at, i, len(m.used), to-from)
		}
	}
	return fmt.Sprintf("touches memory at %#x, which is beside none of its %d slices", at, len(m.used))
}

// release takes all slices back.
func (m *memory) release() {
	for _, r := range m.used {
		m.free[len(r.mem)] = append(m.free[len(r.mem)], r.mem)
	}
	m.used = m.used[:0]
}

// The guard itself has to work, or the tests that rely on it prove nothing.
func TestMemory_NoticesWhatIsTouchedBesideASlice(t *testing.T) {
	at := func(x []byte, offset int) *byte {
		return (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(x)), offset))
	}
	for _, where := range placements() {
		m := newMemory(t, where)
		var x []byte
		if where != afterGuard {
			x = output(m, make([]byte, 100))
			*at(x, -1) = 1
			if r := &m.used[0]; r.before()[len(r.before())-1] != 1 {
				t.Errorf("%v: the byte before a slice is not watched", where)
			}
			m.release()
		}
		if where == unaligned {
			if x = output(m, make([]byte, 100)); uintptr(unsafe.Pointer(&x[0]))%2 != 1 {
				t.Errorf("a slice of bytes at %p", x)
			}
			if y := output(m, make([]float32, 100)); uintptr(unsafe.Pointer(&y[0]))%8 != 4 {
				t.Errorf("a slice of float32 at %p", y)
			}
			continue
		}
		x = input(m, make([]byte, 100))
		offset := len(x)
		if where == afterGuard {
			offset = -1
		}
		if fault := m.try(func() { *at(x, offset) = 1 }); fault == "" {
			t.Errorf("%v: a write beyond it goes through", where)
		}
		if fault := m.try(func() { x[0] += *at(x, offset) }); fault == "" {
			t.Errorf("%v: a read beyond it goes through", where)
		}
		x[3] = 1
		if r := &m.used[0]; bytes.Equal(r.mem[r.from:r.to], r.want) {
			t.Errorf("%v: a changed input goes unnoticed", where)
		}
	}
}
