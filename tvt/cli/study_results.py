"""Studies with results: ``tvt study judge`` and ``merge``, and ``tvt study run --adaptive``, its options and its outcome."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tvt.cli.completion import complete_folders, complete_studies
from tvt.cli.options import (
    SectionedCommand,
    answers_json,
    echo_json,
    json_option,
    note,
    reading_options,
    show_answers,
    show_notes,
    study_answers,
    warn_option,
)
from tvt.cli.progress import status_line
from tvt.cli.spec_options import REQUEST_SECTIONS, requested, response_options, selection_options
from tvt.errors import InputError
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.core.matrix import TransferMatrix
    from tvt.core.selection import SelectionSpec
    from tvt.core.study_reading import Reading
    from tvt.study.adaptive import AdaptiveOutcome, AdaptiveStudy
    from tvt.study.judgement import Judgement
    from tvt.study.merging import Merged
    from tvt.study.session import Session

EPILOG = """\b
Examples:
  tvt study judge qwen2.5-vl-7b --seeds 2
  tvt study judge qwen2.5-vl-7b --seeds 2 --target Jigsaw --without-direct
  tvt study judge studies/full --dose 0.25
  tvt study judge studies/full --against studies/adaptive --json
"""
SECTIONS: dict[str, tuple[str, ...]] = {
    "The cheaper study": ("seeds", "dose", "against"),
    "How the study is read": ("metric", "unit", "ceiling", "response", "kappa"),
    **REQUEST_SECTIONS,
}


@click.command("judge", cls=SectionedCommand, sections=SECTIONS, epilog=EPILOG)
@click.argument("study", metavar="STUDY", shell_complete=complete_studies)
@reading_options
@click.option("--seeds", type=click.IntRange(min=1), help="So many of its runs: every choice of them, or a sample of 20.")
@click.option("--dose", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Its runs at this share of the budget.")
@click.option("--against", metavar="STUDY", shell_complete=complete_studies, help="Another study of the same tasks.")
@selection_options
@response_options
@warn_option
@json_option
def command(
    *,
    study: str,
    reading: Reading,
    seeds: int | None,
    dose: float | None,
    against: str | None,
    warn: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Judge a cheaper study against the full one: half the seeds, a part of the budget, or another study.

    STUDY is a bundled name (tvt studies), a study folder or a CSV. The cheaper one's cells are held against the full one's,
    its mixture against theirs, and regret is what its mixture loses by the full study's figures. The options of tvt select say
    what the mixtures are for; without any, every target is a request of its own, without its own training data.
    """
    if sum(option is not None for option in (seeds, dose, against)) != 1:
        raise InputError("say which cheaper study is meant: one of --seeds N, --dose SHARE and --against STUDY")
    spec = requested(options)
    with status_line("reading the studies"):
        named = [study, *([against] if against else [])]
        from tvt.api.studies import load_studies

        matrices = load_studies(named, **reading)
        answers = study_answers(named, warn)
    show_notes(matrices)
    full = matrices[0]
    if options["budget"] is None and full.budget is not None:
        spec = spec.model_copy(update={"budget": full.budget})
    with status_line("judging"):
        result = _judge(full, spec, seeds, dose, matrices[1:])
    if as_json:
        echo_json({**result.json_value(), "answers": answers_json(answers)})
        show_answers(answers, as_json=True)
        return

    from tvt.report.comparison_tables import judgement_report

    console = new_console(highlight=False)
    for part in judgement_report(result):
        console.print(part)
    show_answers(answers, as_json=False)


def _judge(
    full: TransferMatrix, spec: SelectionSpec, seeds: int | None, dose: float | None, others: list[TransferMatrix]
) -> Judgement:
    """Make the cheaper studies and judge them."""
    from tvt.study.judging import at_dose, beside, by_runs, judge, wishes

    requests = wishes(full, spec)
    if seeds is not None:
        subsets, of = by_runs(full, seeds, spec.seed)
        return judge(full, subsets, requests, way="seeds", of=of, examples=1.0)
    if dose is not None:
        return judge(full, [at_dose(full, dose)], requests, way="dose", examples=dose)
    other, notes = beside(full, others[0])
    budget = other.matrix.budget
    examples = None if full.budget is None or budget is None else budget / full.budget
    return judge(full, [other], requests, way="against", examples=examples, notes=notes)


