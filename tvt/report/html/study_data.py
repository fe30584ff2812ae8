"""One study as the page's JSON: every figure that a picture or its table shows, and where the study came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvt.compare.comparison import Comparison
from tvt.core.matrix import TransferMatrix
from tvt.core.recipe import Recipe
from tvt.core.scores import Score
from tvt.core.selection import SelectionSpec
from tvt.data.studies.folder import StudyFolder
from tvt.evidence.predict import estimated_cells
from tvt.io.yaml_files import public_model_name
from tvt.report.analysis_tables import headline
from tvt.report.evaluation_tables import Warned
from tvt.report.heatmap import colour_limit
from tvt.report.html import short
from tvt.report.html.explorer_data import Explorer
from tvt.report.html.orders import orders, start_layout, tasks_of
from tvt.report.split_tables import split_sentences
from tvt.report.style import plain, short_labels
from tvt.transfer.aggregates import Aggregate
from tvt.transfer.analysis import StudyAnalysis
from tvt.transfer.noise import p_values, sign_unstable

SETS = ("positive", "negative", "positive_every_seed", "negative_every_seed")
MOST_SETS = 12
"""Cliques of one kind that the graph's list offers."""


@dataclass(frozen=True, kw_only=True)
class StudySource:
    """What is known of a study beside its matrix, to tell where it came from; all of it may be missing."""

    reference: str
    """What the person wrote."""
    folder: StudyFolder | None = None
    recipe: Recipe | None = None
    versions: tuple[str, ...] = ()
    """Of the programs that its runs were made with, e.g. ``torch 2.8.0``."""
    explorer: Explorer | None = None
    comparisons: tuple[tuple[str, Comparison], ...] = ()
    """Name and result."""
    warnings: tuple[Warned, ...] = ()
    """What makes its scores doubtful."""
    problems: tuple[str, ...] = ()
    """What should be in the report and could not be had, one sentence each."""


def study_data(study: StudyAnalysis, source: StudySource) -> dict[str, Any]:
    """One entry of the page's ``studies``.

    Positions (of sources, targets, runs) index the arrays; ``tasks`` names both sides. ``pgf`` holds the cells: ``mean``,
    ``seSeed``, ``seItem``, ``p`` (sources, targets), ``runs``, ``runSeItem`` and ``after`` (runs, sources, targets), ``base``
    (runs, targets), ``questions`` (targets), ``unstable`` and ``stands`` (1 help, -1 harm, 0 neither), and ``reasons``, the
    reason of every missing cell as ``"run|source|target": text`` (positions). ``estimates`` is what a selection takes missing
    cells for, ``"source|target": [value, low, high]``, at ``estimateConfidence``. Unknown figures are ``null``.
    """
    matrix = study.matrix
    return {
        "name": study.name,
        "model": None if matrix.model is None else public_model_name(matrix.model),
        "parameters": matrix.parameters,
        "metric": matrix.metric,
        "runs": list(matrix.runs),
        "tasks": _tasks(matrix),
        "sources": [tasks_of(matrix).index(name) for name in matrix.sources],
        "targets": [tasks_of(matrix).index(name) for name in matrix.targets],
        "headline": headline(study).removeprefix(f"{study.name}: "),
        "warnings": [{"text": warned.text, "loud": warned.loud} for warned in source.warnings],
        "standing": _standing(study),
        "split": _split(study),
        "pgf": _cells(study, source.folder),
        "orders": orders(study),
        "layout": start_layout(matrix),
        "cliques": _cliques(study),
        "transferability": _aggregate(study.transferability),
        "malleability": _aggregate(study.malleability),
        "noise": _noise(study),
        "groups": {grouping.by: short(grouping) for grouping in study.groups},
        "doses": short(study.doses),
        "adapters": short(study.adapters),
        "explorer": None if source.explorer is None else _explorer(source.explorer),
        "comparisons": [{"name": name, **short(found)} for name, found in source.comparisons],
        "provenance": _provenance(matrix, source),
    }


