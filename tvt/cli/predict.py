"""``tvt predict``: what would this mix do?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import (
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
from tvt.cli.spec_options import FieldOption, build_spec, evidence_options, load_evidence
from tvt.errors import InputError
from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.core.study_reading import Reading

EPILOG = """\b
Examples:
  tvt predict qwen2.5-vl-7b --mixture mixture.yaml
  tvt predict --runs runs.csv --lower-is-better --mixtures mixtures.csv --json
"""
FILE = click.Path(path_type=Path)


@click.command(epilog=EPILOG)
@study_arguments(required=False)
@evidence_options
@click.option("--mixture", "mixture_file", type=FILE, help="A mixture.yaml.")
@click.option("--mixtures", "mixtures_file", type=FILE, help="A CSV of mixtures, one a row: w:SOURCE columns, optional id.")
@click.option("--confidence", cls=FieldOption, type=float)
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
    mixture_file: Path | None,
    mixtures_file: Path | None,
    warn: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Predict what given mixtures would do, under the response that tvt select uses.

    With a STUDY the values are gains (PGF), and --runs beside it helps to fit the response; with --runs alone they are scores
    in the table's own unit.
    """
    mixtures = mixture_file or mixtures_file
    if mixtures is None or (mixture_file and mixtures_file):
        raise InputError("give one of --mixture FILE.yaml and --mixtures FILE.csv")
    spec = build_spec(**options)
    with status_line("reading the evidence"):
        evidence = load_evidence(
            studies, reading, runs_file=runs_file, lower_is_better=lower_is_better, weights=weights, scores=scores
        )
        answers = study_answers(studies, warn)
    with status_line("predicting"):
        from tvt.api.mixtures import predict

        predicted = predict(evidence, mixtures, spec=spec)
    for text in predicted.notes:
        note(text)
    if as_json:
        echo_json({**predicted.json_value(), "answers": answers_json(answers)})
        show_answers(answers, as_json=True)
        return

    from tvt.report.selection_tables import fit_table, gains_table, predictions_table

    console, several = new_console(), len(predicted.ids) > 1
    console.print(predictions_table(predicted.ids, predicted.gains) if several else gains_table(predicted.gains[0], spec))
    if predicted.fit is not None:
        console.print(fit_table(predicted.fit))
    show_answers(answers, as_json=False)
