"""Folders of studies, compared and looked into."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import study_world
from study_world import specs
from tvt.core.scores import Run
from tvt.study.store import Store


def run_of(study: Path, source: str) -> Path:
    (found,) = (study / "runs" / run for run, told in specs(study).items() if source in told["counts"])
    return found


def id_of(folder: Path) -> str:
    """The id of the run whose folder it is."""
    return (folder / ".id").read_text().strip()


def hold(folder: Path) -> AbstractContextManager[bool]:
    """Hold a run as the process that does it."""
    return Store(folder.parents[1]).claim(id_of(folder), Run(label="some", counts={"A": 1}))


def same(study: Path, expected: Path) -> None:
    """The matrix and the adapters are those of an uninterrupted study, nothing was asked twice, nothing is left over."""
    assert (study / "scores.csv").read_bytes() == (expected / "scores.csv").read_bytes()
    assert study_world.adapters(study) == study_world.adapters(expected)
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked))
    assert study_world.leftovers(study) == []
