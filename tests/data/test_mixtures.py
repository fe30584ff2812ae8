"""Tables of past mixture runs, and of mixtures to be predicted."""

from pathlib import Path

import numpy as np
import pytest

from tvt.data.studies.mixtures import load_mixture_runs, load_mixtures
from tvt.errors import InputError

RUNS = "run,w:a,w:b,score:x,score:y\n1,0.5,0.5,3.1,\n2,1,0,2.9,4\n3,0.25,0.75,-1,NA\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.csv"


def faults(path: Path, text: str, *sources: str) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_mixtures(path, sources) if sources else load_mixture_runs(path)
    return tuple(line.removeprefix(f"{path.parent}/") for line in caught.value.faults)


def test_runs_are_read(path: Path) -> None:
    path.write_text(RUNS)
    runs = load_mixture_runs(path, lower_is_better=True)
    assert (runs.ids, runs.sources, runs.targets) == (("1", "2", "3"), ("a", "b"), ("x", "y"))
    assert runs.weights.tolist() == [[0.5, 0.5], [1, 0], [0.25, 0.75]]
    assert runs.scores[:, 0].tolist() == [3.1, 2.9, -1]
    assert np.isnan(runs.scores[:, 1]).tolist() == [True, False, True]
    assert runs.lower_is_better
    assert runs.notes == ()


def test_rounded_weights_are_renormalised_and_counted(path: Path) -> None:
    path.write_text(RUNS.replace("0.5,0.5", "0.5,0.495").replace("0.25,0.75", "0.26,0.75"))
    runs = load_mixture_runs(path)
    assert runs.weights.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-12)
    assert runs.weights[0] == pytest.approx([0.5 / 0.995, 0.495 / 0.995])
    assert len(runs.notes) == 1
    assert runs.notes[0].startswith("2 of 3 rows renormalised")


def test_the_digest_names_the_content_not_the_order(path: Path) -> None:
    path.write_text(RUNS)
    digest = load_mixture_runs(path).digest
    path.write_text("score:y,w:b,w:a,score:x\nNA,0.75,0.25,-1\n,0.5,0.5,3.1\n4,0,1,2.9\n")
    assert load_mixture_runs(path).digest == digest
    path.write_text(RUNS.replace("3.1", "3.2"))
    assert load_mixture_runs(path).digest != digest
    path.write_text(RUNS)
    assert load_mixture_runs(path, lower_is_better=True).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,0.5,0.5", "1,-0.5,1.5", "runs.csv:2: w:a: -0.5 is negative"),
        ("1,0.5,0.5", "1,inf,0.5", "runs.csv:2: w:a: 'inf' is not finite"),
        ("1,0.5,0.5", "1,,1", "runs.csv:2: w:a: no weight; write 0"),
        ("1,0.5,0.5", "1,0.5,0.6", "runs.csv:2: weights sum to 1.1, not 1"),
        ("1,0.5,0.5", "1,50,50", "divide them by 100"),
        ("2,1,0", "1,1,0", "runs.csv:3: run '1' stands on line 2 already"),
        ("3.1", "nan", "runs.csv:2: score:x: 'nan' is not finite"),
        ("2.9,4", "2.9,", "column 'score:y' has no value"),
        ("w:b", "b", "runs.csv:1: unknown column 'b'"),
        ("w:a,w:b", "a,b", "no column w:<source>"),
        ("score:x,score:y", "x,y", "no column score:<target>"),
        ("3,0.25,0.75,-1,NA\n", "", "2 runs; add runs until there are at least 3"),
    ],
)
def test_bad_runs(path: Path, old: str, new: str, message: str) -> None:
    assert any(message in fault for fault in faults(path, RUNS.replace(old, new)))


def test_all_faults_at_once(path: Path) -> None:
    found = faults(path, RUNS.replace("1,0.5,0.5", "1,-0.5,1.5").replace("2,1,0", "2,1,1").replace("-1", "x"))
    assert [fault.split(":")[1] for fault in found] == ["2", "3", "4"]


