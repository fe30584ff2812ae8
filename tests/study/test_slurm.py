"""Studies through Slurm, the real one: a cluster of two nodes on this machine (see :mod:`slurm_cluster`)."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import study_world
from commands import PATIENCE, ROOT
from slurm_cluster import SlurmCluster
from study_folders import run_of, same
from study_world import QUICK, Tvt, World, done, events, wait_for
from training_runs import farthest, weights
from tvt.core.events import Note
from tvt.errors import InputError
from tvt.io.yaml_files import load_recipe
from tvt.study.executors import slurm_queue
from tvt.study.executors.slurm import SlurmExecutor
from tvt.study.jobs import Job, make_job
from tvt.study.run_folders import Queued, mark
from tvt.study.session import open_session
from tvt.train.checkpoints import steps_done
from tvt.train.record import load_training_record

pytestmark = pytest.mark.slow

LATER = {"begin": "now+1hour"}
"""Jobs that wait until they are let go."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster")
    yield cluster
    cluster.close()
    assert cluster.processes() == []


@pytest.fixture(autouse=True)
def _empty_queue(cluster: SlurmCluster) -> Iterator[None]:
    """After each test; what failed must not fail the next one too."""
    yield
    cluster.empty()


@pytest.fixture(scope="module")
def tvt(cluster: SlurmCluster) -> Tvt:
    return study_world.warm_tvt(cluster.environment)


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the local executor: the base and two runs, three targets."""
    study = tmp_path_factory.mktemp("studies") / "first"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    return study


@pytest.fixture(scope="module")
def long(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the local executor: the base and a run that takes a while."""
    study = tmp_path_factory.mktemp("studies") / "long"
    done(tvt("study", "run", long_recipe(world), "-o", study, "--executor", "local", "--workers", "1"))
    return study


def recipe(world: World, name: str = "slurm.yaml", **slurm: Any) -> Path:
    runtime = {"executor": "slurm", "slurm": {"gpus_per_node": 0, **slurm}}
    return study_world.write_recipe(world.folder, name, runtime=runtime)


def long_recipe(world: World, **slurm: Any) -> Path:
    runtime = {"executor": "slurm", "slurm": {"gpus_per_node": 0, **slurm}}
    fields = {"sources": ["Alpha"], "targets": ["Alpha", "Beta"], "training": {"num_train_epochs": 40}}
    return study_world.write_recipe(world.folder, "long.yaml", runtime=runtime, **fields)


def scripts(study: Path) -> list[Path]:
    """What was submitted."""
    return sorted((study / "logs" / "slurm").glob("[0-9]*_submission.sh"))


def markers(study: Path) -> list[Path]:
    return sorted(study.glob("runs/*/.queued"))


def states(tvt: Tvt, study: Path) -> dict[str, int]:
    told = json.loads(done(tvt("study", "status", study, "--json")).stdout)
    return Counter(run["status"] for run in told["runs"])


def stopped_in_training(study: Path, process: subprocess.Popen[str]) -> int:
    """Stop a run behind its first whole checkpoint, wherever that is; its process."""
    wait_for(lambda: any(map(steps_done, study.glob("runs/*"))), process)
    (pid,) = (int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if read(path) == "it.core._submit")
    os.kill(pid, signal.SIGSTOP)
    assert any(map(steps_done, study.glob("runs/*"))), "it was over before it was stopped; make it longer"
    return pid


def read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def pending(pid: int, number: int) -> bool:
    """Whether a process that is stopped has a signal before it."""
    masks = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)", read(Path(f"/proc/{pid}/status")), re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def resumed(study: Path) -> int:
    """The step from which its only run went on."""
    (path,) = study.glob("runs/*/training.json")
    return int(json.loads(path.read_text())["resumed_from"] or 0)


def holders(path: Path) -> int:
    """How many processes have a file open."""
    found = 0
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found += os.readlink(link) == str(path)
        except OSError:
            continue
    return found


