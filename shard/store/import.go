package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// ImportOptions say what an import makes.
type ImportOptions struct {
	Name    string // of the model; "": the name of the checkpoint's directory
	Weights string // nf4, int8, bf16 or f16; "": nf4
	KV      string // format of the cache, int8 or f16; "": int8
	Force   bool   // replace a model of that name; without it there must be none
	Source  string // what local.json records as the source; "": the checkpoint's directory

	// Progress is told, by one goroutine at a time, which part is being made, how many bytes of the model are written
	// and how many it will have. nil tells nobody.
	Progress func(stage string, done, total int64)
}

// Import makes a stored model of a checkpoint. Everything that can be seen without reading the weights is checked before
// anything is written; an import that fails or is cancelled leaves nothing behind. The same weights, configuration and
// tokenizer give the same id, whatever files they came in and whatever machine imports them.
//
// It holds some 8 MiB per core, for at most 16 of them, however large the model is.
func Import(ctx context.Context, s *Store, c *checkpoint.Checkpoint, o ImportOptions) (*Model, error) {
	o, err := o.withDefaults(c)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	m, err := s.importModel(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", o.Name, err)
	}
	return m, nil
}

func (o ImportOptions) withDefaults(c *checkpoint.Checkpoint) (ImportOptions, error) {
	dir, err := filepath.Abs(directory(c))
	if err != nil {
		return o, err
	}
	if o.Source == "" {
		o.Source = dir
	}
	if o.Weights == "" {
		o.Weights = kernels.NF4.String()
	}
	if o.KV == "" {
		o.KV = kernels.Int8.String()
	}
	if o.Name == "" {
		o.Name = filepath.Base(dir)
		if err := CheckName(o.Name); err != nil {
			return o, fmt.Errorf("the directory's name can't be the model's, choose one with --name: %w", err)
		}
	}
	if err := CheckName(o.Name); err != nil {
		return o, err
	}
	return o, checkFormats(o.Weights, o.KV)
}

func (s *Store) importModel(ctx context.Context, c *checkpoint.Checkpoint, o ImportOptions) (*Model, error) {
	m, err := manifestOf(c, o)
	if err != nil {
		return nil, err
	}
	if err := checkTensors(c, m); err != nil {
		return nil, err
	}
	// What cannot be removed of other models (another user's, say) is no reason to refuse this one.
	_, _ = s.Prune()
	release, err := s.lock(o.Name)
	if err != nil {
		return nil, err
	}
	defer release()
	// Whoever held the lock while Prune went by may have died since.
	if _, err := s.sweep(o.Name); err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	old := match(names, o.Name)
	if old != "" && !o.Force {
		return nil, fmt.Errorf("the store has a model of that name (%s): choose another with --name, or replace it with --force", old)
	}
	dir := s.path(prefixImport + fold(o.Name))
	if err := s.writeModel(ctx, dir, c, m, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.commit(dir, o.Name, old); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s.open(o.Name)
}

// directory is where a checkpoint lies.
func directory(c *checkpoint.Checkpoint) string {
	for _, info := range c.Tensors() {
		return filepath.Dir(info.File)
	}
	return "." // a checkpoint without tensors, which is soon refused
}

// manifestOf makes the manifest of a checkpoint, without its chunks, and holds all that it says against the limits.
func manifestOf(c *checkpoint.Checkpoint, o ImportOptions) (*Manifest, error) {
	cfg, gen, dir := c.Config, c.Generation, directory(c)
	sum := sha256.Sum256(c.Tokenizer)
	m := &Manifest{
		Format: FormatVersion, Architecture: architecture,
		Layers: cfg.Layers, Hidden: cfg.Hidden, Intermediate: cfg.Intermediate, Heads: cfg.Heads,
		Vocab: cfg.Vocab, Context: cfg.Context, Position: string(cfg.Position),
		BOS: cfg.BOS, EOS: cfg.EOS, Pad: cfg.Pad, User: gen.User, Assistant: gen.Assistant, AddBOS: c.AddBOS,
		Stop: ascending(append([]int{cfg.EOS, gen.User, gen.Assistant}, gen.EOS...)), Weights: o.Weights, KV: o.KV,
		Tokenizer: hex.EncodeToString(sum[:]), TokenizerSize: int64(len(c.Tokenizer)),
	}
	// The file's own spelling of a number is not part of a model: 1e-6 and 0.000001 give the same id.
	var err error
	if m.Eps, err = shortest(cfg.Eps); err == nil && m.Position == Rope {
		m.Theta, err = shortest(cfg.Theta)
	}
	if err != nil {
		return nil, err
	}
	for _, check := range []func() error{m.checkNames, m.checkDimensions, m.checkNumbers, m.checkTokens} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "config.json"), err)
		}
	}
	t, err := tokenizer.Load(c.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, fileTokenizer), err)
	}
	if t.Size() > m.Vocab {
		return nil, fmt.Errorf("%s has %d pieces, more than the vocabulary of %d in config.json",
			filepath.Join(dir, fileTokenizer), t.Size(), m.Vocab)
	}
	if _, err := t.Reserve(uint32(m.User), uint32(m.Assistant)); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, fileTokenizer), err)
	}
	m.Parts = layout(m)
	return m, nil
}

func shortest(n json.Number) (string, error) {
	v, err := n.Float64()
	return decimal(v), err
}

// ascending gives the ids in order, each once.
func ascending(ids []int) []int {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// writeModel writes all files of a model into dir, which it makes, and through to the disk.
func (s *Store) writeModel(ctx context.Context, dir string, c *checkpoint.Checkpoint, m *Manifest, o ImportOptions) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := writeParts(ctx, dir, c, m, o.Progress); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return fmt.Errorf("the manifest that was made is not valid: %w", err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, fileTokenizer), c.Tokenizer); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, fileManifest), raw); err != nil {
		return err
	}
	if err := localOf(c, m, sha256.Sum256(raw), o).write(filepath.Join(dir, fileLocal)); err != nil {
		return err
	}
	return syncDir(dir)
}

func localOf(c *checkpoint.Checkpoint, m *Manifest, id ID, o ImportOptions) Local {
	g := c.Generation
	local := Local{
		Name: o.Name, ID: id.String(), Source: o.Source, Created: time.Now().UTC().Truncate(time.Second),
		Generation: Generation{
			MaxNewTokens: g.MaxNewTokens, DoSample: g.DoSample, Temperature: g.Temperature,
			TopK: g.TopK, TopP: g.TopP, RepetitionPenalty: g.RepetitionPenalty,
		},
	}
	for i := range m.Parts {
		local.Parts = append(local.Parts, i)
	}
	return local
}

// commit gives the finished model its name. A model that it replaces stands aside until then: if this process dies
// between the two renames, Prune puts it back.
func (s *Store) commit(dir, name, old string) error {
	if old != "" {
		if err := os.Rename(s.path(old), s.path(prefixOld+old)); err != nil {
			return fmt.Errorf("replace model %s: %w", old, err)
		}
	}
	if err := os.Rename(dir, s.path(name)); err != nil {
		if old != "" {
			err = errors.Join(err, os.Rename(s.path(prefixOld+old), s.path(old)))
		}
		return err
	}
	if err := syncDir(s.models); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(s.path(prefixOld + old))
	}
	return nil
}

// writeFile makes a new file of data, through to the disk.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// syncDir writes a directory's entries to the disk, where the system can: Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
