"""A selection in the terminal: weights, predicted gains, what binds, how far to trust it, and its preview. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.arms import Candidate
from tvt.core.mixture import Mixture, Prediction
from tvt.core.objective import OBJECTIVES
from tvt.core.selection import SelectionSpec
from tvt.core.values import Frozen
from tvt.evidence.fit import FitReport
from tvt.evidence.response import Curvature
from tvt.evidence.study_model import StudyFit, response_json
from tvt.report.style import ESTIMATE, MISSING, TABLE, resting, resting_legend
from tvt.selection.explain import BeyondPlacebo, explain, kappa_sentences, measured_sentences, placebo_sentences
from tvt.selection.frontier import FrontierPoint, Kind
from tvt.selection.stability import STRATEGIES, Stability
from tvt.study.previewed import Agreement, Gain, Preview


@dataclass(frozen=True, kw_only=True)
class SelectionResult(Frozen):
    """A mixture with what was found out about it; parts that were not asked for are empty."""

    mixture: Mixture
    spec: SelectionSpec
    fit: FitReport | None = None
    stability: Stability | None = None
    sensitivity: Mapping[float, Mapping[str, float]] = field(default_factory=dict)
    """Weights of the used sources at other kappas."""
    curvature: Curvature | None = None
    """kappa of the log response and how it came about."""
    joint: StudyFit | None = None
    """What was learned of a study's joint response."""
    frontier: tuple[FrontierPoint, ...] = ()
    frontier_kind: Kind = "harm"
    preview: Preview | None = None
    """What merged adapters score for this and other mixtures."""
    short: Callable[[str], str] = str
    """A task's abbreviation, where the study knows one."""
    beyond_placebo: Mapping[str, BeyondPlacebo] = field(default_factory=dict)
    """Predicted gains beyond what any finetuning brings, by target; empty where no placebo was run."""

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt select --json``: those of the contract first, then what else was asked for."""
        response = response_json(self.spec.form, self.curvature, self.joint)
        kappas = {f"{kappa:.6g}": weights for kappa, weights in self.sensitivity.items()}
        more = {
            "response": response,
            "stability": self.stability,
            "sensitivity": {"kappa": kappas} if kappas else None,
            "frontier": self.frontier or None,
            "preview": self.preview,
            "fit": self.fit,
            "beyond_placebo": {t: of._asdict() for t, of in self.beyond_placebo.items()} or None,
        }
        return {**self.mixture.json_value(), **{key: value for key, value in more.items() if value is not None}}


TRUST = "How far to trust this: tvt docs trust"
"""The last line of what ``tvt select`` shows, with the page that says what predictions were worth."""
BAR = 12
"""Width of the largest weight's bar."""


def selection_report(result: SelectionResult) -> list[RenderableType]:
    """Everything that ``tvt select`` shows, in order."""
    mixture, spec = result.mixture, result.spec
    parts: list[RenderableType] = [_headline(mixture, spec)]
    if mixture.verdict != "train":
        parts += [Text(line) for line in explain(mixture)]
    else:
        parts += [weights_table(mixture, result.stability), gains_table(mixture.predicted, spec, mixture)]
        if mixture.prices:
            parts.append(prices_table(mixture))
        if result.stability is not None:
            parts.append(trust_table(result.stability))
        parts += [Text(line) for line in kappa_sentences(mixture, result.sensitivity, result.curvature)]
        parts += [Text(line) for line in placebo_sentences(mixture, result.beyond_placebo)]
    if result.fit is not None:
        parts.append(fit_table(result.fit))
    parts += [Text(line) for line in measured_sentences(mixture)] if mixture.verdict == "train" else []
    parts += [_footer(mixture), Text(TRUST, style="dim")]
    parts += [Text(f"Note: {note}.", style="yellow") for note in mixture.notes]
    return parts


def weights_table(mixture: Mixture, stability: Stability | None) -> Table:
    """Weights and counts, largest first, with their range when one run is left out."""
    table = Table(title=f"Mixture of {mixture.budget:,} examples", **TABLE)
    table.add_column("source", overflow="fold")
    for name in ("weight", "examples"):
        table.add_column(name, justify="right", no_wrap=True)
    ranges = _ranges(stability)
    if ranges:
        table.add_column("without a run", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR)
    largest = max(mixture.weights.values())
    for source in mixture.sources:
        weight = mixture.weights[source]
        row = [source, f"{weight:.1%}", f"{mixture.counts[source]:,}"]
        if ranges:
            row.append(ranges.get(source, "–"))
        table.add_row(*row, "█" * max(1, round(BAR * weight / largest)))
    return table


