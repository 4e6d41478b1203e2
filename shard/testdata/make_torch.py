#!/usr/bin/python3
"""Writes torch/: tiny Baichuan models saved by torch.save as people save them, and the logits that PyTorch computes of them.

    /usr/bin/python3 shard/testdata/make_torch.py      (Debian's python3-torch 1.13 and python3-sentencepiece made the committed ones)

Each directory is a checkpoint with expected.json beside it: some prompts, and the logits after each of their tokens in
expected.f32 (float32, little endian). The model below is written from the published formulas with PyTorch's own operations and
runs in float32 on the values that the file holds.
"""
import collections, json, math, os, random
import sentencepiece, torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch")
VOCAB, EPS = 288, 1e-6
PROMPTS = [[5], [7, 260, 261, 8, 9], [(i * i * 31 + 7 * i + 3) % VOCAB for i in range(20)]]


class Norm(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(hidden))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def linear(rows, columns):
    layer = nn.Linear(columns, rows, bias=False)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(columns))
    return layer


def rotate(x):
    n, d = x.shape[-2:]
    angle = torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    angle = torch.cat((angle, angle), -1)
    a, b = x.chunk(2, -1)
    return x * angle.cos() + torch.cat((-b, a), -1) * angle.sin()


def slopes(heads):  # as in the models' published code
    def power(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start ** i for i in range(n)]
    if math.log2(heads).is_integer():
        return power(heads)
    closest = 2 ** math.floor(math.log2(heads))
    return power(closest) + slopes(2 * closest)[0::2][:heads - closest]


class Attention(nn.Module):
    def __init__(self, hidden, heads, position):
        super().__init__()
        self.W_pack, self.o_proj = linear(3 * hidden, hidden), linear(hidden, hidden)
        self.heads, self.position = heads, position

    def forward(self, x):
        n, hidden = x.shape
        q, k, v = (t.view(n, self.heads, -1).transpose(0, 1) for t in self.W_pack(x).chunk(3, -1))
        if self.position == "rope":
            q, k = rotate(q), rotate(k)
        scores = q @ k.transpose(1, 2) / math.sqrt(hidden // self.heads)
        distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        if self.position == "alibi":
            scores = scores + torch.tensor(slopes(self.heads))[:, None, None] * distance
        weights = scores.masked_fill(distance > 0, -math.inf).softmax(-1)
        return self.o_proj((weights @ v).transpose(0, 1).reshape(n, hidden))


class MLP(nn.Module):
    def __init__(self, hidden, inner):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = linear(inner, hidden), linear(inner, hidden), linear(hidden, inner)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, hidden, heads, inner, position):
        super().__init__()
        self.self_attn, self.mlp = Attention(hidden, heads, position), MLP(hidden, inner)
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Baichuan(nn.Module):
    def __init__(self, hidden, heads, inner, layers, position, vocab=VOCAB):
        super().__init__()
        self.config = dict(hidden=hidden, heads=heads, inner=inner, layers=layers, position=position, vocab=vocab)
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(vocab, hidden)
        self.model.layers = nn.ModuleList(Layer(hidden, heads, inner, position) for _ in range(layers))
        self.model.norm = Norm(hidden)
        self.lm_head = linear(vocab, hidden)  # a NormHead: its rows are normalised when it is used

    def forward(self, ids):
        x = self.model.embed_tokens(torch.tensor(ids))
        for layer in self.model.layers:
            x = layer(x)
        return F.linear(self.model.norm(x), F.normalize(self.lm_head.weight))


def tokenizer(directory):
    """A vocabulary of the 256 bytes, what must be there, and some Chinese and English."""
    rng = random.Random(7)
    words = ["你好", "我们", "天气", "hello", "the", "swarm", "layer", "peers"]
    corpus = os.path.join(directory, "corpus.txt")
    with open(corpus, "w") as f:
        for _ in range(400):
            f.write(" ".join(rng.choice(words) for _ in range(8)) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=corpus, model_prefix=os.path.join(directory, "tokenizer"), model_type="bpe", vocab_size=VOCAB, byte_fallback=True,
        add_dummy_prefix=False, normalization_rule_name="identity", character_coverage=1.0, minloglevel=2, num_threads=1,
        user_defined_symbols=["<reserved_106>", "<reserved_107>"])
    for name in ("corpus.txt", "tokenizer.vocab"):
        os.remove(os.path.join(directory, name))


