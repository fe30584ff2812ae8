"""Studies on a real Ray cluster: the matrix of the local executor, whatever dies meanwhile, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import process_list
import ray_cluster
import study_world
from commands import PATIENCE
from ray_cluster import at_work
from study_folders import id_of
from study_world import Tvt, World, done, events, specs, wait_for
from tvt.core.events import Died, Stopped
from tvt.errors import InputError, MissingPackageError
from tvt.io.yaml_files import load_recipe
from tvt.study.executors import choose_executor
from tvt.study.executors.ray import do_attempt, end_of

pytest.importorskip("ray")

import ray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Runs that are long enough to be killed in: thirty steps with a checkpoint each."""
    world = study_world.build(tmp_path_factory.mktemp("world"))
    recipe = study_world.write_recipe(world.folder)
    recipe.write_text(recipe.read_text().replace("learning_rate:", "num_train_epochs: 10\n  learning_rate:"))
    return world


@pytest.fixture(scope="module")
def whole(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study by the local executor."""
    study = tmp_path_factory.mktemp("whole") / "study"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    return study


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, to which this process is connected too."""
    before = ray_cluster.engines()
    with ray_cluster.nodes(2) as cluster:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="CRITICAL")
        try:
            yield cluster
        finally:
            ray.shutdown()
    wait_for(lambda: ray_cluster.engines() <= before)


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    """A copy in which one run is missing: that of Beta."""
    copy = Path(shutil.copytree(whole, tmp_path / "study"))
    shutil.rmtree(run_of(copy, "Beta"))
    return copy


def run_of(study: Path, source: str) -> Path:
    (found,) = (study / "runs" / run for run, told in specs(study).items() if source in told["counts"])
    return found


def on(address: str) -> tuple[str, ...]:
    return "--executor", "ray", "--set", f"runtime.ray.address={address}"


def same(study: Path, expected: Path) -> None:
    """The matrix and the adapters are those of the local study, nothing was asked twice, nothing is left over."""
    assert (study / "scores.csv").read_bytes() == (expected / "scores.csv").read_bytes()
    assert study_world.adapters(study) == study_world.adapters(expected)
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked))
    assert study_world.leftovers(study) == []
    assert list((study / "logs" / "ray").iterdir()) == []


