"""The result of a comparison in plain sentences, whatever they say."""

from __future__ import annotations

from collections.abc import Sequence

from tvt.compare.comparison import Contrast, Difference, Tested, measure_of
from tvt.compare.statistics import Served
from tvt.core.arms import Arm


def sentences(
    arms: Sequence[Arm],
    gains: Sequence[Contrast],
    differences: Sequence[Contrast],
    served: Served,
    *,
    families: tuple[int, int],
) -> tuple[str, ...]:
    """The outcome on the mean over the counting targets: against each baseline, the highest, and against the base model.

    ``families`` is how many comparisons the p of ``differences`` are corrected for, on the mean and on single targets.
    """
    selected = next(e for e in arms if e.kind == "selected")
    lines = ["The selection advises to train on nothing: its figures are the base model's."] if not selected.counts else []
    mean = [c for c in differences if c.target is None]
    lines.append(_against(mean, served, [e.label for e in arms if e.kind == "random"], families[0]))
    lines += filter(None, (_highest(selected, gains), _base([c for c in gains if c.target is None])))
    lines += filter(None, (_targets([c for c in differences if c.target is not None], len(served.weights), families[1]),))
    return tuple(lines)


def _against(mean: Sequence[Contrast], served: Served, randoms: Sequence[str], family: int) -> str:
    """The selected mixture against every baseline."""
    count = len(served.weights)
    where = next(iter(served.weights)) if count == 1 else f"the {served.aim.over} {count} targets"
    seeds = {e.seeds for c in mean if (e := c.estimate)}
    what = "PGF" if measure_of(mean) == "pgf" else "Accuracy"
    runs = f", {_span(seeds)} seed{', whose noise is unknown' if seeds == {1} else 's'}" if seeds else ""
    clauses = []
    for outcome, verb in (
        ("better", "beats"),
        ("worse", "loses to"),
        ("no difference shown", "is not shown to differ from"),
        ("same mixture", "is the same mixture as"),
        ("not measured", "could not be compared with"),
    ):
        which = [c for c in mean if c.outcome == outcome]
        if which:
            clauses.append(f"{verb} {'; '.join(_phrases(which, randoms))}")
    if not clauses:
        return f"{what} on {where}: there is no baseline to compare with."
    corrected = f" (p corrected for {family} comparisons, intervals plain)" if family > 1 else ""
    return f"{what} on {where}{runs}{corrected}: selected {'. It '.join(clauses)}."


def _phrases(which: Sequence[Contrast], randoms: Sequence[str]) -> list[str]:
    """Baselines of one outcome with their figures; those that are one mixture, and the random ones, are taken together."""
    groups: dict[object, list[Contrast]] = {}
    for c in which:
        drawn = c.against in randoms and c.outcome != "not measured"
        own = (c.pgf, c.accuracy, c.reason) if c.outcome != "same mixture" else c.against
        groups.setdefault("random" if drawn else own, []).append(c)
    phrases = []
    for key, group in groups.items():
        names = [str(c.against) for c in group]
        if group[0].outcome == "not measured":
            phrases.append(f"{_join(names)} ({group[0].reason})")
        elif group[0].estimate is None:
            phrases.append(_join(names))
        elif key == "random" and len({c.estimate for c in group}) > 1:
            phrases.append(_range(_join(names), group))
        else:
            phrases.append(_figures(_join(names), group[0]))
    return phrases


def _range(names: str, group: Sequence[Contrast]) -> str:
    """Several baselines by their least and greatest difference."""
    sign = -1 if group[0].outcome == "worse" else 1
    values = sorted(sign * e.value for c in group if (e := c.estimate))
    form = ".3f" if sign < 0 else "+.3f"
    span = f"{values[0]:{form}} to {values[-1]:{form}}"
    if group[0].outcome == "no difference shown":
        return f"{names} ({span}, p at least {_p(min(_corrected(c) for c in group))})"
    return f"{names} by {span} (p at most {_p(max(_corrected(c) for c in group))})"


def _figures(name: str, c: Contrast) -> str:
    e = c.estimate
    if e is None:
        return name
    p = _corrected(c)
    p_text = f"p {'< ' if p < 0.001 else ''}{_p(p)}"
    if c.outcome == "worse":
        return f"{name} by {-e.value:.3f} (95% {-e.high:+.3f} to {-e.low:+.3f}, {p_text})"
    interval = f"95% {e.low:+.3f} to {e.high:+.3f}, {p_text}"
    return f"{name} by {e.value:+.3f} ({interval})" if c.outcome == "better" else f"{name} ({e.value:+.3f}, {interval})"


def _corrected(c: Contrast) -> float:
    return 1.0 if c.p_corrected is None else c.p_corrected


def _p(value: float) -> str:
    return "0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _highest(selected: Arm, gains: Sequence[Contrast]) -> str | None:
    """Which arm came out highest, shown to differ or not."""
    mean = {c.arm: c for c in gains if c.target is None}
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
    if c.outcome == "same mixture":
        return 0.0  # the base model's gain over itself
    e: Difference | None = c.pgf if measure == "pgf" else c.accuracy
    return None if e is None else e.value


def _base(mean: Sequence[Contrast]) -> str | None:
    """Which arms beat the base model on the mean."""
    parts = []
    for outcome, words in (("better", "better than it"), ("worse", "worse"), ("no difference shown", "not shown to differ")):
        which = [c.arm for c in mean if c.outcome == outcome]
        if which:
            parts.append(f"{words}: {_join(which)}")
    return f"Against the base model: {'; '.join(parts)}." if parts else None


def _targets(single: Sequence[Contrast], targets: int, family: int) -> str | None:
    """How often single targets tell the selected mixture from a baseline."""
    tested = [c for c in single if c.estimate is not None]
    if targets < 2 or not tested:
        return None
    better, worse = (sum(c.outcome == v for c in tested) for v in ("better", "worse"))
    corrected = f" (p corrected for {family}, apart from those on the mean)" if family > 1 else ""
    text = f"By single target, selected is better in {better}, worse in {worse} of {len(tested)} comparisons with baselines"
    return f"{text}{corrected}."


def _span(of: set[int]) -> str:
    return f"{min(of)}" if len(of) == 1 else f"{min(of)} to {max(of)}"


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
