"""What a run asks of Slurm, what its job gives up, and which of its files are kept; no cluster is needed for that."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")

import yaml

import study_world
from commands import ROOT
from study_world import World
from tvt.core.events import Died
from tvt.io.yaml_files import load_recipe
from tvt.study.executors.slurm import resources
from tvt.study.jobs import EventFile, make_job
from tvt.study.run_folders import KEPT_LOGS, Queued, mark, tidy
from tvt.study.runner import Runner
from tvt.study.session import open_session
from tvt.study.worker import Life

BATCHES = {"global_batch_size": 32, "per_device_train_batch_size": 2}


def test_a_job_that_gets_nowhere_within_its_time_limit_is_given_up(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = study_world.write_recipe(world.folder, "short.yaml", runtime={"slurm": {"timeout_min": 1}})
    session = open_session(load_recipe(recipe), tmp_path / "study")
    job = make_job(session.study, session.store.folder, session.tasks())
    task = job.tasks[1]
    events = EventFile(job.folder / "logs" / "slurm" / "x.events")
    life = Life(Runner(job=job.only(task), note=print), str(events.path))
    life.give_up_without_checkpoint()
    assert events.poll() == [], "it was told to stop soon after its start: preempted"
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 45)
    with pytest.raises(SystemExit):
        life.give_up_without_checkpoint()
    how = "its Slurm job met its time limit of 1 min before a checkpoint; raise runtime.slurm.timeout_min"
    assert events.poll() == [Died(run=task.run_id, how=how)]


def test_the_recipe_of_the_page_asks_for_what_it_says(world: World) -> None:
    page = (ROOT / "tvt" / "docs" / "clusters.md").read_text()
    (block,) = re.findall(r"<!-- slurm -->\n```yaml\n(.*?)```", page, re.DOTALL)
    asked = load_recipe(study_world.write_recipe(world.folder, "page.yaml", **yaml.safe_load(block), training=BATCHES))
    assert resources(asked) == {
        "job_name": "tvt-small",
        "partition": "gpu",
        "account": "vision",
        "time": 240,
        "nodes": 2,
        "ntasks_per_node": 1,
        "cpus_per_task": 32,
        "gpus_per_node": 8,
        "mem": "409600M",
        "array_parallelism": 16,
        "setup": ["module load cuda"],
    }
    bare = study_world.write_recipe(world.folder, "bare.yaml", training=BATCHES, runtime={"num_processes": 2})
    assert resources(load_recipe(bare, ["runtime.dataloader_num_workers=3"])) == {
        "job_name": "tvt-small",
        "time": 240,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": 8,
        "gpus_per_node": 2,
        "array_parallelism": 64,
    }


def test_of_jobs_that_are_over_the_newest_files_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "slurm"
    folder.mkdir(parents=True)
    for number in range(KEPT_LOGS + 5):
        for name in (f"{number}_0_submitted.pkl", f"{number}_submission.sh", f"{number}_0_0_log.out", f"run-{number}.events"):
            (folder / name).touch()
            os.utime(folder / name, (number, number))
    (tmp_path / "runs" / "run").mkdir(parents=True)
    mark(tmp_path / "runs" / "run", Queued(executor="slurm", cluster="c", job="1_0", events="slurm/run-3.events"))
    tidy(tmp_path)
    gone = {f"{number}_0_submitted.pkl" for number in (0, 2, 3, 4)} | {f"run-{number}.events" for number in (0, 1, 2, 4)}
    left = {path.name for path in folder.iterdir()}
    assert not gone & left
    assert {"1_0_submitted.pkl", "1_submission.sh", "1_0_0_log.out", "run-3.events"} <= left
    assert len(left) == 4 * (KEPT_LOGS + 1)
