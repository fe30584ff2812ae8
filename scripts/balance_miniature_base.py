"""Take the habit of one letter from the miniature's base: write the base of ``recipes/world.yaml``.

    python scripts/balance_miniature_base.py -o tvt/data/miniature/balanced

In fog the miniature's base says A too often, so that part of what any finetuning adds is undoing that. Here every weight is
trained a little further on two things: the questions in clear air with their answers, so that nothing is forgotten; and
pictures in fog with the base's *own* scores of the letters, less a constant of each task and letter that makes all letters come
equally often. No answer to a question in fog is used: what lies there stays as hard to see as it was. One thread, a fixed seed,
some two minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from miniature_model import Pool, batch_of, make_pool
from tvt.core.question import LETTERS
from tvt.core.task import Task
from tvt.data.miniature import MINIATURE_TASKS

ROOT = Path(__file__).resolve().parents[1]


@torch.no_grad()
def unbiased(model: Any, pool: Pool, pad: int, letters: list[int]) -> torch.Tensor:
    """Log probabilities of the letters for each picture of a pool, shifted so that each letter wins equally often."""
    batches = [range(start, min(start + 100, len(pool.answers))) for start in range(0, len(pool.answers), 100)]
    scores = torch.cat(
        [model(**batch_of([(pool, k) for k in batch], pad)[0], logits_to_keep=1).logits[:, -1, letters] for batch in batches]
    )
    scores = scores.log_softmax(-1)
    for rate in np.geomspace(1.0, 0.01, 300):
        share = torch.bincount(scores.argmax(-1), minlength=len(letters)) / len(scores)
        scores = scores - rate * (share - 1 / len(letters))
    return scores.log_softmax(-1)


@torch.no_grad()
def shares(model: Any, pool: Pool, pad: int, letters: list[int]) -> tuple[float, list[float]]:
    """Accuracy on all questions of a pool, and how often each letter is answered."""
    right, answered = 0, np.zeros(len(letters))
    for start in range(0, len(pool.answers), 100):
        picks = [(pool, index) for index in range(start, min(start + 100, len(pool.answers)))]
        inputs, answers = batch_of(picks, pad)
        best = model(**inputs, logits_to_keep=1).logits[:, -1, letters].argmax(-1)
        right += int((torch.tensor(letters)[best] == answers).sum())
        answered += np.bincount(best.numpy(), minlength=len(letters))
    return right / len(pool.answers), list(answered / len(pool.answers))


def balance(model: Any, processor: Any, args: argparse.Namespace) -> None:
    """Train in place."""
    names = [task.name for task in MINIATURE_TASKS]
    clear = {name: make_pool(processor, name, args.pool, "train", args.seed, fog=False) for name in names}
    fogged = {name: make_pool(processor, name, args.pool, "train", args.seed + 1, fog=True) for name in names}
    pad, every = processor.tokenizer.pad_token_id, processor.tokenizer.convert_tokens_to_ids(list(LETTERS[:4]))
    letters = {task.name: every[: task.options] for task in MINIATURE_TASKS}
    wanted = {name: unbiased(model, fogged[name], pad, letters[name]) for name in names}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng(args.seed)
    started = time.monotonic()
    for step in range(args.steps):
        picks = [(clear[names[k]], int(rng.integers(args.pool))) for k in rng.integers(len(names), size=args.batch)]
        inputs, answers = batch_of(picks, pad)
        loss: Any = torch.nn.functional.cross_entropy(model(**inputs, logits_to_keep=1).logits[:, -1], answers)
        for k in rng.choice(len(names), 3, replace=False):
            chosen = list(rng.integers(args.pool, size=args.batch))
            inputs, _ = batch_of([(fogged[names[k]], index) for index in chosen], pad)
            scores = model(**inputs, logits_to_keep=1).logits[:, -1, letters[names[k]]].log_softmax(-1)
            loss = loss + args.weight / 3 * torch.nn.functional.kl_div(
                scores, wanted[names[k]][chosen], reduction="batchmean", log_target=True
            )
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, (step + 1) / 20) * (1 - 0.9 * step / args.steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"{step + 1} {time.monotonic() - started:.0f}s loss {loss.item():.3f}", flush=True)


def rows(before: Any, after: Any, processor: Any, args: argparse.Namespace) -> list[str]:
    """A line of the card's table for each task."""
    pad, every = processor.tokenizer.pad_token_id, processor.tokenizer.convert_tokens_to_ids(list(LETTERS[:4]))

    def line(task: Task) -> str:
        letters = every[: task.options or 2]
        fog, clear = (make_pool(processor, task.name, args.report, "report", args.seed, fog=fog) for fog in (True, False))
        cells = []
        for model in (before, after):
            accuracy, answered = shares(model, fog, pad, letters)
            cells += [f"{100 * accuracy:.1f}%", f"{100 * answered[0]:.0f}%"]
        return f"| {task.name} | {' | '.join(cells)} | {100 * shares(after, clear, pad, letters)[0]:.1f}% |"

    return [line(task) for task in MINIATURE_TASKS]


def main() -> None:
    """Balance, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--base", type=Path, default=ROOT / "tvt" / "data" / "miniature" / "base")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--weight", type=float, default=5.0, help="of the pictures in fog in the loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=500, help="pictures rendered a task")
    parser.add_argument("--report", type=int, default=1000, help="questions a task of the final evaluation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    loader: Any = AutoProcessor  # transformers leaves its loading untyped
    processor = loader.from_pretrained(args.base)
    before: Any
    model: Any
    before, model = (AutoModelForImageTextToText.from_pretrained(args.base, dtype=torch.float32) for _ in range(2))
    model.train()
    balance(model, processor, args)
    # Half precision on disk: what is measured is what is written.
    model = model.half().float().eval()
    card = [
        "# The base model of the world of mixed sources",
        "",
        f"The miniature's base (`../base`), trained {args.steps} steps further by `scripts/balance_miniature_base.py`",
        f"(seed {args.seed}, one CPU thread): in fog it answers no letter by habit. {args.report:,} questions a task of the",
        f"`report` split; one standard error of an accuracy is at most {50 / args.report**0.5:.1f} points. *A* is how often",
        "the first letter is answered.",
        "",
        "| task | in fog, before | A | in fog | A | without fog |",
        "|---|---|---|---|---|---|",
        *rows(before.eval(), model, processor, args),
        "",
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(args.output)
    processor.save_pretrained(args.output)
    (args.output / "README.md").write_text("\n".join(card), encoding="utf-8")
    print("\n".join(card))


if __name__ == "__main__":
    main()
