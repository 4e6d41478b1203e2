//go:build unix

package store

import (
	"os"
	"testing"
)

// A store that was moved to another disk, with a link in its place, stays linked when it is empty.
func TestLock_KeepsTheLinkToTheStore(t *testing.T) {
	s := emptyStore(t)
	if err := os.Symlink(t.TempDir(), s.models); err != nil {
		t.Fatal(err)
	}
	release, err := s.lock("mini")
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := os.Readlink(s.models); err != nil {
		t.Error(err)
	}
}
