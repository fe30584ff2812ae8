"""The options that ask for a mixture and say what is known of gains, and the request that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tvt.cli.completion import complete_labels
from tvt.cli.options import NearestChoice, note, show_notes
from tvt.core.choices import RESPONSES
from tvt.core.objective import OBJECTIVES
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.core.selection import SelectionSpec
    from tvt.core.study_reading import Reading
    from tvt.evidence.evidence import Measurements

F = TypeVar("F", bound=Callable[..., Any])
ALL = "all"
FILE = click.Path(path_type=Path)
REQUEST_SECTIONS: dict[str, tuple[str, ...]] = {
    "What to aim for": ("objective", "goals", "targets", "standardise", "without_direct", "exclude"),
    "Budget and limits": (
        *("budget", "sizes", "sizes_file", "max_epochs", "caps", "floors", "constraints", "max_sources", "min_weight"),
        *("kl", "prior"),
    ),
    "Care": ("protect", "hard", "harm_penalty", "protect_z", "risk", "cvar", "confidence", "beyond", "anyway", "seed"),
}
"""The options of :func:`selection_options` in the sections of a command's help."""
_PLAIN = (
    *("objective", "budget", "max_epochs", "max_sources", "min_weight", "harm_penalty", "protect_z", "risk", "cvar", "kl"),
    *("response", "kappa", "confidence", "seed", "without_direct", "hard", "beyond", "standardise", "anyway"),
)
"""Options that are fields of the request as they are."""


class FieldOption(click.Option):
    """An option that is a field of the request: its help is the field's description, read where the help is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The field's description, whether the option repeats, and the field's default where there is one to show."""
        from tvt.core.selection import SelectionSpec

        field = SelectionSpec.model_fields[self.name or ""]
        plain = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        default = self.show_default if isinstance(self.show_default, str) else f"{field.default:g}" if plain else ""
        repeats = " Repeatable." if self.multiple else ""
        self.help = f"{field.description}{repeats}" + (f"  [default: {default}]" if default else "")
        shown, self.show_default = self.show_default, False
        try:
            return super().get_help_record(ctx)
        finally:
            self.show_default = shown


def selection_options(function: F) -> F:
    """Decorator: what may be asked of a selection; :func:`requested` reads it. How gain grows is no part of it."""
    field = partial(click.option, cls=FieldOption)
    goals, targets, sources = (complete_labels("target", end="="), complete_labels("target"), complete_labels("source"))
    decorators = (
        click.option(
            "--objective",
            type=NearestChoice([*OBJECTIVES]),
            help="; ".join(f"{o.name}: {o.about}" for o in OBJECTIVES.values()) + ". Default: goals where given, else gain.",
        ),
        field("--goal", "goals", multiple=True, metavar="TARGET=GAIN", shell_complete=goals),
        field("--target", "targets", multiple=True, metavar="TARGET[=WEIGHT]", shell_complete=targets),
        field("--without-direct", "--exclude-target-data", "without_direct", is_flag=True),
        field("--exclude", multiple=True, metavar="SOURCE", shell_complete=sources),
        field("--budget", type=click.IntRange(min=1), show_default="the study's, or 10000"),
        field("--size", "sizes", multiple=True, metavar="SOURCE=N"),
        click.option("--sizes", "sizes_file", type=FILE, help="YAML file of source: number of examples."),
        field("--max-epochs", type=float),
        field("--cap", "caps", multiple=True, metavar="[SOURCE=]SHARE"),
        field("--floor", "floors", multiple=True, metavar="[SOURCE=]SHARE"),
        field("--constraint", "constraints", multiple=True, metavar="TEXT"),
        field("--max-sources", type=click.IntRange(min=1)),
        field("--min-weight", type=float),
        field("--protect", multiple=True, metavar="all|TARGET[=GAIN]", shell_complete=complete_labels("target", "all")),
        field("--hard", is_flag=True),
        field("--harm-penalty", type=float),
        field("--protect-z", type=float),
        field("--risk", type=float),
        field("--cvar", type=float, metavar="SHARE"),
        field("--kl", type=float),
        field("--prior", multiple=True, metavar="SOURCE=SHARE|FILE"),
        field("--confidence", type=float),
        field("--beyond", is_flag=True),
        field("--standardise", is_flag=True),
        field("--anyway", is_flag=True),
        field("--seed", type=int),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def requested(options: Mapping[str, Any]) -> SelectionSpec:
    """The request that the options of :func:`selection_options` make, with ``response`` and ``kappa`` where a command has them.

    Raises:
        InputError: the faults of all options at once.
    """
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
        **{name: options.get(name) for name in _PLAIN},
    )


def parse_pairs(
    option: str, items: Sequence[str], *, bare_number: bool = False, bare_name: float | None = None
) -> dict[str, float]:
    """``NAME=VALUE`` items as a mapping; a value may be a percentage (``15%``).

    Args:
        option: the option's name, for errors.
        items: what was given.
        bare_number: whether ``VALUE`` alone means all names.
        bare_name: the value that ``NAME`` alone means, where it may stand alone.

    Raises:
        InputError: every item that cannot be read.
    """
    found: dict[str, float] = {}
    faults = []
    for item in items:
        name, separator, text = item.rpartition("=")
        value: float | None
        if not separator and bare_number:
            name, value = ALL, _number(item)
        elif not separator and bare_name is not None:
            name, value = item, bare_name
        else:
            value = _number(text) if separator else None
        if value is None or not name:
            form = "a number or NAME=NUMBER" if bare_number else "NAME=NUMBER"
            faults.append(f"{option} {item}: expected {form}, e.g. {option} Jigsaw=0.15")
        elif name in found:
            faults.append(f"{option} {name}: given twice; keep one")
        else:
            found[name] = value
    if faults:
        raise InputError(*faults)
    return found


