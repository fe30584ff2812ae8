"""``tvt select``: a transfer study (or a table of mixture runs) into a data mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import (
    READING,
    NearestChoice,
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
from tvt.cli.progress import progress_bar, status_line
from tvt.cli.spec_options import REQUEST_SECTIONS, evidence_options, load_evidence, requested, selection_options
from tvt.core.choices import RESPONSES
from tvt.errors import InfeasibleError, InputError, SolverError
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.core.mixture import Mixture
    from tvt.core.selection import SelectionSpec
    from tvt.core.study_reading import Reading
    from tvt.evidence.evidence import Measurements
    from tvt.report.selection_tables import SelectionResult
    from tvt.selection.engine import Prepared
    from tvt.study.previewed import Preview
    from tvt.study.session import Session

EPILOG = """\b
Examples:
  tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --without-direct
  tvt select qwen2.5-vl-7b --target RD --target RR --protect all --cap 0.4 -o mixture.yaml
  tvt select --runs runs.csv --lower-is-better --json
"""
FILE = click.Path(path_type=Path)
SECTIONS: dict[str, tuple[str, ...]] = {
    "What to choose from": (*READING, "runs_file", "weights", "scores", "lower_is_better", "response", "kappa"),
    **REQUEST_SECTIONS,
    "Output": ("in_sentences", "preview", "frontier_kind", "plots", "stability", "output", "warn", "as_json"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS, epilog=EPILOG)
@study_arguments(required=False)
@selection_options
@evidence_options
@click.option("--frontier", "frontier_kind", type=NearestChoice(["risk", "harm"]), help="Also gain against risk or worst harm.")
@click.option("--plots", type=FILE, metavar="DIR", help="Folder for the frontier's plot (SVG and PNG).")
@click.option("--explain", "in_sentences", is_flag=True, help="Tell the answer in sentences.")
@click.option("--preview", is_flag=True, help="Rank mixtures by merged adapters of a study of tvt study run; changes nothing.")
@click.option(
    "--stability/--no-stability", default=True, help="Leave each run out in turn, and move kappa (log response).  [default: on]"
)
@click.option("-o", "--output", type=FILE, help="Write mixture.yaml with its provenance.")
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
    **options: Any,
) -> None:
    """Choose how much of each source to train on.

    STUDY is a bundled name (tvt studies), a study folder or a CSV; several are pooled, those of different models
    as a run each. With --runs alone, a response is fitted on past mixture runs; beside a STUDY, --runs (scored in the study's
    metric) helps to fit its response.

    Weights are shares of the budget, gains are PGF: the part of the gap to a perfect score that is closed.
    """
    spec = requested(options)
    if options["plots"] and not options["frontier_kind"]:
        raise InputError("--plots draws the frontier; add --frontier risk or --frontier harm")
    session = _open_previewed(studies) if options["preview"] else None
    form = RESPONSES.find(spec.form)
    if studies and runs_file and not form.joint and (options["kappa"] or not form.curved):
        note("--runs beside a STUDY has nothing to fit with --kappa or --response linear")
    with status_line("reading the evidence"):
        evidence = load_evidence(
            studies, reading, runs_file=runs_file, lower_is_better=lower_is_better, weights=weights, scores=scores
        )
        options["answers"] = study_answers(studies, options["warn"])
    budget = getattr(evidence, "budget", None)
    if options["budget"] is None and budget is not None:
        spec = spec.model_copy(update={"budget": budget})
    _run(evidence, spec, options, session)


def _open_previewed(studies: tuple[str, ...]) -> Session:
    from tvt.api.mixtures import open_previewed

    with status_line("reading the rows of") as doing:
        return open_previewed(studies, doing)


def _run(evidence: Measurements, spec: SelectionSpec, options: dict[str, Any], session: Session | None) -> None:
    """Select, save, and print the answer in the form asked for."""
    from tvt.api.mixtures import preview_selection, select_in_detail
    from tvt.core.mixture import FailedSelection

    def preview(prepared: Prepared, mixture: Mixture) -> Preview:
        assert session is not None  # noqa: S101
        with progress_bar("merged adapters") as progress:
            return preview_selection(session, prepared, mixture, progress)

    with status_line("") as doing:
        result = select_in_detail(
            evidence,
            spec,
            stability=options["stability"],
            frontier=options["frontier_kind"],
            preview=preview if session else None,
            doing=doing,
        )
    if isinstance(result, FailedSelection):
        if options["as_json"]:
            echo_json({**result.json_value(), "answers": answers_json(options["answers"])})
        show_answers(options["answers"], as_json=options["as_json"])
        error = InfeasibleError if result.status == "infeasible" else SolverError
        soft = any(name.startswith("protection") for name in result.conflicts)
        raise error(f"{result.reason}{'; or make protection soft (without --hard)' if soft else ''}")
    if options["output"]:
        from tvt.io.yaml_files import save_mixture

        save_mixture(result.mixture, options["output"])
    if options["as_json"]:
        echo_json({**result.json_value(), "answers": answers_json(options["answers"])})
        for text in result.mixture.notes:
            note(text)
    else:
        _show(result, options)
    show_answers(options["answers"], as_json=options["as_json"])
    if options["plots"]:
        from tvt.report.mixture_plots import plot_frontier

        for path in plot_frontier(result.frontier, result.frontier_kind, options["plots"], result.short):
            note(f"wrote {path}")


def _show(result: SelectionResult, options: dict[str, Any]) -> None:
    """Tables, or sentences, in the terminal."""
    from tvt.report.selection_tables import TRUST, frontier_table, selection_report

    console = new_console()
    if options["in_sentences"]:
        from tvt.selection.explain import explain, placebo_sentences

        lines = explain(result.mixture, result.stability, result.sensitivity, result.curvature)
        for line in (*lines, *placebo_sentences(result.mixture, result.beyond_placebo)):
            console.print(line, markup=False, highlight=False)
        console.print(TRUST, markup=False, highlight=False, style="dim")
    else:
        for part in selection_report(result):
            console.print(part)
    if result.frontier:
        console.print(frontier_table(result))
    if result.preview:
        from tvt.report.selection_tables import preview_report

        for part in preview_report(result.preview, result.short):
            console.print(part)
    if options["output"]:
        console.print(f"Wrote {options['output']}", markup=False, highlight=False)
