"""What several commands share: studies and how they are read, ``--json``, ``--warn``, where rows are, and notes on stderr.

Nothing heavy is imported here: the help of a command needs neither numpy nor the studies.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.cli.completion import complete_studies
from tvt.errors import InputError, harmless, printed_line, suggest
from tvt.report.printing import echo, encodable, new_console

if TYPE_CHECKING:
    from tvt.core.answer_statistics import AnswerReport
    from tvt.core.matrix import TransferMatrix
    from tvt.core.recipe import WarningSettings
    from tvt.report.evaluation_tables import Warned

F = TypeVar("F", bound=Callable[..., Any])


class NearestChoice(click.Choice[str]):
    """A choice that names the nearest one where another is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click does it, with a suggestion in the message."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            nearest = suggest(str(value), list(self.choices))
            raise click.BadParameter(error.message.removesuffix(".") + nearest, ctx, param) from error


def reading_options(function: F) -> F:
    """Decorator: how a study is read, all passed as one mapping, ``reading``: see :class:`tvt.core.study_reading.Reading`."""

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        reading = {name: given.pop(name) for name in READING}
        reading["questions"] = _questions(reading["questions"])
        return function(reading=reading, **given)

    decorated: Any = gathered
    for option in (
        click.option("--ceiling", type=NearestChoice(["task", "human"]), default="task", show_default=True, help=_CEILING),
        click.option("--questions", multiple=True, metavar="[TARGET=]N", help=_QUESTIONS),
        click.option("--transpose", is_flag=True, help="In a CSV the models stand across, the tasks down."),
        click.option("--base", metavar="NAME", help="The base model's row in a CSV of accuracies, if not called base."),
        click.option(
            "--unit",
            type=NearestChoice(["fraction", "percent"]),
            help="Unit of the values in a CSV. Default: what the values clearly are, else refused.",
        ),
        click.option("--metric", type=NearestChoice(["pgf", "gain"]), help=_METRIC),
    ):
        decorated = option(decorated)
    result: F = decorated
    return result


READING = ("metric", "unit", "base", "transpose", "questions", "ceiling")
"""The options of :func:`reading_options`."""
_METRIC = (
    "What a CSV without accuracies holds: PGF, or gains that are no PGF (a relative change, say). Default: PGF, refused where "
    "the values may be accuracies."
)
_CEILING = "What counts as a perfect score: what each task states (1 as a rule), or what people reach."
_QUESTIONS = "Of how many questions a CSV's accuracies are, for their errors; of one target: TARGET=N. Repeatable."


def _questions(given: Sequence[str]) -> int | dict[str, int] | None:
    """The numbers of questions: one for all targets, or one by target.

    Raises:
        InputError: no whole number above 0, or both forms at once; every fault, one line each.
    """
    faults, by_target, general = [], dict[str, int](), list[int]()
    for text in given:
        target, _, count = text.rpartition("=")
        if not count.isdecimal() or int(count) < 1:
            faults.append(f"--questions {text}: not a number of questions; write --questions 200 or --questions Jigsaw=150")
        elif target:
            by_target[target] = int(count)
        else:
            general.append(int(count))
    if len(general) > 1 or (general and by_target):
        faults.append("--questions: give one number for all targets, or one for each as TARGET=N")
    if faults:
        raise InputError(*faults)
    return general[0] if general else by_target or None


def show_notes(matrices: Sequence[TransferMatrix]) -> None:
    """Say what was left out while the studies were read, such as a column of averages."""
    for text in dict.fromkeys(text for matrix in matrices for text in matrix.notes):
        note(text)


def study_arguments(*, required: bool = True) -> Callable[[F], F]:
    """Decorator: ``STUDY...`` with :func:`reading_options`, passed as ``studies`` and ``reading``.

    Args:
        required: whether at least one study must be named.
    """

    def decorate(function: F) -> F:
        metavar = "STUDY..." if required else "[STUDY...]"
        argument = click.argument("studies", metavar=metavar, nargs=-1, required=required, shell_complete=complete_studies)
        return argument(reading_options(function))

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
"""Decorator: ``--json``, passed as ``as_json``."""


