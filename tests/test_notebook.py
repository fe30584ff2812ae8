"""What a notebook shows and calls: short reprs, tables in HTML, pandas tables, and studies given in any form."""

from __future__ import annotations

import builtins
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tvt
from commands import ENVIRONMENT
from tvt.compare.comparison import Calibration, Comparison, Contrast, Difference
from tvt.core.arms import Arm
from tvt.errors import InputError, MissingPackageError
from tvt.selection.engine import select as select_with_spec

STUDY = tvt.load_study("qwen2.5-vl-7b")
REQUEST: dict[str, Any] = {"goals": {"Jigsaw": 0.15}, "without_direct": True, "budget": 200}


def mixture_runs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([1.0, 1.0], size=12)
    losses = 2.0 - 0.5 * weights[:, 0] + rng.normal(0, 0.01, 12)
    return pd.DataFrame({"w:a": weights[:, 0], "w:b": weights[:, 1], "score:t": losses})


def comparison() -> Comparison:
    def found(value: float) -> Difference:
        return Difference(
            value=value, error=0.01, df=5.0, low=value - 0.02, high=value + 0.02, p=0.01, seeds=2, questions=9, seed_noise=True
        )

    entries = [Arm(label=kind, kind=kind, weights={"A": 1.0}, counts={"A": 4}) for kind in ("selected", "uniform")]
    gain = Contrast(
        arm="selected", against=None, target="<T>", accuracy=found(0.1), pgf=found(0.2), outcome="better", tested="pgf"
    )
    lacking = Contrast(
        arm="uniform", against=None, target="<T>", accuracy=None, pgf=None, outcome="not measured", reason="no run"
    )
    promise = Calibration(
        points=(),
        confidence=0.9,
        rank=None,
        rank_by_target={},
        slope=None,
        intercept=None,
        covered=None,
        optimism_selected=None,
        optimism_others=None,
    )
    return Comparison(
        arms=tuple(entries),
        targets=("<T>",),
        counting={"<T>": 1.0},
        objective="gain",
        seeds=(0, 1),
        base={"<T>": 0.5},
        ceilings={"<T>": 1.0},
        questions={"<T>": 9},
        gains=(gain, lacking),
        differences=(),
        gains_family=(1, 1),
        differences_family=(0, 0),
        same={},
        calibration=promise,
        missing=(),
        sentences=("The selected mixture is better.",),
        questions_shared=True,
    )


def test_reprs_are_a_line_that_says_what_it_is() -> None:
    assert repr(STUDY) == "TransferMatrix('qwen2.5-vl-7b': 4 runs, 13 sources, 13 targets, pgf, 169 of 169 cells measured)"
    mixture = tvt.select(STUDY, **REQUEST)
    assert repr(mixture).startswith("Mixture(train, 200 examples: Visual_Similarity ")
    assert repr(tvt.predict(STUDY, {"Jigsaw": 1.0})) == "Predictions(1 mixture, 13 targets)"
    assert repr(tvt.load_mixture_runs(mixture_runs(), lower_is_better=True)) == (
        "MixtureRuns(12 runs, 2 sources, 1 target, lower is better)"
    )
    assert repr(comparison()) == "Comparison(2 mixtures, 1 target, 2 seeds: The selected mixture is better.)"
    analysis = tvt.analyze(STUDY)
    assert repr(analysis) == "Analysis of qwen2.5-vl-7b"
    assert len(repr(analysis.studies[0])) < 200


def test_a_heatmap_has_a_cell_for_each_mean_and_the_reason_of_a_missing_one() -> None:
    page = STUDY._repr_html_()
    assert page.count("<td") == STUDY.mean.size
    assert all(source in page for source in STUDY.sources)
    holed = tvt.TransferMatrix.from_values(np.array([[0.3, np.nan]]), sources=["A"], targets=["A", "B"])
    assert "A on B: not measured" in holed._repr_html_()


def test_large_tables_are_cut_and_say_so() -> None:
    wide = tvt.TransferMatrix.from_values(
        np.ones((70, 65)), sources=[f"s{i}" for i in range(70)], targets=[f"t{i}" for i in range(65)]
    )
    page = wide._repr_html_()
    assert page.count("<td") == 60 * 60
    assert "10 more sources, 5 more targets" in page


def test_names_are_escaped_in_every_table() -> None:
    evil = '<script>alert("x")</script>'
    matrix = tvt.TransferMatrix.from_values(np.array([[0.1, np.nan]]), sources=[evil], targets=[evil, "b"], name=evil)
    runs = tvt.MixtureRuns(ids=(evil,), sources=(evil,), targets=(evil,), weights=np.ones((1, 1)), scores=np.ones((1, 1)))
    mixture = tvt.Mixture(weights={evil: 1.0}, counts={evil: 4}, budget=4, notes=(evil,))
    predictions = tvt.predict(matrix, {evil: 1.0})
    for value in (matrix, runs, mixture, predictions, tvt.analyze(matrix)):
        assert "<script" not in value._repr_html_()
        assert "&lt;script" in value._repr_html_()


