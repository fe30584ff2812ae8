"""Learn the priors of a study's joint response from studies with mixture runs beside their single sources.

    python scripts/learn_priors.py STUDY... [--write]

For each study the curvature of own data and the size of what mixing moves are those with which its single sources predict its
other runs best, the share of mixing that all mixtures have in common and the distance over which the rest is alike those that
make all runs together most likely. A prior's median and spread are those over studies, its spread never below
``LEAST_SPREAD``. Prints what each study says; ``--write`` puts the values into
``tvt/evidence/priors.py``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.evidence.completion import complete
from tvt.evidence.priors import PRIORS, Priors
from tvt.evidence.study_model import TargetModel, target_prior
from tvt.evidence.study_rows import Rows, rows_of, usable_runs
from tvt.stats.noise import mean_correlation

ROOT = Path(__file__).resolve().parents[1]
GRIDS: dict[str, Sequence[float]] = {
    "own_kappa": (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1000.0),
    "mixing": (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3),
    "level": (0.0, 0.2, 0.4, 0.6, 0.8),
    "length": (0.2, 0.35, 0.5, 0.7, 1.0, 1.5),
}
"""What is tried of each prior."""
BESIDE = ("own_kappa_log_sd", "mixing_log_sd", "between_targets")
"""Values that follow from the studies without a trial."""
TOGETHER = ("level", "length")
"""Priors that only runs beside each other can tell."""
LEAST_SPREAD = {"own_kappa": 1.5, "mixing": 0.5}
"""Few studies say little of how much studies differ: no spread of a logarithm is taken for less. Public runs of language models
point to an own kappa some hundred times that of the drawn tasks, three such spreads away.
"""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One study's runs, and where a target's own source stands."""

    name: str
    rows: Rows
    singles: int
    positions: tuple[int | None, ...]

    @classmethod
    def of(cls, study: str) -> Learner:
        matrix = load_study(study)
        completed = complete(matrix)
        runs = usable_runs(matrix.evidence, completed)
        if runs is None:
            raise InputError(f"{study}: no runs beside its single sources; name a study with mixture runs")
        rows, _ = rows_of(matrix, completed, runs, PRIORS)
        own = tuple(completed.sources.index(t) if t in completed.sources else None for t in completed.targets)
        return cls(name=matrix.name, rows=rows, singles=len(completed.sources), positions=own)

    def likelihood(self, priors: Priors, *, together: bool) -> float:
        """Log density of the runs beside the single sources, summed over targets: of all runs ``together``, or of each alone
        as the single sources predict it. The latter does not mistake what all mixtures share for many runs' agreement.
        """
        total = 0.0
        for j, position in enumerate(self.positions):
            cells, noise = self.rows.inner[: self.singles, j], self.rows.noise[: self.singles, j]
            prior = target_prior(cells, noise, position, priors)
            if together:
                total += TargetModel(self.rows, j, prior, priors.own_kappa, priors).evidence
                continue
            alone = TargetModel(self.rows.take(np.arange(self.singles)), j, prior, priors.own_kappa, priors)
            beside = self.rows.take(np.arange(self.singles, len(self.rows.weights)))
            mean, variance = alone.at(beside.weights)
            known = np.isfinite(beside.inner[:, j])
            spread = np.sqrt(variance + beside.noise[:, j])[known]
            total += float(norm.logpdf(beside.inner[known, j], mean[known], spread).sum())
        return total

    def between(self, priors: Priors) -> float:
        """Mean correlation between targets of what the single sources' predictions of the other runs err by, in units of
        its spread; NaN for one target.
        """
        alone = self.rows.take(np.arange(self.singles))
        beside = self.rows.take(np.arange(self.singles, len(self.rows.weights)))
        errors = []
        for j, position in enumerate(self.positions):
            prior = target_prior(self.rows.inner[: self.singles, j], self.rows.noise[: self.singles, j], position, priors)
            mean, variance = TargetModel(alone, j, prior, priors.own_kappa, priors).at(beside.weights)
            errors.append((beside.inner[:, j] - mean) / np.sqrt(variance + beside.noise[:, j]))
        known = np.isfinite(errors).all(axis=0)
        return mean_correlation(np.array(errors)[:, known].T)

    def best(self) -> Priors:
        """The values that make the runs most likely."""
        priors = PRIORS
        for _ in range(2):
            for name, grid in GRIDS.items():
                tried = [replace(priors, **{name: value}) for value in grid]
                scores = [self.likelihood(one, together=name in TOGETHER) for one in tried]
                priors = tried[int(np.argmax(scores))]
        return replace(priors, between_targets=self.between(priors))


def combined(found: Sequence[Priors]) -> Priors:
    """Medians over studies, on the logarithm where a value is a scale, with the spread from study to study."""

    def logs(name: str) -> np.ndarray:
        return np.log([getattr(priors, name) for priors in found])

    def spread(name: str) -> float:
        return round(max(float(logs(name).std(ddof=1)) if len(found) > 1 else 0.0, LEAST_SPREAD[name]), 2)

    return replace(
        PRIORS,
        own_kappa=round(float(np.exp(np.median(logs("own_kappa")))), 1),
        own_kappa_log_sd=spread("own_kappa"),
        mixing=round(float(np.exp(np.median(logs("mixing")))), 2),
        mixing_log_sd=spread("mixing"),
        level=round(float(np.median([priors.level for priors in found])), 2),
        length=round(float(np.exp(np.median(logs("length")))), 2),
        between_targets=round(max(float(np.mean([priors.between_targets for priors in found])), 0.0), 2),
    )


def write(priors: Priors, path: Path) -> None:
    """Put the values into the module of priors."""
    text = path.read_text(encoding="utf-8")
    for name in (*GRIDS, *BESIDE):
        text = re.sub(rf"(    {name}: float = )[\d.]+", rf"\g<1>{getattr(priors, name)}", text)
    path.write_text(text, encoding="utf-8")


def _figures(priors: Priors) -> list[str]:
    return [f"{getattr(priors, name):.3g}" for name in (*GRIDS, "between_targets")]


def main() -> None:
    """Learn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--write", action="store_true", help="put the values into tvt/evidence/priors.py")
    args = parser.parse_args()
    learners = [Learner.of(study) for study in args.studies]
    found = [learner.best() for learner in learners]
    table = Table("study", "runs", *GRIDS, "between_targets")
    for learner, priors in zip(learners, found, strict=True):
        table.add_row(learner.name, str(len(learner.rows.weights)), *_figures(priors))
    together = combined(found)
    table.add_row("prior", "", *_figures(together))
    Console().print(table)
    if args.write:
        write(together, ROOT / "tvt" / "evidence" / "priors.py")


if __name__ == "__main__":
    main()
