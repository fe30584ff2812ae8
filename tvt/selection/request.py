"""A selection's request with every name looked up and every limit an array, constraints as
text among them: what the problem is built from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from tvt.core.selection import ALL, Requested, SelectionSpec
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.evidence.response import ErrorRows
from tvt.types import Bools, Floats, Positions

Resolve = Callable[[str], str]
Value = TypeVar("Value")


class Region(NamedTuple):
    """Where measured mixtures are: the length of ``rows`` at weights (S,) is at most ``radius``."""

    rows: ErrorRows
    radius: float


REGION = "measured region (--beyond lifts it)"
"""The name of that limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Request(Frozen):
    """Limits and objective as arrays over ``sources`` (S, those that may be used) and ``targets`` (T).

    ``caps`` and ``floors`` (S,) with the names of the caps' causes; ``linear`` the text constraints; ``weights`` (T,) of the
    counting targets, summing to 1; ``goals`` (T,), NaN where none; ``limits`` (T,), the protected targets' least gains, NaN
    where none; ``prior`` (S,), summing to 1.
    """

    spec: SelectionSpec
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    caps: Floats
    cap_names: tuple[str, ...]
    floors: Floats
    linear: tuple[LinearLimit, ...]
    weights: Floats
    goals: Floats
    limits: Floats
    prior: Floats
    region: Region | None = None

    @property
    def counting(self) -> Bools:
        """True for the targets that the objective counts, (T,)."""
        return self.weights > 0

    @property
    def served(self) -> Positions:
        """Positions of the targets that the objective counts."""
        return np.flatnonzero(self.counting)

    @property
    def requested(self) -> Requested:
        """What the objective asks of the counting targets."""
        return Requested(weights=self.weights[self.served], goals=self.goals[self.served])


@dataclass
class _Names:
    """Looks names up and collects every fault."""

    sources: Sequence[str]
    targets: Sequence[str]
    resolve: Resolve
    faults: list[str] = field(default_factory=list)

    def source(self, text: str, option: str) -> str | None:
        return self._find(text, option, self.sources, "source")

    def target(self, text: str, option: str) -> str | None:
        return self._find(text, option, self.targets, "target")

    def mapping(self, given: Mapping[str, Value], option: str, *, of_targets: bool = False) -> dict[str, Value]:
        find = self.target if of_targets else self.source
        found: dict[str, Value] = {}
        for text, value in given.items():
            name = ALL if text == ALL else find(text, option)
            if name in found:
                self.faults.append(f"{option}: {name} is given twice; keep one")
            if name is not None:
                found[name] = value
        return found

    def _find(self, text: str, option: str, known: Sequence[str], kind: str) -> str | None:
        try:
            name = self.resolve(text)
        except KeyError as error:
            listed = "" if "did you mean" in error.args[0] else f"; known {kind}s: {', '.join(known)}"
            self.faults.append(f"{option}: {error.args[0]}{listed}")
            return None
        if name not in known:
            self.faults.append(f"{option}: {name} is no {kind} here; known {kind}s: {', '.join(known)}")
            return None
        return name


