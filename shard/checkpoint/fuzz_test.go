package checkpoint

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixtures are files that torch wrote.
func fixtures(f *testing.F) [][]byte {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*.bin"))
	if err != nil || len(paths) == 0 {
		f.Fatal("no fixtures: ", err)
	}
	var all [][]byte
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// checkTensors reads all that a file of any content gave out: whatever was accepted must lie within the file.
func checkTensors(t *testing.T, tensors []*tensor) {
	raw := make([]byte, chunkBytes)
	for _, x := range tensors {
		rows, cols, _, _, err := x.matrix()
		if err != nil || cols == 0 || cols > 1<<16 {
			continue
		}
		for _, row := range []int{0, rows / 2, rows - 1} {
			err := x.read(row, make([]float32, cols), raw)
			if err != nil && strings.Contains(err.Error(), "cut off") {
				t.Errorf("%s: row %d lies outside the file: %v", x.Name, row, err)
			}
		}
	}
}

func FuzzOpenTorch(f *testing.F) {
	for _, data := range fixtures(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := openTorch(bytes.NewReader(data), "x.bin", int64(len(data)))
		checkMessage(t, err)
		checkTensors(t, tensors)
	})
}

// FuzzUnpickle runs pickles whose storages are all there.
func FuzzUnpickle(f *testing.F) {
	for _, data := range fixtures(f) {
		members, err := readZip(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			continue
		}
		for _, m := range members {
			if strings.HasSuffix(m.name, "/data.pkl") {
				f.Add(string(data[m.off : m.off+m.size]))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		value, err := unpickle(in, func(id any) (any, error) {
			dtype, _, numel, err := parseStorageID(id)
			return &storage{dtype: dtype, numel: numel}, err
		})
		checkMessage(t, err)
		state, ok := value.(*dict)
		if !ok {
			return
		}
		for _, key := range state.keys {
			v, ok := state.values[key].(*view)
			if !ok {
				continue
			}
			last := v.offset
			for i, d := range v.shape {
				if d == 0 {
					last = -1
					break
				}
				last += (d - 1) * v.stride[i]
			}
			if last >= v.storage.numel {
				t.Errorf("%+v reaches beyond %d elements", v, v.storage.numel)
			}
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	for _, header := range []string{
		`{}`,
		`{"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [8, 16]}}`,
		`{"__metadata__": {"format": "pt"}, "a": {"data_offsets": [0, 16], "shape": [2, 2, 2], "dtype": "F16"}}   `,
		`{"a": {"dtype": "I64", "shape": [0, 99999], "data_offsets": [0, 0]}, "b": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}`,
	} {
		data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
		f.Add(append(append(data, header...), make([]byte, 16)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := openSafetensors(bytes.NewReader(data), "x.safetensors", int64(len(data)))
		checkMessage(t, err)
		checkTensors(t, tensors)
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(published7B2))
	f.Add([]byte(`{"architectures": ["BaiChuanForCausalLM"], "rope_scaling": null, "hidden_size": 1e2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		checkMessage(t, err)
		if err == nil && (c.Hidden%hiddenMultiple != 0 || c.Hidden/c.Heads%headMultiple != 0 || c.Context < 1 || c.EOS >= c.Vocab) {
			t.Errorf("accepted %+v", c)
		}
		_, err = parseGeneration(data, 200)
		checkMessage(t, err)
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 1}, "weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b": "../x.safetensors"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		index, err := parseIndex(data, ".safetensors")
		checkMessage(t, err)
		for _, file := range index.files {
			if filepath.Base(file) != file || !filepath.IsLocal(file) || strings.ContainsAny(file, `/\:`) {
				t.Errorf("accepted the file %q", file)
			}
		}
	})
}

// checkMessage checks that an error is one line of bounded length, whatever it quotes.
func checkMessage(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if s := err.Error(); len(s) > 900 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		t.Errorf("%d bytes, not one plain line: %q", len(s), s)
	}
}