def _ranges(stability: Stability | None) -> dict[str, str]:
    if stability is None:
        return {}
    low, high = np.nanmin(stability.weights, axis=0), np.nanmax(stability.weights, axis=0)
    return {s: f"{a:.0%} to {b:.0%}" for s, a, b in zip(stability.sources, low, high, strict=True)}


def gains_table(predicted: Mapping[str, Prediction], spec: SelectionSpec, mixture: Mixture | None = None) -> Table:
    """Predicted gains with intervals: targets asked for first, then the rest from best to worst."""
    scored = any(p.value is not None for p in predicted.values())
    table = Table(title=f"Predicted gain ({spec.confidence:.0%} interval)", **TABLE)
    table.add_column("target", overflow="fold")
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("interval", justify="right", no_wrap=True)
    if scored:
        table.add_column("score", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    harmed = {h.target: h for h in mixture.harmed} if mixture else {}
    asked = {**spec.goals, **spec.targets}
    for target, p in sorted(predicted.items(), key=lambda item: (item[0] not in asked, -item[1].gain)):
        remark = ""
        if target in spec.goals and not scored:
            goal = spec.goals[target]
            remark = f"goal {goal:+.3f} " + ("met" if p.gain >= goal - 1e-6 else f"missed by {goal - p.gain:.3f}")
        elif target in harmed:
            remark = f"{harmed[target].shortfall:.3f} below its limit"
        row = [target, f"{resting(p.estimated)}{p.gain:+.3f}", p.interval_text]
        table.add_row(*row, *([f"{p.value:.4f}"] if scored else []), remark, style="red" if p.gain < 0 and not scored else None)
    unmeasured = {target: p.estimated for target, p in predicted.items() if p.estimated}
    if unmeasured:
        table.caption = resting_legend(unmeasured)
    return table


def predictions_table(ids: Sequence[str], predictions: Sequence[Mapping[str, Prediction]], most: int = 40) -> Table:
    """Several mixtures: one row each with the mean prediction and its best and worst target."""
    unmeasured = any(p.estimated for told in predictions for p in told.values())
    about = f"; {ESTIMATE} rests on cells that were not measured but estimated" if unmeasured else ""
    table = Table(title=f"Predictions for {len(ids)} mixtures", caption=f"--json gives every target{about}", **TABLE)
    table.add_column("mixture", overflow="fold")
    for name in ("mean", "lowest", "highest"):
        table.add_column(name, justify="right", overflow="fold")
    for name, told in list(zip(ids, predictions, strict=True))[:most]:
        values = {t: p.gain if p.value is None else p.value for t, p in told.items()}
        low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        mean = sum(values.values()) / len(values)
        mark = {t: resting(p.estimated) for t, p in told.items()}
        ends = [f"{t} {mark[t]}{values[t]:.3f}" for t in (low, high)]
        table.add_row(name, f"{max(mark.values())}{mean:.4f}", *ends)
    if len(ids) > most:
        table.add_row(f"and {len(ids) - most} more", "", "", "")
    return table


def prices_table(mixture: Mixture) -> Table:
    """Binding constraints and what relaxing them would bring."""
    table = Table(title="What binds", **TABLE)
    table.add_column("constraint", overflow="fold")
    table.add_column("objective per 0.01 relaxed", justify="right", no_wrap=True)
    for name, price in list(mixture.prices.items())[:10]:
        table.add_row(name, f"{price / 100:+.4f}")
    return table


def trust_table(stability: Stability) -> Table:
    """Strategies chosen without a run and scored on it."""
    times = f"{len(stability.folds)} times{'; what has fewer runs stays in' if stability.uneven else ''}"
    table = Table(title=f"Chosen without a run, scored on it ({times})", **TABLE)
    table.add_column("mixture")
    for name in ("predicted", "held out", "worst", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, name in enumerate(STRATEGIES):
        held_out = stability.held_out[:, i][np.isfinite(stability.held_out[:, i])]
        if held_out.size:
            predicted = float(np.nanmean(stability.predicted[:, i]))
            table.add_row(name, *(f"{x:+.3f}" for x in (predicted, held_out.mean(), held_out.min(), held_out.max())))
    remarks = [] if stability.objective.linear else [f"Figures are the {stability.objective.over} the targets that count."]
    remarks += ["Only the selected mixture keeps to the limits asked for."] if stability.limited else []
    table.caption = " ".join(remarks) or None
    return table


def fit_table(report: FitReport) -> Table:
    """Out-of-fold quality of a fitted table: rank correlation beside the linear fit's, error, and skill against the mean."""
    table = Table(title=f"Fit on {report.runs} runs: out-of-fold rank correlation", **TABLE)
    table.add_column("target", overflow="fold")
    for name in ("fitted", "linear", "RMSE", "skill"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = zip(report.targets, report.rank, report.linear_rank, report.rmse, report.skill, strict=True)
    for target, rank, linear, rmse, skill in rows:
        table.add_row(target, f"{rank:.3f}", f"{linear:.3f}", f"{rmse:.4g}", f"{skill:+.2f}")
    means = [
        f"{float(np.nanmean(ranks)):.3f}" if np.isfinite(ranks).any() else "" for ranks in (report.rank, report.linear_rank)
    ]
    table.add_row("mean", *means, "", f"{report.overall_skill:+.2f}", style="bold")
    table.caption = "Skill: the part of the squared error of the table's mean that the fit takes away; 0 or less: none."
    return table


def frontier_table(result: SelectionResult) -> Table:
    """The frontier, one mixture a row."""
    points, kind, short = result.frontier, result.frontier_kind, result.short
    table = Table(title="Frontier: gain against " + ("risk" if kind == "risk" else "the worst harm"), **TABLE)
    table.add_column("risk" if kind == "risk" else "least gain", justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("± error", justify="right", no_wrap=True)
    table.add_column("worst target", overflow="fold")
    table.add_column("mixture", overflow="fold")
    if any(point.estimated for point in points):
        table.caption = f"{ESTIMATE} rests on cells that were not measured but estimated."
    for point in points:
        top = sorted(((w, s) for s, w in point.weights.items() if w >= 0.01), reverse=True)
        shares = ", ".join(f"{short(s)} {w:.0%}" for w, s in top[:4]) + (f" +{len(top) - 4}" if len(top) > 4 else "")
        table.add_row(
            f"{point.setting:+.3f}" if kind == "harm" else f"{point.setting:g}",
            f"{resting(point.estimated)}{point.gain:+.3f}",
            f"{point.error:.3f}",
            f"{short(point.worst_target)} {resting(point.worst_target in point.estimated)}{point.worst:+.3f}",
            shares,
        )
    return table


def _headline(mixture: Mixture, spec: SelectionSpec) -> Text:
    evidence = mixture.provenance.get("evidence", {})
    name = evidence.get("name") or f"{evidence.get('runs')} mixture runs"
    decisions = {"nothing_helps": "keep the base model", "no_signal": "no signal: take the best measured mixture"}
    decision = decisions.get(mixture.verdict, f"train on {_count(len(mixture.sources))}")
    text = Text(f"{name}: {spec.aim.wish}, {mixture.provenance.get('response')} response → ")
    return text.append(decision, style="bold")


def _count(sources: int) -> str:
    return "1 source" if sources == 1 else f"{sources} sources"


def _footer(mixture: Mixture) -> Text:
    audit, solver = mixture.audit, mixture.solver
    if audit is None or solver is None or mixture.objective is None:
        return Text("Nobody optimised this mixture.", style="dim")
    passed = "passed" if audit.passed else "FAILED"
    return Text(
        f"Audit {passed} (worst violation {audit.worst_violation:.1e}); objective {mixture.objective:.4f}; "
        f"{solver.name} {solver.status} in {solver.seconds:.2f} s.",
        style="dim",
    )


_FIGURES = {"merged": "merged adapters", "predicted": "prediction", "linear": "linear prediction"}


def preview_report(preview: Preview, short: Callable[[str], str] = str) -> list[RenderableType]:
    """Everything that ``tvt select --preview`` adds, in order; ``short`` abbreviates tasks."""
    parts: list[RenderableType] = [candidates_table(preview, short), targets_table(preview, short)]
    if preview.agreement:
        parts.append(agreement_table(preview))
        parts += [Text(line) for line in agreement_sentences(preview)]
    else:
        parts.append(
            Text("Too few of these mixtures were trained in this study to say how far the figures can be trusted.", style="dim")
        )
    return [*parts, *(Text(f"Note: {note}.", style="yellow") for note in preview.notes)]


def candidates_table(preview: Preview, short: Callable[[str], str] = str) -> Table:
    """The objective by merged adapters, as predicted, and as trained."""
    trained = any("trained" in p.objective for p in preview.candidates)
    table = Table(title=f"Preview: {OBJECTIVES[preview.objective].measure} {_listed(preview, short)}", **TABLE)
    table.add_column("mixture", overflow="fold")
    for name in ("merged", "predicted", *(["trained"] if trained else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("largest shares", overflow="fold")
    for p in preview.candidates:
        figures = ("merged", "predicted", *(["trained"] if trained else []))
        lines = [_signed(p.objective.get(figure)) for figure in figures]
        lines[1] = (
            resting(any(p.predicted[t].estimated for t, w in preview.counting.items() if w and t in p.predicted)) + lines[1]
        )
        style = "bold" if p.candidate.label == preview.selected else None
        table.add_row(p.candidate.label, *lines, _shares(p.candidate, short), style=style)
    return table


def targets_table(preview: Preview, short: Callable[[str], str] = str, most: int = 8) -> Table:
    """Merged against predicted gain by target, of the best merge and of the selected mixture."""
    table = Table(title="Gain by target: merged (± error) and predicted", **TABLE)
    table.add_column("target", overflow="fold")
    shown = [p for k, p in enumerate(preview.candidates) if p.merged and (k == 0 or p.candidate.label == preview.selected)]
    for p in shown:
        table.add_column(p.candidate.label, justify="right", no_wrap=True)
        table.add_column("predicted", justify="right", no_wrap=True)
    for target in sorted(preview.targets, key=lambda t: -preview.counting.get(t, 0.0))[:most]:
        row = [target if len(shown) < 2 else short(target)]
        for p in shown:
            known = p.predicted.get(target)
            figure = MISSING if known is None else resting(known.estimated) + _signed(known.value)
            row += [_with_error(p.merged.get(target)), figure]
        table.add_row(*row)
    if len(preview.targets) > most:
        table.caption = f"and {len(preview.targets) - most} more targets; --json gives all"
    return table


def agreement_table(preview: Preview) -> Table:
    """Each figure against what training gave."""
    first = preview.agreement[0]
    table = Table(title=f"Against training: {first.mixtures} mixtures, {first.cells} gains", **TABLE)
    table.add_column("")
    for name in ("rank of mixtures", "rank of gains", "mean error", "bias"):
        table.add_column(name, justify="right", no_wrap=True)
    for a in preview.agreement:
        error = MISSING if a.error is None else f"{a.error:.3f}"
        table.add_row(_FIGURES[a.figure], _signed(a.mixture_rank, 2), _signed(a.rank, 2), error, _signed(a.bias))
    if preview.trained_error is not None:
        table.caption = f"The trained gains' own standard error is {preview.trained_error:.3f}."
    return table


def agreement_sentences(preview: Preview) -> list[str]:
    """What the agreement says, in words."""
    by_figure: Mapping[str, Agreement] = {a.figure: a for a in preview.agreement}
    merged, predicted = by_figure["merged"], by_figure["predicted"]
    lines = []
    if merged.mixture_rank is None or predicted.mixture_rank is None:
        lines.append(
            f"{merged.mixtures} trained mixtures of several sources are too few to say which figure ranks mixtures better."
        )
    else:
        lines.append(
            f"Over {merged.mixtures} trained mixtures, merging ranks them with a correlation of {merged.mixture_rank:+.2f} to "
            f"training, the prediction with {predicted.mixture_rank:+.2f}."
        )
    if merged.error is not None and predicted.error is not None:
        nearer = "merging" if merged.error < predicted.error else "the prediction"
        lines.append(f"On single gains {nearer} is nearer: {merged.error:.3f} off merged, {predicted.error:.3f} off predicted.")
    return lines


def _listed(preview: Preview, short: Callable[[str], str]) -> str:
    names = [short(t) for t in preview.counting]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} targets"


def _shares(candidate: Candidate, short: Callable[[str], str], most: int = 3) -> str:
    top = sorted(candidate.weights.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{short(s)} {w:.0%}" for s, w in top[:most])
    return text + (f" +{len(top) - most}" if len(top) > most else "")


def _signed(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:+.{digits}f}"


def _with_error(gain: Gain | None) -> str:
    if gain is None:
        return MISSING
    return _signed(gain.value) + ("" if gain.error is None else f" ± {gain.error:.3f}")
