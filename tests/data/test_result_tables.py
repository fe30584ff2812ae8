"""Tables of results as people keep them: what they mean is read, or the one line says what to pass."""

from pathlib import Path

import numpy as np
import pytest

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.evidence.predict import predict

MATRIX = "model,x,y\nQwen,0.5,0.6\na,0.75,0.4\nb,0.5,0.8\n"


def read(folder: Path, text: str, **reading: object) -> TransferMatrix:
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return load_study(path, **reading)


def refusal(folder: Path, text: str, **reading: object) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text, **reading)
    (fault,) = caught.value.faults
    return fault.rpartition("/mine.csv")[2]


# --- accuracies without a base row -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [MATRIX, MATRIX.replace("0.", "")])
def test_accuracies_without_a_base_row_are_not_taken_for_pgf(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)
    assert "may be accuracies" in message
    assert "--base NAME" in message
    assert "--metric pgf" in message


def test_the_named_base_row_makes_them_accuracies(tmp_path: Path) -> None:
    matrix = read(tmp_path, MATRIX, base="qwen")
    assert matrix.sources == ("a", "b")
    assert matrix.values[0].tolist() == [[pytest.approx(0.5), pytest.approx(-0.5)], [0.0, pytest.approx(0.5)]]
    assert read(tmp_path, MATRIX, metric="pgf").sources == ("Qwen", "a", "b")


@pytest.mark.parametrize("name", ["baseline", "Zero-shot", "pretrained", "Qwen-VL (base)"])
def test_likely_names_of_the_base_model_are_suggested(tmp_path: Path, name: str) -> None:
    assert f"--base '{name}'" in refusal(tmp_path, MATRIX.replace("Qwen", name))
    assert f"--base '{name}'" in refusal(tmp_path, f"source,target,accuracy\n{name},x,0.5\na,x,0.6\n")


def test_a_base_that_is_no_row(tmp_path: Path) -> None:
    assert "did you mean 'Qwen'" in refusal(tmp_path, MATRIX, base="Qwem")


def test_base_in_a_long_table(tmp_path: Path) -> None:
    text = "source,target,accuracy\nzero-shot,x,0.5\na,x,0.75\n"
    assert read(tmp_path, text, base="zero-shot").values.tolist() == [[[0.5]]]


def test_gains_with_a_loss_are_pgf_without_more(tmp_path: Path) -> None:
    assert read(tmp_path, "s,x,y\na,0.5,-0.1\n").metric == "pgf"


# --- averages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Average", "Overall", "avg.", "MEAN", "Macro Avg", "mean_acc"])
def test_a_column_of_averages_is_left_out_with_a_note(tmp_path: Path, name: str) -> None:
    matrix = read(tmp_path, f"model,x,{name},y\nbase,0.5,0.55,0.6\na,0.75,0.57,0.4\n")
    assert matrix.targets == ("x", "y")
    assert matrix.notes == (f"{tmp_path / 'mine.csv'}: column '{name}' is left out: it sums up the others",)


def test_a_row_of_means_is_left_out_with_a_note(tmp_path: Path) -> None:
    matrix = read(tmp_path, "model,x,y\nbase,0.5,0.6\na,0.75,0.4\nmean,0.6,0.5\nstd,0.1,0.1\n")
    assert matrix.sources == ("a",)
    assert "rows 'mean', 'std' are left out" in matrix.notes[0]
    long = read(tmp_path, "source,target,accuracy\nbase,x,0.5\na,x,0.6\nbase,Average,0.5\na,Average,0.6\n")
    assert long.targets == ("x",)


def test_a_task_is_not_left_out_where_nothing_would_stay(tmp_path: Path) -> None:
    assert read(tmp_path, "model,Overall\nbase,0.5\na,0.75\n").targets == ("Overall",)


def test_averages_change_no_digest(tmp_path: Path) -> None:
    plain = read(tmp_path, "model,x,y\nbase,0.5,0.6\na,0.75,0.4\n")
    more = read(tmp_path, "model,x,y,Average\nbase,0.5,0.6,0.55\na,0.75,0.4,0.57\n")
    assert plain.digest() == more.digest()


# --- how numbers are written -----------------------------------------------------------------------------------------


