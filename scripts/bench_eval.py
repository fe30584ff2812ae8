"""Questions per second of option scoring against one-by-one generation, on the same questions and with the same answers.

python scripts/bench_eval.py --model MODEL --questions FILE          any model and questions
python scripts/bench_eval.py                                         a tiny Qwen2.5-VL, made on the spot, and 112-pixel pictures

The contenders take turns, so that other load on the machine hits them alike; rates are medians over the turns.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch
from PIL import Image

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.data.questions.files import read_questions
from tvt.evaluate.asking import compose
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.scorer import Scorer
from tvt.model.base import Loaded, load_base


def one_by_one(loaded: Loaded, model: Any, questions: Sequence[Question], tokens: int) -> list[str]:
    """What a plain script does: prepare a question, generate, take the likeliest option letter of the first step."""
    answers = []
    words = loaded.processor.tokenizer
    for question in questions:
        images = [Image.open(io.BytesIO(image)).convert("RGB") for image in question.images]
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": question.prompt}]
        text = loaded.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        given = {"images": [images]} if images else {}
        inputs = loaded.processor(text=[text], **given, return_tensors="pt").to(loaded.device)
        with torch.inference_mode():
            made: Any = model.generate(
                **inputs, max_new_tokens=tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
        letters = words.convert_tokens_to_ids(list(question.letters))
        answers.append(question.letters[int(made.logits[0][0][letters].argmax())])
    return answers


def options(loaded: Loaded, questions: Sequence[Question], batch: int) -> list[str]:
    """What ``tvt evaluate`` does, with a scorer that remembers nothing."""
    scorer = Scorer(loaded, EvaluationConfig(mode="options", batch_size=batch))
    answers = [""] * len(questions)
    composed = compose(questions, batch)
    scored = scorer.score_all(loaded.model, [([questions[k] for k in places], ()) for places in composed])
    for places, outcomes in zip(composed, scored, strict=True):
        for k, outcome in zip(places, outcomes, strict=True):
            scores = outcome.scores or ()
            answers[k] = questions[k].letters[scores.index(max(scores))]
    return answers


def script(config: ModelConfig, adapters: Sequence[Path], questions: Sequence[Question], tokens: int) -> list[str]:
    """What a shell loop of plain scripts does for the base model and each adapter: load, then ask one by one."""
    from peft import PeftModel

    answers = []
    for adapter in [None, *adapters]:
        loaded = load_base(config)
        model = loaded.model if adapter is None else PeftModel.from_pretrained(loaded.model, str(adapter)).eval()
        answers += one_by_one(loaded, model, questions, tokens)
    return answers


def evaluate(config: ModelConfig, adapters: Sequence[Path], questions: Sequence[Question], batch: int) -> list[str]:
    """What ``tvt evaluate`` does for them, its checks and files included."""
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator(config, EvaluationConfig(batch_size=batch), Path(folder))
        found = evaluator.evaluate([None, *adapters], {"bench": questions})
    return [str(item.predicted) for cells in found for item in cells["bench"].items]


def tiny(folder: Path, count: int) -> tuple[Path, list[Question]]:
    """The tests' tiny Qwen2.5-VL and questions with pictures of 112 pixels."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    tiny_vlm: Any = import_module("tiny_vlm")
    asked = [
        Question(
            id=str(k),
            task="bench",
            prompt=question.prompt,
            options=question.options,
            answer=question.answer,
            images=(tiny_vlm.picture(k, 112, 112),),
        )
        for k, question in enumerate(tiny_vlm.questions("bench", count))
    ]
    return tiny_vlm.save(folder, "qwen"), asked


def measure(contenders: dict[str, Callable[[], list[str]]], rounds: int) -> dict[str, dict[str, Any]]:
    """Let contenders take turns; the first of them is the plain one that the others are compared with."""
    seconds: dict[str, list[float]] = {title: [] for title in contenders}
    answers: dict[str, list[str]] = {}
    for turn in range(rounds + 1):
        for title, contender in contenders.items():
            start = time.perf_counter()
            answers[title] = contender()
            if turn:  # the first turn warms up
                seconds[title].append(time.perf_counter() - start)
    plain = next(iter(contenders))
    return {
        title: {
            "questions_per_second": round(len(answers[title]) / statistics.median(times), 1),
            "ratio": round(statistics.median(p / own for p, own in zip(seconds[plain], times, strict=True)), 2),
            "same_answers": sum(a == b for a, b in zip(answers[plain], answers[title], strict=True)),
            "answers": len(answers[title]),
        }
        for title, times in seconds.items()
    }


@click.command()
@click.option("--model", help="Folder or hub name.  [default: a tiny Qwen2.5-VL with random weights]")
@click.option("--questions", "path", type=click.Path(path_type=Path), help="A .jsonl or .parquet file of questions.")
@click.option(
    "--adapter", "adapters", multiple=True, type=click.Path(path_type=Path), help="Of MODEL. Repeatable.  [default: 3 made]"
)
@click.option("--count", default=160, show_default=True, help="Questions asked by each contender and turn.")
@click.option("--batch-size", default=16, show_default=True)
@click.option("--max-new-tokens", default=4, show_default=True, help="Of the generation.")
@click.option("--rounds", default=5, show_default=True, help="Turns.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    *,
    model: str | None,
    path: Path | None,
    adapters: tuple[Path, ...],
    count: int,
    batch_size: int,
    max_new_tokens: int,
    rounds: int,
    dtype: Any,
    as_json: bool,
) -> None:
    """Measure both and compare their answers."""
    with tempfile.TemporaryDirectory() as name:
        made, asked = tiny(Path(name) / "model", count)
        if path:
            asked = list(read_questions(path))[:count]
        if model is None:
            tiny_vlm: Any = import_module("tiny_vlm")
            adapters = tuple(tiny_vlm.save_adapter(made, Path(name) / str(seed), seed) for seed in range(3))
        config = ModelConfig(model_name_or_path=model or str(made), dtype=dtype)
        loaded = load_base(config)
        figures = measure(
            {
                "generation, one by one": lambda: one_by_one(loaded, loaded.model, asked, max_new_tokens),
                "options, one by one": lambda: options(loaded, asked, 1),
                f"options, batches of {batch_size}": lambda: options(loaded, asked, batch_size),
            },
            rounds,
        )
        figures |= measure(
            {
                f"script, base + {len(adapters)} adapters": lambda: script(config, adapters, asked, max_new_tokens),
                f"tvt evaluate, base + {len(adapters)}": lambda: evaluate(config, adapters, asked, batch_size),
            },
            rounds,
        )
    if as_json:
        click.echo(json.dumps({"questions": len(asked), "rounds": rounds, "device": str(loaded.device), "results": figures}))
        return
    click.echo(f"{len(asked)} questions, {rounds} turns, {loaded.device}, {dtype}, generating {max_new_tokens} tokens")
    for title, found in figures.items():
        click.echo(
            f"{title:26} {found['questions_per_second']:>8} questions/s {found['ratio']:>6} x   "
            f"{found['same_answers']} of {found['answers']} answers the same"
        )


if __name__ == "__main__":
    main()