F = TypeVar("F", bound=Callable[..., Any])
RUN_SECTIONS: dict[str, tuple[str, ...]] = {
    "The study": ("output", "overrides", "executor", "workers", "retry_failed", "as_json"),
    "No run": ("estimate",),
    "Fewer runs": ("adaptive", "runs", "tolerance"),
    **{f"{title} (with --adaptive)": names for title, names in REQUEST_SECTIONS.items()},
    "How gain grows (with --adaptive)": ("response", "kappa"),
}
_REQUEST = (*(name for names in REQUEST_SECTIONS.values() for name in names), "response", "kappa")


def adaptive_options(function: F) -> F:
    """Decorator: ``--adaptive``, ``--runs``, ``--tolerance``, and the request of ``tvt select``."""
    for decorate in (
        response_options,
        selection_options,
        click.option(
            "--tolerance",
            type=click.FloatRange(min=0),
            help="Gain (PGF) that the mixture may lose within any interval and still count as stable.  [default: 0.002]",
        ),
        click.option("--runs", type=click.IntRange(min=1), help="Training runs at most, those that are done included."),
        click.option("--adaptive", is_flag=True, help="A run per source, then those that may change the requested mixture."),
    ):
        function = decorate(function)
    return function


def adaptive_study(session: Session, options: Mapping[str, Any]) -> AdaptiveStudy | None:
    """What chooses the runs, if ``--adaptive`` was given.

    Raises:
        InputError: an option that needs it, or a request that does not fit the study: all faults at once.
    """
    if not options["adaptive"]:
        options_used = [words[0] for words in _used(("runs", "tolerance", *_REQUEST))]
        if options_used:
            raise InputError(
                *(f"{option} says what an adaptive study is for; add --adaptive" for option in dict.fromkeys(options_used))
            )
        return None
    from tvt.selection.adaptive import Tolerance
    from tvt.study.adaptive import AdaptiveStudy

    spec = requested(options)
    if options["budget"] is None:
        spec = spec.model_copy(update={"budget": session.study.recipe.budget})
    tolerance = None if options["tolerance"] is None else Tolerance(regret=options["tolerance"])
    return AdaptiveStudy(session, spec, options["runs"], tolerance)


def outcome_json(outcome: AdaptiveOutcome, folder: Path) -> dict[str, Any]:
    """The end of an adaptive study as plain values."""
    return {"spent": outcome.spent, "of": outcome.whole, "stopped": outcome.why, "select": shlex.join(_select(folder))}


def show_outcome(outcome: AdaptiveOutcome, study: AdaptiveStudy, folder: Path) -> None:
    """Say how many runs were spent, why no more, and what mixture they select."""
    echo(f"{folder}: {outcome.spent} of {outcome.whole} runs. {outcome.why[0].upper()}{outcome.why[1:]}.")
    echo(f"The mixture as it stands: {_mixture(study)}.")
    echo(f"  {shlex.join(_select(folder))}")


def _mixture(study: AdaptiveStudy) -> str:
    from tvt.core.mixture import FailedSelection

    answer = study.answer()
    if answer is None:
        return "none, since nothing is measured yet"
    if isinstance(answer, FailedSelection):
        return f"none, since {answer.reason}"
    if answer.verdict == "nothing_helps":
        return "train on nothing, since nothing helps credibly"
    weights = sorted(((w, s) for s, w in answer.weights.items() if w > 0), reverse=True)
    return ", ".join(f"{w:.0%} {s}" for w, s in weights)


def _select(folder: Path) -> list[str]:
    """The command that selects the mixture from what the folder holds."""
    return ["tvt", "select", str(folder), *(word for words in _used(_REQUEST) for word in words)]


def _used(names: tuple[str, ...]) -> list[list[str]]:
    """The words of the command line that give some parameters."""
    context = click.get_current_context()
    result: list[list[str]] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in names or context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue
        value, option = context.params[name], parameter.opts[0]
        if value is True:
            result.append([option])
        else:
            result += [[option, str(one)] for one in (value if isinstance(value, tuple) else (value,))]
    return result


