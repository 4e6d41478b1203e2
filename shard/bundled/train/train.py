"""Trains one of the two models and writes it as a Hugging Face checkpoint directory. See README.md."""
import argparse
import collections
import json
import math
import random
import shutil
import time
from pathlib import Path

import environment  # noqa: F401 (before torch)
import torch

import corpus
import model as models
import score
import vocab

ROWS, SHORT, LONG = 4, 256, 1024
LONG_SHARE = 0.10  # of the steps in the second half are one long row: without them contexts beyond 400 tokens are lost
WARM, PEAK, LAST, DECAY = 100, 2e-3, 5e-5, 0.05
LEAST_TURN = 8  # tokens of the shortest turn: a row is cut from a chat that is surely long enough


def rate(step, steps, start):
    """The learning rate: a cosine over all steps, and a short rise where training starts or goes on."""
    cosine = LAST + (PEAK - LAST) * (1 + math.cos(math.pi * step / steps)) / 2
    return cosine * min(1, (step - start + 1) / WARM)


def batch(rng, source, words, step, steps):
    long = step >= steps // 2 and rng.random() < LONG_SHARE
    width, count = (LONG, 1) if long else (SHORT, ROWS)
    rows = [words.row(source.chat(rng, width // LEAST_TURN)) for _ in range(count)]
    return torch.tensor([r[0][:width] for r in rows]), torch.tensor([r[1][:width] for r in rows])


def optimiser(net):
    decayed = [p for p in net.parameters() if p.dim() > 1]
    plain = [p for p in net.parameters() if p.dim() == 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
                             lr=PEAK, betas=(0.9, 0.98), eps=1e-8)


def write(net, kind, words, tokenizer, out):
    """Writes OUT whole or not at all."""
    aside = Path(f"{out}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    s = net.shape
    config = {
        "architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "vocab_size": s.vocab, "hidden_size": s.hidden,
        "intermediate_size": s.inner, "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "hidden_act": "silu",
        "rms_norm_eps": models.EPS, "model_max_length": s.context, "bos_token_id": vocab.BOS, "eos_token_id": vocab.EOS, "pad_token_id": 0,
        "tie_word_embeddings": False, "torch_dtype": "float32", "position_embedding": s.position, "norm_head": True}
    if kind == "rope":
        config["max_position_embeddings"] = s.context
    generation = {
        "user_token_id": words.user, "assistant_token_id": words.assistant, "bos_token_id": vocab.BOS, "eos_token_id": vocab.EOS,
        "pad_token_id": 0, "do_sample": True, "temperature": 0.3, "top_k": 5, "top_p": 0.85, "repetition_penalty": 1.0,
        "max_new_tokens": 512}
    (aside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (aside / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    shutil.copy(tokenizer, aside / "tokenizer.model")
    torch.save(collections.OrderedDict(net.state()), aside / "pytorch_model.bin")
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng, source, words = random.Random(f"{args.seed} {args.start}"), corpus.Corpus(), vocab.Vocabulary(args.tokenizer)
    questions = words.questions(args.heldout)
    net = models.Model(models.SHAPES[args.kind])
    if args.resume:
        net.load(torch.load(Path(args.resume) / "pytorch_model.bin"))
    opt, begun, tokens, mean = optimiser(net), time.time(), 0, None
    for step in range(args.start, args.steps):
        for group in opt.param_groups:
            group["lr"] = rate(step, args.steps, args.start)
        ids, labels = batch(rng, source, words, step, args.steps)
        asked = labels >= 0
        loss = torch.nn.functional.cross_entropy(net(ids, asked), labels[asked])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        tokens += ids.numel()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {mean:.4f} tokens {tokens} seconds {time.time() - begun:.0f}", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            write(net, args.kind, words, args.tokenizer, args.out)
            print("  held out:", score.table(score.score(net, questions, tell=False)[0]), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("kind", choices=list(models.SHAPES))
    p.add_argument("--steps", type=int, required=True, help="steps of 1024 tokens")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume", help="checkpoint directory to go on from (the optimiser starts anew)")
    p.add_argument("--start", type=int, default=0, help="the step at which that checkpoint was written")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--every", type=int, default=500, help="steps between two checkpoints")
    p.add_argument("--tokenizer", required=True, help="tokenizer.model")
    p.add_argument("--heldout", required=True, help="held-out questions, written by corpus.py")
    p.add_argument("--out", required=True, help="checkpoint directory to write")
    args = p.parse_args()
    train(args)


if __name__ == "__main__":
    main()
