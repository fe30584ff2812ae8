"""A study with a free-text source and target: planned, trained, scored by its metric, compared and verified as others are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("trl")

import study_world
import tiny_vlm
from tvt.api.runs import run_study
from tvt.cli.evaluate import command as evaluate
from tvt.cli.study import command as study
from tvt.core.choices import METRICS
from tvt.core.question import Question, Turn
from tvt.data.questions.files import write_jsonl
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.store import AnswerStore
from tvt.io.yaml_files import load_recipe
from tvt.study.plan import load_study_plan
from tvt.study.session import open_session
from tvt.study.store import Store
from tvt.study.verify import FinishedRun, verify_run

WORDS = ("ba", "bab", "abba")


def signs(count: int, seed: int, *, task: str = "Signs") -> list[Question]:
    """What a sign says; every third row is the end of a conversation."""
    rows = []
    for k in range(count):
        word = WORDS[k % len(WORDS)]
        turns = (Turn("What is it?", "A sign."),) if k % 3 == 0 else ()
        rows.append(
            Question(
                id=f"{seed}-{k}",
                task=task,
                prompt=f"{seed}.{k}: what does it say?",
                options=(),
                answer=word,
                answers=(word, word.upper()),
                images=(tiny_vlm.picture(seed + k),),
                turns=turns,
            )
        )
    return rows


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A task with letters and one with free text, scored by ANLS."""
    tiny_vlm.save(tmp_path / "model", "qwen", layers=2, said="abAB")
    study_world.write_task(tmp_path / "tasks", "Alpha")
    write_jsonl(signs(24, 1000), tmp_path / "tasks" / "signs-train.jsonl")
    write_jsonl(signs(9, 5000), tmp_path / "tasks" / "signs-val.jsonl")
    manifest = {
        "name": "Signs",
        "training": {"path": "signs-train.jsonl"},
        "evaluation": {"path": "signs-val.jsonl", "metric": "anls"},
    }
    (tmp_path / "tasks" / "signs.yaml").write_text(yaml.safe_dump(manifest))
    study_world.write_recipe(
        tmp_path,
        sources=["Signs", "Alpha"],
        targets=["Signs", "Alpha"],
        budget=24,
        evaluation={"mode": "generate", "max_new_tokens": 4},
    )
    return tmp_path


def test_a_free_text_target_is_trained_and_scored_in_a_study(world: Path) -> None:
    matrix = run_study(world / "recipe.yaml", world / "study")
    (folder,) = [path for path in (world / "study" / "answers").glob("*") if _adapter(path) is None]
    items, record = AnswerStore.reopen(folder).finished("Signs")
    assert record["metric"] == "anls"
    anls = METRICS.find("anls")
    questions = {question.id: question for question in signs(9, 5000)}
    for item in items:
        right = questions[item["id"]]
        assert item["credit"] == anls.score(item["raw"].strip(), right.accepted)
    assert record["correct"] == pytest.approx(sum(item["credit"] for item in items))
    files = (world / "study" / "answers").glob("*/Signs.items.jsonl")
    assert any(0 < item["credit"] < 1 for path in files for item in lines(path)), "else nothing is graded here"
    assert set(matrix.targets) == {"Signs", "Alpha"}
    store = Store(world / "study")
    assert len([run for run in store.known() if isinstance(verify_run(store, run), FinishedRun)]) == 3


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _adapter(folder: Path) -> str | None:
    adapter: str | None = json.loads((folder / "identity.json").read_text())["identity"]["adapter"]
    return adapter


def test_a_plan_says_the_metric_and_refuses_scoring_by_letters(world: Path) -> None:
    shown = CliRunner().invoke(study, ["plan", str(world / "recipe.yaml")], catch_exceptions=False).output
    assert "scored by ANLS: Signs" in shown
    told = json.loads(CliRunner().invoke(study, ["plan", str(world / "recipe.yaml"), "--json"]).stdout)
    assert told["metrics"] == {"Signs": "anls"}
    with pytest.raises(InputError) as error:
        load_study_plan(load_recipe(world / "recipe.yaml", ["evaluation.mode=options"]), planning=True)
    (fault,) = error.value.faults
    assert "is answered by free text (ANLS), and mode 'options' scores letters alone" in fault
    assert "evaluation.mode: generate" in fault


def test_the_metric_is_part_of_what_names_a_score(world: Path) -> None:
    def keys() -> dict[str, str]:
        plan = load_study_plan(load_recipe(world / "recipe.yaml"))
        return {target: digest for (target, _), digest in plan.questions.items()}

    before = keys()
    path = world / "tasks" / "signs.yaml"
    path.write_text(path.read_text().replace("anls", "contains"))
    after = keys()
    assert after["Signs"] != before["Signs"]
    assert after["Alpha"] == before["Alpha"]


def test_another_metric_judges_anew_and_asks_nothing(world: Path) -> None:
    recipe = load_recipe(world / "recipe.yaml")
    asked = signs(9, 5000)
    cells = {}
    for metric in ("exact_match", "anls", "contains"):
        named = [Question(**{**_fields(question), "metric": metric}) for question in asked]
        (cells[metric],) = Evaluator(recipe.model, recipe.evaluation, world / "e").evaluate([None], {"Signs": named})
    assert [cells[metric]["Signs"].asked for metric in cells] == [9, 0, 0]
    assert [cells[metric]["Signs"].metric for metric in cells] == list(cells)


def _fields(question: Question) -> dict[str, object]:
    return {name: getattr(question, name) for name in Question.__dataclass_fields__}


def test_evaluate_takes_a_metric_for_files(world: Path) -> None:
    given = ["--model", str(world / "model"), "--dtype", "float32", "--questions", f"S={world / 'tasks' / 'signs-val.jsonl'}"]
    given += ["-o", str(world / "e"), "--mode", "generate", "--max-new-tokens", "1"]
    first = CliRunner().invoke(evaluate, [*given, "--metric", "anls", "--json"], catch_exceptions=False)
    assert "9 of 9 right answers are longer than max_new_tokens = 1" in first.stderr
    told = json.loads(first.stdout)
    assert told["results"][0]["tasks"]["S"]["metric"] == "anls"
    shown = CliRunner().invoke(evaluate, given, catch_exceptions=False)
    assert "exact match" in shown.output
    with pytest.raises(InputError, match=r"question 5000-0: VQA accuracy compares .* and this has 2"):
        CliRunner().invoke(evaluate, [*given, "--metric", "vqa_accuracy"], catch_exceptions=False)
    with pytest.raises(InputError, match="mode 'options' scores letters alone"):
        CliRunner().invoke(evaluate, [*given, "--mode", "options"], catch_exceptions=False)


def test_rows_of_free_text_are_checked_against_their_metric(world: Path) -> None:
    session = open_session(load_recipe(world / "recipe.yaml"), world / "study", str)
    assert session.study.metrics == {"Signs": "anls", "Alpha": "accuracy"}
    path = world / "tasks" / "signs.yaml"
    path.write_text(path.read_text().replace("anls", "number"))
    with pytest.raises(InputError, match="the right answer 'ba' is no number"):
        load_study_plan(load_recipe(world / "recipe.yaml"))
