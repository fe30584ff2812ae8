"""``tvt studies``: list the bundled studies."""

from __future__ import annotations

from typing import Any

import click

from tvt.cli.options import echo_json, json_option

EPILOG = """\b
Examples:
  tvt studies
  tvt studies --json
  tvt analyze qwen2.5-vl-7b
"""


@click.command(name="studies", epilog=EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the studies that come with tvt.

    A study says how finetuning on each source task changed each target task. Any command that takes a STUDY takes one of
    these names (or its end, such as 7b), a study folder, or a CSV file. A study of your own is made by tvt study.
    """
    from tvt.data.studies.load import bundled_studies

    result = [_describe(name) for name in bundled_studies()]
    if as_json:
        echo_json({"schema": 1, "studies": result})
    else:
        _print(result)


def _describe(name: str) -> dict[str, Any]:
    """What the list says of one study."""
    from tvt.data.studies.folder import read_study
    from tvt.data.studies.load import bundled_folder

    study = read_study(bundled_folder(name))
    matrix, manifest = study.matrix(), study.manifest
    return {
        "name": name,
        "model": manifest.model,
        "parameters": manifest.parameters,
        "sources": list(matrix.sources),
        "targets": list(matrix.targets),
        "runs": list(matrix.runs),
        "counts": manifest.counts,
        "provenance": manifest.provenance,
    }


def _print(studies: list[dict[str, Any]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Bundled studies", title_justify="left")
    for heading in ("name", "model", "sources x targets", "runs", "counts"):
        table.add_column(heading)
    for study in studies:
        size = f"{len(study['sources'])} x {len(study['targets'])}"
        table.add_row(study["name"], study["model"] or "", size, str(len(study["runs"])), study["counts"])
    console = Console()
    console.print(table)
    if any(study["counts"] == "inferred" for study in studies):
        console.print("inferred: counts recovered from published figures; tvt studies --json says whose.")
