"""``tvt study merge``: the finished runs of other folders, copied into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.completion import complete_folders
from tvt.cli.options import echo_json, json_option, note
from tvt.cli.status_line import status_line
from tvt.errors import InputError

if TYPE_CHECKING:
    from tvt.study.merging import Merged

EPILOG = """\b
Examples:
  tvt study merge study elsewhere/study --dry-run
  tvt study merge study cluster-a/study cluster-b/study
"""
PATH = click.Path(path_type=Path)


@click.command("merge", epilog=EPILOG)
@click.argument("folder", type=PATH, metavar="DIR", shell_complete=complete_folders)
@click.argument("others", type=PATH, metavar="FROM...", nargs=-1, required=True, shell_complete=complete_folders)
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be copied; write nothing.")
@json_option
def command(*, folder: Path, others: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Copy the finished runs of the studies in FROM into the study in DIR, which is made if need be.

    Divide a study between clusters, by seeds or by sources, and join it here. Every adapter, score and answer is checked before
    it is copied; a damaged run is refused and the others go in. Of a run that is in both, cells are joined; where the two
    differ, DIR's version stays and a note says so. Runs that are at work, unfinished or failed stay where they are.

    Interrupt it when you like; the same command goes on.
    """
    with status_line("checking and copying") as tell:
        from tvt.study.merging import merge

        merged = merge(folder, others, dry_run=dry_run, report=tell)
    for line in (line for part in merged for line in part.conflicts):
        note(line)
    foreign, unwritten = _write_tables(folder) if not dry_run else ([], None)
    if as_json:
        echo_json(_plain(folder, merged, dry_run, foreign, unwritten))
    else:
        for part in merged:
            click.echo(f"{part.folder}: {_sentence(part, dry_run)}")
    if foreign:
        are = "run is" if len(foreign) == 1 else "runs are"
        text = f"{len(foreign):,} {are} of other seeds, sources or settings than {folder}/recipe.yaml and not in its tables"
        note(f"{text}; tvt study run with a recipe that has them, on {folder}, takes them up")
    if unwritten is not None:
        note(f"the tables in {folder} are not written anew ({unwritten}); tvt study run RECIPE -o {folder} does that")
    if faults := [fault for part in merged for lines in part.refused.values() for fault in lines]:
        raise InputError(*faults)


def _write_tables(folder: Path) -> tuple[list[str], str | None]:
    """Runs of other recipes, and why the tables could not be written, if so."""
    with status_line("reading the rows of") as tell:
        from tvt.io import resource_errors
        from tvt.study.session import reopen
        from tvt.study.views import foreign_runs, write_views

        try:
            session = reopen(folder, tell)
            with resource_errors.reported(folder, "writing tables"):
                write_views(session.study, session.store)
            return foreign_runs(session.study, session.store), None
        except InputError as error:
            more = f", and {len(error.faults) - 1} more" if len(error.faults) > 1 else ""
            return [], error.faults[0] + more


def _sentence(part: Merged, dry_run: bool) -> str:
    copied = f"{_runs(len(part.copied))} {'to copy' if dry_run else 'copied'}"
    parts = [copied] if part.copied or not part.extended else []
    if part.extended:
        cells = sum(part.extended.values())
        verb = "to give" if dry_run else "given"
        parts.append(f"{_runs(len(part.extended))} {verb} {cells} more cell{'' if cells == 1 else 's'}")
    if part.known:
        parts.append(f"{len(part.known)} known already")
    if part.conflicts:
        parts.append(f"{len(part.conflicts)} differing")
    if part.refused:
        parts.append(f"{len(part.refused)} refused")
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(part.left.items()))
    return ", ".join(parts) + (f"; left there: {left}" if left else "")


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def _plain(folder: Path, merged: Sequence[Merged], dry_run: bool, foreign: list[str], unwritten: str | None) -> dict[str, Any]:
    parts = [{**vars(part), "folder": str(part.folder), "left": dict(sorted(part.left.items()))} for part in merged]
    record: dict[str, Any] = {"schema": 1, "folder": str(folder), "dry_run": dry_run, "from": parts}
    return {**record, "other_recipes": foreign, "tables": {"written": not dry_run and unwritten is None, "reason": unwritten}}
