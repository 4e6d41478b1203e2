"""Makes everything anew: tokenizer, held-out questions, both models. See README.md."""
import argparse
import subprocess
import sys
from pathlib import Path

import corpus
import vocab

HERE = Path(__file__).resolve().parent
STEPS = {"rope": 6000, "alibi": 2600}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out", type=Path, help="directory for the two checkpoints, the held-out questions and the logs")
    out = p.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    vocab.build(out)
    corpus.write_held_out(out / "heldout.jsonl")
    for kind, steps in STEPS.items():
        command = [sys.executable, str(HERE / "train.py"), kind, "--steps", str(steps), "--tokenizer", str(out / "tokenizer.model"),
                   "--heldout", str(out / "heldout.jsonl"), "--out", str(out / kind)]
        with open(out / f"{kind}.log", "w", encoding="utf-8") as log:
            print(f"training {kind}: progress in {log.name}", flush=True)
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
            subprocess.run([sys.executable, str(HERE / "score.py"), kind, str(out / kind), str(out / "heldout.jsonl")],
                           check=True, stdout=log, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    main()
