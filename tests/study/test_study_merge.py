"""Work divided between two folders and joined is the work done in one; nothing damaged is taken, and nothing here is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import study_world
from commands import PATIENCE, SUPPORT
from study_folders import hold, id_of
from study_world import QUICK, Tvt, World, done, specs
from tvt.core.scores import Run
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.study.merging import Merged, merge
from tvt.study.store import Store

pytestmark = pytest.mark.slow

Edit = Callable[[Path, Path], object]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Recipes of a study of two sources, and of each alone."""
    world = study_world.build(tmp_path_factory.mktemp("world"))
    for source in ("Alpha", "Beta"):
        study_world.write_recipe(world.folder, f"{source}.yaml", sources=[source])
    return world


@pytest.fixture(scope="module")
def studies(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study in one, ``whole``, and its halves, ``Alpha`` and ``Beta``."""
    folder = tmp_path_factory.mktemp("studies")
    done(tvt("study", "run", world.recipe, "-o", folder / "whole", "--workers", "2"))
    for source in ("Alpha", "Beta"):
        done(tvt("study", "run", world.folder / f"{source}.yaml", "-o", folder / source, "--workers", "1"))
    return folder


@pytest.fixture
def halves(studies: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the two halves."""
    alpha, beta = (Path(shutil.copytree(studies / name, tmp_path / name)) for name in ("Alpha", "Beta"))
    return alpha, beta


def run_of(study: Path, source: str | None) -> str:
    """The name of the folder of a source's run, or of the base's."""
    (found,) = (run for run, told in specs(study).items() if next(iter(told["counts"]), None) == source)
    return found


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**load(path), **values}, indent=1))


def change_cell(path: Path, number: int, **values: Any) -> None:
    told = load(path)
    told["cells"][number] |= values
    path.write_text(json.dumps(told))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_halves_are_the_whole(studies: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    told = done(tvt("study", "merge", joined, studies / "Alpha", studies / "Beta"))
    assert told.stdout.splitlines() == [
        f"{studies}/Alpha: 2 runs copied",
        f"{studies}/Beta: 1 run copied, 1 known already",
    ]
    assert f"note: 1 run is of other seeds, sources or settings than {joined}/recipe.yaml and not in its tables" in told.stderr
    assert (joined / "scores.csv").read_bytes() == (studies / "Alpha" / "scores.csv").read_bytes()
    assert study_world.adapters(joined) == study_world.adapters(studies / "whole")
    assert specs(joined) == specs(studies / "whole")
    assert sorted(study_world.chunks(joined)) == sorted(study_world.chunks(studies / "whole"))
    for path in (studies / "whole").glob("answers/*/*.json*"):
        if not path.name.startswith(("chunk", "identity")):
            assert (joined / path.relative_to(studies / "whole")).read_bytes() == path.read_bytes()
    before = files(joined / "runs") | files(joined / "answers")
    again = done(tvt("study", "run", world.recipe, "-o", joined))
    assert "3 runs done" in again.stdout
    assert "done 1" not in again.stderr, "nothing is to do"
    assert files(joined / "runs") | files(joined / "answers") == before
    assert (joined / "scores.csv").read_bytes() == (studies / "whole" / "scores.csv").read_bytes()
    # Into a folder of the whole recipe, the tables are whole at once, and nobody is told of other recipes.
    shutil.copy(studies / "whole" / "recipe.yaml", tmp_path / "kept.yaml")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "kept.yaml", other / "recipe.yaml")
    told = done(tvt("study", "merge", other, studies / "Beta", studies / "Alpha"))
    assert told.stderr == ""
    assert (other / "scores.csv").read_bytes() == (studies / "whole" / "scores.csv").read_bytes()


def test_a_dry_run_says_the_same_and_writes_nothing(studies: Path, tvt: Tvt, tmp_path: Path) -> None:
    told = done(tvt("study", "merge", tmp_path / "joined", studies / "Alpha", studies / "Beta", "--dry-run"))
    assert told.stdout.splitlines() == [
        f"{studies}/Alpha: 2 runs to copy",
        f"{studies}/Beta: 1 run to copy, 1 known already",
    ]
    assert list(tmp_path.iterdir()) == []
    merge(tmp_path / "joined", [studies / "Alpha"])
    before = files(tmp_path)
    told = done(tvt("study", "merge", tmp_path / "joined", studies / "Beta", "--dry-run", "--json"))
    assert files(tmp_path) == before
    (part,) = json.loads(told.stdout)["from"]
    runs = studies / "Beta" / "runs"
    assert part["copied"] == [id_of(runs / run_of(studies / "Beta", "Beta"))]
    assert part["known"] == [id_of(runs / run_of(studies / "Beta", None))]


