"""A run: finetune the base model on a mixture of tasks, with a seed, then score it. Everything that tvt measures is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tvt.core.frozen import Frozen
from tvt.core.scores import BASE

Part = Literal["evaluation", "report"]
"""Which questions of a target: those on which mixtures are selected, or those kept back for comparing them."""


@dataclass(frozen=True, kw_only=True)
class Run(Frozen):
    """One run, before it is done. ``counts`` are examples per source; without any, it is the base model."""

    label: str
    """For people, e.g. ``Jigsaw``, ``Jigsaw at 25%`` or ``uniform``; no part of what the run is."""
    counts: Mapping[str, int]
    seed: int = 0

    @property
    def is_base(self) -> bool:
        """Whether nothing is trained."""
        return not self.examples

    @property
    def examples(self) -> int:
        """Training examples."""
        return sum(self.counts.values())

    @property
    def name(self) -> str:
        """Label and seed."""
        return BASE if self.is_base else f"{self.label}, seed {self.seed}"

    def plain(self) -> dict[str, Any]:
        """As plain values, sources by name and without empty ones."""
        counts = {source: count for source, count in sorted(self.counts.items()) if count}
        return {"label": self.label, "counts": counts, "seed": self.seed}


def set_name(target: str, part: Part) -> str:
    """What a target's questions of a part are called among a run's answers."""
    return target if part == "evaluation" else f"{target} {part}"
