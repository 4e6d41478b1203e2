package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// The ids that open a message of each role where generation_config.json names none.
const (
	defaultUser      = 195
	defaultAssistant = 196
)

// Generation is generation_config.json, checked. The file and all its keys are optional: nil means that it says nothing.
type Generation struct {
	User      int   // id that opens a user's message; 195 by default
	Assistant int   // id that opens an assistant's message; 196 by default
	EOS       []int // further ids that end an answer, in the file's order; often equal to Config.EOS

	MaxNewTokens      *int     // at least 1
	Temperature       *float64 // 0 to 2
	TopK              *int     // -1 and 0: off
	TopP              *float64 // 0 to 1
	RepetitionPenalty *float64 // above 0
	DoSample          *bool    // false: greedy
}

// readGeneration reads dir/generation_config.json; ids are checked against the vocabulary.
func readGeneration(dir string, vocab int) (Generation, error) {
	path := filepath.Join(dir, "generation_config.json")
	data, err := readSmall(path, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) && !exists(path) {
		data, err = []byte("{}"), nil
	}
	if err != nil {
		return Generation{}, err
	}
	g, err := parseGeneration(data, vocab)
	if err != nil {
		return Generation{}, fileError(path, err)
	}
	return g, nil
}

// readAddBOS reads add_bos_token of dir/tokenizer_config.json. A missing file or key means no: Baichuan 2 says so itself,
// and what Baichuan 1 means by its absence is not known.
func readAddBOS(dir string) (bool, error) {
	path := filepath.Join(dir, "tokenizer_config.json")
	data, err := readSmall(path, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) && !exists(path) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o, err := parseObject(data, 1000)
	if err != nil {
		return false, fileError(path, err)
	}
	add, err := o.truth("add_bos_token", false)
	if err != nil {
		return false, fileError(path, err)
	}
	return add, nil
}

func parseGeneration(data []byte, vocab int) (Generation, error) {
	o, err := parseObject(data, 1000)
	if err != nil {
		return Generation{}, err
	}
	var g Generation
	for _, step := range []func(object, int) error{g.ids, g.counts, g.fractions} {
		if err := step(o, vocab); err != nil {
			return Generation{}, err
		}
	}
	return g, nil
}

// ids reads the roles' and the ends' ids.
func (g *Generation) ids(o object, vocab int) error {
	for _, id := range []struct {
		key      string
		into     *int
		fallback int64
	}{
		{"user_token_id", &g.User, defaultUser},
		{"assistant_token_id", &g.Assistant, defaultAssistant},
	} {
		n, err := o.integer(id.key, id.fallback, 0, maxVocab)
		if err != nil {
			return err
		}
		if n >= int64(vocab) {
			return fmt.Errorf("%s: %d is outside the vocabulary of %d", id.key, n, vocab)
		}
		*id.into = int(n)
	}
	if g.User == g.Assistant {
		return fmt.Errorf("user_token_id and assistant_token_id are both %d", g.User)
	}
	if !o.has("eos_token_id") {
		return nil
	}
	raw := o.values["eos_token_id"]
	if raw[0] != '[' {
		raw = append(append([]byte("["), raw...), ']')
	}
	ends, err := integers(raw, 64)
	if err != nil {
		return fmt.Errorf("eos_token_id: %w", err)
	}
	for _, n := range ends {
		if n >= int64(vocab) {
			return fmt.Errorf("eos_token_id: %d is outside the vocabulary of %d", n, vocab)
		}
		g.EOS = append(g.EOS, int(n))
	}
	return nil
}

// counts reads the whole numbers and the switch.
func (g *Generation) counts(o object, _ int) error {
	for _, f := range []struct {
		key  string
		into **int
		low  int64
		high int64
	}{
		{"max_new_tokens", &g.MaxNewTokens, 1, maxContext},
		{"top_k", &g.TopK, -1, maxVocab},
	} {
		n, err := o.integer(f.key, 0, f.low, f.high)
		if err != nil {
			return err
		}
		if o.has(f.key) {
			v := int(n)
			*f.into = &v
		}
	}
	sample, err := o.truth("do_sample", false)
	if err != nil {
		return err
	}
	if o.has("do_sample") {
		g.DoSample = &sample
	}
	return nil
}

// fractions reads the other numbers.
func (g *Generation) fractions(o object, _ int) error {
	for _, f := range []struct {
		key  string
		into **float64
		low  float64
		high float64
	}{
		{"temperature", &g.Temperature, 0, 2},
		{"top_p", &g.TopP, 0, 1},
		{"repetition_penalty", &g.RepetitionPenalty, 1e-3, 1e3},
	} {
		words, err := o.decimal(f.key, "0", f.low, f.high)
		if err != nil {
			return err
		}
		v, err := words.Float64()
		if err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		if o.has(f.key) {
			*f.into = &v
		}
	}
	return nil
}
