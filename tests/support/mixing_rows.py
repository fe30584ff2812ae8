"""Questions, pictures and a mixture that the tests of mixing share."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from tvt.core.mixture import Audit, Mixture, SolverRecord
from tvt.core.question import Question

COUNTS = {"One": 12, "Many": 25, "Text": 6, "Unused": 0}


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (9, 7)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256 % 256, 3)).save(stream, kind)
    return stream.getvalue()


def question(
    number: int, images: int = 1, task: str = "T", pictures: tuple[bytes, ...] | None = None, **changes: Any
) -> Question:
    fields: dict[str, Any] = {
        "id": f"q{number}",
        "task": task,
        "prompt": f"Which one, {number}? Ünï ✓\nA. x\nB. y",
        "options": ("x", "y"),
        "answer": "AB"[number % 2],
        "images": pictures or tuple(picture(number * 10 + k, "JPEG" if k else "PNG") for k in range(images)),
    }
    return Question(**{**fields, **changes})


def mixture(counts: Mapping[str, int] = COUNTS, **changes: Any) -> Mixture:
    total = sum(counts.values())
    fields: dict[str, Any] = {
        "objective": 0.1,
        "weights": {source: count / total if total else 0.0 for source, count in counts.items()},
        "counts": dict(counts),
        "budget": total,
        "predicted": {},
        "prices": {},
        "audit": Audit(passed=True, worst_violation=0.0),
        "solver": SolverRecord(name="CLARABEL", status="optimal", seconds=0.01),
    }
    return Mixture(**{**fields, **changes})
