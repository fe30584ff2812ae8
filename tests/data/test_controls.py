"""Rows that teach nothing of their task: which answers and prompts they get, and what decides that."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tvt.core.mixture import Mixture
from tvt.core.question import Question
from tvt.data.controls import Asked, Control, asked, control_faults, control_identity
from tvt.data.miniature import generate
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.questions.files import write_parquet

SOURCES = ("Counting", "Jigsaw", "Relative_Depth")


def rows(count: int = 400) -> dict[str, list[Question]]:
    return {source: list(generate(source, count, seed=0, split="train")) for source in SOURCES}


def control(kind: str, of: dict[str, list[Question]]) -> Control:
    return Control(kind=kind, prompts={source: asked(questions) for source, questions in of.items()})  # type: ignore[arg-type]


def test_shuffled_labels_are_drawn_among_a_rows_own_options() -> None:
    of = rows()
    placebo = control("shuffled", of)
    for source, questions in of.items():
        shown = [placebo.question(source, question) for question in questions]
        assert [(q.prompt, q.options, q.images) for q in shown] == [(q.prompt, q.options, q.images) for q in questions]
        counted = Counter(q.answer for q in shown)
        options = len(questions[0].options)
        assert set(counted) == set(questions[0].letters)
        assert max(counted.values()) < 1.5 * len(shown) / options  # each as often as any other, within five sigma
        right = sum(a.answer == b.answer for a, b in zip(shown, questions, strict=True)) / len(shown)
        assert abs(right - 1 / options) < 0.13  # chance


def test_format_shows_another_tasks_prompt_over_a_rows_own_pictures() -> None:
    of = rows()
    placebo = control("format", of)
    for source, questions in of.items():
        shown = [placebo.question(source, question) for question in questions]
        assert [q.images for q in shown] == [q.images for q in questions]
        others = {(q.prompt, q.options) for name in SOURCES if name != source for q in of[name]}
        assert {(q.prompt, q.options) for q in shown} == others  # all of them, and never its own
        assert all(q.answer in q.letters for q in shown)
        assert len({q.answer for q in shown}) > 1


def test_a_row_is_shown_alike_whatever_rows_are_shown_with_it() -> None:
    of = rows()
    placebo = control("format", of)
    forwards = [placebo.question("Jigsaw", question) for question in of["Jigsaw"]]
    backwards = [placebo.question("Jigsaw", question) for question in reversed(of["Jigsaw"])]
    assert forwards == backwards[::-1]


def test_numbers_are_answered_by_other_rows_numbers() -> None:
    numbers = [
        Question(id=str(k), task="Sizes", prompt=f"How large is {k}?", options=(), answer=str(k), images=()) for k in range(50)
    ]
    letters = [replace(q, task="Letters", prompt="Which?", options=("x", "y"), answer="A") for q in numbers]
    of = {"Sizes": numbers, "Letters": letters}
    shuffled = [control("shuffled", of).question("Sizes", q).answer for q in numbers]
    assert set(shuffled) <= {q.answer for q in numbers}
    assert sum(a == q.answer for a, q in zip(shuffled, numbers, strict=True)) < 10
    borrowed = [control("format", of).question("Letters", q) for q in letters]
    assert all(q.numeric and q.prompt.startswith("How large") for q in borrowed)


def test_two_tasks_that_ask_alike_lend_each_other_no_prompt() -> None:
    of = rows()
    of["Jigsaw_again"] = [replace(q, task="Jigsaw_again") for q in of["Jigsaw"]]
    shown = [control("format", of).question("Jigsaw", q) for q in of["Jigsaw"]]
    assert of["Jigsaw"][0].prompt not in {q.prompt for q in shown}


def test_what_makes_a_placebo_impossible_is_said_by_source() -> None:
    two, one = Asked("Which?", ("x", "y"), "A"), Asked("Which one?", ("x",), "A")
    (fault,) = control_faults("shuffled", {"Jigsaw": two, "Single": one})
    assert "rows of Single have one option" in fault
    (fault,) = control_faults("format", {"Jigsaw": two, "Copy": two})
    assert "all sources ask the same" in fault
    assert not list(control_faults("shuffled", {"Jigsaw": two, "Copy": two}))
    assert not list(control_faults("format", {"Jigsaw": two, "Other": replace_prompt(two)}))


def replace_prompt(of: Asked) -> Asked:
    return of._replace(prompt="What else?")


def test_identity_depends_on_other_sources_only_where_their_prompts_are_shown() -> None:
    before, after = {"A": "1", "B": "2"}, {"A": "1", "B": "3"}
    assert control_identity("shuffled", "A", before) == control_identity("shuffled", "A", after)
    assert control_identity("format", "A", before) != control_identity("format", "A", after)
    assert control_identity("shuffled", "A", before) != control_identity("format", "A", before)


@pytest.mark.parametrize("kind", ["shuffled", "format"])
def test_a_mix_of_placebo_rows_holds_what_the_control_says(kind: str, tmp_path: Path) -> None:
    of = rows(30)
    paths = {source: tmp_path / f"{source}.parquet" for source in SOURCES}
    for source, path in paths.items():
        write_parquet(of[source], path)
    placebo = control(kind, of)
    plan = plan_mix(Mixture.of_counts(dict.fromkeys(SOURCES, 20)), paths, seed=3, control=placebo)
    plain = plan_mix(Mixture.of_counts(dict.fromkeys(SOURCES, 20)), paths, seed=3)
    mixed, own = write_mix(plan, tmp_path / "mixed"), write_mix(plain, tmp_path / "own")
    assert mixed.record["digest"] != own.record["digest"]
    by_id = {(source, q.id): q for source, questions in of.items() for q in questions}
    tables = [pq.read_table(sorted((folder / "data").glob("*.parquet"))).to_pylist() for folder in (mixed.folder, own.folder)]
    for row, original in zip(*tables, strict=True):
        assert (row["source"], row["id"], row["images"]) == (original["source"], original["id"], original["images"])
        shown = placebo.question(row["source"], by_id[row["source"], row["id"]])
        assert row["prompt"][0]["content"] == shown.prompt
        assert row["completion"][0]["content"] == shown.answer
    assert json.loads((mixed.folder / "mix.json").read_text())["rows"] == 60
