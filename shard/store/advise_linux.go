package store

import "golang.org/x/sys/unix"

// adviseRead tells the system that all of a mapped file is about to be read, from one end to the other, again and again:
// it reads ahead, and uses huge pages where its file systems have them.
func adviseRead(b []byte) {
	_ = unix.Madvise(b, unix.MADV_WILLNEED) // advice: without it the pages come as they are touched
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
}
