"""What goes wrong in a study, one test each, with what a person is told: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("trl")

import process_list
import study_world
from commands import PATIENCE
from study_folders import hold, run_of, same
from study_world import QUICK, Tvt, World, done, specs, wait_for, workers
from tvt.data.questions.files import write_jsonl
from tvt.study.run_folders import KEPT_LOGS, tidy
from tvt.study.store import Store


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: the base and two runs, three targets."""
    study = tmp_path_factory.mktemp("studies") / "first"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    return study


@pytest.fixture
def study(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(first, tmp_path / "study"))


# The first file that does not fit: the study's recipe, mixed rows, a checkpoint's adapter, its optimiser.
@pytest.mark.parametrize("largest", [300, 5_000, 9_000, 15_000])
@pytest.mark.slow
def test_full_disk(largest: int, first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", world.recipe, "-o", study, "--workers", "1", largest_file=largest)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, stderr
    line = next(line for line in stderr.splitlines() if line.startswith("tvt: "))
    assert line.startswith(f"tvt: {study}: the disk is full (")
    assert line.endswith("); make room and run the same command again: what is done is kept")
    assert not list(study.glob("runs/*/failure.json")), "no run is to blame"
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    same(study, first)


def test_corrupt_adapter_is_trained_anew(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    run = run_of(study, "Alpha")
    path = run / "adapter" / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200] + bytes(255 - byte for byte in whole[-200:]))
    (run / "scores.json").unlink()
    told = done(tvt("study", "run", world.recipe, "-o", study))
    assert f"note: Alpha, seed 0: {path}:" in told.stderr
    assert "; training it anew" in told.stderr
    assert path.read_bytes() == whole
    same(study, first)


def test_missing_images_and_bad_rows_are_refused_before_anything_runs(world: World, tvt: Tvt, tmp_path: Path) -> None:
    copy = World(Path(shutil.copytree(world.folder, tmp_path / "world")))
    study_world.write_recipe(copy.folder)
    lines = [json.loads(line) for line in copy.rows("Alpha").read_text().splitlines()]
    (copy.rows("Alpha").parent / lines[4]["images"][0]).unlink()
    lines[7]["answer"] = "Z"
    copy.rows("Alpha").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bad = [json.loads(line) for line in copy.rows("Beta").read_text().splitlines()]
    bad[2] |= {"options": [], "answer": ""}
    copy.rows("Beta").write_text("".join(json.dumps(line) + "\n" for line in bad))
    copy.questions("Gamma").unlink()
    told = tvt("study", "run", copy.recipe, "-o", tmp_path / "study")
    assert told.returncode == 2
    faults = [line for line in told.stderr.splitlines() if line.startswith("tvt: ")]
    assert len(faults) == 4, told.stderr
    assert any("alpha-train.jsonl" in line and lines[4]["images"][0] in line for line in faults)
    assert any("alpha-train.jsonl" in line and "answer 'Z' is not one of A, B, C, D" in line for line in faults)
    assert any("beta-train.jsonl" in line and "empty" in line for line in faults)
    assert any("gamma-select.parquet: no such file" in line for line in faults)
    assert not (tmp_path / "study").exists()


