"""Everything ``tvt analyze`` says, as one frozen value with its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.notebook import Frame, analysis_frame, matrix_html, table
from tvt.core.values import Frozen, by_fields
from tvt.errors import InputError
from tvt.stats.noise import Interval, run_interval
from tvt.stats.ranks import least_p
from tvt.transfer.adapter_similarity import AdapterSimilarity, beside_pgf
from tvt.transfer.aggregates import (
    Aggregate,
    Grouping,
    aggregate,
    groupings,
    leave_one_out,
    malleability,
    run_mean,
    transferability,
)
from tvt.transfer.cliques import Cliques, cliques_by_test, every_run_cliques, mean_cliques
from tvt.transfer.dose_trend import DoseTrend, dose_trend
from tvt.transfer.generic import Split, specific_matrix, split
from tvt.transfer.noise import Noise, Significance, between_studies, noise, significance
from tvt.transfer.personas import ALPHA, KINDS, Personas, personas
from tvt.types import Floats

SCHEMA = 1
SIGNS: Mapping[str, int] = {"positive": 1, "negative": -1}


@dataclass(frozen=True)
class StudyAnalysis(Frozen):
    """What one study says by itself."""

    name: str
    """Unique among the studies analysed together."""
    matrix: TransferMatrix
    transferability: Aggregate
    malleability: Aggregate
    cliques: Mapping[str, Cliques]
    """``positive``, ``negative``, and the same with ``_every_seed``, ``_test``, and ``_threshold`` where one was given."""
    noise: Noise
    significance: Significance | None
    """Transfers that stand out of the noise; ``None`` where the noise is not known."""
    groups: tuple[Grouping, ...]
    doses: DoseTrend | None
    """``None`` where the study has no runs on doses."""
    split: Split
    """What any finetuning does to each target, and what each source does beyond it."""
    adapters: AdapterSimilarity | None = None
    """``None`` where it was not asked for."""

    def json_value(self) -> dict[str, Any]:
        """The study in ``tvt analyze --json``."""
        matrix = self.matrix
        return {
            **{name: getattr(matrix, name) for name in ("metric", "model", "parameters", "runs", "sources", "targets")},
            "digest": matrix.digest(),
            "pgf": _cells_json(matrix),
            "transferability": self.transferability,
            "malleability": self.malleability,
            "cliques": {word: cliques.members for word, cliques in self.cliques.items()},
            "noise": self.noise,
            "stand_out": self.significance,
            **self.split.json_value(),
            "placebo": None if matrix.placebo is None else _cells_json(matrix.placebo),
            "doses_of_sources": {source: dose for source, dose in matrix.dose.items() if dose < 1},
            "groups": {grouping.by: grouping for grouping in self.groups},
            "doses": self.doses,
            "adapters": self.adapters,
        }

    def __repr__(self) -> str:
        return f"StudyAnalysis({self.name!r}: {self.matrix!r})"

    def _repr_html_(self) -> str:
        rows = []
        for of, kind in ((self.transferability, "source"), (self.malleability, "target")):
            rows += [
                (kind, name, f"{up:+.4f}", f"{down:+.4f}")
                for name, up, down in zip(of.names, of.positive.tolist(), of.negative.tolist(), strict=True)
            ]
        return matrix_html(self.matrix) + table(
            ("side", "task", "helps", "harms"), rows, title="transferability and malleability"
        )


@dataclass(frozen=True)
class TrendPoint:
    """Mean transferability of a study's sources, and mean malleability of its targets."""

    study: str
    parameters: float | None
    """Billions, where known."""
    sign: str
    """``positive`` or ``negative``."""
    transferability: Interval
    malleability: Interval

    def json_value(self) -> dict[str, Any]:
        """Transferability's figures stand beside the study's name, malleability's in a key of their own."""
        plain = {"study": self.study, "parameters": self.parameters, "sign": self.sign}
        return {**plain, **by_fields(self.transferability), "malleability": self.malleability}


