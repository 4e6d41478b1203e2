package checkpointtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// header replaces the header of model.safetensors, and its length, by what f makes of it.
func header(f func(string) string) func(string) error {
	return change(safetensorsFile, func(d []byte) []byte {
		n := 8 + binary.LittleEndian.Uint64(d)
		text := f(string(d[8:n]))
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
		return append(append(out, text...), d[n:]...)
	})
}

// in replaces a text in the header.
func in(old, new string) func(string) string {
	return func(h string) string {
		if !strings.Contains(h, old) {
			panic(fmt.Sprintf("checkpointtest: no %q in the header", old))
		}
		return strings.Replace(h, old, new, 1)
	}
}

// headerLength changes the length that the file states for its header.
func headerLength(n uint64) func(string) error {
	return change(safetensorsFile, func(d []byte) []byte {
		binary.LittleEndian.PutUint64(d, n)
		return d
	})
}

func headerFaults() []fault {
	const (
		gain  = `"model.layers.0.input_layernorm.weight": {"dtype": "BF16", "shape": [64], `
		norm  = `"model.norm.weight": {"dtype": "BF16", "shape": [64], `
		post  = `"model.layers.0.post_attention_layernorm.weight"`
		other = `"model.layers.0.input_layernorm.weight"`
	)
	faults := []fault{
		{name: "length-beyond-file", make: headerLength(1 << 30)},
		{name: "length-beyond-int64", make: headerLength(1<<64 - 1)},
		{name: "length-zero", make: headerLength(0)},
		{name: "length-short", make: headerLength(100)},
		{name: "length-limit", make: all(headerLength(1<<25), enlarge(safetensorsFile, 1<<26))},
		{name: "file-of-7-bytes", make: put(safetensorsFile, make([]byte, 7))},
		{name: "cut-off-in-header", make: change(safetensorsFile, func(d []byte) []byte { return d[:200] })},
		{name: "cut-off-in-data", make: change(safetensorsFile, func(d []byte) []byte { return d[:len(d)-1] })},
		{name: "data-too-long", make: change(safetensorsFile, func(d []byte) []byte { return append(d, 0) })},
		{name: "no-tensors", make: put(safetensorsFile, []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))},
		{name: "shape-of-millions", make: header(in(`"shape": [`, `"shape": [`+strings.Repeat("1,", 3_000_000)))},
		{name: "array", make: header(func(string) string { return "[]" })},
		{name: "leading-space", make: header(func(h string) string { return " " + h })},
		{name: "not-utf8", make: header(in("model.norm", "model.n\xffrm"))},
		{name: "tensor-twice", make: header(in(post, other))},
		{name: "key-twice", make: header(in(gain, gain+`"dtype": "BF16", `))},
		{name: "key-unknown", make: header(in(gain, gain+`"strides": [1], `))},
		{name: "type-unknown", make: header(in(norm, strings.Replace(norm, "BF16", "BF17", 1)))},
		{name: "type-missing", make: header(in(norm, strings.Replace(norm, `"dtype": "BF16", `, "", 1)))},
		{name: "type-wrong", make: header(in(norm, strings.Replace(norm, "BF16", "F32", 1)))},
		{name: "type-escape", make: header(in(norm, strings.Replace(norm, "BF16", `\u001b[2J\n`, 1)))},
		{name: "shape-missing", make: header(in(norm, strings.Replace(norm, `"shape": [64], `, "", 1)))},
		{name: "shape-wrong", make: header(in(norm, strings.Replace(norm, "[64]", "[65]", 1)))},
		{name: "shape-negative", make: header(in(norm, strings.Replace(norm, "[64]", "[-64]", 1)))},
		{name: "shape-fraction", make: header(in(norm, strings.Replace(norm, "[64]", "[64.0]", 1)))},
		{name: "shape-overflow", make: header(in(norm, strings.Replace(norm, "[64]", "[4294967296, 4294967296, 64]", 1)))},
		{name: "shape-overflow-to-fit", make: header(in(norm, strings.Replace(norm, "[64]", "[9223372036854775807, 2, 64]", 1)))},
		{name: "shape-many", make: header(in(norm, strings.Replace(norm, "[64]", "["+strings.Repeat("1,", 5000)+"64]", 1)))},
		{name: "shape-null", make: header(in(norm, strings.Replace(norm, "[64]", "null", 1)))},
		{name: "entry-not-object", make: header(in(gain, `"x": 5, `+gain))},
		{name: "entry-nested", make: header(in(gain, `"x": `+strings.Repeat(`{"a":`, 20000)+"1"+strings.Repeat("}", 20000)+", "+gain))},
		{name: "offsets-three", make: header(in(norm+`"data_offsets": [`, norm+`"data_offsets": [0, `))},
		{name: "offsets-negative", make: header(in(norm+`"data_offsets": [`, norm+`"data_offsets": [-`))},
		{name: "offsets-reversed", make: header(in(norm+`"data_offsets": [`, norm+`"data_offsets": [9`))},
		{name: "offsets-beyond-file", make: header(shifted(1 << 40))},
		{name: "offsets-missing", make: header(in(norm+`"data_offsets"`, norm+`"offsets"`))},
		{name: "offsets-beyond-int64", make: header(in(norm+`"data_offsets": [`, norm+`"data_offsets": [99999999999999999999`))},
		{name: "name-empty", make: header(in(`"model.norm.weight"`, `""`))},
		{name: "name-long", make: header(in(`"model.norm.weight"`, `"`+strings.Repeat("n", 5000)+`"`))},
		{name: "name-newline", make: header(in(`"model.norm.weight"`, `"model\nnorm"`))},
		{name: "overlap", make: header(shifted(-2))},
		{name: "gap", make: header(shifted(2))},
		{name: "llamafied", make: header(in("self_attn.o_proj", "self_attn.q_proj"))},
		{name: "four-bit", make: header(in("o_proj.weight", "o_proj.weight.absmax"))},
		{name: "eight-bit", make: header(in("o_proj.weight", "o_proj.SCB"))},
		{name: "adapter", make: header(in("o_proj.weight", "o_proj.lora_A.weight"))},
		{name: "many-tensors", make: header(manyTensors)},
	}
	for i := range faults {
		faults[i].name = "safetensors/" + faults[i].name
		faults[i].base, faults[i].file = safetensorsOne, safetensorsFile
	}
	return faults
}

