"""``scripts/check-trainers`` must see what trainers have been seen to do: its comparison is held against each of that."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest

from commands import ROOT

pytest.importorskip("torch")

import torch

from check_trainers import compare
from check_trainers.compare import Example, Reader
from check_trainers.trainers import TRAINERS, for_one_step
from check_trainers.world import COUNTS, write_world

START, IMAGE, END, PAD = 1, 2, 3, 0


class Words:
    """A tokenizer of numbers."""

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"<|vision_start|>": START, "<|image_pad|>": IMAGE, "<|im_end|>": END}[token]

    def decode(self, ids: Any) -> str:
        return "".join("<|im_end|>" if token == END else f"{token} " for token in ids)


READER = Reader(Words())


def example(question: int, *answers: int, picture: float | None = None) -> Example:
    """A row: perhaps a picture of two patches, a question, and answers, of which each is trained with the end of its turn."""
    ids, trained = ([START, IMAGE, IMAGE], [False] * 3) if picture is not None else ([], [])
    for answer in answers:
        ids, trained = [*ids, question, 9, answer, END], [*trained, False, False, True, True]
    pictures = () if picture is None else (torch.full((2, 4), picture),)
    return Example(tuple(ids), tuple(trained), pictures)


ROWS = [example(20, 30), example(21, 31, picture=0.5), example(21, 31, picture=-0.5), example(22, 30, 31)]


def faults(found: list[Example]) -> list[str]:
    return compare.compare(READER, ROWS, found).faults


def test_the_same_rows_in_any_order_do_not_differ() -> None:
    assert faults(ROWS[::-1]) == []
    result = compare.compare(READER, ROWS, ROWS)
    assert (result.rows, result.images, dict(result.ends)) == (4, 2, {"<|im_end|>": 4})


@pytest.mark.parametrize(
    ("found", "messages"),
    [
        (ROWS[:-1], ["3 rows were trained, tvt trains 4", "a row was not trained"]),
        (
            [*ROWS[:-1], ROWS[0]],
            ["a row was not trained", "a row was trained that tvt does not train"],
        ),  # ms-swift's replacement
        ([*ROWS, ROWS[0]], ["5 rows were trained", "a row was trained that tvt does not"]),
        ([replace(ROWS[0], trained=(True,) * 4), *ROWS[1:]], ["the trained tokens are"]),  # axolotl's whole conversation
        ([ROWS[0], replace(ROWS[1], pictures=(torch.zeros(2, 4),)), *ROWS[2:]], ["a picture differs by 0.500"]),
        (
            [ROWS[0], replace(ROWS[1], pictures=(torch.zeros(1, 4),)), *ROWS[2:]],
            ["a picture differs by 1.000", "pictures of [(1, 4)] patches"],  # the question is asked of another picture too
        ),
        (
            [*ROWS[:3], replace(ROWS[3], trained=(False,) * 6 + (True,) * 2)],
            ["the trained tokens are"],
        ),  # the last answer alone
    ],
)
def test_every_kind_of_difference_is_named(found: list[Example], messages: list[str]) -> None:
    lines = faults(found)
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert message in line


def test_batches_are_divided_into_rows_with_their_own_pictures() -> None:
    batch = {
        "input_ids": torch.tensor([[START, IMAGE, IMAGE, 20, 30, END], [PAD, PAD, PAD, 21, 31, END]]),
        "attention_mask": torch.tensor([[1] * 6, [0, 0, 0, 1, 1, 1]]),
        "labels": torch.tensor([[-100] * 4 + [30, END], [-100] * 4 + [31, END]]),
        "pixel_values": torch.arange(8.0).reshape(2, 4),
        "image_grid_thw": torch.tensor([[1, 1, 2]]),
    }
    first, second = READER.examples(batch)
    assert first.pictures[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (second.ids, second.trained, second.pictures) == ((21, 31, END), (False, True, True), ())
    with pytest.raises(ValueError, match="1 pictures more"):
        list(READER.examples({**batch, "input_ids": torch.full((2, 6), 20)}))


def test_answers_of_a_conversation_are_rows_for_trl() -> None:
    one, two = compare.split_answers([ROWS[3]])
    assert READER.answers(one) == ("30 ",)
    assert READER.answers(two) == ("31 ",)
    assert two.ids == ROWS[3].ids
    assert compare.split_answers(ROWS[:1]) == ROWS[:1]


def test_one_step_takes_all_rows() -> None:
    for trainer in TRAINERS.values():
        config = for_one_step(trainer, {"seed": 0, trainer.batch: 9}, 41)
        assert config["seed"] == 0
        assert config[trainer.batch] * config["gradient_accumulation_steps"] >= 41


def test_the_world_has_what_has_gone_wrong(tmp_path: Any) -> None:
    from tvt.data.questions.files import open_questions

    _, data = write_world(tmp_path)
    rows = {name: list(open_questions(path).questions(range(open_questions(path).rows))) for name, path in data.items()}
    assert all("#" in path.name and "," in path.name for path in data.values())
    images = {name: {len(row.images) for row in questions} for name, questions in rows.items()}
    assert sorted(map(sorted, images.values())) == [[0], [1], [1], [1], [3]]
    assert len(rows["Counting, #1"]) * 2 < COUNTS["Counting, #1"]  # used twice and a half
    assert {len(row.turns) for row in rows["Conversations"]} == {2}


def test_an_unknown_trainer_is_refused() -> None:
    done = subprocess.run([str(ROOT / "scripts" / "check-trainers"), "axolotle"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'axolotl'?" in done.stderr
