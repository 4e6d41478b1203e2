package synthetic

import (
	"fmt"
	"strings"
)

// normHeadVocab is the vocabulary of Baichuan 2, by which readers know a NormHead where no key tells it.
const normHeadVocab = 125696

// chatGeneration is what Baichuan2-7B-Chat and -13B-Chat publish.
const chatGeneration = `{
  "pad_token_id": 0,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "user_token_id": 195,
  "assistant_token_id": 196,
  "max_new_tokens": 2048,
  "temperature": 0.3,
  "top_k": 5,
  "top_p": 0.85,
  "repetition_penalty": 1.05,
  "do_sample": true,
  "transformers_version": "4.29.2"
}
`

// torchNames spells the types as config.json's torch_dtype does.
var torchNames = map[DType]string{F32: "float32", F16: "float16", BF16: "bfloat16"}

// config makes config.json with the keys, in the order, that the published models have.
func (s Spec) config() []byte {
	class := "BaichuanForCausalLM"
	if s.Published && s.Position == "rope" && !s.NormHead {
		class = "BaiChuanForCausalLM" // Baichuan-7B alone spells it so
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	line("{\n \"architectures\": [%q],\n \"bos_token_id\": 1,\n \"eos_token_id\": 2,\n \"hidden_act\": \"silu\",\n", class)
	line(" \"hidden_size\": %d,\n \"initializer_range\": 0.02,\n \"intermediate_size\": %d,\n", s.Hidden, s.Intermediate)
	if s.Position == "rope" {
		line(" \"max_position_embeddings\": %d,\n", s.Context)
	}
	if class == "BaichuanForCausalLM" {
		line(" \"model_max_length\": %d,\n", s.Context)
	}
	line(" \"model_type\": \"baichuan\",\n")
	if !s.Published {
		line(" \"norm_head\": %t,\n", s.NormHead)
	}
	line(" \"num_attention_heads\": %d,\n \"num_hidden_layers\": %d,\n \"pad_token_id\": 0,\n", s.Heads, s.Layers)
	if !s.Published {
		line(" \"position_embedding\": %q,\n", s.Position)
	}
	line(" \"rms_norm_eps\": 1e-06,\n \"tie_word_embeddings\": false,\n \"torch_dtype\": %q,\n \"vocab_size\": %d", torchNames[s.DType], s.Vocab)
	if s.NormHead && s.Published {
		line(",\n \"z_loss_weight\": 0")
	}
	line("\n}\n")
	return []byte(b.String())
}
