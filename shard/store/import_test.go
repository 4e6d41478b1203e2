package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// tiny is a checkpoint with all that a large one has: two layers, a vocabulary that ends inside a panel, a NormHead.
func tiny(t testing.TB) synthetic.Spec {
	t.Helper()
	vocabulary, err := os.ReadFile(filepath.Join("..", "tokenizer", "testdata", "bpe-2048.model"))
	if err != nil {
		t.Fatal(err)
	}
	return synthetic.Spec{
		Vocab: 2055, Hidden: 128, Intermediate: 192, Layers: 2, Heads: 4, Context: 256, Position: "rope", NormHead: true,
		Seed: 7, Tokenizer: vocabulary,
	}
}

// written writes a checkpoint and opens it.
func written(t testing.TB, spec synthetic.Spec) *checkpoint.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	return opened(t, dir)
}

func opened(t testing.TB, dir string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func emptyStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func imported(t testing.TB, s *Store, c *checkpoint.Checkpoint, o ImportOptions) *Model {
	t.Helper()
	m, err := Import(context.Background(), s, c, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// listing is all that the store's directory holds, hidden files too.
func listing(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.models)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantListing wants these entries in the store's directory and no others.
func wantListing(t testing.TB, s *Store, want ...string) {
	t.Helper()
	if got := listing(t, s); !slices.Equal(got, want) {
		t.Errorf("the store holds %q, want %q", got, want)
	}
}

// These ids are part of the format: whoever changes one of them changes the id of every model there is, and must raise
// FormatVersion. Those of the rope model were made a second time by testdata/reference_id.py.
func TestImport_GivesTheRecordedIDs(t *testing.T) {
	rope, alibi := tiny(t), tiny(t)
	alibi.Position, alibi.NormHead, alibi.DType = "alibi", false, synthetic.BF16
	for _, c := range []struct {
		spec        synthetic.Spec
		weights, kv string
		id          string
	}{
		{rope, "nf4", "int8", "c8764b667fbc3775f1cefe304e178a6913a8387937ba795360ae83ec5df8d685"},
		{rope, "int8", "int8", "f296deecba10439276f52959bb509108767d8329ac0c68b425af32c423b37c35"},
		{rope, "bf16", "f16", "93a75dc22cc50165a2c65d1219dcfbdff5fd3e14045ecb398addf3eb58e982bb"},
		{rope, "f16", "int8", "760531ed69bb0864e3c65b810996e680346550a9947e3b9e43dc2e9d06a1eb11"},
		{alibi, "nf4", "int8", "d81e8fd9425470a74af0115423e2f0bb30a48552b6cf81b42b34322694abc8e2"},
		{alibi, "bf16", "f16", "2e5360a090247c14006c523ad2aeab4724319e951969349653379e10f9409fab"},
	} {
		t.Run(c.spec.Position+" "+c.weights+" "+c.kv, func(t *testing.T) {
			m := imported(t, emptyStore(t), written(t, c.spec), ImportOptions{Weights: c.weights, KV: c.kv})
			if m.ID.String() != c.id {
				t.Errorf("id %s, want %s", m.ID, c.id)
			}
			if err := Verify(context.Background(), m); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestImport_DependsOnTheContentAlone(t *testing.T) {
	spec := tiny(t)
	spec.DType = synthetic.BF16
	want := imported(t, emptyStore(t), written(t, spec), ImportOptions{}).ID
	for _, format := range []synthetic.Format{synthetic.Safetensors, synthetic.Torch} {
		for _, shards := range []int{1, 3} {
			for _, threads := range []int{1, 5} {
				t.Run(fmt.Sprintf("%s in %d with %d threads", format, shards, threads), func(t *testing.T) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
					spec.Format, spec.Shards = format, shards
					m := imported(t, emptyStore(t), written(t, spec), ImportOptions{Name: "other", Source: "elsewhere"})
					if m.ID != want {
						t.Errorf("id %s, want %s", m.ID, want)
					}
				})
			}
		}
	}
}

func TestImport_WritesWhatInterfacesSays(t *testing.T) {
	s := emptyStore(t)
	c := written(t, tiny(t))
	m := imported(t, s, c, ImportOptions{})
	wantListing(t, s, "tiny")
	var files []string
	entries, err := os.ReadDir(s.path("tiny"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	want := []string{"embed", "head", "layer-000", "layer-001", "local.json", "manifest.json", "tokenizer.model"}
	if !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	mf := m.Manifest
	if mf.Weights != "nf4" || mf.KV != "int8" || mf.Eps != "1e-06" || mf.Theta != "10000" || mf.User != 195 || mf.Assistant != 196 ||
		!slices.Equal(mf.Stop, []int{2, 195, 196}) || mf.Context != 256 || mf.Vocab != 2055 {
		t.Errorf("manifest %+v", mf)
	}
	if l := m.Local; l.Name != "tiny" || l.Source == "" || l.Created.IsZero() || *l.Generation.TopK != 5 || *l.Generation.RepetitionPenalty != 1.05 {
		t.Errorf("local %+v", l)
	}
	if got, err := m.Tokenizer(); err != nil || !bytes.Equal(got, c.Tokenizer) {
		t.Errorf("tokenizer: %d bytes, %v", len(got), err)
	}
}

func TestImport_KeepsThe16BitsOfTheCheckpoint(t *testing.T) {
	spec := tiny(t)
	spec.DType, spec.NormHead = synthetic.BF16, false
	c := written(t, spec)
	m := imported(t, emptyStore(t), c, ImportOptions{Weights: "bf16"})
	wantSameValues(t, m, c, 0)
}

func TestImport_FoldsTheNormHead(t *testing.T) {
	m := imported(t, emptyStore(t), written(t, tiny(t)), ImportOptions{Weights: "f16"})
	part := m.Manifest.Parts[3]
	mapped, err := m.Part(3)
	if err != nil {
		t.Fatal(err)
	}
	defer mapped.Close()
	head := part.Tensors[1]
	row := make([]float32, head.Cols)
	for i := range head.Rows {
		run{head, i, 1}.unpack(row, mapped.Bytes()[head.Offset:])
		var sum float64
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		if sum < 0.998 || sum > 1.002 {
			t.Fatalf("row %d of the head has the squared length %g", i, sum)
		}
	}
}

// wantSameValues compares each tensor of a model with the checkpoint's, within a share of its largest value.
func wantSameValues(t *testing.T, m *Model, c *checkpoint.Checkpoint, share float64) {
	t.Helper()
	for i, part := range m.Manifest.Parts {
		mapped, err := m.Part(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range part.Tensors {
			got, want := make([]float32, tensor.Rows*tensor.Cols), make([]float32, tensor.Rows*tensor.Cols)
			run{tensor, 0, tensor.Rows}.unpack(got, mapped.Bytes()[tensor.Offset:][:tensor.Size])
			if err := c.Read(published(m.Manifest, i, tensor), 0, want); err != nil {
				t.Fatal(err)
			}
			largest := float64(slices.Max(want))
			for k := range got {
				if d := float64(got[k]) - float64(want[k]); d > share*largest || -d > share*largest {
					t.Fatalf("%s: element %d is %g, want %g", published(m.Manifest, i, tensor), k, got[k], want[k])
				}
			}
		}
		if err := mapped.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImport_ReportsItsProgress(t *testing.T) {
	var stages []string
	last, size := int64(0), int64(0)
	m := imported(t, emptyStore(t), written(t, tiny(t)), ImportOptions{Progress: func(stage string, done, total int64) {
		if done < last || done > total {
			t.Errorf("%d after %d of %d", done, last, total)
		}
		last, size = done, total
		if len(stages) == 0 || stages[len(stages)-1] != stage {
			stages = append(stages, stage)
		}
	}})
	if want := []string{"embed", "layer-000", "layer-001", "head"}; !slices.Equal(stages, want) {
		t.Errorf("stages %q, want %q", stages, want)
	}
	if last != size || size > m.size() {
		t.Errorf("ended at %d of %d; the model has %d bytes", last, size, m.size())
	}
}

func TestImport_RefusesBeforeItWrites(t *testing.T) {
	c := written(t, tiny(t))
	for name, o := range map[string]ImportOptions{
		"name":    {Name: "../up"},
		"device":  {Name: "nul"},
		"weights": {Weights: "q4"},
		"f32":     {Weights: "f32"},
		"kv":      {KV: "nf4"},
	} {
		t.Run(name, func(t *testing.T) {
			s := emptyStore(t)
			_, err := Import(context.Background(), s, c, o)
			wantOneLine(t, err)
			wantListing(t, s)
		})
	}
}

func TestImport_SaysThatADirectoryIsNoName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my model")
	if err := synthetic.Write(dir, tiny(t)); err != nil {
		t.Fatal(err)
	}
	_, err := Import(context.Background(), emptyStore(t), opened(t, dir), ImportOptions{})
	wantOneLine(t, err)
	if !strings.Contains(err.Error(), "--name") {
		t.Errorf("%v does not name the remedy", err)
	}
}

func TestImport_WantsForceToReplaceAModel(t *testing.T) {
	s := emptyStore(t)
	first := imported(t, s, written(t, tiny(t)), ImportOptions{Name: "Mini"})
	spec := tiny(t)
	spec.Seed++
	other := written(t, spec)
	for _, name := range []string{"Mini", "mini"} {
		_, err := Import(context.Background(), s, other, ImportOptions{Name: name})
		wantOneLine(t, err)
		wantListing(t, s, "Mini")
	}
	second := imported(t, s, other, ImportOptions{Name: "mini", Force: true})
	wantListing(t, s, "mini")
	if second.ID == first.ID {
		t.Error("the model is still the old one")
	}
	if _, err := first.Part(0); err == nil {
		t.Error("a part of the replaced model can still be had: it is another model's")
	}
}

func TestImport_CancelledLeavesNothing(t *testing.T) {
	c := written(t, tiny(t))
	for _, stage := range []string{"embed", "layer-001", "head"} {
		t.Run(stage, func(t *testing.T) {
			s := emptyStore(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, err := Import(ctx, s, c, ImportOptions{Progress: func(at string, _, _ int64) {
				if at == stage {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			wantOneLine(t, err)
			wantListing(t, s)
			imported(t, s, c, ImportOptions{})
		})
	}
}

func TestImport_ForcedAndFailedKeepsTheOldModel(t *testing.T) {
	s, c := emptyStore(t), written(t, tiny(t))
	m := imported(t, s, c, ImportOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Import(ctx, s, c, ImportOptions{Weights: "int8", Force: true, Progress: func(string, int64, int64) { cancel() }})
	wantOneLine(t, err)
	wantListing(t, s, "tiny")
	if err := Verify(context.Background(), m); err != nil {
		t.Error(err)
	}
}

func TestImport_OfOneNameTwiceAtOnce(t *testing.T) {
	s, c := emptyStore(t), written(t, tiny(t))
	var group sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		group.Go(func() { _, errs[i] = Import(context.Background(), s, c, ImportOptions{}) })
	}
	group.Wait()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else {
			wantOneLine(t, err)
		}
	}
	if good != 1 {
		t.Errorf("%d imports of one name succeeded: %v", good, errs)
	}
	wantListing(t, s, "tiny")
}

func TestManifestOf_KeepsAllEndsOfTheCheckpoint(t *testing.T) {
	spec := tiny(t)
	spec.Generation = []byte(`{"eos_token_id":[2,7],"user_token_id":9,"assistant_token_id":4}`)
	m := imported(t, emptyStore(t), written(t, spec), ImportOptions{})
	if mf := m.Manifest; mf.User != 9 || mf.Assistant != 4 || !slices.Equal(mf.Stop, []int{2, 4, 7, 9}) {
		t.Errorf("user %d, assistant %d, stop %v", mf.User, mf.Assistant, mf.Stop)
	}
}

func TestBlockSizes_AreThoseOfTheKernels(t *testing.T) {
	if kernels.PanelRows != 16 || kernels.Block != 64 {
		t.Error("the format of stored models has changed: raise FormatVersion")
	}
}