def resolve_request(
    spec: SelectionSpec,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    resolve: Resolve,
    is_pgf: bool = True,
    sign: float = 1.0,
    reference: Floats | None = None,
) -> Request:
    """Look all names of ``spec`` up and turn its limits into arrays.

    With a ``reference`` (T,) of known scores, goals and limits are scores in the table's unit, and ``sign`` is -1 for losses:
    they become gains over the reference.

    Raises:
        InputError: unknown names, goals above 1 (no PGF is), contradictory limits, unreadable constraints: all at once.
    """
    names = _Names(sources, targets, resolve)
    goals = names.mapping(spec.goals, "--goal", of_targets=True)
    counted = names.mapping(spec.targets, "--target", of_targets=True)
    limits = names.mapping(spec.protect, "--protect", of_targets=True)
    if is_pgf:
        for option, given in (("--goal", goals), ("--protect", limits)):
            for name, value in given.items():
                if value > 1:
                    names.faults.append(f"{option} {name}={value:g}: no PGF is above 1; did you mean {value / 100:g}?")
    scored = reference is not None and bool(np.isfinite(reference).all())
    for name, value in goals.items():
        if value < 0 and not scored:
            names.faults.append(f"--goal {name}={value:g}: a goal is a gain, at least 0; use --protect to limit harm")
    allowed = _allowed(spec, names, [*goals] or [n for n, w in counted.items() if w])
    caps, cap_names = _caps(spec, names, allowed)
    floors = _per_source(names.mapping(spec.floors, "--floor"), allowed, 0.0)
    for source, floor, cap, cause in zip(allowed, floors, caps, cap_names, strict=True):
        if floor > cap and cause.startswith("cap"):
            names.faults.append(f"floor {floor:g} of {source} is above its cap {cap:g}; raise the cap or lower the floor")
    linear = _linear(spec, names, allowed)
    prior = _prior(spec, names, allowed)
    if names.faults:
        raise InputError(*names.faults)
    weights = np.array([1.0 if t in goals else 0.0 if goals else counted.get(t, 0.0 if counted else 1.0) for t in targets])
    zero = np.nan_to_num(reference) if scored and reference is not None else np.zeros(len(targets))
    return Request(
        spec=spec,
        sources=allowed,
        targets=tuple(targets),
        caps=caps,
        cap_names=cap_names,
        floors=floors,
        linear=linear,
        weights=weights / weights.sum(),
        goals=sign * (np.array([goals.get(t, np.nan) for t in targets]) - zero),
        limits=sign * (np.array([limits.get(t, limits.get(ALL, np.nan)) for t in targets]) - zero),
        prior=prior,
    )


def _allowed(spec: SelectionSpec, names: _Names, counting: Sequence[str]) -> tuple[str, ...]:
    """The sources that may be used."""
    out = {names.source(text, "--exclude") for text in spec.exclude}
    if spec.without_direct:
        out |= set(counting)
    allowed = tuple(s for s in names.sources if s not in out)
    if not allowed:
        names.faults.append("no source is left to choose from; drop --without-direct or an --exclude")
    return allowed


def _per_source(given: Mapping[str, float], allowed: Sequence[str], default: float) -> Floats:
    return np.array([given.get(s, given.get(ALL, default)) for s in allowed], dtype=float)


def _caps(spec: SelectionSpec, names: _Names, allowed: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """The tighter of the asked cap and what the source's data can give, with the cause's name."""
    caps = _per_source(names.mapping(spec.caps, "--cap"), allowed, 1.0)
    sizes = names.mapping(spec.sizes, "--size")
    room = np.array([spec.max_epochs * sizes[s] / spec.budget if s in sizes else np.inf for s in allowed])
    epochs = f"{spec.max_epochs:g} epoch{'' if spec.max_epochs == 1 else 's'}"
    causes = tuple(
        f"data of {s} ({sizes[s]} examples, {epochs})" if r < c else f"cap of {s}"
        for s, r, c in zip(allowed, room, caps, strict=True)
    )
    return np.minimum(caps, room), causes


def _linear(spec: SelectionSpec, names: _Names, allowed: Sequence[str]) -> tuple[LinearLimit, ...]:
    found: list[LinearLimit] = []
    for text in spec.constraints:
        try:
            found += parse_constraint(text, allowed, names.resolve)
        except KeyError as error:
            names.faults.append(f"--constraint '{text}': {error.args[0]}")
        except ValueError as error:
            names.faults.append(str(error))
    return tuple(found)


def _prior(spec: SelectionSpec, names: _Names, allowed: Sequence[str]) -> Floats:
    prior = names.mapping(spec.prior, "--prior")
    values = np.array([prior.get(s, 0.0 if prior else 1.0) for s in allowed], dtype=float)
    if values.size and not values.sum() > 0:
        names.faults.append("--prior: no allowed source has a positive share; give at least one")
        return np.full(len(allowed), 1.0)
    shares: Floats = values / max(float(values.sum()), 1e-300)
    return shares


_NUMBER = r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?)"
_COMPARE = re.compile(r"(<=|>=|==|=|<|>)")


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLimit(Frozen):
    """``coefficients @ w <= bound``, under the name by which the user knows it."""

    name: str
    coefficients: Floats
    bound: float