def test_what_is_not_finished_stays_where_it_is(halves: tuple[Path, Path], tvt: Tvt, tmp_path: Path) -> None:
    alpha, beta = halves
    run = run_of(alpha, "Alpha")
    with hold(alpha / "runs" / run):
        (part,) = merge(tmp_path / "one", [alpha])
        assert part.left == {"at work": 1}
    (alpha / "runs" / run / "training.json").unlink()
    (beta / "runs" / run_of(beta, "Beta") / "failure.json").write_text('{"schema": 1, "reason": "diverged"}')
    told = done(tvt("study", "merge", tmp_path / "two", alpha, beta))
    assert told.stdout.splitlines() == [
        f"{alpha}: 1 run copied; left there: 1 unfinished",
        f"{beta}: 0 runs copied, 1 known already; left there: 1 failed",
    ]
    assert list(specs(tmp_path / "two")) == [run_of(alpha, None)]


def test_a_run_that_is_at_work_here_is_left_alone(halves: tuple[Path, Path], studies: Path, tmp_path: Path) -> None:
    alpha, beta = halves
    run = id_of(beta / "runs" / run_of(beta, "Beta"))
    with Store(alpha).claim(run, Run(label="Beta", counts={"Beta": 1})):
        (part,) = merge(alpha, [beta])
    assert part.left == {"at work here": 1}
    (part,) = merge(alpha, [beta])
    assert part.copied == [run]


def test_a_finished_run_takes_the_place_of_a_half_or_failed_one(halves: tuple[Path, Path], studies: Path) -> None:
    alpha, beta = halves
    run = run_of(beta, "Beta")
    here = alpha / "runs" / run
    for name in ("adapter", "checkpoints/checkpoint-1", "mixed", ".rows"):
        (here / name).mkdir(parents=True)
        (here / name / "half").touch()
    shutil.copy(beta / "runs" / run / "spec.json", here / "spec.json")
    (here / "failure.json").write_text('{"schema": 1, "reason": "diverged"}')
    (part,) = merge(alpha, [beta])
    assert part.copied == [id_of(beta / "runs" / run)]
    assert study_world.leftovers(alpha) == []
    there = files(beta / "runs" / run)
    assert {name: there[name] for name in files(here)} == files(here)
    assert there.keys() - files(here).keys() <= {".lock", ".id"}


def test_cells_are_joined(halves: tuple[Path, Path], studies: Path, tvt: Tvt) -> None:
    alpha, _ = halves
    run = run_of(alpha, "Alpha")
    scores = alpha / "runs" / run / "scores.json"
    whole = load(scores)
    scores.write_text(json.dumps({**whole, "cells": whole["cells"][:1], "scoring_seconds": 1.0, "questions": 10}))
    for path in (alpha / "answers" / whole["cells"][0]["answers"]).glob("*"):
        if path.name.startswith(("Beta", "Gamma")):
            path.unlink()
    told = done(tvt("study", "merge", alpha, studies / "Alpha"))
    assert told.stdout == f"{studies}/Alpha: 1 run given 2 more cells, 1 known already\n"
    found = load(scores)
    assert found["cells"] == whole["cells"]
    assert found["questions"] == 10 + round(whole["questions"] * 2 / 3)
    assert found["scoring_seconds"] == pytest.approx(1 + whole["scoring_seconds"] * 2 / 3, abs=1e-3)
    assert (alpha / "scores.csv").read_bytes() == (studies / "Alpha" / "scores.csv").read_bytes()
    asked = list(study_world.chunks(alpha))
    assert len(asked) == len(set(asked))


