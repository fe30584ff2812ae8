"""Does tuning win where winning is possible? Nine requests on the world of mixed sources, each tuned with at most 16 proposals.

    python scripts/study_tuning.py -o studies/tuning [--workers 2] [--only 1 4 7]

Three requests for few targets without their own data, three with a little own data beside the sources, three of several goals
with protected tasks; they were fixed before the first run. One seed chooses, four others race; single sources and arms are
shared through one folder. The mixture that the single sources alone would have chosen (the one-shot choice) runs with the
race's seeds, too. Many hours on two cores; what is done is not done again. Prints the tables of tvt/docs/tuning.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from tvt.api.loop import run_campaign
from tvt.api.runs import do_runs
from tvt.compare.answers import Answered
from tvt.compare.engine import compare, contrast, served_by
from tvt.core.arms import Arm
from tvt.core.mixture import Mixture
from tvt.core.selection import SelectionSpec
from tvt.io.yaml_files import load_recipe
from tvt.report.study_tables import StudyProgress
from tvt.selection.engine import select
from tvt.stats.noise import holm
from tvt.study.session import Session, open_session
from tvt.study.views import matrix_of, measured
from tvt.tuning.campaign import TUNED, Campaign
from tvt.tuning.outcome import Tuned
from tvt.tuning.stages import Plan, Record, race_runs

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, PROPOSALS, SEEDS = 10, 16, 5


def few(*targets: str) -> SelectionSpec:
    """A request for some targets without their own data."""
    return SelectionSpec(targets=dict.fromkeys(targets, 1.0), without_direct=True, max_epochs=EPOCHS)


def own(target: str) -> SelectionSpec:
    """A request for a target with its little own data."""
    return SelectionSpec(targets={target: 1.0}, max_epochs=EPOCHS)


def goals(wanted: dict[str, float], *protected: str) -> SelectionSpec:
    """A request for gains, with tasks that may not be harmed."""
    return SelectionSpec(goals=wanted, protect=dict.fromkeys(protected, 0.0), without_direct=True, max_epochs=EPOCHS)


REQUESTS: tuple[tuple[str, SelectionSpec], ...] = (
    ("a1 Jigsaw, Correspondence", few("Jigsaw", "Correspondence")),
    ("a2 Spatial_Relation, Jigsaw", few("Spatial_Relation", "Jigsaw")),
    ("a3 Count_Comparison, Correspondence", few("Count_Comparison", "Correspondence")),
    ("b1 Jigsaw, 1% own data", own("Jigsaw")),
    ("b2 Correspondence, 2% own data", own("Correspondence")),
    ("b3 Nearest_Post, 5% own data", own("Nearest_Post")),
    ("c1 Jigsaw .15, Spatial_Relation .2", goals({"Jigsaw": 0.15, "Spatial_Relation": 0.2}, "Multi_View", "Nearest_Post")),
    ("c2 Correspondence .1, Count_Comparison .2", goals({"Correspondence": 0.1, "Count_Comparison": 0.2}, "Multi_View")),
    ("c3 Spatial_Relation .2, Count_Comparison .2", goals({"Spatial_Relation": 0.2, "Count_Comparison": 0.2}, "Nearest_Post")),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One request: gains of the arms on its objective, and the tuned mixture's differences with their p."""

    name: str
    tuned: Tuned
    gains: dict[str, str]
    against: dict[str, tuple[float, float, float]]
    """By arm: difference, half of its 95% interval, p."""


def campaign(session: Session, spec: SelectionSpec, workers: int) -> Row | None:
    """Tune for a request, and train the one-shot choice beside it."""
    name = next(label for label, asked in REQUESTS if asked == spec)
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    plan = Plan(spec=plain, runs=10_000, most_proposals=PROPOSALS)
    console = Console(stderr=True)
    with StudyProgress(0, console) as show:
        tuned = run_campaign(session, plan, workers=workers, show=show, note=lambda text: console.print(f"{name}: {text}"))
    if tuned.comparison is None:
        return None
    asked = Campaign(Record(session, plan))
    shot = one_shot(session, asked.spec)
    arms = (*tuned.arms, shot)
    tasks = session.comparison_tasks([r.run for r in race_runs([shot], tuned.seeds)], list(tuned.comparison.targets))
    do_runs(session, tasks, workers=workers)
    answers = measured(session.study, session.store, arms, tuned.comparison.targets, seeds=tuned.seeds)
    served = served_by(asked.unaided, asked.spec)
    whole = compare(answers, arms, asked.unaided, asked.spec)
    gains = {c.arm: f"{c.pgf.value:+.3f} ±{c.pgf.error:.3f}" for c in whole.gains if c.target is None and c.pgf is not None}
    answered, against = Answered(answers, arms), {}
    for arm in arms[1:]:
        of = contrast(answered, TUNED, arm.label, served).pgf
        against[arm.label] = (0.0, 0.0, 1.0) if of is None else (of.value, (of.high - of.low) / 2, of.p)
    return Row(name=name, tuned=tuned, gains=gains, against=against)


def one_shot(session: Session, spec: SelectionSpec) -> Arm:
    """What the single sources alone choose."""
    matrix = matrix_of(session.study, session.store, session.study.recipe.seeds[:1])
    if matrix is None:
        sys.exit("no single source has scores")
    chosen = select(replace(matrix, evidence=None), spec)
    if not isinstance(chosen, Mixture):
        sys.exit(chosen.reason)
    counts = {s: n for s, n in chosen.counts.items() if n}
    weights = {s: w for s, w in chosen.weights.items() if w > 0}
    return Arm(label="one-shot", kind="random", weights=weights, counts=counts, about="selected from single sources")


def table(rows: Sequence[Row]) -> list[str]:
    """Gains by request, then the tuned mixture's differences with p corrected over requests (Holm)."""
    labels = [TUNED, "one-shot", "uniform", "proportional", "best single", "direct"]
    lines = [f"| request | end | {' | '.join(labels)} |", f"|---|---|{'---|' * len(labels)}"]
    for row in rows:
        cells = [row.gains.get(label, "-") for label in labels]
        lines.append(f"| {row.name} | {row.tuned.end} | {' | '.join(cells)} |")
    lines += ["", f"| tuned less | {' | '.join(labels[1:])} |", f"|---|{'---|' * (len(labels) - 1)}"]
    corrected = {
        label: dict(zip([r.name for r in rows], holm([r.against.get(label, (0, 0, 1.0))[2] for r in rows]), strict=True))
        for label in labels[1:]
    }
    for row in rows:
        cells = [
            "-"
            if label not in row.against
            else f"{row.against[label][0]:+.3f} ±{row.against[label][1]:.3f}{' *' if corrected[label][row.name] < 0.05 else ''}"
            for label in labels[1:]
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Tune for each request, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the study's folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="+", default=[*range(1, len(REQUESTS) + 1)], help="some of the requests")
    args = parser.parse_args()
    recipe = load_recipe(ROOT / "recipes" / "world.yaml", [f"seeds={list(range(SEEDS))}"])
    session = open_session(recipe, args.output)
    found = [campaign(session, REQUESTS[k - 1][1], args.workers) for k in args.only]
    print("\n".join(table([row for row in found if row is not None])))


if __name__ == "__main__":
    main()
