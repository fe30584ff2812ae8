"""``tvt report``: what it writes, what it refuses, and what it tells of a study folder with runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from commands import assert_refused, tvt
from report_pages import folder
from study_world import TASKS, Tvt, build, done, warm_tvt, write_recipe
from tvt.data.studies.folder import write_study


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made up")
    of = folder(["Alpha", "Beta", "Gamma"])
    write_study(place, of.manifest, of.scores)
    return place


def test_the_bundled_studies_together(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    result = tvt("report", "qwen2.5-vl-3b", "7b", "32b", "--no-mixtures", "-o", str(path))
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"wrote {path}" in result.stderr
    told = data_of(path)
    assert [study["name"] for study in told["studies"]] == ["qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b"]
    assert "donor Semantic Correspondence" in told["sentences"][0]
    assert {study["provenance"]["counts"] for study in told["studies"]} == {"inferred"}
    # What is said of all three alike is told once.
    assert [note.count("qwen") for note in told["notes"]] == [3]
    assert path.stat().st_size < 2_000_000


def test_the_same_study_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert tvt("report", str(study), "--target", "Beta", "-o", str(tmp_path / name)).returncode == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    requests = data_of(tmp_path / "a.html")["studies"][0]["explorer"]["requests"]
    assert [request["target"] for request in requests] == [None, "Beta"]


def test_commands_read_the_study_as_the_report_did(tmp_path: Path) -> None:
    table = tmp_path / "gains.csv"
    table.write_text(
        "run,source,target,gain\n" + "".join(f"{r},{s},x,{v + r}\n" for r in (0, 1) for s, v in (("a", 5), ("b", 9)))
    )
    path = tmp_path / "report.html"
    result = tvt("report", str(table), "--metric", "gain", "--unit", "percent", "-o", str(path))
    assert result.returncode == 0, result.stderr
    point = data_of(path)["studies"][0]["explorer"]["requests"][1]["frontiers"]["harm"]["points"][0]
    assert point["command"].startswith(f"tvt select {table} --metric gain --unit percent --target x")


def test_refusals(study: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((), "Missing argument"),
        (("no-such-study",), "no study"),
        ((str(study), "--target", "Alpa"), "did you mean 'Alpha'"),
        ((str(study), "--target", "Alpha", "--no-mixtures"), "--no-mixtures"),
        ((str(study), "--adapters"), "holds no adapters"),
        ((str(study), "-o", str(tmp_path)), "directory"),
    ):
        result = tvt("report", *arguments)
        assert_refused(result)
        assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told_in_one_line(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = tvt("report", str(study), "--no-mixtures", "-o", str(tmp_path / "file" / "report.html"))
    assert_refused(result)
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tvt]:
    """A study that was really run, with doses, a comparison, and its tasks' rows beside it."""
    world, command = tmp_path_factory.mktemp("world"), warm_tvt()
    build(world)
    recipe = write_recipe(world, sources=list(TASKS[:2]), doses=[1.0, 0.5])
    place, mixture = world / "study", world / "mixture.yaml"
    done(command("study", "run", recipe, "-o", place, "--workers", "1"))
    done(command("select", place, "--target", "Gamma", "--anyway", "-o", mixture))
    done(command("compare", place, mixture, "--run", "--randoms", "1", "--workers", "1"))
    return place, command


def test_a_study_that_was_run_tells_recipe_versions_doses_adapters_and_comparison(
    trained: tuple[Path, Tvt], tmp_path: Path
) -> None:
    place, command = trained
    done(command("report", place, "--adapters", "-o", tmp_path / "report.html"))
    (told,) = data_of(tmp_path / "report.html")["studies"]
    assert told["provenance"]["problems"] == []
    assert told["provenance"]["recipe"]["lora.lora_r"] == "2"
    assert any(version.startswith("torch ") for version in told["provenance"]["versions"])
    assert [round(point["dose"], 2) for point in told["doses"]] == [0.5, 1.0]
    assert told["adapters"]["sources"] == list(TASKS[:2])
    (comparison,) = told["comparisons"]
    assert comparison["name"].startswith("mixture-")
    assert {entry["kind"] for entry in comparison["entries"]} >= {"selected", "uniform", "random"}
    shown = json.loads(done(command("compare", place, "--json")).stdout)
    assert comparison["sentences"] == shown["sentences"]


def test_a_comparison_whose_rows_are_gone_is_told_as_left_out(trained: tuple[Path, Tvt], tmp_path: Path) -> None:
    place, command = trained
    rows = place.parent / "tasks"
    rows.rename(place.parent / "elsewhere")
    try:
        done(command("report", place, "--no-mixtures", "-o", tmp_path / "report.html"))
    finally:
        (place.parent / "elsewhere").rename(rows)
    (told,) = data_of(tmp_path / "report.html")["studies"]
    assert told["comparisons"] == []
    assert any("Comparisons are left out" in problem for problem in told["provenance"]["problems"])
