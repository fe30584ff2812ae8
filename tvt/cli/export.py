"""``tvt export``: a mixture as another trainer's configuration."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.data_options import data_options, pixels_option, source_paths
from tvt.core.choices import EXPORTS
from tvt.errors import InputError

EPILOG = """\b
Example:
  tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --budget 2000 -o mixture.yaml
  tvt export mixture.yaml --to trl --model Qwen/Qwen2.5-VL-7B-Instruct -o sft.yaml
"""


@click.command(epilog=EPILOG)
@click.argument("mixture", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(EXPORTS.names), required=True, help="The trainer, or json for your own scripts.")
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
    from tvt.exports.plan import Export, make_plan
    from tvt.io.mixture_file import load_mixture

    trainer: Export = EXPORTS.find(to)
    plan = make_plan(
        load_mixture(mixture),
        model=model,
        data=source_paths(data),
        data_dir=data_dir,
        need_model=trainer.needs_model,
        max_pixels=max_pixels,
    )
    _write(trainer.render(plan), output)
    if trainer.clips:
        for note in plan.notes:
            click.echo(f"note: {note}", err=True)


def _write(files: dict[str, str], target: str | None) -> None:
    """To stdout, a file, or a folder where there are several or a folder was named."""
    from tvt.io import atomic

    if target is None:
        if len(files) > 1:
            raise InputError(f"this trainer needs {' and '.join(files)}; name a folder for them with -o DIR")
        click.echo(next(iter(files.values())), nl=False)
        return
    output = Path(target)
    folder = len(files) > 1 or output.is_dir() or target.endswith("/")
    if folder and output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file, but this trainer needs {' and '.join(files)}; name a folder with -o DIR")
    for name, text in files.items():
        path = output / name if folder else output
        try:
            atomic.write_text(path, text)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; name another place with -o") from error
        click.echo(f"wrote {path}", err=True)
