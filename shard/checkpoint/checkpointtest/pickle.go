package checkpointtest

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Pieces of pickles, as opcodes.
const (
	proto     = "\x80\x02"
	emptyDict = "ccollections\nOrderedDict\n)R"
	rebuild   = "ctorch._utils\n_rebuild_tensor_v2\n"
)

// text is BINUNICODE.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// number is LONG1 with 8 bytes.
func number(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// numbers is a tuple of numbers.
func numbers(list ...int64) string {
	s := "("
	for _, n := range list {
		s += number(n)
	}
	return s + "t"
}

// storage is the persistent id of a BF16 storage.
func storage(key string, numel int64) string {
	return "(" + text("storage") + "ctorch\nBFloat16Storage\n" + text(key) + text("cpu") + number(numel) + "tQ"
}

// tensor calls _rebuild_tensor_v2 with the given storage, size and stride.
func tensor(storage string, offset int64, size, stride string) string {
	return rebuild + "(" + storage + number(offset) + size + stride + "\x89" + emptyDict + "tR"
}

// state is the pickle of a dictionary with one entry.
func state(name, value string) string {
	return proto + "}" + text(name) + value + "s."
}

// pickled puts a pickle into pytorch_model.bin. The storages stay: data/0 holds vocabulary x 64 elements of BF16, and
// data/6 the 64 of a norm.
func pickled(p string) func(string) error {
	return touch("archive/data.pkl", func(m *member) { *m = stored(m.name, []byte(p)) })
}

// repickled changes the sound pickle.
func repickled(f func(string) string) func(string) error {
	return touch("archive/data.pkl", func(m *member) { *m = stored(m.name, []byte(f(string(m.data)))) })
}

func pickleFaults() []fault {
	faults := slices.Concat(programFaults(), opcodeFaults(), globalFaults(), tensorFaults())
	for i := range faults {
		faults[i].name = "pickle/" + faults[i].name
		faults[i].base, faults[i].file = torchOne, torchFile
	}
	return faults
}

// programFaults are programs that end badly, or not at all, or in something else than a dictionary of tensors.
func programFaults() []fault {
	doubling := ")q\x00"
	for range 60 {
		doubling += "h\x00\x86q\x00"
	}
	return []fault{
		{name: "empty", make: pickled("")},
		{name: "no-protocol", make: pickled("}.")},
		{name: "protocol-4", make: pickled("\x80\x04}.")},
		{name: "no-stop", make: pickled(proto + "}")},
		{name: "cut-off", make: repickled(func(p string) string { return p[:len(p)/2] })},
		{name: "after-stop", make: repickled(func(p string) string { return p + "cos\nsystem\n" })},
		{name: "nothing", make: pickled(proto + ".")},
		{name: "no-tensors", make: pickled(proto + "}.")},
		{name: "two-values", make: pickled(proto + "}}.")},
		{name: "mark-left", make: pickled(proto + "}(.")},
		{name: "none", make: pickled(proto + "N.")},
		{name: "number", make: pickled(proto + "K\x05.")},
		{name: "text", make: pickled(proto + text("model") + ".")},
		{name: "list", make: pickled(proto + "].")},
		{name: "bare-tensor", make: pickled(proto + tensor(storage("6", 64), 0, numbers(64), numbers(1)) + ".")},
		{name: "cycle-list", make: pickled(proto + "]q\x00h\x00a.")},
		{name: "cycle-dict", make: pickled(proto + "}q\x00" + text("self") + "h\x00s.")},
		{name: "doubling-tuples", make: pickled(proto + doubling + ".")},
		{name: "nested-state", make: pickled(state("state_dict", emptyDict))},
		{name: "entry-text", make: pickled(state("lm_head.weight", text("x")))},
		{name: "entry-list", make: pickled(state("lm_head.weight", "]"))},
		{name: "entry-storage", make: pickled(state("lm_head.weight", storage("6", 64)))},
		{name: "entry-name-empty", make: pickled(state("", tensor(storage("6", 64), 0, numbers(64), numbers(1))))},
		{name: "entry-name-newline", make: pickled(state("a\nb", tensor(storage("6", 64), 0, numbers(64), numbers(1))))},
		{name: "entry-twice", make: repickled(func(p string) string {
			return strings.Replace(p, "post_attention_layernorm.weight", "post_attention_layernorm.weight"+
				tensor(storage("6", 64), 0, numbers(64), numbers(1))+"s"+text("model.layers.0.post_attention_layernorm.weight"), 1)
		})},
		{name: "four-bit", make: pickled(state("model.layers.0.self_attn.W_pack.weight.quant_state", "]"))},
		{name: "eight-bit", make: pickled(state("model.layers.0.self_attn.W_pack.weight_format", text("row")))},
	}
}

// opcodeFaults are single steps that no state dictionary takes, and floods of steps that it could.
func opcodeFaults() []fault {
	flood := func(s string, n int) string { return strings.Repeat(s, n) }
	faults := []fault{
		{name: "stack-empty", make: pickled(proto + "a.")},
		{name: "no-mark", make: pickled(proto + "t.")},
		{name: "append-to-dict", make: pickled(proto + "}Na.")},
		{name: "item-into-list", make: pickled(proto + "]" + text("k") + "Ns.")},
		{name: "items-odd", make: pickled(proto + "}(" + text("k") + "u.")},
		{name: "items-below-mark", make: pickled(proto + "}(Ns.")},
		{name: "key-number", make: pickled(proto + "}K\x01Ns.")},
		{name: "memo-unset", make: pickled(proto + "h\x07.")},
		{name: "memo-unset-long", make: pickled(proto + "j\xff\xff\xff\xff.")},
		{name: "memo-of-nothing", make: pickled(proto + "q\x00.")},
		{name: "text-cut-off", make: pickled(proto + "X\xff\xff\xff\xffabc")},
		{name: "text-not-utf8", make: pickled(proto + text("\xc3\x28") + ".")},
		{name: "number-255-bytes", make: pickled(proto + "\x8a\xff" + flood("\x7f", 255) + ".")},
		{name: "float-cut-off", make: pickled(proto + "G\x00\x00")},
		{name: "flood-marks", make: pickled(proto + flood("(", 1_000_000))},
		{name: "flood-lists", make: pickled(proto + flood("]", 1_000_000))},
		{name: "flood-memo", make: pickled(proto + "]" + flood("r\xff\xff\xff\xff", 700_000) + ".")},
		{name: "flood-appends", make: pickled(proto + "]" + flood("Na", 1_000_000) + ".")},
		{name: "flood-bytes", make: pickled(proto + text(flood("x", 5<<20)) + ".")},
		{name: "persistent-text", make: pickled(proto + text("0") + "Q.")},
		{name: "build-on-tensor", make: pickled(state("w", tensor(storage("6", 64), 0, numbers(64), numbers(1))+"}b"))},
		{name: "build-on-dict", make: pickled(proto + "}}b.")},
	}
	for name, op := range map[string]string{
		"pop": "N0", "pop-mark": "(1", "dup": "N2", "persid": "P0\n", "int": "I5\n", "long": "L5L\n", "string": "S'x'\n",
		"unicode": "Vx\n", "inst": "(ios\nsystem\n", "obj": "(o", "newobj": ")\x81", "ext1": "\x82\x01", "long4": "\x8b\x01\x00\x00\x00\x01",
		"binstring": "T\x01\x00\x00\x00x", "binbytes": "B\x01\x00\x00\x00x", "frame": "\x95\x01\x00\x00\x00\x00\x00\x00\x00N",
		"stack-global": text("os") + text("system") + "\x93", "memoize": "N\x94", "empty-set": "\x8f", "put": "Np0\n", "dict": "(d",
		"invalid": "\xff", "zero": "\x00",
	} {
		faults = append(faults, fault{name: "opcode-" + name, make: pickled(proto + op + ".")})
	}
	slices.SortFunc(faults, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return faults
}

// globalFaults name and call what must not be named and called.
func globalFaults() []fault {
	named := func(module, name string) func(string) error {
		return pickled(proto + "c" + module + "\n" + name + "\n(" + text("touch /tmp/owned") + "tR.")
	}
	return []fault{
		{name: "global-os-system", make: named("os", "system")},
		{name: "global-posix-system", make: named("posix", "system")},
		{name: "global-eval", make: named("builtins", "eval")},
		{name: "global-python2-eval", make: named("__builtin__", "eval")},
		{name: "global-getattr", make: named("builtins", "getattr")},
		{name: "global-torch-load", make: named("torch", "load")},
		{name: "global-tensor-v3", make: named("torch._utils", "_rebuild_tensor_v3")},
		{name: "global-subclass", make: named("collections", "OrderedDict.__class__")},
		{name: "global-dotted-module", make: named("torch._utils._rebuild_tensor_v2", "__globals__")},
		{name: "global-dot-shifted", make: named("collections.", "OrderedDict")},
		{name: "global-escape", make: named("\x1b[2J", "x\r")},
		{name: "global-empty", make: named("", "")},
		{name: "global-no-newline", make: pickled(proto + "c" + strings.Repeat("a", 100_000))},
		{name: "global-in-sound-pickle", make: repickled(func(p string) string {
			return strings.Replace(p, "ctorch._utils\n_rebuild_tensor_v2\n", "cnt\nsystem\n", 1)
		})},
		{name: "call-text", make: pickled(proto + text("f") + ")R.")},
		{name: "call-without-tuple", make: pickled(proto + "ccollections\nOrderedDict\nNR.")},
		{name: "call-dtype", make: pickled(proto + "ctorch\nfloat16\n)R.")},
		{name: "call-storage-class", make: pickled(proto + "ctorch\nHalfStorage\n)R.")},
		{name: "call-dict-with-items", make: pickled(proto + "ccollections\nOrderedDict\n(]tR.")},
		{name: "call-size-of-number", make: pickled(proto + "ctorch\nSize\n(K\x05tR.")},
		{name: "call-parameter-of-none", make: pickled(proto + "ctorch._utils\n_rebuild_parameter\n(N\x88" + emptyDict + "tR.")},
		{name: "call-tensor-of-none", make: pickled(proto + rebuild + "(NNNNNNtR.")},
		{name: "call-tensor-short", make: pickled(proto + rebuild + "(" + storage("6", 64) + "K\x00tR.")},
	}
}

// tensorFaults are storages and windows on them that do not exist.
func tensorFaults() []fault {
	good := storage("6", 64)
	made := func(value string) func(string) error { return pickled(state("model.norm.weight", value)) }
	window := func(offset int64, size, stride string) func(string) error {
		return made(tensor(good, offset, size, stride))
	}
	return []fault{
		{name: "storage-unknown-key", make: made(tensor(storage("777", 64), 0, numbers(64), numbers(1)))},
		{name: "storage-path-key", make: made(tensor(storage("../data.pkl", 64), 0, numbers(64), numbers(1)))},
		{name: "storage-empty-key", make: made(tensor(storage("", 64), 0, numbers(64), numbers(1)))},
		{name: "storage-elements-wrong", make: made(tensor(storage("6", 65), 0, numbers(64), numbers(1)))},
		{name: "storage-elements-huge", make: made(tensor(storage("6", 1<<62), 0, numbers(64), numbers(1)))},
		{name: "storage-elements-overflow", make: made(tensor(storage("6", 1<<63-1), 0, numbers(64), numbers(1)))},
		{name: "storage-elements-negative", make: made(tensor(storage("6", -64), 0, numbers(64), numbers(1)))},
		{name: "storage-not-storage", make: made(tensor(strings.Replace(good, "storage", "modules", 1), 0, numbers(64), numbers(1)))},
		{name: "storage-class-text", make: made(tensor(strings.Replace(good, "ctorch\nBFloat16Storage\n", text("x"), 1), 0, numbers(64), numbers(1)))},
		{name: "storage-class-dtype", make: made(tensor(strings.Replace(good, "BFloat16Storage", "bfloat16", 1), 0, numbers(64), numbers(1)))},
		{name: "storage-class-size", make: made(tensor(strings.Replace(good, "BFloat16", "Float", 1), 0, numbers(64), numbers(1)))},
		{name: "storage-two-types", make: pickled(proto + "}(" + text("a") + tensor(good, 0, numbers(64), numbers(1)) +
			text("b") + tensor(strings.Replace(good, "BFloat16", "Half", 1), 0, numbers(64), numbers(1)) + "u.")},
		{name: "tensor-beyond", make: window(0, numbers(65), numbers(1))},
		{name: "tensor-offset-beyond", make: window(1, numbers(64), numbers(1))},
		{name: "tensor-offset-negative", make: window(-1, numbers(64), numbers(1))},
		{name: "tensor-offset-huge", make: window(1<<63-1, numbers(64), numbers(1))},
		{name: "tensor-stride-beyond", make: window(0, numbers(8, 8), numbers(9, 1))},
		{name: "tensor-stride-huge", make: window(0, numbers(3, 64), numbers(1<<63-1, 1))},
		{name: "tensor-stride-overflow", make: window(0, numbers(1<<25, 2), numbers(1<<39, 1))},
		{name: "tensor-stride-negative", make: window(63, numbers(64), numbers(-1))},
		{name: "tensor-stride-missing", make: window(0, numbers(8, 8), numbers(1))},
		{name: "tensor-size-overflow", make: window(0, numbers(1<<40, 1<<40), numbers(0, 0))},
		{name: "tensor-size-negative", make: window(0, numbers(-64), numbers(1))},
		{name: "tensor-size-float", make: window(0, "G\x40\x50\x00\x00\x00\x00\x00\x00\x85", numbers(1))},
		{name: "tensor-size-list", make: window(0, "]", numbers(1))},
		{name: "tensor-dimensions-many", make: window(0, numbers(make([]int64, 5000)...), numbers(make([]int64, 5000)...))},
		{name: "tensor-hooks", make: made(rebuild + "(" + good + "K\x00" + numbers(64) + numbers(1) + "\x89}" + text("h") + "NstR")},
		{name: "tensor-strided", at: AtRead, make: repickled(func(p string) string {
			// model.norm.weight becomes 4 x 4 of every second element of every second row.
			i := strings.Index(p, "model.norm.weight") + len("model.norm.weight")
			j := i + strings.Index(p[i:], "Rs")
			return p[:i] + strings.TrimSuffix(tensor(storage("8", 64), 0, numbers(4, 4), numbers(16, 2)), "R") + p[j:]
		})},
	}
}

// weightFaults are sound files with weights that make no model.
func weightFaults() []fault {
	const norm = "model.norm.weight"
	value := func(name string, bits uint16) func(string) error {
		return touch(name, func(m *member) {
			binary.LittleEndian.PutUint16(m.data[len(m.data)/2:], bits)
			*m = stored(m.name, m.data)
		})
	}
	return []fault{
		{"model/nan-in-embedding", torchOne, torchFile, AtImport, value("archive/data/0", 0x7FC0)},
		{"model/infinity-in-matrix", torchOne, torchFile, AtImport, value("archive/data/1", 0x7F80)},
		{"model/minus-infinity-in-norm", torchOne, torchFile, AtImport, value("archive/data/6", 0xFF80)},
		{"model/nan-in-head", torchOne, torchFile, AtImport, value("archive/data/9", 0xFFFF)},
		{"model/nan-in-safetensors", safetensorsOne, safetensorsFile, AtImport, change(safetensorsFile, func(d []byte) []byte {
			binary.LittleEndian.PutUint16(d[len(d)-2:], 0x7FC1)
			return d
		})},
		{"model/tensor-missing", safetensorsOne, safetensorsFile, AtImport, header(in(norm, "model.other.weight"))},
		{"model/layer-missing", safetensorsOne, safetensorsFile, AtImport, replace(configFile, `"num_hidden_layers": 1`, `"num_hidden_layers": 2`)},
		{"model/more-layers-than-config", safetensorsOne, safetensorsFile, AtImport, header(in(`"lm_head.weight"`, `"model.layers.1.self_attn.W_pack.weight"`))},
		{"model/shape-transposed", safetensorsOne, safetensorsFile, AtImport, header(in("[192, 64]", "[64, 192]"))},
		{"model/shape-of-other-config", safetensorsOne, safetensorsFile, AtImport, replace(configFile, `"intermediate_size": 64`, `"intermediate_size": 128`)},
		{"model/norm-as-matrix", safetensorsOne, safetensorsFile, AtImport, header(in(`"`+norm+`": {"dtype": "BF16", "shape": [64]`, `"`+norm+`": {"dtype": "BF16", "shape": [1, 64]`))},
		{"model/type-of-bytes", safetensorsOne, safetensorsFile, AtRead, header(in(`"`+norm+`": {"dtype": "BF16"`, `"`+norm+`": {"dtype": "I16"`))},
	}
}