def parse_constraint(text: str, names: Sequence[str], resolve: Callable[[str], str]) -> tuple[LinearLimit, ...]:
    """Read one constraint as limits over the weights of ``names``, in that order.

    Args:
        text: sides joined by ``<=``, ``>=`` or ``=``; a side sums terms ``[number *] name`` and numbers (``20%`` is 0.2).
        names: the sources that may carry weight.
        resolve: turns a name or an abbreviation into a source's full name; raises KeyError for an unknown one.

    Raises:
        ValueError: not of this form; says what was not understood.
        KeyError: unknown name.
    """
    parts = _COMPARE.split(text)
    if len(parts) < 3:
        raise ValueError(f"constraint '{text}' has no comparison; write for example 'A + B >= 0.2'")
    sides = [_parse_side(part, text, names, resolve) for part in parts[::2]]
    limits: list[LinearLimit] = []
    for (left, left_constant), operator, (right, right_constant) in zip(sides, parts[1::2], sides[1:], strict=False):
        coefficients, bound = left - right, right_constant - left_constant
        if not coefficients.any():
            raise ValueError(f"constraint '{text}' says nothing about any source")
        if operator in ("<=", "<", "=", "=="):
            limits.append(LinearLimit(name=text.strip(), coefficients=coefficients, bound=bound))
        if operator in (">=", ">", "=", "=="):
            limits.append(LinearLimit(name=text.strip(), coefficients=-coefficients, bound=-bound))
    return tuple(limits)


def _parse_side(side: str, text: str, names: Sequence[str], resolve: Callable[[str], str]) -> tuple[Floats, float]:
    """Coefficients over ``names`` and the constant of one side."""
    coefficients, constant = np.zeros(len(names)), 0.0
    rest, first = side.strip(), True
    if not rest:
        raise ValueError(f"constraint '{text}' has an empty side; write for example 'A + B >= 0.2'")
    while rest:
        sign = re.match(r"[+-]", rest)
        if sign is None and not first:
            raise ValueError(f"constraint '{text}': expected + or - before '{rest}'")
        rest = rest[1:].lstrip() if sign else rest
        factor = -1.0 if sign and sign.group() == "-" else 1.0
        number = re.match(_NUMBER + r"\s*(?P<times>\*)?\s*", rest)
        if number:
            factor *= _number(number["number"])
            rest = rest[number.end() :]
        name, rest = _take_name(rest, names, resolve) if not number or number["times"] else (None, rest)
        if name is None:
            if not number or number["times"]:
                raise ValueError(f"constraint '{text}': expected a task name or a number at '{rest}'")
            constant += factor
        elif name in names:
            coefficients[list(names).index(name)] += factor
        rest, first = rest.lstrip(), False
    return coefficients, constant


def _take_name(rest: str, names: Sequence[str], resolve: Callable[[str], str]) -> tuple[str | None, str]:
    """The task at the start of ``rest`` and what follows; known names win over shorter readings (they may hold a '-')."""
    quoted = re.match(r"'([^']+)'|\"([^\"]+)\"", rest)
    if quoted:
        return resolve(quoted.group(1) or quoted.group(2)), rest[quoted.end() :]
    for name in sorted(names, key=len, reverse=True):
        if rest.casefold().startswith(name.casefold()) and not re.match(r"\w", rest[len(name) : len(name) + 1]):
            return name, rest[len(name) :]
    word = re.match(r"[^\W\d][\w.-]*", rest)
    if word is None:
        return None, rest
    return resolve(word.group()), rest[word.end() :]


def _number(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)
