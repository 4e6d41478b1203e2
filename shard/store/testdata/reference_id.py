"""The id of a model, made again from a checkpoint in safetensors (F32) by other code than the importer's.

    python3 reference_id.py DIR WEIGHTS KV

It needs numpy and is written from the format's description, for whoever changes the importer or doubts a recorded id.
Rope, the role ids 195 and 196, eps 1e-06 and theta 10000 are taken for granted.
"""
import hashlib
import json
import struct
import sys

import numpy as np

CHUNK = 4 << 20
# As bits: each is the float32 nearest to the decimal of bitsandbytes. numpy rounds a decimal to float64 first, which
# for four of them lies half way between two float32s and then goes to the wrong one.
BORDERS = np.array([
    0xBF591CD9, 0xBF1C5270, 0xBEEB8480, 0xBEADEA76, 0xBE703CEC, 0xBE0D38BC, 0xBD3A7871, 0x3D22FAFF, 0x3DF64863,
    0x3E5067E0, 0x3E9582D4, 0x3EC753F9, 0x3F006D03, 0x3F248DAF, 0x3F5C89D9], np.uint32).view(np.float32)


def quantise(w, form):
    """w (rows, k) -> codes (rows, k/64, 64), scales (rows, k/64)."""
    rows, k = w.shape
    blocks = w.reshape(rows, k // 64, 64)
    largest = np.abs(blocks).max(-1)
    zero = largest < np.float32(2.0**-60)
    if form == "int8":
        scale = (largest / np.float32(127)).astype(np.float16)
        scale = np.where(scale == 0, np.float16(2.0**-24), scale)
        codes = np.clip(np.rint(blocks / scale.astype(np.float32)[..., None]), -127, 127).astype(np.int8)
        codes[zero] = 0
    else:
        inverse = np.float32(1) / np.where(zero, np.float32(1), largest)
        codes = ((blocks * inverse[..., None])[..., None] > BORDERS).sum(-1).astype(np.uint8)
        codes[zero] = 7
        scale = largest.astype(np.float16)
    return codes, np.where(zero, np.float16(0), scale).astype("<f2")


def matrix(w, form):
    if form == "f32":
        return w.astype("<f4").tobytes()
    if form == "f16":
        return w.astype("<f2").tobytes()
    if form == "bf16":
        bits = w.astype(np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype("<u2").tobytes()
    rows, k = w.shape
    panels, blocks = -(-rows // 16), k // 64
    codes, scales = quantise(np.concatenate([w, np.zeros((panels * 16 - rows, k), np.float32)]), form)
    codes = codes.reshape(panels, 16, blocks, 64).transpose(0, 2, 1, 3)
    if form == "int8":  # 16 lines, byte 4r+j = (row r, k = 4i+j) xor 0x80
        lines = codes.reshape(panels, blocks, 16, 16, 4).transpose(0, 1, 3, 2, 4)
        lines = np.ascontiguousarray(lines).view(np.uint8) ^ 0x80
    else:  # 8 lines, byte 4r+j = (row r, k = 8i+j), in the high nibble k = 8i+4+j
        halves = codes.reshape(panels, blocks, 16, 8, 2, 4)
        lines = (halves[..., 0, :] | halves[..., 1, :] << 4).transpose(0, 1, 3, 2, 4)
    return lines.tobytes() + scales.reshape(panels, 16, blocks).transpose(0, 2, 1).tobytes()


def table(w, form):
    if form != "int8":
        return matrix(w, form)
    codes, scales = quantise(w, form)
    return codes.tobytes() + bytes(-codes.size % 64) + scales.tobytes()


def part(*tensors):
    data, entries = b"", []
    for name, w, form in tensors:
        data += bytes(-len(data) % 64)
        stored = table(w, form) if name == "embed" else matrix(w, form)
        rows, cols = w.shape if w.ndim == 2 else (1, w.shape[0])
        entries.append({"name": name, "format": form, "rows": rows, "cols": cols, "offset": len(data), "size": len(stored)})
        data += stored
    chunks = [hashlib.sha256(data[i:i + CHUNK]).hexdigest() for i in range(0, len(data), CHUNK)]
    return {"tensors": entries, "size": len(data), "chunks": chunks}


def main(where, weights, kv):
    with open(f"{where}/model.safetensors", "rb") as f:
        raw = f.read()
    with open(f"{where}/tokenizer.model", "rb") as f:
        vocabulary = f.read()
    with open(f"{where}/config.json") as f:
        config = json.load(f)
    size, = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]

    def tensor(name):
        begin, end = header[name + ".weight"]["data_offsets"]
        return np.frombuffer(data[begin:end], "<f4").reshape(header[name + ".weight"]["shape"])

    embed = "int8" if weights == "nf4" else weights
    parts = [part(("embed", tensor("model.embed_tokens"), embed))]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        parts.append(part(
            ("norm1", tensor(layer + "input_layernorm"), "f32"),
            ("w_pack", tensor(layer + "self_attn.W_pack"), weights),
            ("o_proj", tensor(layer + "self_attn.o_proj"), weights),
            ("norm2", tensor(layer + "post_attention_layernorm"), "f32"),
            ("gate", tensor(layer + "mlp.gate_proj"), weights),
            ("up", tensor(layer + "mlp.up_proj"), weights),
            ("down", tensor(layer + "mlp.down_proj"), weights)))
    head = tensor("lm_head")
    if config["norm_head"]:
        wide = head.astype(np.float64)
        squares = np.cumsum(wide * wide, axis=1)[:, -1:]  # cumsum adds in the order of the index, sum does not
        head = (wide / np.maximum(np.sqrt(squares), 1e-12)).astype(np.float32)
    parts.append(part(("norm", tensor("model.norm"), "f32"), ("lm_head", head, "f16" if weights == "bf16" else embed)))
    manifest = {
        "format": 1, "architecture": "baichuan", "layers": config["num_hidden_layers"], "hidden": config["hidden_size"],
        "intermediate": config["intermediate_size"], "heads": config["num_attention_heads"], "vocab": config["vocab_size"],
        "context": config["max_position_embeddings"], "eps": "1e-06", "position": "rope", "theta": "10000",
        "bos": config["bos_token_id"], "eos": config["eos_token_id"], "pad": config["pad_token_id"],
        "user": 195, "assistant": 196, "stop": sorted({config["eos_token_id"], 195, 196}), "add_bos": False,
        "weights": weights, "kv": kv, "tokenizer": hashlib.sha256(vocabulary).hexdigest(),
        "tokenizer_size": len(vocabulary), "parts": parts}
    print(hashlib.sha256(json.dumps(manifest, separators=(",", ":")).encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
