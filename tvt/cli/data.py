"""``tvt tasks``, the tasks that there are, and ``tvt data``, their training rows: build or import them, check
them, look at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli import data_import
from tvt.cli.completion import complete_tasks
from tvt.cli.options import echo_json, json_option, manifests_option, min_pixels_option, named_paths, pixels_option
from tvt.cli.progress import progress_bars
from tvt.errors import InputError
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.data.builders.build import BuildRequest
    from tvt.data.tasks import TaskManifest
    from tvt.model.limits import ModelLimits
    from tvt.types import Progress

EPILOG = """\b
Examples:
  tvt data build Jigsaw --source raw/coco -n 1000 --layout coco --exclude BLINK -o data
  tvt data import train.json --exclude BLINK -o data/mine.jsonl
  tvt data check data/Jigsaw.parquet --against BLINK
  tvt data check data/Jigsaw.parquet --model Qwen/Qwen2.5-VL-3B-Instruct
  tvt data preview data/Jigsaw.parquet -o jigsaw.png
"""
PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)

dataset_option = click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME=DIR",
    help="A local copy of a dataset of the hub, e.g. BLINK-Benchmark/BLINK=blink. Repeatable.",
)


@click.group(epilog=EPILOG)
def command() -> None:
    """Build a task's training rows from the raw data of its original source, or import your own, check them, look at them.

    tvt tasks says what tasks there are and what their rows are built from, tvt data makes and checks the rows: tvt tasks show
    TASK names the raw data of one and the commands that build it.
    """


command.add_command(data_import.import_rows, "import")


@command.command(epilog=EPILOG)
@click.argument("task")
@click.option("--source", type=PATH, metavar="DIR", required=True, help="Folder of the raw data.")
@click.option("-n", "--rows", type=COUNT, metavar="N", required=True, help="Training rows to build.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", default=0, show_default=True, help="Seed of what is drawn.")
@click.option("--layout", metavar="NAME", help="Which raw data it is.  [default: the source that BLINK was made from]")
@click.option("--validation", type=COUNT, metavar="M", help="Also so many rows that share no image with them.")
@click.option("--reuse", type=COUNT, metavar="K", default=1, show_default=True, help="In how many rows an image may be shown.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATH|TASK",
    help="Questions whose images must not be shown, the same or nearly: a file, all that a task is scored on (of BLINK: val "
    "and test), or BLINK for all its tasks. Repeatable.",
)
@click.option("-o", "--output", type=PATH, metavar="DIR", default=Path("data"), show_default=True, help="Folder to write to.")
@dataset_option
@manifests_option
@json_option
def build(
    *,
    task: str,
    source: Path,
    output: Path,
    exclude: tuple[str, ...],
    datasets: tuple[str, ...],
    manifests: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write TASK.parquet, ready for tvt mix and tvt train, and TASK.build.json, which says what it was built from.

    The same request writes the same bytes; more rows begin with the rows of fewer. No image is in two rows (see --reuse), right
    answers stand at each letter equally often, and units of which no fair question can be made are counted by reason.
    """
    known = _known(manifests, datasets)
    with progress_bars() as progress:
        request = _request(task, source, exclude, known, progress, **options)
        from tvt.data.builders.build import build as write

        built = write(request, output, progress)
    if as_json:
        echo_json({**built.record, "paths": [str(path) for path in built.paths]})
        return
    from tvt.report.data_tables import build_lines

    for line in build_lines(built.record):
        echo(line)
    echo(f"wrote {', '.join(map(str, built.paths))}", err=True)


