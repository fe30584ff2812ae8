"""The ``tvt`` command: a lazy group, one place for errors, exit codes and interruption.

Nothing heavy is imported here, so that ``tvt --help`` and shell completion answer at once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module

import click

from tvt import __version__
from tvt.errors import TvtError, printed_line
from tvt.report.printing import echo, replace_unprintable


@dataclass(frozen=True)
class _Listed:
    """Where a command is and what the overview says of it, known without importing it."""

    section: str
    place: str
    """``module:name``."""
    summary: str

    def load(self) -> click.Command:
        """The command itself."""
        module, _, name = self.place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


COMMANDS: dict[str, _Listed] = {
    "doctor": _Listed("Start", "tvt.cli.start:doctor", "Say what this machine has, what would fail, and how to mend it."),
    "init": _Listed("Start", "tvt.cli.start:init", "Write a recipe, a manifest and example questions to start from."),
    "docs": _Listed("Start", "tvt.cli.docs:command", "Read the documentation, or search it by words."),
    "tasks": _Listed("Data", "tvt.cli.data:tasks", "List the tasks, and what their training rows are built from."),
    "data": _Listed("Data", "tvt.cli.data:command", "Build a task's training rows, check them, look at them."),
    "study": _Listed("Measure", "tvt.cli.study:command", "Make a study of your own: finetune on each task, score on all."),
    "studies": _Listed("Look", "tvt.cli.studies:command", "List the studies that come with tvt; import results."),
    "analyze": _Listed("Look", "tvt.cli.analyze:command", "Who helps whom: PGF, cliques, personas, noise."),
    "report": _Listed("Look", "tvt.cli.report:command", "One HTML file that explains a study, with mixtures to choose from."),
    "select": _Listed("Choose", "tvt.cli.select:command", "Turn a transfer study into an optimised data mixture."),
    "predict": _Listed("Choose", "tvt.cli.predict:command", "Say what a given mixture would do."),
    "propose": _Listed("Choose", "tvt.cli.propose:command", "Propose the mixtures most worth training next, or to stop."),
    "tune": _Listed("Choose", "tvt.cli.tune:command", "Propose, train, learn, stop: the mixture that is best after training."),
    "mix": _Listed("Use", "tvt.cli.mix:command", "Write a mixture as one dataset, ready to train on."),
    "train": _Listed("Use", "tvt.cli.train:command", "Train an adapter on a mixed dataset."),
    "recipe": _Listed("Use", "tvt.cli.train:recipe", "Check a recipe: how the runs of a study are trained and scored."),
    "recipes": _Listed("Look", "tvt.cli.train:recipes", "List the recipes that come with tvt."),
    "evaluate": _Listed("Use", "tvt.cli.evaluate:command", "Score adapters and their base model on tasks."),
    "compare": _Listed(
        "Judge", "tvt.cli.compare:command", "Did the selected mixture beat the baselines, and gain what was predicted?"
    ),
    "export": _Listed("Use", "tvt.cli.mix:export", "Write a mixture as another trainer's configuration."),
}

EXAMPLE = "tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --without-direct"


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries but imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return COMMANDS[cmd_name].load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for section in dict.fromkeys(each.section for each in COMMANDS.values()):
            with formatter.section(section):
                rows = [(n.ljust(width), e.summary) for n, e in COMMANDS.items() if e.section == section]
                formatter.write_dl(rows)
        with formatter.section("Example"):
            formatter.write_text(EXAMPLE)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from tvt.errors import suggest

            ctx.fail(f"no such command '{args[0]}'{suggest(args[0], list(COMMANDS))}; see tvt --help")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tvt")
@click.option("--debug", is_flag=True, help="Show what the modules log, and the traceback of an error.")
def cli(debug: bool) -> None:
    """Measure how finetuning a vision-language model on one task changes it on others, turn that into a data mixture, and
    check whether the predicted gain came true.

    Exit codes: 0 done, 1 a defect of tvt, 2 bad usage or bad input, 3 no feasible mixture, 4 a solver gave up, 5 a needed
    package is missing, 6 training was stopped by a guard, 130 interrupted.
    """


def _show_log() -> None:
    """Write what tvt's modules log to stderr."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    log = logging.getLogger("tvt")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code, or a traceback with ``--debug``."""
    # A closed pipe (`tvt analyze ... | head`) is how a reader says "enough".
    debug = "--debug" in sys.argv[1:]
    replace_unprintable()
    if debug:
        _show_log()
    try:
        sys.exit(cli.main(args=sys.argv[1:], prog_name="tvt", standalone_mode=False) or 0)
    except click.exceptions.Abort:
        echo("tvt: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.message = "\n".join(map(printed_line, error.message.split("\n")))  # type: ignore[misc]
        error.show()
        sys.exit(error.exit_code)
    except TvtError as error:
        if debug:
            raise
        for line in str(error).split("\n"):
            echo(f"tvt: {line}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        echo(printed_line(f"tvt: {where}{error.strerror or error}; check the path and its permissions"), err=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        said = printed_line(f"{type(error).__name__}: {error}")
        echo(f"tvt: defect in tvt: {said}; please report it with --debug", err=True)
        sys.exit(1)