def test_another_adapter_of_the_same_run_stays_out_with_its_cells(halves: tuple[Path, Path], studies: Path) -> None:
    alpha, _ = halves
    run = alpha / "runs" / run_of(alpha, "Alpha")
    change(run / "training.json", adapter_digest="0" * 64)
    (run / "scores.json").unlink()
    before = files(alpha / "runs")
    (part,) = merge(alpha, [studies / "Alpha"])
    text = "Alpha, seed 0: was trained there too, to another adapter; this folder's is kept, with its own scores"
    assert part.conflicts == [f"{studies}/Alpha: {text}"]
    assert files(alpha / "runs") == before


def test_scores_that_differ_are_told_and_kept(halves: tuple[Path, Path], studies: Path, tvt: Tvt) -> None:
    alpha, _ = halves
    scores = alpha / "runs" / run_of(alpha, "Alpha") / "scores.json"
    other = load(scores)["cells"][0]["correct"] + 1
    change_cell(scores, 0, correct=other)
    change_cell(scores, 1, key="1" * 64)
    before = scores.read_bytes()
    told = done(tvt("study", "merge", alpha, studies / "Alpha"))
    assert (
        f"note: {studies}/Alpha: Alpha, seed 0: has other scores on Alpha there ({other - 1} there and {other} here, of 10); "
        in (told.stderr)
    )
    assert "Alpha, seed 0: was asked other questions of Beta there; this folder's score is kept" in told.stderr
    assert told.stdout == f"{studies}/Alpha: 0 runs copied, 2 known already, 2 differing\n"
    assert scores.read_bytes() == before


