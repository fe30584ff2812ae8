"""Studies through Slurm, the real one: a cluster of two nodes on this machine (see :mod:`slurm_cluster`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import study_world
from slurm_cluster import SlurmCluster
from study_world import Tvt, World, done, specs, wait_for
from test_study_faults import run_of, same

QUEUE = {"gpus_per_node": 0, "signal_delay_s": 30}
LONG = {"num_train_epochs": 100}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster")
    os.environ.update(cluster.environment)
    yield cluster
    del os.environ["SLURM_CONF"]
    cluster.close()
    assert cluster.processes() == []


@pytest.fixture(scope="module")
def tvt(cluster: SlurmCluster) -> Tvt:
    return study_world.warm_tvt(cluster.environment)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return study_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the local executor: the base and two runs, three targets."""
    study = tmp_path_factory.mktemp("studies") / "first"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    return study


def recipe(world: World, **slurm: Any) -> Path:
    return study_world.write_recipe(world.folder, "slurm.yaml", runtime={"executor": "slurm", "slurm": {**QUEUE, **slurm}})


def test_a_study_is_one_array_and_equals_the_local_one(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    told = done(tvt("study", "run", recipe(world), "-o", study))
    same(study, first)
    (script,) = (study / "logs" / "slurm").glob("[0-9]*_submission.sh")
    assert "--array=0-2%3" in script.read_text()
    assert not list(study.glob("runs/*/.queued"))
