package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What PyTorch saved and computed (shard/testdata/make_torch.py), through the commands.
func TestGenerate_LogitsAgreeWithPyTorch(t *testing.T) {
	newHome(t)
	for name, weights := range map[string]string{"f32-sharded-parameters": "f16", "bf16-dict": "bf16", "f16-alibi-views": "f16"} {
		dir := filepath.Join("..", "..", "shard", "testdata", "torch", name)
		mustCLI(t, "import", dir, "--name", name, "--weights", weights, "--kv", "f16")
		text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
		if err != nil {
			t.Fatal(err)
		}
		var prompts []json.RawMessage
		if err := json.Unmarshal(text, &prompts); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, ids := range prompts {
			file := filepath.Join(t.TempDir(), "logits")
			mustCLI(t, "generate", name, "--local", "--tokens", strings.Trim(string(ids), "[]"), "--max-tokens", "1", "--logits", file)
			logits, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, logits...)
		}
		want, err := os.ReadFile(filepath.Join(dir, "expected.f32"))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d bytes of logits, want %d (%v)", name, len(got), len(want), err)
		}
		for i := 0; i < len(want); i += 4 {
			g := math.Float32frombits(binary.LittleEndian.Uint32(got[i:]))
			w := math.Float32frombits(binary.LittleEndian.Uint32(want[i:]))
			if d := math.Abs(float64(g - w)); !(d <= 1e-2) { // a NaN fails too
				t.Fatalf("%s: logit %d is %g, PyTorch's %g", name, i/4, g, w)
			}
		}
	}
}
