"""Tasks of lmms-eval on data of our own: a question's options, a right answer and a picture, in three ways of asking."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import tiny_vlm
from tvt.core.question import LETTERS

QUESTIONS = 7
_CODE = """
def to_visual(doc):
    return [doc["image"].convert("RGB")]


def graded(doc, results):
    right = doc["letter"] == results[0][:1]
    return {"closeness": {"score": 1.0 if right else 0.25, "said": results[0]}, "human": 1.0} if doc["id"] % 2 else {
        "closeness": {"score": 1.0 if right else 0.5, "said": results[0]}}


def mean_of_scores(results):
    return sum(result["score"] for result in results) / len(results)


def twice(results):
    return 2 * mean_of_scores(results)
"""


def python() -> str | None:
    """The Python of an environment with lmms-eval: this one, or that of ``TVT_LMMS_EVAL_PYTHON``; ``None``: there is none."""
    from importlib.util import find_spec

    if named := os.environ.get("TVT_LMMS_EVAL_PYTHON"):
        return named
    return sys.executable if find_spec("lmms_eval") is not None else None


def write_tasks(folder: Path) -> Path:
    """The folder of task files, with their data beside it."""
    data, tasks = folder / "harness-data.parquet", folder / "harness-tasks"
    tasks.mkdir(parents=True)
    write_data(data)
    (tasks / "utils.py").write_text(_CODE)
    common: dict[str, Any] = {
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "question",
        "doc_to_target": "letter",
        "metadata": [{"version": 1.5}],
    }
    short = {"generation_kwargs": {"max_new_tokens": 3, "temperature": 0, "do_sample": False}}
    letter = {"generation_kwargs": {"max_new_tokens": 1, "temperature": 0}}
    exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    closeness = {"metric": "closeness", "aggregation": "!function utils.mean_of_scores", "higher_is_better": True}
    human = {"metric": "human", "aggregation": "mean", "higher_is_better": True}
    own = {**common, **short, "process_results": "!function utils.graded"}
    for name, fields in {
        "own_open": {**common, **letter, "output_type": "generate_until", "metric_list": [exact]},
        "own_choice": {
            **common,
            "output_type": "multiple_choice",
            "doc_to_choice": list(LETTERS[:4]),
            "metric_list": [{**exact, "metric": "acc"}],
        },
        "own_graded": {**own, "output_type": "generate_until", "metric_list": [closeness, human]},
        "own_twice": {
            **own,
            "output_type": "generate_until",
            "metric_list": [{**closeness, "aggregation": "!function utils.twice"}],
        },
        "own_rounds": {**own, "output_type": "generate_until_multi_round", "metric_list": [closeness]},
        "own_falling": {**own, "output_type": "generate_until", "metric_list": [{**closeness, "higher_is_better": False}]},
    }.items():
        text = yaml.safe_dump({"task": name, **fields, "doc_to_visual": "!function utils.to_visual"})
        (tasks / f"{name}.yaml").write_text(re.sub("'(!function [\\w.]+)'", "\\1", text))
    (tasks / "own_group.yaml").write_text(yaml.safe_dump({"group": "own_group", "task": ["own_open", "own_choice"]}))
    return tasks


def write_data(path: Path, seed: int = 3) -> None:
    """Questions with a picture each."""
    import datasets
    from PIL import Image

    rows = tiny_vlm.questions("Alpha", QUESTIONS, seed=seed)
    table = {
        "id": list(range(QUESTIONS)),
        "question": [row.prompt for row in rows],
        "letter": [row.answer for row in rows],
        "image": [Image.open(io.BytesIO(row.images[0])) for row in rows],
    }
    features = {"id": datasets.Value("int64"), "question": datasets.Value("string"), "letter": datasets.Value("string")}
    made = datasets.Dataset.from_dict(table, features=datasets.Features({**features, "image": datasets.Image()}))
    made.to_parquet(path)


def write_manifest(folder: Path, name: str, **fields: Any) -> Path:
    """A target that lmms-eval asks."""
    path = folder / f"{name.lower()}.yaml"
    evaluation = {"harness": "lmms-eval", "include_path": "harness-tasks", **fields}
    path.write_text(yaml.safe_dump({"name": name, "evaluation": evaluation}))
    return path


OWN_RUN = '''
import sys
import lmms_eval.models.chat.huggingface as own
import transformers
from lmms_eval.__main__ import cli_evaluate


class Processor:
    """A processor without the empty lists of videos and sounds that transformers 5 refuses."""

    def __init__(self, folder, **options):
        self.inner = made(folder)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, *, videos, audios, **arguments):
        return self.inner(**arguments)


made = transformers.AutoProcessor.from_pretrained
own.AutoProcessor = type("AutoProcessor", (), {"from_pretrained": Processor})
# As it is, this model of lmms-eval loads a model without its head, whatever the family.
own.AutoModel = transformers.AutoModelForImageTextToText
cli_evaluate()
'''
"""lmms-eval's own command with its own model, mended where it fails with transformers 5."""

OWN_LIKELIHOODS = """
import sys

import torch
import transformers
from lmms_eval import evaluator
from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from lmms_eval.tasks import TaskManager

folder, tasks, name, limit = sys.argv[1:]
processor = transformers.AutoProcessor.from_pretrained(folder)
model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
template = processor.apply_chat_template


class Plain(lmms):
    def loglikelihood(self, requests):
        return [GenerationResult(text=self.one(*request.args)) for request in requests]

    def one(self, context, continuation, to_visual, place, task, split):
        images = to_visual(self.task_dict[task][split][place])
        user = {"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": context}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": continuation.strip()}]}
        asked, whole = (
            processor(text=text, images=images, return_tensors="pt")
            for text in (template([user], add_generation_prompt=True), template([user, answer]))
        )
        labels = whole["input_ids"].clone()
        labels[:, : asked["input_ids"].shape[1]] = -100
        with torch.inference_mode():
            return float(model(**whole, labels=labels).loss), False

    def generate_until(self, requests):
        sys.exit("this task asks for likelihoods alone")

    generate_until_multi_round = generate_until


manager = TaskManager("ERROR", include_path=tasks, include_defaults=False)
found = evaluator.simple_evaluate(model=Plain(), tasks=[name], task_manager=manager, limit=int(limit), bootstrap_iters=0)
for sample in found["samples"][name]:
    print("SAMPLE", sample["doc_id"], sample["acc"], *[loss for loss, _ in sample["filtered_resps"]])
"""
"""Likelihoods by transformers alone, without anything of tvt's, scored by lmms-eval."""


def own_run(code: str, *arguments: str, folder: Path) -> str:
    """What a program prints that runs in the environment of lmms-eval, with nothing of tvt's on its path."""
    found = python()
    assert found is not None
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [found, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout
