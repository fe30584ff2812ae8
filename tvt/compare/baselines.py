"""Mixtures beside a selected one, of the same budget: the baselines of a comparison and the candidates of a preview."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvt.core.arms import Arm, Candidate, Kind
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.scores import Run
from tvt.core.selection import SelectionSpec
from tvt.core.values import positions
from tvt.errors import InputError, suggest
from tvt.selection.audit import audit, best_single, proportional, pure_value, round_to_counts, tidy, uniform
from tvt.selection.engine import Prepared, prepare
from tvt.types import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """What every arm needs: the prepared request, allowed ``sources`` by name, and how often examples may be repeated."""

    prepared: Prepared
    sources: tuple[str, ...]
    budget: int

    @property
    def spec(self) -> SelectionSpec:
        return self.prepared.spec

    def capacity(self, source: str) -> float:
        """Most examples that a source gives within the epochs allowed."""
        size = self.spec.sizes.get(source)
        return np.inf if size is None else self.spec.max_epochs * size


def arms_of(
    matrix: TransferMatrix,
    mixture: Mixture,
    *,
    budget: int,
    sizes: Mapping[str, int] | None = None,
    randoms: int = 3,
    seed: int = 0,
) -> tuple[Arm, ...]:
    """The arms of a comparison, all of ``budget`` examples: selected, uniform, random, proportional, best single, direct.

    Baselines use the sources that the selection was allowed to use; only ``direct``, the yardstick, uses the counting targets'
    own data even where the selection had to do without. It is left out where no counting target is a source. The baselines do
    not keep to the selection's other limits, and where they repeat data more often than allowed, ``about`` says so.

    Args:
        matrix: the study that the mixture was chosen on.
        mixture: a selected mixture; one without weights (nothing helps) becomes an arm without counts, the base model.
        budget: examples per arm.
        sizes: how many examples the sources have, beside those that the selection already knew.
        randoms, seed: how many random mixtures, Dirichlet(1), and their seed; the k-th is the same whatever their number.

    Raises:
        InputError: a mixture without a record of its request, one whose sources the study lacks, or one whose sources have too
            few examples for the budget.
    """
    if budget < 1:
        raise InputError(f"a comparison needs a budget of at least 1 example, not {budget}")
    asked = spec_of(mixture)
    _check_sources(matrix, mixture)
    known = {matrix.resolve(s): n for s, n in asked.sizes.items()}
    known |= {s: n for s, n in (sizes or {}).items() if s in matrix.sources}
    prepared = prepare(matrix, asked.model_copy(update={"budget": budget, "sizes": known}))
    usable = tuple(sorted(s for s in prepared.request.sources if known.get(s) != 0))
    if not usable:
        raise InputError("none of the sources allowed has any examples; give their sizes, or allow more sources")
    plan = _Plan(prepared=prepared, sources=usable, budget=budget)
    result = [_selected(plan, mixture), *_simple(plan, randoms, seed)]
    direct = _direct(plan, matrix)
    return _marked(result if direct is None else [*result, direct])


def placebo_arms(runs: Iterable[Run]) -> tuple[Arm, ...]:
    """The placebo runs of a study as arms, one per kind: what training teaches that has nothing to do with any task."""
    about = {"shuffled": "all sources, answers of chance", "format": "all sources, other tasks' prompts, answers of chance"}
    kinds = {run.placebo: run for run in runs if run.placebo is not None}
    return tuple(
        Arm(
            label=run.label,
            kind="placebo",
            weights={source: count / run.examples for source, count in run.counts.items()},
            counts=dict(run.counts),
            about=about[kind],
            placebo=kind,
        )
        for kind, run in kinds.items()
    )


def spec_of(mixture: Mixture) -> SelectionSpec:
    """The request that a mixture was selected for, with the kappa that the selection used.

    A kappa that was fitted is taken as it was then: fitted anew on a study that has grown by the very runs of the comparison,
    the calibration would know them already.

    Raises:
        InputError: the mixture holds none, e.g. because it was written by hand.
    """
    asked = mixture.provenance.get("spec")
    if not isinstance(asked, dict):
        raise InputError("the mixture does not say what was asked of it; compare one that tvt select wrote")
    spec = SelectionSpec.model_validate(asked)
    curvature = mixture.provenance.get("curvature")
    used = curvature.get("kappa") if isinstance(curvature, dict) else None
    return spec if used is None or "kappa" in asked else SelectionSpec.model_validate({**asked, "kappa": used})


def _check_sources(matrix: TransferMatrix, mixture: Mixture) -> None:
    unknown = [s for s in mixture.sources if s not in matrix.sources]
    if unknown:
        raise InputError(*(f"source '{s}' of the mixture is not in the study{suggest(s, matrix.sources)}" for s in unknown))


def _selected(plan: _Plan, mixture: Mixture) -> Arm:
    """The mixture itself; rescaled by largest remainder within its caps where its counts are of another budget."""
    names = tuple(sorted(mixture.sources))
    if not names:
        return Arm(label="selected", kind="selected", weights={}, counts={}, about="the base model: train on nothing")
    request = plan.prepared.request
    cap = dict(zip(request.sources, request.caps, strict=True))
    floor = dict(zip(request.sources, request.floors, strict=True))
    caps = np.array([min(cap.get(s, 1.0), 1.0) for s in names])
    room = float(caps.sum()) * plan.budget
    if room < plan.budget - 1e-6:
        raise InputError(
            f"the selected mixture's sources give at most {int(room):,} examples within their caps and data, fewer than the "
            f"budget of {plan.budget:,}; compare at a smaller budget, or select for this one"
        )
    weights = np.array([mixture.weights[s] for s in names])
    counts = dict(mixture.counts)
    about = "chosen by tvt select"
    # Rounding may exceed a cap by less than one example, here as in the selection.
    fits = all(counts.get(s, 0) <= np.ceil(c * plan.budget - 1e-6) for s, c in zip(names, caps, strict=True))
    if sum(counts.values()) != plan.budget or not fits:
        over = [s for s, w, c in zip(names, weights, caps, strict=True) if w > c + 1e-6]
        floors = np.minimum([floor.get(s, 0.0) for s in names], caps)
        rounded = round_to_counts(weights / weights.sum(), plan.budget, caps=caps, floors=floors)
        counts = dict(zip(names, map(int, rounded), strict=True))
        about += f", scaled from {mixture.budget:,} examples" if mixture.budget != plan.budget else ""
        about += f", less {' and '.join(over)} than chosen, limited by data or a cap" if over else ""
    return _arm(names, weights, counts, label="selected", kind="selected", about=about)


def _simple(plan: _Plan, randoms: int, seed: int) -> list[Arm]:
    """Baselines over the allowed sources."""
    prepared, names = plan.prepared, plan.sources
    request = prepared.request
    order = positions(request.sources, names)
    alone = np.eye(len(request.sources))[order]  # row i: all on names[i]
    gains = prepared.response.gains(alone) @ request.weights
    values = [pure_value(row, request, prepared.response, prepared.samples) for row in alone]
    best = best_single(values)
    top = names[int(np.argmax(best))]
    helpful = "positive mean gain over the counting targets"
    how = f"in proportion to {helpful}" if (gains > 0).any() else f"no source has a {helpful}: equal shares"
    equal = f"equal shares of {_many(len(names), 'source')}"
    result = [_rounded(plan, names, uniform(len(names)), label="uniform", kind="uniform", about=equal)]
    for k in range(1, randoms + 1):
        drawn = np.random.default_rng([seed, k]).dirichlet(np.ones(len(names)))
        result.append(_rounded(plan, names, drawn, label=f"random {k}", kind="random", about=f"Dirichlet(1), seed {seed}"))
    result.append(_rounded(plan, names, proportional(gains), label="proportional", kind="proportional", about=how))
    result.append(_rounded(plan, names, best, label="best single", kind="best_single", about=f"all on {top}"))
    return result


def _direct(plan: _Plan, matrix: TransferMatrix) -> Arm | None:
    """The counting targets' own data, in equal shares."""
    request = plan.prepared.request
    counting = sorted(t for t, w in zip(request.targets, request.weights, strict=True) if w > 0)
    names = tuple(t for t in counting if t in matrix.sources and plan.spec.sizes.get(t) != 0)
    if not names:
        return None
    about = f"own data of {_listed(names)}"
    about += "" if len(names) == len(counting) else f"; {_many(len(counting) - len(names), 'other target')} without any"
    return _rounded(plan, names, uniform(len(names)), label="direct", kind="direct", about=about)