@dataclass(frozen=True)
class Analysis(Frozen):
    """What one or more studies say, alone and together."""

    studies: tuple[StudyAnalysis, ...]
    personas: Personas
    trend: tuple[TrendPoint, ...]
    """By number of parameters where all studies give it, else in the order given."""
    agreement: Mapping[tuple[str, str], tuple[float, int]]
    """Pair of studies -> Spearman's correlation of their shared off-diagonal cells, and how many these are."""
    alpha: float
    threshold: float | None
    with_self: bool
    specific: Analysis | None = None
    """The same of what the sources do beyond any finetuning; ``None`` where it was not asked for."""

    def __repr__(self) -> str:
        return f"Analysis of {', '.join(study.name for study in self.studies)}"

    def _repr_html_(self) -> str:
        return "".join(study._repr_html_() for study in self.studies)

    def to_frame(self) -> Frame:
        """A pandas table, a row for each study, source and target: study, source, target, gain (mean), error, runs.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return analysis_frame({study.name: study.matrix for study in self.studies})

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits the answers, one sentence each."""
        found = [self.personas.note] if self.personas.note else []
        if len({s.matrix.metric for s in self.studies}) > 1:
            found.append("the studies mix PGF and other gains; personas and trend compare figures on different scales")
        for study in self.studies:
            found += _study_notes(study, self.alpha)
        return tuple(found)

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt analyze --json`` (schema 1)."""
        return {
            "schema": SCHEMA,
            "alpha": self.alpha,
            "threshold": self.threshold,
            "with_self": self.with_self,
            "studies": self._studies_json(),
            "personas": {kind: self.personas.passing(kind) for kind in KINDS},
            "personas_all": {
                kind: {t.task: {"p": t.p, "values": len(t.values), "median": t.median} for t in self.personas.of(kind)}
                for kind in KINDS
            },
            "trend": self.trend,
            "agreement": [{"studies": pair, "spearman": rho, "cells": cells} for pair, (rho, cells) in self.agreement.items()],
            "notes": self.notes,
            **({} if self.specific is None else {"specific_personas": self.specific.json_value()["personas"]}),
        }

    def _studies_json(self) -> dict[str, Any]:
        """The studies by name, with the cliques and aggregates of the specific part where these were asked for."""
        if self.specific is None:
            return {study.name: study for study in self.studies}
        named = ("transferability", "malleability", "cliques")
        found = {}
        for study, beyond in zip(self.studies, self.specific.studies, strict=True):
            value = beyond.json_value()
            found[study.name] = {**study.json_value(), **{f"specific_{name}": value[name] for name in named}}
        return found


def analyze(
    matrices: Sequence[TransferMatrix],
    *,
    alpha: float = ALPHA,
    threshold: float | None = None,
    with_self: bool = False,
    adapters: Sequence[AdapterSimilarity] | None = None,
    specific: bool = False,
) -> Analysis:
    """Analyse one or more studies.

    Args:
        matrices: the studies; a name that comes twice gets a number.
        alpha: level of the persona tests and of the cliques by test, between 0 and 1.
        threshold: also look for cliques whose mean PGF exceeds this magnitude.
        with_self: whether self-transfer counts in aggregates, personas and groups.
        adapters: how alike each study's adapters are, where that shall be reported too.
        specific: also analyse what the sources do beyond any finetuning (:attr:`Analysis.specific`).

    Raises:
        InputError: no study, or an option out of range.
    """
    faults = []
    if not matrices:
        faults.append("no study to analyse; name at least one, e.g. qwen2.5-vl-7b (tvt studies lists them)")
    if not 0 < alpha < 1:
        faults.append(f"alpha {alpha:g} is not between 0 and 1; usual is 0.01")
    if threshold is not None and not 0 <= threshold < np.inf:
        faults.append(f"threshold {threshold:g} is not a finite magnitude of at least 0; give e.g. 0.05")
    if faults:
        raise InputError(*faults)
    names = unique_names([m.name for m in matrices])
    studies = tuple(_study(n, m, alpha, threshold, with_self) for n, m in zip(names, matrices, strict=True))
    if adapters is not None:
        pairs = zip(studies, adapters, strict=True)
        studies = tuple(replace(study, adapters=beside_pgf(alike, study.matrix)) for study, alike in pairs)
    return Analysis(
        studies=studies,
        personas=personas(matrices, alpha=alpha, with_self=with_self),
        trend=_trend(studies, with_self),
        agreement={(a.name, b.name): between_studies(a.matrix, b.matrix) for a, b in combinations(studies, 2)},
        alpha=alpha,
        threshold=threshold,
        with_self=with_self,
        specific=_beyond(studies, alpha, threshold, with_self) if specific else None,
    )


def _beyond(studies: Sequence[StudyAnalysis], alpha: float, threshold: float | None, with_self: bool) -> Analysis:
    """The analysis of the specific parts, whose studies are named after their own."""
    parts = [specific_matrix(replace(study.matrix, name=study.name), study.split) for study in studies]
    return analyze(parts, alpha=alpha, threshold=threshold, with_self=with_self)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with `` (2)`` and so on after those that came before."""
    found: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in found:
            candidate, number = f"{name} ({number})", number + 1
        found.append(candidate)
    return found


