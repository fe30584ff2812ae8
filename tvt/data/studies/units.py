"""Fraction or percent: declared, clearly inferable, or refused. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tvt.data.csv_table import Faults

Unit = Literal["fraction", "percent"]
Cells = Sequence[tuple[int, float]]
"""(line, value) of the cells that are not missing."""

_ROUNDING = 1e-9
_DEEPEST_PGF = -20.0
"""A PGF below this is possible but rare enough that it may as well be a percentage."""


def accuracy_unit(cells: Cells, unit: Unit | None, faults: Faults) -> Unit:
    """The unit of accuracies, which lie within 0 and 1 or within 0 and 100; faults are noted with their lines."""
    for line, value in cells:
        if value < 0 or value > 100:
            faults.add(line, f"accuracy {value:g} is outside 0 to 100 percent; check the value")
        elif unit == "fraction" and value > 1:
            faults.add(line, f"accuracy {value:g} is above 1; pass --unit percent if it is a percentage")
    if unit is not None:
        return unit
    low = [(line, value) for line, value in cells if 0 < value <= 1]
    high = [(line, value) for line, value in cells if value > 1]
    if low and high:
        faults.add(low[0][0], _mixed(low, high))
    return "percent" if high else "fraction"


def pgf_unit(cells: Cells, unit: Unit | None, faults: Faults) -> Unit:
    """The unit of PGF values, of which none is above 1 (100 percent); faults are noted with their lines."""
    if unit is None and cells:
        unit = _infer_pgf(cells, faults)
        if unit is None:
            return "fraction"
    unit = unit or "fraction"
    limit = 100.0 if unit == "percent" else 1.0
    for line, value in cells:
        if value > limit * (1 + _ROUNDING):
            faults.add(line, f"PGF {value:g} is above {limit:g}, which no PGF is; pass --metric gain if these are other gains")
    return unit


def _infer_pgf(cells: Cells, faults: Faults) -> Unit | None:
    """The unit that the values themselves tell, or ``None`` with a fault noted."""
    above = [cell for cell in cells if cell[1] > 1 + _ROUNDING]
    small = [cell for cell in cells if 0 < abs(cell[1]) <= 1]
    lowest = min(cells, key=lambda cell: cell[1])
    if above:
        if not small:
            return "percent"
        hint = "; pass --unit percent, or --metric gain if these are no PGF"
        faults.add(small[0][0], _mixed(small, above).partition(";")[0] + hint)
        return None
    if lowest[1] < _DEEPEST_PGF or (lowest[1] < -1 and not small):
        faults.add(lowest[0], f"{lowest[1]:g} may be a PGF or a percentage; pass --unit fraction or --unit percent")
        return None
    return "fraction"


def _mixed(low: Cells, high: Cells) -> str:
    (_, small), (line, large) = low[0], high[0]
    return f"percent mixed with fractions: {small:g} here, {large:g} on line {line}; pass --unit fraction or --unit percent"
