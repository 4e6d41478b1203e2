package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/baichuan-node/baichuan-node/kernels"
)

// FormatVersion is the manifest's format number: raised whenever the arithmetic or the layout changes.
const FormatVersion = 1

const architecture = "baichuan"

// The kinds of positions that a manifest may name.
const (
	Rope  = "rope"
	Alibi = "alibi"
)

// Manifest says all that two peers must agree on to compute the same bits. A model's id is the SHA-256 of the bytes
// that encoding/json made of it at import; those bytes are kept and never made again.
//
// It holds no floats: eps and theta are decimal strings. The order of the fields is part of the format.
type Manifest struct {
	Format       int    `json:"format"`       // FormatVersion
	Architecture string `json:"architecture"` // "baichuan"
	Layers       int    `json:"layers"`
	Hidden       int    `json:"hidden"`       // a multiple of 64
	Intermediate int    `json:"intermediate"` // a multiple of 64
	Heads        int    `json:"heads"`        // Hidden/Heads is a multiple of 32
	Vocab        int    `json:"vocab"`
	Context      int    `json:"context"`         // tokens, prompt and answer together
	Eps          string `json:"eps"`             // decimal, such as "1e-06"
	Position     string `json:"position"`        // "rope" or "alibi"
	Theta        string `json:"theta,omitempty"` // decimal; with rope alone

	BOS       int   `json:"bos"`
	EOS       int   `json:"eos"`
	Pad       int   `json:"pad"`
	User      int   `json:"user"`      // id that opens a user's message
	Assistant int   `json:"assistant"` // id that opens an assistant's message
	Stop      []int `json:"stop"`      // ids that end an answer, ascending
	AddBOS    bool  `json:"add_bos"`   // text is encoded with BOS in front (some Baichuan 1 tokenizers)

	Weights       string `json:"weights"`   // nf4, int8, bf16, f16
	KV            string `json:"kv"`        // int8, f16
	Tokenizer     string `json:"tokenizer"` // SHA-256 of tokenizer.model, hex
	TokenizerSize int64  `json:"tokenizer_size"`

	// Parts are embed, one for each layer, head: Layers+2 of them.
	Parts []Part `json:"parts"`
}

// Part is one file of a model: what a peer holds or lacks as a whole.
type Part struct {
	Tensors []Tensor `json:"tensors"`
	Size    int64    `json:"size"`
	Chunks  []string `json:"chunks"` // SHA-256 of each 4 MiB, hex
}

// Tensor is one matrix in a part. Embeddings are tables (kernels.Table), norms are F32 gains with one row.
type Tensor struct {
	Name   string `json:"name"` // norm1, w_pack, o_proj, norm2, gate, up, down; embed; norm, lm_head
	Format string `json:"format"`
	Rows   int    `json:"rows"`
	Cols   int    `json:"cols"`
	Offset int64  `json:"offset"` // a multiple of 64
	Size   int64  `json:"size"`
}

// ID is a model's identity: the SHA-256 of its manifest's bytes.
type ID [sha256.Size]byte

// String gives the id in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// EpsValue is the norm's epsilon as the arithmetic takes it.
func (m *Manifest) EpsValue() float32 {
	v, _ := strconv.ParseFloat(m.Eps, 64) // Validate has parsed it
	return float32(v)
}

// ThetaValue is the base of the rotary positions, 0 for a model without them.
func (m *Manifest) ThetaValue() float64 {
	if m.Position != Rope {
		return 0
	}
	v, _ := strconv.ParseFloat(m.Theta, 64)
	return v
}

