"""Folders of studies, compared and looked into."""

from __future__ import annotations

from pathlib import Path

import study_world
from study_world import specs


def run_of(study: Path, source: str) -> Path:
    (found,) = (study / "runs" / run for run, told in specs(study).items() if source in told["counts"])
    return found


def same(study: Path, expected: Path) -> None:
    """The matrix and the adapters are those of an uninterrupted study, nothing was asked twice, nothing is left over."""
    assert (study / "scores.csv").read_bytes() == (expected / "scores.csv").read_bytes()
    assert study_world.adapters(study) == study_world.adapters(expected)
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked))
    assert study_world.leftovers(study) == []
