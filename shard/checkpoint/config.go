package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Position is how a model tells apart the places of its tokens.
type Position string

// The two ways of Baichuan: rotated keys (7B) and a bias on the scores (13B).
const (
	Rope  Position = "rope"
	Alibi Position = "alibi"
)

// Config is config.json, checked: every dimension is within bounds and fits the others.
type Config struct {
	Vocab        int
	Hidden       int // a multiple of 64
	Intermediate int // a multiple of 64
	Layers       int
	Heads        int // Hidden/Heads is a multiple of 32
	Context      int // tokens, prompt and answer together
	Position     Position
	NormHead     bool // the rows of lm_head.weight are to be normalised before use

	Eps   json.Number // of the norms, in the file's own words, such as "1e-06"
	Theta json.Number // of the rotation, in the file's own words; empty with Alibi

	BOS, EOS, Pad int // ids below Vocab
}

// Baichuan 2 has no key of its own for the NormHead; its vocabulary tells it.
const normHeadVocab = 125696

// architectures are the spellings of the one model class: Baichuan-7B's, and everyone else's.
var architectures = []string{"BaiChuanForCausalLM", "BaichuanForCausalLM"}

// readConfig reads and checks dir/config.json.
func readConfig(dir string) (Config, error) {
	path := filepath.Join(dir, "config.json")
	if adapter := filepath.Join(dir, "adapter_config.json"); !exists(path) && exists(adapter) {
		return Config{}, fileError(adapter, errAdapter)
	}
	data, err := readSmall(path, maxConfigBytes)
	if err != nil {
		return Config{}, err
	}
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fileError(path, err)
	}
	return c, nil
}

