"""``tvt analyze --json``: the analysis, and what a selection takes missing cells for."""

from __future__ import annotations

from typing import Any

from tvt.core.matrix import TransferMatrix
from tvt.evidence.predict import estimated_cells
from tvt.transfer.analysis import Analysis


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """The object (schema 1): a masked cell of ``pgf`` also has ``estimated``.

    It is ``{"value", "low", "high"}`` at the level of a selection's intervals, and ``None`` where nothing at all was measured
    of its source or its target. No other figure goes by it.
    """
    told = analysis.to_json()
    for study in analysis.studies:
        _add(told["studies"][study.name]["pgf"], study.matrix)
    return told


def _add(cells: dict[str, Any], matrix: TransferMatrix) -> None:
    found = estimated_cells(matrix)
    for source, row in cells.items():
        for target, cell in row.items():
            if cell["masked"] is None:
                continue
            p = found.get((source, target))
            cell["estimated"] = None if p is None else {"value": p.gain, "low": p.low, "high": p.high}