// shifted moves the last tensor but one of the data, model.norm.weight, by some bytes.
func shifted(by int) func(string) string {
	return func(h string) string {
		i := strings.Index(h, `"model.norm.weight"`)
		var begin, end int
		offsets := h[i+strings.Index(h[i:], `"data_offsets": [`):]
		if _, err := fmt.Sscanf(offsets, `"data_offsets": [%d, %d]`, &begin, &end); err != nil {
			panic("checkpointtest: " + err.Error())
		}
		return strings.Replace(h, fmt.Sprintf("[%d, %d]", begin, end), fmt.Sprintf("[%d, %d]", begin+by, end+by), 1)
	}
}

// manyTensors adds 40,000 tensors without elements.
func manyTensors(h string) string {
	var b strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&b, `"t%d": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, `, i)
	}
	return "{" + b.String() + h[1:]
}

func indexFaults() []fault {
	const (
		index  = "model.safetensors.index.json"
		first  = "model-00001-of-00002.safetensors"
		second = "model-00002-of-00002.safetensors"
		entry  = `"lm_head.weight": "` + second + `"`
	)
	names := func(file string) string { return `"lm_head.weight": "` + file + `"` }
	faults := append(contents("index", safetensorsTwo, index, notObjects()), edits("index", safetensorsTwo, index, []edit{
		{"no-map", `"weight_map"`, `"map"`},
		{"map-not-object", `"weight_map": {`, `"weight_map": 5, "x": {`},
		{"map-empty", `"weight_map": {`, `"weight_map": {}, "x": {`},
		{"value-number", entry, `"lm_head.weight": 2`},
		{"tensor-twice", entry, entry + ", " + entry},
		{"tensor-name-empty", `"lm_head.weight"`, `""`},
		{"parent", entry, names("../" + second)},
		{"parent-windows", entry, names(`..\\` + second)},
		{"absolute", entry, names("/etc/" + second)},
		{"subdirectory", entry, names("sub/" + second)},
		{"drive", entry, names("C:" + second)},
		{"hidden", entry, names("." + second)},
		{"suffix-alone", entry, names(".safetensors")},
		{"suffix-other", entry, names("pytorch_model.bin")},
		{"name-escape", entry, names(`\u001b[31m` + second)},
		{"name-long", entry, names(strings.Repeat("a", 300) + ".safetensors")},
		{"many-files", entry, entry + manyFiles(200)},
	})...)
	return append(faults,
		fault{"index/file-not-there", safetensorsTwo, "model-00003.safetensors", AtOpen, replace(index, entry, names("model-00003.safetensors"))},
		fault{"index/tensor-elsewhere", safetensorsTwo, second, AtOpen, replace(index, entry, names(first))},
		fault{"index/tensor-not-listed", safetensorsTwo, second, AtOpen, replace(index, ",\n    "+`"model.norm.weight": "`+second+`"`, "")},
		fault{"index/tensor-not-there", safetensorsTwo, second, AtOpen, replace(index, entry, entry+`, "lm_head.bias": "`+second+`"`)},
		fault{"index/shard-missing", safetensorsTwo, second, AtOpen, drop(second)},
		fault{"index/shard-directory", safetensorsTwo, second, AtOpen, directory(second)},
		fault{"index/shard-twice", safetensorsTwo, second, AtOpen, copyFile(first, second)},
		fault{"index/too-large", safetensorsTwo, index, AtOpen, enlarge(index, 1<<26)},
		fault{"index/bin-shard-missing", torchTwo, "pytorch_model-00002-of-00002.bin", AtOpen, drop("pytorch_model-00002-of-00002.bin")},
		fault{"index/bin-names-itself", torchTwo, "pytorch_model.bin.index.json", AtOpen, replace("pytorch_model.bin.index.json",
			`"lm_head.weight": "pytorch_model-00002-of-00002.bin"`, `"lm_head.weight": "pytorch_model.bin.index.json"`)},
		fault{"index/bin-shard-is-safetensors", torchTwo, "pytorch_model-00002-of-00002.bin", AtOpen, func(dir string) error {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), safetensorsOne, safetensorsFile))
			if err != nil {
				return err
			}
			return put("pytorch_model-00002-of-00002.bin", data)(dir)
		}},
	)
}

func manyFiles(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `, "t%d": "model-%d.safetensors"`, i, i)
	}
	return b.String()
}

func copyFile(from, to string) func(string) error {
	return func(dir string) error {
		data, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		return put(to, data)(dir)
	}
}
