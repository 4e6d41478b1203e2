package checkpoint_test

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/checkpointtest"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
)

// No tokenizer is read here, so any bytes do.
var tokenizer = []byte("tokenizer")

const vocab = 200

// readAll reads every tensor that the model of the test needs, in a few rows at a time.
func readAll(c *checkpoint.Checkpoint) error {
	for _, info := range c.Tensors() {
		cols, rows := info.Shape[len(info.Shape)-1], 1
		if len(info.Shape) == 2 {
			rows = info.Shape[0]
		}
		for row := 0; row < rows; row += 7 {
			if err := c.Read(info.Name, row, make([]float32, cols*min(7, rows-row))); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestOpen_RefusesBrokenCheckpointsInOneLine(t *testing.T) {
	cases, err := checkpointtest.Broken(t.TempDir(), tokenizer, vocab)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	const mostBytes = 96 << 20 // a flood of pickle steps makes objects of about 64 MB
	for _, test := range cases {
		t.Run(test.Name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, err := checkpoint.Open(test.Dir)
			at := checkpointtest.AtOpen
			if err == nil {
				defer c.Close()
				at = checkpointtest.AtRead
				if err = readAll(c); err == nil {
					at = checkpointtest.AtImport
				}
			}
			runtime.ReadMemStats(&after)
			if at != test.At {
				t.Fatalf("found at stage %d, not %d: %v", at, test.At, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > mostBytes {
				t.Errorf("%d bytes allocated", n)
			}
			if at == checkpointtest.AtImport {
				return
			}
			checkLine(t, err, test.File)
			if isTensorCase(test.Name) && !strings.Contains(err.Error(), `tensor "model.norm.weight"`) {
				t.Errorf("%q does not name the tensor", err)
			}
		})
	}
}

// isTensorCase tells the cases in which model.norm.weight, and nothing else, is made wrongly by a pickle.
func isTensorCase(name string) bool {
	return strings.HasPrefix(name, "pickle/tensor-") || strings.HasPrefix(name, "pickle/storage-") && name != "pickle/storage-two-types"
}

// checkLine checks that an error is one printable line of bounded length that names the file.
func checkLine(t *testing.T, err error, file string) {
	t.Helper()
	line := err.Error()
	if !strings.Contains(line, file) {
		t.Errorf("%q does not name %s", line, file)
	}
	if len(line) > 1000 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		t.Errorf("%d bytes, not one plain line: %q", len(line), line)
	}
}

func TestOpen_ReadsWhatBrokenCasesAreMadeFrom(t *testing.T) {
	dirs, err := checkpointtest.Good(t.TempDir(), tokenizer, vocab)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		c, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := readAll(c); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRead_SameWeightsFromEveryFormat(t *testing.T) {
	for _, dtype := range []synthetic.DType{synthetic.F32, synthetic.F16, synthetic.BF16} {
		spec := checkpointtest.Spec(tokenizer, vocab)
		spec.DType, spec.Seed = dtype, 5
		var first map[string][]float32
		for _, format := range []synthetic.Format{synthetic.Safetensors, synthetic.Torch} {
			for _, shards := range []int{1, 3} {
				spec.Format, spec.Shards = format, shards
				got := weights(t, spec)
				if first == nil {
					first = got
				}
				for name, want := range first {
					if !equalBits(got[name], want) {
						t.Errorf("%s %s in %d shards: %s differs", dtype, format, shards, name)
					}
				}
			}
		}
	}
}

// weights writes a checkpoint and reads all of it.
func weights(t *testing.T, spec synthetic.Spec) map[string][]float32 {
	t.Helper()
	dir := t.TempDir()
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := map[string][]float32{}
	for _, info := range c.Tensors() {
		n := 1
		for _, d := range info.Shape {
			n *= d
		}
		all[info.Name] = make([]float32, n)
		if err := c.Read(info.Name, 0, all[info.Name]); err != nil {
			t.Fatal(err)
		}
		if info.DType != checkpoint.DType(spec.DType) {
			t.Errorf("%s is %s", info.Name, info.DType)
		}
	}
	return all
}

func equalBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

func TestOpen_PrefersSafetensors(t *testing.T) {
	dir := t.TempDir()
	spec := checkpointtest.Spec(tokenizer, vocab)
	for _, spec.Format = range []synthetic.Format{synthetic.Torch, synthetic.Safetensors} {
		if err := synthetic.Write(dir, spec); err != nil {
			t.Fatal(err)
		}
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if info, _ := c.Tensor("lm_head.weight"); filepath.Base(info.File) != "model.safetensors" {
		t.Errorf("read from %s", info.File)
	}
}

// Hugging Face's cache keeps contents as blobs, and snapshots whose files are links to them.
func TestOpen_FollowsLinksOfTheHubCache(t *testing.T) {
	root := t.TempDir()
	snapshot, blobs := filepath.Join(root, "snapshots", "main"), filepath.Join(root, "blobs")
	spec := checkpointtest.Spec(tokenizer, vocab)
	spec.Format, spec.Shards = synthetic.Torch, 2
	if err := synthetic.Write(blobs, spec); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(snapshot, name)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("this machine lacks links: on Windows they need a privilege")
			}
			t.Fatal(err)
		}
	}
	for i, f := range files {
		blob := strings.Repeat(string(rune('a'+i)), 40)
		if err := os.Rename(filepath.Join(blobs, f.Name()), filepath.Join(blobs, blob)); err != nil {
			t.Fatal(err)
		}
		link(filepath.Join("..", "..", "blobs", blob), f.Name())
	}
	c, err := checkpoint.Open(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := readAll(c); err != nil {
		t.Error(err)
	}

	lost := "pytorch_model-00001-of-00002.bin"
	if err := os.Remove(filepath.Join(snapshot, lost)); err != nil {
		t.Fatal(err)
	}
	link("nowhere", lost)
	if _, err := checkpoint.Open(snapshot); err == nil {
		t.Error("a link that leads nowhere was accepted")
	} else {
		checkLine(t, err, lost)
	}
}

func TestOpen_GivesTheOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if err := synthetic.Write(dir, checkpointtest.Spec(tokenizer, vocab)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{"add_bos_token": true, "pad_token": {"content": "</s>"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "generation_config.json")); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if string(c.Tokenizer) != string(tokenizer) || !c.AddBOS || c.Generation.User != 195 || c.Generation.Assistant != 196 || c.Generation.TopK != nil {
		t.Errorf("tokenizer %q, AddBOS %t, %+v", c.Tokenizer, c.AddBOS, c.Generation)
	}
}

func TestRead_RefusesRowsThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	if err := synthetic.Write(dir, checkpointtest.Spec(tokenizer, vocab)); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, test := range []struct {
		name      string
		row, size int
	}{
		{"lm_head.weight", -1, 64}, {"lm_head.weight", vocab, 64}, {"lm_head.weight", vocab - 1, 128}, {"lm_head.weight", 0, 63},
		{"lm_head.weight", vocab + 1, 0}, {"model.norm.weight", 1, 64}, {"lm_head.bias", 0, 64},
	} {
		if err := c.Read(test.name, test.row, make([]float32, test.size)); err == nil {
			t.Errorf("read %d values from row %d of %s", test.size, test.row, test.name)
		}
	}
	if err := c.Read("lm_head.weight", vocab, nil); err != nil {
		t.Errorf("no rows at the end: %v", err)
	}
}

func TestRead_FromManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	spec := checkpointtest.Spec(tokenizer, vocab)
	spec.Format = synthetic.Torch
	if err := synthetic.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- readAll(c) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// The published configurations have no keys of ours.
func TestOpen_ReadsPublishedConfigurations(t *testing.T) {
	for _, position := range []checkpoint.Position{checkpoint.Rope, checkpoint.Alibi} {
		dir := t.TempDir()
		spec := checkpointtest.Spec(tokenizer, vocab)
		spec.Published, spec.NormHead, spec.Position = true, false, string(position)
		if err := synthetic.Write(dir, spec); err != nil {
			t.Fatal(err)
		}
		c, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if c.Config.Position != position || c.Config.NormHead || c.Config.Context != spec.Context {
			t.Errorf("%s: %+v", position, c.Config)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