// ParseManifest reads and validates the bytes of a manifest, whoever sent them.
//
// It takes exactly what encoding/json makes of a Manifest, so that a model has one manifest and one id: an unknown
// field, another order or another spelling is refused. The format number is how manifests grow.
func ParseManifest(raw []byte) (*Manifest, error) {
	m, err := decodeManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

func decodeManifest(raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(raw), MaxManifest)
	}
	if n := bytes.Count(raw, []byte("{")); n > maxObjects {
		return nil, fmt.Errorf("%d objects, at most %d make sense", n, maxObjects)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return nil, brief(err)
	}
	if version.Format != FormatVersion {
		return nil, fmt.Errorf("its format is %d, this program reads format %d: use a matching version of baichuan-node",
			version.Format, FormatVersion)
	}
	m := new(Manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, brief(err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	again, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(raw, again) {
		return nil, errors.New("not in the one form that a manifest has (unknown field, order or spelling)")
	}
	return m, nil
}

// brief cuts what encoding/json says of a stranger's text, which may quote megabytes of it.
func brief(err error) error { return fmt.Errorf("%.200s", err.Error()) }

// Validate reports the first thing in m that can't be true of a model. After it, every number is inside its limit
// and the parts are those that the dimensions give.
func (m *Manifest) Validate() error {
	for _, check := range []func() error{m.checkNames, m.checkDimensions, m.checkNumbers, m.checkTokens, m.checkParts} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manifest) checkNames() error {
	switch {
	case m.Format != FormatVersion:
		return fmt.Errorf("format %d, want %d", m.Format, FormatVersion)
	case m.Architecture != architecture:
		return fmt.Errorf("architecture %.40q is not %q", m.Architecture, architecture)
	case m.Position != Rope && m.Position != Alibi:
		return fmt.Errorf("position %.40q is neither %q nor %q", m.Position, Rope, Alibi)
	case !isDigest(m.Tokenizer):
		return errors.New("tokenizer is not a SHA-256 in lower-case hex")
	case m.TokenizerSize < 1 || m.TokenizerSize > MaxTokenizer:
		return fmt.Errorf("tokenizer_size %d is not in 1..%d", m.TokenizerSize, MaxTokenizer)
	}
	return checkFormats(m.Weights, m.KV)
}

// checkFormats tells whether a model can have these weight and cache formats.
func checkFormats(weights, kv string) error {
	switch w, err := kernels.ParseFormat(weights); {
	case err != nil || w == kernels.F32:
		return fmt.Errorf("weights %.40q: want nf4, int8, bf16 or f16", weights)
	}
	switch k, err := kernels.ParseFormat(kv); {
	case err != nil || k != kernels.Int8 && k != kernels.F16:
		return fmt.Errorf("kv %.40q: want int8 or f16", kv)
	}
	return nil
}

func (m *Manifest) checkDimensions() error {
	for _, d := range []struct {
		name               string
		value, max, factor int
	}{
		{"layers", m.Layers, maxLayers, 1},
		{"hidden", m.Hidden, maxHidden, kernels.Block},
		{"intermediate", m.Intermediate, maxIntermediate, kernels.Block},
		{"heads", m.Heads, maxHidden / kernels.CacheUnit, 1},
		{"vocab", m.Vocab, maxVocab, 1},
		{"context", m.Context, maxContext, 1},
	} {
		if d.value < 1 || d.value > d.max {
			return fmt.Errorf("%s %d is not in 1..%d", d.name, d.value, d.max)
		}
		if d.value%d.factor != 0 {
			return fmt.Errorf("%s %d is not a multiple of %d", d.name, d.value, d.factor)
		}
	}
	if m.Hidden%m.Heads != 0 || m.Hidden/m.Heads%kernels.CacheUnit != 0 {
		return fmt.Errorf("hidden %d over %d heads is not a multiple of %d", m.Hidden, m.Heads, kernels.CacheUnit)
	}
	return nil
}

func (m *Manifest) checkNumbers() error {
	// 2^-126 is the smallest normal float32: no result may depend on smaller numbers (NUMERICS rule 9).
	if err := checkDecimal(m.Eps, 0x1p-126, 1); err != nil {
		return fmt.Errorf("eps %.40q: %w", m.Eps, err)
	}
	if m.Position == Alibi {
		if m.Theta != "" {
			return fmt.Errorf("theta %.40q with alibi positions", m.Theta)
		}
		return nil
	}
	if err := checkDecimal(m.Theta, 1, maxTheta); err != nil {
		return fmt.Errorf("theta %.40q: %w", m.Theta, err)
	}
	return nil
}

// decimal writes a number as manifests have it: the shortest digits that give the same float64.
func decimal(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// checkDecimal takes only the form that decimal gives, within the bounds.
func checkDecimal(s string, least, most float64) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || decimal(v) != s {
		return errors.New("not a decimal number in its shortest form")
	}
	if v < least || v > most {
		return fmt.Errorf("not in %g..%g", least, most)
	}
	return nil
}

func (m *Manifest) checkTokens() error {
	for _, t := range []struct {
		name string
		id   int
	}{{"bos", m.BOS}, {"eos", m.EOS}, {"pad", m.Pad}, {"user", m.User}, {"assistant", m.Assistant}} {
		if t.id < 0 || t.id >= m.Vocab {
			return fmt.Errorf("%s id %d is outside the vocabulary of %d", t.name, t.id, m.Vocab)
		}
	}
	if m.User == m.Assistant {
		return fmt.Errorf("user and assistant have the same id %d", m.User)
	}
	return m.checkStops()
}

// checkStops wants the ids of eos and of the roles among those that end an answer.
func (m *Manifest) checkStops() error {
	if len(m.Stop) > maxStops {
		return fmt.Errorf("%d stop ids, at most %d make sense", len(m.Stop), maxStops)
	}
	for i, id := range m.Stop {
		if id < 0 || id >= m.Vocab || i > 0 && id <= m.Stop[i-1] {
			return fmt.Errorf("stop ids are not an ascending list of ids below %d", m.Vocab)
		}
	}
	for _, id := range []int{m.EOS, m.User, m.Assistant} {
		if _, ok := slices.BinarySearch(m.Stop, id); !ok {
			return fmt.Errorf("stop ids lack %d: eos, user and assistant are among them", id)
		}
	}
	return nil
}

// checkParts compares the parts with those that follow from the dimensions, so that no offset, size or number of
// chunks is ever taken from a stranger.
func (m *Manifest) checkParts() error {
	if len(m.Parts) != m.Layers+2 {
		return fmt.Errorf("%d parts, a model of %d layers has %d", len(m.Parts), m.Layers, m.Layers+2)
	}
	for i, want := range layout(m) {
		got := m.Parts[i]
		if !slices.Equal(got.Tensors, want.Tensors) || got.Size != want.Size {
			return fmt.Errorf("part %s: its tensors or its size are not those of such a model", PartName(m, i))
		}
		if n := chunks(want.Size); int64(len(got.Chunks)) != n {
			return fmt.Errorf("part %s: %d chunks for %d bytes, want %d", PartName(m, i), len(got.Chunks), want.Size, n)
		}
		for _, c := range got.Chunks {
			if !isDigest(c) {
				return fmt.Errorf("part %s: chunk %.80q is not a SHA-256 in lower-case hex", PartName(m, i), c)
			}
		}
	}
	return nil
}

// isDigest tells whether s is a SHA-256 in lower-case hex.
func isDigest(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
