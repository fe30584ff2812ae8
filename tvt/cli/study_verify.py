"""``tvt study verify``: whether a study's folder is what it says."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.completion import complete_folders
from tvt.cli.options import echo_json, json_option
from tvt.cli.progress import status_line
from tvt.report.printing import echo

EPILOG = """\b
Example:
  tvt study verify studies/miniature
"""


@click.command("verify", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR", shell_complete=complete_folders)
@json_option
@click.pass_context
def command(ctx: click.Context, *, folder: Path, as_json: bool) -> None:
    """Check everything in the study's folder DIR: counts against the answers that they rest on, digests, identities, adapters,
    training rows, tables.

    Each fault is a line that says how to mend it, and the exit code is 2 where there is one. Nothing is written.
    """
    with status_line("checking") as tell:
        from tvt.study.verify_study import verify_study

        result = verify_study(folder, tell)
    if as_json:
        echo_json({"schema": 1, "folder": str(folder), **vars(result)})
    else:
        for fault in result.faults:
            echo(f"tvt: {fault}", err=True)
        more = f", {result.unfinished} unfinished or failed" if result.unfinished else ""
        wrong = f"{len(result.faults)} faults" if result.faults else "nothing is wrong"
        echo(f"{folder}: {result.runs} finished runs{more}, {result.answers} folders of answers: {wrong}")
    if result.faults:
        ctx.exit(2)