def test_a_study_on_two_nodes_is_the_local_one(cluster: Any, world: World, whole: Path, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", world.recipe, "-o", study, *on(cluster.address))
    seen: set[tuple[str, int]] = set()
    while process.poll() is None:
        seen |= set(at_work(study).values())
        time.sleep(0.05)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "3 runs done" in stdout
    assert [line.split()[0] for line in events(stderr)] == ["done"] * 3, "nothing that Ray says"
    assert {run for run, _ in seen} == set(map(id_of, (study / "runs").iterdir()))
    assert len({node for _, node in seen}) == 2
    assert list((study / "logs").glob("worker-*")) == []
    same(study, whole)


def in_training(study: Path, process: subprocess.Popen[str]) -> tuple[int, int]:
    """Wait for a run that has trained some steps: its process and the one of its node."""
    wait_for(lambda: list(study.glob("runs/*/checkpoints/checkpoint-3/checkpoint.json")), process)
    ((worker, (_, node)),) = at_work(study).items()
    return worker, node


def test_a_killed_worker_is_tried_again_and_resumes(cluster: Any, world: World, whole: Path, tvt: Tvt, study: Path) -> None:
    process = tvt.start("study", "run", world.recipe, "-o", study, *on(cluster.address))
    worker, _ = in_training(study, process)
    os.kill(worker, signal.SIGKILL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    note, *rest = events(stderr)
    assert note == "note: Beta, seed 0: its process was killed, often because memory ran out; trying again"
    assert [line.split()[0] for line in rest] == ["done"]
    assert json.loads((run_of(study, "Beta") / "training.json").read_text())["resumed_from"] >= 3
    same(study, whole)


def test_a_lost_node_costs_an_attempt(cluster: Any, world: World, whole: Path, tvt: Tvt, study: Path) -> None:
    """The command's own node does nothing meanwhile, so that the run is on the other; it goes on there."""
    blocking = study.parent / "block"
    blocking.touch()
    head = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    blocked = until_gone(num_cpus=1, scheduling_strategy=head).remote(str(blocking))
    process = tvt.start("study", "run", world.recipe, "-o", study, *on(cluster.address))
    in_training(study, process)
    (other,) = cluster.worker_nodes
    cluster.remove_node(other, allow_graceful=False)
    blocking.unlink()
    try:
        _, stderr = process.communicate(timeout=PATIENCE)
    finally:
        cluster.add_node(**ray_cluster.SIZE)
    assert ray.get(blocked) == "ended by itself"
    assert process.returncode == 0, stderr
    note, *rest = events(stderr)
    assert note == "note: Beta, seed 0: its node is gone; trying again"
    assert [line.split()[0] for line in rest] == ["done"]
    assert json.loads((run_of(study, "Beta") / "training.json").read_text())["resumed_from"] >= 3
    same(study, whole)


def until_gone(**options: Any) -> Any:
    """A task of somebody else's, which ends when a file is gone."""

    def wait(path: str) -> str:
        import os
        import time

        while os.path.exists(path):
            time.sleep(0.05)
        return "ended by itself"

    return ray.remote(**options)(wait)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_command_takes_its_own_tasks_along(
    how: signal.Signals, cluster: Any, world: World, whole: Path, tvt: Tvt, study: Path
) -> None:
    waiting = study.parent / "wait"
    waiting.touch()
    other = until_gone(num_cpus=0).remote(str(waiting))
    process = tvt.start("study", "run", world.recipe, "-o", study, *on(cluster.address))
    in_training(study, process)
    os.killpg(process.pid, how)
    _, stderr = process.communicate(timeout=PATIENCE)
    if how == signal.SIGINT:
        assert process.returncode == 130, stderr
        assert stderr.strip() == "tvt: interrupted"
        assert list((study / "logs" / "ray").iterdir()) == []
        assert list((study / "logs").glob("worker-*")) == []
    wait_for(lambda: not at_work(study))
    assert not process_list.of_group(process.pid)
    assert ray.wait([other], timeout=0.5)[0] == []
    waiting.unlink()
    assert ray.get(other) == "ended by itself"


def test_what_would_stop_every_run_is_a_line(cluster: Any, world: World, tvt: Tvt, study: Path) -> None:
    copy = World(Path(shutil.copytree(world.folder, study.parent / "world")))
    recipe = copy.recipe
    recipe.write_text(recipe.read_text().replace(str(world.folder), str(copy.folder)))
    process = tvt.start("study", "run", recipe, "-o", study, *on(cluster.address))
    wait_for(lambda: list(study.glob("logs/ray/*/*.events")), process)
    copy.rows("Beta").unlink()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert stderr == f"tvt: Beta: {copy.rows('Beta')}: no such file; check the path\n"


@pytest.mark.parametrize("change", ["cpus_per_run=64", "gpus_per_run=1"])
def test_a_run_that_no_node_holds(change: str, cluster: Any, world: World, tvt: Tvt, study: Path) -> None:
    told = tvt("study", "run", world.recipe, "-o", study, *on(cluster.address), "--set", f"runtime.ray.{change}")
    assert told.returncode == 2
    asks = "64 CPUs and 0 GPUs" if "cpus" in change else "1 CPUs and 1 GPUs"
    assert told.stderr.startswith(
        f"tvt: a run asks for {asks} of a node, and the nodes of the Ray cluster have 1 CPUs and 0 GPUs;"
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there; start one with ray start on its nodes"),
        ("ray://127.0.0.1:10001", "give the host and port of Ray's head node, such as 10.0.0.1:6379, or auto"),
        ("somewhere", "give the host and port of Ray's head node, such as 10.0.0.1:6379, or auto"),
    ],
)
def test_no_cluster_at_the_address(address: str, says: str, world: World, tvt: Tvt, study: Path) -> None:
    told = tvt("study", "run", world.recipe, "-o", study, "--executor", "ray", RAY_ADDRESS=address)
    assert told.returncode == 2
    assert told.stderr.startswith(f"tvt: runtime.ray.address {address}: {says}")


def test_without_an_address_a_cluster_comes_and_goes(world: World, whole: Path, study: Path) -> None:
    """By an ordinary interpreter: Ray starts its own processes by it."""
    before = ray_cluster.engines()
    process = Tvt(Path(study_world.PYTHON)).start("study", "run", world.recipe, "-o", study, "--executor", "ray")
    wait_for(lambda: ray_cluster.engines() - before, process)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert [line.split()[0] for line in events(stderr)] == ["done"]
    wait_for(lambda: ray_cluster.engines() <= before)
    same(study, whole)


def test_a_cluster_that_is_gone(world: World, tvt: Tvt, study: Path) -> None:
    with ray_cluster.nodes(1) as mortal:
        long = ("--set", "training.num_train_epochs=2000")
        process = tvt.start("study", "run", world.recipe, "-o", study, *on(mortal.address), *long)
        wait_for(lambda: at_work(study), process)
        address = mortal.address
        mortal.head_node.kill_gcs_server()
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, stderr
    again = "start it and run the same command again: what is done stays"
    assert stderr.splitlines()[-1] == f"tvt: the Ray cluster at {address} does not answer; {again}"


def test_how_tasks_end_that_report_no_end(cluster: Any) -> None:
    assert end_of(task(lambda: None), "R") == Died(run="R", how="its process ended without a message")
    killed = Died(run="R", how="its process was killed, often because memory ran out")
    assert end_of(task(lambda: os.kill(os.getpid(), signal.SIGKILL)), "R") == killed

    def refuse() -> None:
        raise InputError("one", "two")

    assert end_of(task(refuse), "R") == Stopped(run="R", type="InputError", lines=["one", "two"])

    def fail() -> None:
        import no_such_module  # noqa: F401

    step = "install tvt with its extras train and ray there as here"
    told = f"a Ray node cannot do runs: ModuleNotFoundError: No module named 'no_such_module'; {step}"
    assert end_of(task(fail), "R") == Stopped(run="R", type="InputError", lines=[told])


def task(function: Callable[[], None]) -> Any:
    return ray.remote(num_cpus=0, max_retries=0)(function).remote()


def test_without_ray(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks what cannot be imported
    with pytest.raises(MissingPackageError, match=r"needs Ray; pip install .*\[ray\]'"):
        choose_executor(load_recipe(world.recipe), "ray")


def test_a_node_that_does_not_see_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="put the study's folder on a disk that all Ray nodes see"):
        do_attempt("", str(tmp_path / "run.events"), str(tmp_path / "log"))
    assert list(tmp_path.iterdir()) == []
