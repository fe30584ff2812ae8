"""A tuning campaign in the terminal: its outcome in a sentence, the mixture, the race, and what each stage brought."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from tvt.report.style import MISSING, dense_table, titled
from tvt.tuning.campaign import TUNED
from tvt.tuning.outcome import Tuned

MOST_SOURCES = 12


def tuning_report(tuned: Tuned, width: int) -> Iterator[RenderableType]:
    """The parts, the most important first."""
    yield Text(tuned.sentence, style="bold")
    yield _mixture(tuned)
    if tuned.comparison is not None:
        yield _race(tuned)
    yield _stages(tuned, width)


def _mixture(tuned: Tuned) -> RenderableType:
    table = dense_table("source", "weight", "examples")
    shares = sorted(((w, s) for s, w in tuned.mixture.weights.items() if w > 0), reverse=True)
    for weight, source in shares[:MOST_SOURCES]:
        table.add_row(source, f"{weight:.1%}", f"{tuned.mixture.counts.get(source, 0):,}")
    if len(shares) > MOST_SOURCES:
        table.add_row(f"{len(shares) - MOST_SOURCES} more", f"{sum(w for w, _ in shares[MOST_SOURCES:]):.1%}", "")
    return titled("Tuned mixture", table)


def _race(tuned: Tuned) -> RenderableType:
    """Realised gains of all arms, and by how much the tuned one exceeds them."""
    assert tuned.comparison is not None  # noqa: S101 - the caller has looked
    table = dense_table("mixture", "gain (PGF)", "tuned less it", "95%", "shown")
    for arm in tuned.arms:
        gain = tuned.comparison.gain(arm.label, None).pgf
        text = MISSING if gain is None else f"{gain.value:+.3f} ±{gain.error:.3f}"
        if arm.label == TUNED:
            table.add_row(arm.label, text, "", "", "")
            continue
        difference = next(d for d in tuned.comparison.differences if d.against == arm.label and d.target is None)
        of = difference.pgf
        cells = (MISSING, MISSING) if of is None else (f"{of.value:+.3f}", f"{of.low:+.3f} to {of.high:+.3f}")
        asked = arm.label in tuned.against
        table.add_row(arm.label, text, *cells, ("better" if arm.label in tuned.better else "no") if asked else "not asked")
    seeds = len(tuned.seeds)
    return titled(f"The race, {seeds} seed{'' if seeds == 1 else 's'} on questions kept for reporting", table)


def _stages(tuned: Tuned, width: int) -> RenderableType:
    table = dense_table("stage", "runs", "why")
    for stage in tuned.stages:
        why = stage.why if len(stage.why) < width - 28 else f"{stage.why[: width - 31]}..."
        table.add_row(stage.kind, f"{len(stage.runs)}", why)
    return titled(f"{tuned.runs} of {tuned.most_runs} training runs", table)
