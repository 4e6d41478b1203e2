package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// What a change of the store keeps beside the models while it runs. Each is followed by the model's name; the dot keeps
// it out of the models' own names.
const (
	prefixLock   = ".lock-"   // a file, locked by the process that changes the model
	prefixImport = ".import-" // a model that is being written
	prefixOld    = ".old-"    // a model that is being replaced: it is put back where its successor did not arrive
	prefixGone   = ".gone-"   // a model that is being deleted
)

var errBusy = errors.New("it is being imported or removed by another process")

// lock keeps every other process and goroutine from changing the model of that name until release is called. The
// system releases the lock of a process that dies. It waits a little for who may only be looking for leftovers.
func (s *Store) lock(name string) (release func(), err error) { return s.lockWithin(name, lockTries) }

// lockLong waits longer: for others who tell of parts that they have filled.
func (s *Store) lockLong(name string) (release func(), err error) {
	return s.lockWithin(name, lockLongTries)
}

func (s *Store) lockWithin(name string, tries int) (release func(), err error) {
	for range tries {
		if release, err = s.tryLock(name); !errors.Is(err, errBusy) {
			break
		}
		time.Sleep(lockPause)
	}
	return release, err
}

func (s *Store) tryLock(name string) (release func(), err error) {
	unlock, err := lockFile(s.path(prefixLock+fold(name)), func() error { return os.MkdirAll(s.models, 0o755) })
	if err != nil {
		return nil, err
	}
	return func() {
		unlock()
		// A store in which nothing is left is as it was before its first import.
		if st, err := os.Lstat(s.models); err == nil && st.IsDir() { // and no link, which Remove would take away whatever it leads to
			os.Remove(s.models) // fails unless it is empty
		}
	}, nil
}

// lockFile locks a file of its own in a directory that prepare sees to. errBusy says that another holds it.
func lockFile(path string, prepare func() error) (release func(), err error) {
	// The file may be deleted by the holder between our opening and our locking it: then the lock is on a file that
	// nobody else can see, and counts for nothing. The directory may go just as well, where the holder left no model.
	var missing error
	for range 10 {
		if err := prepare(); err != nil {
			return nil, err
		}
		l := flock.New(path)
		ok, err := l.TryLock()
		if errors.Is(err, fs.ErrNotExist) {
			missing = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !ok {
			return nil, errors.Join(l.Close(), errBusy)
		}
		held, err1 := l.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, there) {
			return func() { unlock(l) }, nil
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return nil, cmp.Or(missing, errBusy)
}

// unlock deletes the lock's file while it is still locked, so that nobody can hold it when it goes. Windows deletes no
// open file, and for the same reason nobody can hold it when it is deleted afterwards.
func unlock(l *flock.Flock) {
	if runtime.GOOS != "windows" {
		os.Remove(l.Path())
	}
	l.Close()
	if runtime.GOOS == "windows" {
		os.Remove(l.Path())
	}
}

// Prune removes what killed imports and removals have left, and tells how many bytes that freed. What a running
// process is at work on stays.
func (s *Store) Prune() (freed int64, err error) {
	entries, err := s.entries()
	if err != nil {
		return 0, err
	}
	names := make(map[string]bool)
	for _, e := range entries {
		for _, prefix := range []string{prefixLock, prefixImport, prefixOld, prefixGone} {
			if name, ok := strings.CutPrefix(e.Name(), prefix); ok && CheckName(name) == nil {
				names[fold(name)] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n, errName := s.pruneName(name)
		freed += n
		err = cmp.Or(err, errName)
	}
	return freed, err
}

// pruneName removes what is left of changes to one model, unless such a change is running.
func (s *Store) pruneName(name string) (freed int64, err error) {
	release, err := s.tryLock(name)
	if errors.Is(err, errBusy) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("prune: %w", err)
	}
	defer release()
	return s.sweep(name)
}

// sweep removes what is left of changes to the model of that name, whose lock the caller holds.
func (s *Store) sweep(name string) (freed int64, err error) {
	entries, err := s.entries()
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		n, err := s.pruneEntry(e.Name(), fold(name))
		if err != nil {
			return freed, fmt.Errorf("prune: %w", err)
		}
		freed += n
	}
	return freed, nil
}

func (s *Store) pruneEntry(entry, name string) (freed int64, err error) {
	for _, prefix := range []string{prefixImport, prefixOld, prefixGone} {
		of, ok := strings.CutPrefix(entry, prefix)
		if !ok || fold(of) != name {
			continue
		}
		names, err := s.names()
		if err != nil {
			return 0, err
		}
		if prefix == prefixOld && match(names, name) == "" {
			return 0, os.Rename(s.path(entry), s.path(of))
		}
		freed = bytesBelow(s.path(entry))
		return freed, os.RemoveAll(s.path(entry))
	}
	return 0, nil
}

// bytesBelow adds up the files in dir, as far as they can be seen.
func bytesBelow(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