@command.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option(
    "--against",
    multiple=True,
    metavar="PATH|TASK",
    help="Evaluation sets to keep clear of: a file, all that a task is scored on (of BLINK: val and test), or BLINK for all "
    "its tasks. Repeatable.",
)
@click.option("--at-least", type=COUNT, metavar="N", default=1, show_default=True, help="Rows that a file must have.")
@click.option(
    "--near",
    type=click.IntRange(min=0, max=31),
    metavar="BITS",
    default=8,
    show_default=True,
    help="How many of the 64 bits of two images' perceptual hashes differ at most in near duplicates.",
)
@click.option("--model", metavar="MODEL", help="Also hold the rows against the limits of a model: a folder or a hub name.")
@click.option("--revision", metavar="COMMIT", help="Revision of a hub model; pin it.")
@pixels_option
@min_pixels_option
@dataset_option
@manifests_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    files: tuple[Path, ...],
    against: tuple[str, ...],
    at_least: int,
    near: int,
    model: str | None,
    revision: str | None,
    max_pixels: int | None,
    min_pixels: int | None,
    datasets: tuple[str, ...],
    manifests: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say all that is wrong with files of training rows; exit code 2 where anything is.

    Faults: unreadable rows, missing or broken images, answers that lean to a letter (chi-square, p < 0.001), questions asked
    twice, images of evaluation sets (the same or nearly), wrong numbers of options, no licence, too few rows. Warnings: images
    that several rows show, and answers that the options' text or images give away (the longest, the one with most bytes).

    With --model also: pictures whose size its processor refuses, text that it reads as a token of its own (<image>,
    <|im_end|>), and more tokens than it has positions. Its weights are not loaded.
    """
    from tvt.data.dataset_check import Standards, check_dataset
    from tvt.data.lookalikes import gallery_of

    known = _known(manifests, datasets)
    with progress_bars() as progress:
        gallery = gallery_of(against, known, progress)
        limits = _limits(model, revision, max_pixels, min_pixels)
        standards = Standards(manifests=known, against=gallery, at_least=at_least, near=near, limits=limits)
        reports = [check_dataset(path, standards, progress) for path in files]
    from tvt.report.data_tables import check_line, check_record, check_table

    if as_json:
        compared = {"images": len(gallery), "near_bits": near}
        echo_json({"schema": 1, "against": compared, "files": [check_record(report) for report in reports]})
    else:
        for report in reports:
            echo(check_line(report))
            if report.findings:
                new_console(highlight=False).print(check_table(report))
    if any(report.faults for report in reports):
        ctx.exit(2)


@command.command(epilog=EPILOG)
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, metavar="PNG", help="The sheet.  [default: FILE.sheet.png]")
@click.option("--rows", type=COUNT, metavar="N", default=12, show_default=True, help="Questions to show.")
@click.option("--columns", type=click.IntRange(1, 6), metavar="N", default=3, show_default=True, help="Side by side.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Draw the questions; without it the first are shown.")
def preview(*, file: Path, output: Path | None, rows: int, columns: int, seed: int | None) -> None:
    """Draw a contact sheet: the images of some questions, what is asked, the options, the right one marked."""
    import numpy as np

    from tvt.data.questions.files import open_questions
    from tvt.io import atomic
    from tvt.report.data_tables import as_png, contact_sheet

    source = open_questions(file)
    if not source.rows:
        raise InputError(f"{file}: no questions; build some with tvt data build")
    shown = min(rows, source.rows)
    order = np.arange(source.rows) if seed is None else np.random.default_rng(seed).permutation(source.rows)
    questions = list(source.questions(sorted(int(row) for row in order[:shown])))
    tasks = ", ".join(dict.fromkeys(question.task for question in questions))
    sheet = output or file.parent / f"{file.stem}.sheet.png"
    which = "first" if seed is None else "drawn"
    atomic.write_bytes(sheet, as_png(contact_sheet(questions, f"{tasks}: {shown} of {source.rows:,} rows ({which})", columns)))
    echo(f"wrote {sheet}", err=True)


def _limits(model: str | None, revision: str | None, max_pixels: int | None, min_pixels: int | None) -> ModelLimits | None:
    if model is None:
        for option, value in (("--revision", revision), ("--max-pixels", max_pixels), ("--min-pixels", min_pixels)):
            if value is not None:
                raise InputError(f"{option} is of a model; name it with --model")
        return None
    from tvt.core.recipe import ModelConfig
    from tvt.io.yaml_files import model_path
    from tvt.model.limits import load_limits

    pixels = {"max_pixels": max_pixels, "min_pixels": min_pixels}
    return load_limits(ModelConfig(model_name_or_path=model_path(model), revision=revision, **pixels))


def _known(manifests: tuple[str, ...], datasets: tuple[str, ...]) -> dict[str, TaskManifest]:
    """All manifests, with local copies of datasets put in."""
    from tvt.data.task_data import resolve_data_paths
    from tvt.data.tasks import find_manifests

    copies = named_paths("--dataset", "NAME=DIR", datasets, "BLINK-Benchmark/BLINK=blink")
    return resolve_data_paths(find_manifests(manifests), datasets=copies)


def _request(
    task: str,
    source: Path,
    exclude: tuple[str, ...],
    known: dict[str, TaskManifest],
    progress: Progress,
    **options: Any,
) -> BuildRequest:
    """The request, with every name resolved and the excluded images looked at."""
    from tvt.core.task import resolve_name
    from tvt.data.builders.build import BuildRequest
    from tvt.data.builders.choose import Amounts
    from tvt.data.builders.contract import find_builder, source_of
    from tvt.data.lookalikes import gallery_of

    try:
        name = resolve_name(task, [manifest.task() for manifest in known.values()], list(known))
    except KeyError as error:
        raise InputError(f"{error.args[0]}; see tvt tasks") from error
    builder = find_builder(name, options["layout"])
    return BuildRequest(
        builder=builder,
        folder=source,
        source=source_of(known[name], builder.layout),
        amounts=Amounts(rows=options["rows"], validation=options["validation"] or 0, reuse=options["reuse"]),
        seed=options["seed"],
        excluded=gallery_of(exclude, known, progress),
    )


TASKS_EPILOG = """\b
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


