"""``tvt tasks``: the tasks that there are, and what is needed to build their training rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.completion import complete_tasks
from tvt.cli.options import echo_json, json_option, manifests_option
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.data.tasks import TaskManifest

EPILOG = """\b
Examples:
  tvt tasks
  tvt tasks show Jigsaw
  tvt tasks --manifests miniature --json
"""

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder in which training rows are looked for.",
)


@click.group(invoke_without_command=True, epilog=EPILOG)
@data_dir_option
@manifests_option
@json_option
@click.pass_context
def command(ctx: click.Context, *, data_dir: Path, manifests: tuple[str, ...], as_json: bool) -> None:
    """List the tasks: how they are classified, what they are scored on, what their rows are built from, whether they are here.

    Without --manifests these are the tasks that come with tvt; with it, also the tasks of your own manifests. tvt data builds
    their training rows.
    """
    if ctx.invoked_subcommand is not None:
        return
    from tvt.data.task_data import build_commands, rows_here
    from tvt.report.data_tables import task_record, tasks_notes, tasks_table

    known = _known(manifests)
    here = {name: rows_here(manifest, data_dir) for name, manifest in known.items()}
    if as_json:
        records = [task_record(known[name], here[name], build_commands(known[name], data_dir)) for name in known]
        echo_json({"schema": 1, "tasks": records})
        return
    from rich.console import Console

    Console(highlight=False).print(tasks_table(known, here))
    for line in tasks_notes(known, here):
        click.echo(line)


@command.command(epilog=EPILOG)
@click.argument("task", shell_complete=complete_tasks)
@data_dir_option
@manifests_option
@json_option
def show(*, task: str, data_dir: Path, manifests: tuple[str, ...], as_json: bool) -> None:
    """Say everything of one task: its manifest, the sources of its training rows, the commands that build them."""
    from tvt.core.task import resolve_name
    from tvt.data.task_data import build_commands, rows_here
    from tvt.report.data_tables import lines_table, source_lines, task_lines, task_record

    known = _known(manifests)
    try:
        manifest = known[resolve_name(task, [manifest.task() for manifest in known.values()], list(known))]
    except KeyError as error:
        raise InputError(f"{error.args[0]}; see tvt tasks") from error
    here, commands = rows_here(manifest, data_dir), build_commands(manifest, data_dir)
    if as_json:
        echo_json({"schema": 1, **task_record(manifest, here, commands)})
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(lines_table(task_lines(manifest, here)))
    for source in manifest.sources:
        console.print()
        console.print(lines_table(source_lines(source, tuple(file.path for file in source.files))))
    if commands:
        click.echo("\nTo build, check and look at its rows (DIR is the folder of the raw data):")
        for line in commands:
            click.echo(f"  {line}")


def _known(manifests: tuple[str, ...]) -> dict[str, TaskManifest]:
    from tvt.data.tasks import find_manifests

    return find_manifests(manifests)
