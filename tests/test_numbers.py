"""Numbers in free answers: what tvt reads, and what the benchmark's own code would."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.evaluate.extraction import Manner
from tvt.evaluate.numbers import READERS, benchmark, careful


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3", 3),
        ("3.", 3),
        (" 3.5\n", 3.5),
        (".5", 0.5),
        ("-2", -2),
        ("−2", -2),
        ("1e2", 100),
        ("3.5m", 3.5),
        ("12.5 m²", 12.5),
        ("about 3.5 meters", 3.5),
        ("Approximately 3.5 meters.", 3.5),
        ("~4", 4),
        ("1,200", 1200),
        ("1,234,567.5 square meters", 1234567.5),
        ("**7**", 7),
        ("There are 4 chairs in this room.", 4),
        ("4 chairs (so 4)", 4),
        ("The answer is 12.", 12),
        ("I see 2 by the door and 1 at the table. The answer is 3", 3),
        ("2 + 1: the total is about 3.0", 3),
        (r"So $\boxed{42}$ of the 50", 42),
        ("First 2, then 5.\n\nThere are 7.", 7),
        ("three", 3),
        ("Three chairs.", 3),
        ("There is one chair.", 1),
        ("One", 1),
        ("twenty-one", 21),
        ("There are twelve.", 12),
        ("zero", 0),
        ("not 3 but 4", 4),
        # No number, or more than one.
        ("", None),
        ("many", None),
        ("2 or 3", None),
        ("2-3", None),
        ("2–3 meters", None),
        ("between 2 and 3 meters", None),
        ("2 meters to 3 meters", None),
        ("The answer is 2 or 3.", None),
        ("two or three", None),
        ("3,5", None),
        ("1/2", None),
        ("1.2.3", None),
        ("5 feet 6 inches", None),
        ("the one by the door", None),
        ("room2", None),
        ("It is not 3.", None),
        ("nan", None),
        ("1e999", None),
    ],
)
def test_careful(answer: str, number: float | None) -> None:
    assert careful(answer) == number


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3", 3),
        ("3.", 3),
        ("3.5 meters", 3.5),
        ("3...", 3),
        ("1e2", 100),
        ("2 or 3", 2),
        ("-2", -2),
        ("3\n", 3),
        (" 3", None),  # the text before the first space is empty
        ("3m", None),
        ("1,200", None),
        ("about 3.5", None),
        ("three", None),
        ("3\nmeters", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_as_the_benchmark_reads(answer: str, number: float | None) -> None:
    assert benchmark(answer) == number


def test_every_manner_has_a_reader() -> None:
    assert [READERS[manner] for manner in get_args(Manner)] == [careful, benchmark, benchmark, benchmark]


@given(st.floats(0.01, 1e6).map(lambda x: round(x, 2)), st.sampled_from(["{}", "{} meters", "about {} m", "It is {}."]))
def test_a_plain_number_is_read_in_any_words(value: float, words: str) -> None:
    assert careful(words.format(value)) == value


@given(st.text(max_size=60))
def test_no_text_breaks_a_reader(text: str) -> None:
    for read in READERS.values():
        found = read(text)
        assert found is None or isinstance(found, float)
