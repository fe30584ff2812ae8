"""The registry of readers, and one table of answers as three of them read it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tvt
from tvt.core.choices import READERS
from tvt.errors import InputError
from tvt.evaluate.readers import OLD_NAMES, find_reader, read_answer

careful, official, lmms_eval = (find_reader(name).read_letter for name in ("careful", "official", "lmms-eval-0.7.2"))

FOUR = ("a red cup", "a dog", "upper left", "left")

# answer, official, lmms-eval-0.7.2, careful
CASES: list[tuple[str, str | None, str | None, str | None]] = [
    ("B", "B", "B", "B"),
    ("(B)", "B", "B", "B"),
    ("b", None, "B", "B"),
    ("(b)", None, "B", "B"),
    ("B.", None, "B", "B"),
    ("B)", None, "B", "B"),
    (" (B) ", "B", "B", "B"),
    (" B", None, "B", "B"),
    ("(B) a dog", "B", "B", "B"),
    ("B. a dog", None, "B", "B"),
    ("B: a dog", None, "B", "B"),
    ("Answer: B", None, "A", "B"),
    ("Answer: (B)", "B", "A", "B"),
    ("answer: b", None, "A", "B"),
    ("The answer is (B)", "B", "T", "B"),
    ("The answer is (B).", None, "T", "B"),
    ("The answer is B.", None, "T", "B"),
    ("The correct answer is: B", None, "T", "B"),
    ("The answer is option C", None, "T", "C"),
    ("The answer is a dog", None, "T", "B"),
    ("The answer is B because (A) has no tail", "A", "T", "B"),
    ("**B**", None, None, "B"),
    ("**(B)**", None, None, "B"),
    ("**Answer: (B)**", None, None, "B"),
    ("$\\boxed{B}$", None, None, "B"),
    ("\\boxed{(C)}", None, None, "C"),
    ("a dog", None, "A", "B"),
    ("It is a dog.", None, "I", "B"),
    ("upper left", None, "U", "C"),
    ("Left", None, "L", "D"),
    ("A dog or a red cup", None, "A", None),
    ("A cat", None, "A", None),
    ("I think B", None, "I", "B"),
    ("I cannot tell.", None, "I", None),
    ("E", "E", "E", None),
    ("(E)", "E", "E", None),
    ("F", None, "F", None),
    ("", None, None, None),
    ("   ", None, None, None),
    ("42", None, None, None),
    ("(A) or (B)", None, "A", None),
    ("(A) has no tail.\n\nSo it must be (B)", "B", "A", "B"),
    ("(A) no\n\n(C) no\n\nneither", None, "A", None),
    ("(B) here\n\nnothing at the end", "B", "B", "B"),
    ("A. a red cup\nB. a dog\nC. upper left\nD. left", None, "A", None),
    ("Not (A) but (C)", None, "N", "C"),
    ("It is not A.", None, "I", None),
    ("(B)," + " word" * 300, None, "B", "B"),
    ("Looking closely at the picture. " * 20 + "Therefore, the answer is (D).", None, "L", "D"),
    ("First I thought the answer is A. In the end the answer is C.", None, "F", "C"),
]


@pytest.mark.parametrize(("answer", "by_official", "by_lmms", "by_careful"), CASES, ids=[repr(case[0][:40]) for case in CASES])
def test_table(answer: str, by_official: str | None, by_lmms: str | None, by_careful: str | None) -> None:
    assert official(answer, FOUR) == by_official
    assert lmms_eval(answer, FOUR) == by_lmms
    assert careful(answer, FOUR) == by_careful


def test_official_knows_only_the_options_that_there_are() -> None:
    assert official("it is (C) surely", FOUR[:2]) is None
    assert official("it is (B) surely", FOUR[:2]) == "B"


def test_numbers_as_options() -> None:
    counts = ("1", "2", "3", "12")
    assert careful("There are 12 cups", counts) == "D"
    assert careful("3", counts) == "C"


def test_yes_and_no() -> None:
    assert careful("Yes, the cup is behind it.", ("yes", "no")) == "A"
    assert careful("No", ("yes", "no")) == "B"


def test_points_as_options() -> None:
    assert careful("Point A is closer to the camera", ("Point A", "Point B")) == "A"
    assert careful("B is closer", ("A is closer", "B is closer")) == "B"


PIECES = st.lists(
    st.sampled_from(
        ["(A)", "(B)", "(C)", "A", "b", "**B**", "answer", "is", ":", ".", "\n\n", "\n", " ", "(", ")", "dog", "é", ""]
    ),
    max_size=8,
).map("".join)


@given(PIECES)
def test_lmms_eval_is_a_first_letter_after_brackets(answer: str) -> None:
    """The behaviour as a pattern: any brackets and blanks, then a letter."""
    found = re.match(r"[(\s]*([A-Za-z])", answer.strip())
    assert lmms_eval(answer, FOUR) == (found.group(1).upper() if found else None)


@given(PIECES)
def test_official_behaviour_by_cases(answer: str) -> None:
    """The behaviour written out as its source decides it: short answers, then one marked letter overall or at the end."""
    marked = {f"({letter})" for letter in "ABCD"}
    overall, last = marked & set(answer.split()), marked & set(answer.rsplit("\n\n", maxsplit=1)[-1].split())
    if answer in [*"ABCDE", "(A)", "(B)", "(C)", "(D)", "(E)"]:
        expected = answer.strip("()")
    elif (len(overall) != 1 and len(last) != 1) or not overall:
        expected = None
    else:
        expected = next(iter(last if len(last) == 1 else overall)).strip("()")
    assert official(answer, FOUR) == expected


@pytest.mark.parametrize("name", READERS.names)
@given(answer=st.text(max_size=60))
def test_never_breaks_and_never_invents_letters(name: str, answer: str) -> None:
    found = read_answer(answer, FOUR, reader=name)
    if name in ("careful", "vsi-bench", "lmms-eval-0.7.3"):
        assert found in (None, *"ABCD")
    elif name == "official":
        assert found in (None, *"ABCDE")


def test_every_reader_has_a_name_a_version_and_a_title() -> None:
    assert READERS.names == ("careful", "official", "lmms-eval-0.7.2", "lmms-eval-0.7.3", "vsi-bench")
    assert all(reader.version >= 1 and reader.title for reader in READERS)
    assert len({reader.title for reader in READERS}) == len(READERS.names)


def test_an_old_name_means_a_version() -> None:
    assert OLD_NAMES == {"lmms-eval": "lmms-eval-0.7.2"}
    assert find_reader("lmms-eval") is find_reader("lmms-eval-0.7.2")


def test_an_unknown_reader_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"no reader 'carefull' \(did you mean 'careful'"):
        tvt.read_answer("B", ["red", "green"], reader="carefull")


@pytest.mark.parametrize("options", [[], "AB", [str(k) for k in range(27)]])
def test_options_are_a_list_of_texts(options: list[str]) -> None:
    with pytest.raises(InputError, match="list of the options' texts"):
        tvt.read_answer("B", options)


def test_reading_an_answer_loads_nothing_heavy() -> None:
    code = "import sys, tvt; print(tvt.read_answer('B', ['red', 'green']), {'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "B set()"
