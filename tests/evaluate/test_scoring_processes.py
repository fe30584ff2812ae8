"""Several processes share the questions of a run: the answers of one, whoever gives them, and what became of one that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

from safetensors.torch import load_file, save_file

import faulty_workers
import tiny_vlm
from ports import free_ports
from study_world import Tvt, World, done, write_recipe
from tvt.core.events import Done
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.data.questions.files import write_jsonl
from tvt.errors import InputError, NotFiniteScoreError, ProcessDiedError, ProcessFailedError
from tvt.evaluate.asking import Flush
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.sharing import ScoringProcesses
from tvt.io.processes import Machines
from tvt.io.yaml_files import load_recipe
from tvt.model.base import Loaded
from tvt.study.jobs import make_job
from tvt.study.runner import Runner
from tvt.study.session import open_session

TASKS = {
    "one": tiny_vlm.questions("one", 10, images=(1, 2, 0)),
    "two": tiny_vlm.questions("two", 6, images=(1,), seed=3),
}
OPTIONS = EvaluationConfig(batch_size=2)
TWO = ScoringProcesses(processes=2)
FAILS = """
import os, signal
import torch
from tvt.evaluate.scorer import Scorer
original, asked = Scorer._answer, []
def answer(self, model, prepared, questions):
    asked.append(questions)
    if os.environ["RANK"] == "1" and len(asked) == 3:
        CODE
    return original(self, model, prepared, questions)
Scorer._answer = answer
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("model") / "model", layers=1)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_vlm.save_adapter(base, folder / f"a{seed}", seed) for seed in (1, 2)]


def config(base: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(base), dtype="float32")


def chunks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("chunk-*"))


