"""A study that finetunes the whole model: its runs are scored, kept and compared like those of adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

import study_world
from study_world import Tvt, World, adapters, done
from tvt.data.studies.load import load_study

FULL = {"method": "full", "learning_rate": 0.001}


def saved_weights(study: Path) -> list[Path]:
    return sorted(study.glob("runs/*/adapter/*.safetensors"))


def test_scores_stay_weights_go_and_come_back_where_they_are_needed(world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    recipe = study_world.write_recipe(world.folder, "full.yaml", targets=["Alpha"], training=FULL)
    done(tvt("study", "run", recipe, "-o", study))
    assert not saved_weights(study)
    trained = adapters(study)
    assert len(trained) == 2
    assert load_study(study).targets == ("Alpha",)
    again = done(tvt("study", "run", recipe, "-o", study))
    assert "training" not in again.stderr
    mixture = tmp_path / "mixture.yaml"
    done(tvt("select", study, "--target", "Alpha", "--anyway", "-o", mixture))
    compared = json.loads(done(tvt("compare", study, mixture, "--randoms", "1", "--run", "--json")).stdout)
    assert {entry["kind"] for entry in compared["entries"]} >= {"selected", "uniform", "random"}
    assert not compared["missing"]
    assert not saved_weights(study)
    more = study_world.write_recipe(world.folder, "full.yaml", targets=["Alpha", "Gamma"], training=FULL)
    told = done(tvt("study", "run", more, "-o", study))
    assert "were dropped once they were scored" in told.stderr
    assert trained.items() <= adapters(study).items(), "the same weights once more"
    assert load_study(study).targets == ("Alpha", "Gamma")
    refused = tvt("analyze", study, "--adapters")
    assert refused.returncode == 2
    assert "finetunes the whole model" in refused.stderr


def test_what_is_kept_is_as_asked(world: World, tvt: Tvt, tmp_path: Path) -> None:
    recipe = study_world.write_recipe(
        world.folder, "kept.yaml", sources=["Alpha"], targets=["Alpha"], training=FULL, runtime={"keep": "all"}
    )
    done(tvt("study", "run", recipe, "-o", tmp_path / "all"))
    (path,) = saved_weights(tmp_path / "all")
    assert path.name == "model.safetensors"
    done(tvt("study", "merge", tmp_path / "joined", tmp_path / "all"))
    assert len(saved_weights(tmp_path / "joined")) == 1
    lora = study_world.write_recipe(world.folder, "lora.yaml", sources=["Alpha"], targets=["Alpha"], runtime={"keep": "scores"})
    done(tvt("study", "run", lora, "-o", tmp_path / "scores"))
    assert not saved_weights(tmp_path / "scores")
    done(tvt("study", "merge", tmp_path / "joined2", tmp_path / "scores"))
    assert len(adapters(tmp_path / "joined2")) == 1
