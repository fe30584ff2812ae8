"""What a plan's seeds and questions can show, as a table with a sentence."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from tvt.report.style import MISSING, dense_table, titled
from tvt.transfer.power import MOST_SEEDS, POWER, Detection, DetectionReport


def detection_table(report: DetectionReport) -> Group:
    """The answer in a sentence, a row for each target, and what the noise is from."""
    table = dense_table("target", "questions", "power", "smallest", "limit", "seeds", "or questions")
    for row in report.targets:
        small = "-" if row.smallest == float("inf") else f"{row.smallest:.3f}"
        need = [MISSING if n is None else f"{n:,}" for n in (row.seeds_needed, row.questions_needed)]
        table.add_row(row.name, f"{row.questions:,}", f"{row.power:.0%}", small, f"{row.limit:.3f}", *need)
    seeds = report.targets[0].seeds
    title = f"A difference of {report.difference:g} between two mixtures, {seeds} seed{'' if seeds == 1 else 's'}"
    foot = (
        f"Power: the probability that a t test at 5%{_shared(report.tests)} finds it; smallest: the difference found with "
        f"{POWER:.0%}; limit: the same with {MOST_SEEDS} seeds; seeds or questions: what finds it with {POWER:.0%}, the other "
        f"as planned. The noise is {report.noise}; that between seeds is pooled over {report.arms} mixtures."
    )
    return Group(Text(_sentence(report.targets[0])), titled(title, table), Text(foot, style="dim"), Text(""))


def _shared(tests: int) -> str:
    return f", corrected for {tests} tests," if tests > 1 else ""


def _sentence(first: Detection) -> str:
    """On the mean, or the only target."""
    what = "On the mean of the targets" if first.name == "mean" else f"On {first.name}"
    if first.seeds < 2:
        return f"{what}: one seed shows no noise between seeds, so nothing can be shown; {first.advice}."
    if first.power >= POWER:
        return f"{what}, {first.seeds} seeds show a difference of {first.difference:g} with {first.power:.0%}: {first.advice}."
    return (
        f"{what}, {first.seeds} seeds show a difference of {first.difference:g} with {first.power:.0%} only; "
        f"for {POWER:.0%}: {first.advice}."
    )
