"""Mixtures worth a look before one of them is trained: the selected one, simple ones, and careful or bolder ones around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tvt.compare.baselines import entries
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.preview import Candidate
from tvt.errors import InputError
from tvt.selection.audit import audit, round_to_counts, tidy
from tvt.selection.prepare import Prepared, prepare
from tvt.selection.simple import uniform
from tvt.types import Floats

RISKS = (1.0, 3.0)
"""Standard errors given up by the careful candidates."""


def candidates(
    matrix: TransferMatrix, mixture: Mixture, prepared: Prepared, budget: int, sizes: Mapping[str, int] | None = None
) -> tuple[Candidate, ...]:
    """About eight mixtures of ``budget`` examples with different counts, the selected one first.

    Uniform, proportional and best single are those of a comparison; ``direct`` is among them only where the selection might
    have used it. Careful and bolder variants keep to every limit of the request. Where nothing helps, the mixture that would
    have been least bad stands for the selected one.

    Args:
        matrix: the study.
        mixture: what was selected on it.
        prepared: the request it was selected for.
        budget: the study's.
        sizes: how many examples the sources have.

    Raises:
        InputError: see :func:`tvt.compare.baselines.entries`.
    """
    allowed = set(prepared.request.sources)
    compared = entries(matrix, mixture, budget=budget, sizes=sizes, randoms=0)
    found = [
        Candidate(label=e.label, counts=e.counts, about=e.about) for e in compared if e.counts and set(e.counts) <= allowed
    ]
    found += _variants(matrix, mixture, prepared, budget)
    return distinct(found)


def distinct(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Without those whose counts are those of an earlier one."""
    first: dict[tuple[tuple[str, int], ...], Candidate] = {}
    for candidate in found:
        first.setdefault(tuple(sorted(candidate.counts.items())), candidate)
    return tuple(first.values())


def _variants(matrix: TransferMatrix, mixture: Mixture, prepared: Prepared, budget: int) -> Iterator[Candidate]:
    request = prepared.request
    helps = mixture.verdict == "train"
    chosen = mixture.weights if helps else mixture.least_bad
    middle = np.array([chosen.get(s, 0.0) for s in request.sources])
    told: list[tuple[str, str, Floats]] = [] if helps else [("least bad", "best of those that do not help", middle)]
    name = "selected" if helps else "least bad"
    if middle.sum() > 0:
        told.append(("flatter", f"half-way from {name} to uniform", (middle + uniform(len(middle))) / 2))
        told.append(("sharper", f"squared shares of {name}", middle**2 / (middle**2).sum()))
    told += _careful(matrix, prepared)
    for label, about, weights in told:
        if audit(weights, request, prepared.response, max_sources=prepared.spec.max_sources).passed:
            yield _rounded(label, about, weights, prepared, budget)


def _careful(matrix: TransferMatrix, prepared: Prepared) -> Iterator[tuple[str, str, Floats]]:
    """The same request with more care for errors; nothing where no errors are known."""
    for risk in RISKS:
        spec = prepared.spec.model_copy(update={"risk": prepared.spec.risk + risk, "cvar": None})
        try:
            asked = prepare(matrix, spec)
        except InputError:
            return
        solution = asked.solve()
        if solution.weights is not None:
            yield f"careful {risk:g}", f"selected with risk {spec.risk:g}", tidy(solution.weights, asked.request)


def _rounded(label: str, about: str, weights: Floats, prepared: Prepared, budget: int) -> Candidate:
    request = prepared.request
    counts = round_to_counts(weights, budget, caps=np.minimum(request.caps, 1.0), floors=request.floors)
    told = {s: int(n) for s, n in zip(request.sources, counts, strict=True) if n > 0}
    return Candidate(label=label, counts=told, about=about)
