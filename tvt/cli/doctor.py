"""``tvt doctor``: what this machine has, what would fail, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.completion import complete_recipes
from tvt.cli.options import echo_json, json_option
from tvt.cli.progress import status_line

EPILOG = """\b
Examples:
  tvt doctor
  tvt doctor recipes/miniature.yaml
  tvt doctor recipe.yaml -o /data/studies/mine --json
"""
PATH = click.Path(path_type=Path)


@click.command(epilog=EPILOG)
@click.argument("recipe", type=PATH, required=False, shell_complete=complete_recipes)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The study's folder, whose disk is meant.  [default: studies]")
@json_option
@click.pass_context
def command(ctx: click.Context, *, recipe: Path | None, output: Path | None, as_json: bool) -> None:
    """Look at packages, GPUs, memory, disks, caches and file locks, and say what would fail here and what mends it.

    With a RECIPE, also at its model, data, precision, DeepSpeed file and disk. Nothing is downloaded, built or changed.

    The exit code is 0 where every check is ok or a warning, 2 where one failed.
    """
    from tvt.report.study_tables import checks_record, checks_table, verdict
    from tvt.study.doctor import examine
    from tvt.study.doctor.machine import versions

    with status_line("looking at") as tell:
        checks = examine(recipe, output, tell)
    if as_json:
        echo_json(checks_record(checks, versions()))
    else:
        from rich.console import Console

        Console(highlight=False).print(checks_table(checks))
        click.echo(verdict(checks))
    if any(check.status == "fail" for check in checks):
        ctx.exit(2)
