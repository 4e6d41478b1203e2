"""Baichuan 2's forward pass in PyTorch, with float32 weights and bf16 matrix products."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Shape:
    position: str  # "rope" or "alibi"
    layers: int
    hidden: int
    heads: int
    inner: int
    vocab: int = 4096
    context: int = 1024


SHAPES = {
    "rope": Shape("rope", 6, 256, 4, 704),
    "alibi": Shape("alibi", 4, 320, 5, 832),
}
EPS, THETA = 1e-6, 10000.0


def slopes(heads):
    p = 1 << (heads.bit_length() - 1)
    return torch.tensor([2.0 ** (-8.0 * (h + 1) / p) if h < p else 2.0 ** (-4.0 * (2 * (h - p) + 1) / p) for h in range(heads)])


def product(x, w):
    return F.linear(x.bfloat16(), w.bfloat16()).float()


def norm(x, gain):
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS))


class Model(torch.nn.Module):
    """Parameters by the names of a Hugging Face checkpoint, with "/" for "." (a module's name may hold no dot)."""

    def __init__(self, shape, exact=False):
        super().__init__()
        self.shape, self.product, self.kind = shape, F.linear if exact else product, torch.float32 if exact else torch.bfloat16
        d, i, v = shape.hidden, shape.inner, shape.vocab
        self.new("model.embed_tokens.weight", torch.randn(v, d) * 0.5)
        for n in range(shape.layers):
            p, small = f"model.layers.{n}.", 1 / math.sqrt(2 * shape.layers)
            self.new(p + "self_attn.W_pack.weight", torch.randn(3 * d, d) / math.sqrt(d))
            self.new(p + "self_attn.o_proj.weight", torch.randn(d, d) / math.sqrt(d) * small)
            self.new(p + "mlp.gate_proj.weight", torch.randn(i, d) / math.sqrt(d))
            self.new(p + "mlp.up_proj.weight", torch.randn(i, d) / math.sqrt(d))
            self.new(p + "mlp.down_proj.weight", torch.randn(d, i) / math.sqrt(i) * small)
            self.new(p + "input_layernorm.weight", torch.ones(d))
            self.new(p + "post_attention_layernorm.weight", torch.ones(d))
        self.new("model.norm.weight", torch.ones(d))
        self.new("lm_head.weight", torch.randn(v, d) / math.sqrt(d))
        self.tables = {}

    def new(self, name, value):
        self.register_parameter(name.replace(".", "/"), torch.nn.Parameter(value))

    def get(self, name):
        return self._parameters[name.replace(".", "/")]

    def state(self):
        return {name.replace("/", "."): p.detach().clone() for name, p in self._parameters.items()}

    def load(self, state):
        with torch.no_grad():
            for name, value in state.items():
                self.get(name).copy_(value)

    def table(self, t):
        """What depends on positions alone: the bias of a score, and for RoPE the cosines and sines."""
        if t not in self.tables:
            s = self.shape
            i, j = torch.arange(t)[:, None], torch.arange(t)[None, :]
            bias = torch.zeros(1, t, t)
            if s.position == "alibi":
                bias = slopes(s.heads)[:, None, None] * (j - i)
            bias = bias.masked_fill(j > i, float("-inf"))
            d = s.hidden // s.heads
            angle = torch.arange(t)[:, None] * THETA ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
            self.tables[t] = bias, angle.cos().float()[:, None], angle.sin().float()[:, None]
        return self.tables[t]

    def attention(self, n, x):
        s, (b, t, d) = self.shape, x.shape
        p = f"model.layers.{n}.self_attn."
        q, k, v = self.product(x, self.get(p + "W_pack.weight")).view(b, t, 3, s.heads, d // s.heads).unbind(2)
        bias, cos, sin = self.table(t)
        if s.position == "rope":
            q, k = turn(q, cos, sin), turn(k, cos, sin)
        q, k, v = (x.transpose(1, 2).to(self.kind) for x in (q / math.sqrt(d // s.heads), k, v))
        weights = ((q @ k.transpose(2, 3)).float() + bias).softmax(-1)
        out = (weights.to(self.kind) @ v).float().transpose(1, 2).reshape(b, t, d)
        return self.product(out, self.get(p + "o_proj.weight"))

    def forward(self, ids, rows=None):
        """The logits of ids (batch, time); with rows, a mask of the same shape, only of the positions that it marks."""
        x = F.embedding(ids, self.get("model.embed_tokens.weight"))
        for n in range(self.shape.layers):
            p = f"model.layers.{n}."
            x = x + self.attention(n, norm(x, self.get(p + "input_layernorm.weight")))
            h = norm(x, self.get(p + "post_attention_layernorm.weight"))
            h = F.silu(self.product(h, self.get(p + "mlp.gate_proj.weight"))) * self.product(h, self.get(p + "mlp.up_proj.weight"))
            x = x + self.product(h, self.get(p + "mlp.down_proj.weight"))
        if rows is not None:
            x = x[rows]
        return self.product(norm(x, self.get("model.norm.weight")), F.normalize(self.get("lm_head.weight"), dim=-1))


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