def write(name, model, files, index=None):
    """One checkpoint: its files (name -> what torch.save is given), and what PyTorch computes of the values in them."""
    directory = os.path.join(HERE, name)
    os.makedirs(directory, exist_ok=True)
    for file, value in files.items():
        torch.save(value, os.path.join(directory, file))
    if index:
        dump(directory, "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": index})
    c = model.config
    config = {
        "architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "vocab_size": c["vocab"], "hidden_size": c["hidden"],
        "intermediate_size": c["inner"], "num_hidden_layers": c["layers"], "num_attention_heads": c["heads"], "hidden_act": "silu",
        "rms_norm_eps": EPS, "model_max_length": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "tie_word_embeddings": False, "position_embedding": c["position"], "norm_head": True,
    }
    dump(directory, "config.json", config)
    dump(directory, "generation_config.json", {"user_token_id": 3, "assistant_token_id": 4})
    tokenizer(directory)
    saved = {}
    for value in files.values():
        saved.update(value)
    model.load_state_dict({k: v.detach().float() for k, v in saved.items()})
    with torch.no_grad():
        logits = torch.cat([model(prompt) for prompt in PROMPTS])
    logits.numpy().astype("<f4").tofile(os.path.join(directory, "expected.f32"))
    dump(directory, "expected.json", PROMPTS)
    print(name, "logits of absmax", float(logits.abs().max()))


def dump(directory, name, value):
    with open(os.path.join(directory, name), "w") as f:
        json.dump(value, f)
        f.write("\n")


def rope(seed, layers=2):
    torch.manual_seed(seed)
    return Baichuan(64, 2, 64, layers, "rope")


# float32: Parameters, by the file in which they lie, as an index has them
model = rope(1)
shards = {f"pytorch_model-{i:05d}-of-00003.bin": {} for i in (1, 2, 3)}
index = {}
for i, (key, parameter) in enumerate(model.named_parameters()):
    part = 1 if "embed" in key or ".0.self_attn" in key else 3 if "lm_head" in key or "layers.1.mlp" in key else 2
    file = f"pytorch_model-{part:05d}-of-00003.bin"
    shards[file][key], index[key] = parameter, file
write("f32-sharded-parameters", model, shards, index)

# float16: an OrderedDict with its _metadata, as state_dict gives it
model = rope(2).half()
state = model.state_dict()
assert isinstance(state, collections.OrderedDict)
write("f16-ordered", model.float(), {"pytorch_model.bin": state})

# bfloat16: a plain dict
model = rope(3).bfloat16()
plain = {k: v.clone() for k, v in model.state_dict().items()}  # float() below changes the model, and none of what was cloned
write("bf16-dict", model.float(), {"pytorch_model.bin": plain})

# float16, ALiBi with six heads: everything is a view of one storage of random numbers, some of it transposed (and the gains of another)
torch.manual_seed(4)
model = Baichuan(192, 6, 64, 2, "alibi")
base = (torch.randn(575 * 160 + 192) / math.sqrt(192)).half().unfold(0, 192, 160)  # (576, 192): rows that overlap, to keep it small
gain = (1 + 0.1 * torch.randn(400)).half()
views = {"model.embed_tokens.weight": base[100:100 + VOCAB], "lm_head.weight": base[200:200 + VOCAB], "model.norm.weight": gain[200:392]}
for i in range(2):
    p = f"model.layers.{i}."
    views[p + "self_attn.W_pack.weight"] = base
    views[p + "self_attn.o_proj.weight"] = base[7 + i:199 + i].t()
    views[p + "mlp.gate_proj.weight"] = base[300 + i:364 + i]
    views[p + "mlp.up_proj.weight"] = base[10:202, i:64 + i].t()
    views[p + "mlp.down_proj.weight"] = base[200:392, 64 + i:128 + i]
    views[p + "input_layernorm.weight"] = gain[i:192 + i]
    views[p + "post_attention_layernorm.weight"] = gain[17:209]
write("f16-alibi-views", model, {"pytorch_model.bin": views})
