"""Many adapters on one base, answers kept on disk: what is asked again and what is not, and what a kill leaves behind."""

# ruff: noqa: E402
from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import PeftModel
from safetensors.torch import load_file, save_file

import tiny_models
import tiny_vlm
from commands import PATIENCE
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.core.scores import Score
from tvt.errors import InputError, MissingPackageError
from tvt.evaluate.asking import Flush, compose
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.results import CellResult, ItemResult, wilson_interval
from tvt.evaluate.scorer import RawAnswer, Scorer
from tvt.evaluate.store import SCORER_VERSION
from tvt.io.adapter_file import write_record
from tvt.model.base import Loaded, load_base

TASKS = {"one": tiny_vlm.questions("one", 20), "mixed": tiny_vlm.questions("mixed", 16, images=(0, 1, 2), options=3)}
OPTIONS = EvaluationConfig(mode="options", batch_size=8)


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("base"), request.param)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("llava"))


def config(model: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(model), dtype="float32")


def outcomes(cells: dict[str, CellResult]) -> dict[str, list[RawAnswer]]:
    return {task: [item.outcome for item in cell.items] for task, cell in cells.items()}


def asked(results: list[dict[str, CellResult]]) -> int:
    return sum(cell.asked for cells in results for cell in cells.values())


def total(questions: dict[str, list[Question]]) -> int:
    return sum(map(len, questions.values()))


def test_adapters_on_one_base_equal_fresh_loads(base: Path, tmp_path: Path) -> None:
    adapters = [tiny_vlm.save_adapter(base, tmp_path / f"a{seed}", seed) for seed in (1, 2)]
    found = Evaluator(config(base), OPTIONS, tmp_path / "e").evaluate([None, *adapters, None], TASKS)
    for adapter, cells in zip([None, *adapters, None], found, strict=True):
        loaded = load_base(config(base))
        model = loaded.model if adapter is None else PeftModel.from_pretrained(loaded.model, str(adapter)).eval()
        scorer = Scorer(loaded, OPTIONS)
        for task, questions in TASKS.items():
            for batch in compose(questions, OPTIONS.batch_size):
                fresh = scorer.score(model, [questions[k] for k in batch])
                assert [cells[task].items[k].outcome for k in batch] == fresh, "bit for bit"
    assert outcomes(found[0]) != outcomes(found[1]) != outcomes(found[2])