def _rounded(plan: _Plan, names: tuple[str, ...], weights: Floats, *, label: str, kind: Kind, about: str) -> Arm:
    """A baseline with its counts, and with a word on data that it repeats more often than the selection may."""
    room = np.array([plan.capacity(s) for s in names]) / plan.budget
    caps = np.where(weights <= room, np.minimum(room, 1.0), 1.0)
    counts = dict(zip(names, map(int, round_to_counts(weights, plan.budget, caps=caps)), strict=True))
    over = {s: counts[s] / plan.spec.sizes[s] for s in names if s in plan.spec.sizes and counts[s] > plan.capacity(s)}
    about += "".join(f"; {source} {times:.3g} times over" for source, times in over.items())
    return _arm(names, weights, counts, label=label, kind=kind, about=about)


def _arm(names: tuple[str, ...], weights: Floats, counts: Mapping[str, int], *, label: str, kind: Kind, about: str) -> Arm:
    """Sources without weight or examples are left out, so that equal mixtures have equal counts."""
    return Arm(
        label=label,
        kind=kind,
        weights={s: float(w) for s, w in zip(names, weights, strict=True) if w > 0},
        counts={s: counts[s] for s in names if counts.get(s, 0) > 0},
        about=about,
    )


def same_mixtures(compared: tuple[Arm, ...] | list[Arm]) -> dict[str, str]:
    """Labels of arms whose counts are those of an earlier arm, with that arm's label."""
    first: dict[tuple[object, ...], str] = {}
    same = {}
    for arm in compared:
        label = first.setdefault((arm.placebo, *sorted(arm.counts.items())), arm.label)
        if label != arm.label:
            same[arm.label] = label
    return same


