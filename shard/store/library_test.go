package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// inMemory copies a store's models to a file system in memory.
func inMemory(t *testing.T, s *Store) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := filepath.WalkDir(s.models, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.models, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = &fstest.MapFile{Data: data, Mode: 0o444}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLibrary_GivesWhatTheStoreGives(t *testing.T) {
	s, a, b := pair(t)
	files := inMemory(t, s)
	files["README.md"] = &fstest.MapFile{Data: []byte("no model")}
	files["-no name/manifest.json"] = &fstest.MapFile{}
	l := NewLibrary(files)
	if names, err := l.Names(); err != nil || strings.Join(names, " ") != "B a" {
		t.Errorf("names %v, %v", names, err)
	}
	for ref, want := range map[string]*Model{"A": a, "B": b, a.ID.String()[:8]: a, b.ID.String(): b} {
		m, err := l.Model(ref)
		if err != nil || m.ID != want.ID || m.Name != want.Name {
			t.Fatalf("%q: %v", ref, err)
		}
		if err := Verify(context.Background(), m); err != nil {
			t.Error(err)
		}
		got, err := m.Part(1)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := want.Part(1)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), stored.Bytes()) {
			t.Errorf("%q: another part", ref)
		}
		if err := errors.Join(got.Close(), stored.Close(), got.Close()); err != nil {
			t.Error(err)
		}
	}
	var none *NotFoundError
	if _, err := l.Model("README.md"); !errors.As(err, &none) || len(none.Have) != 2 {
		t.Errorf("a file that is no model: %v", err)
	}
	list, err := l.List()
	if err != nil || len(list) != 2 || list[0].Name != "B" || list[1].ID != a.ID || list[1].Size != a.size() {
		t.Errorf("list %+v, %v", list, err)
	}
}

func TestLibrary_TrustsNoFile(t *testing.T) {
	s, _, _ := pair(t)
	files := inMemory(t, s)
	files["a/layer-000"].Data[100] ^= 1
	files["B/local.json"].Data = []byte("{}")
	l := NewLibrary(files)
	m, err := l.Model("a")
	if err != nil {
		t.Fatal(err)
	}
	err = Verify(context.Background(), m)
	wantOneLine(t, err)
	if !strings.Contains(err.Error(), "layer-000") {
		t.Errorf("a damaged layer: %v", err)
	}
	if _, err := l.Model("B"); err == nil || !strings.Contains(err.Error(), "local.json") {
		t.Errorf("a foreign local.json: %v", err)
	}
	if list, err := l.List(); err != nil || list[0].Err == nil || list[1].Err != nil {
		t.Errorf("list %+v, %v", list, err)
	}
}
