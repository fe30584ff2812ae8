"""The readers that copy others, case by case: what each expected value follows from in their code.

*official*: zeyofu/BLINK_Benchmark, eval/test_benchmark.py, ``analyze_answer`` (commit 0cca9a3), in order: the answer is exactly
one of A to E; exactly one of (A) to (E); else the bracketed letters of the options that stand as words (split at white space),
overall and after the last empty line. Neither of the two sets has one member, or nothing stands overall: a language model is
asked, ``None`` here. Else the one of the last paragraph, or else the one overall.

*lmms-eval-0.7.2*: EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/blink/utils.py, ``_extract_answer_letter`` (commit 205d72d):
after stripping, any number of opening brackets and blanks, then a letter in either case; that letter, or nothing.

*lmms-eval-0.7.3*: the same function of release 0.7.3, which was run for each case: a first line that is a letter, else the last
letter behind "answer", else the last one in round brackets, else as 0.7.2; letters of options alone.
"""

from __future__ import annotations

import pytest

from tvt.evaluate.readers import find_reader

TWO, THREE, FOUR = ("the second image", "the third image"), ("a", "b", "c"), ("0", "1", "2", "3")
LONG = "The first picture shows a cup on a table beside a window, and there is a cat too. " * 12

CASES: list[tuple[str, tuple[str, ...], str | None, str | None, str | None]] = [
    # answer, options, official, lmms-eval-0.7.2, lmms-eval-0.7.3
    # The whole answer
    ("A", FOUR, "A", "A", "A"),
    ("D", FOUR, "D", "D", "D"),
    ("D", TWO, "D", "D", None),  # the exact test does not look at the options
    ("E", FOUR, "E", "E", None),
    ("F", FOUR, None, "F", None),
    ("a", FOUR, None, "A", "A"),
    ("(A)", FOUR, "A", "A", "A"),
    ("(D)", TWO, "D", "D", None),
    ("(E)", TWO, "E", "E", None),
    ("(F)", FOUR, None, "F", None),
    ("(b)", FOUR, None, "B", "B"),
    ("((B))", FOUR, None, "B", "B"),
    ("( B )", FOUR, None, "B", "B"),
    ("(B", FOUR, None, "B", "B"),
    ("B)", FOUR, None, "B", "B"),
    ("[B]", FOUR, None, None, None),
    ("{B}", FOUR, None, None, None),
    ('"B"', FOUR, None, None, None),
    ("'B'", FOUR, None, None, None),
    ("`B`", FOUR, None, None, None),
    ("B.", FOUR, None, "B", "B"),
    ("B,", FOUR, None, "B", "B"),
    ("B\n", FOUR, None, "B", "B"),
    ("\nB", FOUR, None, "B", "B"),
    ("\n(B)\n", FOUR, "B", "B", "B"),
    ("  (C)  ", FOUR, "C", "C", "C"),
    ("AB", FOUR, None, "A", "A"),
    ("A, B", FOUR, None, "A", "A"),
    # Stated
    ("Answer: B", FOUR, None, "A", "B"),
    ("Answer: (B)", FOUR, "B", "A", "B"),
    ("Answer:(B)", FOUR, None, "A", "B"),
    ("answer is (C)", FOUR, "C", "A", "C"),
    ("The answer is B", FOUR, None, "T", "B"),
    ("The answer is (B)", FOUR, "B", "T", "B"),
    ("The answer is (B).", FOUR, None, "T", "B"),
    ("The answer is (B) .", FOUR, "B", "T", "B"),
    ("The correct answer is (b)", FOUR, None, "T", "B"),
    ("Option (C) is right", FOUR, "C", "O", "C"),
    ("I choose (D) because it fits", FOUR, "D", "I", "D"),
    ("Choice B", FOUR, None, "C", "C"),
    # Marks
    ("**B**", FOUR, None, None, None),
    ("**(B)**", FOUR, None, None, "B"),
    ("** (B) **", FOUR, "B", None, "B"),
    ("*B*", FOUR, None, None, None),
    ("# B", FOUR, None, None, None),
    ("$\\boxed{B}$", FOUR, None, None, None),
    ("\\boxed{B}", FOUR, None, None, None),
    ("<answer>B</answer>", FOUR, None, None, None),
    ("<answer> (B) </answer>", FOUR, "B", None, "B"),
    # Option text
    ("the second image", TWO, None, "T", None),
    ("(A) the second image", TWO, "A", "A", "A"),
    ("A. the second image", TWO, None, "A", "A"),
    ("B: the third image", TWO, None, "B", "B"),
    ("It is the third image", TWO, None, "I", None),
    ("2", FOUR, None, None, None),
    ("(C) 2", FOUR, "C", "C", "C"),
    ("2 (C)", FOUR, "C", None, "C"),
    ("three", FOUR, None, "T", None),
    # Several letters
    ("(A) (B)", FOUR, None, "A", "B"),
    ("(A) (A)", FOUR, "A", "A", "A"),
    ("(A) or (B)", FOUR, None, "A", "B"),
    ("(A), or rather (B)", FOUR, "B", "A", "B"),  # "(A)," is no word of the list
    ("(D) is none of them, (A) is", TWO, "A", "D", "A"),  # (D) is no option of two
    ("(C) it is", TWO, None, "C", None),
    ("(C) it is", THREE, "C", "C", "C"),
    ("(A) has a cup.\n\n(B) has none.\n\nSo (B)", FOUR, "B", "A", "B"),
    ("(A) or (B)?\n\nI say (A)", FOUR, "A", "A", "A"),
    ("(A)\n\n(B)", FOUR, "B", "A", "A"),
    ("(B) it is.\n\nThat is all.", FOUR, "B", "B", "B"),  # the last paragraph has none, overall there is one
    ("(A) or (B)\n\nThat is all.", FOUR, None, "A", "B"),
    ("(A)\n(B)", FOUR, None, "A", "A"),  # one line end is no empty line
    ("(A)\n\n\n(B)", FOUR, "B", "A", "A"),
    ("(A) (B)\n\n(C) (D)", FOUR, None, "A", "D"),
    # Long
    (LONG, FOUR, None, "T", None),
    (LONG + "(C)", FOUR, "C", "T", "C"),
    (LONG + "\n\n(C)", FOUR, "C", "T", "C"),
    (LONG + "So, B.", FOUR, None, "T", None),
    ("(D) " + LONG, FOUR, "D", "D", "D"),
    # Nothing
    ("", FOUR, None, None, None),
    (" \n\t", FOUR, None, None, None),
    ("...", FOUR, None, None, None),
    ("()", FOUR, None, None, None),
    ("(", FOUR, None, None, None),
    ("I'm sorry, but I can't assist with that request.", FOUR, None, "I", None),
    ("None of the above", FOUR, None, "N", None),
    # Beyond ASCII
    ("\u0391", FOUR, None, None, None),  # Greek Alpha
    ("\uff22", FOUR, None, None, None),  # fullwidth B
    ("\uff08B\uff09", FOUR, None, None, None),  # fullwidth brackets
    ("\u00a0(B)\u00a0", FOUR, "B", "B", "B"),  # split and strip take a no-break space for white space
    ("\u7b54\u6848\u662f (B)", FOUR, "B", None, "B"),
    ("\u00c4", FOUR, None, None, None),
    ("\u2460", FOUR, None, None, None),
    ("\u017f", FOUR, None, "S", None),  # long s: a letter for the pattern, which ignores case
    ("(\u0131)", FOUR, None, "I", None),  # dotless i
    ("\u212a", FOUR, None, "\u212a", None),  # the kelvin sign is its own upper case
    ("The correct answer is (B).", FOUR, None, "T", "B"),
    ("I think the answer is C because (A) is red", FOUR, "A", "I", "C"),
    ("The answers are A and B", FOUR, None, "T", None),
    ("answer - D", FOUR, None, "A", "D"),
    ("Answer:\tB", FOUR, None, "A", "B"),
    ("the answer is a dog", FOUR, None, "T", "A"),
    ("Answers: b", FOUR, None, "A", "B"),
    ("So I pick (C), not (D)", FOUR, "D", "S", "D"),
    ("(a) or so", FOUR, None, "A", "A"),
    ("B\nThe answer is C", FOUR, None, "B", "B"),
    ("B it is\nThe answer is C", FOUR, None, "B", "C"),
    ("(B).,:", FOUR, None, "B", "B"),
    ("B....", FOUR, None, "B", "B"),
    ("The answer is E", FOUR, None, "T", None),
    ("E", FOUR, "E", "E", None),
    ("I see a dog", FOUR, None, "I", None),
    ("dog", FOUR, None, "D", "D"),
    ("because", FOUR, None, "B", "B"),
    ("(A) then (B)", FOUR, None, "A", "B"),
    ("answeris B", FOUR, None, "A", "A"),
    ("answer is\n\nB", FOUR, None, "A", "B"),
    ("ANSWER IS (c)", FOUR, None, "A", "C"),
]


