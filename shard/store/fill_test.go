package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// donor is a model of a store, as another machine would adopt it, and the bytes of its parts.
func donor(t testing.TB) (a Adopted, m *Model, parts [][]byte) {
	t.Helper()
	m = imported(t, emptyStore(t), written(t, tiny(t)), ImportOptions{Name: "origin"})
	words, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Manifest.Parts {
		mapped, err := m.Part(i)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, slices.Clone(mapped.Bytes()))
		if err := mapped.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return Adopted{Manifest: m.Raw, Tokenizer: words, Source: "a peer", Names: []string{"origin"}}, m, parts
}

func adopted(t testing.TB, s *Store, a Adopted) *Model {
	t.Helper()
	m, err := s.Adopt(a)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// filled fills parts of an adopted model.
func filled(t testing.TB, s *Store, m *Model, parts [][]byte, which ...int) {
	t.Helper()
	for _, part := range which {
		f, err := s.Fill(m, part)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Missing() {
			if err := f.WriteChunk(c, parts[part][c*ChunkSize:][:f.ChunkBytes(c)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Finish(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdopt_MakesAModelThatIsFilledPartByPart(t *testing.T) {
	a, origin, parts := donor(t)
	s := emptyStore(t)
	m := adopted(t, s, a)
	if m.ID != origin.ID || len(m.Local.Parts) != 0 || len(m.Layers()) != 0 {
		t.Errorf("the model has the id %s and parts %v", m.ID, m.Local.Parts)
	}
	filled(t, s, m, parts, 2, 0)
	now, err := m.Reopen()
	if err != nil || !slices.Equal(now.Local.Parts, []int{0, 2}) || !slices.Equal(now.Layers(), []Span{{1, 2}}) {
		t.Errorf("parts %v are here: %v", now.Local.Parts, err)
	}
	if err := Verify(t.Context(), now); err != nil {
		t.Error(err)
	}
	if got := now.Lacking(Span{0, 2}); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("parts %v lack", got)
	}
	if _, err := now.OpenPart(1); err == nil {
		t.Error("a part is open that is not here")
	}
	if _, err := s.Fill(now, 2); !errors.Is(err, ErrPartHere) {
		t.Errorf("a part that is here: %v", err)
	}
	for _, bad := range []int{-1, 4} {
		if _, err := s.Fill(now, bad); err == nil {
			t.Errorf("part %d can be filled", bad)
		}
	}
	entries, err := os.ReadDir(s.path("origin"))
	if err != nil || len(entries) != 5 {
		t.Errorf("the model has the files %v: %v", entries, err)
	}
}

func TestAdopt_FindsANameThatIsFree(t *testing.T) {
	a, _, _ := donor(t)
	s := emptyStore(t)
	imported(t, s, written(t, tiny(t)), ImportOptions{Name: "taken", Weights: "bf16"})
	if err := os.MkdirAll(s.path("wreck"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.Names = []string{"../up", "", "con", "Taken", "wreck", "second", "third"}
	if m := adopted(t, s, a); m.Name != "second" {
		t.Errorf("it is called %s", m.Name)
	}
	if again := adopted(t, s, a); again.Name != "second" {
		t.Errorf("a second time it is called %s", again.Name)
	}
	a.Names = []string{"taken", "../up"}
	_, err := s.Adopt(a)
	if err == nil {
		t.Error("it was called by another's name")
	}
	wantOneLine(t, err)
}

func TestAdopt_RefusesWhatIsNotTheModels(t *testing.T) {
	a, _, _ := donor(t)
	hot := 3.0
	for name, spoil := range map[string]func(*Adopted){
		"no manifest":          func(a *Adopted) { a.Manifest = nil },
		"a changed manifest":   func(a *Adopted) { a.Manifest = append(slices.Clone(a.Manifest), ' ') },
		"another tokenizer":    func(a *Adopted) { a.Tokenizer = []byte("x") },
		"absurd advice":        func(a *Adopted) { a.Generation.Temperature = &hot },
		"no name that will do": func(a *Adopted) { a.Names = []string{"/etc", "a/b", ".."} },
	} {
		t.Run(name, func(t *testing.T) {
			s, a := emptyStore(t), a
			spoil(&a)
			_, err := s.Adopt(a)
			if err == nil {
				t.Fatal("it was adopted")
			}
			wantOneLine(t, err)
			if _, err := os.Stat(s.models); !errors.Is(err, os.ErrNotExist) {
				t.Error("something is left of it")
			}
		})
	}
}

func TestFill_TakesTheRightChunksAlone(t *testing.T) {
	a, _, parts := donor(t)
	s := emptyStore(t)
	m := adopted(t, s, a)
	f, err := s.Fill(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	right := parts[1][:f.ChunkBytes(0)]
	wrong := slices.Clone(right)
	wrong[len(wrong)/2] ^= 1
	for name, c := range map[string]struct {
		i    int
		data []byte
	}{"wrong": {0, wrong}, "short": {0, right[1:]}, "empty": {0, nil}, "before the first": {-1, right}, "after the last": {99, right}} {
		if err, bad := f.WriteChunk(c.i, c.data), (*WrongChunkError)(nil); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Finish(); err == nil {
		t.Error("a part is finished that lacks chunks")
	}
	if now, err := m.Reopen(); err != nil || now.Has(1) {
		t.Errorf("a part is here that lacks chunks: %v", err)
	}
	if err := errors.Join(f.WriteChunk(0, right), f.WriteChunk(0, right), f.Finish()); err != nil {
		t.Error(err)
	}
	if err := f.WriteChunk(0, right); err != nil {
		t.Errorf("who comes late with what is there is told %v", err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
}

// What a process leaves that dies anywhere, or a disk after a power cut, is never taken for a part.
func TestFill_GoesOnFromWhateverIsThere(t *testing.T) {
	a, _, parts := donor(t)
	whole := parts[1]
	damaged := slices.Clone(whole)
	damaged[0] ^= 1
	for name, c := range map[string]struct {
		file string
		data []byte
		here bool // the part's only chunk
	}{
		"nothing":                      {".part-layer-000", nil, false},
		"zeros":                        {".part-layer-000", make([]byte, len(whole)), false},
		"a beginning":                  {".part-layer-000", whole[:len(whole)-1], false},
		"everything":                   {".part-layer-000", whole, true},
		"more than everything":         {".part-layer-000", append(slices.Clone(whole), 1, 2, 3), true},
		"damage":                       {".part-layer-000", damaged, false},
		"a part that nobody knows of":  {"layer-000", whole, true},
		"a damaged one":                {"layer-000", damaged, false},
		"half of local.json's changes": {fileLocal + ".new", []byte("{"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := emptyStore(t)
			m := adopted(t, s, a)
			if err := os.WriteFile(filepath.Join(s.path(m.Name), c.file), c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			if now, err := m.Reopen(); err != nil || now.Has(1) {
				t.Fatalf("it is taken for a part: %v", err)
			}
			f, err := s.Fill(m, 1)
			if err != nil {
				t.Fatal(err)
			}
			if missing := len(f.Missing()); (missing == 0) != c.here {
				t.Errorf("%d chunks are missing", missing)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			filled(t, s, m, parts, 1)
			now, err := m.Reopen()
			if err != nil {
				t.Fatal(err)
			}
			if err := Verify(t.Context(), now); err != nil || !now.Has(1) {
				t.Error(err)
			}
		})
	}
}

func TestFill_IsForOneAtATime(t *testing.T) {
	a, _, parts := donor(t)
	s := emptyStore(t)
	m := adopted(t, s, a)
	f, err := s.Fill(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fill(m, 1); !errors.Is(err, ErrPartBusy) {
		t.Errorf("a second one: %v", err)
	}
	filled(t, s, m, parts, 2) // other parts are nobody's
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	filled(t, s, m, parts, 1)
}

// Many fill different parts of a model at the same time, and others look at it: no part is forgotten, no look fails.
func TestFill_OfManyPartsAtOnceForgetsNone(t *testing.T) {
	a, _, parts := donor(t)
	s := emptyStore(t)
	m := adopted(t, s, a)
	done := make(chan struct{})
	var looking, filling sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := m.Reopen(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for part := range parts {
		filling.Go(func() { filled(t, s, m, parts, part) })
	}
	filling.Wait()
	close(done)
	looking.Wait()
	if now, err := m.Reopen(); err != nil || !slices.Equal(now.Local.Parts, []int{0, 1, 2, 3}) {
		t.Errorf("parts %v are here: %v", now.Local.Parts, err)
	}
}

func TestFill_TellsOfAModelThatIsGone(t *testing.T) {
	a, _, parts := donor(t)
	s := emptyStore(t)
	m := adopted(t, s, a)
	f, err := s.Fill(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(m.Name); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteChunk(0, parts[1][:f.ChunkBytes(0)]); err != nil {
		t.Fatal(err)
	}
	err = f.Finish()
	if err == nil {
		t.Error("a part was kept of a model that is gone")
	}
	wantOneLine(t, err)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	_, err = s.Fill(m, 1)
	if err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("then: %v", err)
	}
	wantOneLine(t, err)
}
