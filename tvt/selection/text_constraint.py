"""Linear constraints written as text: ``RD + RR >= 0.2``, ``2*Jigsaw - Counting <= 10%``, ``0.1 <= RD <= 0.3``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tvt.types import Floats

_NUMBER = r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?)"
_COMPARE = re.compile(r"(<=|>=|==|=|<|>)")


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLimit:
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
