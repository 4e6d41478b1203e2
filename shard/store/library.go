package store

import (
	"fmt"
	"io/fs"
	"strings"
)

// Library is models that nothing changes, each in a directory of a file system, as a program's embedded ones are. Its
// parts are read into memory where the file system is not the system's own. It trusts the files as little as a Store
// does, and is safe for concurrent use.
type Library struct{ files fs.FS }

// NewLibrary gives the models whose directories are at the root of files. Whatever else is there is passed over.
func NewLibrary(files fs.FS) Library { return Library{files} }

// Names lists the models, sorted.
func (l Library) Names() ([]string, error) {
	entries, err := fs.ReadDir(l.files, ".")
	if err != nil {
		return nil, fmt.Errorf("list the models of the library: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Model opens a model as [Store.Model] does: by its name, its id or the beginning of one. A *NotFoundError says that
// there is none.
func (l Library) Model(nameOrID string) (*Model, error) {
	names, err := l.Names()
	if err != nil {
		return nil, err
	}
	return find(names, l.open, nameOrID)
}

// List gives the models in the order of their names.
func (l Library) List() ([]Entry, error) {
	names, err := l.Names()
	return entriesOf(names, l.open), err
}

func (l Library) open(name string) (*Model, error) {
	dir, err := fs.Sub(l.files, name)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", name, err)
	}
	return OpenFiles(name, dir)
}

// find opens the one of the models with those names that nameOrID means.
func find(names []string, open func(name string) (*Model, error), nameOrID string) (*Model, error) {
	if name := match(names, nameOrID); name != "" {
		return open(name)
	}
	var found *Model
	if prefix := strings.ToLower(nameOrID); len(prefix) >= minID {
		for _, name := range names {
			m, err := open(name)
			if err != nil || !strings.HasPrefix(m.ID.String(), prefix) {
				continue // a damaged model has no id to be found by
			}
			if found != nil && found.ID != m.ID {
				return nil, fmt.Errorf("id %s is the beginning of both %s (%s) and %s (%s): give more of it",
					prefix, found.ID, found.Name, m.ID, m.Name)
			}
			found = m
		}
	}
	if found == nil {
		return nil, &NotFoundError{Model: nameOrID, Have: names}
	}
	return found, nil
}

// entriesOf tells of the models with those names.
func entriesOf(names []string, open func(name string) (*Model, error)) []Entry {
	entries := make([]Entry, len(names))
	for i, name := range names {
		m, err := open(name)
		if err != nil {
			entries[i] = Entry{Name: name, Err: err}
			continue
		}
		entries[i] = Entry{
			Name: name, ID: m.ID, Architecture: m.Manifest.Architecture, Weights: m.Manifest.Weights, KV: m.Manifest.KV,
			Layers: m.Manifest.Layers, Present: m.Layers(), Size: m.size(),
		}
	}
	return entries
}