def test_two_processes_give_the_cells_of_one(
    base: Path, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base and adapters in one start of the processes, one of them twice; bit for bit, in both modes."""
    who, told = [None, *adapters, adapters[0]], list[tuple[int, ...]]()
    for mode in ("options", "generate"):
        told.clear()
        settings = OPTIONS.model_copy(update={"mode": mode, "max_new_tokens": 4})
        alone = Evaluator(config(base), settings, tmp_path / f"{mode}1").evaluate(who, TASKS)
        evaluator = Evaluator(config(base), settings, tmp_path / f"{mode}2", together=TWO, note=pytest.fail)
        with monkeypatch.context() as patch:
            patch.setattr(Loaded, "load", lambda _: pytest.fail("the parent must leave the devices to the processes"))
            found = evaluator.evaluate(who, TASKS, lambda *numbers: told.append(numbers))
        assert found == alone
        assert [[cell.asked for cell in cells.values()] for cells in found] == [[10, 6]] * 3 + [[0, 0]]
        assert (told[0], told[-1]) == ((16, 64), (64, 64))
        assert told == sorted(told)
        assert len(told) > 10, "each batch is told"
        names = chunks(tmp_path / f"{mode}2")
        assert len(names) == 6, "both wrote answers of all three"
        assert {name[-8:] for name in names} == {"-0.jsonl", "-1.jsonl"}
        left = {path.name for path in (tmp_path / f"{mode}2").glob("*/*") if path.suffix not in (".json", ".jsonl")}
        assert left == {".lock"}
        assert evaluator.load_seconds > 0


def test_processes_go_on_where_others_stopped(base: Path, tmp_path: Path) -> None:
    few = {"one": TASKS["one"][:4]}
    Evaluator(config(base), OPTIONS, tmp_path / "e", together=TWO).evaluate([None], few)
    (cells,) = Evaluator(config(base), OPTIONS, tmp_path / "e", together=ScoringProcesses(processes=3)).evaluate([None], TASKS)
    assert [cell.asked for cell in cells.values()] == [6, 6]
    assert Evaluator(config(base), OPTIONS, tmp_path / "e").evaluate([None], TASKS)[0]["two"].asked == 0


@pytest.mark.slow
def test_machines_of_a_launcher_share_the_questions(base: Path, tmp_path: Path) -> None:
    both = ("sh", "-c", '"$@" & "$@"; code=$?; wait $! && exit $code', "sh")
    machines = Machines(count=2, main_ip="127.0.0.1", main_port=free_ports(1)[0], launcher=both)
    evaluator = Evaluator(config(base), OPTIONS, tmp_path / "2", together=ScoringProcesses(processes=2, machines=machines))
    assert evaluator.evaluate([None], TASKS) == Evaluator(config(base), OPTIONS, tmp_path / "1").evaluate([None], TASKS)
    assert len(chunks(tmp_path / "2")) == 2


@pytest.mark.parametrize(
    ("code", "kind", "line"),
    [
        ('raise RuntimeError("the shapes do not fit")', ProcessFailedError, "RuntimeError: the shapes do not fit"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ProcessDiedError, "a scoring process died"),
        ('from tvt.errors import InputError; raise InputError("one", "two")', InputError, "^one\ntwo$"),
    ],
    ids=["exception", "signal", "input"],
)
@pytest.mark.slow
def test_what_fails_in_one_process_is_named_and_answers_stay(
    code: str, kind: type[Exception], line: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_workers.install(monkeypatch, tmp_path / "path", "tvt.evaluate.sharing", FAILS.replace("CODE", code))
    at_once = Flush(items=1)
    with pytest.raises(kind, match=line) as error:
        Evaluator(config(base), OPTIONS, tmp_path / "e", together=TWO, flush=at_once).evaluate([None], TASKS)
    kept = sum(path.read_text().count("\n") for path in (tmp_path / "e").rglob("chunk-*"))
    assert kept >= 2, "the two batches before, of a question or two each"
    if kind is ProcessFailedError:
        assert isinstance(error.value, ProcessFailedError)
        assert error.value.cause == line
        assert "Traceback" in next((tmp_path / "e").rglob("scoring.log")).read_text()
    monkeypatch.undo()
    (cells,) = Evaluator(config(base), OPTIONS, tmp_path / "e").evaluate([None], TASKS)
    assert sum(cell.asked for cell in cells.values()) == 16 - kept


def test_scores_of_the_base_that_are_not_finite_stop_everything(tmp_path: Path) -> None:
    broken = tiny_vlm.save(tmp_path / "model", layers=1)
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if "language" in name and name.endswith("q_proj.weight"))
    tensors[name][0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotFiniteScoreError, match="the base model: one, question") as error:
        Evaluator(config(broken), OPTIONS, tmp_path / "e", together=TWO).evaluate([None], TASKS)
    assert error.value.base


def two(world: World, name: str) -> Path:
    """A recipe whose runs take two processes; four questions at once, so that both have some."""
    return write_recipe(
        world.folder,
        name,
        training={"per_device_train_batch_size": 2},
        evaluation={"batch_size": 4},
        runtime={"num_processes": 2},
        sources=["Alpha"],
    )


@pytest.mark.slow
def test_a_run_of_two_processes_trains_and_scores_on_both(tvt: Tvt, world: World, tmp_path: Path) -> None:
    study = tmp_path / "study"
    done(tvt("study", "run", two(world, "both.yaml"), "-o", study, "--workers", "1"))
    scored = {path.parent.name: set() for path in study.glob("answers/*/identity.json")}
    for path in study.glob("answers/*/chunk-*.jsonl"):
        scored[path.parent.name].add(path.stem.split("-")[2])
    assert list(scored.values()) == [{"0", "1"}] * 2, "the base and one adapter"
    assert not list(study.rglob("*.unfinished"))


@pytest.mark.slow
def test_a_run_whose_scoring_fails_keeps_its_adapter(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(load_recipe(two(world, "fails.yaml")), tmp_path / "study")
    task = next(task for task in session.tasks() if not task.run.is_base)
    runner = Runner(job=make_job(session.study, session.store.folder, [task]), note=pytest.fail)
    code = FAILS.replace("len(asked) == 3", "len(asked) == 1").replace("CODE", 'raise RuntimeError("no kernel")')
    with monkeypatch.context() as patch:
        faulty_workers.install(patch, tmp_path / "path", "tvt.evaluate.sharing", code)
        with pytest.raises(ProcessFailedError, match="a scoring process failed: RuntimeError: no kernel"):
            runner.do(task, lambda *where: None)
    folder = session.store.run_folder(task.run_id)
    record = (folder / "training.json").read_text()
    assert "a scoring process failed" in str(session.store.failure(task.run_id))
    session.store.forgive(task.run_id)
    assert isinstance(runner.do(task, lambda *where: None), Done)
    assert (folder / "training.json").read_text() == record, "not trained again"


@pytest.mark.slow
def test_evaluate_on_two_processes(tvt: Tvt, base: Path, adapters: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    write_jsonl(asked(), path)
    told = []
    for number in ("1", "2"):
        result = tvt(
            *("evaluate", adapters[0], "--model", base, "--dtype", "float32", "--questions", f"one={path}", "--json"),
            *("--batch-size", "2", "--num-processes", number, "-o", tmp_path / number),
        )
        told.append(json.loads(done(result).stdout))
    assert told[0] == told[1]
    assert len(chunks(tmp_path / "2")) == 4


def asked() -> list[Question]:
    return tiny_vlm.questions("one", 8, images=(1, 0), seed=5)
