package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/checkpointtest"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// weights is a safetensors file taken apart, so that tests can spoil it.
type weights map[string]*weight

type weight struct {
	dtype string
	shape []int
	data  []byte
}

func readWeights(t *testing.T, path string) weights {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	var header map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	w := weights{}
	for name, e := range header {
		if name != "__metadata__" {
			w[name] = &weight{e.DType, e.Shape, slices.Clone(raw[8+n:][e.Offsets[0]:e.Offsets[1]])}
		}
	}
	return w
}

func (w weights) write(t *testing.T, path string) {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(w)) {
		e := w[name]
		header[name] = map[string]any{"dtype": e.dtype, "shape": e.shape, "data_offsets": [2]int{len(data), len(data) + len(e.data)}}
		data = append(data, e.data...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	if err := os.WriteFile(path, append(out, data...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// put overwrites one number of a tensor.
func (w weights) put(name string, at int, bits uint32) {
	d := w[name].data
	binary.LittleEndian.PutUint32(d[(4*at+len(d))%len(d):], bits)
}

// tinyTensors are the names of the tensors of the tiny checkpoint, but for those of layer 0.
func tinyTensors() []string {
	names := []string{"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
	for _, name := range []string{
		"input_layernorm", "self_attn.W_pack", "self_attn.o_proj", "post_attention_layernorm",
		"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
	} {
		names = append(names, "model.layers.1."+name+".weight")
	}
	return names
}

// brokenWeights are ways to spoil the weights that a reader of files can't see, and what the error has to name.
func brokenWeights() map[string]func(w weights) (names string) {
	cases := map[string]func(w weights) string{}
	for _, name := range tinyTensors() {
		cases["no "+name] = func(w weights) string { delete(w, name); return name }
		cases["NaN last in "+name] = func(w weights) string { w.put(name, -1, 0x7fc00000); return name }
		cases["infinity first in "+name] = func(w weights) string { w.put(name, 0, 0xff800000); return name }
		cases["wrong shape of "+name] = func(w weights) string {
			w[name].shape = []int{len(w[name].data) / 8, 2}
			return name
		}
		cases["whole numbers in "+name] = func(w weights) string { w[name].dtype = "I32"; return name }
	}
	for _, name := range []string{
		"model.layers.2.self_attn.W_pack.weight", "model.layers.99999999999999999999.norm", "model.layers.0.self_attn.W_pack.bias",
		"model.layers.-1.mlp.up_proj.weight", "lm_head.bias", "weight", "model.embed_tokens.weight2",
	} {
		cases["foreign "+name] = func(w weights) string {
			w[name] = &weight{"F32", []int{1}, make([]byte, 4)}
			return name
		}
	}
	gate := "model.layers.1.mlp.gate_proj.weight"
	cases["transposed gate"] = func(w weights) string { slices.Reverse(w[gate].shape); return gate }
	cases["gain as a matrix"] = func(w weights) string {
		w["model.norm.weight"].shape = []int{1, 128}
		return "model.norm.weight"
	}
	cases["scalar"] = func(w weights) string {
		w["model.norm.weight"] = &weight{"F32", []int{}, make([]byte, 4)}
		return "model.norm.weight"
	}
	return cases
}

// A checkpoint that is refused, at whatever point, leaves the store as it was: the model in it, and nothing more.
func TestImport_RefusesBrokenWeights(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broken")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.safetensors")
	s := emptyStore(t)
	imported(t, s, opened(t, dir), ImportOptions{Name: "good"})
	for name, spoil := range brokenWeights() {
		t.Run(name, func(t *testing.T) {
			w := readWeights(t, file)
			defer w.clone().write(t, file)
			tensor := spoil(w)
			w.write(t, file)
			err := importDir(s, dir, ImportOptions{})
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), "model.safetensors") || !strings.Contains(err.Error(), tensor) {
				t.Errorf("%v does not name the file and %s", err, tensor)
			}
			wantListing(t, s, "good")
		})
	}
}

func (w weights) clone() weights {
	c := weights{}
	for name, e := range w {
		c[name] = &weight{e.dtype, slices.Clone(e.shape), slices.Clone(e.data)}
	}
	return c
}

func importDir(s *Store, dir string, o ImportOptions) error {
	c, err := checkpoint.Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = Import(context.Background(), s, c, o)
	return err
}

func TestImport_NamesTheRowThatIsBad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "row")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.safetensors")
	w := readWeights(t, file)
	w.put("lm_head.weight", 1999*128+5, 0x7f800000)
	w.write(t, file)
	err := importDir(emptyStore(t), dir, ImportOptions{})
	if wantOneLine(t, err); !strings.Contains(err.Error(), "row 1999 ") {
		t.Errorf("%v does not name row 1999", err)
	}
}

