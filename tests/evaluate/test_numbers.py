"""Numbers in free answers: what tvt reads, and what benchmarks' own code would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.core.choices import READERS
from tvt.evaluate.readers import find_reader
from tvt.evaluate.readers.numbers import in_figures

careful, first_word, lmms_073 = (find_reader(name).read_number for name in ("careful", "vsi-bench", "lmms-eval-0.7.3"))

CASES: list[tuple[str, float | None]] = [
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
    ("So $\\boxed{42}$ of the 50", 42),
    ("First 2, then 5.\n\nThere are 7.", 7),
    ("three", 3),
    ("Three chairs.", 3),
    ("There is one chair.", 1),
    ("One", 1),
    ("twenty-one", 21),
    ("There are twelve.", 12),
    ("zero", 0),
    ("not 3 but 4", 4),
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
    ("one hundred", 100),
    ("One hundred and five", 105),
    ("There are one hundred chairs.", 100),
    ("two thousand three hundred and twenty-one", 2321),
    ("a dozen", 12),
    ("half a dozen", 6),
    ("two dozen chairs", 24),
    ("a hundred", 100),
    ("three point five meters", 3.5),
    ("one and a half meters", 1.5),
    ("half a meter", 0.5),
    ("<think>2</think>3", 3),
    ("<think>2 or 3", None),
    ("\\boxed{3.5 \\text{ m}}", 3.5),
    ('{"answer": 3}', 3),
    ('{"reasoning": "2 + 2", "answer": "4 chairs"}', 4),
    ("**3.5**", 3.5),
    ('"3"', 3),
    ("３", 3),
    ("The room is 4 m by 5 m, so the area is 20 square meters.", 20),
    ("4 × 5 = 20", 20),
    ("4 * 5 = 20 m²", 20),
    ("20 m²", 20),
    ("20 m^2", 20),
    ("20 square meters", 20),
    ("approximately 20 square meters", 20),
    ("The distance between the chair and the table is approximately 2.5 meters.", 2.5),
    ("I see 2 chairs by the door. I see 3 at the table. In total, there are 5 chairs.", 5),
    ("1. a chair\n2. a table\n3. a lamp\n\nThere are 3 objects.", 3),
    ("There are no chairs.", 0),
    ("Answer: 4", 4),
    ("Answer:\n4", 4),
    ("### Answer\n4", 4),
    ("The answer is four.", 4),
    ("答案是3", 3),
    ("3个", 3),
    ("at least 3", None),
    ("-1.5", -1.5),
    ("minus 3", -3),
    ("3 (three)", 3),
    ("three (3)", 3),
    ("2.5m", 2.5),
    ("2.5 m.", 2.5),
    ("I would estimate 3.2 meters", 3.2),
    ("I'd say 4", 4),
    ("It is difficult to tell, but I would guess 4.", 4),
    ("I cannot determine the number.", None),
    ("sorry", None),
    ("1 or more", None),
    ("two to three", None),
    ("3~4", None),
    ("between two and three", None),
    ("100%", 100),
    ("$3$", 3),
    ("250 cm", 250),
    ("\\frac{1}{2}", None),
    ("The first image shows 2 cats.", 2),
    ("one of them", None),
    ("No one", None),
    ("five hundred thousand", 500000),
    ("ninety-nine", 99),
    ("nineteen ninety", None),
    ("<answer>7</answer>", 7),
    ("<|begin_of_box|>7<|end_of_box|>", 7),
    ("7<|im_end|>", 7),
    ("3.0", 3),
    ("1,5", None),
    ("Step 1: count. Step 2: sum. Answer: 6", 6),
    ("The total number of chairs in the room is 6.", 6),
    ("There are 6 chairs and 1 table.", None),
    ("The count is 2 + 3 = 5.", 5),
    ("about two", 2),
    ("Two", 2),
]


@pytest.mark.parametrize(("answer", "number"), CASES, ids=[ascii(answer[:40]) for answer, _ in CASES])
def test_careful(answer: str, number: float | None) -> None:
    assert careful(answer) == number


AROUND = (
    "{}",
    "<think>I see 9 of them, or 10.</think>\n{}",
    '"{}"',
    "**{}**",
    "\\boxed{{{}}}",
    '{{"reasoning": "1 and 2", "answer": "{}"}}',
)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    ("answer", "number"), [("3", 3), ("one hundred", 100), ("2.5 meters", 2.5), ("1,200", 1200), ("2 or 3", None)]
)
def test_what_is_around_a_number_changes_nothing(around: str, answer: str, number: float | None) -> None:
    assert careful(around.format(answer)) == number


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
@pytest.mark.parametrize("name", ["vsi-bench", "official", "lmms-eval-0.7.2"])
def test_as_the_benchmark_reads(name: str, answer: str, number: float | None) -> None:
    assert find_reader(name).read_number(answer) == number


@given(st.integers(0, 999_999))
def test_words_of_every_number_up_to_a_million_are_read(value: int) -> None:
    assert in_figures(spelled(value)) == str(value)
    assert careful(f"There are {spelled(value)} chairs.") == value


def spelled(value: int) -> str:
    """A number in English words."""
    ones = "zero one two three four five six seven eight nine ten eleven twelve"
    ones += "".join(f" {stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine"))
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    if value < 20:
        return ones.split()[value]
    if value < 100:
        return tens.split()[value // 10 - 2] + (f"-{spelled(value % 10)}" if value % 10 else "")
    name, size = ("hundred", 100) if value < 1000 else ("thousand", 1000)
    rest = value % size
    return f"{spelled(value // size)} {name}" + (f" and {spelled(rest)}" if rest else "")


@given(st.floats(0.01, 1e6).map(lambda x: round(x, 2)), st.sampled_from(["{}", "{} meters", "about {} m", "It is {}."]))
def test_a_plain_number_is_read_in_any_words(value: float, words: str) -> None:
    assert careful(words.format(value)) == value


@pytest.mark.parametrize("name", READERS.names)
@given(text=st.text(max_size=60))
def test_no_text_breaks_a_reader(name: str, text: str) -> None:
    found = find_reader(name).read_number(text)
    assert found is None or isinstance(found, float)


def test_every_reader_reads_numbers() -> None:
    assert {reader.name: reader.read_number("3") for reader in READERS} == dict.fromkeys(READERS.names, 3.0)
