"""Import of studies from CSV: every layout, every unit, and one test per kind of bad input."""

from pathlib import Path

import numpy as np
import pytest

from tvt.core.matrix import TransferMatrix
from tvt.data import csv_table
from tvt.data.studies.load import load_study
from tvt.errors import InputError

LONG = "seed,ft_task,task,perfection_gap_factor\n"


@pytest.fixture
def load(tmp_path: Path):
    def write_and_load(text: str | bytes, **options: str) -> TransferMatrix:
        path = tmp_path / "mine.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_study(path, **options)

    return write_and_load


@pytest.fixture
def faults(load):
    def of(text: str | bytes, **options: str) -> tuple[str, ...]:
        with pytest.raises(InputError) as caught:
            load(text, **options)
        return tuple(line.rpartition("/")[2] for line in caught.value.faults)

    return of


def value(matrix: TransferMatrix, source: str, target: str, run: int = 0) -> float:
    return float(matrix.values[run, matrix.sources.index(source), matrix.targets.index(target)])


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_long_pgf_with_runs_and_known_tasks(load) -> None:
    matrix = load(LONG + "s0,Jigsaw,Counting,0.25\ns1,Jigsaw,Counting,-1.5\n")
    assert (matrix.name, matrix.runs, matrix.sources, matrix.targets) == ("mine", ("s0", "s1"), ("Jigsaw",), ("Counting",))
    assert matrix.values[:, 0, 0].tolist() == [0.25, -1.5]
    assert matrix.short("Jigsaw") == "JG"
    assert np.isnan(matrix.item_errors).all()


def test_short_headers_rectangular_and_missing_is_never_zero(load) -> None:
    matrix = load("\ufeffsource,target,pgf\n a ,x,0.5\na,y,\nb,x,NA\n\nb,y,0\nb,z,-0.25\n".encode())
    assert matrix.values.shape == (1, 2, 3)
    assert value(matrix, "a", "x") == 0.5
    assert value(matrix, "b", "y") == 0
    missing = {(s, t) for s in "ab" for t in "xyz" if np.isnan(value(matrix, s, t))}
    assert missing == {("a", "y"), ("b", "x"), ("a", "z")}
    assert np.isnan(matrix.mean[0, 2])
    assert matrix.reason("a", "z") == "not measured"


def test_long_accuracies_in_percent_with_a_base_for_all_runs(load) -> None:
    text = "run,source,target,accuracy\n,base,x,60\n,none,y,50\nr0,a,x,80\nr1,a,x,40\nr0,a,y,NA\n"
    matrix = load(text)
    assert matrix.values[:, 0, 0] == pytest.approx([0.5, -0.5])
    assert np.isnan(matrix.values[:, 0, 1]).all()
    assert matrix.base[0, 0] == 0.6


def test_counts_give_item_errors(load) -> None:
    matrix = load("source,target,correct,total,both_correct\nbase,x,50,100,\na,x,75,100,50\nb,x,75,100,\n")
    assert value(matrix, "a", "x") == 0.5
    assert 0 < matrix.item_errors[0, 0, 0] < matrix.item_errors[0, 1, 0]


def test_accuracy_with_total_gives_item_errors(load) -> None:
    with_total = load("source,target,accuracy,total\nbase,x,0.5,100\na,x,0.75,100\n")
    counted = load("source,target,correct,total\nbase,x,50,100\na,x,75,100\n")
    assert with_total.item_errors == pytest.approx(counted.item_errors)


def test_wide(load) -> None:
    matrix = load(",x,y\na,0.1,NA\nb,-3,0.2\n")
    assert (matrix.sources, matrix.targets) == (("a", "b"), ("x", "y"))
    assert value(matrix, "b", "x") == -3
    assert np.isnan(value(matrix, "a", "y"))


def test_wide_with_runs_and_wide_accuracies(load) -> None:
    matrix = load("seed,source,x\n0,base,0.5\n1,base,0.6\n0,a,0.75\n1,a,0.6\n")
    assert matrix.values[:, 0, 0] == pytest.approx([0.5, 0.0])
    assert load("run,x\na,0.5\nb,-0.25\n").sources == ("a", "b")


def test_the_order_of_rows_does_not_change_the_digest(load) -> None:
    rows = ["a,x,0.5", "b,y,0.25", "a,y,-1"]
    digests = {load("\n".join(["source,target,pgf", *order])).digest() for order in (rows, rows[::-1])}
    assert len(digests) == 1


# --- units -----------------------------------------------------------------------------------------------------------


def test_percent_is_inferred_or_declared(load) -> None:
    text = "source,target,pgf\na,x,50\na,y,-25\nb,x,0\nb,y,2\n"
    assert value(load(text), "a", "x") == 0.5
    small = "source,target,pgf\na,x,50\na,y,0.5\n"
    assert value(load(small, unit="percent"), "a", "y") == 0.005


def test_gains_are_taken_as_they_are(load) -> None:
    text = "source,target,gain\na,x,3.5\na,y,0.5\nb,x,-400\nb,y,1\n"
    matrix = load(text, metric="gain")
    assert (matrix.metric, value(matrix, "a", "x"), value(matrix, "b", "x")) == ("gain", 3.5, -400)
    assert value(load(text, metric="gain", unit="percent"), "a", "x") == 0.035


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["50", "0.5"], {}, "percent mixed with fractions"),
        (["0.5", "101"], {"unit": "percent"}, "--metric gain"),
        (["0.5", "1.2"], {"unit": "fraction"}, "--metric gain"),
        (["120", "-30"], {}, "--metric gain"),
        (["0.5", "-21"], {}, "pass --unit"),
        (["-3", "-2"], {}, "pass --unit"),
    ],
)
def test_an_unclear_pgf_unit_is_refused(faults, cells: list[str], options: dict[str, str], message: str) -> None:
    rows = "".join(f"s{n},x,{cell}\n" for n, cell in enumerate(cells))
    (fault,) = faults("source,target,pgf\n" + rows, **options)
    assert message in fault


