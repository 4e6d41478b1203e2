// Package synthetic writes Baichuan checkpoints whose weights are made up: the directory that Hugging Face would hold,
// in any of the published shapes or a small one, as safetensors or as torch's zip-pickle, whole or in shards.
//
// The weights are a function of the seed alone and are made as they are written, so that a checkpoint of 15 GB needs no
// more memory than one of 15 kB. A model made so speaks noise; it is good for tests, for measuring and for showing that
// a swarm works. The package reads no checkpoint and knows no user's store.
package synthetic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// DType is how each weight is stored, by the name that safetensors gives it.
type DType string

// The types that published Baichuan checkpoints use.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// Size is the bytes of one element, or 0 for a type that Write does not know.
func (d DType) Size() int {
	switch d {
	case F32:
		return 4
	case F16, BF16:
		return 2
	}
	return 0
}

// Format is the kind of file that holds the weights.
type Format string

// The two kinds. Published Baichuan checkpoints are Torch; derivatives are often Safetensors.
const (
	Safetensors Format = "safetensors" // model.safetensors, or shards with model.safetensors.index.json
	Torch       Format = "bin"         // pytorch_model.bin, or shards with pytorch_model.bin.index.json
)

// Spec says what to write. Start from [Preset]; the zero value is refused.
type Spec struct {
	Vocab        int
	Hidden       int
	Intermediate int
	Layers       int
	Heads        int
	Context      int    // tokens: model_max_length, and with rope max_position_embeddings
	Position     string // "rope" or "alibi"
	NormHead     bool   // rows of lm_head are normalised when it is used (Baichuan 2)

	// Published leaves position_embedding and norm_head out of config.json, as the published models do: a reader then
	// has to tell them from the other keys. It is refused where those would tell it something else.
	Published bool

	Seed   uint64
	DType  DType  // F32 if empty
	Format Format // Safetensors if empty
	Shards int    // files of weights; 0 and 1: one file without an index

	Tokenizer  []byte // tokenizer.model as it shall be; none is written if nil
	Generation []byte // generation_config.json as it shall be; the published chat models' if nil
}

// presets are the published shapes and the small ones of baichuan_reference.py. Five heads are deliberate: like forty,
// five is not a power of two.
var presets = map[string]Spec{
	"baichuan-7b":   {Vocab: 64000, Hidden: 4096, Intermediate: 11008, Layers: 32, Heads: 32, Context: 4096, Position: "rope", Published: true},
	"baichuan-13b":  {Vocab: 64000, Hidden: 5120, Intermediate: 13696, Layers: 40, Heads: 40, Context: 4096, Position: "alibi", Published: true},
	"baichuan2-7b":  {Vocab: 125696, Hidden: 4096, Intermediate: 11008, Layers: 32, Heads: 32, Context: 4096, Position: "rope", NormHead: true, Published: true},
	"baichuan2-13b": {Vocab: 125696, Hidden: 5120, Intermediate: 13696, Layers: 40, Heads: 40, Context: 4096, Position: "alibi", NormHead: true, Published: true},
	"small-7b":      {Vocab: 4096, Hidden: 256, Intermediate: 704, Layers: 4, Heads: 8, Context: 4096, Position: "rope", NormHead: true},
	"small-13b":     {Vocab: 4096, Hidden: 320, Intermediate: 832, Layers: 5, Heads: 5, Context: 4096, Position: "alibi", NormHead: true},
	"small-1-7b":    {Vocab: 4096, Hidden: 256, Intermediate: 704, Layers: 4, Heads: 8, Context: 4096, Position: "rope"},
}

// Preset returns the shape of that name: baichuan-7b, baichuan-13b, baichuan2-7b, baichuan2-13b (as published), or
// small-7b, small-13b, small-1-7b (a few megabytes; vocabulary 4096). The small ones with seed s hold the weights that
// baichuan_reference.py makes for its presets of the same names with seed s.
func Preset(name string) (Spec, error) {
	s, ok := presets[name]
	if !ok {
		return Spec{}, fmt.Errorf("no preset %q: there are baichuan-7b, baichuan-13b, baichuan2-7b, baichuan2-13b, small-7b, small-13b and small-1-7b", name)
	}
	return s, nil
}

// Write makes dir and writes the checkpoint into it: config.json, generation_config.json, tokenizer.model and the
// weights. Files of those names are replaced; others in dir are left alone.
func Write(dir string, s Spec) error {
	s = s.withDefaults()
	if err := s.validate(); err != nil {
		return fmt.Errorf("write checkpoint %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := writeTexts(dir, s); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := writeWeights(dir, s); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

func (s Spec) withDefaults() Spec {
	if s.DType == "" {
		s.DType = F32
	}
	if s.Format == "" {
		s.Format = Safetensors
	}
	s.Shards = max(s.Shards, 1)
	if s.Generation == nil {
		s.Generation = []byte(chatGeneration)
	}
	return s
}

func (s Spec) validate() error {
	if min(s.Vocab, s.Hidden, s.Intermediate, s.Layers, s.Heads, s.Context) < 1 {
		return errors.New("a dimension is not positive")
	}
	if s.Position != "rope" && s.Position != "alibi" {
		return fmt.Errorf("position %q is neither rope nor alibi", s.Position)
	}
	if s.DType.Size() == 0 {
		return fmt.Errorf("type %q is none of F32, F16, BF16", s.DType)
	}
	if s.Format != Safetensors && s.Format != Torch {
		return fmt.Errorf("format %q is neither %s nor %s", s.Format, Safetensors, Torch)
	}
	if n := len(s.tensors()); s.Shards > n {
		return fmt.Errorf("%d shards for %d tensors", s.Shards, n)
	}
	if s.Published && s.NormHead != (s.Vocab == normHeadVocab) {
		return fmt.Errorf("published configurations have a NormHead exactly with a vocabulary of %d", normHeadVocab)
	}
	return nil
}

// writeTexts writes everything but the weights.
func writeTexts(dir string, s Spec) error {
	for _, file := range []struct {
		name string
		data []byte
	}{
		{"config.json", s.config()},
		{"generation_config.json", s.Generation},
		{"tokenizer.model", s.Tokenizer},
	} {
		if file.data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file.name), file.data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
