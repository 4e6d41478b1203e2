package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Layouts that publish Baichuan weights otherwise than as plain matrices, and are refused by name until they can be
// read: this file is the place to add them.
//
//   - Baichuan2-*-Chat-4bits: pickled lists beside the packed codes, quantization_config in config.json
//   - bitsandbytes as transformers saves it: weight.absmax, weight.quant_state... (4-bit), SCB (8-bit)
//   - PEFT LoRA adapters: adapter_config.json, lora_A and lora_B
//   - llamafied checkpoints: q_proj, k_proj, v_proj in place of W_pack
var (
	errFourBit   = errors.New("a checkpoint quantised to 4 bits is not supported yet: use the unquantised one")
	errEightBit  = errors.New("a checkpoint quantised to 8 bits is not supported yet: use the unquantised one")
	errAdapter   = errors.New("a LoRA adapter is not supported yet: merge it into its base model first")
	errLlamafied = errors.New("the layout of Llama, also of a llamafied Baichuan, is not supported yet: use the original checkpoint")
	errQuantised = errors.New("a quantised checkpoint is not supported: use the unquantised one")
)

// checkUnsupported refuses what config.json announces and this package cannot read.
func checkUnsupported(o object) error {
	if o.has("rope_scaling") {
		return fmt.Errorf("rope_scaling: %s is not supported", quote(string(o.values["rope_scaling"])))
	}
	if !o.has("quantization_config") {
		return nil
	}
	var q struct {
		FourBit  bool `json:"load_in_4bit"`
		EightBit bool `json:"load_in_8bit"`
	}
	reason := errQuantised
	if json.Unmarshal(o.values["quantization_config"], &q) == nil {
		switch {
		case q.FourBit:
			reason = errFourBit
		case q.EightBit:
			reason = errEightBit
		}
	}
	return fmt.Errorf("quantization_config: %w", reason)
}

// checkLayout refuses a tensor's (or another entry's) name that belongs to one of the layouts above.
func checkLayout(name string) error {
	switch {
	case strings.HasSuffix(name, ".weight.data"), strings.Contains(name, ".weight.quant_"),
		strings.HasSuffix(name, ".weight.absmax"), strings.Contains(name, ".weight.nested_"):
		return errFourBit
	case strings.HasSuffix(name, ".SCB"), strings.HasSuffix(name, ".weight_format"):
		return errEightBit
	case strings.Contains(name, ".lora_A."), strings.Contains(name, ".lora_B."):
		return errAdapter
	case strings.HasSuffix(name, ".self_attn.q_proj.weight"):
		return errLlamafied
	}
	return nil
}
