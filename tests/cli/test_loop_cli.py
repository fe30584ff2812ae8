"""From a mixture file to scores by the tasks' manifests: one command to train, one to evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

from commands import tvt
from tvt.core.mixture import Mixture
from tvt.io.yaml_files import save_mixture

RECIPE = {
    "name": "loop",
    "model": {"model_name_or_path": "tvt/miniature", "dtype": "float32"},
    "manifests": ["miniature"],
    "sources": ["Jigsaw", "Counting"],
    "targets": ["Jigsaw"],
    "training": {"learning_rate": 1e-3, "global_batch_size": 8, "gradient_checkpointing": False},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    save_mixture(Mixture.of_counts({"Jigsaw": 20, "Counting": 12}), folder / "mixture.yaml")
    result = tvt(
        *("train", str(folder / "mixture.yaml"), "--recipe", str(folder / "recipe.yaml"), "-o", str(folder / "run")),
        *("--data-dir", str(folder / "data"), "--json"),
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["rows"] == 32
    return folder


def test_a_mixture_file_is_mixed_and_trained(trained: Path) -> None:
    mixed = json.loads((trained / "run" / "mixed" / "mix.json").read_text())
    assert {name: source["examples"] for name, source in mixed["sources"].items()} == {"Jigsaw": 20, "Counting": 12}
    assert (trained / "run" / "adapter" / "adapter.json").is_file()


def test_tasks_are_scored_by_their_manifests(trained: Path) -> None:
    asked = ("--tasks", "JS,Counting", "--manifests", "miniature", "--limit", "10", "--json")
    place = ("--model", "tvt/miniature", "--dtype", "float32", "-o", str(trained / "answers"))
    result = tvt("evaluate", str(trained / "run" / "adapter"), *place, *asked)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)["results"]
    assert [list(row["tasks"]) for row in told] == [["Jigsaw", "Counting"]] * 2
    again = tvt("evaluate", str(trained / "run" / "adapter"), *place, *asked)
    assert [row["asked"] for row in json.loads(again.stdout)["results"]] == [0, 0]
    report = tvt("evaluate", "--no-base", str(trained / "run" / "adapter"), *place, *asked, "--report")
    assert [row["asked"] for row in json.loads(report.stdout)["results"]] == [20], "other questions are kept for reports"


def test_nothing_to_ask_and_manifests_without_tasks(trained: Path) -> None:
    place = ("evaluate", str(trained / "run" / "adapter"), "--model", "tvt/miniature")
    assert "on what?" in tvt(*place).stderr
    assert "add --tasks all" in tvt(*place, "--manifests", "miniature").stderr
    wrong = tvt(*place, "--tasks", "Jigsew", "--manifests", "miniature")
    assert (wrong.returncode, "did you mean 'Jigsaw'?" in wrong.stderr) == (2, True)


def test_a_mixture_file_needs_rows(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps({**RECIPE, "manifests": []}))
    result = tvt(
        *("train", str(trained / "mixture.yaml"), "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run")),
        *("--data-dir", str(tmp_path)),
    )
    assert result.returncode == 2
    assert "Jigsaw: no Jigsaw.jsonl" in result.stderr


def test_several_machines_need_a_mixed_folder(trained: Path, tmp_path: Path) -> None:
    result = tvt(
        *("train", str(trained / "mixture.yaml"), "--recipe", str(trained / "recipe.yaml"), "-o", str(tmp_path / "run")),
        *("--num-processes", "2", "--set", "training.per_device_train_batch_size=4"),
        *("--num-machines", "2", "--main-process-ip", "127.0.0.1", "--main-process-port", "1"),
    )
    assert (result.returncode, "tvt mix" in result.stderr) == (2, True)
