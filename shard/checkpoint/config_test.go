package checkpoint

import (
	"strings"
	"testing"
)

// published are the keys of config.json as the four models have them.
const published7B2 = `{"_from_model_config": true, "architectures": ["BaichuanForCausalLM"],
 "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig", "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"},
 "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
 "intermediate_size": 11008, "max_position_embeddings": 4096, "model_max_length": 4096, "model_type": "baichuan",
 "num_attention_heads": 32, "num_hidden_layers": 32, "pad_token_id": 0, "rms_norm_eps": 1e-06, "tie_word_embeddings": false,
 "tokenizer_class": "BaichuanTokenizer", "torch_dtype": "bfloat16", "transformers_version": "4.29.2", "use_cache": true,
 "vocab_size": 125696, "z_loss_weight": 0}`

// without removes a key and its value, which must be followed by a comma.
func without(t *testing.T, config, key string) string {
	t.Helper()
	i := strings.Index(config, `"`+key+`"`)
	j := strings.Index(config[i:], ",")
	if i < 0 || j < 0 {
		t.Fatalf("no %s", key)
	}
	return config[:i] + config[i+j+1:]
}

func TestParseConfig_TellsThePublishedModelsApart(t *testing.T) {
	thirteen := strings.NewReplacer("4096, \"initializer", "5120, \"initializer", "11008", "13696", `_heads": 32`, `_heads": 40`, `_layers": 32`, `_layers": 40`)
	first := strings.NewReplacer("125696", "64000", `, "z_loss_weight": 0`, "")
	b7 := strings.Replace(without(t, first.Replace(published7B2), "model_max_length"), "BaichuanFor", "BaiChuanFor", 1)
	b13 := first.Replace(thirteen.Replace(without(t, published7B2, "max_position_embeddings")))
	for _, test := range []struct {
		name, config string
		want         Config
	}{
		{"Baichuan-7B", b7, Config{64000, 4096, 11008, 32, 32, 4096, Rope, false, "1e-06", "10000", 1, 2, 0}},
		{"Baichuan-13B", b13, Config{64000, 5120, 13696, 40, 40, 4096, Alibi, false, "1e-06", "", 1, 2, 0}},
		{"Baichuan2-7B", published7B2, Config{125696, 4096, 11008, 32, 32, 4096, Rope, true, "1e-06", "10000", 1, 2, 0}},
		{"Baichuan2-13B", thirteen.Replace(without(t, published7B2, "max_position_embeddings")),
			Config{125696, 5120, 13696, 40, 40, 4096, Alibi, true, "1e-06", "", 1, 2, 0}},
	} {
		got, err := parseConfig([]byte(test.config))
		if err != nil || got != test.want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", test.name, err, got, test.want)
		}
	}
}

func TestParseConfig_ExplicitKeysDecide(t *testing.T) {
	const small = `"model_type": "baichuan", "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
 "num_attention_heads": 8, "rms_norm_eps": 0.000001, `
	for _, test := range []struct {
		name, keys string
		position   Position
		normHead   bool
		context    int
		theta      string
	}{
		{"rope by positions", `"vocab_size": 4096, "max_position_embeddings": 512`, Rope, false, 512, "10000"},
		{"alibi by length", `"vocab_size": 4096, "model_max_length": 512`, Alibi, false, 512, ""},
		{"rope by word", `"vocab_size": 4096, "model_max_length": 512, "position_embedding": "rope"`, Rope, false, 512, "10000"},
		{"alibi by word", `"vocab_size": 4096, "model_max_length": 512, "position_embedding": "alibi"`, Alibi, false, 512, ""},
		{"theta", `"vocab_size": 4096, "max_position_embeddings": 512, "rope_theta": 1e6`, Rope, false, 512, "1e6"},
		{"both lengths", `"vocab_size": 4096, "max_position_embeddings": 512, "model_max_length": 512`, Rope, false, 512, "10000"},
		{"null keys", `"vocab_size": 4096, "max_position_embeddings": 512, "rope_scaling": null, "quantization_config": null`, Rope, false, 512, "10000"},
		{"head by vocabulary", `"vocab_size": 125696, "model_max_length": 512`, Alibi, true, 512, ""},
		{"head by loss", `"vocab_size": 4096, "model_max_length": 512, "z_loss_weight": 0`, Alibi, true, 512, ""},
		{"head by word", `"vocab_size": 4096, "model_max_length": 512, "norm_head": true`, Alibi, true, 512, ""},
		{"migrated head", `"vocab_size": 125696, "model_max_length": 512, "z_loss_weight": 0, "norm_head": false`, Alibi, false, 512, ""},
		{"same heads", `"vocab_size": 4096, "model_max_length": 512, "num_key_value_heads": 8, "head_dim": 32`, Alibi, false, 512, ""},
	} {
		c, err := parseConfig([]byte("{" + small + test.keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.Position != test.position || c.NormHead != test.normHead || c.Context != test.context || string(c.Theta) != test.theta || c.Eps != "0.000001" {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}

func TestParseGeneration_ReadsThePublishedForms(t *testing.T) {
	g, err := parseGeneration([]byte(`{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "user_token_id": 195, "assistant_token_id": 196,
 "max_new_tokens": 2048, "temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition_penalty": 1.05, "do_sample": true, "transformers_version": "4.29.2"}`), 125696)
	if err != nil {
		t.Fatal(err)
	}
	if g.User != 195 || g.Assistant != 196 || len(g.EOS) != 1 || g.EOS[0] != 2 || *g.MaxNewTokens != 2048 || *g.Temperature != 0.3 ||
		*g.TopK != 5 || *g.TopP != 0.85 || *g.RepetitionPenalty != 1.05 || !*g.DoSample {
		t.Errorf("%+v", g)
	}
	base, err := parseGeneration([]byte(`{"_from_model_config": true, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": [2, 7]}`), 64000)
	if err != nil || base.User != 195 || base.Temperature != nil || base.DoSample != nil || len(base.EOS) != 2 {
		t.Errorf("%v %+v", err, base)
	}
}
