"""``tvt predict``: what would this mix do?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import Metric, Unit, echo_json, json_option, load_matrices, note, study_arguments
from tvt.cli.spec_options import build_spec
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.selection.prepare import Evidence

EPILOG = """\b
Examples:
  tvt predict qwen2.5-vl-7b --mixture mixture.yaml
  tvt predict --runs runs.csv --lower-is-better --mixtures mixtures.csv --json
"""
FILE = click.Path(path_type=Path)


@click.command(epilog=EPILOG)
@study_arguments(required=False)
@click.option(
    "--runs", "runs_file", type=FILE, help="Table of mixture runs (w:SOURCE, score:TARGET columns) instead of a STUDY."
)
@click.option("--lower-is-better", is_flag=True, help="The scores of --runs are losses.")
@click.option("--mixture", "mixture_file", type=FILE, help="A mixture.yaml.")
@click.option("--mixtures", "mixtures_file", type=FILE, help="A CSV of mixtures, one a row: w:SOURCE columns, optional id.")
@click.option("--response", type=click.Choice(["log", "linear"]), help="How gain grows with weight.  [default: log]")
@click.option("--kappa", type=float, help="Curvature of the log response.  [default: 10]")
@click.option("--confidence", type=float, help="Level of the intervals.  [default: 0.9]")
@json_option
def command(
    *,
    studies: tuple[str, ...],
    metric: Metric,
    unit: Unit | None,
    runs_file: Path | None,
    lower_is_better: bool,
    mixture_file: Path | None,
    mixtures_file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict what given mixtures would do, under the response that tvt select uses.

    With a STUDY the values are gains (PGF); with --runs they are scores in the table's own unit.
    """
    if (mixture_file is None) == (mixtures_file is None):
        raise InputError("give one of --mixture FILE.yaml and --mixtures FILE.csv")
    if bool(studies) == (runs_file is not None):
        raise InputError("give either a STUDY or --runs runs.csv to predict from")
    spec = build_spec(**options)
    evidence = _evidence(studies, metric, unit, runs_file, lower_is_better)
    ids, weights, sources = _mixtures(evidence, mixture_file, mixtures_file)
    from tvt.selection.predict import predict

    told, report, notes = predict(evidence, weights, sources, spec)
    for text in notes:
        note(text)
    if as_json:
        from tvt.report.selection_json import prediction_json

        echo_json(prediction_json(ids, told, report))
        return
    from rich.console import Console

    from tvt.report.selection_tables import fit_table, gains_table, predictions_table

    console = Console()
    console.print(gains_table(told[0], spec) if len(told) == 1 else predictions_table(ids, told))
    if report is not None:
        console.print(fit_table(report))


def _evidence(
    studies: tuple[str, ...], metric: Metric, unit: Unit | None, runs_file: Path | None, lower_is_better: bool
) -> Evidence:
    if runs_file is not None:
        from tvt.data.mixture_tables import load_mixture_runs

        return load_mixture_runs(runs_file, lower_is_better=lower_is_better)
    from tvt.core.pooling import pool

    return pool(load_matrices(studies, metric, unit))


def _mixtures(evidence: Evidence, one: Path | None, many: Path | None) -> tuple[tuple[str, ...], Any, tuple[str, ...]]:
    """Ids, weights (N, S) and the sources of their columns."""
    from tvt.data.mixture_tables import load_mixtures
    from tvt.selection.predict import weights_of

    if many is not None:
        ids, weights = load_mixtures(many, evidence.sources)
        return tuple(ids), weights, evidence.sources
    from tvt.io.mixture_file import load_mixture

    assert one is not None  # noqa: S101 - one of the two was given
    weights, sources = weights_of(load_mixture(one).weights)
    return (one.stem,), weights, sources