class SectionedCommand(click.Command):
    """A command with many options, listed in sections; ``sections`` gives a title the names of its options' parameters."""

    def __init__(self, *args: Any, sections: dict[str, tuple[str, ...]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each section in turn; what no section names comes last."""
        records = {p.name: p.get_help_record(ctx) for p in self.get_params(ctx) if isinstance(p, click.Option)}
        named = {name for names in self.sections.values() for name in names}
        rest = tuple(name for name in records if name not in named)
        for title, names in {**self.sections, "Other": rest}.items():
            rows = [record for name in names if (record := records.get(name)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def echo_json(obj: object) -> None:
    """Print a value as one JSON object on stdout: see :func:`tvt.core.values.encode`."""
    from tvt.core.values import encode

    text = json.dumps(encode(obj), indent=2, ensure_ascii=False, allow_nan=False)
    if not encodable(text) or harmless(text) != text:
        text = json.dumps(encode(obj), indent=2, allow_nan=False)  # the same value, in letters that everything shows
    echo(text)


def note(text: str) -> None:
    """Print a note on stderr, so that stdout stays what was asked for."""
    echo("\n".join(map(printed_line, f"note: {text}".split("\n"))), err=True)


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

    values: dict[str, Any] = settings.model_dump()
    faults = []
    for text in warn:
        name, equals, value = text.partition("=")
        if name not in values or not equals:
            faults.append(f"--warn {text}: write it as FIELD=VALUE, one of {', '.join(values)}{suggest(name, list(values))}")
        else:
            values[name] = value
    try:
        result = Settings.model_validate(values)
    except ValidationError as error:
        raise InputError(*faults, *input_error(error, Settings, "--warn").faults) from error
    if faults:
        raise InputError(*faults)
    return result


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
        from rich.text import Text

        console = new_console(highlight=False)
        for line in lines:
            console.print(Text(f"warning: {line.text}", style="bold red" if line.loud else "yellow"))


def answers_json(reports: Mapping[str, AnswerReport]) -> dict[str, Any] | None:
    """The key ``answers`` of a command's JSON; ``None`` where nothing is known of the answers behind any study.

    With several studies every entry names its ``study``, and ``thresholds`` is ``None`` where they differ: each warning has its
    own.
    """
    from tvt.core.values import encode

    known = {name: encode(report) for name, report in reports.items() if report.known}
    if len(known) <= 1:
        return next(iter(known.values()), None)
    thresholds = [item.pop("thresholds") for item in known.values()]
    lists = next(iter(known.values()))
    return {
        "thresholds": thresholds[0] if all(one == thresholds[0] for one in thresholds) else None,
        **{key: [{"study": name, **entry} for name, item in known.items() for entry in item[key]] for key in lists},
    }


def data_options(kinds: str, names: str) -> Callable[[F], F]:
    """Decorator: ``--data`` and ``--data-dir``, passed as ``data`` (raw, see :func:`source_paths`) and ``data_dir``.

    Args:
        kinds: what may stand for a source.
        names: what is looked for in the folder.
    """

    def decorate(function: F) -> F:
        function = click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            default=Path("data"),
            show_default=True,
            help=f"Folder of {names} for sources without --data.",
        )(function)
        return click.option("--data", multiple=True, metavar="SOURCE=PATH", help=f"A source's rows: {kinds}. Repeatable.")(
            function
        )

    return decorate


def min_pixels_option(function: F) -> F:
    """Decorator: ``--min-pixels``, as a recipe's ``model.min_pixels``."""
    return click.option(
        "--min-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pictures with fewer pixels are scaled up to N for the model, as by a recipe's model.min_pixels.",
    )(function)


def pixels_option(function: F) -> F:
    """Decorator: ``--max-pixels``, as a recipe's ``model.max_pixels``."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pictures with more pixels are scaled down to N for the model, as by a recipe's model.max_pixels.",
    )(function)


def named_paths(option: str, form: str, given: Sequence[str], example: str) -> dict[str, str]:
    """Options of the form ``NAME=PATH`` as a mapping.

    Args:
        option: how it is called, for messages.
        form: what stands on both sides, e.g. ``SOURCE=PATH``.
        given: as they were written.
        example: one that is right.

    Raises:
        InputError: options of another form, or a name given twice; every fault, one line each.
    """
    faults: list[str] = []
    pairs: dict[str, str] = {}
    for item in given:
        name, separator, path = item.partition("=")
        if not (separator and name and path):
            faults.append(f"{option} {item}: not {form}; write e.g. {option} {example}")
        elif name in pairs:
            faults.append(f"{option} {name}: given twice; keep one")
        pairs.setdefault(name, path)
    if faults:
        raise InputError(*faults)
    return pairs


def source_paths(data: Sequence[str]) -> dict[str, str]:
    """``--data SOURCE=PATH`` options as a mapping; see :func:`named_paths`."""
    return named_paths("--data", "SOURCE=PATH", data, "Jigsaw=data/jigsaw.jsonl")


manifests_option = click.option(
    "--manifests",
    multiple=True,
    metavar="PATH",
    help="Task manifest, a folder of them, or 'miniature' for the drawn tasks that come with tvt. Repeatable.",
)
"""Decorator: ``--manifests``, passed as ``manifests``."""
