"""A mixture as rows to train on: ``tvt mix``, one dataset, and ``tvt export``, another trainer's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import (
    NearestChoice,
    data_options,
    echo_json,
    json_option,
    manifests_option,
    min_pixels_option,
    note,
    pixels_option,
    source_paths,
)
from tvt.cli.progress import progress_bars
from tvt.core.choices import EXPORTS
from tvt.errors import InputError
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.data.mixing.plan import MixPlan

EPILOG = """\b
Examples:
  tvt mix mixture.yaml --data-dir data --preview
  tvt mix mixture.yaml -o mixed --data Jigsaw=rows/jigsaw.parquet --exclude-eval blink-val.parquet
"""
PATH = click.Path(path_type=Path)
SHOWN = 5
"""Rows of a preview, where no number is given."""


class _Command(click.Command):
    """Lets ``--preview`` stand before the mixture: click would take ``--preview mixture.yaml`` for its number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        pairs = zip(args, [*args[1:], ""], strict=True)
        lines = [f"{arg}={SHOWN}" if arg == "--preview" and not _is_number(after) else arg for arg, after in pairs]
        return super().parse_args(ctx, lines)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


@click.command(cls=_Command, epilog=EPILOG)
@click.argument("mixture", type=PATH)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Folder to write; datasets.load_dataset(DIR) loads it.")
@data_options("a .jsonl or .parquet file of questions, or a folder of them", "SOURCE.jsonl, SOURCE.parquet or SOURCE/")
@manifests_option
@click.option("--seed", type=click.IntRange(min=0), metavar="S", default=0, show_default=True, help="Seed of draw and order.")
@click.option(
    "--exclude-eval", multiple=True, type=PATH, metavar="PATH", help="Questions that must not be trained on. Repeatable."
)
@click.option(
    "--overlap",
    type=NearestChoice(["question", "image"]),
    default="question",
    show_default=True,
    help="What may not be shared with them: images with the prompt, or any single image (the same bytes).",
)
@click.option("--drop-shared", is_flag=True, help="Leave shared rows out instead of refusing them.")
@click.option("--messages", is_flag=True, help="Also write messages.jsonl, images inside, for trainers without parquet.")
@click.option(
    "--preview",
    is_flag=False,
    flag_value=SHOWN,
    type=click.IntRange(min=1),
    metavar="[N]",
    help="Show the first N rows (5) and write nothing.",
)
@json_option
def command(
    *,
    mixture: Path,
    output: Path | None,
    data: tuple[str, ...],
    data_dir: Path,
    manifests: tuple[str, ...],
    messages: bool,
    preview: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a mixture as one parquet dataset with images: exact counts, rows in the order of training, the same bytes for the
    same seed.

    A source's rows are questions with id, task, prompt, options, answer and images: JSON Lines with paths of images beside the
    file, or parquet with images inside. A source with too few rows is used in whole passes, each in an order of its own.
    """
    if output is None and preview is None:
        raise InputError("where to? name a folder with -o DIR, or look at the rows with --preview")
    from tvt.api import datasets

    options |= {"data_dir": data_dir, "manifests": manifests, "exclude": options.pop("exclude_eval")}
    paths = source_paths(data)
    with progress_bars() as progress:
        if preview is not None:
            plan = datasets.plan_rows(mixture, paths, check=False, progress=progress, **options)
        else:
            mixed = datasets.mix(mixture, output or Path(), paths, messages=messages, progress=progress, **options)
    if preview is not None:
        _show_preview(plan, preview, as_json)
        return
    from tvt.report.data_tables import epoch_notes, sources_table

    if as_json:
        echo_json({**mixed.record, "folder": str(output), "written": mixed.written})
    else:
        _print(sources_table(mixed.record["sources"], mixed.record["rows"], options["seed"]))
    for text in epoch_notes(mixed.record["sources"]):
        note(text)
    echo(f"wrote {output}" if mixed.written else f"{output}: this very mix is already there; nothing written", err=True)


def _show_preview(plan: MixPlan, count: int, as_json: bool) -> None:
    from tvt.data.mixing.plan import first_rows, source_record
    from tvt.report.data_tables import preview_record, preview_text, sources_table

    records = [preview_record(place, *row) for place, row in enumerate(first_rows(plan, count))]
    sources = {source.name: source_record(source) for source in plan.sources}
    if as_json:
        echo_json({"schema": 1, "seed": plan.seed, "rows": len(plan.manifest), "sources": sources, "preview": records})
        return
    _print(sources_table(sources, len(plan.manifest), plan.seed), *map(preview_text, records))
    echo(f"the first {len(records)} of {len(plan.manifest):,} rows; nothing written", err=True)


def _print(*parts: Any) -> None:

    console = new_console(highlight=False)
    for part in parts:
        console.print(part)


EXPORT_EPILOG = """\b
Examples:
  tvt select qwen2.5-vl-7b --goal Jigsaw=0.15 --budget 2000 -o mixture.yaml
  tvt export mixture.yaml --to trl --model Qwen/Qwen2.5-VL-7B-Instruct -o for-trl
  tvt export mixed --to llamafactory --model models/qwen -o for-llamafactory
"""


@click.command(epilog=EXPORT_EPILOG)
@click.argument("mixture", type=click.Path(path_type=Path))
@click.option("--to", type=NearestChoice(EXPORTS.names), required=True, help="The trainer, or json for your own scripts.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="Folder to write, rows and pictures included; for json a file. Default of json: stdout.",
)
@data_options("a .jsonl or .parquet file of questions, or a folder of them", "SOURCE.jsonl, SOURCE.parquet or SOURCE/")
@manifests_option
@click.option("--model", metavar="NAME", help="Base model, a hub name or folder. Default: the mixture's, where it says.")
@click.option(
    "--template",
    metavar="NAME",
    help="The trainer's own name of the chat template, where the type of the model does not say it.",
)
@pixels_option
@min_pixels_option
@click.option("--seed", type=click.IntRange(min=0), metavar="S", default=0, show_default=True, help="Seed of draw and order.")
@click.option(
    "--exclude-eval", multiple=True, type=PATH, metavar="PATH", help="Questions that must not be trained on. Repeatable."
)
@json_option
def export(
    *,
    mixture: Path,
    to: str,
    output: str | None,
    data: tuple[str, ...],
    exclude_eval: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write a mixture as a folder that another trainer runs on: rows in its format, pictures, configuration; and print the
    command to run.

    MIXTURE is a mixture's file, or a folder that tvt mix wrote. The counts are exact, a repeated row is a row of its own, and
    the answers alone are trained. The folder may be moved or copied as a whole.
    """
    from tvt.api import datasets

    with progress_bars() as progress:
        result = datasets.export(mixture, to, output, source_paths(data), exclude=exclude_eval, progress=progress, **options)
    if isinstance(result, str):
        echo(f"wrote {output}" if output else result, nl=output is not None, err=output is not None)
        return
    record = result.record
    for text in record["notes"]:
        note(text)
    rows = ", ".join(f"{name} {count:,}" for name, count in record["sources"].items())
    echo(f"{record['rows']:,} rows ({rows}), {record['with_images']:,} with images; all of them checked", err=True)
    echo(f"wrote {output}" if result.written else f"{output}: this very export is already there", err=True)
    if as_json:
        echo_json({**record, "folder": str(result.folder), "written": result.written, "run": result.command})
    else:
        echo(result.command)
