"""A study of a few seconds: a tiny model, three tasks of coloured squares, real training, real scoring."""

from __future__ import annotations

import atexit
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import tiny_vlm
from commands import ENVIRONMENT, PATIENCE
from process_list import of_group
from tvt.core.question import Question
from tvt.data.questions.files import write_jsonl, write_parquet
from warm import WarmPython

TASKS = ("Alpha", "Beta", "Gamma")
ROWS, QUESTIONS = 16, 10
PYTHON = sys.executable
QUICK = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
Values = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A folder with tasks and a model, of which recipes speak."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    def rows(self, task: str) -> Path:
        """The file of a task's training rows."""
        return self.folder / "tasks" / f"{task.lower()}-train.jsonl"

    def questions(self, task: str) -> Path:
        """The file of a task's questions."""
        return self.folder / "tasks" / f"{task.lower()}-select.parquet"


def build(folder: Path) -> World:
    """Make the model, the tasks and their manifests, and a recipe."""
    tiny_vlm.save(folder / "model", layers=1)
    for k, task in enumerate(TASKS):
        write_task(folder / "tasks", task, seed=k)
    write_recipe(folder)
    return World(folder)


def write_task(folder: Path, task: str, seed: int = 0) -> None:
    """A task's rows as JSON Lines with images beside them, its questions as parquet, and its manifest."""
    name = task.lower()
    write_jsonl(drawn(task, ROWS, seed), folder / f"{name}-train.jsonl")
    write_parquet(drawn(task, QUESTIONS, 100 + seed), folder / f"{name}-select.parquet")
    write_parquet(drawn(task, QUESTIONS, 200 + seed), folder / f"{name}-report.parquet")
    parts = {"training": "train.jsonl", "evaluation": "select.parquet", "report": "report.parquet"}
    told: Values = {"name": task, "options": 4, **{part: {"path": f"{name}-{file}"} for part, file in parts.items()}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(told))


def drawn(task: str, count: int, seed: int) -> list[Question]:
    """Questions with small images."""
    return tiny_vlm.questions(task, count, images=(1, 0), seed=seed)


def write_recipe(folder: Path, name: str = "recipe.yaml", **fields: Any) -> Path:
    """A recipe of two sources and three targets; ``fields`` replace whole fields, or single ones of a part."""
    told: Values = {
        "name": "small",
        "model": {"model_name_or_path": str(folder / "model"), "dtype": "float32"},
        "manifests": [str(folder / "tasks")],
        "sources": ["Alpha", "Beta"],
        "targets": list(TASKS),
        "budget": 12,
        "seeds": [0],
        "lora": {"lora_r": 2, "lora_alpha": 4},
        "training": {
            "learning_rate": 0.01,
            "global_batch_size": 4,
            "per_device_train_batch_size": 4,
            "gradient_checkpointing": False,
            "logging_steps": 1,
            "save_steps": 1,
        },
        "evaluation": {"batch_size": 10},
    }
    for field, value in fields.items():
        told[field] = {**told.get(field, {}), **value} if isinstance(value, Mapping) else value
    path = folder / name
    path.write_text(yaml.safe_dump(told))
    return path


def chunks(study: Path) -> Iterator[tuple[str, str]]:
    """Every answer that was ever recorded: its folder and the question's digest."""
    for path in sorted(study.glob("answers/*/chunk-*.jsonl")):
        for line in path.read_text().splitlines():
            yield path.parent.name, json.loads(line)["item"]


def adapters(study: Path) -> dict[str, str]:
    """The digest of every finished run's adapter, by the name of the run's folder."""
    found = {}
    for path in sorted(study.glob("runs/*/training.json")):
        found[path.parent.name] = str(json.loads(path.read_text())["adapter_digest"])
    return found


def events(stderr: str) -> list[str]:
    """What a study says while it runs, without its warnings about answers: a tiny model's are always worth some."""
    warning = re.compile(r"note: (the base model (answers|puts)|little probability|collapsed to one letter|what these mean)")
    return [line for line in stderr.splitlines() if not warning.match(line)]


def leftovers(study: Path) -> list[str]:
    """What an interrupted process may leave behind and a finished study must not hold."""
    names = ("*.tmp", "*.unfinished", "checkpoints", "mixed", ".rows")
    return sorted(str(path.relative_to(study)) for name in names for path in study.rglob(name))


def specs(study: Path) -> dict[str, Values]:
    """What every run says of itself, by its folder's name."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(study.glob("runs/*/spec.json"))}


class Tvt:
    """The ``tvt`` command, started warm (see :mod:`warm`)."""

    def __init__(self, python: Path, environment: Mapping[str, str] | None = None) -> None:
        self._python = python
        self._environment = {**QUICK, **(environment or {})}

    def __call__(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        process = self.start(*arguments, environment=environment)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def start(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None, largest_file: int | None = None
    ) -> subprocess.Popen[str]:
        """Start as the leader of a process group of its own; ``largest_file`` is a limit in bytes."""

        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        return subprocess.Popen(
            [str(self._python), "-m", "tvt", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self._environment, **(environment or {})},
            process_group=0,
            preexec_fn=limit,  # noqa: PLW1509 - the tests start no threads
        )


@cache
def _server() -> WarmPython:
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    server = WarmPython(folder, QUICK)
    atexit.register(lambda: (server.close(), shutil.rmtree(folder, ignore_errors=True)))
    return server


def warm_tvt(environment: Mapping[str, str] | None = None) -> Tvt:
    """The command, with more in its environment; the server behind it starts once for all tests."""
    return Tvt(_server().executable, environment)


def done(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stderr
    return result


def workers(group: int) -> list[int]:
    """The workers of a process group, those that wait for them left out."""
    return [pid for pid in of_group(group) if _called(pid) == "vt.study.worker"]


def _called(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait until something is so and return it; ``process`` must not end before."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("waited too long")
