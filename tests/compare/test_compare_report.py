"""A comparison told: tables that fit the terminal, JSON that scripts can read, pictures that are the same each time."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from compare_worlds import World, world
from problems import log_spec
from tvt.compare.comparison import Comparison
from tvt.compare.engine import compare
from tvt.core.values import encode
from tvt.report.comparison_tables import comparison_report
from tvt.report.mixture_plots import plot_comparison
from tvt.report.style import short_labels


def many(targets: int, **options: int) -> World:
    rng = np.random.default_rng(targets)
    truth = rng.normal(0, 0.15, (targets, targets)) + 0.2 * np.eye(targets)
    goals = {f"task {j}": 0.1 for j in range(max(1, targets // 3))}
    return world(truth, log_spec(goals=goals, anyway=True), questions=60, **options)


def told(of: World) -> Comparison:
    return compare(of.measured, of.arms, of.matrix, of.spec)


def longer(of: World) -> World:
    """The same world with names that are long and alike."""
    names = {t: f"Relative_{t.replace(' ', '_')}_of_surfaces_seen_from_afar" for t in of.matrix.targets}

    def rename(by_target: dict[str, object]) -> dict[str, object]:
        return {names[t]: v for t, v in by_target.items()}

    m = of.measured
    measured = replace(
        m,
        targets=tuple(names[t] for t in m.targets),
        ceilings=rename(dict(m.ceilings)),
        base=rename(dict(m.base)),
        answers={e: {k: rename(dict(a)) for k, a in runs.items()} for e, runs in m.answers.items()},
    )
    spec = of.spec.model_copy(update={"goals": rename(dict(of.spec.goals))})
    return World(replace(of.matrix, targets=measured.targets), of.mixture, of.arms, measured, spec)


def shown(comparison: Comparison, width: int, labels: dict[str, str] | None = None, *, accuracy: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    for part in comparison_report(comparison, width, labels, accuracy=accuracy):
        console.print(part)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("targets", [2, 13])
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_tables_fit_and_lose_no_figure(width: int, targets: int, long: bool) -> None:
    of = longer(many(targets)) if long else many(targets)
    comparison = told(of)
    text = shown(comparison, width, short_labels(of.matrix) if targets == 13 else None)
    assert max(map(len, text.splitlines())) <= width
    for entry in comparison.arms:
        for target in comparison.targets:
            pgf = comparison.gain(entry.label, target).pgf
            assert pgf is not None
            assert f"{100 * pgf.value:+.1f} ±{100 * pgf.error:.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0") in text
    for c in comparison.differences:
        if c.target is None and c.pgf is not None:
            assert f"{c.pgf.low:+.3f} to {c.pgf.high:+.3f}" in text
    assert comparison.sentences[0].split()[0] in text


def test_every_target_can_be_told_apart() -> None:
    of = longer(many(13))
    text = shown(told(of), 80)
    heads = {word.rstrip("°") for line in text.splitlines() for word in line.split() if word.startswith("Rel")}
    assert all(any(f"…{n}" in head for head in heads) for n in range(2, 14))


def test_accuracy_instead_of_pgf() -> None:
    comparison = told(many(3))
    text = shown(comparison, 100, accuracy=True)
    gain = comparison.gain("uniform", "task 1").accuracy
    assert gain is not None
    assert f"{100 * gain.value:+.1f} ±{100 * gain.error:.1f}" in text
    assert "The tests are those of PGF" in text


def test_what_is_missing_is_shown_as_missing() -> None:
    of = many(3)
    answers = {label: runs for label, runs in of.measured.answers.items() if label != "uniform"}
    comparison = compare(replace(of.measured, answers=answers), of.arms, of.matrix, of.spec)
    text = shown(comparison, 80)
    assert "Missing: uniform, seed 0: not done yet." in text
    assert "not measured" in text
    assert "nan" not in text.lower()


def without_nan(value: object) -> object:
    return json.loads(json.dumps(value, allow_nan=False))


def test_json_has_every_figure_and_no_nan() -> None:
    of = many(4)
    comparison = told(of)
    answer = without_nan(encode(comparison))
    assert isinstance(answer, dict)
    assert answer["schema"] == 1
    assert tuple(answer["differences_family"]) == comparison.differences_family
    assert answer["verdict"]["uniform"] == comparison.difference("uniform", None).outcome
    (mean,) = [d for d in answer["differences"] if d["against"] == "uniform" and d["target"] is None]
    pgf = comparison.difference("uniform", None).pgf
    assert pgf is not None
    assert mean["pgf"]["value"] == pytest.approx(pgf.value)
    assert len(answer["gains"]) == len(comparison.arms) * (4 + 1)
    assert answer["promise"]["rank"] == pytest.approx(comparison.calibration.rank)
    empty = compare(replace(of.measured, answers={}), of.arms, of.matrix, of.spec)
    assert without_nan(encode(empty))["promise"]["rank"] is None  # type: ignore[index]


@pytest.mark.parametrize("targets", [1, 2, 13])
def test_pictures_are_written_and_reproducible(targets: int, tmp_path: Path) -> None:
    of = many(targets) if targets > 1 else world(np.array([[0.3], [0.1]]), log_spec(), questions=50)
    comparison = told(of)
    first = plot_comparison(comparison, tmp_path / "a", short_labels(of.matrix))
    assert [p.name for p in first] == [
        "comparison-gains.svg",
        "comparison-gains.png",
        "comparison-calibration.svg",
        "comparison-calibration.png",
    ]
    assert all(path.stat().st_size > 10_000 for path in first)
    if targets == 2:
        again = plot_comparison(comparison, tmp_path / "b", short_labels(of.matrix))
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))


def test_a_comparison_without_runs_has_a_picture_too(tmp_path: Path) -> None:
    of = many(2)
    empty = compare(replace(of.measured, answers={}), of.arms, of.matrix, of.spec)
    assert [p.name for p in plot_comparison(empty, tmp_path)] == ["comparison-gains.svg", "comparison-gains.png"]


@pytest.mark.parametrize("width", [80, 120])
def test_promises_that_rest_on_estimates_are_marked(width: int) -> None:
    """A cell of the selected mixture that nobody measured: its prediction is marked, in the table and in the JSON."""
    of = many(4)
    source = max(of.mixture.weights, key=of.mixture.weights.__getitem__)
    values = of.matrix.values.copy()
    values[:, of.matrix.sources.index(source), 3] = np.nan
    comparison = told(of._replace(matrix=replace(of.matrix, values=values)))
    text = shown(comparison, width)
    (marked,) = [line for line in text.splitlines() if "≈+" in line or "≈-" in line]
    assert marked.startswith("task 3")
    assert f"{source} on task 3" in " ".join(text.split())
    points = encode(comparison)["promise"]["points"]
    assert {p["target"] for p in points if p["estimated"]} == {"task 3"}
    assert "≈" not in shown(told(of), width)