def _tasks(matrix: TransferMatrix) -> list[dict[str, Any]]:
    labels, known = short_labels(matrix), {task.name: task for task in matrix.tasks}
    return [
        {
            "name": name,
            "label": plain(name),
            "short": labels[name],
            "ceiling": known[name].ceiling if name in known else 1.0,
        }
        for name in tasks_of(matrix)
    ]


def _cells(study: StudyAnalysis, folder: StudyFolder | None) -> dict[str, Any]:
    matrix = study.matrix
    p = p_values(matrix)
    off = np.where(matrix.self_cells, np.nan, matrix.mean)
    return {
        "limit": short(colour_limit(off if np.isfinite(off).any() else matrix.mean)),
        "mean": short(matrix.mean),
        "seSeed": short(matrix.seed_error),
        "seItem": short(matrix.item_error),
        "runSeItem": short(matrix.item_errors, 4),
        "p": short(p, 4),
        "runs": short(matrix.values),
        "after": short(matrix.after, 6),
        "base": short(matrix.base, 6),
        "questions": _questions(matrix, () if folder is None else folder.scores),
        "unstable": sign_unstable(matrix.values).astype(int).tolist(),
        "stands": _stands(study),
        "reasons": _reasons(matrix),
        "estimates": _estimates(matrix),
        "estimateConfidence": SelectionSpec().confidence,
    }


def _questions(matrix: TransferMatrix, scores: Sequence[Score]) -> list[int | None]:
    """Questions of every target; ``None`` where they are not known or differ between evaluations."""
    totals: dict[str, set[int | None]] = {}
    for score in scores:
        totals.setdefault(score.target, set()).add(score.total)
    found = [totals.get(target, set()) for target in matrix.targets]
    return [next(iter(of)) if len(of) == 1 else None for of in found]


def _split(study: StudyAnalysis) -> dict[str, Any]:
    """What any finetuning does to each target (positions as in ``targets``), and what explains the variance of transfers."""
    of = study.split
    return {
        "generic": short(of.generic),
        "error": short(of.generic_error),
        "sentences": list(split_sentences(of, study.matrix)),
    }


def _stands(study: StudyAnalysis) -> list[list[int]] | None:
    if study.significance is None:
        return None
    helps, harms, own = set(study.significance.helps), set(study.significance.harms), set(study.significance.own)
    helps |= {(task, task) for task in own}
    sources, targets = study.matrix.sources, study.matrix.targets
    return [[((s, t) in helps) - ((s, t) in harms) for t in targets] for s in sources]


def _reasons(matrix: TransferMatrix) -> dict[str, str]:
    found = {}
    for k, i, j in np.argwhere(np.isnan(matrix.values)).tolist():
        cell = (matrix.runs[k], matrix.sources[i], matrix.targets[j])
        found[f"{k}|{i}|{j}"] = matrix.reasons.get(cell, "not measured")
    return found


def _estimates(matrix: TransferMatrix) -> dict[str, list[float | None]]:
    return {
        f"{matrix.sources.index(source)}|{matrix.targets.index(target)}": [
            short(cell.gain),
            short(cell.low),
            short(cell.high),
        ]
        for (source, target), cell in estimated_cells(matrix).items()
    }


def _standing(study: StudyAnalysis) -> dict[str, Any] | None:
    of = study.significance
    if of is None:
        return None
    counts = {"helps": len(of.helps), "harms": len(of.harms), "own": len(of.own)}
    return {**counts, "tested": of.tested, "ownTested": of.own_tested}


def _cliques(study: StudyAnalysis) -> list[dict[str, Any]]:
    """The largest sets of tasks that all help, or all harm, each other; those of two say no more than an edge."""
    names = tasks_of(study.matrix)
    return [
        {"kind": kind, "of": len(study.cliques[kind].members), "tasks": [names.index(task) for task in members]}
        for kind in SETS
        if study.cliques[kind].size > 2
        for members in study.cliques[kind].members[:MOST_SETS]
    ]


