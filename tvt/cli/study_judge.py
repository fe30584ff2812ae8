"""``tvt study judge``: what would a cheaper study have said?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tvt.cli.answer_options import answers_json, show_answers, study_answers, warn_option
from tvt.cli.completion import complete_studies
from tvt.cli.evidence_options import response_options
from tvt.cli.options import Ceiling, Metric, SectionedCommand, Unit, echo_json, json_option, reading_options
from tvt.cli.spec_options import REQUEST_SECTIONS, requested, selection_options
from tvt.cli.status_line import status_line
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.core.matrix import TransferMatrix
    from tvt.core.selection import SelectionSpec
    from tvt.study.judgement import Judgement

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
    metric: Metric,
    unit: Unit | None,
    ceiling: Ceiling,
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
    what the mixtures are for; without any, every target is asked for by itself, without its own training data.
    """
    if sum(given is not None for given in (seeds, dose, against)) != 1:
        raise InputError("say which cheaper study is meant: one of --seeds N, --dose SHARE and --against STUDY")
    spec = requested(options)
    with status_line("reading the studies"):
        named = [study, *([against] if against else [])]
        from tvt.api.studies import load_studies

        matrices = load_studies(named, metric=metric, unit=unit, ceiling=ceiling)
        answers = study_answers(named, warn)
    full = matrices[0]
    if options["budget"] is None and full.budget is not None:
        spec = spec.model_copy(update={"budget": full.budget})
    with status_line("judging"):
        found = _judge(full, spec, seeds, dose, matrices[1:])
    if as_json:
        echo_json({**found.json_value(), "answers": answers_json(answers)})
        show_answers(answers, as_json=True)
        return
    from rich.console import Console

    from tvt.report.judgement_tables import judgement_report

    console = Console(highlight=False)
    for part in judgement_report(found):
        console.print(part)
    show_answers(answers, as_json=False)


def _judge(
    full: TransferMatrix, spec: SelectionSpec, seeds: int | None, dose: float | None, others: list[TransferMatrix]
) -> Judgement:
    """Make the cheaper studies and judge them."""
    from tvt.study.judging import at_dose, beside, by_runs, judge, wishes

    asked = wishes(full, spec)
    if seeds is not None:
        subsets, of = by_runs(full, seeds, spec.seed)
        return judge(full, subsets, asked, way="seeds", of=of, examples=1.0)
    if dose is not None:
        return judge(full, [at_dose(full, dose)], asked, way="dose", examples=dose)
    other, notes = beside(full, others[0])
    budget = other.matrix.budget
    examples = None if full.budget is None or budget is None else budget / full.budget
    return judge(full, [other], asked, way="against", examples=examples, notes=notes)
