package store

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
)

// published gives the name that a tensor of a part has in a checkpoint.
func published(m *Manifest, part int, t Tensor) string {
	switch t.Name {
	case tensorEmbed:
		return "model.embed_tokens.weight"
	case tensorNorm:
		return "model.norm.weight"
	case tensorHead:
		return "lm_head.weight"
	}
	inLayer := map[string]string{
		"norm1": "input_layernorm", "w_pack": "self_attn.W_pack", "o_proj": "self_attn.o_proj",
		"norm2": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
	}
	return fmt.Sprintf("model.layers.%d.%s.weight", part-1, inLayer[t.Name])
}

// layerTensor matches the tensors of a layer, whichever they are.
var layerTensor = regexp.MustCompile(`^model\.layers\.(\d+)\.`)

// checkTensors holds a checkpoint's tensors against those that the manifest needs: each is there, with its shape, and
// nothing is there that would be a part of the function and be left out.
func checkTensors(c *checkpoint.Checkpoint, m *Manifest) error {
	needed := make(map[string]bool)
	for i, part := range m.Parts {
		for _, t := range part.Tensors {
			name := published(m, i, t)
			needed[name] = true
			if err := checkTensor(c, name, t); err != nil {
				return err
			}
		}
	}
	for _, info := range c.Tensors() {
		if needed[info.Name] || isBuffer(info.Name) {
			continue
		}
		if layer := layerTensor.FindStringSubmatch(info.Name); layer != nil {
			if i, err := strconv.Atoi(layer[1]); err != nil || i >= m.Layers {
				return fmt.Errorf("%s: tensor %q is of a layer beyond the %d that config.json names", info.File, info.Name, m.Layers)
			}
		}
		return fmt.Errorf("%s: tensor %q has no place in a Baichuan model", info.File, info.Name)
	}
	return nil
}

func checkTensor(c *checkpoint.Checkpoint, name string, t Tensor) error {
	want := t.shape()
	info, ok := c.Tensor(name)
	if !ok {
		return fmt.Errorf("%s: tensor %q is missing", weightFiles(c), name)
	}
	if info.DType != checkpoint.F32 && info.DType != checkpoint.F16 && info.DType != checkpoint.BF16 {
		return fmt.Errorf("%s: tensor %q is of type %s, want F32, F16 or BF16", info.File, name, info.DType)
	}
	if !slices.Equal(info.Shape, want) {
		return fmt.Errorf("%s: tensor %q has the shape %v, config.json makes it %v", info.File, name, info.Shape, want)
	}
	return nil
}

// weightFiles names the files that a tensor was looked for in: there is at least one.
func weightFiles(c *checkpoint.Checkpoint) string {
	var files []string
	for _, info := range c.Tensors() {
		if !slices.Contains(files, info.File) {
			files = append(files, info.File)
		}
	}
	if len(files) == 1 {
		return files[0]
	}
	return fmt.Sprintf("%s and %d more files", files[0], len(files)-1)
}

// isBuffer tells whether a tensor is one that some files hold beside the weights, and that follows from the
// configuration.
func isBuffer(name string) bool {
	return strings.HasSuffix(name, ".rotary_emb.inv_freq") || strings.HasSuffix(name, "future_mask") || name == "decoder.version"
}