def _aggregate(of: Aggregate) -> dict[str, Any]:
    """Both signs with their standard error from runs and questions together (one that is not known counts as 0)."""
    found: dict[str, Any] = {"positive": short(of.positive), "negative": short(of.negative)}
    for sign in ("positive", "negative"):
        seed, item = getattr(of, f"{sign}_error"), getattr(of, f"{sign}_item_error")
        both = np.sqrt(np.nan_to_num(seed) ** 2 + np.nan_to_num(item) ** 2)
        found[f"{sign}Error"] = short(np.where(np.isnan(seed) & np.isnan(item), np.nan, both))
    return found


def _noise(study: StudyAnalysis) -> dict[str, Any]:
    of = study.noise
    return {
        "runs": of.runs,
        "cells": of.cells,
        "missing": of.missing,
        "flips": len(of.sign_flips),
        "reliability": short(of.reliability),
        "itemShare": short(of.item_share),
    }


def _explorer(of: Explorer) -> dict[str, Any]:
    """The frontiers, with predicted gains as lists in the order of ``targets``: names would be half of the file."""
    points = [point for request in of.requests for found in request["frontiers"].values() for point in found.get("points", ())]
    targets = list(points[0]["predicted"]) if points else []

    def short(found: dict[str, Any]) -> dict[str, Any]:
        if "points" not in found:
            return found
        return {"points": [{**p, "predicted": [p["predicted"][target] for target in targets]} for p in found["points"]]}

    return {
        "targets": targets,
        "requests": [
            {"target": request["target"], "frontiers": {kind: short(found) for kind, found in request["frontiers"].items()}}
            for request in of.requests
        ],
        "leftOut": [plain(name) for name in of.left_out],
        "kappa": of.kappa,
        "budget": of.budget,
        "confidence": of.confidence,
    }


def _provenance(matrix: TransferMatrix, source: StudySource) -> dict[str, Any]:
    manifest = None if source.folder is None else source.folder.manifest
    return {
        "reference": source.reference,
        "digest": matrix.digest(),
        "budget": matrix.budget,
        "counts": None if manifest is None else manifest.counts,
        "text": None if manifest is None else manifest.provenance,
        "recipe": None if source.recipe is None else _recipe(source.recipe),
        "versions": list(source.versions),
        "failures": _failures(matrix),
        "problems": list(source.problems),
    }


def _recipe(recipe: Recipe) -> dict[str, str]:
    """What the runs were made with, field by field; places of files are left out."""
    told: dict[str, Any] = recipe.model_dump(
        mode="json", exclude={"manifests", "datasets", "data_dir", "runtime", "sources", "targets"}
    )
    told["model"]["model_name_or_path"] = public_model_name(recipe.model.model_name_or_path)
    flat: dict[str, str] = {}
    for name, value in told.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": _text(item) for key, item in value.items() if item is not None}
        elif value is not None:
            flat[name] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _failures(matrix: TransferMatrix) -> list[dict[str, Any]]:
    """Why cells are missing: each run without any cell told as a whole, other cells by target and reason.

    An entry has ``run`` and ``source`` (a whole run) or ``target``, ``cells`` and ``reason``.
    """
    missing = np.isnan(matrix.values)
    whole: list[dict[str, Any]] = []
    counted: Counter[tuple[str, str]] = Counter()
    for k, i, j in np.argwhere(missing).tolist():
        run, source, target = matrix.runs[k], matrix.sources[i], matrix.targets[j]
        reason = matrix.reasons.get((run, source, target), "not measured")
        if not missing[k, i].all():
            counted[target, reason] += 1
        elif j == 0:
            whole.append({"run": run, "source": plain(source), "cells": len(matrix.targets), "reason": reason})
    by_target = ({"target": plain(t), "cells": count, "reason": reason} for (t, reason), count in counted.items())
    return [*whole, *by_target]
