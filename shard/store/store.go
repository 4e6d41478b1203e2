// Package store keeps models on this machine, in the form in which kernels read them and peers exchange them.
//
// A model is a directory of a manifest, a tokenizer and parts (the embedding, each layer, the head), and its id is the
// SHA-256 of the manifest: same id, same bits from every node. [Import] makes one from a checkpoint, [Export] makes a
// checkpoint of one, [Model.Part] maps a part into memory. A model appears and disappears in one rename, so that a
// reader never sees half of one, and what a killed import leaves is found and removed by the next. A [Library] is the
// same for models that came with the program.
//
// It computes nothing with the weights, knows no network, and prints nothing. What it reads from a directory it
// trusts no more than what a stranger sent. A Store is safe for concurrent use, by several processes too.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Store is the models of one home directory.
type Store struct {
	models string // home/models; made by the first import
}

// Open gives the store below home, which need not exist yet.
func Open(home string) (*Store, error) {
	models, err := filepath.Abs(filepath.Join(home, "models"))
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", home, err)
	}
	if st, err := os.Stat(models); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("open the store: %s is not a directory", models)
	}
	return &Store{models: models}, nil
}

// NotFoundError says that the store holds no model by a name or an id.
type NotFoundError struct {
	Model string   // what was asked for
	Have  []string // names of the models that there are
}

func (e *NotFoundError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("no model %q in the store, which is empty: import one first", e.Model)
	}
	return fmt.Sprintf("no model %q in the store: there is %s", e.Model, strings.Join(e.Have, ", "))
}

// Model opens the model with a name (compared without case), an id, or the beginning of one: at least 8 hex digits that
// no other model's id begins with. A *NotFoundError says that there is none.
func (s *Store) Model(nameOrID string) (*Model, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	return find(names, s.open, nameOrID)
}

// Entry is what List tells of a model.
type Entry struct {
	Name         string
	ID           ID
	Architecture string
	Weights      string
	KV           string
	Layers       int    // of the whole model
	Present      []Span // layers whose parts are here
	Size         int64  // bytes of the parts that are here, and of the tokenizer
	Err          error  // why the model can't be opened; then only Name is known
}

// List gives the models in the order of their names.
func (s *Store) List() ([]Entry, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	return entriesOf(names, s.open), nil
}

// Remove deletes the model with that name. Processes that have mapped it keep what they mapped.
func (s *Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	release, err := s.lock(name)
	if err != nil {
		return fmt.Errorf("remove model %s: %w", name, err)
	}
	defer release()
	names, err := s.names()
	if err != nil {
		return err
	}
	have := match(names, name)
	if have == "" {
		return &NotFoundError{Model: name, Have: names}
	}
	gone := s.path(prefixGone + have)
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove model %s: %w", have, err)
	}
	if err := os.Rename(s.path(have), gone); err != nil {
		return fmt.Errorf("remove model %s: %w", have, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove model %s: it is gone from the store, but some of its files remain: %w", have, err)
	}
	return nil
}

// open opens the model in the directory of that name.
func (s *Store) open(name string) (*Model, error) {
	return OpenFiles(name, os.DirFS(s.path(name)))
}

// names lists the directories that are named as models are, sorted.
func (s *Store) names() ([]string, error) {
	entries, err := s.entries()
	var names []string
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue
		}
		if st, err := os.Stat(s.path(e.Name())); err == nil && st.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// match gives the one of names that equals name without case, or "".
func match(names []string, name string) string {
	for _, have := range names {
		if fold(have) == fold(name) {
			return have
		}
	}
	return ""
}

func (s *Store) entries() ([]os.DirEntry, error) {
	entries, err := os.ReadDir(s.models)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the models of the store: %w", err)
	}
	return entries, nil
}

// Free is how many bytes there is room for in the store, as far as the system tells. Only a store that has a model can say.
func (s *Store) Free() (int64, error) {
	n, err := freeBytes(s.models)
	if err != nil {
		return 0, fmt.Errorf("find how much room is left in %s: %w", s.models, err)
	}
	return n, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.models, name) }
