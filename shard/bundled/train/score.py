"""Scores a checkpoint on the held-out questions, as it is and with its weights rounded as the program ships them."""
import argparse
import random
from pathlib import Path

import environment  # noqa: F401 (before torch)
import torch

import corpus
import model as models
import vocab

NF4 = torch.tensor([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])
STORY_TOKENS = 150
MOST_STORY_TOKENS = 400
DEPTHS = (0, 300, 600, 900)  # tokens of chat before a question
DEEP_QUESTIONS = 120
REPEAT = 12  # tokens in a row that may not come twice in a story


def shipped(state):
    """The state with layers in nf4 (blocks of 64) and the embedding and the head in int8 (a scale for each row)."""
    out = {}
    for name, w in state.items():
        if w.dim() == 1:
            out[name] = w
        elif ".layers." in name:
            blocks = w.reshape(-1, 64)
            scale = blocks.abs().amax(1, keepdim=True)
            middle = (NF4[1:] + NF4[:-1]) / 2
            out[name] = (NF4[torch.bucketize(blocks / scale.clamp_min(1e-12), middle)] * scale).reshape(w.shape)
        else:
            if name == "lm_head.weight":
                w = torch.nn.functional.normalize(w, dim=-1)
            scale = w.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
            out[name] = (w / scale).round() * scale
    return out


@torch.no_grad()
def exact(model, questions):
    """For each question whether greedy decoding gives exactly the answer: every label must be the likeliest token."""
    right = [False] * len(questions)
    order = sorted(range(len(questions)), key=lambda i: len(questions[i][1]))
    for start in range(0, len(order), 32):
        batch = order[start:start + 32]
        ids, labels = padded([questions[i][1] for i in batch], 0), padded([questions[i][2] for i in batch], -1)
        asked = labels >= 0
        hit = torch.ones_like(asked)
        hit[asked] = model(ids, asked).argmax(-1) == labels[asked]
        for row, ok in zip(batch, hit.all(1).tolist()):
            right[row] = ok
    return right


def padded(rows, filler):
    width = max(map(len, rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


@torch.no_grad()
def continued(model, prompts, most):
    """Greedy continuations without the end mark."""
    rows, live = [list(p) for p in prompts], set(range(len(prompts)))
    for _ in range(most):
        batch = sorted(live)
        if not batch:
            break
        marked = torch.zeros(len(batch), max(len(rows[i]) for i in batch), dtype=torch.bool)
        for at, i in enumerate(batch):
            marked[at, len(rows[i]) - 1] = True
        best = model(padded([rows[i] for i in batch], 0), marked).argmax(-1).tolist()
        for i, token in zip(batch, best):
            if token == vocab.EOS:
                live.discard(i)
            else:
                rows[i].append(token)
    return [row[len(p):] for row, p in zip(rows, prompts)]


def flows(tokens):
    """Whether a story is long enough and does not loop."""
    seen = [tuple(tokens[i:i + REPEAT]) for i in range(len(tokens) - REPEAT + 1)]
    return len(tokens) >= STORY_TOKENS and len(seen) == len(set(seen))


def score(model, questions, tell=True):
    """{skill: (right, asked)} and the questions that went wrong."""
    plain = [q for q in questions if q[0]["skill"] != "stories"]
    tales = [q for q in questions if q[0]["skill"] == "stories"] if tell else []
    results = list(zip(plain, exact(model, plain)))
    told = continued(model, [[i for i, label in zip(q[1], q[2]) if label < 0] + q[1][-1:] for q in tales], MOST_STORY_TOKENS) if tales else []
    results += [(q, flows(t)) for q, t in zip(tales, told)]
    out, wrong = {}, []
    for (q, _, _), ok in results:
        a, b = out.get(q["skill"], (0, 0))
        out[q["skill"]] = a + ok, b + 1
        if not ok:
            wrong.append(q)
    return out, wrong


def table(scores):
    right, asked = (sum(s[i] for s in scores.values()) for i in (0, 1))
    return f"all {100 * right / asked:.1f}% of {asked}; " + ", ".join(f"{k} {100 * a / b:.0f}" for k, (a, b) in sorted(scores.items()))


def deep(model, words, source, questions, depth):
    """The share of questions that are right after some depth tokens of other turns."""
    rng, out = random.Random(depth), []
    asked = [q for q, _, _ in questions if len(q["messages"]) == 1 and q["skill"] != "stories"]
    for q in rng.sample(asked, DEEP_QUESTIONS):
        before = []
        while len(before) < depth:
            item = source.item(rng, q["lang"], corpus.SHARE)
            before += words.row([("user", item.question), ("assistant", corpus.answer(rng, item))])[0]
        ids, labels = words.row([("user", q["messages"][0]["content"]), ("assistant", q["answer"])])
        before = before[-depth:] if depth else []
        out.append((q, before + ids, [-1] * len(before) + labels))
    return sum(exact(model, out)) / len(out)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("kind", choices=list(models.SHAPES))
    p.add_argument("checkpoint", type=Path)
    p.add_argument("heldout", help="held-out questions, written by corpus.py")
    args = p.parse_args()
    torch.set_num_threads(2)
    state = torch.load(args.checkpoint / "pytorch_model.bin")
    words, net = vocab.Vocabulary(args.checkpoint / "tokenizer.model"), models.Model(models.SHAPES[args.kind], exact=True)
    questions = words.questions(args.heldout)
    for name, weights in (("float32", state), ("as shipped", shipped(state))):
        net.load(weights)
        scores, wrong = score(net, questions, tell=name != "float32")
        print(f"{name}: {table(scores)}", flush=True)
    print("after so many tokens of chat:", ", ".join(f"{d}: {100 * deep(net, words, corpus.Corpus(), questions, d):.0f}%" for d in DEPTHS))
    for q in wrong:
        print("  wrong:", q["skill"], q["lang"], " / ".join(m["content"] for m in q["messages"]), "->", q["answer"])


if __name__ == "__main__":
    main()
