"""The loop in the terminal: what to train next and why, how a campaign ended, what a plan can show. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.proposal import Proposal, Proposals
from tvt.core.selection import SelectionSpec
from tvt.report.style import MISSING, TABLE, dense_table, titled
from tvt.transfer.power import MOST_SEEDS, POWER, Detection, DetectionReport
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


MOST = 4
"""Sources that a row names."""
STOP = {
    "expected improvement below the noise": "no improvement is to be expected that one run could show",
    "decided": "no other mixture is likely to be better than the best measured one",
    "budget spent": "all runs that were asked for are measured or under way, or no candidate is left",
}
"""What each reason to stop means."""


def proposals_report(found: Proposals, spec: SelectionSpec) -> list[RenderableType]:
    """Everything that ``tvt propose`` shows, in order."""
    parts: list[RenderableType] = []
    if found.stop is not None:
        parts.append(Text(f"Stop, {found.stop.reason}: {STOP[found.stop.reason]}.", style="bold"))
        parts.append(Text("For those who go on all the same:" if found.proposals else "Nothing is left to propose."))
    if found.proposals:
        parts.append(proposals_table(found, spec))
        parts.append(Text(batch_sentence(found)))
    if found.best_measured is not None:
        parts.append(Text(f"The best measured mixture is {found.best_measured.text}."))
    return parts


def batch_sentence(found: Proposals) -> str:
    """What the batch is expected to bring, beside the noise and the chance that nothing is better than what was measured."""
    noise = f"; a run's noise is {found.noise:.2g}" if found.noise else ""
    chance = "" if found.chance is None else f", and nothing is better than that one with a probability of {found.chance:.0%}"
    return f"The best of them is expected to exceed the best measured mixture by {found.expected:.2g}{noise}{chance}."


def proposals_table(found: Proposals, spec: SelectionSpec) -> Table:
    """A row a proposal: why, its mixture, and the predicted gain (or score) of up to two targets that count."""
    asked = [*spec.goals] or [name for name, weight in spec.targets.items() if weight]
    first = found.proposals[0]
    shown = [t for t in asked if t in first.predicted] or [*first.predicted]
    shown = shown[:2] if len(shown) > 2 else shown
    table = Table(title="What to train next", **TABLE)
    table.add_column("why")
    table.add_column("mixture")
    for target in shown:
        table.add_column(target, justify="right")
    for proposal in found.proposals:
        table.add_row(proposal.why, mixture_text(proposal), *(_predicted(proposal, target) for target in shown))
    return table


def mixture_text(proposal: Proposal) -> str:
    """``id: A 60%, B 40%``, the largest weights first."""
    used = sorted(((w, s) for s, w in proposal.weights.items() if w >= 0.005), reverse=True)
    more = f" and {len(used) - MOST} more" if len(used) > MOST else ""
    listed = ", ".join(f"{source} {weight:.0%}" for weight, source in used[:MOST]) + more
    return listed if proposal.mixture is None else f"{proposal.mixture}: {listed}"


def _predicted(proposal: Proposal, target: str) -> str:
    prediction = proposal.predicted.get(target)
    if prediction is None:
        return MISSING
    low, high = prediction.value_interval
    value = f"{prediction.gain:+.3f}" if prediction.value is None else f"{prediction.value:.4g}"
    return f"{value}\n{low:.3g} to {high:.3g}"


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
