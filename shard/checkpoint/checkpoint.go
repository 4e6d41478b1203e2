// Package checkpoint reads Baichuan models as Hugging Face publishes them: a directory with config.json,
// generation_config.json, tokenizer.model and the weights, as torch's zip-pickle or as safetensors, in one file or in
// shards. It gives out tensors by name, a few rows at a time, as float32.
//
// It trusts nothing. Every file may be damaged, cut off or made by an enemy: what it claims is checked before memory is
// spent on it, nothing in it is executed, no name in it becomes a path, and whatever is wrong comes back as one line
// that names the file and, where there is one, the tensor. A tensor's size does not matter to the memory in use.
//
// It does not know what a tensor is for, which ones a model needs, or what shapes they should have; and it passes on
// Inf and NaN. Those are the importer's questions.
package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"unicode/utf8"
)

// DType is a tensor's type by its safetensors name. Only F32, F16 and BF16 can be read; others are listed.
type DType string

// The types of weights.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// Size is the bytes of one element; 0 means an unknown type.
func (d DType) Size() int {
	switch d {
	case "U8", "I8", "BOOL", "F8_E4M3", "F8_E5M2":
		return 1
	case F16, BF16, "U16", "I16":
		return 2
	case F32, "U32", "I32":
		return 4
	case "F64", "U64", "I64":
		return 8
	}
	return 0
}

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int  // not to be changed
	File  string // path of the file that holds it, for messages
}

// Checkpoint is an open checkpoint. Its methods may be called from several goroutines at once, Close excepted.
type Checkpoint struct {
	Config     Config
	Generation Generation
	Tokenizer  []byte // tokenizer.model as it is
	AddBOS     bool   // tokenizer_config.json asks for BOS in front of every text (add_bos_token)

	files  []*os.File
	order  []*tensor
	byName map[string]*tensor
	chunks sync.Pool // of *[chunkBytes]byte
}

// Open reads everything in dir but the weights themselves, and checks it. The caller closes the checkpoint.
func Open(dir string) (*Checkpoint, error) {
	c := &Checkpoint{byName: map[string]*tensor{}}
	if err := c.open(dir); err != nil {
		c.Close()
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	return c, nil
}

func (c *Checkpoint) open(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fileError(dir, err)
	} else if !info.IsDir() {
		return fmt.Errorf("%s: not a directory", dir)
	}
	var err error
	if c.Config, err = readConfig(dir); err != nil {
		return err
	}
	if c.Generation, err = readGeneration(dir, c.Config.Vocab); err != nil {
		return err
	}
	if c.AddBOS, err = readAddBOS(dir); err != nil {
		return err
	}
	tokenizer := filepath.Join(dir, "tokenizer.model")
	if c.Tokenizer, err = readSmall(tokenizer, maxTokenizerBytes); err != nil {
		return err
	}
	if len(c.Tokenizer) == 0 {
		return fmt.Errorf("%s: empty", tokenizer)
	}
	return c.openWeights(dir)
}

// Close closes the files.
func (c *Checkpoint) Close() error {
	var first error
	for _, f := range c.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	c.files = nil
	return first
}

// Tensors lists all tensors in the order of the files, in which they are best read.
func (c *Checkpoint) Tensors() []Info {
	all := make([]Info, len(c.order))
	for i, t := range c.order {
		all[i] = t.Info
	}
	return all
}

// Tensor describes the tensor of that name.
func (c *Checkpoint) Tensor(name string) (Info, bool) {
	t, ok := c.byName[name]
	if !ok {
		return Info{}, false
	}
	return t.Info, true
}

// add takes in a tensor of one of the files.
func (c *Checkpoint) add(t *tensor) error {
	if other, ok := c.byName[t.Name]; ok {
		return fmt.Errorf("%s: tensor %s is also in %s", t.File, quote(t.Name), filepath.Base(other.File))
	}
	if err := checkLayout(t.Name); err != nil {
		return fmt.Errorf("%s: tensor %s: %w", t.File, quote(t.Name), err)
	}
	if len(c.order) == maxTensors {
		return fmt.Errorf("%s: more than the %d tensors allowed", t.File, maxTensors)
	}
	c.byName[t.Name] = t
	c.order = append(c.order, t)
	return nil
}

// checkName refuses names that no tensor has.
func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) || slices.ContainsFunc([]rune(name), func(r rune) bool { return r < ' ' }) {
		return fmt.Errorf("tensor %s: not a tensor's name", quote(name))
	}
	return nil
}

// ints narrows a shape, whose dimensions are at most maxElements.
func ints(shape []int64) []int {
	out := make([]int, len(shape))
	for i, d := range shape {
		out[i] = int(d)
	}
	return out
}
