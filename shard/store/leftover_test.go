package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPrune_RemovesWhatTheDeadHaveLeft(t *testing.T) {
	s, _, _ := pair(t)
	leave := func(name string) {
		t.Helper()
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.path(name), "embed"), make([]byte, 1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".import-dead", ".gone-Old", ".old-A", ".old-back", ".import-busy"} {
		leave(name)
	}
	if err := os.WriteFile(s.path(".lock-dead"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	release, err := s.lock("busy")
	if err != nil {
		t.Fatal(err)
	}
	freed, err := s.Prune()
	if err != nil || freed != 3000 {
		t.Errorf("freed %d, %v", freed, err)
	}
	// "back" was being replaced and its successor never came; A is there, so its predecessor is not needed.
	wantListing(t, s, ".import-busy", ".lock-busy", "B", "a", "back")
	release()
	if _, err := s.Prune(); err != nil {
		t.Error(err)
	}
	wantListing(t, s, "B", "a", "back")
}

func TestImport_GoesOnWhereOtherLeftoversStay(t *testing.T) {
	s := emptyStore(t)
	if err := os.MkdirAll(s.path(".lock-other"), 0o755); err != nil { // which cannot be locked
		t.Fatal(err)
	}
	_, err := s.Prune()
	wantOneLine(t, err)
	imported(t, s, written(t, tiny(t)), ImportOptions{Name: "mini"})
}

func TestLock_WaitsForAShortHolder(t *testing.T) {
	s := emptyStore(t)
	release, err := s.tryLock("mini")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lockPause, release)
	if release, err = s.lock("mini"); err != nil {
		t.Fatal(err)
	}
	release()
}

// The holder of the lock may die between an importer's Prune, which leaves a name that is locked alone, and its lock.
func TestSweep_RemovesWhatIsLeftUnderTheCallersLock(t *testing.T) {
	s, _, _ := pair(t)
	release, err := s.lock("A")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, name := range []string{".import-a", ".gone-a", ".old-a", ".import-b"} {
		if err := os.Mkdir(s.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.sweep("A"); err != nil {
		t.Error(err)
	}
	wantListing(t, s, ".import-b", ".lock-a", "B", "a")
}

func TestLock_IsHeldByOne(t *testing.T) {
	s := emptyStore(t)
	release, err := s.lock("Mini")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.lock("mini"); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	other, err := s.lock("maxi")
	if err != nil {
		t.Fatal(err)
	}
	other()
	release()
	if release, err = s.lock("MINI"); err != nil {
		t.Fatal(err)
	}
	release()
	wantListing(t, s)
	if _, err := os.Stat(s.models); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty store is left: %v", err)
	}
}