def test_a_mixture_shows_weights_counts_and_gains_with_intervals() -> None:
    mixture = tvt.select(STUDY, **REQUEST)
    assert isinstance(mixture, tvt.Mixture)
    page = mixture._repr_html_()
    jigsaw = mixture.predicted["Jigsaw"]
    assert f"<td>Jigsaw</td><td>{jigsaw.gain:+.3f}</td><td>{jigsaw.low:+.3f} to {jigsaw.high:+.3f}</td>" in page
    assert (
        f"<td>Visual_Similarity</td><td>{mixture.weights['Visual_Similarity']:.4f}</td><td>{mixture.counts['Visual_Similarity']}</td>"
        in page
    )


def test_a_comparison_shows_its_contrasts() -> None:
    page = comparison()._repr_html_()
    assert "<td>selected</td><td>&lt;T&gt;</td><td>pgf</td><td>+0.2000</td><td>+0.1800 to +0.2200</td><td>better</td>" in page
    frame = comparison().to_frame()
    assert frame["value"].tolist()[0] == 0.2
    assert frame["reason"].tolist()[1] == "no run"


def test_a_matrix_comes_back_from_its_frame() -> None:
    again = tvt.load_study(STUDY.to_frame())
    assert again.digest() == STUDY.digest()
    assert np.array_equal(again.base, STUDY.base, equal_nan=True)
    holed = tvt.TransferMatrix.from_values(
        np.array([[0.3, np.nan]]), sources=["A"], targets=["A", "B"], reasons={("run_0", "A", "B"): "diverged"}
    )
    assert tvt.TransferMatrix.from_frame(holed.to_frame()).reason("A", "B") == "diverged"
    with pytest.raises(InputError, match="no column target, value"):
        tvt.TransferMatrix.from_frame(pd.DataFrame({"run": [], "source": []}))
    with pytest.raises(InputError, match="A -> A stands twice"):
        tvt.TransferMatrix.from_frame(pd.concat([holed.to_frame()] * 2))


def test_mixtures_predictions_and_runs_come_back_from_their_frames() -> None:
    mixture = tvt.select(STUDY, **REQUEST)
    assert isinstance(mixture, tvt.Mixture)
    again = tvt.Mixture.from_frame(mixture.to_frame())
    assert (again.weights, again.counts, again.budget) == (mixture.weights, mixture.counts, mixture.budget)
    predictions = tvt.predict(STUDY, mixture)
    assert tvt.Predictions.from_frame(predictions.to_frame()).by_mixture == predictions.by_mixture
    runs = tvt.load_mixture_runs(mixture_runs(), lower_is_better=True)
    assert tvt.load_mixture_runs(runs.to_frame(), lower_is_better=True).digest == runs.digest


def test_a_study_is_read_from_every_form_of_table(tmp_path: Path) -> None:
    wide = pd.DataFrame([[0.3, 0.1], [-0.05, np.nan]], index=["A", "B"], columns=["A", "B"])
    long = pd.DataFrame({"source": ["A", "A", "B"], "target": ["A", "B", "A"], "pgf": [0.3, 0.1, -0.05]})
    wide.to_csv(tmp_path / "wide.csv")
    expected = tvt.load_study(tmp_path / "wide.csv")
    assert tvt.load_study(wide).digest() == expected.digest()
    assert np.array_equal(tvt.load_study(long).values, expected.values, equal_nan=True)
    with pytest.raises(InputError, match="DataFrame:2: A -> A: 'high' is not a number"):
        tvt.load_study(pd.DataFrame({"source": ["A"], "target": ["A"], "pgf": ["high"]}))


def test_select_takes_keywords_and_studies_in_any_form(tmp_path: Path) -> None:
    expected = select_with_spec(STUDY, tvt.SelectionSpec(**REQUEST))
    assert isinstance(expected, tvt.Mixture)
    for study in ("7b", STUDY, STUDY.to_frame()):
        mixture = tvt.select(study, **REQUEST)
        assert isinstance(mixture, tvt.Mixture)
        assert mixture.counts == expected.counts
    assert tvt.select(STUDY, tvt.SelectionSpec(**REQUEST)).model_dump(exclude={"solver"}) == expected.model_dump(
        exclude={"solver"}
    )
    narrowed = tvt.select(STUDY, tvt.SelectionSpec(**REQUEST), budget=50)
    assert isinstance(narrowed, tvt.Mixture)
    assert sum(narrowed.counts.values()) == 50
    mixture_runs().to_csv(tmp_path / "runs.csv", index=False)
    for table in (mixture_runs(), tmp_path / "runs.csv"):
        assert set(tvt.select(table).weights) == {"a", "b"}
    with pytest.raises(InputError, match=r"select: .*goal_s.*"):
        tvt.select(STUDY, goal_s={})


