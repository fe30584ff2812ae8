"""Commands to start with: ``tvt init`` (a recipe, manifests and example questions, which run as they are on the tiny model)
and ``tvt doctor``.

"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from PIL import Image, ImageDraw

from tvt.cli.completion import complete_recipes
from tvt.cli.options import echo_json, json_option
from tvt.cli.progress import status_line
from tvt.errors import InputError
from tvt.io import json_lines, strict_yaml
from tvt.io.names import file_name
from tvt.report.printing import echo, new_console

EPILOG = """\b
Examples:
  tvt init
  tvt init jigsaws --task Jigsaw --task Counting
"""
TASK = "My_Task"


@click.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", default=Path())
@click.option("--task", "tasks", multiple=True, default=(TASK,), show_default=True, help="A task's name. Repeatable.")
def init(*, folder: Path, tasks: tuple[str, ...]) -> None:
    """Write a study to start from into DIR (default: here): study.yaml, a manifest for each task, and a few example questions.

    It runs as it is, on the tiny model that comes with tvt; put your own model, rows and questions in its place. What is there
    is never overwritten.
    """
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
            echo(f"wrote {folder / name}", err=True)
    echo("\n".join(_next(folder, tasks)))


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


ROWS = 4
"""Example questions of a part: enough for a run, and for seeing that answers are balanced."""
SIZE = 112
"""Pixels of an example image, each way."""
_LICENCE = "CC0-1.0"
_ENDS = {"training": "", "evaluation": "-val", "report": "-test"}
_SIDES = ("left", "right")

RECIPE = """\
# A transfer study: finetune the model on each source, score every run on every target.
# Check it with: tvt recipe check study.yaml. Change a value for once: --set training.learning_rate=2e-4
name: {study}
model:
  # The tiny model that comes with tvt, so that all of this runs on a CPU. For a real study name yours, e.g.
  #   model_name_or_path: Qwen/Qwen2.5-VL-3B-Instruct
  #   revision: ...     a commit of the hub: pin it, so that the study stays what it is
  #   dtype: bfloat16
  model_name_or_path: tvt/miniature
  dtype: float32
# The folder of your tasks' manifests.
manifests: [tasks]
# Trained on, one run for each and for each seed.
sources: {names}
# Scored on. A target need not be a source, and may also be one that tvt tasks lists.
targets: {names}
# Training examples of a run: 1000 or more in a real study.
budget: {budget}
seeds: [0, 1]
# Also at less of the budget: how gain grows with the number of examples.
# doses: [1.0, 0.5, 0.25]
training:
  learning_rate: 1e-4
  # Examples a step: 32, say.
  global_batch_size: {budget}
  # Examples at once: what memory allows. It changes no result.
  per_device_train_batch_size: {budget}
  # true saves memory, and takes a third more time.
  gradient_checkpointing: false
"""

MANIFEST = """\
# One task: what it is, and where its questions are. Paths start at this file.
{name}
# A short form, for tables.
# abbreviation: XY
# Answer options of a question.
options: 2
# The best accuracy thought possible, where it is below 1.
# ceiling: 0.95
# Trained on. A .parquet file or a folder does as well.
training: {{path: {training}}}
# Scored on; mixtures are selected on these, so none of them may be among the training rows.
evaluation: {{path: {evaluation}}}
# Kept back for tvt compare, so that it reports on questions that no selection saw.
# report: {{path: {report}}}
"""


def starter_files(study: str, tasks: Sequence[str]) -> dict[str, bytes]:
    """The files of a study to start from, by their path in its folder.

    Args:
        study: its name.
        tasks: names of its tasks, all different, also as file names.
    """
    names = f"[{', '.join(_scalar(task) for task in tasks)}]"
    files = {"study.yaml": RECIPE.format(study=_scalar(study), names=names, budget=ROWS).encode()}
    for place, task in enumerate(tasks):
        stem = file_name(task)
        name = strict_yaml.dump({"name": task}).strip()
        places = {part: f"../data/{stem}{end}.jsonl" for part, end in _ENDS.items()}
        files[f"tasks/{stem}.yaml"] = MANIFEST.format(name=name, **places).encode()
        for part, first in ((stem, 0), (f"{stem}-val", ROWS)):
            files |= dict(_questions(task, part, first, hue=60 * place))
    return files


def _scalar(text: str) -> str:
    """A text as it stands in YAML's flow style."""
    plain = text.replace("_", "").replace("-", "").isalnum() and strict_yaml.load(text, "name") == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _questions(task: str, part: str, first: int, hue: int) -> Iterator[tuple[str, bytes]]:
    """The rows of one part and their images. No image is in two parts: what is trained on is not scored."""
    rows = []
    for number in range(first, first + ROWS):
        image = f"images/{part}-{number - first}.png"
        yield f"data/{image}", _drawn(number, hue)
        rows.append(
            {
                "id": f"{file_name(task)}-{number}",
                "task": task,
                "prompt": "On which side is the square?\n(A) left\n(B) right",
                "options": list(_SIDES),
                "answer": "AB"[number % 2],
                "images": [image],
                "provenance": json.dumps({"source": "drawn by tvt init", "licence": _LICENCE}),
            }
        )
    yield f"data/{part}.jsonl", json_lines.dump(rows).encode()


def _drawn(number: int, hue: int) -> bytes:
    """A square left or right of the middle, each at another place and in another shade."""
    image = Image.new("RGB", (SIZE, SIZE), "white")
    pen = ImageDraw.Draw(image)
    x = SIZE // 8 + number * 2 + (SIZE // 2 if number % 2 else 0)
    y = SIZE // 8 + number * SIZE // 14
    side = SIZE // 5
    pen.rectangle((x, y, x + side, y + side), fill=f"hsl({(hue + 8 * number) % 360}, 70%, 40%)", outline="black", width=2)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


DOCTOR_EPILOG = """\b
Examples:
  tvt doctor
  tvt doctor recipes/miniature.yaml
  tvt doctor recipe.yaml -o /data/studies/mine --json
"""
PATH = click.Path(path_type=Path)


@click.command(epilog=DOCTOR_EPILOG)
@click.argument("recipe", type=PATH, required=False, shell_complete=complete_recipes)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The study's folder, whose disk is meant.  [default: studies]")
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, recipe: Path | None, output: Path | None, as_json: bool) -> None:
    """Look at packages, GPUs, memory, disks, caches and file locks, and say what would fail here and what mends it.

    With a RECIPE, also at its model, data, precision, DeepSpeed file and disk. Nothing is downloaded, built or changed.

    The exit code is 0 where every check is ok or a warning, 2 where one failed.
    """
    from tvt.report.study_tables import checks_record, checks_table, verdict
    from tvt.study.doctor import examine
    from tvt.study.this_machine import versions

    with status_line("looking at") as tell:
        checks = examine(recipe, output, tell)
    if as_json:
        echo_json(checks_record(checks, versions()))
    else:
        new_console(highlight=False).print(checks_table(checks))
        echo(verdict(checks))
    if any(check.status == "fail" for check in checks):
        ctx.exit(2)
