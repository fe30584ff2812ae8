"""``tvt study run --adaptive``: its options, and what it says at the end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tvt.cli.evidence_options import response_options
from tvt.cli.spec_options import REQUEST_SECTIONS, requested, selection_options
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.study.cheaper.adaptive import AdaptiveStudy, Outcome
    from tvt.study.session import Session

F = TypeVar("F", bound=Callable[..., Any])
SECTIONS: dict[str, tuple[str, ...]] = {
    "The study": ("output", "overrides", "executor", "workers", "retry_failed", "as_json"),
    "Fewer runs": ("adaptive", "runs", "tolerance"),
    **{f"{title} (with --adaptive)": names for title, names in REQUEST_SECTIONS.items()},
    "How gain grows (with --adaptive)": ("response", "kappa"),
}
_ASKED = (*(name for names in REQUEST_SECTIONS.values() for name in names), "response", "kappa")


def adaptive_options(function: F) -> F:
    """Decorator: ``--adaptive``, ``--runs``, ``--tolerance``, and the request of ``tvt select``."""
    for decorate in (
        response_options,
        selection_options,
        click.option(
            "--tolerance",
            type=click.FloatRange(min=0),
            help="Gain (PGF) that no interval may put at stake where the mixture counts as stable.  [default: 0.002]",
        ),
        click.option("--runs", type=click.IntRange(min=1), help="Training runs at most, those that are done included."),
        click.option("--adaptive", is_flag=True, help="A run per source, then those that may change the mixture asked for."),
    ):
        function = decorate(function)
    return function


def adaptive_study(session: Session, options: Mapping[str, Any]) -> AdaptiveStudy | None:
    """What chooses the runs, if ``--adaptive`` was given.

    Raises:
        InputError: an option that needs it, or a request that does not fit the study: all faults at once.
    """
    if not options["adaptive"]:
        given = [words[0] for words in _given(("runs", "tolerance", *_ASKED))]
        if given:
            raise InputError(
                *(f"{option} says what an adaptive study is for; add --adaptive" for option in dict.fromkeys(given))
            )
        return None
    from tvt.selection.adaptive import Tolerance
    from tvt.study.cheaper.adaptive import AdaptiveStudy

    spec = requested(options)
    if options["budget"] is None:
        spec = spec.model_copy(update={"budget": session.study.recipe.budget})
    tolerance = None if options["tolerance"] is None else Tolerance(regret=options["tolerance"])
    return AdaptiveStudy(session, spec, options["runs"], tolerance)


def outcome_json(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """The end of an adaptive study as plain values."""
    return {"spent": outcome.spent, "of": outcome.whole, "stopped": outcome.why, "select": shlex.join(_select(folder))}


def tell_outcome(outcome: Outcome, study: AdaptiveStudy, folder: Path) -> None:
    """Say how many runs were spent, why no more, and what mixture they select."""
    click.echo(f"{folder}: {outcome.spent} of {outcome.whole} runs. {outcome.why[0].upper()}{outcome.why[1:]}.")
    click.echo(f"The mixture as it stands: {_mixture(study)}.")
    click.echo(f"  {shlex.join(_select(folder))}")


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
    return ["tvt", "select", str(folder), *(word for words in _given(_ASKED) for word in words)]


def _given(names: tuple[str, ...]) -> list[list[str]]:
    """Of some parameters those that the command line gave, as words for another one."""
    context = click.get_current_context()
    found: list[list[str]] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in names or context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue
        value, option = context.params[name], parameter.opts[0]
        if value is True:
            found.append([option])
        else:
            found += [[option, str(one)] for one in (value if isinstance(value, tuple) else (value,))]
    return found
