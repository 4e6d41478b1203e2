package kernels

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages where the system gives them only to who asks. A head's keys are 128 bytes in each
// of thousands of small pages, more than a processor remembers the addresses of.
func adviseHuge(b []byte) {
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // a system without them does as well
}
