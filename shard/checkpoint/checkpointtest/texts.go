package checkpointtest

import (
	"fmt"
	"strings"
)

// lfsPointer is what a clone without Git LFS has in the place of large files.
const lfsPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 15012345678\n"

// edit is one replacement in a file of text.
type edit struct{ name, old, new string }

// edits makes a fault of each replacement.
func edits(group, base, file string, list []edit) []fault {
	var faults []fault
	for _, e := range list {
		faults = append(faults, fault{group + "/" + e.name, base, file, AtOpen, replace(file, e.old, e.new)})
	}
	return faults
}

// contents makes a fault of each replacement of a whole file.
func contents(group, base, file string, list []edit) []fault {
	var faults []fault
	for _, e := range list {
		faults = append(faults, fault{group + "/" + e.name, base, file, AtOpen, put(file, []byte(e.new))})
	}
	return faults
}

// notObjects are texts that are no sound JSON object, whatever they should say.
func notObjects() []edit {
	return []edit{
		{"empty", "", ""},
		{"not-json", "", "hidden_size = 64\n"},
		{"array", "", "[]"},
		{"null", "", "null"},
		{"cut-off", "", `{"hidden_size": 64, "vocab_si`},
		{"two-objects", "", `{}{}`},
		{"not-utf8", "", "{\"a\": \"\xff\xfe\"}"},
		{"nested-too-deep", "", `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}"},
		{"many-keys", "", manyKeys(2000)},
		{"newline-in-key", "", "{\"a\nb\": 1}"},
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func configFaults() []fault {
	const first = "{\n"
	faults := append(contents("config", safetensorsOne, configFile, notObjects()), edits("config", safetensorsOne, configFile, []edit{
		{"key-twice", first, "{\"hidden_size\": 64,\n"},
		{"hidden-size-missing", `"hidden_size"`, `"hidden_dimension"`},
		{"hidden-size-null", `"hidden_size": 64`, `"hidden_size": null`},
		{"hidden-size-zero", `"hidden_size": 64`, `"hidden_size": 0`},
		{"hidden-size-negative", `"hidden_size": 64`, `"hidden_size": -64`},
		{"hidden-size-fraction", `"hidden_size": 64`, `"hidden_size": 64.5`},
		{"hidden-size-text", `"hidden_size": 64`, `"hidden_size": "64"`},
		{"hidden-size-exponent", `"hidden_size": 64`, `"hidden_size": 64e0`},
		{"hidden-size-beyond-int64", `"hidden_size": 64`, `"hidden_size": 18446744073709551680`},
		{"hidden-size-huge", `"hidden_size": 64`, `"hidden_size": 4611686018427387904`},
		{"hidden-size-odd", `"hidden_size": 64`, `"hidden_size": 96`},
		{"intermediate-size-odd", `"intermediate_size": 64`, `"intermediate_size": 100`},
		{"intermediate-size-huge", `"intermediate_size": 64`, `"intermediate_size": 1099511627776`},
		{"heads-do-not-divide", `"num_attention_heads": 2`, `"num_attention_heads": 3`},
		{"head-size-odd", `"num_attention_heads": 2`, `"num_attention_heads": 4`},
		{"heads-zero", `"num_attention_heads": 2`, `"num_attention_heads": 0`},
		{"layers-zero", `"num_hidden_layers": 1`, `"num_hidden_layers": 0`},
		{"layers-huge", `"num_hidden_layers": 1`, `"num_hidden_layers": 1000000000`},
		{"vocabulary-missing", `"vocab_size"`, `"vocabulary"`},
		{"context-missing", `"max_position_embeddings": 128,
 "model_max_length": 128,`, ``},
		{"context-zero", `"max_position_embeddings": 128`, `"max_position_embeddings": 0`},
		{"context-huge", `"max_position_embeddings": 128`, `"max_position_embeddings": 999999999999`},
		{"contexts-contradict", `"model_max_length": 128`, `"model_max_length": 256`},
		{"position-unknown", `"position_embedding": "rope"`, `"position_embedding": "learned"`},
		{"position-number", `"position_embedding": "rope"`, `"position_embedding": 1`},
		{"alibi-with-positions", `"position_embedding": "rope"`, `"position_embedding": "alibi"`},
		{"rope-scaling", first, "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0},\n"},
		{"norm-head-text", `"norm_head": true`, `"norm_head": "true"`},
		{"tied-embeddings", `"tie_word_embeddings": false`, `"tie_word_embeddings": true`},
		{"activation", `"hidden_act": "silu"`, `"hidden_act": "gelu"`},
		{"grouped-heads", first, "{\"num_key_value_heads\": 1,\n"},
		{"head-size-contradicts", first, "{\"head_dim\": 64,\n"},
		{"architecture-llama", "BaichuanForCausalLM", "LlamaForCausalLM"},
		{"architecture-other", "BaichuanForCausalLM", "Evil\\u001b[31mForCausalLM"},
		{"architecture-not-list", `["BaichuanForCausalLM"]`, `"BaichuanForCausalLM"`},
		{"model-type-other", `"model_type": "baichuan"`, `"model_type": "qwen2"`},
		{"eps-missing", `"rms_norm_eps"`, `"layer_norm_eps"`},
		{"eps-zero", `"rms_norm_eps": 1e-06`, `"rms_norm_eps": 0`},
		{"eps-negative", `"rms_norm_eps": 1e-06`, `"rms_norm_eps": -1e-06`},
		{"eps-text", `"rms_norm_eps": 1e-06`, `"rms_norm_eps": "1e-06"`},
		{"eps-huge", `"rms_norm_eps": 1e-06`, `"rms_norm_eps": 1e400`},
		{"eps-long", `"rms_norm_eps": 1e-06`, `"rms_norm_eps": 0.0000010000000000000000000000000`},
		{"theta-zero", first, "{\"rope_theta\": 0,\n"},
		{"eos-outside", `"eos_token_id": 2`, `"eos_token_id": 99999999`},
		{"bos-negative", `"bos_token_id": 1`, `"bos_token_id": -1`},
		{"four-bit", first, "{\"quantization_config\": {\"load_in_4bit\": true, \"load_in_8bit\": false},\n"},
		{"quantised-otherwise", first, "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 3},\n"},
		{"eight-bit", first, "{\"quantization_config\": {\"load_in_4bit\": false, \"load_in_8bit\": true},\n"},
	})...)
	return append(faults,
		fault{"config/missing", safetensorsOne, configFile, AtOpen, drop(configFile)},
		fault{"config/directory", safetensorsOne, configFile, AtOpen, directory(configFile)},
		fault{"config/too-large", safetensorsOne, configFile, AtOpen, enlarge(configFile, 1<<26)},
		fault{"config/alibi-with-theta", safetensorsOne, configFile, AtOpen, all(
			replace(configFile, ` "max_position_embeddings": 128,`, ` "rope_theta": 10000.0,`),
			replace(configFile, `"rope"`, `"alibi"`))},
		fault{"config/no-class", safetensorsOne, configFile, AtOpen, all(
			replace(configFile, `"architectures"`, `"classes"`), replace(configFile, `"model_type"`, `"kind"`))},
		fault{"adapter/alone", safetensorsOne, "adapter_config.json", AtOpen, all(
			drop(configFile), put("adapter_config.json", []byte(`{"peft_type": "LORA"}`)))},
	)
}

func generationFaults() []fault {
	return append(contents("generation", torchOne, generationFile, notObjects()), edits("generation", torchOne, generationFile, []edit{
		{"user-outside", `"user_token_id": 195`, `"user_token_id": 500000`},
		{"assistant-negative", `"assistant_token_id": 196`, `"assistant_token_id": -5`},
		{"roles-equal", `"assistant_token_id": 196`, `"assistant_token_id": 195`},
		{"eos-outside", `"eos_token_id": 2`, `"eos_token_id": [2, 500000]`},
		{"eos-text", `"eos_token_id": 2`, `"eos_token_id": "</s>"`},
		{"eos-many", `"eos_token_id": 2`, `"eos_token_id": [` + strings.Repeat("2,", 1000) + `2]`},
		{"temperature-negative", `"temperature": 0.3`, `"temperature": -0.3`},
		{"temperature-text", `"temperature": 0.3`, `"temperature": "warm"`},
		{"top-p-above-one", `"top_p": 0.85`, `"top_p": 1.5`},
		{"top-k-fraction", `"top_k": 5`, `"top_k": 5.5`},
		{"penalty-zero", `"repetition_penalty": 1.05`, `"repetition_penalty": 0`},
		{"max-tokens-zero", `"max_new_tokens": 2048`, `"max_new_tokens": 0`},
		{"sample-number", `"do_sample": true`, `"do_sample": 1`},
	})...)
}

// fileFaults are about files as such.
func fileFaults() []fault {
	return []fault{
		{"tokenizer/missing", torchOne, tokenizerFile, AtOpen, drop(tokenizerFile)},
		{"tokenizer/empty", torchOne, tokenizerFile, AtOpen, put(tokenizerFile, nil)},
		{"tokenizer/pointer", torchOne, tokenizerFile, AtOpen, put(tokenizerFile, []byte(lfsPointer))},
		{"tokenizer/directory", torchOne, tokenizerFile, AtOpen, directory(tokenizerFile)},
		{"tokenizer/too-large", torchOne, tokenizerFile, AtOpen, enlarge(tokenizerFile, 1<<26)},
		{"tokenizer/config-not-json", torchOne, "tokenizer_config.json", AtOpen, put("tokenizer_config.json", []byte("{"))},
		{"tokenizer/config-add-bos-text", torchOne, "tokenizer_config.json", AtOpen, put("tokenizer_config.json", []byte(`{"add_bos_token": "no"}`))},
		{"tokenizer/garbage", torchOne, tokenizerFile, AtImport, put(tokenizerFile, []byte("\xff\xff\xff\xff garbage"))},
		{"weights/missing", torchOne, "pytorch_model.bin", AtOpen, drop(torchFile)},
		{"weights/empty-bin", torchOne, torchFile, AtOpen, put(torchFile, nil)},
		{"weights/pointer-bin", torchOne, torchFile, AtOpen, put(torchFile, []byte(lfsPointer))},
		{"weights/directory-bin", torchOne, torchFile, AtOpen, directory(torchFile)},
		{"weights/text-bin", torchOne, torchFile, AtOpen, put(torchFile, []byte("<html>404 Not Found: this is no model, it is a page</html>\n"))},
		{"weights/empty-safetensors", safetensorsOne, safetensorsFile, AtOpen, put(safetensorsFile, nil)},
		{"weights/pointer-safetensors", safetensorsOne, safetensorsFile, AtOpen, put(safetensorsFile, []byte(lfsPointer))},
		{"weights/directory-safetensors", safetensorsOne, safetensorsFile, AtOpen, directory(safetensorsFile)},
		{"weights/text-safetensors", safetensorsOne, safetensorsFile, AtOpen, put(safetensorsFile, []byte("<html>404 Not Found</html>\n"))},
	}
}
