"""The loop on tvt's own trainer: single sources, proposals, a race of what is chosen, one report.

A campaign is a list of stages, each a file in the study's folder, written once and by one command: the runs to do next, and
why. A stage is decided when all runs of the earlier ones are over, from what they say alone. So a campaign that is killed goes
on where it was, and several commands on one folder share its runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tvt.core.arms import Arm, Kind
from tvt.core.scores import PlaceboKind, Run
from tvt.core.selection import SelectionSpec
from tvt.core.values import FrozenModel
from tvt.errors import InputError
from tvt.io import atomic, digest
from tvt.io.atomic import exclusively
from tvt.study.session import Session

StageKind = Literal["single sources", "simple mixtures", "proposals", "race", "report"]
SIMPLE: tuple[Kind, ...] = ("uniform", "best_single", "proportional")
"""Arms that must be beaten by default: the rules that cost nothing."""
LEAST_SEEDS = 2
"""Seeds of a race at least."""
SHARE_OF_RACE = 0.5
"""Part of the runs left after the single sources that proposals may take."""


class Plan(FrozenModel):
    """What a campaign was asked for; it names the campaign."""

    schema_: Annotated[int, Field(alias="schema", ge=1)] = 1
    spec: dict[str, Any]
    """The request, as plain values."""
    runs: Annotated[int, Field(ge=1)]
    """Training runs of the folder in all."""
    batch: Annotated[int, Field(ge=1)] = 4
    most_proposals: Annotated[int, Field(ge=0)] | None = None
    against: tuple[Kind, ...] = SIMPLE
    """Kinds of arms that the tuned mixture must beat."""

    @property
    def request(self) -> SelectionSpec:
        """The request."""
        return SelectionSpec.model_validate(self.spec)

    @property
    def name(self) -> str:
        """A folder's name, from the content."""
        targets = sorted({*self.request.goals, *self.request.targets})
        stem = "-".join(targets[:2]) if targets else "all"
        return f"{stem}-{digest.of_value(self.model_dump(mode='json', by_alias=True))[:8]}"


class PlannedRun(FrozenModel):
    """A run of a stage."""

    label: str
    counts: dict[str, int]
    seed: int
    why: str = ""
    placebo: PlaceboKind | None = None

    @property
    def run(self) -> Run:
        """The run."""
        return Run(label=self.label, counts=self.counts, seed=self.seed, placebo=self.placebo)


class Stage(FrozenModel):
    """Runs that were decided on together, and why."""

    kind: StageKind
    runs: tuple[PlannedRun, ...]
    why: str
    arms: tuple[Arm, ...] = ()
    """Of a race, the tuned mixture first."""
    seeds: tuple[int, ...] = ()
    """Of a race, those so far; of the single sources, all that choices rest on."""
    most: int = 0
    """Seeds that a race was planned for."""
    end: str | None = None
    """Of a report: why the race ended."""
    level: float | None = None
    """Of a report: the level of its test."""
    best: float | None = None
    """The best measured gain when it was decided."""


class Record:
    """A campaign in a study's folder.

    Args:
        session: the study.
        plan: what is asked for.
    """

    def __init__(self, session: Session, plan: Plan) -> None:
        self.session, self.plan = session, plan
        self.folder: Path = session.store.folder / "tune" / plan.name

    def stages(self) -> tuple[Stage, ...]:
        """What was decided so far, in order.

        Raises:
            InputError: a damaged file.
        """
        return tuple(_read(path) for path in self._files())

    def add(self, stages_known: int, stage: Stage) -> Stage:
        """Write the next stage unless another command has; returns the one that holds."""
        with exclusively(self.folder / ".stages"):
            files = self._files()
            if len(files) > stages_known:
                return _read(files[stages_known])
            if not (self.folder / "plan.json").is_file():
                _write(self.folder / "plan.json", self.plan)
            _write(self.folder / f"stage-{stages_known + 1:03d}.json", stage)
            return stage

    def used(self) -> int:
        """Training runs of the folder, whatever became of them."""
        return sum(bool(spec.run.counts) for spec in self.session.store.known().values())

    def has(self, run: Run) -> bool:
        """Whether a run is in the folder already."""
        return self.session.study.run_id(run) in self.session.store.known()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("stage-*.json"))


def _write(path: Path, value: FrozenModel) -> None:
    plain = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    atomic.write_text(path, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> Stage:
    try:
        return Stage.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: damaged; delete it and the stages after it, and tune again: its runs stay") from error


def missing(record: Record, runs: Sequence[PlannedRun]) -> Iterator[PlannedRun]:
    """Those of the runs that the folder has not, each once."""
    seen: set[str] = set()
    for planned in runs:
        run_id = record.session.study.run_id(planned.run)
        if run_id not in seen and not record.has(planned.run):
            yield planned
        seen.add(run_id)


def race_runs(arms: Sequence[Arm], seeds: Sequence[int]) -> tuple[PlannedRun, ...]:
    """The runs of arms with these seeds; an arm without examples is the base model and needs none."""
    return tuple(
        PlannedRun(label=arm.label, counts=arm.counts, seed=seed, why=arm.about, placebo=arm.placebo)
        for seed in seeds
        for arm in arms
        if arm.counts
    )
