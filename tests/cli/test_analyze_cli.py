from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tvt.cli.analyze import command
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.report.style import short_labels
from tvt.transfer.analysis import analyze, unique_names
from tvt.transfer.cliques import transfer_graph

PNG = b"\x89PNG\r\n\x1a\n"
BUNDLED = ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b")


def run(*args: object, width: int = 80):
    found = CliRunner().invoke(command, [str(a) for a in args], env={"COLUMNS": str(width)}, catch_exceptions=True)
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def write(path: Path, rows: list[tuple[object, ...]], header: str = "seed,source,target,pgf") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def rectangular(tmp_path) -> Path:
    """Three sources, five other or same targets, one cell missing always and one in a run; awkward names."""
    rng = np.random.default_rng(0)
    sources, targets = ["Alpha [red] $x$ " + "long " * 12, "shared", "gamma 2"], ["shared", "delta", "e_f_g", "zeta", "gamma 2"]
    rows = [
        (k, s, t, f"{rng.normal(0, 0.2):.3f}")
        for k in range(3)
        for s in sources
        for t in targets
        if (s, t) != ("gamma 2", "zeta") and (k, s, t) != (1, "shared", "delta")
    ]
    return write(tmp_path / "rectangular.csv", rows)


def test_json_contract():
    out = run(*BUNDLED, "--json")
    assert out.exit_code == 0
    assert out.stderr == ""
    found = json.loads(out.stdout, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert found["schema"] == 1
    assert list(found["studies"]) == list(BUNDLED)
    for study in found["studies"].values():
        assert {"sources", "targets", "pgf", "transferability", "malleability", "cliques", "noise"} <= set(study)
        assert set(study["pgf"]) == set(study["sources"])
        for row in study["pgf"].values():
            assert set(row) == set(study["targets"])
            assert all({"mean", "se_seed", "se_items", "masked"} == set(cell) for cell in row.values())
        assert all({"positive", "negative"} <= set(v) for v in study["transferability"].values())
        assert set(study["malleability"]) == set(study["targets"])
        assert {"positive", "negative", "positive_every_seed", "negative_every_seed"} <= set(study["cliques"])
        assert study["doses"] is study["adapters"] is None
        for grouping in study["groups"].values():
            assert {"mean", "members", "tasks", "ungrouped"} == set(grouping)
            cells = [cell for row in grouping["mean"].values() for cell in row.values()]
            assert all({"mean", "se", "low", "high", "cells", "se_items"} == set(cell) for cell in cells)
    assert len(found["studies"]["qwen2.5-vl-32b"]["cliques"]["positive"][0]) == 9
    assert set(found["personas"]) == {"donor", "pirate", "sponge", "sieve"}
    assert found["personas"]["donor"] == {"Semantic_Correspondence": pytest.approx(2**-12)}
    assert len(found["personas_all"]["donor"]) == 13
    assert len(found["trend"]) == 6
    for point in found["trend"]:
        assert {"study", "parameters", "sign", "mean", "se", "low", "high", "malleability"} == set(point)
        assert point["low"] < point["mean"] < point["high"]
        assert point["malleability"]["low"] < point["malleability"]["mean"] < point["malleability"]["high"]


def test_json_figures_are_the_matrix():
    matrix = load_study("qwen2.5-vl-7b")
    study = json.loads(run("qwen2.5-vl-7b", "--json").stdout)["studies"]["qwen2.5-vl-7b"]
    cell = study["pgf"]["Jigsaw"]["Counting"]
    values = matrix.values[:, matrix.sources.index("Jigsaw"), matrix.targets.index("Counting")]
    assert cell["mean"] == pytest.approx(values.mean())
    assert cell["se_seed"] == pytest.approx(values.std(ddof=1) / 2)
    assert cell["se_items"] > cell["se_seed"]
    assert cell["masked"] is None


def test_json_only_on_stdout_even_with_plots(tmp_path):
    out = subprocess.run(
        [sys.executable, "-m", "tvt", "analyze", "qwen2.5-vl-3b", "--json", "--plots", tmp_path / "plots"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout)["schema"] == 1
    assert "heatmap-qwen2.5-vl-3b.svg" in out.stderr


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit(rectangular, width):
    for args in ((*BUNDLED, "--errors", "--threshold", 0.05), (rectangular, rectangular)):
        lines = run(*args, width=width).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert "\x1b" not in "".join(lines)
        assert not re.search(r"\bnan\b", "\n".join(lines), re.IGNORECASE)


def test_width_without_columns_is_80_when_piped():
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    out = subprocess.run(
        [sys.executable, "-m", "tvt", "analyze", *BUNDLED], capture_output=True, text=True, check=True, env=environment
    )
    assert max(map(len, out.stdout.splitlines())) <= 80
    assert "\x1b" not in out.stdout


def test_tables_tell_the_facts():
    text = run(*BUNDLED).stdout
    flat = " ".join(text.split())
    assert "donor Semantic Correspondence; pirate Functional Correspondence" in flat
    assert "0.043 at 3B, 0.045 at 7B, 0.127 at 32B" in flat
    assert "positive mean 9 AS CN FC JG RD RR SR VC VS" in flat
    assert "cells whose sign flips between runs 32 of 169" in flat
    assert "cannot go below 0.0625" in flat
    assert "Mean PGF by level ± standard error (cells), from row to column" in flat
    assert "Mean malleability (95% interval from the runs)" in flat


def test_headline_counts_what_is_measured(rectangular):
    flat = " ".join(run(rectangular).stdout.split())
    assert "3 sources x 5 targets, 3 runs." in flat
    assert "of 12 transfers between tasks help" in flat
    assert "rectangular: 1 cell is missing and left out, never counted as 0" in flat
    assert "[red]" in flat  # names are no markup


def test_missing_cells_are_null_with_a_reason(rectangular):
    study = json.loads(run(rectangular, "--json").stdout)["studies"]["rectangular"]
    cell = study["pgf"]["gamma 2"]["zeta"]
    assert (cell["mean"], cell["se_seed"], cell["se_items"]) == (None, None, None)
    assert cell["masked"] == "not measured"
    partly = study["pgf"]["shared"]["delta"]
    assert partly["mean"] is not None
    assert partly["masked"] is None
    assert study["noise"]["missing"] == 1
    row = next(line for line in run(rectangular).stdout.splitlines() if line.startswith("G2 "))
    assert row.split()[4] == "–"


def test_one_run_has_no_spread(tmp_path):
    path = write(tmp_path / "one.csv", [("A", "B", 0.2), ("B", "A", -0.1)], "source,target,pgf")
    found = json.loads(run(path, "--json").stdout)
    study = found["studies"]["one"]
    assert study["pgf"]["A"]["B"] == {"mean": 0.2, "se_seed": None, "se_items": None, "masked": None}
    assert study["noise"]["run_sd_median"] is None
    assert study["noise"]["split_half"] is None
    assert study["transferability"]["A"]["positive"] == pytest.approx((1 - math.exp(-1)) * 0.2)
    assert study["transferability"]["A"]["positive_se"] is None
    assert any("one run" in note for note in found["notes"])
    assert found["personas"] == {"donor": {}, "pirate": {}, "sponge": {}, "sieve": {}}


def test_study_of_one_task(tmp_path):
    path = write(tmp_path / "tiny.csv", [("A", "A", 0.5)], "source,target,pgf")
    out = run(path, "--plots", tmp_path / "plots")
    assert out.exit_code == 0
    assert "No transfer from one task to another was measured." in " ".join(out.stdout.split())
    study = json.loads(run(path, "--json").stdout)["studies"]["tiny"]
    assert study["transferability"]["A"]["positive"] is None
    assert study["cliques"]["positive"] == []
    with_self = json.loads(run(path, "--json", "--with-self").stdout)["studies"]["tiny"]
    assert with_self["transferability"]["A"]["positive"] == pytest.approx((1 - math.exp(-1)) * 0.5)
    assert len(list((tmp_path / "plots").iterdir())) == 6


def test_plots_of_two_studies(tmp_path, rectangular):
    folder = tmp_path / "new" / "plots"
    out = run(rectangular, "qwen2.5-vl-3b", "--plots", folder)
    names = {"heatmap-rectangular", "heatmap-qwen2.5-vl-3b", "graph-rectangular", "graph-qwen2.5-vl-3b"}
    names |= {"groups-qwen2.5-vl-3b", "personas", "scale-trend"}
    assert {path.name for path in folder.iterdir()} == {f"{n}.{suffix}" for n in names for suffix in ("svg", "png")}
    assert all(path.read_bytes().startswith(PNG) for path in folder.glob("*.png"))
    assert all(b"<svg" in path.read_bytes()[:1000] for path in folder.glob("*.svg"))
    assert len([line for line in out.stderr.splitlines() if line.startswith("note: wrote ")]) == 14


def test_plots_are_reproducible(tmp_path, rectangular):
    for folder in ("a", "b"):
        run(rectangular, "--plots", tmp_path / folder)
    for first in (tmp_path / "a").iterdir():
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes(), first.name


def test_plots_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name another folder"):
        run("qwen2.5-vl-3b", "--plots", tmp_path / "file")


def test_names_are_unique(rectangular):
    assert unique_names(["a", "a", "b", "a", "a (2)"]) == ["a", "a (2)", "b", "a (3)", "a (2) (2)"]
    studies = json.loads(run(rectangular, rectangular, "--json").stdout)["studies"]
    assert list(studies) == ["rectangular", "rectangular (2)"]


def test_threshold_and_alpha_reach_the_cliques():
    study = json.loads(run("qwen2.5-vl-32b", "--json", "--threshold", 0.1, "--alpha", 0.0625).stdout)["studies"]
    cliques = study["qwen2.5-vl-32b"]["cliques"]
    assert 2 <= len(cliques["positive_threshold"][0]) < 9
    # At 1/16 the test over four runs asks what "every run" asks.
    assert cliques["positive_test"] == cliques["positive_every_seed"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--alpha", "0"), "alpha 0 is not between 0 and 1"),
        (("--alpha", "nan"), "alpha nan"),
        (("--threshold", "-0.1"), "threshold -0.1"),
        (("--threshold", "inf"), "threshold inf"),
    ],
)
def test_bad_options(args, said):
    with pytest.raises(InputError, match=re.escape(said)):
        run("qwen2.5-vl-3b", *args)


def test_all_faults_of_all_studies_at_once():
    with pytest.raises(InputError) as error:
        run("qwen2.5-vl-3", "no-such-file.csv")
    assert len(error.value.faults) == 2
    assert "qwen2.5-vl-3b" in error.value.faults[0]


def test_gain_is_taken_and_called_so(tmp_path):
    path = write(tmp_path / "gains.csv", [("A", "B", 2.5), ("B", "A", -4)], "source,target,pgf")
    out = run(path, "--metric", "gain")
    assert "Mean gain x 100" in out.stdout
    assert json.loads(run(path, "--metric", "gain", "--json").stdout)["studies"]["gains"]["metric"] == "gain"


def test_help_has_an_example():
    assert "tvt analyze qwen2.5-vl-3b" in run("--help").stdout


def test_graph_has_every_measured_transfer():
    matrix = load_study("qwen2.5-vl-7b")
    graph = transfer_graph(matrix)
    assert graph.number_of_edges() == 156
    assert transfer_graph(matrix, with_self=True).number_of_edges() == 169
    edge = graph["Object_Localization"]["Visual_Similarity"]
    assert edge["weight"] == pytest.approx(-1.94, abs=0.01)
    assert edge["sign_stable"] is True
    assert edge["error"] > 0
    assert all(abs(w) >= 0.5 for _, _, w in transfer_graph(matrix, threshold=0.5).edges(data="weight"))
    assert sum(not stable for _, _, stable in graph.edges(data="sign_stable")) <= 32


def test_short_labels_are_unique():
    from tvt.core.matrix import TransferMatrix

    names = [f"skill_number_{k}" for k in range(30)] + ["visual similarity", "Visual_Search", "x", "[a] b"]
    found = short_labels(TransferMatrix.from_values(np.zeros((34, 34)), sources=names, targets=names))
    assert len(set(found.values())) == 34
    assert max(map(len, found.values())) <= 4
    assert short_labels(load_study("qwen2.5-vl-3b"))["Multi-view_Reasoning"] == "MR"


def test_analyze_needs_a_study():
    with pytest.raises(InputError, match="name at least one"):
        analyze([])


@pytest.mark.parametrize("width", [80, 120])
def test_generic_and_specific_parts_fit_the_terminal(width: int) -> None:
    out = run("qwen2.5-vl-32b", "--specific", width=width)
    assert out.exit_code == 0
    assert max(map(len, out.stdout.splitlines())) <= width
    assert re.search(r"Visual Similarity +0\.606 ±0\.068 +CN \+0\.078", out.stdout)
    words = " ".join(out.stdout.split())
    assert "90% by the target alone, 2% by the source alone, 8% the rest" in words
    assert "of 156 transfers 0 help and 0 harm; of 13 own gains 5" in words
    assert "since no placebo was run" in words
    assert "qwen2.5-vl-32b: beyond any finetuning" in out.stdout


def test_specific_plots_stand_beside_the_papers(tmp_path: Path) -> None:
    out = run("qwen2.5-vl-7b", "--specific", "--plots", tmp_path)
    assert out.exit_code == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {"heatmap-qwen2.5-vl-7b", "heatmap-qwen2.5-vl-7b-specific", "graph-qwen2.5-vl-7b-specific"} <= names
    assert "personas-specific" in names


def test_placebos_have_columns_of_their_own(tmp_path: Path) -> None:
    from tvt.core.scores import Score
    from tvt.core.task import Task
    from tvt.data.studies.folder import StudyManifest, write_study

    def score(source: str | None, target: str, correct: int, seed: str = "seed_0") -> Score:
        named = "base" if source is None else seed
        return Score(run=named, source=source, target=target, accuracy=correct / 100, correct=correct, total=100)

    tasks = ("Alpha", "Beta", "Gamma")
    cells = [score(s, t, 60 + 20 * (s == t), f"seed_{k}") for k in (0, 1) for s in tasks for t in tasks]
    placebos = [score("placebo-format", t, 58, f"seed_{k}") for k in (0, 1) for t in tasks]
    manifest = StudyManifest(name="beside", tasks=tuple(Task(name=t) for t in tasks))
    write_study(tmp_path, manifest, [*(score(None, t, 40) for t in tasks), *cells], placebos=placebos)
    out = run(tmp_path)
    assert re.search(r"target +generic +format +does most +does least", out.stdout)
    assert "Generic: the mean of the placebos (format; 2 runs of each)." in " ".join(out.stdout.split())
