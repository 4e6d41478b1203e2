package kernels

import (
	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// mapArena maps memory that is zero, and asks for huge pages where the system gives them only to who asks: a cache is
// read all over, in more small pages than a processor remembers the addresses of. (A private mapping: shared memory has
// none on most systems.)
func mapArena(size int) (mmap.MMap, error) {
	arena, err := mmap.MapRegion(nil, size, mmap.COPY, mmap.ANON, 0)
	if err == nil {
		_ = unix.Madvise(arena, unix.MADV_HUGEPAGE) // a system without them does as well
	}
	return arena, err
}
