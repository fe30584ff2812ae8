"""A thousand random requests: what comes back passes an audit written here, what is infeasible is recognised."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from problems import log_gains, log_spec, random_matrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.selection import DEFAULT_KAPPA, SelectionSpec
from tvt.selection.engine import select

TOLERANCE = 2e-6


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, int, int, float, SelectionSpec]:
    sources, targets = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    share = st.floats(0, 1).map(lambda x: round(x, 3))
    options: dict[str, object] = {"response": draw(st.sampled_from(["log", "linear"])), "anyway": True}
    goal = draw(st.sampled_from(["gain", "goals", "worst"]))
    if goal == "goals":
        options["goals"] = {f"target_{draw(st.integers(0, targets - 1))}": draw(st.floats(0, 0.5))}
    else:
        options["objective"] = goal
    if draw(st.booleans()):
        options["caps"] = {"all": draw(share)}
    if draw(st.booleans()):
        name = f"source_{draw(st.integers(0, sources - 1))}"
        cap = options.get("caps", {}).get("all", 1.0)  # type: ignore[union-attr]
        options["floors"] = {name: min(draw(share), cap)}
    if draw(st.booleans()):
        options["protect"], options["hard"] = {"all": draw(st.floats(-0.3, 0.2))}, draw(st.booleans())
    if draw(st.booleans()):
        i, j = draw(st.integers(0, sources - 1)), draw(st.integers(0, sources - 1))
        if i != j:
            options["constraints"] = (f"source_{i} - 2*source_{j} >= {draw(st.floats(-0.5, 0.5)):.3f}",)
    if draw(st.booleans()):
        options["risk"] = draw(st.floats(0, 3))
    centre = draw(st.sampled_from([-0.2, 0.0, 0.2]))
    return draw(st.integers(0, 10_000)), sources, targets, centre, log_spec(**options)


def linear_rows(spec: SelectionSpec, sources: int) -> tuple[np.ndarray, np.ndarray]:
    """Caps, floors and the text constraint as A w <= b, written without tvt."""
    rows, bounds = [], []
    for i in range(sources):
        rows.append(np.eye(sources)[i])
        bounds.append(spec.caps.get("all", 1.0))
        rows.append(-np.eye(sources)[i])
        bounds.append(-spec.floors.get(f"source_{i}", 0.0))
    for text in spec.constraints:
        left, bound = text.split(" >= ")
        first, second = left.split(" - 2*")
        row = np.zeros(sources)
        row[int(first[7:])] -= 1
        row[int(second[7:])] += 2
        rows.append(row)
        bounds.append(-float(bound))
    return np.array(rows), np.array(bounds)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(requests())
def test_every_answer_is_sound(request: tuple[int, int, int, float, SelectionSpec]) -> None:
    seed, sources, targets, centre, spec = request
    matrix = random_matrix(seed, sources, targets, centre=centre)
    rows, bounds = linear_rows(spec, sources)
    answer = select(matrix, spec)
    kappa = None if spec.response == "linear" else spec.kappa or DEFAULT_KAPPA
    if isinstance(answer, Mixture):
        w = np.array([answer.weights[s] for s in matrix.sources])
        assert answer.audit.passed
        assert abs(w.sum() - 1) < TOLERANCE
        assert w.min() >= 0
        assert (rows @ w - bounds).max() < TOLERANCE
        if spec.hard:
            assert log_gains(w[None], matrix.mean, kappa).min() >= spec.protect["all"] - TOLERANCE
        assert sum(answer.counts.values()) == spec.budget
        assert all(isinstance(n, int) and n >= 0 for n in answer.counts.values())
        return
    assert isinstance(answer, FailedSelection)
    assert answer.status == "infeasible"
    assert answer.conflicts
    assert answer.relaxation is not None
    assert answer.relaxation > 0
    assert not feasible_at(rows, bounds, matrix.mean, spec, kappa, slack=0.0)
    assert feasible_at(rows, bounds, matrix.mean, spec, kappa, slack=answer.relaxation + 1e-6)
    assert not feasible_at(rows, bounds, matrix.mean, spec, kappa, slack=answer.relaxation * 0.99 - 1e-6)


def feasible_at(
    rows: np.ndarray, bounds: np.ndarray, mean: np.ndarray, spec: SelectionSpec, kappa: float | None, slack: float
) -> bool:
    """Whether limits relaxed by ``slack`` leave a mixture: a linear program, with tangent planes for the log response."""
    sources = mean.shape[0]
    a, b = rows, bounds + slack
    if not spec.hard:
        return bool(linprog(np.zeros(sources), A_ub=a, b_ub=b, A_eq=np.ones((1, sources)), b_eq=[1], bounds=(0, 1)).status == 0)
    limit = spec.protect["all"] - slack
    # Largest least gain over the polytope by cutting planes: tangents of a concave function only ever overestimate it.
    help_ = np.maximum(mean, 0)
    harm = np.maximum(-mean, 0)
    points = [np.full(sources, 1 / sources)]
    for _ in range(60):
        cuts, rest = [], []
        for w in points:
            slope = mean if kappa is None else help_ * (kappa / (1 + kappa * w) / np.log1p(kappa))[:, None] - harm
            value = log_gains(w[None], mean, kappa)[0]
            for j in range(mean.shape[1]):
                cuts.append(np.append(-slope[:, j], 1.0))
                rest.append(value[j] - slope[:, j] @ w)
        full = np.concatenate([np.column_stack([a, np.zeros(len(a))]), np.array(cuts)])
        found = linprog(
            np.append(np.zeros(sources), -1.0),
            A_ub=full,
            b_ub=np.concatenate([b, rest]),
            A_eq=np.append(np.ones(sources), 0.0)[None],
            b_eq=[1],
            bounds=[(0, 1)] * sources + [(None, None)],
        )
        if found.status != 0 or -found.fun < limit:
            return False
        w = found.x[:-1]
        if log_gains(w[None], mean, kappa).min() >= limit - 1e-9 or (kappa is None):
            return True
        points.append(w)
    return log_gains(np.array(points), mean, kappa).min(axis=1).max() >= limit - 1e-5
