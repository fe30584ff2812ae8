"""Cells that were not measured are marked wherever a figure rests on them: in the terminal, in JSON and in mixture files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from problems import log_spec
from tvt.compare.comparison import Contrast, Difference
from tvt.compare.conclusions import calibration
from tvt.core.arms import Arm, Candidate
from tvt.core.matrix import TransferMatrix
from tvt.core.values import encode
from tvt.data.studies.load import load_study
from tvt.evidence.completion import complete
from tvt.evidence.predict import estimated_cells, predict, resting_on
from tvt.io.yaml_files import dump_mixture, load_mixture
from tvt.report.selection_tables import preview_report
from tvt.selection.engine import prepare, select
from tvt.selection.explain import explain
from tvt.selection.frontier import frontier
from tvt.study.previewed import Gain, Preview, Previewed, predicted_gains

HIDDEN = (
    ("Art_Style", "Relative_Depth"),
    ("Visual_Correspondence", "Spatial_Relation"),
    ("Counting", "Jigsaw"),
    ("Forensic_Detection", "Counting"),
)


@pytest.fixture(scope="module")
def holes() -> TransferMatrix:
    """The published 7B figures without four cells."""
    matrix = load_study("qwen2.5-vl-7b")
    values, errors = matrix.values.copy(), matrix.item_errors.copy()
    for source, target in HIDDEN:
        at = matrix.sources.index(source), matrix.targets.index(target)
        values[:, at[0], at[1]] = errors[:, at[0], at[1]] = np.nan
    return replace(matrix, values=values, item_errors=errors, reasons={("initial", *HIDDEN[0]): "out of memory"})


@pytest.fixture(scope="module")
def study(holes: TransferMatrix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a CSV."""
    rows = ["run,source,target,pgf"]
    for (k, i, j), value in np.ndenumerate(holes.values):
        if np.isfinite(value):
            rows.append(f"{holes.runs[k]},{holes.sources[i]},{holes.targets[j]},{float(value)!r}")
    path = tmp_path_factory.mktemp("studies") / "holes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def tvt(*arguments: str, columns: int = 80) -> str:
    environment = os.environ | {"COLUMNS": str(columns)}
    command = [sys.executable, "-m", "tvt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def test_which_predictions_rest_on_estimates() -> None:
    estimated = (("a", "x"), ("b", "x"), ("b", "y"), ("c", "z"))
    assert resting_on(estimated, {"a": 0.4, "b": 0.6, "c": 0.0}) == {"x": ("a", "b"), "y": ("b",)}
    assert resting_on(estimated, {"d": 1.0}) == {}


def test_missing_cells_have_estimates_with_intervals(holes: TransferMatrix) -> None:
    found = estimated_cells(holes, 0.95)
    assert set(found) == set(HIDDEN)
    completed = complete(holes)
    for (source, target), cell in found.items():
        at = completed.sources.index(source), completed.targets.index(target)
        assert cell.gain == pytest.approx(completed.mean[at])
        assert (cell.high - cell.low) / 2 == pytest.approx(1.959964 * completed.errors[at])
        assert completed.errors[at] > np.nanmedian(holes.error)  # wider than measured ones
    assert estimated_cells(load_study("7b")) == {}


def test_only_a_source_with_a_weight_marks_a_prediction(holes: TransferMatrix) -> None:
    weights = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    told, *_ = predict(holes, weights, ("Art_Style", "Visual_Correspondence", "Jigsaw"))
    marked = [{t: p.estimated for t, p in one.items() if p.estimated} for one in told]
    both = {"Relative_Depth": ("Art_Style",), "Spatial_Relation": ("Visual_Correspondence",)}
    assert marked == [both, {}, {"Relative_Depth": ("Art_Style",)}]
    assert told[2]["Relative_Depth"].high - told[2]["Relative_Depth"].low > 0.3


def test_a_mixture_keeps_its_marks(holes: TransferMatrix, tmp_path: Path) -> None:
    mixture = select(holes, log_spec(targets={"Jigsaw": 1}, without_direct=True))
    path = tmp_path / "mixture.yaml"
    path.write_text(dump_mixture(mixture))
    assert load_mixture(path) == mixture
    assert mixture.predicted["Relative_Depth"].estimated == ("Art_Style",)
    assert mixture.provenance["evidence"]["estimated_cells"] == 4
    assert path.read_text().count("estimated:") == sum(bool(p.estimated) for p in mixture.predicted.values())
    (told,) = [line for line in explain(mixture) if "estimated" in line]
    assert "Art_Style on Relative_Depth" in told
    assert "Counting on Jigsaw" not in told


def test_nothing_rests_on_estimates_where_all_was_measured() -> None:
    mixture = select(load_study("7b"), log_spec(targets={"Jigsaw": 1}, without_direct=True))
    assert not any(p.estimated for p in mixture.predicted.values())
    assert "estimated" not in dump_mixture(mixture)
    assert not any("estimated" in line for line in explain(mixture))


def test_the_frontier_marks_what_was_asked_for_and_the_worst(holes: TransferMatrix) -> None:
    spec = log_spec(targets={"Relative_Depth": 1}, without_direct=True, floors={"Art_Style": 0.1})
    for point in frontier(holes, spec, "risk"):
        assert point.estimated[0] == "Relative_Depth"
        assert point.to_json()["estimated"] == list(point.estimated)


def test_a_promise_that_rests_on_an_estimate_is_marked(holes: TransferMatrix) -> None:
    entry = Arm(label="selected", kind="selected", weights={"Art_Style": 1.0}, counts={"Art_Style": 10})
    estimate = Difference(value=0.1, error=0.05, low=0.0, high=0.2, p=0.05, df=9.0, seeds=2, questions=100, seed_noise=True)
    gains = [
        Contrast(arm="selected", against=None, target=t, pgf=estimate, accuracy=estimate, outcome="better", tested="pgf")
        for t in ("Relative_Depth", "Jigsaw")
    ]
    found = calibration([entry], gains, holes, log_spec(), counting={"Jigsaw": 1.0})
    assert {p.target: p.estimated for p in found.points} == {"Relative_Depth": ("Art_Style",), "Jigsaw": ()}


def test_a_previewed_prediction_is_marked(holes: TransferMatrix) -> None:
    """The predictions beside merged adapters' scores, which are measured."""
    prepared = prepare(holes, log_spec(targets={"Relative_Depth": 1, "Jigsaw": 1}))
    candidate = Candidate(label="mix", counts={"Art_Style": 5, "Jigsaw": 5})
    predicted, _ = predicted_gains(candidate, prepared, ("Relative_Depth", "Jigsaw"))
    assert {t: gain.estimated for t, gain in predicted.items()} == {"Relative_Depth": ("Art_Style",), "Jigsaw": ()}
    one = Previewed(
        candidate=candidate,
        merged={t: Gain(value=0.2, error=0.1) for t in predicted},
        predicted=predicted,
        linear={},
        trained={},
        merged_seeds=(0,),
        trained_seeds=(),
        objective={"merged": 0.2, "predicted": 0.3},
    )
    whole = Preview(
        objective="gain",
        targets=("Relative_Depth", "Jigsaw"),
        counting={"Relative_Depth": 0.5, "Jigsaw": 0.5},
        selected="mix",
        candidates=(one,),
        agreement=(),
        trained_error=None,
        asked=0,
    )
    console = Console(width=80, file=io.StringIO())
    for part in preview_report(whole):
        console.print(part)
    marked = [line.split()[0] for line in console.file.getvalue().splitlines() if "≈" in line]  # type: ignore[attr-defined]
    assert marked == ["mix", "Relative_Depth"]
    told = encode(whole)["candidates"][0]
    assert told["predicted"]["Relative_Depth"]["estimated"] == ["Art_Style"]
    assert "estimated" not in told["merged"]["Relative_Depth"]


@pytest.mark.parametrize("columns", [80, 120])
def test_marks_in_the_terminal(study: Path, tmp_path: Path, columns: int) -> None:
    mixture = tmp_path / "mixture.yaml"
    floors = ["--floor", "Art_Style=0.1", "--floor", "Visual_Correspondence=0.1"]
    options = ["--target", "Jigsaw", "--without-direct", *floors, "--no-stability", "-o", str(mixture)]
    for shown in (
        tvt("select", str(study), *options, columns=columns),
        tvt("predict", str(study), "--mixture", str(mixture), columns=columns),
    ):
        lines = shown.splitlines()
        assert max(map(len, lines)) <= columns
        marked = {line.split()[0] for line in lines if "≈+" in line or "≈-" in line}
        assert marked == {"Relative_Depth", "Spatial_Relation"}
        assert "≈ rests on cells that were not measured but estimated: Art_Style on Relative_Depth" in " ".join(shown.split())


def test_marks_of_several_mixtures(study: Path, tmp_path: Path) -> None:
    mixtures = tmp_path / "mixtures.csv"
    mixtures.write_text("id,w:Art_Style,w:Jigsaw\nresting,1,0\nmeasured,0,1\n")
    lines = tvt("predict", str(study), "--mixtures", str(mixtures)).splitlines()
    assert ["≈" in line for line in lines if line.strip().startswith(("resting", "measured"))] == [True, False]


def test_marks_in_json(study: Path, tmp_path: Path) -> None:
    mixture = tmp_path / "mixture.yaml"
    told = json.loads(tvt("select", str(study), "--target", "JG", "--no-stability", "--json", "-o", str(mixture)))
    weights = {s for s, w in told["weights"].items() if w > 0}
    for target, predicted in told["predicted"].items():
        assert set(predicted) == {"gain", "low", "high", "se", "estimated"}
        assert predicted["estimated"] == [s for s, t in HIDDEN if t == target and s in weights]
    (again,) = json.loads(tvt("predict", str(study), "--mixture", str(mixture), "--json"))["predictions"]
    assert {t: p["estimated"] for t, p in again["scores"].items()} == {t: p["estimated"] for t, p in told["predicted"].items()}


def test_the_analysis_leaves_missing_cells_out_and_tells_their_estimates(holes: TransferMatrix, study: Path) -> None:
    told = json.loads(tvt("analyze", str(study), "--json"))["studies"]["holes"]
    cells = {(s, t): cell for s, row in told["pgf"].items() for t, cell in row.items()}
    assert {pair for pair, cell in cells.items() if cell.get("estimated")} == set(HIDDEN)
    found = estimated_cells(replace(holes, item_errors=np.full(holes.values.shape, np.nan)))
    for pair in HIDDEN:
        assert cells[pair]["mean"] is None
        assert cells[pair]["masked"] == "not measured"
        p = found[pair]
        assert cells[pair]["estimated"] == pytest.approx({"value": p.gain, "low": p.low, "high": p.high})
    assert {"mean", "se_seed", "se_items", "masked"} == set(cells["Jigsaw", "Jigsaw"])


@pytest.mark.parametrize("columns", [80, 120])
def test_missing_cells_of_the_analysis(study: Path, columns: int) -> None:
    shown = tvt("analyze", str(study), columns=columns)
    assert max(map(len, shown.splitlines())) <= columns
    lines = [line.split() for line in shown.splitlines() if "≈" in line]
    assert {tuple(line[:2]) for line in lines} == {("AS", "RD"), ("VC", "SR"), ("CN", "JG"), ("FD", "CN")}
    assert "as tvt select takes them; all else here leaves them out" in shown
    assert "≈" not in tvt("analyze", "7b", columns=columns)
