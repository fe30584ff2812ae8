"""``--detect`` of ``tvt study plan``, ``compare`` and ``tune``: what difference can these seeds and questions show?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.report.printing import new_console

if TYPE_CHECKING:
    from tvt.transfer.power import DetectionReport

F = TypeVar("F", bound=Callable[..., Any])


def detect_options(function: F) -> F:
    """Decorator: ``--detect``, ``--seed-sd`` and ``--differing``, passed as ``detect``, ``seed_sd`` and ``differing``."""
    for option in (
        click.option(
            "--differing",
            type=click.FloatRange(min=0, max=1, min_open=True),
            help="Guess for --detect: share of questions that two runs answer differently.  [default: measured, else 0.25]",
        ),
        click.option(
            "--seed-sd",
            type=click.FloatRange(min=0, max=1),
            help="Guess for --detect: standard deviation of accuracy between seeds.  [default: measured, else 0.03]",
        ),
        click.option(
            "--detect",
            type=click.FloatRange(min=0, min_open=True),
            metavar="PGF",
            help="Say whether a difference of this size can be shown, and how many seeds and questions show it with 80%.",
        ),
    ):
        function = option(function)
    return function


def show_detection(report: DetectionReport) -> None:
    """Print what a plan can show."""
    from tvt.report.loop_tables import detection_table

    new_console(highlight=False).print(detection_table(report))
