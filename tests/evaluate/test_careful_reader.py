"""The careful reader of answers: no letter is preferred, what is around an answer changes nothing, and real styles are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tvt
from answer_forms import AROUND, COLOURS, as_json, forms
from commands import ROOT
from tvt.core.question import LETTERS
from tvt.evaluate.readers.numbers import LONGEST, parts

OPTIONS: dict[str, tuple[str, ...]] = {
    "colours": COLOURS[:4],
    "second-third": ("the second image", "the third image"),
    "four-images": ("the first image", "the second image", "the third image", "the fourth image"),
    "points": ("Point A", "Point B", "Point C", "Point D"),
    "pictures": ("picture A", "picture B", "picture C", "picture D"),
    "closer": ("A is closer", "B is closer"),
    "darker": ("A is darker", "B is darker", "About the same"),
    "boxes": ("Box A", "Box B"),
    "yes-no": ("yes", "no"),
    "left-right": ("left", "right"),
    "counts": ("0", "3", "2", "1"),
    "reversed-labels": ("Point B", "Point A"),
    "directions": ("front-left", "front-right", "back-left", "back-right"),
    "objects": ("chair", "table", "sofa", "lamp"),
    "orders": ("blanket, trash can, plant", "trash can, blanket, plant", "plant, blanket, trash can"),
    "turns": ("Turn Left", "Turn Right", "Turn Back"),
}


def table() -> Iterator[tuple[str, str, str, str | None]]:
    """Style, options, answer and its reading by a person; ``-`` in the file is unread."""
    lines = (ROOT / "tests" / "evaluate" / "answers" / "answers.tsv").read_text(encoding="utf-8").split("\n")
    for line in filter(None, lines[1:]):
        style, options, reading, answer = line.split("\t")
        plain = re.sub(r"\\(\\|n)", lambda match: "\n" if match.group(1) == "n" else "\\", answer)
        yield style, options, plain, None if reading == "-" else reading


STYLES = list(dict.fromkeys(style for style, _, _, _ in table()))


@pytest.mark.parametrize("style", STYLES)
def test_answers_are_read_as_a_person_reads_them(style: str) -> None:
    wrong = [
        (options, answer, f"{found} instead of {reading}")
        for of, options, answer, reading in table()
        if of == style and (found := tvt.read_answer(answer, OPTIONS[options])) != reading
    ]
    assert not wrong


def test_the_table_is_broad_and_no_letter_is_most_of_it() -> None:
    rows = list(table())
    readings = Counter(reading for _, _, _, reading in rows)
    assert len(rows) > 1500
    assert readings[None] > 200, "what names nothing is part of it"
    assert min(readings[letter] for letter in "ABCD") > 30


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("place", range(6))
def test_a_form_that_names_one_letter_names_every_letter(place: int, count: int) -> None:
    if place >= count:
        return
    options, letter = COLOURS[:count], LETTERS[place]
    said = [form.format(x=letter, l=letter.lower(), t=options[place]) for form in forms("letter_forms", "text_forms")]
    assert {answer: tvt.read_answer(answer, options) for answer in said} == dict.fromkeys(said, letter)


def pairs(count: int) -> Iterator[tuple[str, str]]:
    return ((x, y) for x in LETTERS[:count] for y in LETTERS[:count] if x != y)


@pytest.mark.parametrize(("x", "y"), list(pairs(4)))
def test_of_two_options_the_right_one_is_read_whatever_their_letters(x: str, y: str) -> None:
    said = [form.format(x=x, y=y) for form in forms("contrasts")]
    assert {answer: tvt.read_answer(answer, COLOURS[:4]) for answer in said} == dict.fromkeys(said, x)


@pytest.mark.parametrize(("x", "y"), list(pairs(4)))
def test_a_sentence_that_names_no_single_option_is_unread(x: str, y: str) -> None:
    said = [form.format(x=x, y=y) for form in forms("undecided")]
    assert {answer: tvt.read_answer(answer, COLOURS[:4]) for answer in said} == dict.fromkeys(said)


@pytest.mark.parametrize("x", "ABCD")
def test_what_is_around_an_answer_changes_nothing(x: str) -> None:
    y, z = (letter for letter in "ABCD" if letter != x and letter in "ABC"[: 3 if x != "D" else 2])
    place = LETTERS.index(x)
    for form in forms("letter_forms", "text_forms"):
        sentence = form.format(x=x, l=x.lower(), t=COLOURS[place])
        around = [frame.format(s=sentence, y=y, z=z) for frame in AROUND] + as_json(sentence, y)
        assert {answer: tvt.read_answer(answer, COLOURS[:4]) for answer in around} == dict.fromkeys(around, x)


@pytest.mark.parametrize(("x", "y"), list(pairs(3)))
def test_what_is_around_no_answer_makes_none(x: str, y: str) -> None:
    for form in forms("undecided"):
        if "<think>" not in form:
            sentence = form.format(x=x, y=y)
            around = [frame.format(s=sentence, y=y, z="D") for frame in AROUND] + as_json(sentence, y)
            assert {answer: tvt.read_answer(answer, COLOURS[:4]) for answer in around} == dict.fromkeys(around)


LABELLED = [
    "Point {x}",
    "Point {x} corresponds to the reference point.",
    "The reference point corresponds to point {x}.",
    "The corresponding point is labeled {x}.",
    "The point that corresponds to REF is {x}.",
    "{x} is at the same position as REF.",
    "Point {x} most closely matches the reference point, while point {y} is on another part.",
    "Point {y} is on the blade. Point {x} is on the handle, as is REF. Therefore, the answer is point {x}.",
    "Point {y} is on the blade. Point {x} corresponds to REF.",
    "Points {y} and {z} are on other parts, so {x} is the answer.",
    "Among points {y}, {z} and {x}, point {x} is the closest match.",
    "Not point {y} or {z}, but {x}.",
]


def test_labels_in_options_are_read_like_letters() -> None:
    options = OPTIONS["points"]
    for x, y in pairs(4):
        z = next(letter for letter in "ABCD" if letter not in (x, y))
        for form in LABELLED:
            answer = form.format(x=x, y=y, z=z)
            assert (answer, tvt.read_answer(answer, options)) == (answer, x)


def test_relabelled_options_relabel_the_reading() -> None:
    """The same words, with options in another order: the letter follows its text."""
    answers = (
        "The car is {}.",
        "It is {}, not {}.",
        "The answer is {}.",
        "{}",
        "Therefore, the car is {}.",
        "I'd say it's {}.",
    )
    for turn in range(4):
        options = (*COLOURS[turn:4], *COLOURS[:turn])
        for place, colour in enumerate(options):
            for form in answers:
                assert tvt.read_answer(form.format(colour, options[place - 1]), options) == LETTERS[place]


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["(A)", "B", "is", "not", "the answer", "red", "\n", ".", "or", "<think>"])).map(" ".join)
)
def test_no_text_breaks_it_and_no_letter_is_invented(answer: str) -> None:
    assert tvt.read_answer(answer, COLOURS[:4]) in (None, *"ABCD")


@pytest.mark.parametrize(
    "piece", ["A A A (((", "(", "\n", "A, B, ", "\\boxed{", "{", "the answer is ", "not ", "the first, second ", "**", "no "]
)
def test_a_long_answer_is_read_in_a_bounded_part(piece: str) -> None:
    long = piece * (100_000 // len(piece))
    assert all(len(part) <= 2 * LONGEST for part in parts(long))
    assert tvt.read_answer(f"{long}\n\nThe answer is (B).", COLOURS[:4]) in ("B", None)


def test_the_end_of_a_long_answer_counts() -> None:
    assert tvt.read_answer("The car stands on the road. " * 5000 + "\n\nThe answer is (B).", COLOURS[:4]) == "B"


@pytest.mark.parametrize(
    ("options", "answer", "letter"), [(("a dog", "a cat"), "It is a cat.", "B"), (("upper left", "left"), "left", "B")]
)
def test_texts_that_begin_with_an_article_or_hold_another(options: Sequence[str], answer: str, letter: str) -> None:
    assert tvt.read_answer(answer, options) == letter