MERGE_EPILOG = """\b
Examples:
  tvt study merge study elsewhere/study --dry-run
  tvt study merge study cluster-a/study cluster-b/study
"""
PATH = click.Path(path_type=Path)


@click.command("merge", epilog=MERGE_EPILOG)
@click.argument("folder", type=PATH, metavar="DIR", shell_complete=complete_folders)
@click.argument("others", type=PATH, metavar="FROM...", nargs=-1, required=True, shell_complete=complete_folders)
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be copied; write nothing.")
@json_option
def merge_command(*, folder: Path, others: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Copy the finished runs of the studies in FROM into the study in DIR, which is made if need be.

    Divide a study between clusters, by seeds or by sources, and join it here. Every adapter, score and answer is checked before
    it is copied; a damaged run is refused and the others go in. Of a run that is in both, cells are joined; where the two
    differ, DIR's version stays and a note says so. Runs that are at work, unfinished or failed stay where they are.

    Interrupt it when you like; the same command goes on.
    """
    with status_line("checking and copying") as tell:
        from tvt.study.merging import merge

        merged = merge(folder, others, dry_run=dry_run, report=tell)
    for line in (line for part in merged for line in part.conflicts):
        note(line)
    foreign, unwritten = _write_tables(folder) if not dry_run else ([], None)
    if as_json:
        echo_json(_plain(folder, merged, dry_run, foreign, unwritten))
    else:
        for part in merged:
            echo(f"{part.folder}: {_sentence(part, dry_run)}")
    if foreign:
        are = "run is" if len(foreign) == 1 else "runs are"
        text = f"{len(foreign):,} {are} of other seeds, sources or settings than {folder}/recipe.yaml and not in its tables"
        note(f"{text}; tvt study run with a recipe that has them, on {folder}, takes them up")
    if unwritten is not None:
        note(f"the tables in {folder} are not written anew ({unwritten}); tvt study run RECIPE -o {folder} does that")
    if faults := [fault for part in merged for lines in part.refused.values() for fault in lines]:
        raise InputError(*faults)


def _write_tables(folder: Path) -> tuple[list[str], str | None]:
    """Runs of other recipes, and why the tables could not be written, if so."""
    with status_line("reading the rows of") as tell:
        from tvt.io import machine
        from tvt.study.session import reopen
        from tvt.study.views import foreign_runs, write_views

        try:
            session = reopen(folder, tell)
            with machine.resource_errors(folder, "writing tables"):
                write_views(session.study, session.store)
            return foreign_runs(session.study, session.store), None
        except InputError as error:
            more = f", and {len(error.faults) - 1} more" if len(error.faults) > 1 else ""
            return [], error.faults[0] + more


def _sentence(part: Merged, dry_run: bool) -> str:
    copied = f"{_runs(len(part.copied))} {'to copy' if dry_run else 'copied'}"
    parts = [copied] if part.copied or not part.extended else []
    if part.extended:
        cells = sum(part.extended.values())
        verb = "to give" if dry_run else "given"
        parts.append(f"{_runs(len(part.extended))} {verb} {cells} more cell{'' if cells == 1 else 's'}")
    if part.known:
        parts.append(f"{len(part.known)} known already")
    if part.conflicts:
        parts.append(f"{len(part.conflicts)} differing")
    if part.refused:
        parts.append(f"{len(part.refused)} refused")
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(part.left.items()))
    return ", ".join(parts) + (f"; left there: {left}" if left else "")


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def _plain(folder: Path, merged: Sequence[Merged], dry_run: bool, foreign: list[str], unwritten: str | None) -> dict[str, Any]:
    parts = [{**vars(part), "folder": str(part.folder), "left": dict(sorted(part.left.items()))} for part in merged]
    record: dict[str, Any] = {"schema": 1, "folder": str(folder), "dry_run": dry_run, "from": parts}
    return {**record, "other_recipes": foreign, "tables": {"written": not dry_run and unwritten is None, "reason": unwritten}}
