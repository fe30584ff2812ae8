"""``tvt study verify`` finds whatever is damaged in a study, and says nothing of a whole one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

from study_folders import run_of
from study_world import Tvt, World, done
from tvt.study.verify_study import verify_study


@pytest.fixture(scope="module")
def whole(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("whole") / "study"
    done(tvt("study", "run", world.recipe, "-o", study))
    return study


def one(study: Path, pattern: str) -> Path:
    return sorted(study.glob(pattern))[0]


def digit(path: Path, field: str) -> None:
    """Change a number of a JSON file by one."""
    text = path.read_text()
    path.write_text(re.sub(rf'("{field}": )(\d+)', lambda hit: f"{hit[1]}{int(hit[2]) + 1}", text, count=1))


def edit(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x01
    path.write_bytes(content)


def swap_answer(study: Path) -> None:
    path = one(study, "answers/*/*.items.jsonl")
    text = path.read_text()
    path.write_text(text.replace('"correct": true', '"correct": false', 1) if '"correct": true' in text else text[:-2])


def change_table(study: Path) -> None:
    path = study / "scores.csv"
    text = path.read_text()
    assert "seed_0" in text
    path.write_text(text.replace("seed_0", "seed_77"))


def empty(pattern: str) -> Callable[[Path], None]:
    return lambda study: one(study, pattern).write_bytes(b"")


def halve(pattern: str) -> Callable[[Path], None]:
    return lambda study: cut(one(study, pattern))


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda study: one(study, pattern).unlink()


def deep(pattern: str) -> Callable[[Path], None]:
    return lambda study: one(study, pattern).write_text("[" * 100_000) and None


RUN, ANSWERS = "runs/Alpha*", "answers/*"
FILES = {
    "scores.json": f"{RUN}/scores.json",
    "spec.json": f"{RUN}/spec.json",
    "training.json": f"{RUN}/training.json",
    "adapter": f"{RUN}/adapter/adapter_model.safetensors",
    "adapter config": f"{RUN}/adapter/adapter_config.json",
    "base spec": "runs/base*/spec.json",
    "identity": f"{ANSWERS}/identity.json",
    "items": f"{ANSWERS}/*.items.jsonl",
    "record": f"{ANSWERS}/[AB]*a.json",
    "chunk": f"{ANSWERS}/chunk-*.jsonl",
    "recipe": "recipe.yaml",
    "table": "scores.csv",
}
ABSENT = {"chunk", "training.json", "recipe", "table", "scores.json"}
"""Files whose absence is another state of a study, or is tried by itself below."""
JSON = {"scores.json", "spec.json", "training.json", "adapter config", "base spec", "identity", "items", "record", "chunk"}
DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"{name} emptied": empty(pattern) for name, pattern in FILES.items()},
    **{f"{name} halved": halve(pattern) for name, pattern in FILES.items() if name != "recipe"},
    **{f"{name} removed": remove(pattern) for name, pattern in FILES.items() if name not in ABSENT},
    **{f"{name} too deep": deep(pattern) for name, pattern in FILES.items() if name not in ("adapter", "table", "recipe")},
    "a count raised": lambda study: digit(run_of(study, "Alpha") / "scores.json", "correct"),
    "a total raised": lambda study: digit(run_of(study, "Alpha") / "scores.json", "total"),
    "a bit of an adapter": lambda study: flip(one(study, FILES["adapter"])),
    "another seed": lambda study: edit(run_of(study, "Alpha") / "spec.json", "seed", 9),
    "other counts": lambda study: edit(run_of(study, "Alpha") / "spec.json", "counts", {"Beta": 16}),
    "another schema": lambda study: edit(run_of(study, "Alpha") / "scores.json", "schema", 99),
    "cells that are text": lambda study: edit(run_of(study, "Alpha") / "scores.json", "cells", "none"),
    "an answer turned": swap_answer,
    "the table changed": change_table,
    "answers gone": lambda study: shutil.rmtree(one(study, "answers/*")),
}


def test_a_whole_study_is_whole(whole: Path, tvt: Tvt) -> None:
    result = done(tvt("study", "verify", whole))
    assert "nothing is wrong" in result.stdout
    assert verify_study(whole).runs == 3


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_noticed(name: str, whole: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(whole, tmp_path / "study"))
    DAMAGES[name](study)
    faults = verify_study(study).faults
    assert faults, name
    assert all(str(study) in fault for fault in faults), faults


def test_a_damaged_study_ends_with_2_and_lines(whole: Path, tvt: Tvt, tmp_path: Path) -> None:
    study = Path(shutil.copytree(whole, tmp_path / "study"))
    DAMAGES["a count raised"](study)
    result = tvt("study", "verify", study)
    assert result.returncode == 2
    assert "is not what the run's scores.json says" in result.stderr
    assert "Traceback" not in result.stderr
