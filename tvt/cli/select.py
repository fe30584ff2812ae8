"""``tvt select``: a transfer study (or a table of mixture runs) into a data mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.completion import complete_labels
from tvt.cli.evidence_options import evidence_options, load_evidence
from tvt.cli.options import Ceiling, Metric, SectionedCommand, Unit, echo_json, json_option, note, study_arguments
from tvt.cli.spec_options import build_spec, gather, parse_pairs, parse_targets, read_prior, read_sizes
from tvt.cli.status_line import status_line
from tvt.errors import InfeasibleError, InputError, SolverError

if TYPE_CHECKING:
    from tvt.core.mixture import Mixture
    from tvt.core.selection import SelectionSpec
    from tvt.report.selection_told import SelectionTold
    from tvt.selection.prepare import Evidence, Prepared

EPILOG = """\b
Examples:
  tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --without-direct
  tvt select qwen2.5-vl-7b --target RD --target RR --protect all --cap 0.4 -o mixture.yaml
  tvt select --runs runs.csv --lower-is-better --json
"""
FILE = click.Path(path_type=Path)
SECTIONS: dict[str, tuple[str, ...]] = {
    "What to choose from": ("metric", "unit", "ceiling", "runs_file", "lower_is_better", "response", "kappa"),
    "What to aim for": ("objective", "goals", "targets", "without_direct", "exclude"),
    "Budget and limits": (
        *("budget", "sizes", "sizes_file", "max_epochs", "caps", "floors", "constraints", "max_sources", "min_weight"),
        *("kl", "prior"),
    ),
    "Care": ("protect", "hard", "harm_penalty", "protect_z", "risk", "cvar", "confidence", "anyway", "seed"),
    "Output": ("in_sentences", "preview", "frontier_kind", "plots", "stability", "output", "as_json"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS, epilog=EPILOG)
@study_arguments(required=False)
@click.option("--objective", type=click.Choice(["gain", "goals", "worst"]), help="Default: goals where given, else gain.")
@click.option(
    "--goal",
    "goals",
    multiple=True,
    metavar="TARGET=GAIN",
    help="Gain asked for (PGF; 15% is 0.15). Repeatable.",
    shell_complete=complete_labels("target", end="="),
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET[=WEIGHT]",
    help="Count only these targets. Repeatable.",
    shell_complete=complete_labels("target"),
)
@click.option("--without-direct", is_flag=True, help="Leave out the targets' own training data.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="SOURCE",
    help="Do not use this source. Repeatable.",
    shell_complete=complete_labels("source"),
)
@click.option("--budget", type=click.IntRange(min=1), help="Training examples to share out.  [default: the study's, or 10000]")
@click.option("--size", "sizes", multiple=True, metavar="SOURCE=N", help="Examples that a source has. Repeatable.")
@click.option("--sizes", "sizes_file", type=FILE, help="YAML file of source: number of examples.")
@click.option("--max-epochs", type=float, help="How often an example may be used.  [default: 1]")
@click.option("--cap", "caps", multiple=True, metavar="[SOURCE=]SHARE", help="Largest weight, of all or one. Repeatable.")
@click.option("--floor", "floors", multiple=True, metavar="[SOURCE=]SHARE", help="Least weight, of all or one. Repeatable.")
@click.option("--constraint", "constraints", multiple=True, metavar="TEXT", help="Such as 'RD + RR >= 0.2'. Repeatable.")
@click.option("--max-sources", type=click.IntRange(min=1), help="Most sources in the mixture.")
@click.option("--min-weight", type=float, help="Least weight of a source that is used.")
@click.option(
    "--protect",
    multiple=True,
    metavar="all|TARGET[=GAIN]",
    help="Least gain of targets (0 if not said).",
    shell_complete=complete_labels("target", "all"),
)
@click.option("--hard", is_flag=True, help="Make protection a hard limit instead of a penalty.")
@click.option("--harm-penalty", type=float, help="Cost of a unit of harm below a soft limit.  [default: 1]")
@click.option("--protect-z", type=float, help="Standard errors of safety in protection.  [default: 0]")
@click.option("--risk", type=float, help="Standard errors of gain to give up for safety (ellipsoid).  [default: 0]")
@click.option("--cvar", type=float, metavar="SHARE", help="Optimise the mean of the worst SHARE of bootstrap samples.")
@click.option("--kl", type=float, help="Weight of the divergence from the prior.  [default: 0]")
@click.option("--prior", multiple=True, metavar="SOURCE=SHARE|FILE", help="Prior mixture for --kl. Default: uniform.")
@evidence_options
@click.option("--confidence", type=float, help="Level of intervals and of 'credible'.  [default: 0.9]")
@click.option("--anyway", is_flag=True, help="Give the best mixture even where nothing credibly helps.")
@click.option("--seed", type=int, help="Seed of the bootstrap.  [default: 0]")
@click.option("--frontier", "frontier_kind", type=click.Choice(["risk", "harm"]), help="Also gain against risk or worst harm.")
@click.option("--plots", type=FILE, metavar="DIR", help="Folder for the frontier's plot (SVG and PNG).")
@click.option("--explain", "in_sentences", is_flag=True, help="Tell the answer in sentences.")
@click.option("--preview", is_flag=True, help="Rank mixtures by merged adapters of a study of tvt study run; changes nothing.")
@click.option("--stability/--no-stability", default=True, help="Leave each run out in turn, and move kappa.  [default: on]")
@click.option("-o", "--output", type=FILE, help="Write mixture.yaml with its provenance.")
@json_option
def command(
    *,
    studies: tuple[str, ...],
    metric: Metric,
    unit: Unit | None,
    ceiling: Ceiling,
    runs_file: Path | None,
    lower_is_better: bool,
    **options: Any,
) -> None:
    """Choose how much of each source to train on.

    STUDY is a bundled name (tvt studies), a study folder or a CSV; several are pooled as runs of one. With --runs alone, a
    response is fitted on past mixture runs; beside a STUDY, --runs (scored in the study's metric) helps to fit kappa.

    Weights are shares of the budget, gains are PGF: the part of the gap to a perfect score that is closed.
    """
    spec = _spec(options)
    if options["preview"]:
        from tvt.cli.preview import open_previewed

        options["preview"] = open_previewed(studies)
    if studies and runs_file and (options["kappa"] or options["response"] == "linear"):
        note("--runs beside a STUDY fits kappa, and there is nothing to fit with --kappa or --response linear")
    with status_line("reading the evidence"):
        evidence = load_evidence(
            studies, metric=metric, unit=unit, ceiling=ceiling, runs_file=runs_file, lower_is_better=lower_is_better
        )
    budget = getattr(evidence, "budget", None)
    if options["budget"] is None and budget is not None:
        spec = spec.model_copy(update={"budget": budget})
    _run(evidence, spec, options)


def _spec(options: dict[str, Any]) -> SelectionSpec:
    """The request; all faults of all options at once."""
    plain: tuple[str, ...] = ("objective", "budget", "max_epochs", "max_sources", "min_weight", "harm_penalty", "protect_z")
    plain += ("risk", "cvar", "kl", "response", "kappa", "confidence", "seed", "without_direct", "hard", "anyway")
    goals, targets, caps, floors, protect, prior, sizes, from_file = gather(
        lambda: parse_pairs("--goal", options["goals"]),
        lambda: parse_targets(options["targets"]),
        lambda: parse_pairs("--cap", options["caps"], bare_number=True),
        lambda: parse_pairs("--floor", options["floors"], bare_number=True),
        lambda: parse_pairs("--protect", options["protect"], bare_name=0.0),
        lambda: read_prior(options["prior"]),
        lambda: parse_pairs("--size", options["sizes"]),
        lambda: read_sizes(options["sizes_file"]),
    )
    if options["plots"] and not options["frontier_kind"]:
        raise InputError("--plots draws the frontier; add --frontier risk or --frontier harm")
    if options["hard"] and not protect:
        raise InputError("--hard needs --protect: it says which targets may not be harmed, e.g. --protect all")
    return build_spec(
        goals=goals,
        targets=targets,
        caps=caps,
        floors=floors,
        protect=protect,
        prior=prior,
        sizes={**from_file, **sizes},
        exclude=options["exclude"],
        constraints=options["constraints"],
        **{name: options[name] for name in plain},
    )


def _run(evidence: Evidence, spec: SelectionSpec, options: dict[str, Any]) -> None:
    """Select, save, and tell the answer in the form asked for."""
    from tvt.core.mixture import FailedSelection
    from tvt.report.selection_json import failure_json, selection_json

    with status_line("choosing the mixture"):
        from tvt.selection.engine import finish
        from tvt.selection.prepare import prepare

        prepared = prepare(evidence, spec)
        answer = finish(prepared)
    if isinstance(answer, FailedSelection):
        if options["as_json"]:
            echo_json(failure_json(answer))
        error = InfeasibleError if answer.status == "infeasible" else SolverError
        soft = any(name.startswith("protection") for name in answer.conflicts)
        raise error(f"{answer.reason}{'; or make protection soft (without --hard)' if soft else ''}")
    told = _told(prepared, answer, options)
    if options["output"]:
        from tvt.io.mixture_file import save_mixture

        save_mixture(answer, options["output"])
    if options["as_json"]:
        echo_json(selection_json(told))
        for text in answer.notes:
            note(text)
    else:
        _show(told, options)
    if options["plots"]:
        from tvt.report.frontier_plot import plot_frontier

        for path in plot_frontier(told.frontier, told.frontier_kind, options["plots"], told.short):
            note(f"wrote {path}")


def _told(prepared: Prepared, answer: Mixture, options: dict[str, Any]) -> SelectionTold:
    """The answer with the further looks that were asked for."""
    from tvt.cli.preview import preview_selection
    from tvt.report.selection_told import SelectionTold
    from tvt.selection.frontier import frontier
    from tvt.selection.sensitivity import kappa_sensitivity
    from tvt.selection.stability import stability

    evidence, spec, wanted = prepared.evidence, prepared.spec, options["stability"]
    kind = options["frontier_kind"]
    with status_line("how stable is it:") as tell:
        tell("leaving each run out")
        stable = stability(evidence, spec, prepared.report.form if prepared.report else None) if wanted else None
        tell("moving kappa")
        moved = kappa_sensitivity(evidence, spec, prepared.curvature) if wanted and answer.verdict == "train" else {}
    with status_line(f"tracing gain against {kind}"):
        traced = frontier(evidence, prepared.settled, kind) if kind else ()
    return SelectionTold(
        mixture=answer,
        spec=spec,
        fit=prepared.report,
        stability=stable,
        sensitivity=moved,
        curvature=prepared.curvature,
        frontier=traced,
        frontier_kind=kind or "harm",
        preview=preview_selection(options["preview"], prepared, answer) if options["preview"] else None,
        short=getattr(evidence, "short", str),
    )


def _show(told: SelectionTold, options: dict[str, Any]) -> None:
    """Tables, or sentences, in the terminal."""
    from rich.console import Console

    from tvt.report.selection_tables import frontier_table, selection_report

    console = Console()
    if options["in_sentences"]:
        from tvt.selection.explain import explain

        for line in explain(told.mixture, told.stability, told.sensitivity, told.curvature):
            console.print(line, markup=False, highlight=False)
    else:
        for part in selection_report(told):
            console.print(part)
    if told.frontier:
        console.print(frontier_table(told))
    if told.preview:
        from tvt.report.preview_tables import preview_report

        for part in preview_report(told.preview, told.short):
            console.print(part)
    if options["output"]:
        console.print(f"Wrote {options['output']}", markup=False, highlight=False)