def _study(name: str, matrix: TransferMatrix, alpha: float, threshold: float | None, with_self: bool) -> StudyAnalysis:
    cliques: dict[str, Cliques] = {}
    for word, sign in SIGNS.items():
        cliques[word] = mean_cliques(matrix, sign)
        cliques[f"{word}_every_seed"] = every_run_cliques(matrix, sign)
        cliques[f"{word}_test"] = cliques_by_test(matrix, sign, alpha=alpha)
        if threshold is not None:
            cliques[f"{word}_threshold"] = mean_cliques(matrix, sign, threshold)
    return StudyAnalysis(
        name=name,
        matrix=matrix,
        transferability=transferability(matrix, with_self=with_self),
        malleability=malleability(matrix, with_self=with_self),
        cliques=cliques,
        noise=noise(matrix),
        significance=significance(matrix),
        groups=groupings(matrix, with_self=with_self),
        doses=dose_trend(matrix),
        split=split(matrix),
    )


def _trend(studies: Sequence[StudyAnalysis], with_self: bool) -> tuple[TrendPoint, ...]:
    sized = [s.matrix.parameters for s in studies]
    ordered = list(studies)
    if all(size is not None for size in sized):
        ordered.sort(key=lambda s: s.matrix.parameters or 0.0)
    return tuple(_trend_point(study, word, with_self) for word in SIGNS for study in ordered)


def _trend_point(study: StudyAnalysis, word: str, with_self: bool) -> TrendPoint:
    matrix = study.matrix
    values = matrix.values if with_self else np.where(matrix.self_cells, np.nan, matrix.values)
    sides = (_mean_aggregate(cube, SIGNS[word]) for cube in (values, np.swapaxes(values, 1, 2)))
    return TrendPoint(study.name, matrix.parameters, word, *sides)


def _mean_aggregate(values: Floats, sign: int) -> Interval:
    """Mean of an aggregate over the tasks of one side, from (runs, tasks, cells)."""
    whole, others = (_mean_over_tasks(aggregate(of, sign)) for of in (run_mean(values)[None], leave_one_out(values)))
    return run_interval(float(whole[0]), others)


def _mean_over_tasks(values: Floats) -> Floats:
    """Mean over the last axis without NaN, and NaN where nothing is left."""
    return run_mean(values.T)


def _study_notes(study: StudyAnalysis, alpha: float) -> list[str]:
    matrix, found = study.matrix, []
    if not matrix.runs:
        found.append(f"{study.name}: no run, so nothing was measured but the base model")
    elif len(matrix.runs) == 1:
        found.append(f"{study.name}: one run, so the spread between runs is not known")
    elif least_p(len(matrix.runs)) > alpha:
        found.append(
            f"{study.name}: with {len(matrix.runs)} runs the one-sided p of a clique's edge cannot go below "
            f"{least_p(len(matrix.runs)):.4g}, so no clique passes the test at alpha {alpha:g}"
        )
    if doses := {source: dose for source, dose in matrix.dose.items() if dose < 1}:
        listed = ", ".join(f"{source} {dose:.3g}" for source, dose in doses.items())
        found.append(
            f"{study.name}: sources with few rows were trained on a share of the budget, and their cells are of that: {listed}"
        )
    found += [f"{study.name}: no adapter of {reason}" for reason in (study.adapters.missing if study.adapters else ())]
    if study.noise.missing:
        found.append(f"{study.name}: {_cells(study.noise.missing)} missing and left out, never counted as 0")
    if not all(cliques.complete for cliques in study.cliques.values()):
        found.append(f"{study.name}: too many cliques to see them all; those listed may not be the largest")
    return found


def _cells(count: int) -> str:
    return "1 cell is" if count == 1 else f"{count} cells are"


def _cells_json(matrix: TransferMatrix) -> dict[str, Any]:
    """Mean and errors of every cell, or why it is not there."""
    mean, seed, item = matrix.mean, matrix.seed_error, matrix.item_error
    return {
        s: {
            t: {
                "mean": mean[i, j],
                "se_seed": seed[i, j],
                "se_items": item[i, j] if np.isfinite(mean[i, j]) else None,
                "masked": None if np.isfinite(mean[i, j]) else matrix.reason(s, t),
            }
            for j, t in enumerate(matrix.targets)
        }
        for i, s in enumerate(matrix.sources)
    }
