"""Build and pretrain the tiny vision-language model of the miniature world, and write it with its accuracies.

    python scripts/train_miniature_base.py -o tvt/data/miniature/base

One thread, a fixed seed, loss on the answer only. It practises without the fog that the questions' pictures lie in: it knows
the tasks, but half fails at seeing, which finetuning on one task can teach for another.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from miniature_model import PATCH, SHAPES, Pool, batch_of, build_model, build_processor, make_pool, to_pixels
from tvt.core.question import LETTERS
from tvt.data.miniature import MINIATURE_TASKS
from tvt.data.miniature.scene import SIZE

# What is practised up to which step: mostly one family of tasks at a time, the others a little, then all together. A dozen
# tasks at once from the start stay at chance far longer than each alone takes.
FAMILIES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (400, ("Counting", "Count_Comparison", "Object_Localization", "Spatial_Relation")),
    (800, ("Relative_Depth", "Nearest_Post", "Relative_Reflectance", "Forensic_Detection")),
    (1200, ("Visual_Similarity", "Jigsaw", "Correspondence", "Multi_View")),
)
# Afterwards; those learnt fast come less often, so that they are not learnt out.
TOGETHER: dict[str, float] = {"Object_Localization": 0.4, "Visual_Similarity": 0.6, "Relative_Reflectance": 0.6}


def chances(step: int) -> NDArray[np.float64]:
    """How often each task is drawn at a step."""
    weights = [TOGETHER.get(task.name, 1.0) for task in MINIATURE_TASKS]
    for end, family in FAMILIES:
        if step < end:
            weights = [1.0 if task.name in family else 0.1 for task in MINIATURE_TASKS]
            break
    return np.array(weights) / sum(weights)


def seeing_error(told: torch.Tensor, labels: torch.Tensor, pictures: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Squared errors of what is told of each patch: its labels, its mean colour, its place."""
    centre = labels[..., : len(SHAPES)].sum(-1, keepdim=True)
    colours = torch.nn.functional.avg_pool2d(pictures, PATCH).flatten(2).transpose(1, 2)
    error = (told - torch.cat([labels, colours, places.expand(len(labels), -1, -1)], dim=-1)).square()
    there = slice(len(SHAPES), len(SHAPES) + 3)
    # Most patches hold no centre, so those that do count more; where one lies matters only where it is.
    return torch.cat(
        [error[..., : there.start] * (1 + 4 * centre), error[..., there] * 4 * centre, error[..., there.stop :]], -1
    )