// parseConfig understands config.json's text. Unknown keys are ignored; known ones must agree with each other.
func parseConfig(data []byte) (Config, error) {
	o, err := parseObject(data, 1000)
	if err != nil {
		return Config{}, err
	}
	var c Config
	for _, step := range []func(object) error{checkClass, checkUnsupported, c.dimensions, c.position, c.head, c.numbers, checkFixed(&c)} {
		if err := step(o); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// checkClass accepts Baichuan and nothing that only looks like it.
func checkClass(o object) error {
	kind, err := o.text("model_type")
	if err != nil {
		return err
	}
	var classes []string
	if o.has("architectures") {
		if err := json.Unmarshal(o.values["architectures"], &classes); err != nil {
			return fmt.Errorf("architectures: %s is not a list of strings", quote(string(o.values["architectures"])))
		}
	}
	for _, class := range classes {
		if class == "LlamaForCausalLM" {
			return errLlamafied
		}
		if !slices.Contains(architectures, class) {
			return fmt.Errorf("architecture %s is not BaichuanForCausalLM", quote(class))
		}
	}
	if kind != "" && kind != "baichuan" {
		return fmt.Errorf("model_type %s is not baichuan", quote(kind))
	}
	if kind == "" && len(classes) == 0 {
		return errors.New("neither architectures nor model_type says that this is a Baichuan model")
	}
	return nil
}

// dimensions reads the sizes and checks that they fit together.
func (c *Config) dimensions(o object) error {
	for _, d := range []struct {
		key  string
		into *int
		most int64
	}{
		{"vocab_size", &c.Vocab, maxVocab},
		{"hidden_size", &c.Hidden, maxHidden},
		{"intermediate_size", &c.Intermediate, maxIntermediate},
		{"num_hidden_layers", &c.Layers, maxLayers},
		{"num_attention_heads", &c.Heads, maxHeads},
	} {
		if !o.has(d.key) {
			return fmt.Errorf("%s is missing", d.key)
		}
		n, err := o.integer(d.key, 0, 1, d.most)
		if err != nil {
			return err
		}
		*d.into = int(n)
	}
	switch {
	case c.Hidden%hiddenMultiple != 0:
		return fmt.Errorf("hidden_size: %d is not a multiple of %d", c.Hidden, hiddenMultiple)
	case c.Intermediate%hiddenMultiple != 0:
		return fmt.Errorf("intermediate_size: %d is not a multiple of %d", c.Intermediate, hiddenMultiple)
	case c.Hidden%c.Heads != 0:
		return fmt.Errorf("num_attention_heads: %d heads do not divide a hidden_size of %d", c.Heads, c.Hidden)
	case c.Hidden/c.Heads%headMultiple != 0:
		return fmt.Errorf("num_attention_heads: a head size of %d (%d/%d) is not a multiple of %d", c.Hidden/c.Heads, c.Hidden, c.Heads, headMultiple)
	}
	return nil
}

// position finds out the kind of position and the context. position_embedding decides where it is present; else
// max_position_embeddings means rope, and model_max_length alone alibi.
func (c *Config) position(o object) error {
	positions, err := o.integer("max_position_embeddings", 0, 1, maxContext)
	if err != nil {
		return err
	}
	length, err := o.integer("model_max_length", 0, 1, maxContext)
	if err != nil {
		return err
	}
	explicit, err := o.text("position_embedding")
	if err != nil {
		return err
	}
	switch {
	case explicit != "" && explicit != string(Rope) && explicit != string(Alibi):
		return fmt.Errorf("position_embedding: %s is neither rope nor alibi", quote(explicit))
	case positions == 0 && length == 0:
		return errors.New("neither max_position_embeddings nor model_max_length gives the context")
	case positions != 0 && length != 0 && positions != length:
		return fmt.Errorf("max_position_embeddings %d and model_max_length %d contradict each other", positions, length)
	case explicit == string(Alibi) && positions != 0:
		return errors.New("position_embedding alibi and max_position_embeddings, which means rope, contradict each other")
	case explicit != "":
		c.Position = Position(explicit)
	case positions != 0:
		c.Position = Rope
	default:
		c.Position = Alibi
	}
	c.Context = int(max(positions, length))
	if c.Position == Alibi && o.has("rope_theta") {
		return errors.New("rope_theta contradicts alibi positions")
	}
	return nil
}

// head finds out whether there is a NormHead: norm_head decides where it is present, and may well be false with the
// vocabulary of Baichuan 2, whose heads many have normalised for good.
func (c *Config) head(o object) error {
	var err error
	c.NormHead, err = o.truth("norm_head", c.Vocab == normHeadVocab || o.has("z_loss_weight"))
	return err
}

// numbers reads eps and theta, which are kept as text, and the ids.
func (c *Config) numbers(o object) error {
	if !o.has("rms_norm_eps") {
		return errors.New("rms_norm_eps is missing")
	}
	var err error
	if c.Eps, err = o.decimal("rms_norm_eps", "", 1e-12, 1e-1); err != nil {
		return err
	}
	if c.Position == Rope {
		if c.Theta, err = o.decimal("rope_theta", "10000", 1, 1e9); err != nil {
			return err
		}
	}
	for _, id := range []struct {
		key      string
		into     *int
		fallback int64
	}{
		{"bos_token_id", &c.BOS, 1},
		{"eos_token_id", &c.EOS, 2},
		{"pad_token_id", &c.Pad, 0},
	} {
		n, err := o.integer(id.key, id.fallback, 0, int64(c.Vocab)-1)
		if err != nil {
			return fmt.Errorf("%w (the vocabulary's ids)", err)
		}
		*id.into = int(n)
	}
	return nil
}

// checkFixed returns a check of the keys that have one right value, given the dimensions.
func checkFixed(c *Config) func(object) error {
	return func(o object) error {
		if act, err := o.text("hidden_act"); err != nil {
			return err
		} else if act != "" && act != "silu" {
			return fmt.Errorf("hidden_act: %s is not silu", quote(act))
		}
		if tied, err := o.truth("tie_word_embeddings", false); err != nil {
			return err
		} else if tied {
			return errors.New("tie_word_embeddings: true is not how a Baichuan model is made")
		}
		for _, implied := range []struct {
			key  string
			want int
		}{
			{"num_key_value_heads", c.Heads}, {"head_dim", c.Hidden / c.Heads},
		} {
			if n, err := o.integer(implied.key, int64(implied.want), 0, maxHidden); err != nil {
				return err
			} else if n != int64(implied.want) {
				return fmt.Errorf("%s: %d contradicts num_attention_heads %d and hidden_size %d", implied.key, n, c.Heads, c.Hidden)
			}
		}
		return nil
	}
}