def test_mixtures_are_placed_by_name(path: Path) -> None:
    path.write_text("index,w:c,A,score:x\nm1,0.25,0.75,oops\nm2,1,0.005,\n")
    ids, weights = load_mixtures(path, ("a", "b", "c"))
    assert ids == ("m1", "m2")
    assert weights[0].tolist() == [0.75, 0, 0.25]
    assert weights[1] == pytest.approx([0.005 / 1.005, 0, 1 / 1.005])


def test_mixtures_without_ids_and_a_source_called_run(path: Path) -> None:
    path.write_text("run,a\n0.5,0.5\n")
    ids, weights = load_mixtures(path, ("a", "run"))
    assert ids == ("mixture_1",)
    assert weights.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w:Jigsew,b\n1,0\n", "unknown source 'Jigsew' (did you mean 'Jigsaw'?)"),
        ("Jigsaw,w:Jigsaw\n1,0\n", "both are weights of Jigsaw"),
        ("id,score:x\nm,1\n", "no column of weights"),
        ("Jigsaw,b\n", "no mixtures"),
        ("Jigsaw,b\n0.2,0.2\n", "weights sum to 0.4"),
        ("Jigsaw,b\n0.2\n", "ragged"),
    ],
)
def test_bad_mixtures(path: Path, text: str, message: str) -> None:
    assert any(message in fault for fault in faults(path, text, "Jigsaw", "b"))


def test_a_table_of_512_runs_is_read_in_order(path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(17), 512)
    rows = np.hstack([weights, rng.normal(size=(512, 13))])
    header = ",".join([*(f"w:s{i}" for i in range(17)), *(f"score:t{j}" for j in range(13))])
    path.write_text(header + "\n" + "".join(",".join(map(repr, map(float, row))) + "\n" for row in rows))
    runs = load_mixture_runs(path)
    assert runs.weights == pytest.approx(weights)
    assert runs.ids[-1] == "run_512"


UNNAMED = "uuid,name,a,b,x,y\nu1,r,1,-3e-20,0.4,0.6\nu2,s,0.5,0.5,0.5,0.5\nu3,t,0.25,0.75,0.45,0.7\n"


def test_columns_by_option_with_ids_and_what_a_solver_leaves_of_zero(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(UNNAMED, encoding="utf-8")
    runs = load_mixture_runs(path, weights=("a", "b"), scores=("x", "y"))
    assert (runs.sources, runs.targets, runs.ids) == (("a", "b"), ("x", "y"), ("r", "s", "t"))
    assert runs.weights[0].tolist() == [1.0, 0.0]
    assert runs.notes == ("columns left out, being neither weights nor scores: uuid",)


def test_columns_by_option_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(UNNAMED, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_mixture_runs(path, weights=("a", "c"), scores=("x",))
    (fault,) = caught.value.faults
    assert fault.endswith(":1: --weights c: no such column; there are uuid, name, a, b, x, y")
    with pytest.raises(InputError) as caught:
        load_mixture_runs(path)
    assert [fault.partition("say which they are: ")[2] for fault in caught.value.faults] == [
        "--weights A,B,...",
        "--scores A,B,...",
    ]


def test_equal_mixtures_are_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("w:a,w:b,score:x\n" + "0.5,0.5,0.4\n" * 4, encoding="utf-8")
    with pytest.raises(InputError, match="all 4 mixtures are equal"):
        load_mixture_runs(path)


def test_a_mixture_with_several_seeds_has_an_id_for_each(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("mixture,seed,w:a,w:b,score:x\nm,0,1,0,0.4\nm,1,1,0,0.5\nn,0,0,1,0.3\n", encoding="utf-8")
    assert load_mixture_runs(path).ids == ("m/0", "m/1", "n/0")