def test_base_is_untouched_after_adapters(llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    first = evaluator.evaluate([None, adapter], TASKS)[0]
    names = [name for name, _ in evaluator._asker.base.model.named_parameters()]
    assert not [name for name in names if "lora" in name]
    shutil.rmtree(tmp_path / "e")
    assert outcomes(evaluator.evaluate([None], TASKS)[0]) == outcomes(first)


def test_what_is_known_is_not_asked_again_and_needs_no_model(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    folder = tmp_path / "e"
    first = Evaluator(config(llava), OPTIONS, folder).evaluate([None, adapter], TASKS)
    assert asked(first) == 2 * total(TASKS)
    monkeypatch.setattr(Loaded, "load", lambda _: pytest.fail("loaded"))
    settings = OPTIONS.model_copy(update={"batch_size": 3})
    again = Evaluator(config(llava), settings, folder).evaluate([adapter, None], TASKS)
    assert asked(again) == 0
    assert [outcomes(cells) for cells in again] == [outcomes(cells) for cells in reversed(first)]
    # Another place, name or order of the same things changes nothing either.
    shutil.copytree(llava, tmp_path / "copy")
    shutil.copytree(adapter, tmp_path / "b")
    renamed = {f"new {task}": list(reversed(questions)) for task, questions in TASKS.items()}
    assert asked(Evaluator(config(tmp_path / "copy"), settings, folder).evaluate([tmp_path / "b"], renamed)) == 0


def test_adapter_retrained_at_the_same_path_is_a_miss(llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    before = evaluator.evaluate([adapter], TASKS)
    times = os.stat(adapter / "adapter_model.safetensors")
    tiny_vlm.save_adapter(llava, adapter, 2)
    os.utime(adapter / "adapter_model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    after = evaluator.evaluate([adapter], TASKS)
    assert asked(after) == total(TASKS)
    assert outcomes(after[0]) != outcomes(before[0])


def test_same_weights_with_another_scale_are_a_miss(llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    before = evaluator.evaluate([adapter], TASKS)
    told = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**told, "lora_alpha": 32}))
    after = evaluator.evaluate([adapter], TASKS)
    assert asked(after) == total(TASKS)
    assert outcomes(after[0]) != outcomes(before[0])


def test_changed_image_prompt_or_options_is_a_miss_and_a_mended_answer_is_not(llava: Path, tmp_path: Path) -> None:
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    questions = TASKS["one"]
    before = evaluator.evaluate([None], {"one": questions})[0]["one"]
    changes: list[dict[str, Any]] = [
        {"images": (tiny_vlm.picture(999),)},
        {"prompt": questions[3].prompt + " "},
        {"options": questions[3].options[:3], "answer": "A"},
    ]
    for change in changes:
        changed = [*questions[:3], replace(questions[3], **change), *questions[4:]]
        assert asked(evaluator.evaluate([None], {"one": changed})) == 1
    predicted = before.items[3].predicted
    assert predicted is not None
    other = "A" if questions[3].answer != "A" else "B"
    for answer in (predicted, other):
        mended = [*questions[:3], replace(questions[3], answer=answer), *questions[4:]]
        after = evaluator.evaluate([None], {"one": mended})[0]["one"]
        assert after.asked == 0
        assert after.items[3].correct == (answer == predicted)


@pytest.mark.parametrize("change", ["mode", "max_new_tokens", "dtype", "weights", "scorer"])
def test_what_changes_answers_is_a_miss(change: str, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, few = tmp_path / "m", {"one": TASKS["one"][:4]}
    shutil.copytree(llava, model)
    settings = EvaluationConfig(mode="generate", max_new_tokens=2)
    Evaluator(config(model), settings, tmp_path / "e").evaluate([None], few)
    told = config(model)
    if change == "mode":
        settings = settings.model_copy(update={"mode": "options"})
    elif change == "max_new_tokens":
        settings = settings.model_copy(update={"max_new_tokens": 3})
    elif change == "dtype":
        told = told.model_copy(update={"dtype": "bfloat16"})
    elif change == "weights":
        tiny_vlm.save(model, seed=5)
    else:
        monkeypatch.setattr("tvt.evaluate.store.SCORER_VERSION", SCORER_VERSION + 1)
    assert asked(Evaluator(told, settings, tmp_path / "e").evaluate([None], few)) == 4


def test_answers_of_an_earlier_scorer_are_asked_again_and_a_line_says_so(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = [tiny_vlm.save_adapter(llava, tmp_path / f"a{seed}", seed) for seed in (1, 2)]
    few, folder = {"one": TASKS["one"][:4]}, tmp_path / "e"
    notes: list[str] = []

    def run(who: list[Path | None]) -> int:
        return asked(Evaluator(config(llava), OPTIONS, folder, note=notes.append).evaluate(who, few))

    monkeypatch.setattr("tvt.evaluate.store.SCORER_VERSION", SCORER_VERSION - 1)
    assert run([None, *adapters]) == 12
    assert notes == []
    monkeypatch.undo()
    line = "answers were given to an earlier version of the scorer and are not used; their questions are asked again"
    assert run([None, adapters[0]]) == 8
    assert notes == [f"{folder}: 8 {line}"]
    assert run([None, adapters[0]]) == 0
    assert len(notes) == 1, "nothing is asked again"
    assert run([adapters[1]]) == 4
    assert notes[1:] == [f"{folder}: 4 {line}"]


def test_max_new_tokens_means_nothing_to_option_scores(llava: Path, tmp_path: Path) -> None:
    few = {"one": TASKS["one"][:4]}
    Evaluator(config(llava), OPTIONS, tmp_path).evaluate([None], few)
    settings = OPTIONS.model_copy(update={"max_new_tokens": 3})
    assert asked(Evaluator(config(llava), settings, tmp_path).evaluate([None], few)) == 0


def test_more_questions_ask_only_the_new_ones(llava: Path, tmp_path: Path) -> None:
    for questions, new in ((5, 5), (12, 7), (None, 8), (5, 0)):
        settings = OPTIONS.model_copy(update={"questions": questions})
        found = Evaluator(config(llava), settings, tmp_path).evaluate([None], {"one": TASKS["one"]})
        assert asked(found) == new
        assert found[0]["one"].total == (questions or 20)


def test_question_that_two_tasks_share_is_asked_once(llava: Path, tmp_path: Path) -> None:
    both = {"one": TASKS["one"], "same": TASKS["one"][:7]}
    found = Evaluator(config(llava), OPTIONS, tmp_path).evaluate([None], both)[0]
    assert (found["one"].asked, found["same"].asked) == (20, 0)
    assert outcomes(found)["one"][:7] == outcomes(found)["same"]


def damage(folder: Path, how: str) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "nan":
        next(iter(tensors.values()))[0, 0] = float("nan")
        save_file(tensors, path)
    elif how == "half":
        save_file(dict(list(tensors.items())[::2]), path)
    elif how == "none":
        save_file({}, path)
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize("recorded", [True, False], ids=["by-tvt", "by-others"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "cut"),
        ("nan", "not finite|changed"),
        ("half", "tensors are missing|was cut or changed|changed since"),
        ("none", "holds no tensor|was cut or changed"),
        ("gone", "No such file|missing"),
    ],
)
def test_damaged_adapter_is_refused(how: str, message: str, recorded: bool, llava: Path, tmp_path: Path) -> None:
    good = tiny_vlm.save_adapter(llava, tmp_path / "good", 1)
    bad = tiny_vlm.save_adapter(llava, tmp_path / "bad", 2)
    if recorded:
        weights = load_file(bad / "adapter_model.safetensors")
        write_record(bad, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    damage(bad, how)
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    with pytest.raises(InputError, match=message) as error:
        evaluator.evaluate([bad] if how == "half" else [good, bad], TASKS)
    assert "bad" in error.value.faults[0]
    assert not list((tmp_path / "e").rglob("chunk-*")), "refused before anything was asked"
    assert asked(evaluator.evaluate([good], TASKS)) == total(TASKS), "the base model is whole after a refusal"


def test_recorded_adapter_is_accepted(llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    weights = load_file(adapter / "adapter_model.safetensors")
    write_record(adapter, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    assert asked(Evaluator(config(llava), OPTIONS, tmp_path / "e").evaluate([adapter], TASKS)) == total(TASKS)


@pytest.mark.parametrize(("layers", "message"), [(1, "tensors are missing"), (3, "have no place in this model")])
def test_adapter_of_another_model_is_refused(layers: int, message: str, llava: Path, tmp_path: Path) -> None:
    other = tiny_vlm.save(tmp_path / "other", layers=layers)
    adapter = tiny_vlm.save_adapter(other, tmp_path / "a", 1)
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    before = evaluator.evaluate([None], {"one": TASKS["one"]})[0]
    with pytest.raises(InputError, match=message):
        evaluator.evaluate([adapter], TASKS)
    shutil.rmtree(tmp_path / "e")
    assert outcomes(evaluator.evaluate([None], {"one": TASKS["one"]})[0]) == outcomes(before)


def chunks(folder: Path) -> int:
    """How many chunks of answers there are."""
    return len(list(folder.rglob("chunk-*.jsonl")))


def work(model: Path, adapter: Path, folder: Path, mode: Any, most: int | None, told: Any) -> None:
    """An evaluation in a process of its own; tells how many questions it asked, or waits once there are so many chunks."""
    tasks = {"one": tiny_vlm.questions("one", 90), "mixed": tiny_vlm.questions("mixed", 60, images=(0, 1, 2))}
    settings = EvaluationConfig(mode=mode, batch_size=4, max_new_tokens=2)
    evaluator = Evaluator(config(model), settings, folder, flush=Flush(items=8))

    def wait(done: int, total: int) -> None:
        if most is not None and chunks(folder) >= most:
            time.sleep(PATIENCE)

    told.send(asked(evaluator.evaluate([None, adapter], tasks, wait)))


class Worker:
    """That process; forked, since importing torch takes longer than all the rest."""

    def __init__(self, *arguments: Any) -> None:
        context = multiprocessing.get_context("fork")
        self._receiving, sending = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(*arguments, sending))
        self.process.start()
        sending.close()

    def asked(self) -> int:
        found: int = self._receiving.recv()
        self.process.join()
        return found

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


def answers_in(folder: Path) -> dict[str, list[str]]:
    """All lines of the chunks by folder."""
    return {
        run.name: [line for chunk in sorted(run.glob("chunk-*.jsonl")) for line in chunk.read_text().splitlines()]
        for run in sorted(folder.iterdir())
        if run.is_dir()
    }


@pytest.mark.parametrize("mode", ["options", "generate"])
def test_killed_evaluations_go_on_and_ask_nothing_twice(mode: str, llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    killed = tmp_path / "killed"
    assert Worker(llava, adapter, tmp_path / "whole", mode, None).asked() == 300
    for more in (3, 9, 12):  # within the base model, at the adapter's first questions, later
        goal = chunks(killed) + more
        worker = Worker(llava, adapter, killed, mode, goal)
        wait_until(lambda goal=goal: chunks(killed) >= goal, worker)
        worker.kill()
    kept = sum(map(len, answers_in(killed).values()))
    assert 0 < kept < 300
    assert Worker(llava, adapter, killed, mode, None).asked() == 300 - kept
    found, expected = answers_in(killed), answers_in(tmp_path / "whole")
    for run, lines in expected.items():
        assert len(set(lines)) == len(lines)
        assert sorted(found[run]) == sorted(lines), "the same answers, bit for bit, each once"
        for name in ("one.json", "one.items.jsonl", "mixed.json", "mixed.items.jsonl"):
            assert (killed / run / name).read_bytes() == (tmp_path / "whole" / run / name).read_bytes()


def wait_until(reached: Any, worker: Worker) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until, "nothing was written"
        assert worker.process.is_alive(), "ended before it could be killed"
        time.sleep(0.005)


def test_two_processes_share_the_work(llava: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(llava, tmp_path / "a", 1)
    workers = [Worker(llava, adapter, tmp_path / "e", "options", None) for _ in range(2)]
    assert sum(worker.asked() for worker in workers) == 300
    assert all(len(set(lines)) == len(lines) for lines in answers_in(tmp_path / "e").values())


def test_what_was_answered_before_an_error_is_kept(llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once, calls = Scorer._options, []

    def fails(self: Scorer, *arguments: Any) -> list[RawAnswer]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return once(self, *arguments)

    monkeypatch.setattr(Scorer, "_options", fails)
    with pytest.raises(KeyboardInterrupt):
        Evaluator(config(llava), OPTIONS, tmp_path).evaluate([None], {"one": TASKS["one"]})
    assert asked(Evaluator(config(llava), OPTIONS, tmp_path).evaluate([None], {"one": TASKS["one"]})) == 20 - 2 * 8


def test_four_bits(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    adapter = tiny_vlm.save_adapter(base, tmp_path / "a", 1)
    model = config(base).model_copy(update={"load_in_4bit": True})
    few = {task: questions[:6] for task, questions in TASKS.items()}
    whole = Evaluator(config(base), OPTIONS, tmp_path / "e").evaluate([None, adapter], few)
    found = Evaluator(model, OPTIONS, tmp_path / "e").evaluate([None, adapter], few)
    assert asked(found) == 24, "another way to load is another answer"
    assert outcomes(found[0]) != outcomes(found[1])
    pairs = [(a, b) for task in few for a, b in zip(whole[0][task].items, found[0][task].items, strict=True)]
    assert all(a.outcome.scores != b.outcome.scores for a, b in pairs)


def test_four_bits_without_bitsandbytes(llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvt.model.families.find_spec", lambda name: None if name == "bitsandbytes" else find_spec(name))
    model = config(llava).model_copy(update={"load_in_4bit": True})
    with pytest.raises(MissingPackageError, match="pip install bitsandbytes, or load without 4 bits"):
        Evaluator(model, OPTIONS, tmp_path).evaluate([None], TASKS)


def test_damaged_chunk_is_named(llava: Path, tmp_path: Path) -> None:
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path)
    evaluator.evaluate([None], {"one": TASKS["one"]})
    chunk = next(tmp_path.rglob("chunk-*.jsonl"))
    chunk.write_text(chunk.read_text()[:-30])
    with pytest.raises(InputError, match="delete this file, and its questions are asked again"):
        evaluator.evaluate([None], {"one": TASKS["one"]})
    chunk.unlink()
    assert asked(evaluator.evaluate([None], {"one": TASKS["one"]})) == 20


def test_items_file_and_record_say_what_was_found(llava: Path, tmp_path: Path) -> None:
    cell = Evaluator(config(llava), OPTIONS, tmp_path).evaluate([None], {"my/task": TASKS["one"]})[0]["my/task"]
    folder = tmp_path / cell.key
    rows = [json.loads(line) for line in (folder / "my%2Ftask.items.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [question.id for question in TASKS["one"]]
    assert [row["correct"] for row in rows] == [item.correct for item in cell.items]
    assert all(len(row["scores"]) == 4 and len(row["item"]) == 64 for row in rows)
    record = json.loads((folder / "my%2Ftask.json").read_text())
    assert (record["correct"], record["total"]) == (cell.correct, 20)
    identity = json.loads((folder / "identity.json").read_text())
    assert identity["identity"]["adapter"] is None
    assert identity["about"]["model"] == str(llava)


def test_faults_of_questions(llava: Path, tmp_path: Path) -> None:
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path)
    with pytest.raises(InputError) as error:
        evaluator.evaluate([None], {"none": [], "double": [TASKS["one"][0]] * 2})
    assert error.value.faults == (
        "none: no questions; leave the task out",
        "double: two questions have the id 'one-0'; give each its own",
    )


@pytest.mark.parametrize("name", ["nowhere/model", "empty"])
def test_missing_model_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    model = tmp_path / "empty" if name == "empty" else Path(name)
    with pytest.raises(InputError) as error:
        Evaluator(config(model), OPTIONS, tmp_path / "e").evaluate([None], TASKS)
    assert len(error.value.faults) == 1
    assert str(model) in error.value.faults[0]


def cell(letters: str, answers: str, target: str = "t") -> CellResult:
    """A cell with these predictions, ``-`` for none."""
    items = [
        ItemResult(id=str(k), item=str(k), outcome=RawAnswer(raw=said), predicted=None if said == "-" else said, answer=answer)
        for k, (said, answer) in enumerate(zip(letters, answers, strict=True))
    ]
    return CellResult(adapter=None, digest=None, key="", target=target, items=tuple(items), asked=0)


def test_counts_of_a_cell() -> None:
    before, after = cell("AABB-", "ABABA"), cell("ABBBA", "ABABA")
    assert (before.correct, before.unparsed, before.letters) == (2, 1, {"A": 2, "B": 2})
    assert after.score(run="0", source="s", base=before) == Score(
        run="0", source="s", target="t", accuracy=0.8, correct=4, total=5, both_correct=2
    )
    assert before.score(run="0", source=None).both_correct is None
    with pytest.raises(ValueError, match="other questions"):
        after.both_correct(cell("A", "A"))


def test_collapse_is_told_from_a_task_with_one_answer() -> None:
    assert cell("A" * 20, "AB" * 10).collapsed == "A"
    assert cell("A" * 20, "A" * 19 + "B").collapsed is None
    assert cell("AB" * 10, "AB" * 10).collapsed is None
    assert cell("-" * 20, "AB" * 10).collapsed is None


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_wilson_interval_by_hand(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
