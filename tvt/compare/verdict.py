"""The result of a comparison in plain sentences, whoever won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvt.compare.contrasts import measure_of
from tvt.core.comparison import Contrast, Entry, Estimate, Tested


def sentences(
    entries: Sequence[Entry], gains: Sequence[Contrast], differences: Sequence[Contrast], counting: Mapping[str, float]
) -> tuple[str, ...]:
    """The verdict on the mean over the counting targets: against each baseline, the highest, and against the base model."""
    selected = next(e for e in entries if e.kind == "selected")
    told = ["The selection advises to train on nothing: its figures are the base model's."] if not selected.counts else []
    mean = [c for c in differences if c.target is None]
    told.append(_against(mean, counting))
    told += filter(None, (_highest(selected, gains), _base([c for c in gains if c.target is None])))
    told += filter(None, (_targets([c for c in differences if c.target is not None], len(counting)),))
    return tuple(told)


def _against(mean: Sequence[Contrast], counting: Mapping[str, float]) -> str:
    """The selected mixture against every baseline."""
    where = next(iter(counting)) if len(counting) == 1 else f"the mean over {len(counting)} targets"
    seeds = {e.seeds for c in mean if (e := c.estimate)}
    what = "PGF" if measure_of(mean) == "pgf" else "Accuracy"
    runs = f", {_span(seeds)} seed{'' if seeds == {1} else 's'}" if seeds else ""
    clauses = []
    for verdict, verb in (
        ("better", "beats"),
        ("worse", "loses to"),
        ("no difference shown", "is not shown to differ from"),
        ("same mixture", "is the same mixture as"),
        ("not measured", "could not be compared with"),
    ):
        which = [c for c in mean if c.verdict == verdict]
        if which:
            clauses.append(f"{verb} {_join([_figures(c) for c in which])}")
    if not clauses:
        return f"{what} on {where}: there is no baseline to compare with."
    return f"{what} on {where}{runs}: selected {'; '.join(clauses)}."


def _figures(c: Contrast) -> str:
    e = c.estimate
    if e is None:
        return f"{c.against} ({c.reason})" if c.verdict == "not measured" else str(c.against)
    p = 1.0 if c.p_corrected is None else c.p_corrected
    told = "corrected p < 0.001" if p < 0.001 else f"corrected p {p:.3f}" if p < 0.1 else f"corrected p {p:.2f}"
    sign = "by " if c.verdict in ("better", "worse") else ""
    value = abs(e.value) if c.verdict == "worse" else e.value
    low, high = (-e.high, -e.low) if c.verdict == "worse" else (e.low, e.high)
    number = f"{sign}{value:+.3f}" if c.verdict != "worse" else f"{sign}{value:.3f}"
    interval = f"95% {low:+.3f} to {high:+.3f}, {told}"
    return f"{c.against} {number} ({interval})" if sign else f"{c.against} ({number}, {interval})"


def _highest(selected: Entry, gains: Sequence[Contrast]) -> str | None:
    """Which entry came out highest, shown to differ or not."""
    mean = {c.entry: c for c in gains if c.target is None}
    measure = measure_of(list(mean.values()))
    values = {label: v for label, c in mean.items() if (v := _value(c, measure)) is not None}
    if selected.label not in values or len(values) < 2:
        return None
    top = max(values, key=lambda label: (values[label], label == selected.label))
    if top == selected.label:
        return f"Selected came out highest ({values[top]:+.3f})."
    rank = 1 + sum(v > values[selected.label] for v in values.values())
    own = f"selected is number {rank} of {len(values)} ({values[selected.label]:+.3f})"
    return f"{_capital(top)} came out highest ({values[top]:+.3f}); {own}."


def _value(c: Contrast, measure: Tested) -> float | None:
    if c.verdict == "same mixture":
        return 0.0  # the base model's gain over itself
    e: Estimate | None = c.pgf if measure == "pgf" else c.accuracy
    return None if e is None else e.value


def _base(mean: Sequence[Contrast]) -> str | None:
    """Which entries beat the base model on the mean."""
    parts = []
    for verdict, words in (("better", "better than it"), ("worse", "worse"), ("no difference shown", "not shown to differ")):
        which = [c.entry for c in mean if c.verdict == verdict]
        if which:
            parts.append(f"{words}: {_join(which)}")
    return f"Against the base model: {'; '.join(parts)}." if parts else None


def _targets(single: Sequence[Contrast], targets: int) -> str | None:
    """How often single targets tell the selected mixture from a baseline."""
    tested = [c for c in single if c.estimate is not None]
    if targets < 2 or not tested:
        return None
    better, worse = (sum(c.verdict == v for c in tested) for v in ("better", "worse"))
    return f"By single target, selected is better in {better}, worse in {worse} of {len(tested)} comparisons with baselines."


def _span(of: set[int]) -> str:
    return f"{min(of)}" if len(of) == 1 else f"{min(of)} to {max(of)}"


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
