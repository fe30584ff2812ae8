"""Two launches that meet at an address train as one process does; what keeps them from it, or ends one of them, is told."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from test_training_processes import ROWS

from commands import ENVIRONMENT, PATIENCE, ROOT
from documents import Page
from ports import free_ports
from tiny_models import qwen, write_rows
from training_runs import farthest, recipe, weights
from tvt.errors import InputError
from tvt.io.adapter_file import verify_adapter
from tvt.train import Machines, TrainingRecord, load_training_record, train
from tvt.train.launch import address_faults

pytestmark = pytest.mark.slow

TRAINING = {"global_batch_size": 8, "per_device_train_batch_size": 2, "num_train_epochs": 2, "save_steps": 2}
ZERO2 = str(ROOT / "recipes" / "deepspeed" / "zero2.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen(tmp_path_factory.mktemp("model") / "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", ROWS)


@pytest.fixture(scope="module")
def alone(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    return train(recipe(model, TRAINING), rows, tmp_path_factory.mktemp("alone") / "run", seed=1)


def write_recipe(folder: Path, model: Path, training: dict[str, Any] | None = None, **runtime: Any) -> Path:
    """A recipe whose runtime part says where two machines meet."""
    place = {"num_processes": 2, "num_machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": free_ports(1)[0]}
    told = recipe(model, {**TRAINING, **(training or {})}, runtime={**place, **runtime})
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(told.model_dump(mode="json")))
    return path


@contextmanager
def launches(path: Path, rows: Path, run: Path, *each: tuple[str, dict[str, str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """One ``tvt train`` for each machine: its options and its environment."""
    command = [sys.executable, "-m", "tvt", "train", str(rows), "--recipe", str(path), "--seed", "1", "-o", str(run)]
    started = [
        subprocess.Popen([*command, *options.split()], stderr=subprocess.PIPE, env={**ENVIRONMENT, **more}, text=True)
        for options, more in each
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("deepspeed", [None, ZERO2], ids=["alone", "zero2"])
def test_two_machines_meet_by_the_recipe(
    deepspeed: str | None, alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path
) -> None:
    """The first says its rank; the second is a node of a Slurm job."""
    path = write_recipe(tmp_path, model, deepspeed=deepspeed)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NODEID": "1"}
    with launches(path, rows, tmp_path / "run", ("", slurm), ("--machine-rank 0", {})) as both:
        told = [process.communicate(timeout=PATIENCE)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], told
    record = load_training_record(tmp_path / "run")
    assert (record.num_processes, record.steps, record.identity) == (2, alone.steps, alone.identity)
    assert farthest(weights(record), weights(alone)) < 1e-4
    verify_adapter(record.adapter)
    assert (tmp_path / "run" / "train-1.log").exists()


def test_a_machine_that_waits_alone_says_so(model: Path, rows: Path, tmp_path: Path) -> None:
    """Each of the two, without the other."""
    ranks = [f"--machine-rank {rank} --main-process-port {free_ports(1)[0]} --rendezvous-timeout 3" for rank in (0, 1)]
    with launches(write_recipe(tmp_path, model), rows, tmp_path / "run", *((rank, {}) for rank in ranks)) as both:
        told = [process.communicate(timeout=PATIENCE)[1] for process in both]
        assert [process.returncode for process in both] == [2, 2], told
    for rank, text in enumerate(told):
        assert text.startswith(f"tvt: machine {rank} of 2 did not meet the others at 127.0.0.1:")
        assert "within 3 s; start this very command on each, with its own --machine-rank from 0 to 1" in text
        assert len(text.splitlines()) == 1


def test_launches_of_another_seed_do_not_train_together(model: Path, rows: Path, tmp_path: Path) -> None:
    options = ("--machine-rank 0 --rendezvous-timeout 3", "--machine-rank 1 --rendezvous-timeout 3 --seed 2")
    with launches(write_recipe(tmp_path, model), rows, tmp_path / "run", *((option, {}) for option in options)) as both:
        told = [process.communicate(timeout=PATIENCE)[1] for process in both]
    assert [process.returncode for process in both] == [2, 2], told
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_machine_is_killed_the_other_ends(killed: int, model: Path, rows: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, model, {"num_train_epochs": 500, "save_steps": 100_000})
    with launches(path, rows, tmp_path / "run", ("--machine-rank 0", {}), ("--machine-rank 1", {})) as both:
        assert both[0].stderr is not None
        assert any("step 2/" in line for line in both[0].stderr)
        os.kill(both[killed].pid, signal.SIGKILL)
        other = both[1 - killed]
        told = other.communicate(timeout=PATIENCE)[1]
    assert other.returncode == 6
    assert "tvt: a training process died here or on another machine (exit code 1); the last lines of " in told


def test_what_a_request_for_several_machines_lacks(model: Path, rows: Path, tmp_path: Path) -> None:
    told = recipe(model, TRAINING, runtime={"num_processes": 2})

    def faults(**machines: Any) -> tuple[str, ...]:
        with pytest.raises(InputError) as caught:
            train(told, rows, tmp_path / "run", seed=1, machines=Machines(count=2, **machines))
        return caught.value.faults

    need = "2 machines need an address of machine 0: --main-process-ip and --main-process-port, or main_process_ip and"
    assert faults(main_ip="127.0.0.1")[0].startswith(need)
    assert faults(main_port=1234)[0].startswith(need)
    assert faults(rank=2, main_ip="127.0.0.1", main_port=free_ports(1)[0]) == ("--machine-rank 2: not below --num-machines 2",)
    assert not (tmp_path / "run").exists()


def test_addresses() -> None:
    port = free_ports(1)[0]
    assert address_faults("127.0.0.1", port, 0) == address_faults("localhost", port, 0) == []
    assert address_faults("192.0.2.1", port, 1) == []  # an address for documentation: it may be anywhere
    assert "192.0.2.1: is no address of this machine, and this is machine 0" in address_faults("192.0.2.1", port, 0)[0]
    for rank in (0, 1):
        assert "no.such.host.invalid: no such host" in address_faults("no.such.host.invalid", port, rank)[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "is taken on this machine" in address_faults("127.0.0.1", taken.getsockname()[1], 0)[0]
        assert address_faults("127.0.0.1", taken.getsockname()[1], 1) == []


def test_the_slurm_script_of_the_page_is_one(tmp_path: Path) -> None:
    page = Page(ROOT / "tvt" / "docs" / "clusters.md")
    found = re.search(r"<!-- train.sbatch -->\n```bash\n(.*?)```", page.text, re.DOTALL)
    assert found is not None
    script = tmp_path / "train.sbatch"
    script.write_text(found.group(1))
    assert subprocess.run(["bash", "-n", str(script)], check=False, capture_output=True).returncode == 0
    # Run where scontrol and srun only tell what they were asked.
    tools = tmp_path / "bin"
    tools.mkdir()
    # More names than a pipe holds: a reader that stops after the first would end the script with 141.
    (tools / "scontrol").write_text("#!/bin/sh\nexec seq -f node-%.0f 3 30000\n")
    (tools / "srun").write_text('#!/bin/sh\nshift\necho "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node-[3-4]", "SLURM_JOB_ID": "123456", "SLURM_NNODES": "2"}
    result = subprocess.run(
        ["bash", str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**ENVIRONMENT, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"},
    )
    words = result.stdout.split()
    options = dict(itertools.pairwise(words))
    assert words[:3] == ["tvt", "train", "mixed"]
    assert options["--num-machines"] == "2"
    assert options["--num-processes"] == "16"
    assert options["--main-process-ip"] == "node-3"
    assert options["--main-process-port"] == "23456"
