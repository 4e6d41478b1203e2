//go:build !linux

package kernels

import "github.com/edsrzf/mmap-go"

// mapArena maps memory that is zero.
func mapArena(size int) (mmap.MMap, error) { return mmap.MapRegion(nil, size, mmap.RDWR, mmap.ANON, 0) }