func TestImport_RefusesWhatHasNo16Bits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "huge")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.safetensors")
	w := readWeights(t, file)
	w.put("model.layers.0.mlp.up_proj.weight", 7, math.Float32bits(1e6))
	w.write(t, file)
	s := emptyStore(t)
	for _, format := range []string{"f16", "nf4"} {
		err := importDir(s, dir, ImportOptions{Weights: format})
		if wantOneLine(t, err); !strings.Contains(err.Error(), "model.layers.0.mlp.up_proj.weight") {
			t.Errorf("%s: %v", format, err)
		}
		wantListing(t, s)
	}
	if err := importDir(s, dir, ImportOptions{Weights: "bf16"}); err != nil {
		t.Errorf("bf16 reaches as far as float32: %v", err)
	}
}

func TestImport_LeavesOutWhatFollowsFromTheConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "buffers")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	want := imported(t, emptyStore(t), opened(t, dir), ImportOptions{}).ID
	file := filepath.Join(dir, "model.safetensors")
	w := readWeights(t, file)
	for _, name := range []string{"model.layers.0.self_attn.rotary_emb.inv_freq", "model.future_mask", "decoder.version"} {
		w[name] = &weight{"F32", []int{1}, make([]byte, 4)}
	}
	w.write(t, file)
	if got := imported(t, emptyStore(t), opened(t, dir), ImportOptions{}).ID; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
}

func TestImport_RefusesATokenizerThatDoesNotFit(t *testing.T) {
	larger, err := os.ReadFile(filepath.Join("..", "tokenizer", "testdata", "bpe-4096.model"))
	if err != nil {
		t.Fatal(err)
	}
	good := tiny(t)
	for name, c := range map[string]struct {
		tokenizer  []byte
		generation string
	}{
		"not a model":           {[]byte("vocabulary"), "{}"},
		"cut":                   {good.Tokenizer[:len(good.Tokenizer)/2], "{}"},
		"beyond the vocabulary": {larger, "{}"},
		"a byte as role":        {good.Tokenizer, fmt.Sprintf(`{"user_token_id":%d}`, byteID)},
	} {
		t.Run(name, func(t *testing.T) {
			spec := good
			spec.Tokenizer, spec.Generation = c.tokenizer, []byte(c.generation)
			s := emptyStore(t)
			_, err := Import(context.Background(), s, written(t, spec), ImportOptions{})
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), "tokenizer.model") {
				t.Errorf("%v does not name the file", err)
			}
			wantListing(t, s)
		})
	}
}

// byteID is a byte's piece in the tests' tokenizer.
const byteID = 300

// Whatever is wrong with a checkpoint's files, and wherever it shows, the answer is one line that names the file, and
// the store is as it was.
func TestImport_RefusesEveryBrokenCheckpoint(t *testing.T) {
	vocabulary := tiny(t).Tokenizer
	cases, err := checkpointtest.Broken(t.TempDir(), vocabulary, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Errorf("%d broken checkpoints, want at least 100", len(cases))
	}
	s := emptyStore(t)
	good := imported(t, s, written(t, tiny(t)), ImportOptions{Name: "good"})
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			err := importDir(s, c.Dir, ImportOptions{})
			wantOneLine(t, err)
			if !strings.Contains(err.Error(), c.File) {
				t.Errorf("%v does not name %s", err, c.File)
			}
			wantListing(t, s, "good")
		})
	}
	if err := Verify(context.Background(), good); err != nil {
		t.Error(err)
	}
}
