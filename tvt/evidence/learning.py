"""Learning the posterior of a table: variances at their mode, shares by evidence, in one round or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tvt.core.mixture_runs import MixtureRuns
from tvt.evidence.gaussian_process import Process, mode
from tvt.evidence.kernels import FAMILIES, Family, others_covariance, scales
from tvt.evidence.posterior import Component, Form, Link, Model, TablePosterior, Target
from tvt.types import Bools, Floats, Positions

HEADROOMS: tuple[float | None, ...] = (None, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Distances of the limit from the best run, in units of best minus median; None: no limit, the gain itself."""
NOISE = (0.1, 2.5)
"""Prior of the noise's variance, in units of the scores': its median, and the spread of its logarithm."""
OTHERS = (0.1, 2.0)
"""The same of the part that other targets' predictions have."""
LEARNING_ROWS = 128
"""Variances are learned on so many rows at most, drawn once; all rows are predicted from."""
OTHERS_ROWS = 200
"""Tables with more rows need no help of other targets."""
FEW_ROWS = 48
"""With more rows, the first round already tells which processes count."""
FEWEST = 3
"""Scores of a target below which its mean is all there is."""
COUNTS = 0.03
"""Share of the evidence below which a process is left out."""
AT_MOST = 3
"""Processes of a target, at most."""


class Tried(NamedTuple):
    """A process that was learned: minus its log evidence (posterior mode), and what it is."""

    loss: float
    model: Model


def fit_posterior(runs: MixtureRuns, form: Form | None = None) -> TablePosterior:
    """The posterior of a table's gains, which are improvements over its mean scores.

    Args:
        runs: weights and scores; missing scores are left out, target by target.
        form: what was learned before; default: it is learned from these rows.
    """
    sign = -1.0 if runs.lower_is_better else 1.0
    gains = sign * (runs.scores - reference_of(runs))
    learner = _Learner(runs, gains)
    names, columns = runs.targets, range(gains.shape[1])

    def posterior(parts: Sequence[Target], first: Sequence[Target] = (), features: Floats | None = None) -> TablePosterior:
        return TablePosterior(
            sources=runs.sources,
            targets=names,
            form=Form(
                models={n: tuple(c.model for c in p.components) for n, p in zip(names, parts, strict=True)},
                first={n: tuple(c.model for c in p.components) for n, p in zip(names, first, strict=False)},
                sources={n: p.sources for n, p in zip(names, parts, strict=True)},
            ),
            weights=runs.weights,
            gains=gains,
            families=learner.families,
            parts=tuple(parts),
            first=tuple(first),
            features=np.zeros((0, 0)) if features is None else features,
        )

    given = None if form is None else (form.first or form.models)
    tried = [learner.tried(j) if given is None else [] for j in columns]
    first = [learner.target(j, _kept(tried[j]) if given is None else given.get(names[j], ()), form) for j in columns]
    alone = posterior(first)
    again = len(columns) > 1 and len(gains) <= OTHERS_ROWS if form is None else bool(form.first)
    if not again:
        return alone
    features = np.nan_to_num(alone.smoothed() / scales(gains))
    learner.features = features
    second = [
        learner.target(j, _kept(tried[j] + learner.again(j, tried[j])) if form is None else form.models.get(names[j], ()), form)
        for j in columns
    ]
    return posterior(second, first, features)


