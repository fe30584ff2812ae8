"""Knowing when nothing helps, on made matrices and on the published figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems import log_spec, random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.scores import Score
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.selection.engine import select


def study(values: list[list[list[float]]] | np.ndarray) -> TransferMatrix:
    cube = np.asarray(values)
    names = [f"task_{i}" for i in range(cube.shape[1])]
    return TransferMatrix.from_values(cube, sources=names, targets=names, runs=[f"r{k}" for k in range(len(cube))])


def ask(matrix: TransferMatrix, **options: object) -> Mixture:
    answer = select(matrix, log_spec(**options))
    assert isinstance(answer, Mixture)
    return answer


def test_a_matrix_without_positive_sources_keeps_the_base_model() -> None:
    matrix = study(-np.abs(np.random.default_rng(0).normal(0.1, 0.05, (3, 4, 4))) - 0.01)
    mixture = ask(matrix, goals={"task_0": 0.1}, without_direct=True)
    assert mixture.verdict == "nothing_helps"
    assert set(mixture.weights.values()) == {0.0}
    assert set(mixture.counts.values()) == {0}
    assert sum(mixture.least_bad.values()) == pytest.approx(1)
    assert all(p.gain == 0 for p in mixture.predicted.values())
    forced = ask(matrix, goals={"task_0": 0.1}, without_direct=True, anyway=True)
    assert forced.verdict == "train"
    assert forced.weights == pytest.approx({"task_0": 0.0} | mixture.least_bad | {
        s: 0.0 for s in matrix.sources if s not in mixture.least_bad
    })  # fmt: skip


def test_a_clear_gain_is_worth_training_for() -> None:
    cube = np.random.default_rng(0).normal(0, 0.02, (4, 5, 5))
    cube[:, 2, 0] += 0.3
    mixture = ask(study(cube), goals={"task_0": 0.1}, without_direct=True)
    assert mixture.verdict == "train"
    assert mixture.credible == {"task_0": {"task_2": pytest.approx(0.3, abs=0.03)}}
    assert mixture.predicted["task_0"].gain >= 0.1


def test_pure_noise_rarely_persuades() -> None:
    """40 matrices of seed noise alone: a one-sided 90% test may err in about 10% of them, not in half."""
    verdicts = [
        ask(study(np.random.default_rng(s).normal(0, 0.1, (4, 10, 10))), goals={"task_0": 0.05}, without_direct=True).verdict
        for s in range(40)
    ]
    assert verdicts.count("train") <= 9


def test_few_questions_are_no_evidence() -> None:
    """The same gain is credible on 1,000 questions and not on 20."""

    def scored(total: int) -> TransferMatrix:
        rows = [Score(run="r", source=None, target="t", accuracy=0.5, correct=total // 2, total=total)]
        right = round(0.6 * total)
        rows += [Score(run="r", source="s", target="t", accuracy=0.6, correct=right, total=total)]
        return TransferMatrix.from_scores(rows)

    assert ask(scored(1000)).verdict == "train"
    assert ask(scored(20)).verdict == "nothing_helps"


def test_the_worst_case_must_beat_the_base_model() -> None:
    harmful_somewhere = study([[[0.3, -0.1], [0.2, -0.2]]])
    assert ask(harmful_somewhere, objective="worst").verdict == "nothing_helps"
    assert ask(harmful_somewhere).verdict == "train"


@pytest.mark.parametrize(
    ("name", "relaxation"), [("qwen2.5-vl-3b", 0.0409), ("qwen2.5-vl-7b", 0.0049), ("qwen2.5-vl-32b", 0.0327)]
)
def test_no_free_lunch_on_the_published_figures(name: str, relaxation: float) -> None:
    failed = select(load_study(name), log_spec(response="linear", protect={"all": 0}, hard=True))
    assert isinstance(failed, FailedSelection)
    assert failed.status == "infeasible"
    assert failed.relaxation == pytest.approx(relaxation, abs=5e-5)
    assert failed.conflicts
    known = {f"protection of {t}" for t in load_study(name).targets}
    assert set(failed.conflicts) <= known


@pytest.mark.parametrize("name", ["qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b"])
def test_linear_gain_always_picks_one_source(name: str) -> None:
    mixture = ask(load_study(name), response="linear")
    assert len(mixture.sources) == 1
    assert len(ask(load_study(name)).sources) > 3


def test_verdicts_on_the_published_7b_figures() -> None:
    matrix = load_study("qwen2.5-vl-7b")
    helped = ask(matrix, goals={"Jigsaw": 0.15}, without_direct=True)
    assert helped.verdict == "train"
    assert helped.weights["Jigsaw"] == 0
    assert next(iter(helped.credible["Jigsaw"])) == "Visual_Similarity"
    # Every other source lowers semantic correspondence: there is nothing to gain without its own data.
    assert ask(matrix, goals={"Semantic_Correspondence": 0.1}, without_direct=True).verdict == "nothing_helps"


def test_the_conflict_named_is_minimal() -> None:
    """Two caps that cannot hold with a floor; a third limit has no part in it."""
    failed = select(
        random_matrix(0, 3, 2),
        log_spec(caps={"source_0": 0.2, "source_1": 0.2}, constraints=("source_2 <= 0.5", "source_0 >= 0.05")),
    )
    assert isinstance(failed, FailedSelection)
    assert set(failed.conflicts) == {"cap of source_0", "cap of source_1", "source_2 <= 0.5"}
    assert failed.relaxation == pytest.approx(0.1 / 3, abs=1e-6)


def test_too_few_sources_are_told_as_that() -> None:
    failed = select(random_matrix(0, 4, 2), log_spec(caps={"all": 0.4}, max_sources=2))
    assert isinstance(failed, FailedSelection)
    assert failed.conflicts == ("at most 2 sources",)
    assert "3 sources would be enough" in failed.reason


def test_missing_cells_are_estimated_marked_and_wider() -> None:
    matrix = random_matrix(4, 4, 4)
    holes = matrix.values.copy()
    holes[:, 1, 2] = np.nan
    lacking = TransferMatrix.from_values(holes, sources=matrix.sources, targets=matrix.targets, runs=matrix.runs)
    from tvt.evidence.completion import complete

    filled = complete(lacking)
    assert filled.estimated == (("source_1", "target_2"),)
    assert filled.errors[1, 2] > np.median(filled.errors)
    assert filled.mean[1, 2] != 0
    mixture = ask(lacking, anyway=True)
    assert any("estimated" in note for note in mixture.notes)


def test_a_target_never_measured_is_left_out_or_refused() -> None:
    values = random_matrix(4, 3, 3).values.copy()
    values[:, :, 1] = np.nan
    matrix = TransferMatrix.from_values(values, sources=["a", "b", "c"], targets=["x", "y", "z"], runs=["0", "1", "2"])
    mixture = ask(matrix, anyway=True)
    assert set(mixture.predicted) == {"x", "z"}
    with pytest.raises(InputError, match="target y: not measured"):
        select(matrix, log_spec(goals={"y": 0.1}))


def test_gains_beyond_what_can_be_are_told() -> None:
    """Many sources that each help add up to more than a perfect score."""
    matrix = TransferMatrix.from_values(np.full((1, 4, 1), 0.6), sources=list("abcd"), targets=["t"])
    answer = select(matrix, log_spec(anyway=True))
    assert isinstance(answer, Mixture)
    assert answer.predicted["t"].gain > 1
    assert any("no PGF can be above 1, as predicted for t:" in note for note in answer.notes)
    other = select(replace(matrix, metric="gain"), log_spec(anyway=True))
    assert isinstance(other, Mixture)
    assert not any("above 1" in note for note in other.notes)