@click.group(invoke_without_command=True, epilog=TASKS_EPILOG)
@data_dir_option
@manifests_option
@json_option
@click.pass_context
def tasks(ctx: click.Context, *, data_dir: Path, manifests: tuple[str, ...], as_json: bool) -> None:
    """List the tasks: how they are classified, what they are scored on, what their rows are built from, whether they are here.

    Without --manifests these are the tasks that come with tvt; with it, also the tasks of your own manifests. tvt data builds
    their training rows.
    """
    if ctx.invoked_subcommand is not None:
        return
    from tvt.data.task_data import build_commands, rows_here
    from tvt.report.data_tables import task_record, tasks_notes, tasks_table

    known = _listed(manifests)
    here = {name: rows_here(manifest, data_dir) for name, manifest in known.items()}
    if as_json:
        records = [task_record(known[name], here[name], build_commands(known[name], data_dir)) for name in known]
        echo_json({"schema": 1, "tasks": records})
        return

    new_console(highlight=False).print(tasks_table(known, here))
    for line in tasks_notes(known, here):
        echo(line)


@tasks.command(epilog=TASKS_EPILOG)
@click.argument("task", shell_complete=complete_tasks)
@data_dir_option
@manifests_option
@json_option
def show(*, task: str, data_dir: Path, manifests: tuple[str, ...], as_json: bool) -> None:
    """Say everything of one task: its manifest, the sources of its training rows, the commands that build them."""
    from tvt.core.task import resolve_name
    from tvt.data.task_data import build_commands, rows_here
    from tvt.report.data_tables import lines_table, source_lines, task_lines, task_record

    known = _listed(manifests)
    try:
        manifest = known[resolve_name(task, [manifest.task() for manifest in known.values()], list(known))]
    except KeyError as error:
        raise InputError(f"{error.args[0]}; see tvt tasks") from error
    here, commands = rows_here(manifest, data_dir), build_commands(manifest, data_dir)
    if as_json:
        echo_json({"schema": 1, **task_record(manifest, here, commands)})
        return

    console = new_console(highlight=False)
    console.print(lines_table(task_lines(manifest, here)))
    for source in manifest.sources:
        console.print()
        console.print(lines_table(source_lines(source, tuple(file.path for file in source.files))))
    if commands:
        echo("\nTo build, check and look at its rows (DIR is the folder of the raw data):")
        for line in commands:
            echo(f"  {line}")


def _listed(manifests: tuple[str, ...]) -> dict[str, TaskManifest]:
    from tvt.data.tasks import find_manifests

    return find_manifests(manifests)
