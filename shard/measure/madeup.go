package measure

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Synthetic gives a model of a shape, with weights in a format, that nobody has trained or stored: its parts are made up
// as they are asked for. It computes finite numbers that mean nothing, as fast as a real one does.
func Synthetic(name string, shape synthetic.Spec, weights string) (*store.Model, error) {
	pieces := synthetic.Tokenizer()
	m := &store.Manifest{
		Layers: shape.Layers, Hidden: shape.Hidden, Intermediate: shape.Intermediate, Heads: shape.Heads,
		Vocab: shape.Vocab, Context: shape.Context, Eps: "1e-06", Position: shape.Position,
		BOS: 1, EOS: 2, User: 3, Assistant: 4, Stop: []int{2, 3, 4},
		Weights: weights, KV: kernels.Int8.String(), Tokenizer: store.ID(sha256.Sum256(pieces)).String(), TokenizerSize: int64(len(pieces)),
	}
	if m.Position == store.Rope {
		m.Theta = "10000"
	}
	if err := m.Outline(); err != nil {
		return nil, err
	}
	files, err := newMadeUp(name, m, pieces)
	if err != nil {
		return nil, err
	}
	return store.OpenFiles(name, files)
}

// StoreSynthetic is Synthetic, and writes the model into the store below home, for other processes. Its tokenizer has
// the first 4,096 ids alone: the others print nothing.
func StoreSynthetic(home, name string, shape synthetic.Spec, weights string) (*store.Model, error) {
	m, err := Synthetic(name, shape, weights)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(home, "models", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("store a model that is made up: %w", err)
	}
	files, err := newMadeUp(name, m.Manifest, synthetic.Tokenizer())
	if err != nil {
		return nil, err
	}
	for _, file := range files.names() {
		if err := files.copy(dir, file); err != nil {
			return nil, fmt.Errorf("store a model that is made up: %w", err)
		}
	}
	return store.OpenFiles(name, os.DirFS(dir))
}

// madeUp is the directory of a model whose parts hold noise. It is an fs.FS.
type madeUp struct {
	texts map[string][]byte
	parts map[string]store.Part
	noise *noise
}

func newMadeUp(name string, m *store.Manifest, tokenizer []byte) (*madeUp, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	local := store.Local{Name: name, ID: store.ID(sha256.Sum256(raw)).String(), Source: "made up", Created: time.Unix(0, 0).UTC()}
	files := &madeUp{parts: make(map[string]store.Part), noise: newNoise()}
	for i, part := range m.Parts {
		local.Parts = append(local.Parts, i)
		files.parts[store.PartName(m, i)] = part
	}
	text, err := json.Marshal(local)
	if err != nil {
		return nil, err
	}
	files.texts = map[string][]byte{"manifest.json": raw, "local.json": text, "tokenizer.model": tokenizer}
	return files, nil
}

// names lists all files.
func (m *madeUp) names() []string {
	return slices.Concat(slices.Sorted(maps.Keys(m.parts)), slices.Sorted(maps.Keys(m.texts)))
}

// copy writes a file into a directory, through to the disk: what is written later would disturb what is measured.
func (m *madeUp) copy(dir, name string) error {
	from, err := m.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Sync(), to.Close())
}

// Open is part of fs.FS.
func (m *madeUp) Open(name string) (fs.File, error) {
	if text, ok := m.texts[name]; ok {
		return &madeUpFile{name: name, size: int64(len(text)), Reader: bytes.NewReader(text)}, nil
	}
	part, ok := m.parts[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &madeUpFile{name: name, size: part.Size, Reader: m.noise.reader(part)}, nil
}

// madeUpFile is an open file, and what fs.FileInfo tells of it.
type madeUpFile struct {
	io.Reader
	name string
	size int64
}

func (f *madeUpFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *madeUpFile) Close() error               { return nil }
func (f *madeUpFile) Name() string               { return f.name }
func (f *madeUpFile) Size() int64                { return f.size }
func (f *madeUpFile) Mode() fs.FileMode          { return 0o444 }
func (f *madeUpFile) ModTime() time.Time         { return time.Time{} }
func (f *madeUpFile) IsDir() bool                { return false }
func (f *madeUpFile) Sys() any                   { return nil }
