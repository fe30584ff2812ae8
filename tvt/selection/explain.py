"""A selection in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, assert_never

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.evidence.response import Curvature
from tvt.selection.stability import STRATEGIES, Stability
from tvt.stats.noise import normal_factor
from tvt.transfer.generic import split

NEAR = 0.02
"""Mixtures that differ in less of the budget are the same for people."""


def explain(
    mixture: Mixture,
    stability: Stability | None = None,
    sensitivity: Mapping[float, Mapping[str, float]] | None = None,
    curvature: Curvature | None = None,
) -> list[str]:
    """Sentences: what to train on and why, what binds, who is harmed, how far to trust it."""
    match mixture.verdict:
        case "nothing_helps":
            return _nothing(mixture)
        case "no_signal":
            return _no_signal(mixture)
        case "train":
            pass
        case _:
            assert_never(mixture.verdict)
    lines = [_choice(mixture)]
    lines += [
        line for line in (_reasons(mixture), _ends(mixture), _binding(mixture), *_harm(mixture), _unmeasured(mixture)) if line
    ]
    if stability is not None:
        lines += _trust(stability)
    return [*lines, *measured_sentences(mixture), *kappa_sentences(mixture, sensitivity or {}, curvature)]


def kappa_sentences(
    mixture: Mixture, sensitivity: Mapping[float, Mapping[str, float]], curvature: Curvature | None = None
) -> list[str]:
    """What kappa stands on and what it moves: the largest source's weight, and the weight that changes hands at most."""
    fitted = curvature is not None and curvature.origin == "fitted"
    basis = f"K{curvature.text[1:]}" if curvature is not None and fitted else "Kappa is an assumption"
    if not sensitivity:
        return [f"{basis}."] if fitted else []
    largest = mixture.sources[0]
    shares = _join([f"{weights.get(largest, 0.0):.0%} at kappa {kappa:.2g}" for kappa, weights in sensitivity.items()])
    moved = max(sum(max(w - mixture.weights.get(s, 0.0), 0.0) for s, w in weights.items()) for weights in sensitivity.values())
    return [f"{basis}: {largest} would get {shares}; at most {moved:.0%} of the budget would change hands."]


def measured_sentences(mixture: Mixture) -> list[str]:
    """How far the choice is from what was measured, and the best of that."""
    near, best = mixture.measured_nearby, mixture.best_measured
    lines = []
    if near is not None and near.distance > NEAR:
        lines.append(f"The nearest measured mixture, {near.mixture}, differs in {near.distance:.0%} of the budget.")
    if best is not None and (near is None or near.mixture != best.mixture or near.distance > NEAR):
        lines.append(f"The best measured mixture by the same objective is {best.text}.")
    return lines


def _no_signal(mixture: Mixture) -> list[str]:
    lines = [
        "The runs do not tell mixtures apart: out of fold, the fit predicts no better than the mean of the runs. Add runs, or "
        "repeat some to learn the noise."
    ]
    if mixture.best_measured is not None:
        lines.append(
            f"The best measured mixture is {mixture.best_measured.text}; the best of many noisy runs looks better than it is."
        )
    if mixture.least_bad:
        best = ", ".join(f"{s} {w:.0%}" for s, w in sorted(mixture.least_bad.items(), key=lambda x: -x[1])[:4])
        lines.append(f"The fit would have chosen {best}; --anyway returns it all the same.")
    return lines


def _nothing(mixture: Mixture) -> list[str]:
    lines = ["Keep the base model, or add sources: no mixture of these sources credibly helps."]
    if mixture.credible and not any(mixture.credible.values()):
        lines.append(f"No allowed source has a credible gain on {_join(list(mixture.credible))}.")
    if mixture.least_bad:
        best = ", ".join(f"{s} {w:.0%}" for s, w in sorted(mixture.least_bad.items(), key=lambda x: -x[1])[:4])
        lines.append(f"The least bad mixture would have been {best}; --anyway returns it all the same.")
    return lines


def _choice(mixture: Mixture) -> str:
    parts = [f"{mixture.counts[s]:,} examples ({mixture.weights[s]:.0%}) of {s}" for s in mixture.sources]
    return f"Train on {_join(parts)}."


def _reasons(mixture: Mixture) -> str:
    phrases: list[str] = []
    for target, sources in mixture.credible.items():
        used = [s for s in sources if mixture.weights.get(s, 0) > 0][:3]
        if used:
            phrases.append(f"{target} gains from {_join([f'{s} ({sources[s]:+.2f} alone)' for s in used])}")
    more = f"; and {len(phrases) - 4} more targets gain" if len(phrases) > 4 else ""
    return f"Credibly, {'; '.join(phrases[:4])}{more}." if phrases else ""


