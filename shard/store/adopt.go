package store

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Adopted is a model that this machine learns of from others: what describes it, and none of its parts yet.
type Adopted struct {
	Manifest   []byte // as its importer wrote it; the id is its hash
	Tokenizer  []byte
	Generation Generation
	Source     string // what local.json records as the source

	// Names are what it may be called, the best first. One that is no model's name, or another model's already, is passed
	// over.
	Names []string
}

// Adopt gives the store a model without parts, for [Store.Fill] to fill. One that the store has already under one of the
// names is opened as it is.
func (s *Store) Adopt(a Adopted) (*Model, error) {
	m, err := ParseManifest(a.Manifest)
	if err != nil {
		return nil, fmt.Errorf("adopt a model: %w", err)
	}
	if err := m.checkTokenizer(a.Tokenizer); err != nil {
		return nil, fmt.Errorf("adopt a model: %w", err)
	}
	if err := a.Generation.Check(); err != nil {
		return nil, fmt.Errorf("adopt a model: %w", err)
	}
	id := ID(sha256.Sum256(a.Manifest))
	for _, name := range a.Names {
		if CheckName(name) != nil {
			continue
		}
		model, err := s.adoptAs(name, id, a)
		if err != nil {
			return nil, fmt.Errorf("adopt model %s: %w", name, err)
		}
		if model != nil {
			return model, nil
		}
	}
	return nil, fmt.Errorf("adopt model %s: the store has other models of the names %.200q: remove or rename one", id, a.Names)
}

// adoptAs makes the model under a name; nil if the name is another model's.
func (s *Store) adoptAs(name string, id ID, a Adopted) (*Model, error) {
	release, err := s.lock(name)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := s.sweep(name); err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	if have := match(names, name); have != "" {
		m, err := s.open(have)
		if err != nil || m.ID != id {
			return nil, nil // a damaged model keeps its name as well
		}
		return m, nil
	}
	dir := s.path(prefixImport + fold(name))
	if err := writeAdopted(dir, name, id, a); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.commit(dir, name, ""); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s.open(name)
}

// writeAdopted writes what describes a model into dir, which it makes.
func writeAdopted(dir, name string, id ID, a Adopted) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	local := Local{
		Name: name, ID: id.String(), Source: a.Source, Created: time.Now().UTC().Truncate(time.Second),
		Generation: a.Generation, Parts: []int{},
	}
	if err := writeFile(filepath.Join(dir, fileManifest), a.Manifest); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, fileTokenizer), a.Tokenizer); err != nil {
		return err
	}
	if err := local.write(filepath.Join(dir, fileLocal)); err != nil {
		return err
	}
	return syncDir(dir)
}

// write makes a new file of l.
func (l Local) write(path string) error {
	text, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'))
}

// Reopen reads anew which parts are here. The model is the same one, or there is an error.
func (m *Model) Reopen() (*Model, error) {
	again, err := openModel(m.Name, m.files)
	if err == nil && again.ID != m.ID {
		err = errors.New("it was replaced by another model since it was opened")
	}
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", m.Name, err)
	}
	return again, nil
}

// list adds a part to those that are here, in the model's own file, which is replaced as a whole. The caller holds the
// model's lock.
func (m *Model) list(dir string, part int) error {
	now, err := m.Reopen()
	if err != nil {
		return err
	}
	local := now.Local
	local.Parts = ascending(append(slices.Clone(local.Parts), part))
	temp := filepath.Join(dir, fileLocal+".new")
	if err := os.RemoveAll(temp); err != nil { // of a process that was killed
		return err
	}
	if err := local.write(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, fileLocal)); err != nil {
		return err
	}
	return syncDir(dir)
}