def test_semicolons_with_decimal_commas(tmp_path: Path) -> None:
    matrix = read(tmp_path, "model;x;y\nbase;0,5;0,6\na;0,75;-\nb;0,5;n/a\n")
    assert matrix.values[0, :, 0].tolist() == [0.5, 0.0]
    assert np.isnan(matrix.values[0, :, 1]).all()
    assert read(tmp_path, "model\tx\nbase\t50.0\na\t75.0\n").values.tolist() == [[[0.5]]]


def test_both_kinds_of_decimals_are_refused(tmp_path: Path) -> None:
    assert "write all numbers one way" in refusal(tmp_path, "model;x\nbase;0,5\na;0.75\n")


def test_percent_signs(tmp_path: Path) -> None:
    signed = read(tmp_path, "model,x,y\nbase,50%,60.5 %\na,75%,-\n")
    assert signed.base.tolist() == [[0.5, 0.605]]
    assert read(tmp_path, "model,x\nbase,50%\na,75\n", unit="percent").values.tolist() == [[[0.5]]]
    message = refusal(tmp_path, "model,x\nbase,50%\na,75\n")
    assert message.startswith(":3: '75' has no percent sign, '50%' on line 2 has one")


def test_a_percentage_is_no_count(tmp_path: Path) -> None:
    assert "not a number" in refusal(tmp_path, "source,target,correct,total\nbase,x,50%,100\na,x,60,100\n")


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_models_across_and_tasks_down(tmp_path: Path) -> None:
    text = "task,base,a,b\nx,0.5,0.75,0.5\ny,0.6,0.4,0.8\nAverage,0.55,0.58,0.65\n"
    assert "pass --transpose" in refusal(tmp_path, text)
    matrix = read(tmp_path, text, transpose=True)
    assert (matrix.sources, matrix.targets) == (("a", "b"), ("x", "y"))
    assert matrix.digest() == read(tmp_path, MATRIX, base="Qwen").digest()
    assert "pass --transpose" in refusal(tmp_path, text.replace("base", "zero"), base="zero")


def test_one_model_twice(tmp_path: Path) -> None:
    text = "model,x,y\nbase,0.5,0.6\na,0.75,0.4\na,0.5,0.8\n"
    assert refusal(tmp_path, text).startswith(":4: source 'a' stands on line 3 already")
    assert "with a column 'run'" in refusal(tmp_path, text)
    runs = read(tmp_path, "run,model,x,y\n0,base,0.5,0.6\n0,a,0.75,0.4\n1,a,0.5,0.8\n")
    assert runs.runs == ("0", "1")
    assert "column 'run'" in refusal(tmp_path, "task,base,a,a\nx,0.5,0.6,0.7\n", transpose=True)


# --- questions -------------------------------------------------------------------------------------------------------


def test_questions_give_the_errors_that_counts_give(tmp_path: Path) -> None:
    counted = read(tmp_path, "source,target,correct,total\nbase,x,50,100\na,x,75,100\n")
    asked = read(tmp_path, "model,x\nbase,0.5\na,0.75\n", questions=100)
    assert asked.item_errors == pytest.approx(counted.item_errors)
    some = read(tmp_path, MATRIX, base="Qwen", questions={"x": 100})
    assert np.isfinite(some.item_errors[..., 0]).all()
    assert np.isnan(some.item_errors[..., 1]).all()


def test_questions_are_of_accuracies_and_of_targets_that_are_there(tmp_path: Path) -> None:
    assert "--questions is for accuracies" in refusal(tmp_path, "s,x,y\na,0.5,-0.1\n", questions=100)
    assert "--questions z: no such target" in refusal(tmp_path, MATRIX, base="Qwen", questions={"z": 9})


@pytest.mark.parametrize("response", ["log", "linear"])
def test_an_interval_without_any_known_noise_is_unknown(tmp_path: Path, response: str) -> None:
    text = "model,x,y\nbase,0.5,0.6\na,0.75,0.4\nb,0.5,0.8\n"
    half, spec = np.array([[0.5, 0.5]]), SelectionSpec(response=response)
    of = predict(read(tmp_path, text), half, ["a", "b"], spec)
    plain = of.gains[0]["x"].json_value()
    assert (plain["low"], plain["high"], plain["se"]) == (None, None, None)
    assert of.gains[0]["x"].interval_text == "unknown"
    assert any("--questions N" in note for note in of.notes)
    asked = predict(read(tmp_path, text, questions=100), half, ["a", "b"], spec).gains[0]["x"]
    assert asked.low < asked.gain < asked.high
    assert not asked.unknown_noise
