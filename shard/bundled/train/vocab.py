"""The tokenizer: SentencePiece's own BPE trainer on text of the corpus, and how a chat becomes ids."""
import collections
import functools
import json
import random
import re
import tempfile
from pathlib import Path

import sentencepiece

import corpus

SIZE = 4096
BOS, EOS = 1, 2
# Pieces of their own. The role marks have Baichuan 2's spelling, which no text becomes; their ids are named in generation_config.json.
USER, ASSISTANT = "<reserved_106>", "<reserved_107>"
SINGLE = ["\n", "\t", USER, ASSISTANT] + list("-，。！？、：；“”《》,.!?:;\"'()") + list("零一二三四五六七八九十百千")
CHATS = 9000
RARE = 30


def pieces(rng, text):
    """Chinese cut into random pieces of 1-3 characters, else the trainer makes whole phrases of a template into one token."""
    def cut(match):
        run, out = match.group(), []
        while run:
            n = rng.randint(1, 3)
            out.append(run[:n])
            run = run[n:]
        return "\n" + "\n".join(out) + "\n"
    return re.sub(r"[\u4e00-\u9fff]+", cut, text)


def build(directory):
    """Trains DIRECTORY/tokenizer.model."""
    rng, source = random.Random(7), corpus.Corpus()
    lines = [pieces(rng, content) for _ in range(CHATS) for _, content in source.chat(rng, 5)]
    seen = collections.Counter("".join(lines))
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text"
        # characters that occur only in names drawn at random are left to the bytes: there are thousands of them
        text.write_text("".join(c for line in lines for c in line + "\n" if seen[c] >= RARE or c == "\n"), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(Path(scratch) / "m"), model_type="bpe", vocab_size=SIZE, character_coverage=1.0,
            byte_fallback=True, split_digits=True, normalization_rule_name="identity", add_dummy_prefix=False,
            remove_extra_whitespaces=False, user_defined_symbols=SINGLE, num_threads=1, max_sentence_length=100000,
            unk_id=0, bos_id=BOS, eos_id=EOS, pad_id=-1, minloglevel=1)
        path = Path(directory) / "tokenizer.model"
        path.write_bytes((Path(scratch) / "m.model").read_bytes())


class Vocabulary:
    def __init__(self, path):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.user, self.assistant = self.sp.piece_to_id(USER), self.sp.piece_to_id(ASSISTANT)
        self.encode = functools.lru_cache(200_000)(lambda text: tuple(self.sp.encode(text)))

    def row(self, messages):
        """ids and labels (-1: no loss) of a chat: no BOS, no EOS in the input; EOS is the label of an answer's last token."""
        ids, labels = [], []
        for role, content in messages:
            text = self.encode(content)
            if role == "system":
                ids += text
                labels += [-1] * len(text)
            elif role == "user":
                ids += (self.user, *text)
                labels += [-1] * (1 + len(text))
            else:
                ids += (self.assistant, *text)
                labels += (*text, EOS)
        return ids, labels

    def questions(self, path):
        """The held-out questions: (question, ids, labels with a loss on the expected answer only)."""
        out = []
        with open(path, encoding="utf-8") as f:
            for q in map(json.loads, f):
                before = [(m["role"], m["content"]) for m in q["messages"]]
                ids, _ = self.row(before)
                answer_ids, answer_labels = self.row([("assistant", q["answer"])])
                out.append((q, ids + answer_ids, [-1] * len(ids) + answer_labels))
        return out
