"""Which mixtures to train next: the best predicted, those uncertain enough to be better still, measured ones again; and when to
stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tvt.core.mixture import FailedSelection
from tvt.core.proposal import Proposal, Proposals, Reason, Stop, Why
from tvt.core.selection import SelectionSpec
from tvt.core.values import aligned, positions
from tvt.errors import InputError
from tvt.evidence.evidence import Evidence, Measurements, TableEvidence
from tvt.evidence.learning import fit_posterior
from tvt.evidence.predict import predictions
from tvt.evidence.smooth import Smooth
from tvt.selection.audit import best_measured, round_to_counts, within_limits
from tvt.selection.batch import SAME, Rows, choose
from tvt.selection.belief import Belief, belief_of, chance_of_none_better, expected_gain, penalties
from tvt.selection.diagnosis import diagnose
from tvt.selection.engine import Prepared, prepare, provenance
from tvt.selection.pool import Candidates, Pool, from_candidates, within
from tvt.types import Positions

MOST = 100
"""Mixtures that are looked at closely, by each of the orders in which they may be best."""
REACH = 2.0
"""Standard errors above the mean up to which a mixture may be best."""
APART = 0.05
"""Share of the budget in which made proposals differ, where there are such."""
ALIKE = 0.05
"""Mixtures that differ in less of the budget count as the same, when it is asked whether another one is better."""


def propose(
    evidence: Measurements | Evidence,
    spec: SelectionSpec,
    batch: int = 4,
    *,
    candidates: Candidates | None = None,
    pending: Candidates | None = None,
    most_runs: int | None = None,
) -> Proposals | FailedSelection:
    """The next ``batch`` mixtures worth training.

    Args:
        evidence: a study's matrix with the mixture runs that are done beside it, or a table of mixture runs.
        spec: what is asked for; its limits hold for every proposal.
        batch: how many mixtures, at least 1.
        candidates: propose of these alone, each once; without them mixtures are made within the limits.
        pending: mixtures whose runs are not done yet: they are not proposed, and what they will tell counts as known.
        most_runs: how many runs are wanted in all, pending ones included; ``None``: no end.

    Returns:
        As many proposals as there are (fewer where candidates run out), with a reason to stop where there is one. A request
        that no mixture can meet gives a FailedSelection.

    Raises:
        InputError: unknown names, impossible options, candidates on sources that nothing is known of.
    """
    if batch < 1:
        raise InputError(f"a batch of {batch}: ask for at least 1 mixture")
    prepared = prepared_to_propose(evidence, spec)
    rng = np.random.default_rng(spec.seed)
    if candidates is None:
        found = within(prepared, rng)
        if not isinstance(found, Pool):
            return diagnose(prepared.request, prepared.response, found)
        pool = found
    else:
        pool = from_candidates(prepared, candidates)
        if not len(pool.weights):
            reason = f"none of the {len(candidates.ids)} candidates keeps to the limits; loosen a limit or add candidates"
            return FailedSelection(status="infeasible", reason=reason)
    return _Campaign(prepared, pool, pending, rng).proposals(batch, most_runs)


def prepared_to_propose(evidence: Measurements | Evidence, spec: SelectionSpec) -> Prepared:
    """What a selection would be prepared from; of a table without the errors out of fold, which no proposal needs."""
    known = Evidence.of(evidence)
    form = fit_posterior(known.runs).form if isinstance(known, TableEvidence) else None
    return prepare(known, spec, form=form)


@dataclass
class _Campaign:
    """The mixtures that matter to one batch: measured ones, those on their way, and those that may be proposed."""

    prepared: Prepared
    pool: Pool
    pending: Candidates | None
    rng: np.random.Generator

    def proposals(self, batch: int, most_runs: int | None) -> Proposals:
        """The batch, with what is known of the campaign as a whole."""
        made = self.pool.ids is None
        chosen = choose(self.belief, self.second, self.rows, batch, apart=APART if made else SAME, replicates=made)
        best, noise = self.best, self.noise
        expected = expected_gain(self.belief, [k for k, _ in chosen], best, self.rng)
        chance = None if best is None else self._chance(best)
        reason = self._reason(expected, chance, len(chosen), most_runs)
        prepared = self.prepared
        return Proposals(
            proposals=tuple(self._proposal(k, why) for k, why in chosen),
            expected=expected,
            noise=noise,
            chance=chance,
            stop=None if reason is None else Stop(reason=reason, expected=expected),
            best_measured=best_measured(prepared.measured, prepared.request, prepared.full),
            notes=prepared.notes,
            provenance=provenance(prepared),
        )

    @cached_property
    def smooth(self) -> Smooth | None:
        """The second opinion, of the objective as it was measured."""
        prepared = self.prepared
        request, measured = prepared.request, prepared.measured
        gains = measured.gains[:, positions(prepared.full.targets, [request.targets[j] for j in request.served])]
        known = np.isfinite(gains).all(axis=1)
        return Smooth.fit(measured.weights[known], request.spec.aim.score(gains[known], request.requested))

    @cached_property
    def rows(self) -> Rows:
        """The mixtures as rows."""
        prepared, close = self.prepared, self._close()
        sources = prepared.full.sources
        measured = prepared.measured.weights
        inside = within_limits(aligned(measured, None, (sources, prepared.request.sources)), prepared.request)
        waiting = np.zeros((0, len(sources)))
        if self.pending is not None:
            waiting = aligned(self.pending.weights, None, (self.pending.sources, sources), missing=0.0)
        return Rows.of(measured[inside], waiting, self.pool.weights[close], close)

    def _close(self) -> Positions:
        """Positions of the mixtures of the pool that may be best, by either opinion, in their order."""
        weights, request = self.pool.weights, self.prepared.request
        estimate = self.prepared.of.posterior.at(weights)
        columns = positions(self.prepared.full.targets, [request.targets[j] for j in request.served])
        cost = penalties(self.prepared, weights)
        ends = [(estimate.mean + reach * estimate.se)[:, columns] for reach in (0.0, REACH)]
        orders = [request.spec.aim.score(end, request.requested) - cost for end in ends]
        if self.smooth is not None:
            mean, error = self.smooth.at(weights)
            orders.append((orders[0] + mean - cost) / 2 + error)
        first = [np.argsort(-order, kind="stable")[:MOST] for order in orders]
        return np.unique(np.concatenate(first))

    @cached_property
    def belief(self) -> Belief:
        """Of the rows, with what pending runs will tell."""
        return self._after_pending(belief_of(self.prepared, self.rows.weights, self.rng))

    @cached_property
    def second(self) -> Belief | None:
        """The same of the second opinion."""
        if self.smooth is None:
            return None
        weights = self.rows.weights
        found = Belief(
            mean=self.smooth.at(weights)[0] - penalties(self.prepared, weights),
            covariance=self.smooth.covariance(weights),
            noise=np.full(len(weights), self.smooth.noise_variance),
        )
        return self._after_pending(found)

    def _after_pending(self, belief: Belief) -> Belief:
        for k in np.flatnonzero(self.rows.waiting):
            belief = belief.learned(int(k))
        return belief

    @property
    def best(self) -> int | None:
        """The measured mixture that is predicted best, now that all runs are known."""
        measured = np.flatnonzero(self.rows.measured)
        return int(measured[self.belief.mean[measured].argmax()]) if measured.size else None

    @property
    def noise(self) -> float:
        """Standard deviation of the objective from run to run."""
        return float(np.sqrt(np.median(self.belief.noise)))

    def _chance(self, best: int) -> float:
        """That nothing is better than the best measured mixture."""
        belief, weights = self.belief, self.rows.weights
        top = np.argsort(-(belief.mean + REACH * belief.sd), kind="stable")[:MOST]
        keep = [best, *(int(k) for k in top if k != best)]
        near = 0.5 * np.abs(weights[keep] - weights[best]).sum(axis=1) < ALIKE
        return chance_of_none_better(belief.take(keep), 0, near, self.rng)

    def _reason(self, expected: float, chance: float | None, proposed: int, most_runs: int | None) -> Reason | None:
        runs = int(self.prepared.measured.runs.sum()) + int(self.rows.waiting.sum())
        if not proposed or (most_runs is not None and runs >= most_runs):
            return "budget spent"
        if chance is None:
            return None
        if chance >= self.prepared.spec.confidence:
            return "decided"
        return "expected improvement below the noise" if expected < self.noise else None

    def _proposal(self, k: int, why: Why) -> Proposal:
        prepared, rows = self.prepared, self.rows
        sources, request = prepared.full.sources, prepared.request
        weights = rows.weights[k]
        over = aligned(weights, (sources, request.sources))
        budget = prepared.spec.budget
        counts = round_to_counts(over / over.sum(), budget, caps=np.minimum(request.caps, 1.0), floors=request.floors)
        return Proposal(
            weights=dict(zip(sources, map(float, weights), strict=True)),
            counts=dict.fromkeys(sources, 0) | dict(zip(request.sources, map(int, counts), strict=True)),
            why=why,
            predicted=predictions(prepared.of, weights[None], prepared.spec.confidence, prepared.estimated)[0],
            mixture=None if self.pool.ids is None else self.pool.ids[rows.position[k]],
        )
