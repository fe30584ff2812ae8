"""The transfer matrix: PGF of every source on every target in every run, with errors and a reason for each missing cell.

It is built from scores; :mod:`tvt.core.pooling` reads several side by side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tvt.core.gradients import GradientCells
from tvt.core.measured_cells import Cell, MeasuredCells
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import Frame, counted, matrix_fields, matrix_frame, matrix_html
from tvt.core.scores import MaskedScore, MixtureScore, Score
from tvt.core.task import Task, resolve_name
from tvt.core.values import Frozen, aligned, read_only
from tvt.errors import InputError, suggest
from tvt.stats.noise import pooled_variance
from tvt.types import Bools, Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferMatrix(Frozen):
    """PGF per run, source and target. Missing cells are NaN and never 0; names, not positions, identify rows and columns. All
    arrays are read-only, those that are computed too: ``study.mean.copy()`` can be changed.

    Shapes: ``values``, ``item_errors`` and ``after`` are (runs, sources, targets); ``base`` is (runs, targets).
    ``item_errors``, ``base`` and ``after`` are NaN where counts or accuracies are not known.
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    runs: tuple[str, ...]
    values: Floats
    item_errors: Floats
    base: Floats
    after: Floats
    reasons: Mapping[Cell, str] = field(default_factory=dict)
    """Why a cell is missing; cells without a measurement that nobody explained read "not measured"."""
    tasks: tuple[Task, ...] = ()
    """What is known of the tasks: abbreviations, levels, ceilings."""
    metric: str = "pgf"
    """``pgf``, or ``gain`` for values that are no PGF (a relative change, say)."""
    model: str | None = None
    """The base model's name."""
    parameters: float | None = None
    """The base model's number of parameters, in billions (orders the scale trend)."""
    budget: int | None = None
    """Training examples of a run, where known."""
    evidence: MixtureRuns | None = None
    """Gains of runs on mixtures and doses beside the single-source runs: they tell how gain grows with weight."""
    doses: Floats | None = None
    """Share of the budget that a source's run was trained on, (runs, sources), above 0 and at most 1; ``None``: all of it.
    A run on few rows takes less than the budget, so that it does not repeat them too often."""
    placebo: TransferMatrix | None = None
    """Gains of runs that teach nothing of their tasks: a matrix over the same targets with a row a placebo
    (``placebo-shuffled``, ``placebo-format``), which is no source. ``None`` where none was run."""
    gradients: GradientCells | None = None
    """What gradients of the base model say of transfer, over the gaps; it measures nothing. ``None`` where none were taken."""

    notes: tuple[str, ...] = ()
    """What was left out while the table was read, such as a column of averages; no part of the digest."""

    def __repr__(self) -> str:
        cells = f"{int(np.isfinite(self.mean).sum())} of {self.mean.size} cells measured"
        shape = ", ".join(counted(len(names), noun) for names, noun in self._axes())
        return f"TransferMatrix({self.name!r}: {shape}, {self.metric}, {cells})"

    def _axes(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        return (self.runs, "run"), (self.sources, "source"), (self.targets, "target")

    def _repr_html_(self) -> str:
        return matrix_html(self)

    def to_frame(self) -> Frame:
        """A pandas table, a row for each run, source and target; evidence on mixtures is ``evidence.to_frame()``.

        Columns: run, source, target, value, item_error, base, after, and the reason where a value is missing.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return matrix_frame(self)

    @classmethod
    def from_frame(
        cls, frame: Frame, *, name: str = "study", metric: str = "pgf", tasks: Iterable[Task] = ()
    ) -> TransferMatrix:
        """The matrix of a table that :meth:`to_frame` made; of its columns item_error, base, after and reason may be absent.

        Values are taken as they are (fractions); ``tvt.load_study`` also reads accuracies, counts, percent and wide tables.

        Raises:
            InputError: a column is missing, or a cell stands twice.
        """
        return cls(name=name, metric=metric, tasks=tuple(tasks), **matrix_fields(frame))

    @property
    def dose(self) -> dict[str, float]:
        """Share of the budget behind each source's cells: mean over the runs that have one, 1 where that is not known."""
        if self.doses is None:
            return dict.fromkeys(self.sources, 1.0)
        there = np.isfinite(self.values).any(axis=2)
        shares = _nan_mean(np.where(there, self.doses, np.nan))
        return {source: 1.0 if np.isnan(share) else float(share) for source, share in zip(self.sources, shares, strict=True)}

    @property
    def mean(self) -> Floats:
        """Mean over the runs that have the cell, (sources, targets); NaN where none has it."""
        return read_only(_nan_mean(self.values))

    @property
    def run_count(self) -> Floats:
        """How many runs have the cell, (sources, targets)."""
        return read_only(np.isfinite(self.values).sum(axis=0).astype(float))

    @property
    def seed_error(self) -> Floats:
        """Standard error of the mean from the spread between runs, (sources, targets); NaN with fewer than two runs."""
        count = self.run_count
        spread = np.nansum((self.values - self.mean) ** 2, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return read_only(np.where(count > 1, np.sqrt(spread / (count - 1) / count), np.nan))

    @property
    def run_variance(self) -> Floats:
        """Variance between the runs of a cell, by target, (targets,); NaN where no cell has two (:mod:`tvt.stats.noise`)."""
        return read_only(pooled_variance(self.values))

    @property
    def run_error(self) -> Floats:
        """``seed_error``, and for a cell with one run what the other cells' runs tell: the root of ``run_variance``."""
        once = np.where(self.run_count == 1, np.sqrt(self.run_variance), np.nan)
        return read_only(np.where(self.run_count > 1, self.seed_error, once))

    @property
    def item_error(self) -> Floats:
        """Standard error of the mean from the finite number of questions, (sources, targets); NaN where counts are unknown.

        All runs answer the same questions, so this error does not shrink with the number of runs: it is the root mean square
        of the runs' own.
        """
        return read_only(np.sqrt(_nan_mean(self.item_errors**2)))

    @property
    def error(self) -> Floats:
        """That of runs and that of questions together, (sources, targets); one not known counts as 0, NaN where neither is."""
        seed, item = self.run_error, self.item_error
        both = np.sqrt(np.nan_to_num(seed) ** 2 + np.nan_to_num(item) ** 2)
        return read_only(np.where(np.isnan(seed) & np.isnan(item), np.nan, both))

    @property
    def self_cells(self) -> Bools:
        """True where the source is the target, (sources, targets)."""
        return read_only(np.array([[s == t for t in self.targets] for s in self.sources], dtype=bool))

    def reason(self, source: str, target: str) -> str | None:
        """Why the mean of a cell is missing, or ``None`` when it is not."""
        if np.isfinite(self.values[:, self.sources.index(source), self.targets.index(target)]).any():
            return None
        result = [self.reasons[run, source, target] for run in self.runs if (run, source, target) in self.reasons]
        return result[0] if result else "not measured"

    def short(self, name: str) -> str:
        """The task's abbreviation, or its name where there is none."""
        return next((task.short for task in self.tasks if task.name == name), name)

    def resolve(self, text: str) -> str:
        """The source or target that a name or abbreviation means; raises KeyError with the nearest suggestion."""
        return resolve_name(text, self.tasks, tuple(dict.fromkeys((*self.sources, *self.targets))))

    def reindex(
        self,
        *,
        runs: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        missing: bool = False,
    ) -> TransferMatrix:
        """The same matrix over other names, in their order; a cell that it does not have is missing, without a reason.

        Args:
            runs, sources, targets: the names; by default its own. A source may stand among the targets and the other way round.
            missing: whether names that it does not know may be among them.

        Raises:
            InputError: names that it does not know.
        """
        run, source, target = (
            (own, own if given is None else given)
            for own, given in ((self.runs, runs), (self.sources, sources), (self.targets, targets))
        )
        tasks = list(dict.fromkeys((*self.sources, *self.targets)))
        wanted = (("run", run[1], list(self.runs)), ("source", source[1], tasks), ("target", target[1], tasks))
        unknown = [(kind, name, known) for kind, given, known in wanted for name in given if name not in known]
        if unknown and not missing:
            raise InputError(*(f"{self.name}: no {kind} '{name}'{suggest(name, known)}" for kind, name, known in unknown))
        names = [set(run[1]), set(source[1]), set(target[1])]
        return replace(
            self,
            runs=tuple(run[1]),
            sources=tuple(source[1]),
            targets=tuple(target[1]),
            values=aligned(self.values, run, source, target),
            item_errors=aligned(self.item_errors, run, source, target),
            base=aligned(self.base, run, target),
            after=aligned(self.after, run, source, target),
            doses=None if self.doses is None else aligned(self.doses, run, source, missing=1.0),
            placebo=None if self.placebo is None else self.placebo.reindex(targets=target[1], missing=True),
            reasons={cell: why for cell, why in self.reasons.items() if all(map(set.__contains__, names, cell))},
        )

    def only_runs(self, keep: Sequence[int]) -> TransferMatrix:
        """The same matrix measured by some of the runs only (positions in ``runs``).

        Evidence of a run that is left out goes with it; evidence of runs that are none of the study's stays.
        """
        chosen = list(keep)
        left_out = [run for k, run in enumerate(self.runs) if k not in set(chosen)]
        return replace(
            self,
            runs=tuple(self.runs[k] for k in chosen),
            values=self.values[chosen],
            item_errors=self.item_errors[chosen],
            base=self.base[chosen],
            after=self.after[chosen],
            doses=None if self.doses is None else self.doses[chosen],
            evidence=None if self.evidence is None else self.evidence.without_runs(left_out),
            placebo=None if self.placebo is None else self.placebo.without_runs(left_out),
        )

    def without_runs(self, runs: Iterable[str]) -> TransferMatrix | None:
        """The same matrix without some runs (by name); ``None`` where none is left."""
        gone = set(runs)
        keep = [k for k, run in enumerate(self.runs) if run not in gone]
        return self if len(keep) == len(self.runs) else (self.only_runs(keep) if keep else None)

    def digest(self) -> str:
        """sha256 of names and values (and of evidence, doses, placebos and gradients, where there are any): the same for the
        same measurements in whatever order they were listed.
        """
        cells = sorted(
            (run, source, target, repr(float(self.values[k, i, j])), repr(float(self.item_errors[k, i, j])))
            for k, run in enumerate(self.runs)
            for i, source in enumerate(self.sources)
            for j, target in enumerate(self.targets)
        )
        beside: list[Any] = [] if self.evidence is None else [self.evidence.cells()]
        if self.doses is not None and (self.doses < 1).any():
            beside.append({"doses": {source: repr(dose) for source, dose in sorted(self.dose.items()) if dose < 1}})
        if self.placebo is not None:
            beside.append({"placebo": self.placebo.digest()})
        if self.gradients is not None:
            beside.append({"gradients": self.gradients.digest()})
        return hashlib.sha256(json.dumps([self.metric, cells, *beside]).encode()).hexdigest()

    @classmethod
    def from_values(
        cls,
        values: Floats,
        *,
        sources: Sequence[str],
        targets: Sequence[str],
        runs: Sequence[str] = ("run_0",),
        name: str = "study",
        metric: str = "pgf",
        tasks: Iterable[Task] = (),
        reasons: Mapping[Cell, str] | None = None,
    ) -> TransferMatrix:
        """Build from PGF values of shape (sources, targets) or (runs, sources, targets), NaN where missing."""
        cube = np.asarray(values, dtype=float)
        cube = cube[None] if cube.ndim == 2 else cube
        if cube.shape != (len(runs), len(sources), len(targets)):
            shape = (len(runs), len(sources), len(targets))
            raise ValueError(f"values have shape {cube.shape}, but runs, sources and targets make {shape}")
        return cls(
            name=name,
            sources=tuple(sources),
            targets=tuple(targets),
            runs=tuple(runs),
            values=cube,
            item_errors=np.full(cube.shape, np.nan),
            base=np.full((cube.shape[0], cube.shape[2]), np.nan),
            after=np.full(cube.shape, np.nan),
            reasons=dict(reasons or {}),
            tasks=tuple(tasks),
            metric=metric,
        )

    @classmethod
    def from_scores(
        cls,
        scores: Iterable[Score],
        *,
        masked: Iterable[MaskedScore] = (),
        tasks: Iterable[Task] = (),
        name: str = "study",
        model: str | None = None,
        parameters: float | None = None,
        mixtures: Iterable[MixtureScore] = (),
        placebos: Iterable[Score | MaskedScore] = (),
        doses: Mapping[str, float] | None = None,
    ) -> TransferMatrix:
        """Build from evaluations with base rows.

        Args:
            scores, masked: evaluations of the base model and of runs on single sources, and those that are missing.
            tasks: what is known of the tasks.
            name, model, parameters: of the study.
            mixtures: evaluations of runs on mixtures and doses, which become ``evidence``.
            placebos: evaluations of placebo runs, with the placebo's name in place of a source.
            doses: share of the budget by source, for sources whose runs took less than all of it.

        A run without a base row of its own uses the only base row of that target where there is just one. A cell whose base
        is missing, or is not below the target's ceiling, is masked with that reason.
        """
        known = tuple(scores)
        named: dict[str, Any] = {"name": name, "model": model, "parameters": parameters}
        cells = MeasuredCells(known, tuple(masked), tuple(tasks))
        matrix = cls(**named, **cells.fields(), evidence=cells.evidence(tuple(mixtures)))
        if doses:
            shares = np.array([doses.get(source, 1.0) for source in matrix.sources])
            matrix = replace(matrix, doses=np.tile(shares, (len(matrix.runs), 1)))
        beside = tuple(placebos)
        if not beside:
            return matrix
        base = (score for score in known if score.source is None)
        measured = (score for score in beside if isinstance(score, Score))
        lacking = (score for score in beside if isinstance(score, MaskedScore))
        built = cls(**named, **MeasuredCells((*base, *measured), tuple(lacking), tuple(tasks)).fields())
        return replace(matrix, placebo=built.reindex(targets=matrix.targets, missing=True))


def _nan_mean(values: Floats) -> Floats:
    """Mean over the first axis, ignoring NaN, and NaN (without a warning) where nothing is left."""
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
