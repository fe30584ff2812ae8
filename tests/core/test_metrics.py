"""The metrics of open-ended answers, held against cases that were worked by hand from their published definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.core.choices import METRICS
from tvt.core.metrics import Metric, metric_of
from tvt.core.question import Question
from tvt.core.vqa_text import vqa_normal_form

TEN = ["yes"] * 3 + ["no"] * 5 + ["Maybe", "the dog"]

CASES = [
    ("exact_match", "The  Café, Milano!", ["cafe", "café milano"], 1.0),
    ("exact_match", "café milanese", ["café milano"], 0.0),
    ("exact_match", "3.0", ["3"], 1.0),
    ("exact_match", "-3", ["3"], 0.0),
    ("exact_match", "1.5 kg", ["15 kg"], 0.0),
    ("exact_match", "well-known", ["well known"], 1.0),
    ("exact_match", "the", ["A"], 0.0),
    ("exact_match", "a", ["A"], 1.0),
    ("exact_match", "", ["x"], 0.0),
    ("exact_match", "「東京」", ["東京"], 1.0),
    ("contains", "I think it is a red Fiat.", ["red fiat"], 1.0),
    ("contains", "It is unknown.", ["no"], 0.0),
    ("contains", "No, it is not.", ["no"], 1.0),
    ("contains", "There are 21 of them", ["1"], 0.0),
    ("contains", "It costs 1.5 euros", ["1"], 0.0),
    ("contains", "It costs 1.5 euros", ["5"], 0.0),
    ("contains", "It costs 1. Or so.", ["1"], 1.0),
    ("contains", "x", [" "], 0.0),
    ("contains", "これは東京です", ["東京"], 1.0),
    ("vqa_accuracy", "Yes.", TEN, 0.9),  # 3 x 2/3 + 7 x 1, of 10
    ("vqa_accuracy", "no", TEN, 1.0),
    ("vqa_accuracy", "maybe", TEN, 0.3),  # 1 x 0 + 9 x 1/3
    ("vqa_accuracy", "a dog", TEN, 0.3),
    ("vqa_accuracy", "cat", TEN, 0.0),
    ("vqa_accuracy", "two", ["2", "2", "two", "3", "3", "3", "3", "3", "3", "3"], 0.9),
    ("vqa_accuracy", "2", ["2", "two", "3", "3", "3", "3", "3", "3", "3", "3"], 0.6),  # 2 x 1/3 + 8 x 2/3
    ("anls", "Hello World", ["hello world"], 1.0),
    ("anls", "Helo World", ["Hello World"], 1 - 1 / 11),
    ("anls", "ab", ["abcd"], 0.5),  # the evaluation script, not the paper, where this is 0
    ("anls", "abc", ["abcdefg"], 0.0),  # 3/7
    ("anls", "kitten", ["mitten", "sitting"], 1 - 1 / 6),
    ("relaxed_accuracy", "105", ["100"], 1.0),
    ("relaxed_accuracy", "94.9", ["100"], 0.0),
    ("relaxed_accuracy", "-95", ["-100"], 1.0),
    ("relaxed_accuracy", "5%", ["0.05"], 1.0),
    ("relaxed_accuracy", "5%", ["5"], 0.0),
    ("relaxed_accuracy", "0", ["0"], 1.0),
    ("relaxed_accuracy", "0.0", ["0"], 0.0),  # of 0 there are no 5%
    ("relaxed_accuracy", "Blue ", ["blue"], 1.0),
    ("relaxed_accuracy", "dark blue", ["blue"], 0.0),
    ("number", "12.0", ["11", "12"], 1.0),
    ("number", "12.1", ["12"], 0.0),
    ("mra", "3", ["4"], 0.6),
]


@pytest.mark.parametrize(("name", "said", "accepted", "worth"), CASES)
def test_an_answer_is_worth_what_the_definition_says(name: str, said: str, accepted: list[str], worth: float) -> None:
    assert METRICS.find(name).score(said, accepted) == pytest.approx(worth, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The two dogs", "2 dogs"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("10,000", "10000"),
        ("left/right", "left right"),
        ("red, blue", "red blue"),
        ("2.5 a.m.", "2.5 am"),
        ("none", "0"),
        ("an\tapple\n", "apple"),
    ],
)
def test_vqa_normalises_articles_digits_contractions_and_punctuation(text: str, normal: str) -> None:
    assert vqa_normal_form(text) == normal


@pytest.mark.parametrize("name", [name for name in METRICS.names if METRICS.find(name).reads == "text"])
@given(said=st.text(max_size=20), accepted=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10))
def test_scores_lie_between_0_and_1(name: str, said: str, accepted: list[str]) -> None:
    metric: Metric = METRICS.find(name)
    assert 0 <= metric.score(said, accepted) <= 1
    assert metric.score(accepted[0], [accepted[0]] * 4) == 1


def test_what_a_metric_cannot_score_is_refused_with_a_step() -> None:
    assert METRICS.find("vqa_accuracy").fault(["a"] * 4) is None
    assert "this has 1; fill them in, or take metric: exact_match" in METRICS.find("vqa_accuracy").fault(["a"])
    for name in ("number", "mra"):
        assert METRICS.find(name).fault(["3", "4.5"]) is None
        assert "the right answer 'three' is no number" in METRICS.find(name).fault(["3", "three"])


def test_numbers_and_text_have_their_metric_where_nobody_names_one() -> None:
    number = Question(id="n", task="T", prompt="p", options=(), answer="3")
    text = Question(id="t", task="T", prompt="p", options=(), answer="three")
    named = Question(id="m", task="T", prompt="p", options=(), answer="3", metric="anls")
    letter = Question(id="l", task="T", prompt="p", options=("x",), answer="A", metric="anls")
    assert [q.scored_by for q in (number, text, named, letter)] == ["mra", "exact_match", "anls", "accuracy"]
    assert metric_of(letter) is None
    assert metric_of(named) is METRICS.find("anls")
    assert all(METRICS.find(name).name == name for name in METRICS.names)