def test_a_score_against_answers_known_here_is_not_taken(halves: tuple[Path, Path], studies: Path) -> None:
    """This folder knows another answer to a question, from a process that was killed before it had a score."""
    alpha, _ = halves
    run = alpha / "runs" / run_of(alpha, "Alpha")
    key = load(run / "scores.json")["cells"][0]["answers"]
    (run / "scores.json").unlink()
    for path in sorted((alpha / "answers" / key).glob("chunk-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["scores"] = [-score for score in row["scores"]] if row["task"] == "Beta" else row["scores"]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chunks = sorted(study_world.chunks(alpha))
    (part,) = merge(alpha, [studies / "Alpha"])
    assert part.extended == {id_of(run): 2}
    assert len(part.conflicts) == 1
    assert "some questions of Beta were answered otherwise here; its score there is not taken" in part.conflicts[0]
    assert [cell["target"] for cell in load(run / "scores.json")["cells"]] == ["Alpha", "Gamma"]
    assert sorted(study_world.chunks(alpha)) == chunks


def test_scores_are_paired_with_this_folders_base(halves: tuple[Path, Path], studies: Path) -> None:
    """Another machine's base model may answer otherwise; what both got right is counted with the base that is kept."""
    alpha, beta = halves
    scores = alpha / "runs" / run_of(alpha, None) / "scores.json"
    cell = load(scores)["cells"][0]
    base = AnswerStore.reopen(alpha / "answers" / cell["answers"])
    items, record = base.finished("Alpha")
    with base.locked():
        base.finish("Alpha", [{**item, "correct": not item["correct"]} for item in items], record)
    change_cell(scores, 0, correct=10 - cell["correct"])
    run = run_of(beta, "Beta")
    (part,) = merge(alpha, [beta])
    assert part.copied == [id_of(beta / "runs" / run)]
    assert "has other scores on Alpha there" in part.conflicts[0]
    theirs, mine = (load(study / "runs" / run / "scores.json")["cells"] for study in (beta, alpha))
    assert mine[0]["both_correct"] == theirs[0]["correct"] - theirs[0]["both_correct"]
    assert mine[1:] == theirs[1:]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def link(path: Path) -> None:
    kept = path.with_name(f"{path.name}-elsewhere")
    path.rename(kept)
    path.symlink_to(kept)


def answers_of(run: Path) -> Path:
    return run.parents[1] / "answers" / load(run / "scores.json")["cells"][0]["answers"]


DAMAGES: dict[str, tuple[Edit, str]] = {
    "adapter cut": (lambda run, _: truncate(run / "adapter" / "adapter_model.safetensors"), "adapter_model.safetensors: has "),
    "adapter's record": (lambda run, _: truncate(run / "adapter" / "adapter.json"), "adapter.json: damaged"),
    "another adapter": (lambda run, _: change(run / "training.json", adapter_digest="0" * 64), "is not the adapter of the run"),
    "training record": (lambda run, _: truncate(run / "training.json"), "training.json: damaged"),
    "another seed": (
        lambda run, _: change(run / "spec.json", identity={**load(run / "spec.json")["identity"], "seed": 7}),
        "spec.json: describes another run than its folder is of",
    ),
    "spec": (lambda run, _: truncate(run / "spec.json"), "spec.json: damaged"),
    "fields of a spec": (lambda run, _: (run / "spec.json").write_text('{"schema": 1}'), "spec.json: damaged"),
    "scores": (lambda run, _: truncate(run / "scores.json"), "scores.json: damaged"),
    "fields of scores": (lambda run, _: change_cell(run / "scores.json", 0, more=1), "scores.json: damaged"),
    "a count": (lambda run, _: change_cell(run / "scores.json", 0, correct=11), "is not what the run's scores.json says"),
    "a way out": (lambda run, _: change_cell(run / "scores.json", 0, answers="../runs"), "names '../runs' as the folder"),
    "items": (lambda run, _: truncate(answers_of(run) / "Beta.items.jsonl"), "Beta.json: "),
    "no items": (lambda run, _: (answers_of(run) / "Gamma.items.jsonl").unlink(), "Gamma.json: missing or damaged"),
    "answers": (lambda run, _: truncate(answers_of(run) / "chunk-000001.jsonl"), "chunk-000001.jsonl: damaged"),
    "another's answers": (
        lambda run, base: change(run / "scores.json", cells=load(base / "scores.json")["cells"]),
        "holds the answers of another adapter",
    ),
    "whose answers": (lambda run, _: (answers_of(run) / "identity.json").write_text("{}"), "identity.json: missing or damaged"),
    "link in an adapter": (
        lambda run, _: link(run / "adapter" / "adapter_model.safetensors"),
        "is a link; put what it leads to",
    ),
    "link to an adapter": (lambda run, _: link(run / "adapter"), "is a link; put what it leads to"),
    "link to scores": (lambda run, _: link(run / "scores.json"), "is a link; put what it leads to"),
    "link to answers": (lambda run, _: link(answers_of(run)), "is a link; put what it leads to"),
    "link to a run": (lambda run, _: link(run), "is a link; put what it leads to"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_refused_and_the_others_go_in(name: str, halves: tuple[Path, Path], tmp_path: Path) -> None:
    alpha, _ = halves
    damage, message = DAMAGES[name]
    run, base = run_of(alpha, "Alpha"), run_of(alpha, None)
    run_id, base_id = (id_of(alpha / "runs" / one) for one in (run, base))
    damage(alpha / "runs" / run, alpha / "runs" / base)
    (part,) = merge(tmp_path / "joined", [alpha])
    assert part.copied == [base_id]
    assert set(part.refused) == {run_id}
    assert message in part.refused[run_id][0]
    assert [path.name for path in (tmp_path / "joined" / "runs").iterdir()] == [base]
    assert len(list((tmp_path / "joined" / "answers").iterdir())) == 1


def test_refused_runs_make_the_command_fail_at_its_end(
    halves: tuple[Path, Path], studies: Path, tvt: Tvt, tmp_path: Path
) -> None:
    alpha, beta = halves
    truncate(alpha / "runs" / run_of(alpha, "Alpha") / "adapter" / "adapter_model.safetensors")
    change_cell(alpha / "runs" / run_of(alpha, None) / "scores.json", 0, correct=11)
    told = tvt("study", "merge", tmp_path / "joined", alpha, beta)
    assert told.returncode == 2
    assert told.stdout.splitlines() == [f"{alpha}: 0 runs copied, 2 refused", f"{beta}: 2 runs copied"]
    assert sum(line.startswith("tvt: ") for line in told.stderr.splitlines()) == 2
    assert study_world.adapters(tmp_path / "joined") == study_world.adapters(studies / "Beta")


def test_folders_that_cannot_be_used_are_told_before_anything_is_written(studies: Path, tvt: Tvt, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").touch()
    same = Path(shutil.copytree(studies / "Alpha", tmp_path / "same"))
    shutil.copytree(studies / "Beta", same / "inside")
    told = tvt("study", "merge", same, same, same / "inside", tmp_path / "notes", tmp_path / "none")
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        f"tvt: {same}: is the folder to merge into; name another one",
        f"tvt: {same}/inside: is inside the folder to merge into; name another one",
        *(
            f"tvt: {tmp_path}/{name}: no study with runs (runs/ is missing); name the folder of one that tvt study run made"
            for name in ("notes", "none")
        ),
    ]
    told = tvt("study", "merge", tmp_path / "notes", studies / "Alpha")
    assert told.stderr.startswith(f"tvt: {tmp_path}/notes: is there and no study with runs (recipe.yaml is missing); ")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["notes.txt"]
    (same / "recipe.yaml").write_text("name: [")
    assert tvt("study", "merge", tmp_path / "new", same).returncode == 2
    assert not (tmp_path / "new").exists()


def test_where_the_rows_are_not_here_the_runs_are_copied_and_a_note_says_what_is_left(
    halves: tuple[Path, Path], studies: Path, tvt: Tvt, tmp_path: Path
) -> None:
    alpha, _ = halves
    recipe = (alpha / "recipe.yaml").read_text()
    (alpha / "recipe.yaml").write_text(recipe.replace("/tasks", "/elsewhere"))
    told = done(tvt("study", "merge", tmp_path / "joined", alpha))
    assert f"note: the tables in {tmp_path}/joined are not written anew (" in told.stderr
    assert f"; tvt study run RECIPE -o {tmp_path}/joined does that" in told.stderr
    assert len(specs(tmp_path / "joined")) == 2
    assert not (tmp_path / "joined" / "scores.csv").exists()


def test_a_full_disk_is_told_and_the_same_merge_goes_on(studies: Path, tvt: Tvt, tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    process = tvt.start("study", "merge", joined, studies / "Alpha", largest_file=8_000)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, stderr
    assert stderr.startswith(f"tvt: {joined}: the disk is full (")
    assert stderr.endswith("); make room and run the same command again: what is done is kept\n")
    done(tvt("study", "merge", joined, studies / "Alpha"))
    assert study_world.adapters(joined) == study_world.adapters(studies / "Alpha")
    assert study_world.leftovers(joined) == []


def test_merges_that_end_at_any_moment_go_on_to_the_same(studies: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SUPPORT / "merge_kills.py"), str(tmp_path / "whole"), str(tmp_path / "work")]
    command += ["20261126", str(studies / "Alpha"), str(studies / "Beta")]
    result = subprocess.run(command, capture_output=True, text=True, env=QUICK, check=False, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["moments"] > 200
    assert min(told["kill"], told["interrupt"]) > 10


def test_killed_commands_go_on_to_the_same(studies: Path, tvt: Tvt, tmp_path: Path) -> None:
    dice = random.Random(1)
    joined, ends = tmp_path / "joined", set()
    for _ in range(8):
        process = tvt.start("study", "merge", joined, studies / "Alpha", studies / "Beta")
        time.sleep(dice.uniform(0, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        ends.add(process.returncode)
    done(tvt("study", "merge", joined, studies / "Alpha", studies / "Beta"))
    assert -signal.SIGKILL in ends
    assert study_world.adapters(joined) == study_world.adapters(studies / "whole")
    assert sorted(study_world.chunks(joined)) == sorted(study_world.chunks(studies / "whole"))
    assert study_world.leftovers(joined) == []


def test_a_folder_that_changes_while_it_is_copied_is_told(
    halves: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, _ = halves
    copy = shutil.copyfile

    def changed(source: Path, target: Path) -> None:
        copy(source, target)
        if target.name == "adapter_model.safetensors":
            target.write_bytes(target.read_bytes()[:-8] + b"\0" * 8)

    monkeypatch.setattr(shutil, "copyfile", changed)
    (part,) = merge(tmp_path / "joined", [alpha])
    assert isinstance(part, Merged)
    (reason,) = part.refused[id_of(alpha / "runs" / run_of(alpha, "Alpha"))]
    assert "its content changed" in reason
    assert study_world.adapters(tmp_path / "joined") == {}
    with pytest.raises(InputError, match="no study with runs"):
        merge(tmp_path / "joined", [tmp_path])