def test_a_study_is_one_array_and_equals_the_local_one(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    told = done(tvt("study", "run", recipe(world, mem_gb=0.5, setup=["export A=1"]), "-o", study))
    assert told.stderr.count("done ") == 3
    same(study, first)
    (script,) = scripts(study)
    for line in ("--array=0-2%3", "--mem=512M", "--time=240", "--signal=B:USR2@90", "--requeue", "--job-name=tvt-small"):
        assert f"#SBATCH {line}\n" in script.read_text()
    assert "\nexport A=1\n" in script.read_text()
    assert "gpus" not in script.read_text()
    assert markers(study) == []


def test_the_miniature_by_ordinary_interpreters(tvt: Tvt, cluster: SlurmCluster, tmp_path: Path) -> None:
    tasks = "[Count_Comparison, Jigsaw]"
    fields = {"sources": tasks, "targets": tasks, "seeds": "[0]", "budget": "64", "evaluation.questions": "20"}
    changes = [f"{name}={value}" for name, value in {**fields, "runtime.slurm.gpus_per_node": "0"}.items()]
    asked = ["study", "run", str(ROOT / "recipes" / "miniature.yaml"), *(part for c in changes for part in ("--set", c))]
    command = [sys.executable, "-m", "tvt", *asked, "-o", str(tmp_path / "slurm"), "--executor", "slurm"]
    told = subprocess.run(command, capture_output=True, text=True, env={**QUICK, **cluster.environment}, check=False)
    assert told.returncode == 0, told.stderr
    done(tvt(*asked, "-o", tmp_path / "local", "--workers", "2"))
    same(tmp_path / "slurm", tmp_path / "local")


def test_a_cancelled_job_is_submitted_again_and_resumes(
    long: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", long_recipe(world), "-o", study, "--workers", "1")
    stopped_in_training(study, process)
    (job,) = cluster.jobs()
    cluster.ask("scancel", job)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert f"note: Alpha, seed 0: its Slurm job {job} was cancelled; trying again\n" in stderr
    assert resumed(study) > 0
    assert len(scripts(study)) == 3
    same(study, long)


def test_a_job_at_its_time_limit_is_requeued_and_resumes(
    long: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", long_recipe(world, signal_delay_s=30), "-o", study, "--workers", "1")
    pid = stopped_in_training(study, process)
    (job,) = cluster.jobs()
    # The limit is set behind the checkpoint, wherever a loaded machine is by then, and 50 s or more ahead.
    cluster.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={math.ceil((cluster.seconds(job) + 50) / 60)}")
    # Slurm looks at time limits every 30 s. Some versions wake a stopped process for the signal.
    wait_for(lambda: pending(pid, signal.SIGUSR2) or cluster.job(job)["Restarts"] == "1", process)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: cluster.job(job)["Restarts"] == "1", process)
    cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=240")
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert "note" not in "".join(events(stderr))
    assert cluster.job(job)["Restarts"] == "1"
    assert resumed(study) > 0
    assert len(scripts(study)) == 2
    same(study, long)


def test_a_preempted_job_is_requeued_and_resumes(
    long: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", long_recipe(world), "-o", study, "--workers", "1")
    stopped_in_training(study, process)
    (job,) = cluster.jobs()
    cluster.ask("sbatch", "--partition", "urgent", "--nodes", "2", "--exclusive", "--output", "/dev/null", "--wrap", "true")
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert cluster.job(job)["Restarts"] == "1"
    assert resumed(study) > 0
    assert len(scripts(study)) == 2
    same(study, long)


def test_an_interrupted_command_cancels_its_own_jobs_alone(
    first: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    other = cluster.ask(
        "sbatch", "--parsable", "--job-name", "tvt-small", "--output", "/dev/null", "--wrap", "sleep 600"
    ).strip()
    process = tvt.start("study", "run", recipe(world), "-o", study)
    wait_for(lambda: list(study.glob("runs/*/mixed")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert stderr.endswith("tvt: interrupted\n")
    wait_for(lambda: list(cluster.jobs()) == [other])
    assert markers(study) == []
    done(tvt("study", "run", recipe(world), "-o", study))
    assert list(cluster.jobs()) == [other]
    same(study, first)


def test_jobs_of_a_killed_command_are_taken_over(
    first: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    waiting = recipe(world, additional_parameters=LATER)
    killed = tvt.start("study", "run", waiting, "-o", study)
    wait_for(lambda: len(markers(study)) == 3, killed)
    assert states(tvt, study) == {"queued": 3}
    beside = tvt.start("study", "run", waiting, "-o", study)
    wait_for(lambda: holders(study / "logs" / "slurm" / ".lock") == 2, beside)
    os.killpg(beside.pid, signal.SIGINT)
    beside.communicate(timeout=PATIENCE)
    assert beside.returncode == 130
    assert len(cluster.jobs()) == len(markers(study)) == 3, "they belong to a command that is still there"
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    jobs = cluster.jobs()
    assert len(jobs) == 3
    assert states(tvt, study) == {"queued": 3}
    follower = tvt.start("study", "run", recipe(world), "-o", study)
    wait_for(lambda: holders(study / "logs" / "slurm" / ".lock") == 1, follower)
    cluster.ask("scontrol", "update", f"jobid={','.join(jobs)}", "starttime=now")
    _, stderr = follower.communicate(timeout=PATIENCE)
    assert follower.returncode == 0, stderr
    assert stderr.count("done ") == 3
    assert len(scripts(study)) == 1
    assert markers(study) == []
    same(study, first)


def test_jobs_that_nobody_waits_for_do_their_runs_or_leave_the_queue(
    first: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", recipe(world, additional_parameters=LATER), "-o", study)
    wait_for(lambda: len(markers(study)) == 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    *some, last = cluster.jobs()
    cluster.ask("scontrol", "update", f"jobid={','.join(some)}", "starttime=now")
    wait_for(lambda: len(markers(study)) == 1)
    assert states(tvt, study) == {"done": 2, "queued": 1}
    cluster.ask("scancel", last)
    wait_for(lambda: not cluster.jobs())
    assert states(tvt, study) == {"done": 2, "missing": 1}
    assert markers(study) == []
    done(tvt("study", "run", recipe(world), "-o", study))
    same(study, first)


def test_what_would_stop_every_run_is_told_in_a_line(
    first: Path, world: World, tvt: Tvt, cluster: SlurmCluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    told = tvt("study", "run", recipe(world, setup=["ulimit -f 5"]), "-o", study)
    assert told.returncode == 2, told.stderr
    line = next(line for line in told.stderr.splitlines() if line.startswith("tvt: "))
    assert line.startswith(f"tvt: {study}: the disk is full (")
    wait_for(lambda: not cluster.jobs())
    assert markers(study) == []
    assert not list(study.glob("runs/*/failure.json")), "no run is to blame"
    done(tvt("study", "run", recipe(world), "-o", study))
    same(study, first)


def test_two_nodes(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    runtime = {"executor": "slurm", "num_machines": 2, "num_processes": 2, "slurm": {"gpus_per_node": 0}}
    fields = {"sources": ["Alpha"], "training": {"per_device_train_batch_size": 2}}
    both = study_world.write_recipe(world.folder, "two.yaml", runtime=runtime, **fields)
    done(tvt("study", "run", both, "-o", tmp_path / "study"))
    records = [load_training_record(run_of(study, "Alpha")) for study in (tmp_path / "study", first)]
    assert [record.num_processes for record in records] == [2, 1]
    assert farthest(*map(weights, records)) < 1e-4
    assert "#SBATCH --nodes=2\n" in scripts(tmp_path / "study")[0].read_text()


@pytest.mark.parametrize(
    ("slurm", "environment", "told"),
    [
        ({}, {"PATH": "/nowhere"}, "there is no sbatch here: start the study on a machine of the cluster that submits jobs"),
        (
            {"partition": "nowhere"},
            {},
            "Slurm takes no job (invalid partition specified: nowhere; Batch job submission failed: ",
        ),
        ({}, {"SLURM_CONF": "/dev/null"}, "Slurm does not answer ("),
    ],
    ids=["no Slurm", "refused", "silent"],
)
def test_no_job_can_be_submitted(
    slurm: dict[str, Any], environment: dict[str, str], told: str, world: World, tvt: Tvt, tmp_path: Path
) -> None:
    result = tvt("study", "run", recipe(world, "refused.yaml", **slurm), "-o", tmp_path / "study", **environment)
    assert result.returncode == 2, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("tvt: "))
    assert line.startswith(f"tvt: {told}"), line


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    """A study's job, as the command makes it, of jobs that wait."""
    asked = load_recipe(recipe(world, "waiting.yaml", timeout_min=1, additional_parameters=LATER))
    session = open_session(asked, tmp_path / "study")
    return make_job(session.study, session.store.folder, session.tasks())


def test_what_is_odd_with_the_queue_is_reported(job: Job, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    executor = SlurmExecutor(job, 3)
    for task in job.tasks:
        executor.submit(task)
    assert executor.poll(0) == []
    first, *_ = jobs = cluster.jobs()
    assert len(jobs) == 3
    cluster.ask("scontrol", "uhold", first)
    assert executor.poll(5) == [Note(text=f"Slurm lets job {first} wait: JobHeldUser")]
    monkeypatch.setenv("SLURM_CONF", "/dev/null")
    assert executor.poll(1.5) == [], "a queue that does not answer for a moment"
    monkeypatch.setattr(slurm_queue, "_SILENT_SECONDS", 0.0)
    with pytest.raises(InputError, match="Slurm does not answer"):
        executor.poll(5)
    executor.close()
    assert cluster.jobs().keys() == jobs.keys()
    assert len(markers(job.folder)) == 3
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    later = SlurmExecutor(job, 3)
    for task in job.tasks:
        later.submit(task)
    later.close()
    assert cluster.jobs() == {}
    assert markers(job.folder) == []


def test_a_marker_of_another_cluster_stays(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    done(tvt("study", "run", study_world.write_recipe(world.folder, "empty.yaml", sources=["Alpha"]), "-o", study))
    queued = Queued(executor="slurm", cluster="elsewhere", job="1", events="slurm/x.events")
    mark(run_of(study, "Alpha"), queued)
    (run_of(study, "Alpha") / "scores.json").unlink()
    assert states(tvt, study)["queued"] == 1
