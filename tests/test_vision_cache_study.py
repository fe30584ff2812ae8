"""A study with the frozen-vision cache: the scores and adapters of one without, from images that all its workers share."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl")

import study_world
from study_world import done

from tvt.io.cache import VARIABLE


def test_a_study_is_the_same_with_it_and_its_workers_share_what_they_compute(tmp_path: Path) -> None:
    world = study_world.build(tmp_path)
    cache = tmp_path / "cache"
    tvt = study_world.warm_tvt({VARIABLE: str(cache)})
    off = study_world.write_recipe(world.folder, "off.yaml", targets=["Alpha", "Beta"])
    runtime = {"vision_cache": "exact", "vision_cache_gb": 0.1}
    on = study_world.write_recipe(world.folder, "on.yaml", targets=["Alpha", "Beta"], runtime=runtime)
    done(tvt("study", "run", off, "-o", tmp_path / "off", "--workers", "2"))
    done(tvt("study", "run", on, "-o", tmp_path / "on", "--workers", "2"))
    assert study_world.adapters(tmp_path / "on") == study_world.adapters(tmp_path / "off")
    assert (tmp_path / "on" / "scores.csv").read_bytes() == (tmp_path / "off" / "scores.csv").read_bytes()
    kept = sorted(path.name for path in (cache / "vision").glob("*/*.safetensors"))
    assert kept
    assert len(list((cache / "vision").glob("*/namespace.json"))) == 1, "training and scoring share it"
    done(tvt("study", "run", on, "-o", tmp_path / "again", "--workers", "2"))
    assert sorted(path.name for path in (cache / "vision").glob("*/*.safetensors")) == kept, "another study adds nothing"
    assert study_world.adapters(tmp_path / "again") == study_world.adapters(tmp_path / "off")
