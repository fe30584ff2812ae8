"""Pages that tell the truth: the blocks of a page in Markdown, run in a folder that has the files the pages speak of."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import blink_copy
import raw_sources_objects
import tiny_models
from commands import ROOT
from pictures import picture
from problems import random_matrix
from tvt.core.question import Question
from tvt.data.questions.files import write_jsonl
from tvt.data.studies.load import load_study

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"<!-- output(?: (\d))?: (tvt .*?) -->\n```text\n(.*?)```", re.DOTALL)
_PRINTED = re.compile(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """The code of every block in a language."""
        return [text for found, text in _BLOCK.findall(self.text) if found == language]

    def commands(self) -> list[str]:
        """Every line of a bash block that calls tvt."""
        return [line for text in self.blocks("bash") for line in text.splitlines() if line.startswith("tvt ")]

    def outputs(self) -> list[tuple[str, str, str]]:
        """What is said to be printed: the exit code (or nothing), the command, and the text."""
        return _OUTPUT.findall(self.text)

    def python(self) -> list[tuple[str, str | None]]:
        """Every Python block, with the text block right behind it: what it prints."""
        found = _PRINTED.finditer(self.text)
        return [(match.group(1), match.group(2)) for match in found]


def run_line(
    line: str, folder: Path, stand_ins: Mapping[str, str], python: Path = Path(sys.executable)
) -> subprocess.CompletedProcess[str]:
    """Run a command of a page, with what stands in for the network and for large data."""
    for long, short in stand_ins.items():
        line = line.replace(long, short)
    return _run([str(python), "-m", "tvt", *shlex.split(line, comments=True)[1:]], folder)


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python of a page; what libraries log on stdout is left out."""
    done = _run([sys.executable, "-c", code], folder)
    done.stdout = re.sub(r"^\[[^]]+\] \[(?:WARNING|INFO)\] .*\n", "", done.stdout, flags=re.MULTILINE)
    return done


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    more = {"COLUMNS": "80", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TVT_CACHE": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | more, check=False)


def as_printed(text: str) -> str:
    """An output without its line breaks and with one duration for all."""
    return re.sub(r"\d+\.\d+\s+s\.", "0.02 s.", " ".join(text.split()))


STAND_INS = {
    "--exclude BLINK -o data": "--exclude BLINK --dataset BLINK-Benchmark/BLINK=BLINK -o built",
    "data/Jigsaw.parquet": "built/Jigsaw.parquet",
    "--against BLINK": "--against BLINK --dataset BLINK-Benchmark/BLINK=BLINK",
    "-n 1000": "-n 6",
    "--budget 2000": "--budget 200",
    "compare blink-7b jigsaw.yaml --run": "compare blink-7b jigsaw.yaml --run --randoms 1",
}
"""What stands in for the network and for large data."""
JIGSAW = """\
name: Jigsaw
training: {path: ../data/Jigsaw.jsonl}
evaluation: {path: ../val.jsonl}
report: {path: ../test.jsonl}
"""
COUNTING = "name: Counting\ntraining: {path: ../data/Counting.jsonl}\nevaluation: {path: ../counting-val.jsonl}\n"
RECIPE = """\
name: readme
model: {model_name_or_path: base, dtype: float32}
sources: [Jigsaw]
targets: [Jigsaw]
training: {per_device_train_batch_size: 16}
"""
STUDY = """\
name: readme-study
model: {model_name_or_path: base, dtype: float32}
manifests: [tasks]
sources: [Jigsaw, Counting]
targets: [Jigsaw, Counting]
budget: 32
training: {per_device_train_batch_size: 16}
"""
BLINK_STUDY = """\
name: blink-7b
model: {model_name_or_path: ../base, dtype: float32}
sources: [Jigsaw, Counting, Art_Style]
targets: [Jigsaw, Counting, Art_Style]
data_dir: data
datasets: {BLINK-Benchmark/BLINK: BLINK}
budget: 32
training: {per_device_train_batch_size: 16}
"""


def furnish(folder: Path, jigsaw: str = JIGSAW) -> None:
    """Write the files that the pages speak of.

    Args:
        folder: where to.
        jigsaw: the manifest of that task, as a page shows it.
    """
    _tables(folder)
    tiny_models.llava(folder / "base")
    blink_copy.write_copy(folder / "BLINK", 2)
    for task in load_study("qwen2.5-vl-7b").sources:
        write_jsonl(questions(task, 40), folder / "data" / f"{task}.jsonl")
    write_jsonl(questions("Jigsaw", 20, start=1000), folder / "val.jsonl")
    write_jsonl(questions("Jigsaw", 20, start=2000), folder / "test.jsonl")
    write_jsonl(questions("Counting", 20, start=1000), folder / "counting-val.jsonl")
    sign = Question(id="0", task="Signs", prompt="What does it say?", options=(), answer="No entry", images=(picture(32, 32),))
    write_jsonl([sign], folder / "signs.jsonl")
    _of_newcomers(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "study.yaml").write_text(STUDY)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "blink-qwen2.5-vl-7b.yaml").write_text(BLINK_STUDY)
    for name in ("miniature.yaml", "world.yaml"):
        shutil.copy(ROOT / "recipes" / name, folder / "recipes")
    raw_sources_objects.make_tara(folder / "TARA", 12)
    _rows_of_others(folder / "theirs")
    (folder / "tasks").mkdir()
    for name, text in {"Jigsaw": jigsaw, "Counting": COUNTING}.items():
        (folder / "tasks" / f"{name}.yaml").write_text(text)


