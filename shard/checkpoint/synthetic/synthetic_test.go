package synthetic

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The hashes are those of model.safetensors as `baichuan_reference.py gen PRESET 3 DIR DTYPE` writes it.
func TestWrite_MakesTheFilesOfTheReference(t *testing.T) {
	for _, test := range []struct {
		preset string
		dtype  DType
		sha256 string
	}{
		{"small-7b", F32, "2ea831861f2d83f688fcc17a325e6fb6512b07d3f523ea3a9df8aac928aef769"},
		{"small-7b", F16, "f1f6e47de375a26905bdc7503d4dca8ca4b03da0cec96026768b833c78339b6d"},
		{"small-7b", BF16, "16e406bc121cfde07831ccc0551c895e06cf55c20e3af21b425e9a6ed068ac50"},
		{"small-13b", F32, "e2d12e96224038a6d82c8c1f3be291a81441a153cdbaf278e5451e4b65d987d2"},
		{"small-13b", F16, "e45e783cfceb97bcbf5de6ddd1cd5d62e621f49a3e3d444536f18ed111694b22"},
		{"small-13b", BF16, "f3874355b784e8488a110f9ced731e44afead1502e9d86fa9ba9e0ca54138728"},
	} {
		spec, err := Preset(test.preset)
		if err != nil {
			t.Fatal(err)
		}
		spec.Seed, spec.DType = 3, test.dtype
		dir := t.TempDir()
		if err := Write(dir, spec); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != test.sha256 {
			t.Errorf("%s %s: %x, not %s", test.preset, test.dtype, sum, test.sha256)
		}
	}
}

func TestFill_IsTheSameFromEveryPlace(t *testing.T) {
	for _, x := range []tensor{{"lm_head.weight", []int{9, 11}, 4}, {"model.norm.weight", []int{99}, 5}, {"w", []int{11, 9}, 6}} {
		whole := make([]float32, 99)
		x.fill(whole, 7, 0)
		for from := range whole {
			part := make([]float32, len(whole)-from)
			x.fill(part, 7, from)
			for i, v := range part {
				if v != whole[from+i] {
					t.Fatalf("%s: value %d differs when filled from %d", x.name, from+i, from)
				}
			}
		}
	}
}

func TestEncode_RoundsToNearestEven(t *testing.T) {
	for _, test := range []struct {
		x    float32
		f16  uint16
		bf16 uint16
	}{
		{0, 0, 0},
		{1, 0x3C00, 0x3F80},
		{-2, 0xC000, 0xC000},
		{1 + 0x1p-11, 0x3C00, 0x3F80},       // a tie, to even
		{1 + 3*0x1p-11, 0x3C02, 0x3F80},     // a tie, to even
		{1 + 0x1p-8, 0x3C04, 0x3F80},        // a tie for bfloat16
		{1 + 3*0x1p-8, 0x3C0C, 0x3F82},      // a tie for bfloat16
		{0x1p-14, 0x0400, 0x3880},           // the smallest normal number
		{0x1p-24, 0x0001, 0x3380},           // the smallest number
		{0x1p-25, 0x0000, 0x3300},           // a tie, to even
		{3 * 0x1p-25, 0x0002, 0x33C0},       // a tie, to even
		{-1023.5 * 0x1p-24, 0x8400, 0xB880}, // rounds up to a normal number
		{2047 * 0x1p-25, 0x0400, 0x3880},    // likewise
		{65504, 0x7BFF, 0x4780},             // the largest number
		{math.Pi, 0x4248, 0x4049},
	} {
		var raw [2]byte
		if encode(raw[:], []float32{test.x}, F16); uint16(raw[0])|uint16(raw[1])<<8 != test.f16 {
			t.Errorf("F16 of %g is %x, not %04x", test.x, raw, test.f16)
		}
		if encode(raw[:], []float32{test.x}, BF16); uint16(raw[0])|uint16(raw[1])<<8 != test.bf16 {
			t.Errorf("BF16 of %g is %x, not %04x", test.x, raw, test.bf16)
		}
	}
}

func TestWrite_SplitsIntoShardsThatTheIndexNames(t *testing.T) {
	spec, err := Preset("small-13b")
	if err != nil {
		t.Fatal(err)
	}
	spec.Format, spec.Shards, spec.DType = Torch, 3, BF16
	spec.Layers, spec.Vocab = 2, 300
	dir := t.TempDir()
	if err := Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pytorch_model.bin.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.WeightMap) != 3+7*2 {
		t.Errorf("%d tensors", len(index.WeightMap))
	}
	for name, file := range index.WeightMap {
		z, err := zip.OpenReader(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		pickle, err := z.Open("archive/data.pkl")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(pickle)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte(name)) {
			t.Errorf("%s is not in %s", name, file)
		}
		z.Close()
	}
}

func TestSplit_LeavesNoShardEmpty(t *testing.T) {
	for name, spec := range presets {
		all := spec.tensors()
		for n := 1; n <= len(all); n++ {
			shards := split(all, n)
			count := 0
			for _, s := range shards {
				count += len(s)
				if len(s) == 0 {
					t.Fatalf("%s in %d: an empty shard", name, n)
				}
			}
			if len(shards) != n || count != len(all) {
				t.Fatalf("%s in %d: %d shards of %d tensors", name, n, len(shards), count)
			}
		}
	}
}

func TestPreset_HasThePublishedParameterCounts(t *testing.T) {
	for name, want := range map[string]int{
		"baichuan-7b": 7_000_559_616, "baichuan-13b": 13_264_901_120, "baichuan2-7b": 7_505_973_248, "baichuan2-13b": 13_896_668_160,
	} {
		spec, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, x := range spec.tensors() {
			n += x.elements()
		}
		if n != want {
			t.Errorf("%s has %d parameters, not %d", name, n, want)
		}
	}
}

func TestWrite_RefusesWhatCannotBe(t *testing.T) {
	good, err := Preset("small-7b")
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Spec){
		"not positive":           func(s *Spec) { s.Layers = 0 },
		"neither rope nor alibi": func(s *Spec) { s.Position = "" },
		"none of F32":            func(s *Spec) { s.DType = "F64" },
		"neither safetensors":    func(s *Spec) { s.Format = "gguf" },
		"99 shards":              func(s *Spec) { s.Shards = 99 },
		"have a NormHead":        func(s *Spec) { s.Published = true },
	} {
		spec := good
		spoil(&spec)
		dir := filepath.Join(t.TempDir(), "out")
		if err := Write(dir, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was written", want)
		}
	}
	if _, err := Preset("baichuan3"); err == nil {
		t.Error("there is a Baichuan 3")
	}
}
