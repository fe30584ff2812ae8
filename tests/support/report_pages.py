"""Reports to look at with a browser: studies of any size and shape, and the page that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compare_worlds import world
from tvt.compare.comparison import Comparison
from tvt.compare.engine import compare
from tvt.core.matrix import TransferMatrix
from tvt.core.scores import MaskedScore, Score
from tvt.core.selection import SelectionSpec
from tvt.core.task import Task
from tvt.data.studies.folder import StudyFolder, StudyManifest
from tvt.report.html.explorer_data import explore
from tvt.report.html.page import page_data, render
from tvt.report.html.study_data import StudySource
from tvt.transfer.analysis import analyze

HOSTILE = (
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "\"quotes' & <b>bold</b>",
    "a very long name " + "of a task that goes on and on " * 5,
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "\U0001f469\u200d\U0001f52c emoji \U0001f1e9\U0001f1ea",
    "--target=__proto__",
    "template ${7*7} {{7*7}}",
)


def folder(
    names: Sequence[str], *, runs: int = 3, questions: int = 100, seed: int = 0, failed: bool = False, lift: float = 0.0
) -> StudyFolder:
    """A study with counts; with ``failed`` the second source's last run diverged, and one target's base model is perfect.

    ``lift`` is PGF that every source gives to every target.
    """
    rng = np.random.default_rng(seed)
    count = len(names)
    base = rng.integers(questions // 4, questions // 2, count)
    truth = rng.normal(0, 0.12, (count, count)) + 0.3 * np.eye(count) + lift
    scores, masked = [], []
    if failed:
        base[-1] = questions
    for k in range(runs):
        run = f"seed_{k}"
        scores += [_score(run, None, t, int(base[j]), questions) for j, t in enumerate(names)]
        for i, s in enumerate(names):
            for j, t in enumerate(names):
                if failed and k == runs - 1 and i == min(1, count - 1):
                    masked.append(MaskedScore(run=run, source=s, target=t, reason="loss is not finite at step 12"))
                    continue
                gain = (questions - base[j]) * (truth[i, j] + rng.normal(0, 0.03))
                scores.append(_score(run, s, t, int(np.clip(base[j] + round(gain), 0, questions)), questions))
    levels = ("low", "mid", "high")
    tasks = tuple(Task(name=name, level=levels[at % 3]) for at, name in enumerate(names))
    manifest = StudyManifest(name="made up", model="a model", parameters=2.0, budget=1000, tasks=tasks)
    return StudyFolder(manifest=manifest, scores=tuple(scores), masked=tuple(masked))


def _score(run: str, source: str | None, target: str, correct: int, total: int) -> Score:
    return Score(run=run, source=source, target=target, accuracy=correct / total, correct=correct, total=total)


def page(folders: Sequence[StudyFolder], path: Path, *, targets: Sequence[str] | None = (), compared: bool = False) -> Path:
    """Write a report; ``targets`` get an explorer each (``None``: as usual, empty: no explorer)."""
    matrices = [of.matrix() for of in folders]
    sources = []
    for of, matrix in zip(folders, matrices, strict=True):
        explorer = None
        if targets is None or targets:
            explorer = explore(matrix, ["STUDY"], targets, lambda done, total: None)
        comparisons = (("chosen-1", comparison()),) if compared else ()
        sources.append(StudySource(reference="STUDY", folder=of, explorer=explorer, comparisons=comparisons))
    path.write_text(render(page_data(analyze(matrices), sources), "A report"), encoding="utf-8")
    return path


def matrix_page(matrix: TransferMatrix, path: Path) -> Path:
    """A report of values alone, without counts or provenance."""
    path.write_text(render(page_data(analyze([matrix]), [StudySource(reference="study.csv")]), "A report"), encoding="utf-8")
    return path


def comparison() -> Comparison:
    """A trained mixture and its baselines on four tasks."""
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 0.15, (4, 4)) + 0.2 * np.eye(4)
    of = world(truth, SelectionSpec(goals={"task 0": 0.1, "task 2": 0.1}, anyway=True), questions=120)
    return compare(of.measured, of.arms, of.matrix, of.spec)
