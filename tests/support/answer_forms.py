"""A grammar of sentences that name options, for tests of readers: what is true of one letter must be true of each.

The sentences are in ``data``, one a line, with ``\\n`` for a line end inside one: *letter_forms* name the option ``x`` (``l``
is the small letter), *text_forms* name it by its text ``t``, *contrasts* name ``x`` and ``y`` of which ``x`` is the answer, and
*undecided* name no single option.
"""

from __future__ import annotations

import json

from commands import ROOT

COLOURS = ("red", "green", "blue", "yellow", "black", "white")

AROUND = (
    "<think>The answer is {z}. Or ({y})?</think>\n{s}",
    "The answer is {z}.</think>\n\n{s}",
    '"{s}"',
    "“{s}”",
    "**{s}**",
    "*{s}*",
    "\\boxed{{{s}}}",
    "$\\boxed{{\\text{{{s}}}}}$",
    "<answer>{s}</answer>",
    "<|begin_of_box|>{s}<|end_of_box|>",
    "{s}<|im_end|>",
    "  {s}\n",
    "### {s}",
)
"""What may stand around an answer ``s`` without changing it; ``y`` and ``z`` are letters of other options."""


def forms(*names: str) -> list[str]:
    """The sentences of some lists."""
    texts = [(ROOT / "tests" / "evaluate" / "answers" / f"{name}.txt").read_text(encoding="utf-8") for name in names]
    return [form.replace("\\n", "\n") for text in texts for form in text.strip("\n").split("\n")]


def as_json(sentence: str, other: str) -> list[str]:
    """An answer as JSON, alone and beside a reasoning that names another option."""
    reasoning = f"The answer seems to be {other} at first."
    return [
        json.dumps({"answer": sentence}),
        json.dumps({"reasoning": reasoning, "answer": sentence}),
        json.dumps({"answer": sentence, "reasoning": reasoning}, indent=2),
        "```json\n" + json.dumps({"answer": sentence}) + "\n```",
    ]