@pytest.mark.parametrize(
    ("answer", "options", "by_official", "by_072", "by_073"), CASES, ids=[ascii(case[0][:32]) for case in CASES]
)
def test_table(answer: str, options: tuple[str, ...], by_official: str | None, by_072: str | None, by_073: str | None) -> None:
    assert find_reader("official").read_letter(answer, options) == by_official
    assert find_reader("lmms-eval-0.7.2").read_letter(answer, options) == by_072
    assert find_reader("lmms-eval-0.7.3").read_letter(answer, options) == by_073


def test_the_table_is_long_enough_and_tells_the_readers_apart() -> None:
    assert len(CASES) >= 60
    assert {(a is None, b is None, c is None) for _, _, a, b, c in CASES} >= {
        (True, True, True),
        (True, True, False),
        (True, False, True),
        (True, False, False),
        (False, True, False),
        (False, False, False),
    }
    assert any(b != c and b and c for _, _, _, b, c in CASES)


NUMBERS: list[tuple[str, float | None, float | None]] = [
    # answer, 0.7.2 (the first word alone), 0.7.3 (``extract_number`` of lmms_eval/tasks/vsibench/utils.py, run for each case)
    ("3", 3.0, 3.0),
    ("3.", 3.0, 3.0),
    ("3.5 meters", 3.5, 3.5),
    (" 3", None, 3.0),
    ("3m", None, 3.0),
    ("About 3", None, 3.0),
    ("1,200", None, 1.0),
    ("-2", -2.0, -2.0),
    ("the -2.5 it is", None, -2.5),
    ("1e2", 100.0, 1.0),
    ("three", None, 3.0),
    ("Three boxes.", None, 3.0),
    ("twenty-one", None, 21.0),
    ("three hundred and twenty-one", None, 321.0),
    ("two thousand five", None, 2005.0),
    ("one apple, room 2", None, 1.0),
    ("2 or 3", 2.0, 2.0),
    ("two three", None, 5.0),
    ("hundred", None, 100.0),
    ("zero", None, 0.0),
    ("threefold", None, None),
    ("someone", None, None),
    ("and", None, None),
    ("nan", None, None),
    ("inf", None, None),
    ("", None, None),
    ("many", None, None),
    ("1/2", None, 1.0),
    ("room2", None, 2.0),
    ("one and a half", None, 1.0),
]


@pytest.mark.parametrize(("answer", "by_072", "by_073"), NUMBERS)
def test_numbers(answer: str, by_072: float | None, by_073: float | None) -> None:
    assert find_reader("lmms-eval-0.7.2").read_number(answer) == by_072
    assert find_reader("lmms-eval-0.7.3").read_number(answer) == by_073
