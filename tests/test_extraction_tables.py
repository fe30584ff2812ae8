"""The two manners that others use, case by case: what each expected value follows from in their code, read by hand.

*official*: zeyofu/BLINK_Benchmark, eval/test_benchmark.py, ``analyze_answer`` (commit 0cca9a3), in order: the answer is exactly
one of A to E; exactly one of (A) to (E); else the bracketed letters of the options that stand as words (split at white space),
overall and after the last empty line. Neither of the two sets has one member, or nothing stands overall: a language model is
asked, ``None`` here. Else the one of the last paragraph, or else the one overall.

*lmms-eval*: EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/blink/utils.py, ``_extract_answer_letter`` (commit 205d72d): after
stripping, any number of opening brackets and blanks, then a letter in either case; that letter, or nothing.
"""

from __future__ import annotations

import pytest

from tvt.evaluate.extraction import lmms_eval, official

TWO, THREE, FOUR = ("the second image", "the third image"), ("a", "b", "c"), ("0", "1", "2", "3")
LONG = "The first picture shows a cup on a table beside a window, and there is a cat too. " * 12

CASES: list[tuple[str, tuple[str, ...], str | None, str | None]] = [
    # answer, options, official, lmms-eval
    # The whole answer
    ("A", FOUR, "A", "A"),
    ("D", FOUR, "D", "D"),
    ("D", TWO, "D", "D"),  # the exact test does not look at the options
    ("E", FOUR, "E", "E"),
    ("F", FOUR, None, "F"),
    ("a", FOUR, None, "A"),
    ("(A)", FOUR, "A", "A"),
    ("(D)", TWO, "D", "D"),
    ("(E)", TWO, "E", "E"),
    ("(F)", FOUR, None, "F"),
    ("(b)", FOUR, None, "B"),
    ("((B))", FOUR, None, "B"),
    ("( B )", FOUR, None, "B"),
    ("(B", FOUR, None, "B"),
    ("B)", FOUR, None, "B"),
    ("[B]", FOUR, None, None),
    ("{B}", FOUR, None, None),
    ('"B"', FOUR, None, None),
    ("'B'", FOUR, None, None),
    ("`B`", FOUR, None, None),
    ("B.", FOUR, None, "B"),
    ("B,", FOUR, None, "B"),
    ("B\n", FOUR, None, "B"),
    ("\nB", FOUR, None, "B"),
    ("\n(B)\n", FOUR, "B", "B"),
    ("  (C)  ", FOUR, "C", "C"),
    ("AB", FOUR, None, "A"),
    ("A, B", FOUR, None, "A"),
    # Stated
    ("Answer: B", FOUR, None, "A"),
    ("Answer: (B)", FOUR, "B", "A"),
    ("Answer:(B)", FOUR, None, "A"),
    ("answer is (C)", FOUR, "C", "A"),
    ("The answer is B", FOUR, None, "T"),
    ("The answer is (B)", FOUR, "B", "T"),
    ("The answer is (B).", FOUR, None, "T"),
    ("The answer is (B) .", FOUR, "B", "T"),
    ("The correct answer is (b)", FOUR, None, "T"),
    ("Option (C) is right", FOUR, "C", "O"),
    ("I choose (D) because it fits", FOUR, "D", "I"),
    ("Choice B", FOUR, None, "C"),
    # Marks
    ("**B**", FOUR, None, None),
    ("**(B)**", FOUR, None, None),
    ("** (B) **", FOUR, "B", None),
    ("*B*", FOUR, None, None),
    ("# B", FOUR, None, None),
    ("$\\boxed{B}$", FOUR, None, None),
    ("\\boxed{B}", FOUR, None, None),
    ("<answer>B</answer>", FOUR, None, None),
    ("<answer> (B) </answer>", FOUR, "B", None),
    # Option text
    ("the second image", TWO, None, "T"),
    ("(A) the second image", TWO, "A", "A"),
    ("A. the second image", TWO, None, "A"),
    ("B: the third image", TWO, None, "B"),
    ("It is the third image", TWO, None, "I"),
    ("2", FOUR, None, None),
    ("(C) 2", FOUR, "C", "C"),
    ("2 (C)", FOUR, "C", None),
    ("three", FOUR, None, "T"),
    # Several letters
    ("(A) (B)", FOUR, None, "A"),
    ("(A) (A)", FOUR, "A", "A"),
    ("(A) or (B)", FOUR, None, "A"),
    ("(A), or rather (B)", FOUR, "B", "A"),  # "(A)," is no word of the list
    ("(D) is none of them, (A) is", TWO, "A", "D"),  # (D) is no option of two
    ("(C) it is", TWO, None, "C"),
    ("(C) it is", THREE, "C", "C"),
    ("(A) has a cup.\n\n(B) has none.\n\nSo (B)", FOUR, "B", "A"),
    ("(A) or (B)?\n\nI say (A)", FOUR, "A", "A"),
    ("(A)\n\n(B)", FOUR, "B", "A"),
    ("(B) it is.\n\nThat is all.", FOUR, "B", "B"),  # the last paragraph has none, overall there is one
    ("(A) or (B)\n\nThat is all.", FOUR, None, "A"),
    ("(A)\n(B)", FOUR, None, "A"),  # one line end is no empty line
    ("(A)\n\n\n(B)", FOUR, "B", "A"),
    ("(A) (B)\n\n(C) (D)", FOUR, None, "A"),
    # Long
    (LONG, FOUR, None, "T"),
    (LONG + "(C)", FOUR, "C", "T"),
    (LONG + "\n\n(C)", FOUR, "C", "T"),
    (LONG + "So, B.", FOUR, None, "T"),
    ("(D) " + LONG, FOUR, "D", "D"),
    # Nothing
    ("", FOUR, None, None),
    (" \n\t", FOUR, None, None),
    ("...", FOUR, None, None),
    ("()", FOUR, None, None),
    ("(", FOUR, None, None),
    ("I'm sorry, but I can't assist with that request.", FOUR, None, "I"),
    ("None of the above", FOUR, None, "N"),
    # Beyond ASCII
    ("\u0391", FOUR, None, None),  # Greek Alpha
    ("\uff22", FOUR, None, None),  # fullwidth B
    ("\uff08B\uff09", FOUR, None, None),  # fullwidth brackets
    ("\u00a0(B)\u00a0", FOUR, "B", "B"),  # split and strip take a no-break space for white space
    ("\u7b54\u6848\u662f (B)", FOUR, "B", None),
    ("\u00c4", FOUR, None, None),
    ("\u2460", FOUR, None, None),
    ("\u017f", FOUR, None, "S"),  # long s: a letter for the pattern, which ignores case
    ("(\u0131)", FOUR, None, "I"),  # dotless i
    ("\u212a", FOUR, None, "\u212a"),  # the kelvin sign is its own upper case
]


@pytest.mark.parametrize(("answer", "options", "by_official", "by_lmms"), CASES, ids=[ascii(case[0][:32]) for case in CASES])
def test_table(answer: str, options: tuple[str, ...], by_official: str | None, by_lmms: str | None) -> None:
    assert official(answer, options) == by_official
    assert lmms_eval(answer, options) == by_lmms


def test_the_table_is_long_enough_and_tells_the_manners_apart() -> None:
    assert len(CASES) >= 60
    assert {(by_official is None, by_lmms is None) for _, _, by_official, by_lmms in CASES} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
