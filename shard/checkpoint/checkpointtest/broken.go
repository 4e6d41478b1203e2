// Package checkpointtest makes broken checkpoints: whole directories, each with one fault that a reader must find.
// It is material for tests and used by nothing else; it reads no checkpoint itself.
package checkpointtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// Stage is how far a reader may get before the fault shows.
type Stage int

// The stages, each including the ones before.
const (
	AtOpen   Stage = iota // config, headers, indexes: before any weight is read
	AtRead                // when the tensors are read
	AtImport              // when the tensors are taken for a model's: only the importer can tell
)

// Case is one broken checkpoint.
type Case struct {
	Name string // such as "config/hidden-size-missing"
	Dir  string
	File string // base name of the file that the message must contain
	At   Stage
}

// Spec is the shape of the checkpoints that are broken: one layer of the smallest size that is allowed.
func Spec(tokenizer []byte, vocab int) synthetic.Spec {
	return synthetic.Spec{
		Vocab: vocab, Hidden: 64, Intermediate: 64, Layers: 1, Heads: 2, Context: 128, Position: "rope", NormHead: true,
		DType: synthetic.BF16, Tokenizer: tokenizer,
	}
}

// The good checkpoints that cases are made from.
const (
	safetensorsOne = "good-safetensors"
	safetensorsTwo = "good-safetensors-shards"
	torchOne       = "good-bin"
	torchTwo       = "good-bin-shards"
)

// Names of the files that are broken.
const (
	configFile      = "config.json"
	generationFile  = "generation_config.json"
	tokenizerFile   = "tokenizer.model"
	safetensorsFile = "model.safetensors"
	torchFile       = "pytorch_model.bin"
)

// Good writes the four sound checkpoints that [Broken] starts from into dir and returns their directories.
func Good(dir string, tokenizer []byte, vocab int) ([]string, error) {
	spec := Spec(tokenizer, vocab)
	var dirs []string
	for _, kind := range []struct {
		name   string
		format synthetic.Format
		shards int
	}{
		{safetensorsOne, synthetic.Safetensors, 1},
		{safetensorsTwo, synthetic.Safetensors, 2},
		{torchOne, synthetic.Torch, 1},
		{torchTwo, synthetic.Torch, 2},
	} {
		spec.Format, spec.Shards = kind.format, kind.shards
		path := filepath.Join(dir, kind.name)
		if err := synthetic.Write(path, spec); err != nil {
			return nil, err
		}
		dirs = append(dirs, path)
	}
	return dirs, nil
}

// Broken writes all broken checkpoints below dir. The tokenizer, a tokenizer.model with vocab pieces (197 or more, for
// the role ids), is part of each, so that nothing but the fault is wrong with them.
func Broken(dir string, tokenizer []byte, vocab int) ([]Case, error) {
	if _, err := Good(dir, tokenizer, vocab); err != nil {
		return nil, err
	}
	var all []Case
	for _, group := range [][]fault{
		configFaults(), generationFaults(), fileFaults(), headerFaults(), indexFaults(), zipFaults(), pickleFaults(), weightFaults(),
	} {
		for _, f := range group {
			c := Case{Name: f.name, Dir: filepath.Join(dir, strings.ReplaceAll(f.name, "/", "-")), File: f.file, At: f.at}
			if err := clone(filepath.Join(dir, f.base), c.Dir); err != nil {
				return nil, err
			}
			if err := f.make(c.Dir); err != nil {
				return nil, fmt.Errorf("make %s: %w", f.name, err)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// fault is one way to break a checkpoint.
type fault struct {
	name string
	base string
	file string
	at   Stage
	make func(dir string) error
}

// clone copies a directory of files by hard links where it can. Faults replace files and never write into them.
func clone(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if os.Link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())) == nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// put replaces a file.
func put(file string, data []byte) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, file)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.WriteFile(path, data, 0o644)
	}
}

// drop removes a file.
func drop(file string) func(string) error {
	return func(dir string) error { return os.Remove(filepath.Join(dir, file)) }
}

// directory puts an empty directory where a file should be.
func directory(file string) func(string) error {
	return func(dir string) error {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			return err
		}
		return os.Mkdir(filepath.Join(dir, file), 0o755)
	}
}

// change replaces a file by what f makes of it.
func change(file string, f func([]byte) []byte) func(string) error {
	return func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		return put(file, f(bytes.Clone(data)))(dir)
	}
}

// replace replaces the first occurrence of a text, which must be there.
func replace(file, old, new string) func(string) error {
	return func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if !bytes.Contains(data, []byte(old)) {
			return fmt.Errorf("%s does not contain %q", file, old)
		}
		return put(file, bytes.Replace(data, []byte(old), []byte(new), 1))(dir)
	}
}

// enlarge gives a file a size with nothing but a hole in it.
func enlarge(file string, size int64) func(string) error {
	return func(dir string) error {
		if err := change(file, func(d []byte) []byte { return d })(dir); err != nil {
			return err
		}
		return os.Truncate(filepath.Join(dir, file), size)
	}
}

// all makes several changes.
func all(steps ...func(string) error) func(string) error {
	return func(dir string) error {
		for _, step := range steps {
			if err := step(dir); err != nil {
				return err
			}
		}
		return nil
	}
}