class _Learner:
    """The table's gains (n, T) and families, and what is learned of them target by target."""

    def __init__(self, runs: MixtureRuns, gains: Floats) -> None:
        self.runs, self.gains = runs, gains
        self.errors = np.nan_to_num(runs.known_errors)
        self.families: dict[str, Family] = {name: make(runs.weights) for name, make in FAMILIES.items()}
        self.features = np.zeros((0, 0))

    def rows(self, j: int) -> Bools:
        """Rows with a score."""
        return np.asarray(np.isfinite(self.gains[:, j]), dtype=bool)

    def varies(self, j: int) -> bool:
        """Whether there is something to learn of a target."""
        known = self.gains[self.rows(j), j]
        return len(known) >= FEWEST and float(np.ptp(known)) > 1e-12 * max(
            1.0, float(np.abs(self.runs.scores[self.rows(j), j]).max())
        )

    def tried(self, j: int) -> list[Tried]:
        """All families and limits, each with its variances."""
        if not self.varies(j):
            return []
        found = []
        for name in self.families:
            start = None
            for headroom in HEADROOMS:
                one = self._learn(j, name, headroom, start)
                start = one.model.logs
                found.append(one)
        return found

    def again(self, j: int, tried: Sequence[Tried]) -> list[Tried]:
        """The same with the part of other targets' predictions; only those that count where there are many rows."""
        found = []
        for model in [one.model for one in tried] if len(self.gains) <= FEW_ROWS else _kept(tried):
            start = np.insert(model.logs, -1, np.log(OTHERS[0]))
            found.append(self._learn(j, model.family, model.headroom, start, others=True))
        return found

    def _learn(self, j: int, name: str, headroom: float | None, start: Floats | None, others: bool = False) -> Tried:
        rows = np.flatnonzero(self.rows(j))
        link = Link.to(self.gains[rows, j], headroom)
        part = rows
        if len(rows) > LEARNING_ROWS:
            part = np.sort(np.random.default_rng(0).permutation(rows)[:LEARNING_ROWS])
        gains = self.gains[part, j]
        prior = self.families[name].prior
        prior = prior.extended(*OTHERS) if others else prior
        known = (self.errors[part, j] / link.slope(gains)) ** 2
        matrices = self._matrices(j, name, part, others)
        logs, loss = mode(matrices, link.inner(gains), known, prior.extended(*NOISE), start)
        loss += len(part) * float(np.log(link.spread)) - link.log_jacobian(gains)
        return Tried(loss, Model(family=name, headroom=headroom, others=others, logs=logs, share=1.0))

    def _matrices(self, j: int, name: str, rows: Positions, others: bool) -> Floats:
        matrices = self.families[name].matrices
        matrices = matrices if len(rows) == len(self.gains) else matrices[:, rows[:, None], rows]
        if not others:
            return matrices
        return np.concatenate([matrices, others_covariance(self.features, j, rows)[None]])

    def target(self, j: int, models: Sequence[Model], form: Form | None) -> Target:
        """The processes, conditioned on all scores of the target."""
        mask = self.rows(j)
        rows, gains, errors = np.flatnonzero(mask), self.gains[mask, j], self.errors[mask, j]
        components = []
        for model in models if self.varies(j) else ():
            link = Link.to(gains, model.headroom)
            matrices = self._matrices(j, model.family, rows, model.others)
            known = (errors / link.slope(gains)) ** 2
            components.append(Component(model, Process.of(np.exp(model.logs), matrices, link.inner(gains), known), link))
        sources = _source_variances(models, len(self.runs.sources))
        if form is not None:
            sources = form.sources.get(self.runs.targets[j], sources)
        return Target(components=tuple(components), rows=mask, gains=gains, known=errors, sources=sources)


def _kept(tried: Sequence[Tried]) -> tuple[Model, ...]:
    """The models that count, with their shares of the evidence."""
    if not tried:
        return ()
    best = min(one.loss for one in tried)
    ranked = sorted(((float(np.exp(best - one.loss)), k) for k, one in enumerate(tried)), key=lambda pair: -pair[0])
    total = sum(weight for weight, _ in ranked)
    kept = [(weight, k) for weight, k in ranked[:AT_MOST] if weight >= COUNTS * total]
    total = sum(weight for weight, _ in kept)
    return tuple(Model(**{**vars(tried[k].model), "share": weight / total}) for weight, k in kept)


def _source_variances(models: Sequence[Model], sources: int) -> Floats:
    """See :attr:`tvt.evidence.posterior.Form.sources`: of the likeliest model where sources have their own; else the
    prior's.
    """
    for model in models:
        if model.family == "separate":
            variances = np.exp(model.logs)
            return np.append(variances[: sources + 1], variances[-1])
    return np.array([*[0.05] * sources, 0.1, 0.1])


def reference_of(runs: MixtureRuns) -> Floats:
    """The score that a gain of 0 stands for: the table's mean, (T,); NaN where there is none."""
    known = np.isfinite(runs.scores)
    count = known.sum(axis=0)
    total = np.where(known, runs.scores, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