def test_two_commands_share_a_study(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    both = [tvt.start("study", "run", world.recipe, "-o", study, "--workers", "2") for _ in range(2)]
    told = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    # Each tells of all three runs, whoever did them, and each run was trained and asked once.
    assert [stderr.count("done ") for _, stderr in told] == [3, 3], told
    for source in ("Alpha", "Beta"):
        log = json.loads((run_of(study, source) / "training.json").read_text())
        assert log["resumed_from"] is None
    assert json.loads((study / "runs" / base_of(study) / "scores.json").read_text())["questions"] <= 30
    same(study, first)


def base_of(study: Path) -> str:
    return next(run for run, told in specs(study).items() if not told["counts"])


def test_a_run_held_by_another_command_is_waited_for(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    run = run_of(study, "Alpha")
    (run / "scores.json").unlink()
    with hold(run) as mine:
        assert mine
        assert "▸ 1 running" in done(tvt("study", "status", study)).stdout
        process = tvt.start("study", "run", world.recipe, "-o", study)
        assert process.stderr is not None
        assert process.stderr.readline() == "note: Alpha, seed 0: another process is at it; waiting for its end\n"
    _, stderr = process.communicate(timeout=PATIENCE)
    assert "done 1/1  Alpha, seed 0" in stderr
    same(study, first)


def test_a_changed_recipe_makes_new_runs_and_says_so(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    before = specs(study)
    change = ("--set", "training.learning_rate=0.02", "--set", "training.logging_steps=2")
    plan = done(tvt("study", "plan", world.recipe, "-o", study, *change))
    note = "note: changed since the last run: training.learning_rate: 0.01 before, 0.02 now: runs are made anew, and the 3 in"
    assert f"{note} {study}/runs stay" in plan.stderr
    assert "✓ 1 done  · 2 missing" in plan.stdout
    told = done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2", *change))
    assert note in told.stderr
    assert before.items() < specs(study).items()
    assert len(specs(study)) == 5
    assert study_world.adapters(first).items() < study_world.adapters(study).items()
    # Back again: nothing to do, and the matrix is the old one.
    told = done(tvt("study", "run", world.recipe, "-o", study))
    assert "learning_rate: 0.02 before, 0.01 now" in told.stderr
    assert "done 1" not in told.stderr
    assert (study / "scores.csv").read_bytes() == (first / "scores.csv").read_bytes()


def test_fewer_questions_keep_adapters_and_ask_nothing(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    told = done(tvt("study", "run", world.recipe, "-o", study, "--set", "evaluation.questions=5", "--workers", "1"))
    assert "note: changed since the last run: evaluation.questions: None before, 5 now: adapters stay and are" in told.stderr
    assert study_world.adapters(study) == study_world.adapters(first)
    assert len(list(study_world.chunks(study))) == 90
    assert {line.split(",")[4] for line in (study / "scores.csv").read_text().splitlines()[1:]} == {"5"}


def test_changed_rows_and_questions_are_told(study: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    copy = World(Path(shutil.copytree(world.folder, tmp_path / "world")))
    study_world.write_recipe(copy.folder)
    write_jsonl(study_world.drawn("Alpha", 16, 50), copy.rows("Alpha"))
    shutil.copy(copy.questions("Alpha"), copy.questions("Gamma"))
    told = done(tvt("study", "plan", copy.recipe, "-o", study))
    assert "note: changed since the last run: the training rows of Alpha: runs are made anew" in told.stderr
    assert "note: changed since the last run: the questions of Gamma: adapters stay and are scored anew" in told.stderr
    assert "1 run to train, 12 examples, 50 questions to ask" in told.stdout


def test_leftovers_go_also_where_nothing_is_to_do(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    """A command that was killed after its last run, before its end."""
    (study / ".scores.csv.abc.tmp").touch()
    done(tvt("study", "run", world.recipe, "-o", study))
    same(study, first)


def test_a_damaged_record_names_its_file_and_the_step(study: Path, first: Path, world: World, tvt: Tvt) -> None:
    path = run_of(study, "Beta") / "scores.json"
    path.write_bytes(path.read_bytes()[:100])
    for command in (("status", study), ("run", world.recipe, "-o", study)):
        told = tvt("study", *command)
        assert told.returncode == 2
        assert told.stderr == f"tvt: {path}: damaged; delete this file, and what it says is measured again\n"
    path.unlink()
    done(tvt("study", "run", world.recipe, "-o", study))
    same(study, first)


@pytest.mark.slow
def test_a_run_that_takes_its_process_down_is_failed_and_the_rest_goes_on(
    first: Path, world: World, tvt: Tvt, tmp_path: Path
) -> None:
    study, store = tmp_path / "study", Store(tmp_path / "study")
    slow = ("--set", "training.save_steps=1000", "--set", "training.num_train_epochs=20")
    process = tvt.start("study", "run", world.recipe, "-o", study, "--workers", "1", *slow)
    (run,) = wait_for(lambda: [run for run, told in specs(study).items() if "Alpha" in told["counts"]], process)
    folder = store.run_folder(run)
    killed: set[int] = set()
    while not (folder / "failure.json").exists():
        if (folder / "run.json").exists() and store.status(run, {("Alpha", "evaluation"): ""}) == "running":
            for worker in set(workers(process.pid)) - killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        assert process.poll() is None, process.communicate()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert (
        stderr.count("note: Alpha, seed 0: its process was killed by SIGKILL, often because memory ran out; trying again") >= 2
    )
    reason = "its process was killed by SIGKILL, often because memory ran out, 3 times from the same point on"
    assert f"Alpha, seed 0: {reason}; runs/{run}/worker.log may say more; try again with --retry-failed" in stderr
    assert (folder / "worker.log").is_file()
    assert 3 <= len(killed) <= 5
    assert "1 run failed" in stdout
    assert "2 runs done" in stdout
    assert f"seed_0,Alpha,Gamma,,,,{chr(34) if ',' in reason else ''}{reason}" in (study / "scores.csv").read_text()
    told = done(tvt("study", "run", world.recipe, "-o", study, "--retry-failed", *slow))
    assert "3 runs done" in told.stdout
    assert not (folder / "failure.json").exists()
    assert study_world.leftovers(study) == []


@pytest.mark.slow
def test_a_smaller_batch_after_a_kill_in_training(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    """As the message about memory advises: it changes no result, but no checkpoint fits it."""
    study = tmp_path / "study"
    more = ("--set", "training.num_train_epochs=3")
    process = tvt.start("study", "run", world.recipe, "-o", study, "--workers", "1", *more)
    wait_for(lambda: list(study.glob("runs/*/checkpoints/checkpoint-*/checkpoint.json")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    smaller = ("--set", "training.per_device_train_batch_size=2")
    told = done(tvt("study", "run", world.recipe, "-o", study, "--workers", "1", *more, *smaller))
    note = "its checkpoints are of another batch or number of processes; training it anew"
    assert f"note: Alpha, seed 0: {note}" in told.stderr
    assert "changed" not in told.stderr
    assert study_world.leftovers(study) == []


def test_a_killed_command_takes_its_workers_along(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    """A whole study by ordinary interpreters; the command alone is killed, and another one goes on at once."""
    study = tmp_path / "study"
    command = [study_world.PYTHON, "-m", "tvt", "study", "run", str(world.recipe), "-o", str(study), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=QUICK, process_group=0) as process:
        wait_for(lambda: list(study.glob("runs/*/checkpoints")), process)
        process.kill()
        wait_for(lambda: process_list.of_group(process.pid) == [process.pid] or not process_list.of_group(process.pid))
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    same(study, first)


@pytest.mark.slow
def test_an_interrupted_command_ends_its_workers_and_goes_on_later(first: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = tvt.start("study", "run", world.recipe, "-o", study, "--workers", "2")
    wait_for(lambda: list(study.glob("runs/*/mixed")), process)  # the training is still to come
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert stderr.endswith("tvt: interrupted\n")
    assert "defect" not in stderr
    wait_for(lambda: not process_list.of_group(process.pid))
    done(tvt("study", "run", world.recipe, "-o", study, "--workers", "2"))
    same(study, first)


def test_an_interrupt_that_a_worker_hears_first_is_one(world: World, tvt: Tvt, tmp_path: Path) -> None:
    process = tvt.start("study", "run", world.recipe, "-o", tmp_path / "study", "--workers", "1")
    wait_for(lambda: specs(tmp_path / "study"), process)
    os.kill(workers(process.pid)[0], signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert stderr.endswith("tvt: interrupted\n")


def test_only_what_dead_processes_left_is_removed(study: Path) -> None:
    dead, living = run_of(study, "Alpha"), run_of(study, "Beta")
    for run in (dead, living):
        (run / ".scores.json.abc.tmp").touch()
        (run / ".adapter.unfinished").mkdir()
        (run / ".adapter.unfinished" / "adapter_config.json").touch()
    answers = next(study.glob("answers/*/"))
    (answers / ".chunk-000002.jsonl.abc.tmp").touch()
    for number in range(KEPT_LOGS + 5):
        path = study / "logs" / f"worker-machine-{number}-0.log"
        path.touch()
        os.utime(path, (number, number))
    before = sorted(path for path in study.rglob("*") if path.is_file())
    with hold(living):
        tidy(study)
    gone = {str(path.relative_to(study)) for path in before if not path.exists()}
    assert gone == {
        f"runs/{dead.name}/.scores.json.abc.tmp",
        f"runs/{dead.name}/.adapter.unfinished/adapter_config.json",
        f"answers/{answers.name}/.chunk-000002.jsonl.abc.tmp",
        *(f"logs/worker-machine-{number}-0.log" for number in range(5)),
    }
