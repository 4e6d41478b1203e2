"""Scores a model on the held-out questions, as it is and with its weights rounded as the program ships them."""
import torch

import vocab

NF4 = torch.tensor([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])
STORY_TOKENS = 150
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
        best = model(ids).argmax(-1)
        for row, ok in zip(batch, ((best == labels) | (labels < 0)).all(1).tolist()):
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
    told = continued(model, [[i for i, label in zip(q[1], q[2]) if label < 0] + q[1][-1:] for q in tales], 400) if tales else []
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
