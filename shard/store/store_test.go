package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// pair is a store with two models that differ.
func pair(t *testing.T) (s *Store, a, b *Model) {
	t.Helper()
	s, c := emptyStore(t), written(t, tiny(t))
	return s, imported(t, s, c, ImportOptions{Name: "a"}), imported(t, s, c, ImportOptions{Name: "B", Weights: "bf16"})
}

func TestStore_FindsModelsByNameAndID(t *testing.T) {
	s, a, b := pair(t)
	for ref, want := range map[string]*Model{
		"a": a, "A": a, "b": b, "B": b, a.ID.String(): a, b.ID.String(): b, a.ID.String()[:8]: a, strings.ToUpper(b.ID.String()[:12]): b,
	} {
		m, err := s.Model(ref)
		if err != nil || m.ID != want.ID || m.Name != want.Name {
			t.Errorf("%q: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "c", a.ID.String()[:7], a.ID.String() + "0", "../a", "."} {
		_, err := s.Model(ref)
		var none *NotFoundError
		if !errors.As(err, &none) {
			t.Errorf("%q: %v", ref, err)
		}
		wantOneLine(t, err)
	}
}

func TestStore_IsEmptyBeforeTheFirstImport(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "not", "yet"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if n, err := s.Prune(); err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	_, err = s.Model("mini")
	wantOneLine(t, err)
}

func TestList_TellsOfGoodAndDamagedModels(t *testing.T) {
	s, a, b := pair(t)
	if err := os.Mkdir(s.path("wreck"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("note.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, want := range []*Model{b, a} { // as the directory sorts them
		e := list[i]
		if e.Name != want.Name || e.ID != want.ID || e.Layers != 2 || len(e.Present) != 1 || e.Present[0] != (Span{0, 2}) || e.Size != want.size() {
			t.Errorf("%+v", e)
		}
	}
	if list[2].Name != "wreck" {
		t.Errorf("%+v", list[2])
	}
	wantOneLine(t, list[2].Err)
}

func TestRemove(t *testing.T) {
	s, _, b := pair(t)
	for _, name := range []string{"", "..", "../models", "c"} {
		wantOneLine(t, s.Remove(name))
	}
	mapped, err := b.Part(1)
	if err != nil {
		t.Fatal(err)
	}
	before := mapped.Bytes()[0]
	if err := s.Remove("b"); err != nil {
		t.Fatal(err)
	}
	wantListing(t, s, "a")
	if mapped.Bytes()[0] != before {
		t.Error("mapped memory changed")
	}
	if err := mapped.Close(); err != nil {
		t.Error(err)
	}
	_, err = b.Part(1)
	wantOneLine(t, err)
}

func TestModel_TellsWhatIsHere(t *testing.T) {
	s, a, _ := pair(t)
	local := a.Local
	local.Parts = []int{0, 2}
	rewriteLocal(t, s, local)
	m, err := s.Model("a")
	if err != nil {
		t.Fatal(err)
	}
	if spans := m.Layers(); len(spans) != 1 || spans[0] != (Span{1, 2}) {
		t.Errorf("layers %v", spans)
	}
	if mapped, err := m.Part(2); err != nil {
		t.Error(err)
	} else if err := mapped.Close(); err != nil {
		t.Error(err)
	}
	for _, part := range []int{-1, 1, 3, 4} {
		_, err := m.Part(part)
		wantOneLine(t, err)
	}
	if err := Verify(context.Background(), m); err != nil {
		t.Error(err)
	}
	wantOneLine(t, Export(context.Background(), m, t.TempDir()))
}

func rewriteLocal(t *testing.T, s *Store, local Local) {
	t.Helper()
	text, err := json.Marshal(local)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.path("a"), fileLocal), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RefusesADamagedModel(t *testing.T) {
	s, a, _ := pair(t)
	dir := s.path("a")
	for name, c := range map[string]struct {
		file    string
		content string
	}{
		"manifest empty":        {fileManifest, ""},
		"manifest of another":   {fileManifest, string(encode(t, sample()))},
		"manifest cut":          {fileManifest, string(a.Raw[:len(a.Raw)-1])},
		"manifest too large":    {fileManifest, strings.Repeat(" ", MaxManifest+1)},
		"local not JSON":        {fileLocal, "{"},
		"local of another":      {fileLocal, `{"id":"` + strings.Repeat("0", 64) + `"}`},
		"local parts outside":   {fileLocal, `{"id":"` + a.ID.String() + `","parts":[4]}`},
		"local parts negative":  {fileLocal, `{"id":"` + a.ID.String() + `","parts":[-1]}`},
		"local parts unsorted":  {fileLocal, `{"id":"` + a.ID.String() + `","parts":[1,0]}`},
		"local parts twice":     {fileLocal, `{"id":"` + a.ID.String() + `","parts":[1,1]}`},
		"local larger than any": {fileLocal, strings.Repeat(" ", maxLocal+1)},
		"local temperature":     {fileLocal, `{"id":"` + a.ID.String() + `","generation":{"temperature":-5}}`},
		"local top_p":           {fileLocal, `{"id":"` + a.ID.String() + `","generation":{"top_p":9}}`},
		"local top_k":           {fileLocal, `{"id":"` + a.ID.String() + `","generation":{"top_k":-2}}`},
		"local penalty":         {fileLocal, `{"id":"` + a.ID.String() + `","generation":{"repetition_penalty":0}}`},
		"local length":          {fileLocal, `{"id":"` + a.ID.String() + `","generation":{"max_new_tokens":-3}}`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(path, good, 0o644)
			if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = s.Model("a")
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), c.file) {
				t.Errorf("%v does not name %s", err, c.file)
			}
		})
	}
}

func TestPart_RefusesAFileOfAnotherSizeOrKind(t *testing.T) {
	s, a, _ := pair(t)
	path := filepath.Join(s.path("a"), "layer-000")
	for name, spoil := range map[string]func() error{
		"short":     func() error { return os.Truncate(path, a.Manifest.Parts[1].Size-1) },
		"long":      func() error { return os.Truncate(path, a.Manifest.Parts[1].Size+1) },
		"missing":   func() error { return os.Remove(path) },
		"directory": func() error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "directory" {
				os.Remove(path)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			_, err := a.Part(1)
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), "layer-000") {
				t.Errorf("%v does not name the file", err)
			}
			os.RemoveAll(path)
			if err := os.WriteFile(path, make([]byte, a.Manifest.Parts[1].Size), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestVerify_NamesTheDamagedFile(t *testing.T) {
	s, a, _ := pair(t)
	if err := Verify(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	dir := s.path("a")
	flip := func(t *testing.T, file string, at int64) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]int64{fileTokenizer: a.Manifest.TokenizerSize, fileManifest: int64(len(a.Raw))}
	for i, p := range a.Manifest.Parts {
		files[PartName(a.Manifest, i)] = p.Size
	}
	for file, size := range files {
		for _, at := range []int64{0, size / 2, size - 1} {
			flip(t, file, at)
			err := Verify(context.Background(), a)
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), file) {
				t.Errorf("byte %d of %s: %v", at, file, err)
			}
			if file != fileManifest { // which was read before it was damaged
				err := Export(context.Background(), a, filepath.Join(t.TempDir(), "new"))
				wantOneLine(t, err)
				if !strings.Contains(err.Error(), file) {
					t.Errorf("export, byte %d of %s: %v", at, file, err)
				}
			}
			flip(t, file, at)
		}
	}
	flip(t, "head", 0)
	flip(t, "layer-001", 0)
	err := Verify(context.Background(), a)
	if wantOneLine(t, err); !strings.Contains(err.Error(), "layer-001") || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("two damaged files: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Verify(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCheckContent_WantsZeroGaps(t *testing.T) {
	p := Part{Tensors: []Tensor{
		{Name: "norm", Format: "f32", Rows: 1, Cols: 1, Offset: 0, Size: 4},
		{Name: "norm", Format: "f32", Rows: 1, Cols: 1, Offset: 64, Size: 4},
	}, Size: 68}
	data := make([]byte, 68)
	if err := checkContent(p, data); err != nil {
		t.Error(err)
	}
	data[30] = 1
	wantOneLine(t, checkContent(p, data))
}

func TestModel_WorksFromMemory(t *testing.T) {
	s, a, _ := pair(t)
	files := fstest.MapFS{}
	for _, name := range dirNames(t, s.path("a")) {
		data, err := os.ReadFile(filepath.Join(s.path("a"), name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	m, err := openModel("bundled", files)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(context.Background(), m); err != nil {
		t.Error(err)
	}
	got, err1 := m.Part(1)
	want, err2 := a.Part(1)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("a part has other bytes in memory than mapped")
	}
	for range 2 { // a second Close does nothing
		if err := errors.Join(got.Close(), want.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestCommit_PutsTheOldModelBack(t *testing.T) {
	s, a, _ := pair(t)
	wantOneLine(t, s.commit(s.path(prefixImport+"a"), "a", "a")) // there is nothing to put in its place
	wantListing(t, s, "B", "a")
	if err := Verify(context.Background(), a); err != nil {
		t.Error(err)
	}
}

// TestMain lets the test binary be the process that an import is killed in.
func TestMain(m *testing.M) {
	if home := os.Getenv("STORE_TEST_IMPORT"); home != "" {
		importAndHang(home, os.Getenv("STORE_TEST_SOURCE"))
	}
	os.Exit(m.Run())
}

// importAndHang begins an import, says so, and waits to be killed.
func importAndHang(home, source string) {
	s, err1 := Open(home)
	c, err2 := checkpoint.Open(source)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	Import(context.Background(), s, c, ImportOptions{Name: "victim", Progress: func(stage string, _, _ int64) {
		if stage == "layer-001" {
			os.Stdout.WriteString("importing\n")
			time.Sleep(time.Minute) // where select would be a deadlock, of which the process dies
		}
	}})
}

func TestImport_KilledIsForgottenByTheNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	s, err := Open(home)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_IMPORT="+home, "STORE_TEST_SOURCE="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := io.ReadFull(out, make([]byte, len("importing\n"))); err != nil {
		t.Fatal(err)
	}
	// While it lives, it is left alone, and the name is its own.
	if freed, err := s.Prune(); err != nil || freed != 0 {
		t.Errorf("pruned %d bytes of a running import, %v", freed, err)
	}
	wantOneLine(t, importDir(s, dir, ImportOptions{Name: "Victim"}))
	wantListing(t, s, ".import-victim", ".lock-victim")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := importDir(s, dir, ImportOptions{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	wantListing(t, s, "other")
}

func TestMissing_NamesTheFileOnce(t *testing.T) {
	err := missing("embed", &fs.PathError{Op: "open", Path: "embed", Err: fs.ErrPermission})
	if got := err.Error(); got != "open embed: permission denied" || !errors.Is(err, fs.ErrPermission) {
		t.Error(got)
	}
}
