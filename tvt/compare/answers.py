"""The answers of a comparison as arrays, and the faults that they may have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvt.compare.baselines import same_mixtures
from tvt.core.comparison import Entry, Measured, Missing
from tvt.core.pgf import has_gap
from tvt.errors import InputError
from tvt.types import Floats


class Answered:
    """Answers by entry, target and seed. An entry without counts is the base model, at every seed.

    An entry with the same counts as another one may use the other's answers, since both are the same runs.

    Raises:
        InputError: labels that are not unique, no or several selected entries, or answers that do not fit the questions.
    """

    def __init__(self, measured: Measured, entries: Sequence[Entry]) -> None:
        self.measured = measured
        self.entries = {entry.label: entry for entry in entries}
        self.same = same_mixtures(list(entries))
        self._check(entries)
        self.base = {t: np.asarray(measured.base[t], dtype=float) for t in measured.targets}
        self.seeds = tuple(sorted({*measured.seeds, *(k for runs in measured.answers.values() for k in runs)}))

    def _check(self, entries: Sequence[Entry]) -> None:
        faults = []
        if len(self.entries) < len(entries):
            faults.append("entries of a comparison need labels of their own")
        if sum(e.kind == "selected" for e in entries) != 1:
            faults.append("a comparison needs exactly one selected mixture")
        for target in self.measured.targets:
            if target not in self.measured.base or not np.size(self.measured.base[target]):
                faults.append(f"target {target}: the base model was not asked; evaluate it first")
            if target not in self.measured.ceilings:
                faults.append(f"target {target}: no ceiling")
        for label, runs in self.measured.answers.items():
            for seed, answers in runs.items():
                for target in set(answers) & set(self.measured.base):
                    asked, given = np.size(self.measured.base[target]), np.shape(answers[target])
                    if given != (asked,):
                        faults.append(
                            f"{label}, seed {seed}, target {target}: {np.size(answers[target])} answers, "
                            f"but the base model gave {asked}; evaluate both on the same questions"
                        )
        if faults:
            raise InputError(*faults)

    def is_base(self, entry: str | None) -> bool:
        """Whether an entry is the base model."""
        return entry is None or not self.entries[entry].counts

    def gap(self, target: str) -> float | None:
        """Ceiling minus base accuracy, ``None`` where it is not positive."""
        base, ceiling = float(self.base[target].mean()), self.measured.ceilings[target]
        return ceiling - base if bool(has_gap(base, ceiling)) else None

    def seeds_of(self, entry: str | None, targets: Sequence[str]) -> set[int]:
        """Seeds at which an entry (``None``: the base model) answered all of ``targets``."""
        if self.is_base(entry):
            return set(self.seeds)
        return {k for k in self.seeds if all(self._find(str(entry), k, t) is not None for t in targets)}

    def cells(self, entry: str | None, target: str, seeds: Sequence[int]) -> Floats:
        """What answers are worth, (seeds, questions): 1 where right."""
        if self.is_base(entry):
            return np.broadcast_to(self.base[target], (len(seeds), self.base[target].size))
        return np.stack([np.asarray(self._find(str(entry), k, target), dtype=float) for k in seeds])

    def _find(self, entry: str, seed: int, target: str) -> Floats | None:
        twins = [entry, self.same.get(entry, entry), *(a for a, b in self.same.items() if b == self.same.get(entry, entry))]
        for label in twins:
            found = self.measured.answers.get(label, {}).get(seed, {}).get(target)
            if found is not None:
                return np.asarray(found, dtype=float)
        return None

    def missing(self) -> tuple[Missing, ...]:
        """Runs that are not there, with the reason that was given."""
        return tuple(
            Missing(entry=label, seed=seed, reason=self.measured.missing.get((label, seed), "not done yet"))
            for label in self.entries
            for seed in self.measured.seeds
            if not any(seed in self.seeds_of(label, [t]) for t in self.measured.targets)
        )
