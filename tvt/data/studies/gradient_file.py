"""``gradients.json`` in a study's folder: what the gradients of the base model say of transfer, before calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tvt.core.gradients import GradientCells
from tvt.core.values import encode
from tvt.errors import InputError
from tvt.io import atomic, json_text
from tvt.types import Floats

GRADIENTS_FILE = "gradients.json"
SCHEMA = 1
_FIGURES = ("change", "row_error", "question_error", "projection_error")


def write_gradients(folder: Path, cells: GradientCells, about: dict[str, Any]) -> None:
    """Write the file; the same cells give the same bytes.

    Args:
        folder: of the study.
        cells: what was computed, per target and not over any gap.
        about: plain values on how it was computed.
    """
    figures = {
        s: {t: {name: getattr(cells, name)[i, j] for name in _FIGURES} for j, t in enumerate(cells.targets)}
        for i, s in enumerate(cells.sources)
    }
    named = {"sources": cells.sources, "targets": cells.targets, "quantities": cells.quantities, "masked": cells.masked}
    record = {"schema": SCHEMA, "identity": cells.identity, **about, **named, "cells": figures}
    atomic.write_text(folder / GRADIENTS_FILE, json.dumps(encode(record), indent=1, ensure_ascii=False) + "\n")


def read_gradients(folder: Path) -> GradientCells | None:
    """Read the file; ``None`` where there is none.

    Raises:
        InputError: it is damaged, or of another version.
    """
    path = folder / GRADIENTS_FILE
    step = "delete it, and tvt study run RECIPE --estimate gradients writes it anew"
    try:
        data = json_text.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read; {step}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: written by another version of tvt; {step}")
    try:
        return _cells(data)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; {step}") from error


def _cells(data: dict[str, Any]) -> GradientCells:
    sources, targets = tuple(data["sources"]), tuple(data["targets"])

    def figures(name: str) -> Floats:
        rows = [[data["cells"][s][t][name] for t in targets] for s in sources]
        return np.array(rows, dtype=float).reshape(len(sources), len(targets))

    return GradientCells(
        sources=sources,
        targets=targets,
        quantities=dict(data["quantities"]),
        masked=dict(data["masked"]),
        identity=str(data["identity"]),
        **{name: figures(name) for name in _FIGURES},
    )