def test_percent_mixed_with_fractions(faults) -> None:
    (fault,) = faults("source,target,accuracy\nbase,x,0.61\na,x,70\n")
    assert fault.startswith("mine.csv:2: percent mixed with fractions: 0.61 here, 70 on line 3")


# --- bad input -------------------------------------------------------------------------------------------------------


def test_ragged(faults) -> None:
    found = faults("source,target,pgf\na,x,1\na,y\nb,x,1,2\n")
    assert [f.partition(" ")[0] for f in found] == ["mine.csv:3:", "mine.csv:4:"]
    assert all("ragged" in f for f in found)


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999", "0,5", "1_000", "null"])
def test_not_a_finite_number(faults, text: str) -> None:
    (fault,) = faults(f'source,target,pgf\na,x,0.5\na,y,"{text}"\n')
    assert fault.startswith("mine.csv:3: a -> y: ")
    assert text in fault


def test_duplicated_cells_name_both_lines(faults) -> None:
    (fault,) = faults("source,target,pgf\na,x,0.5\na,y,0.1\na,x,0.5\n")
    assert fault.startswith("mine.csv:4: a -> x")
    assert "line 2" in fault
    assert "add a column 'run' if they are two runs" in fault
    (wide,) = faults("s,x,y\na,0.5,-0.1\na,0.25,0.1\n")
    assert wide == "mine.csv:3: source 'a' stands on line 2 already; rename or remove one" + csv_table.TWO_RUNS


def test_base_at_the_ceiling_masks_its_target_only(load, faults) -> None:
    text = "source,target,accuracy\nbase,x,1.0\nbase,y,0.5\na,x,0.9\na,y,0.6\n"
    matrix = load(text)
    assert np.isnan(value(matrix, "a", "x"))
    assert value(matrix, "a", "y") == pytest.approx(0.2)
    assert matrix.reason("a", "x") == "base accuracy 1 is not below the ceiling 1"
    (fault,) = faults("source,target,accuracy\nbase,x,100\na,x,90\n")
    assert "no cell is left (base accuracy 1 is not below the ceiling 1)" in fault


def test_missing_base_rows(faults) -> None:
    (fault,) = faults("source,target,accuracy\na,x,0.5\n")
    assert "no base rows; add" in fault
    (fault,) = faults("source,target,accuracy\nbase,x,0.5\na,x,0.6\na,y,0.6\n")
    assert fault.startswith("mine.csv:4: no base row for target 'y'")


@pytest.mark.parametrize(
    "text", ["", "\n\n", "source,target,pgf\n", "source,target,pgf\na,x,\n", "s,x\n", "source,target,accuracy\nbase,x,0.5\n"]
)
def test_empty_study(faults, text: str) -> None:
    (fault,) = faults(text)
    assert "empty" in fault


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04\0\0",
        b"\x89PNG\r\n\xff\xfe",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1, "b": 2}',
        b"<html><p>a,b</p>",
        b"words\n",
    ],
)
def test_a_file_that_is_no_csv(faults, data: bytes) -> None:
    (fault,) = faults(data)
    assert "is not a CSV" in fault


def test_open_quotes(faults) -> None:
    assert "quotes" in faults('source,target,pgf\n"a,x,0.5\n')[0]


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"directory without study\.yaml"):
        load_study(tmp_path)
    with pytest.raises(InputError, match="is a directory"):
        csv_table.read_table(tmp_path)
    with pytest.raises(InputError, match="check the path"):
        csv_table.read_table(tmp_path / "absent.csv")


def test_huge(faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_BYTES", 100)
    (fault,) = faults("source,target,pgf\n" + "a,x,0.5\n" * 20)
    assert "larger than the limit of 100" in fault


def test_too_many_cells(faults) -> None:
    (fault,) = faults("source,target,pgf\n" + "".join(f"s{n},t{n},0.5\n" for n in range(5000)))
    assert "too many cells" in fault


def test_all_faults_at_once_and_a_long_list_is_cut(faults) -> None:
    found = faults("source,target,pgf\na,x,oops\n,x,0.1\na,,0.1\na,y,inf\n")
    assert sorted(f.split(":")[1] for f in found) == ["2", "3", "4", "5"]
    many = faults("source,target,pgf\n" + "".join(f"a,t{n},oops\n" for n in range(50)))
    assert len(many) == 21
    assert "and 30 more" in many[-1]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("source,target,pgf,accuracy", "several columns of measurements"),
        ("source,target,correct", "no complete measurement"),
        ("source,ft_task,target,pgf", "both name the source"),
        ("source,target,pgf,pgf", "stands twice"),
        ("source,target,pgf,sead", "unknown column 'sead' (did you mean 'seed'?)"),
        ("target,pgf", "no column for the source"),
        ("source,target,,pgf", "column 3 has no name"),
    ],
)
def test_unclear_headers(faults, header: str, message: str) -> None:
    assert message in faults(header + "\n" + ",".join("1" * len(header.split(","))) + "\n")[0]


def test_impossible_counts(faults) -> None:
    text = "source,target,correct,total,both_correct\nbase,x,5,10,\na,x,11,10,\nb,x,5,0,\nc,x,half,10,\nd,x,5,10,6\ne,x,5,,\n"
    assert [f.split(":")[1] for f in faults(text)] == ["3", "4", "5", "6", "7"]


def test_gain_wants_no_accuracies(faults) -> None:
    assert "drop --metric gain" in faults("source,target,accuracy\nbase,x,0.5\na,x,0.6\n", metric="gain")[0]
