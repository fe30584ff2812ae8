"""The mixture explorer's figures: every mixture that its slider shows is selected here, with the command that gives it.

A *request* is what the mixture is for: the mean of all targets, or one target without its own training data. It has up to two
*frontiers*: ``risk`` (how many standard errors of gain are given up for safety) and ``harm`` (how much the worst-off target may
lose). A frontier's points are whole selections, as ``tvt select`` makes them.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.selection import ALL, SelectionSpec
from tvt.errors import InputError
from tvt.evidence.response import Curvature
from tvt.report.html import short
from tvt.selection.engine import finish, prepare
from tvt.selection.frontier import Kind, frontier_specs, gain_error

KINDS: tuple[Kind, ...] = ("risk", "harm")
MOST_TARGETS = 13
"""Single targets that get an explorer where nobody said which; more would take minutes."""
LIMIT_DIGITS = 4
"""Decimals of a limit on harm: few enough to be typed."""

Progress = Callable[[int, int], None]
"""Called with how many frontiers are done and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """The frontiers of one study as plain values (see :func:`explore`), and what the choice of targets left out."""

    requests: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]
    """Targets without an explorer of their own."""
    kappa: str
    """How the curvature of the response came about."""
    budget: int
    confidence: float


def explore(matrix: TransferMatrix, reference: Sequence[str], targets: Sequence[str] | None, progress: Progress) -> Explorer:
    """Solve every frontier of a study.

    A request is ``{"target": name or None, "frontiers": {kind: {"points": [...]} or {"reason": text}}}``. A point holds
    ``setting``, ``verdict``, ``gain`` (mean over the counting targets) and its ``error``, ``weights`` and ``counts`` (by
    source, those above 0), ``predicted`` (by target: gain, low, high), ``estimated`` (by target, the sources with a weight
    whose cell was not measured) and ``command``.

    Args:
        matrix: the study.
        reference: how the command line names the study, with its options.
        targets: which single targets; ``None``: the first ``MOST_TARGETS``.
        progress: told of frontiers done.

    Raises:
        InputError: nothing can be selected on this study.
    """
    measured = _measured(matrix)
    chosen = list(measured[:MOST_TARGETS] if targets is None else dict.fromkeys(targets))
    settled = prepare(matrix, _request(matrix, None))
    joint = settled.of.joint
    requests: list[dict[str, Any]] = []
    total = len(KINDS) * (1 + len(chosen))
    for target in (None, *chosen):
        # kappa was settled once; fitting it anew for every point would give the same.
        spec = _request(matrix, target).model_copy(update={"kappa": settled.settled.kappa})
        result = {}
        for kind in KINDS:
            result[kind] = _frontier(matrix, spec, kind, reference)
            progress(len(requests) * len(KINDS) + len(result), total)
        requests.append({"target": target, "frontiers": result})
    return Explorer(
        requests=tuple(requests),
        left_out=tuple(t for t in measured if t not in chosen),
        kappa=joint.shape if joint is not None else _told(settled.curvature),
        budget=settled.spec.budget,
        confidence=settled.spec.confidence,
    )


def _told(curvature: Curvature | None) -> str:
    if curvature is None:
        return "in proportion"
    return f"{curvature.text}, an assumption" if curvature.origin == "assumed" else curvature.text


def _measured(matrix: TransferMatrix) -> tuple[str, ...]:
    count = matrix.run_count
    return tuple(target for j, target in enumerate(matrix.targets) if (count[:, j] > 0).any())


def _request(matrix: TransferMatrix, target: str | None) -> SelectionSpec:
    spec = SelectionSpec() if matrix.budget is None else SelectionSpec(budget=matrix.budget)
    if target is None:
        return spec
    others = [source for source in matrix.sources if source != target]
    # A target whose own data is all that there is cannot do without it.
    return spec.model_copy(update={"targets": {target: 1.0}, "without_direct": bool(others) and target in matrix.sources})


def _frontier(matrix: TransferMatrix, spec: SelectionSpec, kind: Kind, reference: Sequence[str]) -> dict[str, Any]:
    """The points of one frontier, or the reason why there is none."""
    try:
        asked = [_typable(setting, one, kind) for setting, one in frontier_specs(matrix, spec, kind)]
        points = [_point(matrix, one, setting, reference) for setting, one in dict(asked).items()]
    except InputError as error:
        return {"reason": "; ".join(error.faults)}
    known = [point for point in points if point is not None]
    return {"points": known} if known else {"reason": "no mixture can be found for any of its settings"}


def _typable(setting: float, spec: SelectionSpec, kind: Kind) -> tuple[float, SelectionSpec]:
    """The setting with few decimals, so that a command can state it exactly; a limit on harm is rounded to what is easier."""
    if kind == "risk":
        return setting, spec
    limit = math.floor(setting * 10**LIMIT_DIGITS) / 10**LIMIT_DIGITS
    return limit, spec.model_copy(update={"protect": {ALL: limit}})


def _point(matrix: TransferMatrix, spec: SelectionSpec, setting: float, reference: Sequence[str]) -> dict[str, Any] | None:
    prepared = prepare(matrix, spec)
    answer = finish(prepared)
    verdict = getattr(answer, "verdict", None)
    if verdict == "nothing_helps":
        spec = spec.model_copy(update={"anyway": True})
        prepared = prepare(matrix, spec)
        answer = finish(prepared)
    if not isinstance(answer, Mixture):
        return None
    counting = spec.targets or dict.fromkeys(answer.predicted, 1.0)
    gains = [answer.predicted[target].gain for target in counting]
    return {
        "setting": setting,
        "verdict": verdict,
        "gain": short(sum(gains) / len(gains)),
        "error": short(gain_error(prepared, np.array([answer.weights[source] for source in prepared.request.sources]))),
        "weights": {source: short(weight, 6) for source, weight in answer.weights.items() if weight > 0},
        "counts": {source: count for source, count in answer.counts.items() if count > 0},
        "predicted": {t: [short(p.gain, 4), short(p.low, 4), short(p.high, 4)] for t, p in answer.predicted.items()},
        "estimated": {t: list(p.estimated) for t, p in answer.predicted.items() if p.estimated},
        "command": "tvt select " + shlex.join([*reference, *_options(spec)]),
    }


def _options(spec: SelectionSpec) -> list[str]:
    """The options of ``tvt select`` that make this request; kappa is left to it, since it settles on the same."""
    result: list[str] = []
    for target in spec.targets:
        result += ["--target", f"{target}=1" if "=" in target else target]
    if spec.without_direct:
        result.append("--without-direct")
    if spec.risk:
        result += ["--risk", f"{spec.risk:g}"]
    for name, limit in spec.protect.items():
        result += ["--protect", f"{name}={limit:.{LIMIT_DIGITS}f}"]
    if spec.hard:
        result.append("--hard")
    if spec.anyway:
        result.append("--anyway")
    return result
