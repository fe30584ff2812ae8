"""Targets that are no sources, from end to end: trained on pictures, scored on videos, by letters and by numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvt.core.scores import item_standard_error, tally

pytest.importorskip("trl")
pytest.importorskip("av")

import study_world
import tiny_vlm
import vsi_copy
from study_world import Tvt, done
from tvt.core.recipe import Recipe
from tvt.data.studies.folder import ANSWERS_FILE
from tvt.data.studies.load import load_study
from tvt.io.machine import bundled_root
from tvt.io.yaml_files import load_recipe
from tvt.study.plan import load_study_plan
from tvt.study.store import Store
from tvt.study.views import measured

SOURCES = ("Alpha", "Beta")
COUNTING, DIRECTION = "object_counting", "object_rel_direction_medium"
TARGETS = (COUNTING, DIRECTION, "Gamma")
EACH = 9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of pictures to train on, one more to score on, and a copy of VSI-Bench; the model mostly says digits."""
    folder = tmp_path_factory.mktemp("world")
    tiny_vlm.save(folder / "model", layers=1, said="123456")
    for k, task in enumerate((*SOURCES, "Gamma")):
        study_world.write_task(folder / "tasks", task, seed=k)
    vsi_copy.write_copy(folder / "VSI-Bench", EACH)
    (folder / "videos").mkdir()
    for name in (COUNTING, DIRECTION):
        told = (bundled_root() / "vsi-bench" / f"{name}.yaml").read_text()
        (folder / "videos" / f"{name}.yaml").write_text(told.replace("frames: 32", "frames: 3"))
    study_world.write_recipe(
        folder,
        sources=list(SOURCES),
        targets=list(TARGETS),
        manifests=[str(folder / "tasks"), str(folder / "videos")],
        datasets={vsi_copy.NAME: "VSI-Bench"},
        seeds=[0, 1],
        budget=4,
        evaluation={"batch_size": 4, "max_new_tokens": 2},
    )
    return folder


@pytest.fixture(scope="module")
def study(world: Path, tvt: Tvt) -> Path:
    folder = world / "study"
    done(tvt("study", "run", world / "recipe.yaml", "-o", folder, TVT_CACHE=str(world / "cache")))
    return folder


