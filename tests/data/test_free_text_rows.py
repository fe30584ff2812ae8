"""Rows answered by free text: several accepted answers, earlier turns, and that older files stay what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixing_rows import picture
from tvt.core.mixture import Mixture
from tvt.core.question import Question, Turn
from tvt.data.controls import shuffled
from tvt.data.dataset_check import Standards, check_dataset
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.checks import EvaluationSet, scan
from tvt.data.questions.files import open_questions, read_questions, write_jsonl, write_parquet
from tvt.data.task_questions import question_digests
from tvt.errors import InputError

LETTER = Question(id="l", task="T", prompt="Which?", options=("x", "y"), answer="B")
NUMBER = Question(id="n", task="T", prompt="How many?", options=(), answer="3")
TEXT = Question(
    id="t", task="T", prompt="What does it say?", options=(), answer="Café Milano", answers=("Café Milano", "cafe milano")
)
CONVERSATION = Question(
    id="c",
    task="T",
    prompt="And its colour?",
    options=(),
    answer="red",
    images=(picture(1),),
    turns=(Turn("What is it?", "A car."), Turn("Which make?", "Fiat")),
)
ROWS = [LETTER, NUMBER, TEXT, CONVERSATION]


def digest(path: Path, *questions: Question) -> str:
    write_jsonl(questions, path) if path.suffix == ".jsonl" else write_parquet(questions, path)
    return scan(open_questions(path)).digest


@pytest.mark.parametrize("name", ["q.jsonl", "q.parquet"])
def test_letters_numbers_texts_and_conversations_stand_in_one_file(tmp_path: Path, name: str) -> None:
    digest(tmp_path / name, *ROWS)
    assert list(read_questions(tmp_path / name)) == ROWS
    assert [q.open_ended for q in ROWS] == [False, True, True, True]
    assert [(q.numeric, q.free_text) for q in ROWS] == [(False, False), (True, False), (False, True), (False, True)]
    assert [q.accepted for q in ROWS] == [("B",), ("3",), TEXT.answers, ("red",)]


def test_older_questions_have_the_digests_that_they_had(tmp_path: Path) -> None:
    named = replace(LETTER, question="Which")
    assert digest(tmp_path / "q.jsonl", NUMBER, named) == "feb4212846da06e60fc148075df7f6e184261ff15a38a060ef584708694e93fe"
    assert [question.shown.hex() for question in question_digests([NUMBER, LETTER])] == [
        "d4e4045cf774f96f82f10f4c89636894",
        "16732beadd3289e765850dac84f87423",
    ]


def test_a_digest_is_of_answers_and_turns_too_whatever_the_file(tmp_path: Path) -> None:
    found = digest(tmp_path / "q.jsonl", *ROWS)
    assert digest(tmp_path / "q.parquet", *ROWS) == found
    pq.write_table(pq.read_table(tmp_path / "q.parquet"), tmp_path / "small.parquet", row_group_size=1)
    assert scan(open_questions(tmp_path / "small.parquet")).digest == found
    bare = Question(id="t", task="T", prompt=TEXT.prompt, options=(), answer=TEXT.answer)
    assert digest(tmp_path / "bare.jsonl", LETTER, NUMBER, bare, CONVERSATION) != found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": " "}, "empty, and so is the list of options"),
        ({"answers": ["other"]}, "the first of 'answers' is 'other'"),
        ({"answers": ["words", ""]}, "one of 'answers' is empty"),
        ({"answers": "words"}, "'answers' is no list of texts"),
        ({"options": ["x"], "answer": "A", "answers": ["A"]}, "'answers' is for questions without options"),
        ({"turns": [{"prompt": "Hi", "answer": ""}]}, "a turn has an empty prompt or answer"),
        ({"turns": [{"prompt": "Hi"}]}, "'turns' is no list of turns"),
        ({"turns": [["Hi", "Ho"]]}, "'turns' is no list of turns"),
    ],
)
def test_faulty_answers_and_turns_are_refused_by_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    row = {"id": "t", "task": "T", "prompt": "p", "options": [], "answer": "words", "images": [], **changes}
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError) as error:
        scan(open_questions(path))
    (fault,) = error.value.faults
    assert said in fault
    assert f"{path}:1" in fault


def test_turns_with_more_fields_are_read_from_parquet(tmp_path: Path) -> None:
    turn = {"answer": "A car.", "score": 1.0, "prompt": "What is it?"}
    row = {"id": "c", "task": "T", "prompt": "p", "options": [], "answer": "red", "images": [], "turns": [turn]}
    path = tmp_path / "q.parquet"
    images = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.Table.from_pylist([row]).set_column(5, "images", pa.array([[]], images))
    pq.write_table(table.set_column(3, "options", pa.array([[]], pa.list_(pa.string()))), path)
    (question,) = read_questions(path)
    assert question.turns == (Turn("What is it?", "A car."),)


def test_a_scored_question_is_found_in_an_earlier_turn(tmp_path: Path) -> None:
    scored = Question(id="e", task="T", prompt="Which  make?", options=(), answer="Fiat", images=CONVERSATION.images)
    write_jsonl([scored], tmp_path / "val.jsonl")
    write_jsonl(ROWS, tmp_path / "train.jsonl")
    evaluation = EvaluationSet()
    evaluation.add(tmp_path / "val.jsonl")
    assert [shared.row for shared in scan(open_questions(tmp_path / "train.jsonl"), evaluation).shared] == [3]
    other = EvaluationSet()
    write_jsonl([Question(id="e", task="T", prompt="Which make?", options=(), answer="Fiat")], tmp_path / "bare.jsonl")
    other.add(tmp_path / "bare.jsonl")
    assert not scan(open_questions(tmp_path / "train.jsonl"), other).shared, "another image is another question"


def test_a_mix_holds_each_answer_of_a_conversation_in_its_completion(tmp_path: Path) -> None:
    write_jsonl(ROWS, tmp_path / "t.jsonl")
    folder = write_mix(plan_mix(Mixture.of_counts({"T": 4}), {"T": tmp_path / "t.jsonl"}, seed=0), tmp_path / "mix").folder
    rows = {row["id"]: row for row in pq.read_table(folder / "data").to_pylist()}
    texts = {name: [[m["content"] for m in row[part]] for part in ("prompt", "completion")] for name, row in rows.items()}
    assert texts["l"] == [["Which?"], ["B"]]
    assert texts["t"] == [["What does it say?"], ["Café Milano"]]
    assert texts["c"] == [["What is it?"], ["A car.", "Which make?", "Fiat", "And its colour?", "red"]]
    assert [message["role"] for message in rows["c"]["completion"]] == ["assistant", "user"] * 2 + ["assistant"]


def test_answers_of_chance_leave_right_ones_out() -> None:
    changed = list(shuffled([TEXT, CONVERSATION], 1.0, "T"))
    assert [(q.answers, q.turns) for q in changed] == [((), ())] * 2


def test_a_letter_without_options_is_worth_knowing(tmp_path: Path) -> None:
    lost = Question(id="x", task="T", prompt="Which one?", options=(), answer="B")
    write_jsonl([lost, TEXT], tmp_path / "q.jsonl")
    report = check_dataset(tmp_path / "q.jsonl", Standards())
    (finding,) = [finding for finding in report.warnings if finding.kind == "letter without options"]
    assert "1 of 2 open-ended rows" in finding.message