def _of_newcomers(folder: Path) -> None:
    """What coming-from.md speaks of: manifests of a task of lmms-eval and of free text, a table of scores, and an adapter."""
    (folder / "chartqa.yaml").write_text("name: ChartQA\nevaluation: {harness: lmms-eval, task: chartqa_lite, limit: 200}\n")
    (folder / "signs.yaml").write_text("name: Signs\nevaluation: {path: signs.jsonl, metric: anls}\n")
    scores = {"base": (0.52, 0.61), "sft-charts": (0.66, 0.6), "sft-docs": (0.55, 0.7)}
    rows = [f"{model},{task},{score},500" for model, both in scores.items() for task, score in zip("CD", both, strict=True)]
    (folder / "scores.csv").write_text("\n".join(["model,benchmark,acc,n", *rows]) + "\n")
    tiny_models.lora(folder / "base", folder / "jigsaw" / "adapter")


def _rows_of_others(folder: Path) -> None:
    """What other trainers read: train.json with its dataset_info.json, talks.jsonl and table.csv, over two pictures."""
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(picture(50 + number, 40))
    asked = "Is it light?\n(A) yes\n(B) no"
    talks = [
        [{"from": "human", "value": f"<image>{asked}"}, {"from": "gpt", "value": "A"}],
        [{"from": "human", "value": "<image>What is shown?"}, {"from": "gpt", "value": "a light picture"}],
    ]
    entry = {"file_name": "train.json", "formatting": "sharegpt", "columns": {"messages": "conversations", "images": "images"}}
    (folder / "dataset_info.json").write_text(json.dumps({"theirs": entry}))
    (folder / "train.json").write_text(json.dumps([{"conversations": talk, "images": ["1.png"]} for talk in talks]))
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": "B"}]
    (folder / "talks.jsonl").write_text(json.dumps({"messages": messages, "images": ["0.png"]}) + "\n")
    (folder / "table.csv").write_text(
        "photo,asked,choices,right\n0.png,Is it light?,yes|no,no\n1.png,Is it light?,yes|no,yes\n"
    )


def _tables(folder: Path) -> None:
    """runs.csv, mixtures.csv and study.csv."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), 60)
    losses = 3 - np.log(weights + 0.02) @ rng.uniform(0, 0.2, (3, 2))
    rows = ["id,w:a,w:b,w:c,score:x,score:y"]
    rows += [f"{i}," + ",".join(f"{v:.6f}" for v in (*w, *y)) for i, (w, y) in enumerate(zip(weights, losses, strict=True))]
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    (folder / "mixtures.csv").write_text("id,w:a,w:b,w:c\nm,0.2,0.3,0.5\n")
    matrix = random_matrix(0, 4, 3, centre=0.2)
    rows = ["run,source,target,pgf"]
    rows += [
        f"{run},{s},{t},{matrix.values[k, i, j]:.5f}"
        for k, run in enumerate(matrix.runs)
        for i, s in enumerate(matrix.sources)
        for j, t in enumerate(matrix.targets)
    ]
    (folder / "study.csv").write_text("\n".join(rows) + "\n")


def questions(task: str, count: int, start: int = 0) -> list[Question]:
    return [
        Question(
            id=f"{task}-{k}",
            task=task,
            prompt=f"Picture {k} of {task}: is it light? (A) yes (B) no",
            options=("yes", "no"),
            answer="AB"[k // 2 % 2],  # not what the picture shows: no model, however lucky its start, gets all of them right
            images=(tiny_models.picture(k % 2, 28),),
        )
        for k in range(start, start + count)
    ]
