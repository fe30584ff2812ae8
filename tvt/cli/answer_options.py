"""What commands that show scores say of the answers behind them: ``--warn``, and a short block of warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import note
from tvt.errors import InputError, suggest

if TYPE_CHECKING:
    from tvt.core.answer_statistics import AnswerReport
    from tvt.core.recipe import WarningSettings
    from tvt.report.evaluation_tables import Warned

warn_option = click.option(
    "--warn",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Another threshold of the warnings about answers: letter_share, letter_excess, letter_mass, unread or questions, e.g. "
    "unread=0.2. Repeatable.  [default: the study's recipe, 'warnings:']",
)
"""Decorator: ``--warn``, passed as ``warn``."""


def thresholds_of(settings: WarningSettings, warn: Sequence[str]) -> WarningSettings:
    """The thresholds with those that the command line gives.

    Raises:
        InputError: an unknown one, or a value that is none; every fault, one line each.
    """
    from pydantic import ValidationError

    from tvt.core.recipe import WarningSettings as Settings
    from tvt.io.strict_yaml import input_error

    told: dict[str, Any] = settings.model_dump()
    faults = []
    for text in warn:
        name, equals, value = text.partition("=")
        if name not in told or not equals:
            faults.append(f"--warn {text}: write it as FIELD=VALUE, one of {', '.join(told)}{suggest(name, list(told))}")
        else:
            told[name] = value
    try:
        found = Settings.model_validate(told)
    except ValidationError as error:
        raise InputError(*faults, *input_error(error, Settings, "--warn").faults) from error
    if faults:
        raise InputError(*faults)
    return found


def study_answers(studies: Sequence[str], warn: Sequence[str]) -> dict[str, AnswerReport]:
    """What is known of the answers of each study, by the name that the person wrote; of bundled ones and tables, nothing.

    Raises:
        InputError: a study's records are damaged, or a threshold is none.
    """
    from tvt.api.studies import answer_reports

    reports = answer_reports(studies)
    return {name: replace(report, thresholds=thresholds_of(report.thresholds, warn)) for name, report in reports.items()}


def answer_lines(reports: Mapping[str, AnswerReport]) -> list[Warned]:
    """The warnings of all studies, with the study's name where there are several."""
    from tvt.report.evaluation_tables import answer_warnings

    return [
        line._replace(text=f"{name}: {line.text}") if len(reports) > 1 else line
        for name, report in reports.items()
        for line in answer_warnings(report)
    ]


def show_answers(reports: Mapping[str, AnswerReport], *, as_json: bool) -> None:
    """Print the warnings: on stdout, where the figures stand, or as notes on stderr where stdout is one JSON object."""
    lines = answer_lines(reports)
    if as_json:
        for line in lines:
            note(line.text)
    elif lines:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        for line in lines:
            console.print(Text(f"warning: {line.text}", style="bold red" if line.loud else "yellow"))


def answers_json(reports: Mapping[str, AnswerReport]) -> dict[str, Any] | None:
    """The key ``answers`` of a command's JSON; ``None`` where nothing is known of the answers behind any study.

    With several studies every entry names its ``study``, and ``thresholds`` is ``None`` where they differ: each warning has its
    own.
    """
    from tvt.core.encode import encode

    told = {name: encode(report) for name, report in reports.items() if report.known}
    if len(told) <= 1:
        return next(iter(told.values()), None)
    thresholds = [found.pop("thresholds") for found in told.values()]
    lists = next(iter(told.values()))
    return {
        "thresholds": thresholds[0] if all(one == thresholds[0] for one in thresholds) else None,
        **{key: [{"study": name, **entry} for name, found in told.items() for entry in found[key]] for key in lists},
    }
