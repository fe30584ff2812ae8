"""What ``tvt select`` and ``tvt predict`` go by: studies, a table of mixture runs, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.cli.options import Ceiling, Metric, NearestChoice, Unit, note
from tvt.cli.spec_options import FieldOption
from tvt.core.choices import RESPONSES

if TYPE_CHECKING:
    from tvt.evidence.evidence import Measurements

F = TypeVar("F", bound=Callable[..., Any])


def response_options(function: F) -> F:
    """Decorator: ``--response`` and ``--kappa``."""
    decorators = (
        click.option("--response", type=NearestChoice(RESPONSES.names), help="How gain grows with weight.  [default: log]"),
        click.option("--kappa", cls=FieldOption, type=float),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def evidence_options(function: F) -> F:
    """Decorator: ``--response``, ``--kappa``, ``--runs`` (as ``runs_file``) and ``--lower-is-better``."""
    decorators = (
        response_options,
        click.option(
            "--runs",
            "runs_file",
            type=click.Path(path_type=Path),
            help="Table of mixture runs (w:SOURCE, score:TARGET): fits the response.",
        ),
        click.option("--lower-is-better", is_flag=True, help="The scores of --runs are losses."),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def load_evidence(
    studies: Sequence[str],
    *,
    metric: Metric,
    unit: Unit | None,
    ceiling: Ceiling,
    runs_file: Path | None,
    lower_is_better: bool,
) -> Measurements:
    """The studies pooled, with the table of mixture runs among their evidence; or the table alone. Notes go to stderr.

    Raises:
        InputError: neither is given, or any fault of the files.
    """
    from tvt.api.studies import load_mixture_runs, load_studies, pool_evidence

    matrices = load_studies(studies, metric=metric, unit=unit, ceiling=ceiling)
    runs = None if runs_file is None else load_mixture_runs(runs_file, lower_is_better=lower_is_better)
    return pool_evidence(matrices, runs, note)
