package synthetic

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// blockElements is how many weights are made at a time: 64 Ki, so 256 KiB of float32 and at most as many bytes of output.
const blockElements = 1 << 16

// tensor is one weight tensor and the rule that makes its values.
type tensor struct {
	name  string
	shape []int
	index int // its place in the reference's order, which seeds its stream
}

func (t tensor) elements() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// tensors lists all weights in the order of baichuan_reference.py (tensor_shapes).
func (s Spec) tensors() []tensor {
	var all []tensor
	add := func(name string, shape ...int) { all = append(all, tensor{name, shape, len(all)}) }
	add("model.embed_tokens.weight", s.Vocab, s.Hidden)
	for i := range s.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"self_attn.W_pack.weight", 3*s.Hidden, s.Hidden)
		add(p+"self_attn.o_proj.weight", s.Hidden, s.Hidden)
		add(p+"mlp.gate_proj.weight", s.Intermediate, s.Hidden)
		add(p+"mlp.down_proj.weight", s.Hidden, s.Intermediate)
		add(p+"mlp.up_proj.weight", s.Intermediate, s.Hidden)
		add(p+"input_layernorm.weight", s.Hidden)
		add(p+"post_attention_layernorm.weight", s.Hidden)
	}
	add("model.norm.weight", s.Hidden)
	add("lm_head.weight", s.Vocab, s.Hidden)
	return all
}

// fill writes the tensor's values from..from+len(dst)-1 (row-major) to dst. Its stream is splitmix64 seeded with
// seed*1000003 + index; the top 24 bits of number i, as a fraction in [-1, 1), are value i. Norm gains are 1 + u/10;
// matrices are scaled by sqrt(3/columns), so that outputs have unit variance; lm_head's rows get very different
// lengths, so that a forgotten NormHead shows. Every operation rounds to float32 once, as numpy does in the reference.
func (t tensor) fill(dst []float32, seed uint64, from int) {
	state := seed*1000003 + uint64(t.index) + uint64(from)*golden
	for i := range dst {
		state += golden
		dst[i] = unit(mix(state))
	}
	switch {
	case len(t.shape) == 1:
		for i, u := range dst {
			dst[i] = 1 + float32(0.1*u)
		}
	case t.name == "model.embed_tokens.weight":
	case t.name == "lm_head.weight":
		for i, u := range dst {
			dst[i] = u * (0.5 + float32((from+i)/t.shape[1]%7))
		}
	default:
		scale := float32(math.Sqrt(3 / float64(t.shape[1])))
		for i, u := range dst {
			dst[i] = u * scale
		}
	}
}

// golden is splitmix64's increment.
const golden = 0x9E3779B97F4A7C15

// mix is splitmix64's finaliser.
func mix(y uint64) uint64 {
	y = (y ^ (y >> 30)) * 0xBF58476D1CE4E5B9
	y = (y ^ (y >> 27)) * 0x94D049BB133111EB
	return y ^ (y >> 31)
}

// unit maps 24 bits to [-1, 1) exactly.
func unit(y uint64) float32 {
	return float32(int32(y>>40)-1<<23) * (1.0 / (1 << 23))
}

// writeTo streams the tensor's values to w in the given type.
func (t tensor) writeTo(w io.Writer, seed uint64, dtype DType) error {
	values := make([]float32, min(blockElements, t.elements()))
	raw := make([]byte, len(values)*dtype.Size())
	for from, n := 0, t.elements(); from < n; from += len(values) {
		block := values[:min(len(values), n-from)]
		t.fill(block, seed, from)
		out := raw[:len(block)*dtype.Size()]
		encode(out, block, dtype)
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// encode writes v little endian, rounded to nearest even. v is finite.
func encode(dst []byte, v []float32, dtype DType) {
	switch dtype {
	case F32:
		for i, x := range v {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
	case BF16:
		for i, x := range v {
			b := math.Float32bits(x)
			binary.LittleEndian.PutUint16(dst[2*i:], uint16((b+0x7FFF+b>>16&1)>>16))
		}
	case F16:
		for i, x := range v {
			binary.LittleEndian.PutUint16(dst[2*i:], float16(x))
		}
	}
}

// float16 rounds a finite |x| < 65520 to nearest even. Below 2^-14, adding 0.5 leaves the value's multiple of 2^-24,
// rounded by the addition itself, in the low bits of the sum.
func float16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7FFFFFFF
	if b < 0x38800000 {
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5))
	}
	return sign | uint16((b-0x38000000+0xFFF+b>>13&1)>>13)
}

// writeWeights writes the weights' file, or the shards and their index.
func writeWeights(dir string, s Spec) error {
	stem, ext := "model", ".safetensors"
	if s.Format == Torch {
		stem, ext = "pytorch_model", ".bin"
	}
	if s.Shards == 1 {
		return writeFile(filepath.Join(dir, stem+ext), s, s.tensors())
	}
	where := map[string]string{}
	total := 0
	for i, shard := range split(s.tensors(), s.Shards) {
		name := fmt.Sprintf("%s-%05d-of-%05d%s", stem, i+1, s.Shards, ext)
		for _, t := range shard {
			where[t.name] = name
			total += t.elements() * s.DType.Size()
		}
		if err := writeFile(filepath.Join(dir, name), s, shard); err != nil {
			return err
		}
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]int{"total_size": total}, "weight_map": where}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stem+ext+".index.json"), append(index, '\n'), 0o644)
}

// split cuts the tensors into n runs of about equally many elements, none of them empty.
func split(all []tensor, n int) [][]tensor {
	total := 0
	for _, t := range all {
		total += t.elements()
	}
	var shards [][]tensor
	start, sum := 0, 0
	for i, t := range all {
		sum += t.elements()
		left := n - len(shards) - 1
		full := sum >= total/n*(len(shards)+1) && left > 0
		if full || len(all)-i-1 == left && left > 0 {
			shards = append(shards, all[start:i+1])
			start = i + 1
		}
	}
	return append(shards, all[start:])
}

// writeFile writes one file of weights.
func writeFile(path string, s Spec, tensors []tensor) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	write := writeSafetensors
	if s.Format == Torch {
		write = writeTorch
	}
	if err := write(w, s, tensors); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return w.Flush()
}
