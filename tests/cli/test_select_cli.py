"""``tvt select`` and ``tvt predict`` as processes: the JSON contract, exit codes, files, width."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import assert_refused, processor_seconds
from kappa_worlds import world
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, write_study
from tvt.data.studies.load import load_study
from tvt.io.yaml_files import load_mixture


def tvt(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-m", "tvt", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_the_contract_of_select() -> None:
    done = tvt("select", "qwen2.5-vl-7b", "--goal", "Jigsaw=0.15", "--without-direct", "--budget", "777", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    assert told["status"] == "optimal"
    assert told["verdict"] == "train"
    assert sum(told["weights"].values()) == pytest.approx(1, abs=1e-9)
    assert sum(told["counts"].values()) == 777
    assert set(told["weights"]) == set(told["counts"]) == set(load_study("qwen2.5-vl-7b").sources)
    assert told["weights"]["Jigsaw"] == 0
    jigsaw = told["predicted"]["Jigsaw"]
    assert jigsaw["low"] < jigsaw["gain"] < jigsaw["high"]
    assert told["audit"]["passed"] is True
    assert told["audit"]["worst_violation"] <= 1e-6
    assert {"name", "status", "seconds"} <= set(told["solver"])
    assert isinstance(told["prices"], dict)
    assert isinstance(told["objective"], float)


@pytest.mark.parametrize("options", [["--response", "linear"], ["--max-sources", "3", "--frontier", "harm"], ["--cvar", "0.2"]])
def test_json_is_all_there_is_on_stdout(options: list[str]) -> None:
    """Solvers print from C++; none of it may reach stdout."""
    done = tvt("select", "qwen2.5-vl-3b", "--goal", "Jigsaw=0.2", "--json", *options)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_the_contract_of_an_infeasible_request() -> None:
    done = tvt("select", "qwen2.5-vl-7b", "--response", "linear", "--protect", "all", "--hard", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    assert told["status"] == "infeasible"
    assert told["relaxation"] == pytest.approx(0.0049, abs=5e-5)
    assert told["conflicts"]
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Jigsaw" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_helps_is_an_answer() -> None:
    done = tvt("select", "7b", "--goal", "SC=0.1", "--without-direct", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["verdict"] == "nothing_helps"
    assert set(told["weights"].values()) == {0.0}
    shown = tvt("select", "7b", "--goal", "SC=0.1", "--without-direct")
    assert "Keep the base model, or add sources" in shown.stdout


def test_mixture_file_reloads_and_says_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    done = tvt("select", "qwen2.5-vl-7b", "--goal", "JG=15%", "--cap", "0.4", "-o", str(path), "--json")
    assert done.returncode == 0, done.stderr
    mixture = load_mixture(path)
    assert mixture.weights == json.loads(done.stdout)["weights"]
    assert mixture.provenance["evidence"]["digest"] == load_study("qwen2.5-vl-7b").digest()
    assert mixture.provenance["spec"] == {"goals": {"JG": 0.15}, "caps": {"all": 0.4}}
    assert mixture.provenance["versions"]["cvxpy"]
    assert mixture.solver.status == "optimal"


def test_predict_agrees_with_select(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    chosen = json.loads(tvt("select", "qwen2.5-vl-32b", "-o", str(path), "--json").stdout)
    done = tvt("predict", "qwen2.5-vl-32b", "--mixture", str(path), "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["predictions"]
    for target, scores in told["scores"].items():
        assert scores["value"] == pytest.approx(chosen["predicted"][target]["gain"])
        assert scores["low"] <= scores["value"] <= scores["high"]


def write_runs(path: Path, rows: int = 120) -> np.ndarray:
    """Losses of three sources; the second column of weights sums to 0.995 in places, as rounded weights do."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), rows).round(2)
    losses = 3 - np.log(weights + 0.02) @ np.array([[0.1, 0.0], [0.0, 0.2], [0.05, 0.05]]) + rng.normal(0, 0.005, (rows, 2))
    lines = ["id,w:web,w:code,w:books,score:wiki,score:github"]
    lines += [f"{i}," + ",".join(f"{x:.4f}" for x in (*w, *y)) for i, (w, y) in enumerate(zip(weights, losses, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return losses


def test_mixture_runs_end_to_end(tmp_path: Path) -> None:
    runs, mixtures = tmp_path / "runs.csv", tmp_path / "mixtures.csv"
    losses = write_runs(runs)
    done = tvt("select", "--runs", str(runs), "--lower-is-better", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "train"
    assert told["predicted"]["wiki"]["value"] < losses[:, 0].mean()
    assert told["fit"]["out_of_fold"]["wiki"]["rank_correlation"] > 0.95
    assert "stability" in told
    mixtures.write_text("id,w:code,w:web,w:books\na,0.8,0.1,0.1\nb,0.1,0.8,0.1\n")
    done = tvt("predict", "--runs", str(runs), "--lower-is-better", "--mixtures", str(mixtures), "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["predictions"]
    assert (first["mixture"], second["mixture"]) == ("a", "b")
    assert first["scores"]["github"]["value"] < second["scores"]["github"]["value"]
    assert first["scores"]["wiki"]["value"] > second["scores"]["wiki"]["value"]
    assert first["scores"]["wiki"]["low"] < first["scores"]["wiki"]["value"] < first["scores"]["wiki"]["high"]


def test_gains_that_are_no_pgf(tmp_path: Path) -> None:
    path = tmp_path / "gains.csv"
    path.write_text("source,target,pgf\na,x,2.5\nb,x,-0.5\na,y,0.1\nb,y,1.5\n")
    refused = tvt("select", str(path), "--json")
    assert refused.returncode == 2
    assert "--metric gain" in refused.stderr
    done = tvt("select", str(path), "--metric", "gain", "--goal", "x=2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predicted"]["x"]["gain"] >= 2 - 1e-6


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "options",
    [
        ["--goal", "Jigsaw=0.15", "--protect", "all", "--cap", "0.2", "--frontier", "harm"],
        ["--goal", "Jigsaw=0.15", "--explain"],
        ["--objective", "worst"],
    ],
)
def test_tables_fit_the_terminal(columns: int, options: list[str]) -> None:
    done = tvt("select", "qwen2.5-vl-3b", *options, columns=columns)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "\x1b" not in done.stdout
    assert "nan" not in done.stdout


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        (["--goal", "Jigsw=0.15", "--protect", "Contin"], ["did you mean 'Jigsaw'", "did you mean 'Counting'"]),
        (["--goal", "Jigsaw=-0.1"], ["a goal is a gain, at least 0"]),
        (["--goal", "Jigsaw=nan"], ["finite"]),
        (["--goal", "Jigsaw=inf"], ["finite"]),
        (["--goal", "Jigsaw", "--cap", "a=b=c"], ["--goal Jigsaw: expected", "--cap a=b=c: expected"]),
        (["--cap", "JG=0.1", "--floor", "Jigsaw=0.2"], ["above its cap"]),
        (["--cap", "1.5"], ["--cap: input should be"]),
        (["--hard"], ["--hard needs --protect"]),
        (["--constraint", "RD + RR"], ["has no comparison"]),
        (["--without-direct"], ["needs goals or targets"]),
        (["--goal", "JG=0.1", "--objective", "worst"], ["exclude each other"]),
        (["--plots", "somewhere"], ["--frontier"]),
    ],
)
def test_bad_options_say_what_to_do(options: list[str], faults: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tvt", "select", "qwen2.5-vl-7b", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    for fault in faults:
        assert fault in done.stderr
    assert len(done.stderr.strip().splitlines()) == len(faults)
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_frontier_plot_is_written(tmp_path: Path) -> None:
    done = tvt("select", "7b", "--goal", "JG=0.15", "--without-direct", "--frontier", "harm", "--plots", str(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p" / "frontier-harm.svg").read_text().lstrip().startswith("<?xml")
    assert (tmp_path / "p" / "frontier-harm.png").read_bytes().startswith(b"\x89PNG")


def test_select_costs_little_more_than_importing_cvxpy() -> None:
    """Within 3x: medians of interleaved runs."""
    ours, theirs = [], []
    for _ in range(3):
        for command, times in (
            (["-m", "tvt", "select", "qwen2.5-vl-7b", "--goal", "Jigsaw=0.15", "--without-direct"], ours),
            (["-c", "import cvxpy"], theirs),
        ):
            times.append(processor_seconds(*command))
    assert statistics.median(ours) < 3 * statistics.median(theirs)


def test_one_run_without_counts_says_that_the_noise_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("source,target,pgf\na,x,0.3\n")
    done = tvt("select", str(path))
    assert done.returncode == 0, done.stderr
    assert "noise is unknown" in " ".join(done.stdout.split())
    assert "train on 1 source\n" in done.stdout


def test_an_output_that_cannot_be_written_is_no_defect_of_tvt() -> None:
    done = tvt("select", "7b", "--goal", "JG=0.1", "-o", "/dev/null/mixture.yaml")
    assert done.returncode == 2
    assert "check the path" in done.stderr


@pytest.fixture(scope="module")
def evidenced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with dose and mixture runs from a world of kappa 40."""
    folder = tmp_path_factory.mktemp("evidenced")
    scores, mixtures = world(0, 40.0)
    tasks = tuple(Task(name=name) for name in ("s0", "s1", "s2", "s3", "t0", "t1", "t2", "t3", "t4"))
    write_study(folder, StudyManifest(name="mine", tasks=tasks), scores, mixtures=mixtures)
    return folder


def test_the_joint_response_says_on_what_it_stands(evidenced: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    done = tvt("select", str(evidenced), "-o", str(path), "--json")
    told = json.loads(done.stdout)
    response = told["response"]
    assert response["fitted_on"] == {"doses": 8, "mixtures": 10}
    assert (response["form"], response["kappa"], response["origin"]) == ("joint", None, "fitted")  # no target has own data
    assert response["mixing"] > 0
    assert told["measured_nearby"]["distance"] <= 1
    assert told["best_measured"]["runs"] >= 1
    assert all(scores["se"] >= 0 for scores in told["predicted"].values())
    assert "fitted on 18 runs" in done.stderr
    predicted = json.loads(tvt("predict", str(evidenced), "--mixture", str(path), "--json").stdout)
    assert predicted["response"] == response


def test_what_is_shown_ends_with_how_far_to_trust_it() -> None:
    for options in ([], ["--explain"], ["--goal", "SC=0.1", "--without-direct"]):
        lines = tvt("select", "7b", "--no-stability", *options).stdout.splitlines()
        assert "How far to trust this: tvt docs trust" in lines
    assert tvt("docs", "trust").stdout.startswith("# How far to trust a selection")


def test_a_study_with_mixture_runs_fits_kappa(evidenced: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    done = tvt("select", str(evidenced), "--response", "log", "-o", str(path), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    response = told["response"]
    assert response["form"] == "log"
    assert response["origin"] == "fitted"
    assert response["low"] < response["kappa"] < response["high"]
    assert response["low"] > 10
    assert response["confidence"] == 0.9
    assert response["fitted_on"] == {"doses": 8, "mixtures": 10}
    assert list(told["sensitivity"]["kappa"]) == [f"{response[end]:.6g}" for end in ("low", "high")]
    provenance = load_mixture(path).provenance
    assert provenance["curvature"] == {k: v for k, v in response.items() if k != "form"}
    assert provenance["evidence"]["digest"] == load_study(evidenced).digest()
    predicted = json.loads(tvt("predict", str(evidenced), "--response", "log", "--mixture", str(path), "--json").stdout)
    assert predicted["response"] == response
    for target, score in predicted["predictions"][0]["scores"].items():
        assert score["value"] == pytest.approx(told["predicted"][target]["gain"])


@pytest.mark.parametrize("options", [[], ["--explain"], ["--no-stability"]])
def test_a_fitted_kappa_is_told_as_such(evidenced: Path, options: list[str]) -> None:
    done = tvt("select", str(evidenced), "--response", "log", *options)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "fitted on 8 dose and 10 mixture runs" in shown
    assert "Kappa is an assumption" not in shown
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_kappa_given_wins_over_the_runs(evidenced: Path) -> None:
    done = tvt("select", str(evidenced), "--kappa", "5", "--json")
    response = json.loads(done.stdout)["response"]
    assert response == {"form": "log", "kappa": 5.0, "origin": "given", "fitted_on": None}
    assert "fitted" not in done.stderr


def test_runs_beside_a_study_fit_kappa_in_select_and_predict(evidenced: Path, tmp_path: Path) -> None:
    """A table of gains in the study's metric counts as the study's own file does."""
    from dataclasses import replace

    matrix = load_study(evidenced)
    assert matrix.evidence is not None
    rows = np.flatnonzero(matrix.evidence.mixtures)
    runs, mixtures, bare = tmp_path / "runs.csv", tmp_path / "mixtures.csv", tmp_path / "study.csv"
    head = ",".join(["id", *(f"w:{s}" for s in matrix.sources), *(f"score:{t}" for t in matrix.targets)])
    lines = [
        ",".join(map(repr, (int(k), *map(float, (*matrix.evidence.weights[k], *matrix.evidence.scores[k]))))) for k in rows
    ]
    runs.write_text("\n".join([head, *lines]) + "\n")
    cells = ["run,source,target,pgf"]
    for k, run in enumerate(matrix.runs):
        for i, source in enumerate(matrix.sources):
            cells += [f"{run},{source},{t},{float(matrix.values[k, i, j])!r}" for j, t in enumerate(matrix.targets)]
    bare.write_text("\n".join(cells) + "\n")
    mixtures.write_text("id,w:s0,w:s1\na,0.5,0.5\n")
    assert replace(matrix, evidence=None).digest() != matrix.digest()
    selected = json.loads(
        tvt("select", str(bare), "--runs", str(runs), "--response", "log", "--no-stability", "--json").stdout
    )["response"]
    assert selected["fitted_on"] == {"doses": 0, "mixtures": 10}
    done = tvt("predict", str(bare), "--runs", str(runs), "--response", "log", "--mixtures", str(mixtures), "--json")
    assert json.loads(done.stdout)["response"] == selected
    assert "fitted on 10 mixture runs" in done.stderr
    assert tvt("predict", "--mixtures", str(mixtures)).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cvar", "3"], "--cvar: input should be less than or equal to 1, not 3.0"),
        (["--cap", "Jigsaw=3"], "--cap Jigsaw: input should be less than or equal to 1, not 3.0"),
        (["--max-epochs", "0"], "--max-epochs: input should be greater than 0, not 0.0"),
        (["--cvar", "0.2", "--risk", "1"], "risk and cvar are two ways to be careful; choose one"),
    ],
)
def test_faults_of_a_request_name_the_option(arguments: list[str], message: str) -> None:
    result = tvt("select", "qwen2.5-vl-7b", *arguments)
    assert_refused(result)
    assert result.stderr.splitlines() == [f"tvt: {message}"]
