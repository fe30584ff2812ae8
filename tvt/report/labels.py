"""Short labels for wide tables and crowded plots."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tvt.core.matrix import TransferMatrix

LONGEST = 4


def short_labels(matrix: TransferMatrix) -> dict[str, str]:
    """A unique label of a few letters for every source and target: its abbreviation, its initials, or these with a number."""
    names = tuple(dict.fromkeys((*matrix.sources, *matrix.targets)))
    given = {task.name: task.abbreviation for task in matrix.tasks if task.abbreviation}
    labels: dict[str, str] = {name: given[name] for name in names if name in given}
    taken = set(labels.values())
    for name in names:
        if name in labels:
            continue
        label = _initials(name)
        number = 2
        while label in taken:
            label, number = f"{_initials(name)[: LONGEST - len(str(number))]}{number}", number + 1
        labels[name] = label
        taken.add(label)
    return labels


def plain(name: str) -> str:
    """A task's name for people: underscores become spaces."""
    return name.replace("_", " ")


def shortened(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``width`` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def join(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _initials(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    words = [word for word in re.split(r"[\W_]+", name) if word]
    if len(words) < 2:
        return (words[0] if words else name)[:LONGEST]
    # A number tells tasks of one family apart, so it stays whole.
    parts = [word if word.isdigit() else word[0].upper() for word in words]
    return "".join(parts)[:LONGEST]
