"""``tvt data import``: rows of other trainers, and tables, as questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvt.cli.options import echo_json, json_option, manifests_option, named_paths
from tvt.cli.progress import progress_bars
from tvt.report.printing import echo

EPILOG = """\b
Examples:
  tvt data import train.json --exclude BLINK -o data/mine.jsonl
  tvt data import table.csv --image photo --question asked --answer right -o data/mine.parquet
  tvt data import talks.jsonl --from messages --image-folder photos --all -o data/mine.jsonl
"""
PATH = click.Path(path_type=Path)


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option(
    "--from",
    "form",
    metavar="FORMAT",
    default="auto",
    show_default=True,
    help="auto (by the columns of each row), sharegpt, alpaca (LLaMA-Factory), messages (ms-swift, OpenAI), trl, llava, csv, "
    "parquet or hf-folder (save_to_disk).",
)
@click.option("--image", metavar="COL", help="Column of the image, or several, separated by commas.  [default: by its name]")
@click.option("--question", metavar="COL", help="Column of the question.  [default: by its name]")
@click.option("--answer", metavar="COL", help="Column of the answer.  [default: by its name]")
@click.option(
    "--options", metavar="COL", help="Column of the options: a list, or texts with | between.  [default: by its name]"
)
@click.option(
    "--image-folder", type=PATH, metavar="DIR", help="Where paths of images and videos start.  [default: beside FILE]"
)
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="How many frames of a video are shown, evenly spaced.")
@click.option("--split", metavar="NAME", help="Split of a folder that has several.  [default: train]")
@click.option("--config", metavar="NAME", help="Entry of dataset_info.json, where several describe FILE.")
@click.option("--task", metavar="NAME", help="Task of all rows.  [default: their own, or OUT's name]")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATH|TASK",
    help="Evaluation sets whose rows are left out: an image that is the same or nearly, or without images the same text. A "
    "file, all that a task is scored on, or BLINK for all its tasks. Repeatable.",
)
@click.option("--all", "every", is_flag=True, help="List every row that is left out, not the first of each reason.")
@click.option("-o", "--output", type=PATH, metavar="OUT", required=True, help="File to write, .jsonl or .parquet.")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME=DIR",
    help="A local copy of a dataset of the hub, e.g. BLINK-Benchmark/BLINK=blink. Repeatable.",
)
@manifests_option
@json_option
def import_rows(
    *,
    files: tuple[Path, ...],
    form: str,
    image: str | None,
    question: str | None,
    answer: str | None,
    options: str | None,
    output: Path,
    every: bool,
    datasets: tuple[str, ...],
    manifests: tuple[str, ...],
    as_json: bool,
    **asked: Any,
) -> None:
    """Write rows in the format of another trainer, or a table, as questions for tvt.

    FILE is JSON, JSON Lines, CSV or parquet, or a folder that datasets saved. Options (A) ... in a prompt are read, and answers
    that name one of them become its letter; any other answer stays text. Ids are the rows' own, or made of their content. Rows
    that cannot be read, or that an evaluation set has too, are left out, counted and listed with the reason.

    A manifest takes such files as they are: 'training: {path: train.json, format: sharegpt}'.
    """
    from tvt.api.datasets import import_rows as write
    from tvt.data.task_data import resolve_data_paths
    from tvt.data.tasks import find_manifests
    from tvt.report.import_lines import import_lines, import_record

    copies = named_paths("--dataset", "NAME=DIR", datasets, "BLINK-Benchmark/BLINK=blink")
    known = resolve_data_paths(find_manifests(manifests), datasets=copies)
    named = {"image": image, "question": question, "answer": answer, "options": options}
    columns = {role: column for role, column in named.items() if column is not None}
    with progress_bars() as progress:
        report = write(files, output, format=form, columns=columns, manifests=known, every=every, progress=progress, **asked)
    if as_json:
        echo_json({**import_record(report, files), "output": str(output)})
        return
    for line in import_lines(report, files, every=every):
        echo(line)
    echo(f"wrote {output}", err=True)