def _ends(mixture: Mixture) -> str:
    """The targets that count with the largest and the smallest predicted gains, where there are more than a sentence holds."""
    gains = sorted(((mixture.predicted[t].gain, t) for t in mixture.credible if t in mixture.predicted), reverse=True)
    if len(gains) < 5:
        return ""
    most, least = (_join([f"{t} {gain:+.3f}" for gain, t in part]) for part in (gains[:2], gains[:-3:-1]))
    return f"Of the {len(gains)} targets that count, {most} are predicted to gain most, {least} least."


def _binding(mixture: Mixture) -> str:
    limits = [(n, p) for n, p in mixture.prices.items() if not n.startswith("protection")][:4]
    if not limits:
        return ""
    return "What binds: " + "; ".join(f"{name} (0.01 more would bring {price / 100:+.4f})" for name, price in limits) + "."


def _harm(mixture: Mixture) -> list[str]:
    """The protected targets that fall below their limits, then the others that are predicted to lose."""
    below = [f"{h.target} to {h.gain:+.3f} (limit {h.limit:+.3f})" for h in mixture.harmed]
    lines = [f"Harm below the limits remains: {_join(below)}."] if below else []
    if any(p.value is not None for p in mixture.predicted.values()):
        return lines
    named = {h.target for h in mixture.harmed}
    losers = sorted((p.gain, t) for t, p in mixture.predicted.items() if p.gain < -0.005 and t not in named)
    more = [f"{len(losers) - 5} more"] if len(losers) > 5 else []
    also = "Also predicted" if below else "Predicted"
    return lines + ([f"{also} to lose: {_join([f'{t} {g:+.3f}' for g, t in losers[:5]] + more)}."] if losers else [])


def _unmeasured(mixture: Mixture) -> str:
    """Which predictions rest on cells that nobody measured."""
    pairs = [f"{source} on {target}" for target, p in mixture.predicted.items() for source in p.estimated]
    if not pairs:
        return ""
    more = f" and {len(pairs) - 4} more" if len(pairs) > 4 else ""
    targets = sum(bool(p.estimated) for p in mixture.predicted.values())
    what = "1 predicted gain rests" if targets == 1 else f"{targets} predicted gains rest"
    return f"{what} on cells that were not measured but estimated: {', '.join(pairs[:4])}{more}."


def _trust(stability: Stability) -> list[str]:
    scores = stability.scores
    values = {name: kept for name in STRATEGIES if (kept := scores[name]["kept"]) is not None}
    aim = stability.objective
    what = "the selected mixture gains" if aim.linear else f"the {aim.over} the targets that count is"
    whose = "" if aim.linear else " for the selected mixture"
    line = (
        f"Chosen on the other runs and scored on the one left out, {what} "
        f"{values['selected']:+.3f}{whose} on average (predicted {scores['selected']['promised']:+.3f}); "
    )
    line += ", ".join(f"{name} {value:+.3f}" for name, value in values.items() if name != "selected") + "."
    better = [name for name, value in values.items() if name != "selected" and value > values["selected"]]
    if not better:
        return [line]
    if stability.limited:
        return [line, f"{_join(better)} did better, but without keeping to the limits."]
    return [line, f"By that measure {_join(better)} would have done better: do not lean on this choice."]


def _join(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


class BeyondPlacebo(NamedTuple):
    """What a mixture is predicted to bring beyond what any finetuning brings."""

    gain: float
    """The predicted gain minus the placebo runs' mean gain."""
    se: float
    """Standard error of both together: their errors from the questions, which they share in part, count as independent."""


def beyond_placebo(mixture: Mixture, matrix: TransferMatrix | None, confidence: float) -> dict[str, BeyondPlacebo]:
    """The predicted gains beyond placebo, by target; empty where nothing is trained or no placebo was run.

    Args:
        mixture: what was selected.
        matrix: the study.
        confidence: of the intervals of its predictions.
    """
    if matrix is None or matrix.placebo is None or mixture.decision != "train":
        return {}
    parts = split(matrix)
    found = {}
    for j, target in enumerate(parts.targets):
        predicted = mixture.predicted.get(target)
        if predicted is None or parts.origins[j] != "placebo":
            continue
        own = getattr(predicted, "se", None)
        own = (predicted.high - predicted.low) / (2 * normal_factor(confidence)) if own is None else own
        error = float(np.hypot(own, parts.generic_error[j]))
        found[target] = BeyondPlacebo(gain=predicted.gain - float(parts.generic[j]), se=error)
    return found


def placebo_sentences(mixture: Mixture, beyond: Mapping[str, BeyondPlacebo]) -> list[str]:
    """How much of the predicted gains is more than any finetuning brings: of the targets that count, the first few."""
    counting = [target for target in mixture.credible if target in beyond] or list(beyond)
    if not counting:
        return []
    named = [f"{t} {beyond[t].gain:+.3f} (standard error {beyond[t].se:.3f})" for t in counting[:4]]
    more = f" and {len(counting) - 4} more" if len(counting) > 4 else ""
    return [f"Beyond placebo, that is beyond what any finetuning brings, the predicted gains are {', '.join(named)}{more}."]
