"""lmms-eval's own code on a tiny model and local data: its tasks as targets, against its own run of the same.

It needs lmms-eval here, or the Python of an environment with it and with tvt's ``train`` extra in ``TVT_LMMS_EVAL_PYTHON``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import harness_world
import tiny_vlm
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.harness.task import HarnessTask, describe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(harness_world.python() is None, reason="lmms-eval is not installed; see the extra lmms-eval"),
]
TASKS = ("own_open", "own_choice", "own_graded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tasks, a model and an adapter of it."""
    found = tmp_path_factory.mktemp("harness")
    harness_world.write_tasks(found)
    tiny_vlm.save(found / "model", layers=1)
    tiny_vlm.save_adapter(found / "model", found / "adapter", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(found / "datasets"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield found


def target(folder: Path, task: str, **fields: Any) -> HarnessTask:
    return describe(QuestionData(harness="lmms-eval", task=task, include_path=str(folder / "harness-tasks"), **fields))


@pytest.fixture(scope="module")
def targets(folder: Path) -> dict[str, HarnessTask]:
    return {task: target(folder, task) for task in TASKS}


def evaluator(folder: Path, notes: list[str] | None = None, dtype: Any = "float32") -> Evaluator:
    model = ModelConfig(model_name_or_path=str(folder / "model"), dtype=dtype)
    note = (notes if notes is not None else []).append
    return Evaluator(model, EvaluationConfig(batch_size=1), folder / "answers", note=note)


def own_credits(folder: Path) -> dict[str, list[float]]:
    """Sample by sample, what lmms-eval's own command gives its own model."""
    arguments = {
        "model": "huggingface",
        "model_args": f"pretrained={folder / 'model'},device=cpu,device_map=cpu",
        "tasks": "own_open,own_graded",
        "include_path": "harness-tasks",
        "output_path": "own",
        "batch_size": "1",
    }
    options = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    harness_world.own_run(harness_world.OWN_RUN, *options, "--log_samples", folder=folder)
    found = {}
    for task, metric in (("own_open", "exact_match"), ("own_graded", "closeness")):
        (path,) = (folder / "own").rglob(f"*_samples_{task}.jsonl")
        values = [json.loads(line)[metric] for line in path.read_text().splitlines()]
        found[task] = [value["score"] if isinstance(value, dict) else value for value in values]
    return found


def test_scores_are_those_of_its_own_run(folder: Path, targets: dict[str, HarnessTask]) -> None:
    generated = {task: target for task, target in targets.items() if task != "own_choice"}
    (cells,) = evaluator(folder, dtype="bfloat16").evaluate([None], generated)
    assert {task: [item.score for item in cell.items] for task, cell in cells.items()} == own_credits(folder)
    assert {item.score for item in cells["own_open"].items} == {0, 1}


def test_likelihoods_are_those_of_transformers(folder: Path, targets: dict[str, HarnessTask]) -> None:
    (cells,) = evaluator(folder).evaluate([None], {"own_choice": targets["own_choice"]})
    model, tasks = str(folder / "model"), str(folder / "harness-tasks")
    text = harness_world.own_run(harness_world.OWN_LIKELIHOODS, model, tasks, "own_choice", "7", folder=folder)
    lines = [line.split()[2:] for line in text.splitlines() if line.startswith("SAMPLE")]
    found = cells["own_choice"].items
    assert [item.score for item in found] == [float(line[0]) for line in lines]
    for item, line in zip(found, lines, strict=True):
        losses = [float(loss) for loss, _ in json.loads(str(item.outcome.raw))]
        assert losses == pytest.approx([float(loss) for loss in line[1:]], abs=1e-4)


def test_adapters_are_scored_on_the_same_samples_and_once(folder: Path, targets: dict[str, HarnessTask]) -> None:
    base, adapted = evaluator(folder).evaluate([None, folder / "adapter"], targets)
    assert [item.outcome.raw for item in base["own_graded"].items] != [item.outcome.raw for item in adapted["own_graded"].items]
    for task in TASKS:
        assert [item.id for item in base[task].items] == [str(place) for place in range(harness_world.QUESTIONS)]
        joint = sum(a.score * b.score for a, b in zip(base[task].items, adapted[task].items, strict=True))
        assert adapted[task].both_correct(base[task]) == pytest.approx(joint)
    again = evaluator(folder).evaluate([None, folder / "adapter"], targets)
    assert sum(cell.asked for cells in again for cell in cells.values()) == 0
    assert [cell.correct for cells in again for cell in cells.values()] == [
        cell.correct for cells in (base, adapted) for cell in cells.values()
    ]


def test_limit_and_offset_name_the_samples_and_other_figures_are_noted(folder: Path) -> None:
    notes: list[str] = []
    cut = target(folder, "own_twice", limit=3, offset=2)
    assert cut.questions == 3
    (cells,) = evaluator(folder, notes).evaluate([None], {"Cut": cut})
    assert [item.id for item in cells["Cut"].items] == ["2", "3", "4"]
    (note,) = [text for text in notes if "own closeness" in text]
    assert note.startswith("Cut: lmms-eval's own closeness of own_twice is")
    assert "no mean over the questions" in note


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("own_rounds", "its output type generate_until_multi_round cannot be a target"),
        ("own_falling", "of its metric closeness less is better"),
        ("own_group", "is a group of several tasks of lmms-eval; name one of them"),
        ("own_opem", r"no such task in lmms-eval .*did you mean 'own_open'"),
    ],
)
def test_what_cannot_be_a_target_is_refused_by_name(folder: Path, task: str, fault: str) -> None:
    with pytest.raises(InputError, match=rf"^{task}: .*{fault}|^{task}: {fault}"):
        target(folder, task)


def test_data_that_changed_since_it_was_planned_is_refused(folder: Path, targets: dict[str, HarnessTask]) -> None:
    data, planned = folder / "harness-data.parquet", targets["own_open"]
    before = data.read_bytes()
    try:
        harness_world.write_data(data, seed=4)
        with pytest.raises(InputError, match=r"own_open: changed since the scores were planned \(content\)"):
            evaluator(folder).evaluate([folder / "adapter"], {"Changed": planned})
    finally:
        data.write_bytes(before)
