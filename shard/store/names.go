package store

import "fmt"

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