def test_predict_takes_mixtures_in_any_form_and_agrees() -> None:
    weights = {"Visual_Similarity": 0.5, "Art_Style": 0.5}
    mixture = tvt.Mixture(weights=weights, counts=dict.fromkeys(weights, 5), budget=10)
    expected, _, _ = tvt.predict(STUDY, np.array([[0.5, 0.5]]), list(weights))
    wide = pd.DataFrame({"id": ["m"], **{f"w:{name}": [share] for name, share in weights.items()}})
    for given in (weights, mixture, wide, mixture.to_frame()):
        found = tvt.predict(STUDY, given)
        assert found.gains == expected
    assert tvt.predict(STUDY, wide).ids == ("m",)
    assert tvt.predict("7b", weights, response="linear").gains != expected
    with pytest.raises(InputError, match="did you mean 'Jigsaw'"):
        tvt.predict(STUDY, {"Jigsw": 1.0})
    with pytest.raises(InputError, match="needs sources"):
        tvt.predict(STUDY, np.array([[1.0]]))


def test_analyze_takes_one_study_or_several() -> None:
    assert tvt.analyze(STUDY).to_json() == tvt.analyze([STUDY]).to_json() == tvt.analyze("qwen2.5-vl-7b").to_json()
    assert [study.name for study in tvt.analyze(["3b", STUDY]).studies] == ["qwen2.5-vl-3b", "qwen2.5-vl-7b"]
    with pytest.raises(InputError, match="table of mixture runs"):
        tvt.analyze(mixture_runs())


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackageError, match=r"pandas is not installed.*\[frames\]"):
        STUDY.to_frame()


@pytest.mark.parametrize("name", ["compare", "evaluate", "report", "train"])
def test_a_function_whose_name_is_a_packages_is_called_however_the_package_was_imported(name: str) -> None:
    """In a process of its own, in which only that package was imported before."""
    code = f"import tvt.{name}, tvt\nassert callable(tvt.{name})\ntvt.{name}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert re.search(rf"TypeError: {name}\(\) missing \d required positional argument", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("weights", "fault"),
    [({"Jigsaw": 2.0}, "sum to 2, above 1"), ({"Jigsaw": -1.0}, "negative"), ({"Jigsaw": np.nan}, "no number")],
)
def test_weights_that_are_no_shares_are_refused(weights: dict[str, float], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        tvt.predict(STUDY, weights)


@pytest.mark.parametrize("name", ["compare", "evaluate", "report", "train"])
def test_help_of_a_function_whose_name_is_a_packages_is_the_functions(name: str) -> None:
    function = getattr(tvt, name)
    assert f"``tvt {name}``" in str(inspect.getdoc(function))
    assert len(inspect.signature(function).parameters) > 2


@pytest.mark.parametrize("column", ["value", "item_error", "base"])
def test_a_text_where_a_number_belongs_is_refused_with_its_row_and_column(column: str) -> None:
    frame = STUDY.to_frame()
    frame[column] = frame[column].astype(object)
    frame.loc[3, column] = "abc"
    with pytest.raises(InputError, match=f"row 3, column {column}: 'abc' is not a number"):
        tvt.load_study(frame)


def test_texts_in_tables_of_mixtures_and_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="row 1, column weight: 'much' is not a number"):
        tvt.Mixture.from_frame(pd.DataFrame({"source": ["A", "B"], "weight": [0.5, "much"], "count": [1, 1]}))
    frame = tvt.predict(STUDY, {"Jigsaw": 1.0}).to_frame().astype({"low": object})
    frame.loc[0, "low"] = "?"
    with pytest.raises(InputError, match=r"row 0, column low: '\?' is not a number"):
        tvt.Predictions.from_frame(frame)


@pytest.mark.parametrize("call", [tvt.analyze, tvt.select, tvt.load_study, tvt.load_mixture_runs])
@pytest.mark.parametrize("study", [3, None])
def test_what_is_no_study_is_refused_with_what_is_one(call: Any, study: Any) -> None:
    with pytest.raises(InputError, match="is no study; give a bundled name, a study folder, a CSV"):
        call(study)


def test_several_studies_where_one_is_needed_are_refused() -> None:
    with pytest.raises(InputError, match="several studies were given where one is needed"):
        tvt.select([STUDY, "3b"])  # type: ignore[list-item]


def test_a_keyword_that_is_none_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"goal: unknown key \(did you mean 'goals'"):
        tvt.select(STUDY, goal={"Jigsaw": 0.1})
    with pytest.raises(InputError, match="SelectionSpec, or its fields as keywords"):
        tvt.select(STUDY, {"goals": {"Jigsaw": 0.1}})  # type: ignore[arg-type]


def test_a_failed_selection_is_one_short_line() -> None:
    failed = tvt.select(STUDY, floors={"all": 0.5})
    assert repr(failed) == str(failed)
    assert re.fullmatch(r"FailedSelection\(infeasible: .*\)", repr(failed))
    assert len(repr(failed)) < 130


def test_an_analysis_is_a_table_of_gains_with_errors() -> None:
    frame = tvt.analyze(STUDY).to_frame()
    assert len(frame) == STUDY.mean.size
    row = frame[(frame["source"] == "Jigsaw") & (frame["target"] == "Counting")].iloc[0]
    i, j = STUDY.sources.index("Jigsaw"), STUDY.targets.index("Counting")
    assert (row["study"], row["gain"], row["error"], row["runs"]) == (STUDY.name, STUDY.mean[i, j], STUDY.error[i, j], 4)