def learn_to_see(model: Any, pools: dict[str, Pool], args: argparse.Namespace) -> None:
    """Train the vision tower to tell what each patch shows, before there is any question.

    Answers alone are a faint signal: from random weights a tower takes long to see anything. This is to it what pretraining on
    pictures is to a real one.
    """
    tower = model.model.vision_tower
    side = SIZE // PATCH
    # Its own row and column too, or it forgets them: then nothing after it could tell left from right.
    rows, columns = torch.eye(side).repeat_interleave(side, 0), torch.eye(side).repeat(side, 1)
    places = torch.cat([rows, columns], dim=1)
    head = torch.nn.Linear(tower.config.hidden_size, next(iter(pools.values())).labels.shape[-1] + 3 + places.shape[1])
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng(args.seed + 1)
    every, started = list(pools.values()), time.monotonic()
    for step in range(args.seeing):
        picks = [(every[k], int(rng.integers(args.pool))) for k in rng.integers(len(every), size=args.batch)]
        pictures = to_pixels(picks)
        labels = torch.from_numpy(np.stack([pool.labels[index] for pool, index in picks]))
        told = head(tower(pictures).last_hidden_state)
        loss: Any = seeing_error(told, labels, pictures, places).mean()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((step + 1) / 100, 1 - 0.95 * step / args.seeing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % args.every == 0:
            print(f"seeing {step + 1} {time.monotonic() - started:.0f}s loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def fit_projector(model: Any, pools: dict[str, Pool]) -> None:
    """Start the projector so that every direction of what the tower says is equally loud.

    A tower's output varies hundreds of times more along some directions than along others; from the usual start the text model
    takes long to hear the quiet ones, and those tell one picture from another.
    """
    picks = [(pool, index) for pool in pools.values() for index in range(100)]
    said = model.model.vision_tower(to_pixels(picks), output_hidden_states=True).hidden_states[-1].flatten(0, 1).double()
    mean = said.mean(0)
    spread, directions = torch.linalg.eigh(torch.cov((said - mean).T))
    whitening = (directions / (spread + 1e-3 * spread.mean()).sqrt()).T
    projector = model.model.multi_modal_projector
    first, second = projector.linear_1, projector.linear_2
    torch.nn.init.orthogonal_(first.weight)
    first.weight.copy_((first.weight.double() @ whitening).float())
    first.bias.copy_(-(first.weight.double() @ mean).float())
    torch.nn.init.orthogonal_(second.weight)
    second.bias.zero_()


@torch.no_grad()
def accuracies(model: Any, pools: dict[str, Pool], pad: int, letters: list[int]) -> dict[str, float]:
    """Share of right answers a task, by the highest score among its options' letters."""
    model.eval()
    found = {}
    for (name, pool), task in zip(pools.items(), MINIATURE_TASKS, strict=True):
        right = 0
        for start in range(0, len(pool.answers), 100):
            inputs, answers = batch_of([(pool, k) for k in range(start, min(start + 100, len(pool.answers)))], pad)
            scores = model(**inputs, logits_to_keep=1).logits[:, -1, letters[: task.options]]
            right += int((torch.tensor(letters)[scores.argmax(-1)] == answers).sum())
        found[name] = right / len(pool.answers)
    model.train()
    return found


def rate(step: int, args: argparse.Namespace) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine to a tenth."""
    if step < args.warmup:
        return (step + 1) / float(args.warmup)
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done)))


def train(model: Any, processor: Any, args: argparse.Namespace) -> None:
    """Pretrain in place, telling the accuracies on the way."""
    tokenizer = processor.tokenizer
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    letters = tokenizer.convert_tokens_to_ids(list(LETTERS[:4]))
    names = [task.name for task in MINIATURE_TASKS]
    pools = {name: make_pool(processor, name, args.pool, "train", args.seed, fog=False) for name in names}
    held = {name: make_pool(processor, name, args.held, "select", args.seed, fog=False) for name in names}
    learn_to_see(model, pools, args)
    fit_projector(model, pools)
    rng = np.random.default_rng(args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    started = time.monotonic()
    for step in range(args.stop):
        picks = [(pools[names[k]], int(rng.integers(args.pool))) for k in rng.choice(len(names), args.batch, p=chances(step))]
        inputs, answers = batch_of(picks, pad)
        # The answer's letter and the end after it: the two tokens that it must learn to say.
        inputs["input_ids"] = torch.cat([inputs["input_ids"], answers[:, None]], dim=1)
        inputs["attention_mask"] = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)
        logits = model(**inputs, logits_to_keep=2).logits
        loss: Any = torch.nn.functional.cross_entropy(logits[:, 0], answers)
        loss = loss + 0.1 * torch.nn.functional.cross_entropy(logits[:, 1], torch.full_like(answers, end))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate(step, args)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % args.every == 0 or step + 1 == args.stop:
            found = accuracies(model, held, pad, letters)
            told = " ".join(f"{task.short} {100 * found[task.name]:.0f}" for task in MINIATURE_TASKS)
            print(f"{step + 1} {time.monotonic() - started:.0f}s loss {loss.item():.2f} {told}", flush=True)
            if args.keep:
                save(model, processor, args.keep / str(step + 1))


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write weights and processor."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def card(found: dict[str, float], clear: dict[str, float], parameters: int, args: argparse.Namespace) -> str:
    """The model's README."""
    rows = [
        f"| {task.name} | {task.options} | {100 / (task.options or 2):.0f}% "
        f"| {100 * found[task.name]:.1f}% | {100 * clear[task.name]:.1f}% |"
        for task in MINIATURE_TASKS
    ]
    return "\n".join(
        [
            "# The miniature's base model",
            "",
            f"A LLaVA of {parameters:,} parameters (SigLIP tower, Qwen2 text model), made by",
            f"`scripts/train_miniature_base.py` (seed {args.seed}, {args.stop} steps of {args.batch} questions, one",
            "CPU thread). It knows the prompts of tvt's miniature world and nothing else. It was trained without",
            "fog; the questions' pictures lie in fog, so that finetuning has room and tasks have something to share.",
            "In fog it says A too often (part of what any finetuning adds is undoing that), and its counting is at chance.",
            "",
            f"Accuracy on {args.report:,} questions a task of the `report` split (seed {args.seed}), and on the same questions",
            f"without fog; one standard error is at most {100 * 0.5 / math.sqrt(args.report):.1f} points:",
            "",
            "| task | options | chance | accuracy | without fog |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--keep", type=Path, help="folder to keep every evaluated state in, to choose where to stop")
    parser.add_argument("--steps", type=int, default=2400, help="length of the learning rate's schedule")
    parser.add_argument("--stop", type=int, default=1800, help="step to stop at")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=2000, help="training questions rendered a task")
    parser.add_argument("--seeing", type=int, default=1500, help="steps of learning to see, before the questions")
    parser.add_argument("--held", type=int, default=100, help="questions a task of the evaluations on the way")
    parser.add_argument("--every", type=int, default=250, help="steps between evaluations")
    parser.add_argument("--report", type=int, default=1000, help="questions a task of the final evaluation")
    return parser.parse_args()


def main() -> None:
    """Build, pretrain, evaluate, write."""
    args = parse()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    processor = build_processor()
    model = build_model(processor)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{parameters:,} parameters, {len(processor.tokenizer)} tokens", flush=True)
    model.train()
    train(model, processor, args)
    tokenizer: Any = processor.tokenizer
    letters = tokenizer.convert_tokens_to_ids(list(LETTERS[:4]))
    names = [task.name for task in MINIATURE_TASKS]
    found, clear = (
        accuracies(
            model,
            {name: make_pool(processor, name, args.report, "report", args.seed, fog=fog) for name in names},
            tokenizer.pad_token_id,
            letters,
        )
        for fog in (True, False)
    )
    save(model, processor, args.output)
    told = card(found, clear, parameters, args)
    (args.output / "README.md").write_text(told, encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
