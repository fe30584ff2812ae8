"""``tvt propose``: which mixtures to train next, and whether to go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import (
    READING,
    SectionedCommand,
    answers_json,
    echo_json,
    json_option,
    note,
    show_answers,
    study_answers,
    study_arguments,
    warn_option,
)
from tvt.cli.progress import status_line
from tvt.cli.spec_options import REQUEST_SECTIONS, evidence_options, load_evidence, requested, selection_options
from tvt.errors import InfeasibleError, SolverError
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.core.proposal import Proposals
    from tvt.core.study_reading import Reading

EPILOG = """\b
Examples:
  tvt propose --runs runs.csv --lower-is-better --cap 0.5 -o next
  tvt propose qwen2.5-vl-7b --target Jigsaw --without-direct --batch 2
  tvt propose --runs runs.csv --candidates mixtures.csv --json
"""
FILE = click.Path(path_type=Path)
SECTIONS: dict[str, tuple[str, ...]] = {
    "What to choose from": (
        *(*READING, "runs_file", "weights", "scores", "lower_is_better", "response", "kappa"),
        *("batch", "candidates_file", "pending_file", "most_runs"),
    ),
    **REQUEST_SECTIONS,
    "Output": ("output", "warn", "as_json"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS, epilog=EPILOG)
@study_arguments(required=False)
@click.option("--batch", type=click.IntRange(min=1), default=4, show_default=True, help="How many mixtures to propose.")
@click.option(
    "--candidates",
    "candidates_file",
    type=FILE,
    help="Propose rows of this CSV alone: w:SOURCE columns, id; each once, none that was measured while others are left.",
)
@click.option("--pending", "pending_file", type=FILE, help="A CSV of mixtures whose runs are not done yet, in the same form.")
@click.option("--most-runs", type=click.IntRange(min=1), help="Say stop once so many runs are measured or pending.")
@selection_options
@evidence_options
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Write each proposal as a mixture file into this folder.")
@warn_option
@json_option
def command(
    *,
    studies: tuple[str, ...],
    reading: Reading,
    runs_file: Path | None,
    lower_is_better: bool,
    weights: str | None,
    scores: str | None,
    batch: int,
    candidates_file: Path | None,
    pending_file: Path | None,
    most_runs: int | None,
    **options: Any,
) -> None:
    """Propose the mixtures that are most worth training next.

    Train them with any trainer, add their scores to the table (or to the study), and ask again. Each proposal is the best
    predicted one, one that may be better still, or a measured one again; all keep to the limits asked for. Where more runs are
    not worth it, a line says stop and why.
    """
    spec = requested(options)
    with status_line("reading the evidence"):
        evidence = load_evidence(
            studies, reading, runs_file=runs_file, lower_is_better=lower_is_better, weights=weights, scores=scores
        )
        answers = study_answers(studies, options["warn"])
    budget = getattr(evidence, "budget", None)
    if options["budget"] is None and budget is not None:
        spec = spec.model_copy(update={"budget": budget})
    with status_line("looking for mixtures worth a run"):
        from tvt.api.loop import propose

        found = propose(evidence, spec, batch, candidates=candidates_file, pending=pending_file, most_runs=most_runs)
    from tvt.core.mixture import FailedSelection

    as_json = options["as_json"]
    if isinstance(found, FailedSelection):
        if as_json:
            echo_json({**found.json_value(), "answers": answers_json(answers)})
        show_answers(answers, as_json=as_json)
        error = InfeasibleError if found.status == "infeasible" else SolverError
        raise error(found.reason)
    written = [] if options["output"] is None else _write(found, options["output"])
    if as_json:
        echo_json({**found.json_value(), "answers": answers_json(answers)})
    else:
        from tvt.report.loop_tables import proposals_report

        console = new_console()
        for part in proposals_report(found, spec):
            console.print(part)
    for text in (*found.notes, *(f"wrote {path}" for path in written)):
        note(text)
    show_answers(answers, as_json=as_json)


def _write(found: Proposals, folder: Path) -> list[Path]:
    from tvt.api.loop import save_proposals

    return save_proposals(found, folder)
