package kernels

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapGuarded gives so many bytes, whole pages, between two pages that can't be touched, until the test's end.
func mapGuarded(t testing.TB, size int) []byte {
	t.Helper()
	page := os.Getpagesize()
	at, err := windows.VirtualAlloc(0, uintptr(size+2*page), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_NOACCESS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := windows.VirtualFree(at, 0, windows.MEM_RELEASE); err != nil {
			t.Error(err)
		}
	})
	var old uint32
	if err := windows.VirtualProtect(at+uintptr(page), uintptr(size), windows.PAGE_READWRITE, &old); err != nil {
		t.Fatal(err)
	}
	first := *(*unsafe.Pointer)(unsafe.Pointer(&at)) // a conversion that vet takes for memory of Go's
	return unsafe.Slice((*byte)(unsafe.Add(first, page)), size)
}
