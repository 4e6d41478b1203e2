package shard_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// expected reads what PyTorch computed of a checkpoint (testdata/make_torch.py): prompts, and the logits after each of
// their tokens.
func expected(t *testing.T, dir string, vocab int) (prompts [][]uint32, logits []float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &prompts); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "expected.f32"))
	if err != nil {
		t.Fatal(err)
	}
	for ; len(raw) >= 4; raw = raw[4:] {
		logits = append(logits, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
	}
	if want := len(slices.Concat(prompts...)) * vocab; len(logits) != want {
		t.Fatalf("%s: %d logits, want %d", dir, len(logits), want)
	}
	return prompts, logits
}

// Checkpoints that torch.save wrote from real modules: shards with an index, Parameters, an OrderedDict, a plain dict,
// views of one storage, transposed ones.
func TestForward_AgreesWithPyTorch(t *testing.T) {
	for name, weights := range map[string]string{
		"f32-sharded-parameters": "f16", "f16-ordered": "f16", "bf16-dict": "bf16", "f16-alibi-views": "f16",
	} {
		dir := filepath.Join("testdata", "torch", name)
		source, err := checkpoint.Open(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Cleanup(func() { source.Close() })
		models, err := store.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{t: t, dir: dir, source: source, models: models, dev: kernels.NewCPU(0)}
		t.Cleanup(func() { f.dev.Close() })
		for kv, limit := range map[string]float64{"f16": 1e-2, "int8": 0.15} {
			t.Run(name+"/kv-"+kv, func(t *testing.T) {
				s := f.load(f.model(weights, kv), 0, source.Config.Layers)
				comparePrompts(t, newChain(s), dir, source.Config.Vocab, limit)
			})
		}
	}
}

// comparePrompts holds the logits of each prompt against PyTorch's, and the first choice where PyTorch's is clear.
func comparePrompts(t *testing.T, c *chain, dir string, vocab int, limit float64) {
	t.Helper()
	prompts, logits := expected(t, dir, vocab)
	worst, clear := 0.0, 0
	for _, ids := range prompts {
		got := c.run(t, ids, 7, 1)
		for i := range ids {
			row, want := got[i*vocab:(i+1)*vocab], logits[i*vocab:(i+1)*vocab]
			worst = math.Max(worst, maxError(row, want))
			best, margin := first(want)
			if margin <= limit {
				continue
			}
			clear++
			if choice := slices.Index(row, slices.Max(row)); choice != best {
				t.Errorf("after token %d of %v: the first choice is %d, PyTorch's %d by %g", i, ids, choice, best, margin)
			}
		}
		logits = logits[len(ids)*vocab:]
	}
	t.Logf("maximal logit error %.2g; %d clear first choices", worst, clear)
	if !(worst <= limit) || clear < 10 { // a NaN fails too
		t.Errorf("maximal logit error %g, want at most %g", worst, limit)
	}
}

// first gives the highest logit's id and how far it is above all others.
func first(logits []float64) (id int, margin float64) {
	id = slices.Index(logits, slices.Max(logits))
	margin = math.Inf(1)
	for i, l := range logits {
		if i != id {
			margin = math.Min(margin, logits[id]-l)
		}
	}
	return id, margin
}

// The form that torch wrote before version 1.6 is refused by name, and not taken for damage.
func TestOpen_RefusesTheLegacyForm(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "torch", "f16-ordered"))); err != nil {
		t.Fatal(err)
	}
	legacy, err := os.ReadFile(filepath.Join("checkpoint", "testdata", "torch-legacy.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), legacy, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(dir); err == nil || !strings.Contains(err.Error(), "before version 1.6") || !strings.Contains(err.Error(), "pytorch_model.bin") {
		t.Errorf("a legacy file: %v", err)
	}
}
