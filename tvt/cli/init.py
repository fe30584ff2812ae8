"""``tvt init``: a recipe, manifests and example questions to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tvt.errors import InputError

EPILOG = """\b
Examples:
  tvt init
  tvt init jigsaws --task Jigsaw --task Counting
"""
TASK = "My_Task"


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", default=Path())
@click.option("--task", "tasks", multiple=True, default=(TASK,), show_default=True, help="A task's name. Repeatable.")
def command(*, folder: Path, tasks: tuple[str, ...]) -> None:
    """Write a study to start from into DIR (default: here): study.yaml, a manifest for each task, and a few example questions.

    It runs as it is, on the tiny model that comes with tvt; put your own model, rows and questions in its place. What is there
    is never overwritten.
    """
    from tvt.data.starter import starter_files
    from tvt.io import atomic
    from tvt.io.names import file_name

    faults = [f"--task {task!r}: no name; write e.g. --task Jigsaw" for task in tasks if not file_name(task).strip("_.-")]
    faults += [f"--task {task!r}: longer than 100 characters; shorten it" for task in tasks if len(task) > 100]
    stems = [file_name(task).casefold() for task in tasks]
    again = dict.fromkeys(task for task, stem in zip(tasks, stems, strict=True) if stems.count(stem) > 1)
    faults += [f"--task {task}: another one has the same name, or the same file name; rename one" for task in again]
    if faults:
        raise InputError(*faults)
    files = starter_files(folder.absolute().name[:100] or "study", tasks)
    taken = [folder / name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if taken:
        raise InputError(*(f"{path}: is there already; move it, or name another folder: tvt init DIR" for path in taken))
    for name, data in files.items():
        atomic.write_bytes(folder / name, data)
    for name in files:
        if not name.startswith("data/images/"):
            click.echo(f"wrote {folder / name}", err=True)
    click.echo("\n".join(_next(folder, tasks)))


def _next(folder: Path, tasks: tuple[str, ...]) -> list[str]:
    """The commands to go on with."""
    recipe, study = shlex.quote(str(folder / "study.yaml")), shlex.quote(str(folder / "study"))
    rows = shlex.quote(str(folder / "data" / f"{_stem(tasks[0])}.jsonl"))
    return [
        "Next:",
        f"  tvt doctor {recipe}",
        f"  tvt recipe check {recipe}",
        f"  tvt data check {rows}",
        f"  tvt study plan {recipe} -o {study}",
        f"  tvt study run {recipe} -o {study}",
        f"  tvt analyze {study}",
        "Put your own rows into data/, say in tasks/ where they are, and name your model in study.yaml.",
    ]


def _stem(task: str) -> str:
    from tvt.io.names import file_name

    return file_name(task)
