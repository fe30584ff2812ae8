"""``tvt export``: a mixture as another trainer's configuration."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.options import NearestChoice, data_options, note, pixels_option, source_paths
from tvt.core.choices import EXPORTS
from tvt.errors import InputError

EPILOG = """\b
Example:
  tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --budget 2000 -o mixture.yaml
  tvt export mixture.yaml --to trl --model Qwen/Qwen2.5-VL-7B-Instruct -o sft.yaml
"""


@click.command(epilog=EPILOG)
@click.argument("mixture", type=click.Path(path_type=Path))
@click.option("--to", type=NearestChoice(EXPORTS.names), required=True, help="The trainer, or json for your own scripts.")
@click.option("-o", "--output", metavar="PATH", help="File to write; a folder for several. Default: stdout.")
@data_options("a file, folder or hub dataset", "SOURCE.jsonl")
@click.option("--model", metavar="NAME", help="Base model, a hub name or folder. Default: the mixture's, where it says.")
@pixels_option
def command(
    *,
    mixture: Path,
    to: str,
    output: str | None,
    data: tuple[str, ...],
    data_dir: Path,
    model: str | None,
    max_pixels: int | None,
) -> None:
    """Write a mixture as another trainer's configuration, with its exact count of examples per source.

    LLaMA-Factory needs two files, so a folder: -o DIR. Paths are written as given, relative to where the trainer is run.
    """
    from tvt.api.datasets import export, write_export

    notes: list[str] = []
    files = export(
        mixture, to, None, source_paths(data), data_dir=data_dir, model=model, max_pixels=max_pixels, note=notes.append
    )
    if output is not None:
        for path in write_export(files, output):
            click.echo(f"wrote {path}", err=True)
    elif len(files) > 1:
        raise InputError(f"this trainer needs {' and '.join(files)}; name a folder for them with -o DIR")
    else:
        click.echo(next(iter(files.values())), nl=False)
    for text in notes:
        note(text)
