"""Requests that no few sources meet, and answers that a solver gives a little beside a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import tvt
from commands import tvt as command
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.selection import SelectionSpec
from tvt.selection import engine
from tvt.selection.solve import CONIC_ORDER, TIGHT


def test_too_few_sources_under_cvar_end_with_how_many_would_do() -> None:
    result = command("select", "qwen2.5-vl-7b", "--cap", "0.3", "--max-sources", "3", "--cvar", "0.2")
    assert result.returncode == 3, result.stderr
    assert "4 sources would be enough" in result.stderr


@pytest.mark.parametrize("off", [1e-5, 1e-4])
def test_an_answer_beside_a_limit_is_solved_again(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tvt.load_study("qwen2.5-vl-7b")
    spec = SelectionSpec(caps={"all": 0.2}, anyway=True)
    exact = engine.select(study, spec)
    assert isinstance(exact, Mixture)
    solve, calls = engine.Prepared.solve, []

    def solve_beside(prepared: engine.Prepared) -> Any:
        solution = solve(prepared)
        calls.append(solution)
        if len(calls) > 1 or solution.weights is None:
            return solution
        weights = solution.weights.copy()
        weights[weights.argmax()] += off
        return replace(solution, weights=weights * (1 + off))

    monkeypatch.setattr(engine.Prepared, "solve", solve_beside)
    monkeypatch.setattr(engine, "tidy", lambda weights, request: weights)
    again = engine.select(study, spec)
    assert not isinstance(again, FailedSelection)
    assert again.audit.passed
    assert len(calls) > 1
    assert again.weights == pytest.approx(exact.weights, abs=1e-4)


def test_tighter_settings_are_of_solvers_in_use() -> None:
    assert TIGHT.keys() == {name for name, _ in CONIC_ORDER}