@pytest.fixture
def recipe(world: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("TVT_CACHE", str(world / "cache"))
    return load_recipe(world / "recipe.yaml")


def scores(study: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with (study / "scores.csv").open() as stream:
        return {(row["run"], row["source"], row["target"]): row for row in csv.DictReader(stream)}


def items(study: Path, run: str, source: str, target: str) -> list[dict[str, Any]]:
    """The items of a cell, found without tvt."""
    for path in study.glob("runs/*/spec.json"):
        told = json.loads(path.read_text())
        if (
            (run, source) == ("base", "base")
            if not told["counts"]
            else (run, [source]) == (f"seed_{told['seed']}", [*told["counts"]])
        ):
            cells = json.loads((path.parent / "scores.json").read_text())["cells"]
            (answers,) = {cell["answers"] for cell in cells if (cell["target"], cell["part"]) == (target, "evaluation")}
            lines = (study / "answers" / answers / f"{target}.items.jsonl").read_text().splitlines()
            return [json.loads(line) for line in lines]
    raise AssertionError((run, source, target))


def test_the_scores_are_the_credits_of_the_answers(study: Path) -> None:
    found = scores(study)
    assert {key[1:] for key in found} == {(s, t) for s in ("base", *SOURCES) for t in TARGETS}
    assert len(found) == 3 * (1 + 2 * 2)
    for (run, source, target), row in found.items():
        mine, base = items(study, run, source, target), items(study, "base", "base", target)
        credit = [[item.get("credit", float(item["correct"])) for item in part] for part in (mine, base)]
        assert all(("credit" in item) == (target == COUNTING) for item in mine)
        assert int(row["total"]) == len(mine) == (10 if target == "Gamma" else EACH)
        assert float(row["correct"]) == tally(credit[0])
        if source != "base":
            assert float(row["both_correct"]) == tally(a * b for a, b in zip(*credit, strict=True))
    letters = [row["correct"] for (_, _, target), row in found.items() if target != COUNTING]
    assert all(text.isdecimal() for text in letters), "counts stay counts"
    assert any("." in row["correct"] for (_, _, target), row in found.items() if target == COUNTING)


def test_the_matrix_is_rectangular_and_its_errors_those_of_the_credits(study: Path) -> None:
    matrix = load_study(str(study))
    assert (matrix.sources, matrix.targets) == (SOURCES, TARGETS)
    found = scores(study)
    for k, run in enumerate(matrix.runs):
        for i, source in enumerate(SOURCES):
            for j, target in enumerate(TARGETS):
                base, after = found["base", "base", target], found[run, source, target]
                total = int(after["total"])
                a, b = float(after["correct"]) / total, float(base["correct"]) / total
                assert matrix.values[k, i, j] == pytest.approx((a - b) / (1 - b))
                error = float(item_standard_error(a, b, 1, total, float(after["both_correct"])))
                assert matrix.item_errors[k, i, j] == pytest.approx(error)


def test_running_again_does_nothing(study: Path, world: Path, tvt: Tvt) -> None:

    def stamps() -> dict[Path, int]:  # tables are written anew from the records
        return {path: path.stat().st_mtime_ns for path in study.rglob("*.json*") if path.name != ANSWERS_FILE}

    before = stamps()
    told = done(tvt("study", "run", world / "recipe.yaml", "-o", study, "--json", TVT_CACHE=str(world / "cache")))
    assert {run["status"] for run in json.loads(told.stdout)["runs"]} == {"done"}
    assert stamps() == before
    assert study_world.leftovers(study) == []


def test_videos_were_decoded_once_for_all_runs(study: Path, world: Path) -> None:
    assert len(list((world / "cache").glob("frames/*/frames.json"))) == len(vsi_copy.SCENES)


def test_analyze_select_and_predict(study: Path, world: Path, tvt: Tvt) -> None:
    told = json.loads(done(tvt("analyze", study, "--json")).stdout)
    (analysed,) = told["studies"].values()
    assert (analysed["sources"], analysed["targets"]) == ([*SOURCES], [*TARGETS])
    matrix = load_study(str(study))
    for i, source in enumerate(SOURCES):
        for j, target in enumerate(TARGETS):
            assert analysed["pgf"][source][target]["mean"] == pytest.approx(matrix.mean[i, j])
            assert analysed["pgf"][source][target]["masked"] is None
    for width in ("80", "120"):
        assert COUNTING[:6] in done(tvt("analyze", study, COLUMNS=width)).stdout
    chosen = done(tvt("select", study, "--target", "OC", "--target", DIRECTION, "--anyway", "--no-stability", "--json"))
    told = json.loads(chosen.stdout)
    assert sum(told["weights"].values()) == pytest.approx(1)
    assert set(told["weights"]) <= set(SOURCES)
    assert set(told["predicted"]) >= {COUNTING, DIRECTION}
    (world / "mixtures.csv").write_text("id,w:Alpha,w:Beta\nhalf,0.5,0.5\nalpha,1,0\n")
    predicted = done(tvt("predict", study, "--mixtures", world / "mixtures.csv", "--response", "linear", "--json"))
    by_name = {row["mixture"]: row["scores"] for row in json.loads(predicted.stdout)["predictions"]}
    for j, target in enumerate(TARGETS):
        assert by_name["alpha"][target]["value"] == pytest.approx(matrix.mean[0, j], abs=1e-6)
        assert by_name["half"][target]["value"] == pytest.approx(matrix.mean[:, j].mean(), abs=1e-6)


def test_comparisons_read_what_each_answer_is_worth(study: Path, recipe: Recipe) -> None:
    from tvt.core.arms import Arm

    plan, store = load_study_plan(recipe), Store(study)
    entries = [Arm(label=s, kind="best_single", weights={s: 1.0}, counts={s: recipe.budget}) for s in SOURCES]
    found = measured(plan, store, entries, [COUNTING, DIRECTION])
    assert not found.missing
    assert found.base[COUNTING].tolist() == [item["credit"] for item in items(study, "base", "base", COUNTING)]
    assert found.answers["Beta"][1][COUNTING].tolist() == [item["credit"] for item in items(study, "seed_1", "Beta", COUNTING)]
    assert set(np.unique(found.base[DIRECTION])) <= {0.0, 1.0}


def test_changed_credits_are_noticed(study: Path, recipe: Recipe, tmp_path: Path) -> None:
    import shutil

    from tvt.errors import InputError

    other = Path(shutil.copytree(study, tmp_path / "other"))
    (path,) = {p for p in other.glob(f"answers/*/{COUNTING}.items.jsonl") if _of_base(p)}
    told = [json.loads(line) for line in path.read_text().splitlines()]
    told[0]["credit"] = 0.35
    path.write_text("".join(json.dumps(item) + "\n" for item in told))
    with pytest.raises(InputError, match="is not what the run's record says"):
        measured(load_study_plan(recipe), Store(other), [], [COUNTING])


def _of_base(path: Path) -> bool:
    return json.loads((path.parent / "identity.json").read_text())["identity"]["adapter"] is None
