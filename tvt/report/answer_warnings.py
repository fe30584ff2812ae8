"""What makes scores doubtful, in sentences: the same ones at every command that shows a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tvt.core.answer_statistics import KINDS, AnswerReport, Finding
from tvt.core.question_set import question_warnings, some
from tvt.core.recipe import WarningSettings

WHAT_TO_DO = "what these mean and what to do: tvt docs studies, 'Doubtful scores'"


class Warned(NamedTuple):
    """A sentence for people."""

    text: str
    loud: bool = False
    """Whether it makes all figures doubtful, since the base model's are."""


def answer_warnings(report: AnswerReport, *, hint: bool = True) -> list[Warned]:
    """A few sentences; none where nothing is doubtful.

    What the base model does comes first, for every cell is measured from there; cells are grouped and counted. With
    ``hint``, the last one says where to read on.
    """
    loud: list[Warned] = []
    lines: list[Warned] = []
    for kind in KINDS:
        found = [finding for finding in report.findings if finding.kind == kind]
        base = [finding for finding in found if finding.base]
        others = [finding for finding in found if not finding.base]
        loud += [Warned(_of_base(base, report.thresholds), loud=True)] if base else []
        lines += [Warned(_of_others(others))] if others else []
    lines = loud + lines
    lines += map(Warned, question_warnings(report.sets))
    if lines and hint:
        lines.append(Warned(WHAT_TO_DO))
    if report.unknown:
        told = (
            f"how the answers behind {len(report.unknown)} of {len(report.cells)} scores are spread over the letters is not "
            "known, so nothing is said of them: their answers are not in the folder, or damaged; tvt study run counts those "
            "that are there"
        )
        lines.append(Warned(told))
    return lines


def _of_base(found: Sequence[Finding], thresholds: WarningSettings) -> str:
    """What the base model does, and what it does to all that is measured from it."""
    kind, limit = found[0].kind, _percent(found[0].threshold)
    if kind == "collapse":
        told = some([f"{item.letter} to {_percent(item.value)} of {item.target}'s questions" for item in found], ", ")
        points = f"{100 * thresholds.letter_excess:.3g}"
        return (
            f"the base model answers {told}: gains and losses from there measure letter habits, not transfer (collapse: "
            f"one letter to at least {limit}, and over {points} points more than it is right)"
        )
    told = some([f"{_percent(item.value)} on {item.target}" for item in found], ", ")
    if kind == "letter_mass":
        return (
            f"the base model puts little of its probability on option letters: {told} (mean below {limit}); the model would "
            "say something else, and gains from there may be the form of the answer alone"
        )
    return (
        f"the base model's answers name no letter or number and count as wrong: {told} (more than {limit} unread); gains from "
        "there may be the form of the answer alone"
    )


def _of_others(found: Sequence[Finding]) -> str:
    kind, limit = found[0].kind, _percent(found[0].threshold)
    letter = f"{found[0].letter} " if kind == "collapse" else ""
    told = some(
        [f"{item.run} -> {item.target} ({f'{item.letter} ' if letter else ''}{_percent(item.value)})" for item in found]
    )
    what = {
        "collapse": f"collapsed to one letter (at least {limit})",
        "letter_mass": f"little probability on option letters (mean below {limit}); the model would say something else",
        "unread": f"answers that name no letter or number and count as wrong (more than {limit})",
    }
    return f"{what[kind]}: {told}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
