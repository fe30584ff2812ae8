"""Proposals in the terminal: what to train next, why, what it is expected to bring, and whether to go on. Fits 80 columns."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.proposal import Proposal, Proposals
from tvt.core.selection import SelectionSpec
from tvt.report.style import MISSING, TABLE

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
        parts.append(Text("For whoever goes on all the same:" if found.proposals else "Nothing is left to propose."))
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