def _marked(arms: list[Arm]) -> tuple[Arm, ...]:
    """The arms, with a word on those that are the same as an earlier one."""
    same = same_mixtures(arms)
    return tuple(e.model_copy(update={"about": f"{e.about}; same as {same[e.label]}"}) if e.label in same else e for e in arms)


def _listed(names: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


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
        InputError: see :func:`tvt.compare.baselines.arms_of`.
    """
    allowed = set(prepared.request.sources)
    compared = arms_of(matrix, mixture, budget=budget, sizes=sizes, randoms=0)
    result = [
        Candidate(label=e.label, counts=e.counts, about=e.about) for e in compared if e.counts and set(e.counts) <= allowed
    ]
    result += _variants(matrix, mixture, prepared, budget)
    return distinct(result)


def distinct(several: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Without those whose counts are those of an earlier one."""
    first: dict[tuple[tuple[str, int], ...], Candidate] = {}
    for candidate in several:
        first.setdefault(tuple(sorted(candidate.counts.items())), candidate)
    return tuple(first.values())


def _variants(matrix: TransferMatrix, mixture: Mixture, prepared: Prepared, budget: int) -> Iterator[Candidate]:
    request = prepared.request
    helps = mixture.decision == "train"
    chosen = mixture.weights if helps else mixture.least_bad
    middle = np.array([chosen.get(s, 0.0) for s in request.sources])
    variants: list[tuple[str, str, Floats]] = [] if helps else [("least bad", "best of those that do not help", middle)]
    name = "selected" if helps else "least bad"
    if middle.sum() > 0:
        variants.append(("flatter", f"half-way from {name} to uniform", (middle + uniform(len(middle))) / 2))
        variants.append(("sharper", f"squared shares of {name}", middle**2 / (middle**2).sum()))
    variants += _careful(matrix, prepared)
    for label, about, weights in variants:
        if audit(weights, request, prepared.response, max_sources=prepared.spec.max_sources).passed:
            yield _candidate(label, about, weights, prepared, budget)


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


def _candidate(label: str, about: str, weights: Floats, prepared: Prepared, budget: int) -> Candidate:
    request = prepared.request
    counts = round_to_counts(weights, budget, caps=np.minimum(request.caps, 1.0), floors=request.floors)
    used = {s: int(n) for s, n in zip(request.sources, counts, strict=True) if n > 0}
    return Candidate(label=label, counts=used, about=about)