def parse_targets(items: Sequence[str]) -> dict[str, float]:
    """``--target NAME`` (weight 1) or ``NAME=WEIGHT``."""
    return parse_pairs("--target", items, bare_name=1.0)


def read_sizes(path: Path | None) -> dict[str, float]:
    """A YAML mapping of source to number of examples."""
    if path is None:
        return {}
    from tvt.io.strict_yaml import load_file

    data = load_file(path)
    if not isinstance(data, dict) or not all(isinstance(v, int) and not isinstance(v, bool) for v in data.values()):
        raise InputError(f"{path}: expected a mapping of source to whole number of examples, e.g. 'Jigsaw: 1200'")
    return {str(k): v for k, v in data.items()}


def read_prior(items: Sequence[str]) -> dict[str, float]:
    """``--prior NAME=SHARE`` items, or one mixture file whose weights are the prior."""
    if len(items) == 1 and Path(items[0]).is_file():
        from tvt.io.yaml_files import load_mixture

        return dict(load_mixture(Path(items[0])).weights)
    return parse_pairs("--prior", items)


def build_spec(**fields: Any) -> SelectionSpec:
    """A validated request from its fields; those that are ``None`` keep their default.

    Raises:
        InputError: every fault, one line each.
    """
    from pydantic import ValidationError

    from tvt.core.selection import SelectionSpec
    from tvt.io.strict_yaml import input_error

    try:
        return SelectionSpec(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise InputError(*map(_of_option, input_error(error, SelectionSpec, "request").faults)) from error


_SINGULAR = {f"{name}s": name for name in ("goal", "target", "cap", "floor", "size", "constraint")}
"""Options by the fields that they fill."""


def _of_option(fault: str) -> str:
    """A fault of a field in terms of its option: ``request: max_epochs: ...`` is one of ``--max-epochs``."""
    field, colon, rest = fault.removeprefix("request: ").partition(": ")
    name, _, key = field.partition(".")
    if not colon or not name.isidentifier():
        return fault.removeprefix("request: ")
    option = f"--{_SINGULAR.get(name, name).replace('_', '-')}"
    return f"{option} {key}: {rest}" if key and key != ALL else f"{option}: {rest}"


def gather(*parsers: Any) -> list[Any]:
    """Call every parser and raise the faults of all together."""
    faults: list[str] = []
    values = []
    for parse in parsers:
        try:
            values.append(parse())
        except InputError as error:
            faults += error.faults
            values.append(None)
    if faults:
        raise InputError(*faults)
    return values


def _number(text: str) -> float | None:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def response_options(function: F) -> F:
    """Decorator: ``--response`` and ``--kappa``."""
    decorators = (
        click.option("--response", cls=FieldOption, type=NearestChoice(RESPONSES.names)),
        click.option("--kappa", cls=FieldOption, type=float),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def evidence_options(function: F) -> F:
    """Decorator: the options of the response, and ``--runs`` (as ``runs_file``), ``--weights``, ``--scores`` and
    ``--lower-is-better`` of a table of runs.
    """
    decorators = (
        response_options,
        click.option(
            "--runs",
            "runs_file",
            type=click.Path(path_type=Path),
            help="Table of mixture runs (w:SOURCE, score:TARGET): fits the response.",
        ),
        click.option("--weights", metavar="A,B,...", help="The columns of --runs that are weights, where not called w:SOURCE."),
        click.option(
            "--scores", metavar="X,Y,...", help="The columns of --runs that are scores, where not called score:TARGET."
        ),
        click.option("--lower-is-better", is_flag=True, help="The scores of --runs are losses."),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def load_evidence(
    studies: Sequence[str],
    reading: Reading,
    *,
    runs_file: Path | None,
    lower_is_better: bool,
    weights: str | None = None,
    scores: str | None = None,
) -> Measurements:
    """The studies pooled, with the table of mixture runs among their evidence; or the table alone. Notes go to stderr.

    Raises:
        InputError: neither is given, or any fault of the files.
    """
    from tvt.api.studies import load_mixture_runs, load_studies, pool_evidence

    matrices = load_studies(studies, **reading)
    show_notes(matrices)
    if runs_file is None and (weights or scores):
        raise InputError("--weights and --scores name columns of a table of runs; give it with --runs")
    named = {"weights": _columns(weights), "scores": _columns(scores)}
    runs = None if runs_file is None else load_mixture_runs(runs_file, lower_is_better=lower_is_better, **named)
    return pool_evidence(matrices, runs, note)


def _columns(text: str | None) -> list[str]:
    """Names between commas; a name that holds a comma itself stands in double quotes, as in CSV."""
    import csv

    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True)) if name.strip()] if text else []
