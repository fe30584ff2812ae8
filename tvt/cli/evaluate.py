"""``tvt evaluate``: accuracies of adapters, and of their base model, on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.answer_options import answer_lines, answers_json, show_answers, thresholds_of, warn_option
from tvt.cli.data_options import manifests_option, named_paths, pixels_option
from tvt.cli.options import echo_json, json_option, note
from tvt.cli.progress_bar import progress_bar
from tvt.cli.status_line import status_line
from tvt.core.choices import READERS
from tvt.errors import InputError
from tvt.evaluate.readers import OLD_NAMES, find_reader, offered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tvt.core.question import Question
    from tvt.data.tasks import TaskManifest
    from tvt.evaluate.results import CellResult
    from tvt.evaluate.sharing import ScoringProcesses

_Stated = dict[str, dict[str, Any]]
"""How many questions of a task there are, and how many its manifest states."""
EPILOG = """\b
Examples:
  tvt evaluate runs/jigsaw --model Qwen/Qwen2.5-VL-3B-Instruct --questions Jigsaw=jigsaw.parquet
  tvt evaluate a b c --model base --questions Counting=c.jsonl --questions Depth=d.jsonl --json
  tvt evaluate a --model tvt/miniature --dtype float32 --tasks all --manifests miniature
  tvt evaluate a --model base --tasks BLINK --dataset BLINK-Benchmark/BLINK=BLINK --prompt letter
"""


@click.command(epilog=EPILOG)
@click.argument("adapters", metavar="[ADAPTER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="MODEL", help="Base model: a folder or a hub name.")
@click.option("--revision", metavar="COMMIT", help="Revision of a hub model; pin it.")
@click.option(
    "--questions",
    "given",
    multiple=True,
    metavar="TASK=PATH",
    help="A task's questions: a .jsonl or .parquet file, or a folder of them. Repeatable.",
)
@click.option(
    "--tasks",
    metavar="all|TASK,...",
    help="Tasks by their manifests: all of --manifests, or the named ones; a benchmark's name, e.g. BLINK, means its tasks.",
)
@manifests_option
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME=DIR",
    help="With --tasks: the folder of a local copy of a hub dataset, e.g. BLINK-Benchmark/BLINK=/data/BLINK. Repeatable.",
)
@click.option("--report", is_flag=True, help="With --tasks: the questions kept back for reports, where a manifest has some.")
@click.option(
    "--mode",
    type=click.Choice(["options", "generate"]),
    default="options",
    show_default=True,
    help="Score the option letters in one pass, or let the model answer and read the letter.",
)
@click.option(
    "--prompt",
    default="dataset",
    show_default=True,
    metavar="PROMPT",
    help="How questions are put: dataset (images, then the row's prompt, as in training), official (as BLINK's code asks), "
    "letter (with a note that asks for the letter alone), or the file of a jinja2 template.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=16, show_default=True, help="Of a generated answer.")
@click.option(
    "--extract",
    type=click.Choice([*READERS.names, *OLD_NAMES]),
    default=READERS.default,
    show_default=True,
    metavar="READER",
    help=f"Who reads the letter or number in a generated answer: {offered()}.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Questions in a pass.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="Of the model.",
)
@click.option("--4bit", "four_bit", is_flag=True, help="Load the base model in 4 bits (nf4), as for QLoRA.")
@pixels_option
@click.option(
    "--num-processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the questions, one a GPU. No answer changes by it.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N questions of each task.")
@click.option("--no-base", is_flag=True, help="Leave the base model out.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("evaluations"),
    show_default=True,
    metavar="DIR",
    help="Folder of all answers; what is there is not asked again.",
)
@warn_option
@json_option
def command(
    *,
    adapters: tuple[Path, ...],
    given: tuple[str, ...],
    no_base: bool,
    output: Path,
    extract: str,
    warn: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Score adapters, and their base model, on questions with options or with a number for an answer.

    Numbers are generated in either mode, and scored by mean relative accuracy (MRA).

    Every answer is kept: an interrupted evaluation goes on where it stopped, and a question is asked again only when it, its
    images, the adapter's weights, the model, the prompt or the mode changed.

    Below the tasks stands the macro average of each benchmark that they are of, with its 95% interval.
    """
    who = [*([] if no_base else [None]), *dict.fromkeys(adapters)]
    if not who:
        raise InputError("whom to score? name adapters, or leave --no-base out")
    from tvt.core.recipe import WarningSettings

    thresholds = thresholds_of(WarningSettings(), warn)
    of_tasks, stated = _of_tasks(options)
    questions = {**of_tasks, **_questions(given, options["limit"])}
    if not questions:
        raise InputError("on what? name questions with --questions TASK=PATH, or --tasks with --manifests")
    from tvt.errors import refuse
    from tvt.evaluate.evaluator import Evaluator
    from tvt.model.families import model_checks

    model, settings = _settings(options)
    refuse(model_checks(model), note)
    reader = find_reader(extract)
    if extract != reader.name:
        note(f"--extract {extract} means {reader.name}; name the version, since others read otherwise")
    together = _together(options["num_processes"])
    evaluator = Evaluator(model, settings, output, together=together, reader=reader.name, note=note)
    with status_line("checking adapters, loading the model") as tell, progress_bar("scoring") as bar:

        def progress(done: int, total: int) -> None:
            if done:  # from then on the bar tells
                tell("")
                bar(done, total)

        results = evaluator.evaluate(who, questions, progress)
    rows = list(zip(["base" if path is None else str(path) for path in who], results, strict=True))
    from tvt.data.task_questions import as_asked, count_set
    from tvt.data.tasks import benchmarks, find_manifests
    from tvt.report.evaluation_tables import accuracy_table, answers_of, tied_warnings

    sets = [count_set(task, as_asked(of), **stated.get(task, {})) for task, of in questions.items()]
    answers = {"": answers_of(rows, sets, thresholds)}
    ties = tied_warnings(rows)
    members = benchmarks(find_manifests(options["manifests"]).values(), questions)
    if as_json:
        how = {"mode": settings.mode, "prompt": settings.prompt, "extraction": reader.name, "reader": reader.identity}
        doubts = [*(line.text for line in answer_lines(answers)), *ties]
        told = {"schema": 1, "model": options["model"], **how, "results": _told(who, results, members)}
        echo_json({**told, "warnings": doubts, "answers": answers_json(answers)})
    else:
        from rich.console import Console

        Console(highlight=False).print(accuracy_table(rows, unparsed=settings.mode == "generate", benchmarks=members))
        asked, total = (sum(part(cell) for cells in results for cell in cells.values()) for part in (_asked, _total))
        known = f"; {total - asked:,} were known" if asked < total else ""
        click.echo(f"asked {asked:,} questions{known}; answers in {output}", err=True)
    show_answers(answers, as_json=as_json)
    for text in ties:
        note(text)


def _together(processes: int) -> ScoringProcesses:
    """So many processes, if there is a GPU for each, or none at all."""
    from tvt.evaluate.sharing import ScoringProcesses
    from tvt.train.probe import visible_gpus

    gpus = len(visible_gpus()) if processes > 1 else 0
    if gpus and processes > gpus:
        raise InputError(f"{processes} processes need as many GPUs, but there are {gpus}; lower --num-processes to {gpus}")
    return ScoringProcesses(processes=processes)


def _asked(cell: CellResult) -> int:
    return cell.asked


def _total(cell: CellResult) -> int:
    return cell.total


def _settings(options: dict[str, Any]) -> tuple[Any, Any]:
    """The options as the values that recipes hold."""
    from tvt.core.recipe import EvaluationConfig, ModelConfig
    from tvt.io.recipe_file import model_path

    model = ModelConfig(
        model_name_or_path=model_path(options["model"]),
        revision=options["revision"],
        dtype=options["dtype"],
        load_in_4bit=options["four_bit"],
        max_pixels=options["max_pixels"],
    )
    settings = EvaluationConfig(
        mode=options["mode"],
        max_new_tokens=options["max_new_tokens"],
        prompt=options["prompt"],
        batch_size=options["batch_size"],
        questions=options["limit"],
    )
    return model, settings


def _questions(given: tuple[str, ...], limit: int | None) -> dict[str, list[Question]]:
    """The questions of each task; the faults of all files in one go."""
    from itertools import islice

    from tvt.data.questions.checks import scan
    from tvt.data.questions.files import open_questions

    faults: list[str] = []
    found: dict[str, list[Question]] = {}
    for task, path in named_paths("--questions", "TASK=PATH", given, "Jigsaw=data/jigsaw.parquet").items():
        try:
            source = open_questions(Path(path))
            scan(source)  # every fault of every row, before anything is asked
            found[task] = list(islice(source.questions(), limit))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return found


def _of_tasks(options: dict[str, Any]) -> tuple[dict[str, list[Question]], _Stated]:
    """The questions of the tasks whose manifests were named, and how many the manifests state."""
    from tvt.data.task_data import placed
    from tvt.data.task_questions import choose
    from tvt.data.tasks import find_manifests

    wanted, references = options["tasks"], options["manifests"]
    if not wanted:
        if references or options["report"] or options["datasets"]:
            raise InputError("--manifests, --dataset and --report are for --tasks; add --tasks all")
        return {}, {}
    copies = named_paths("--dataset", "NAME=DIR", options["datasets"], "BLINK-Benchmark/BLINK=/data/BLINK")
    known = placed(find_manifests(references), datasets=copies)
    own = find_manifests(references, bundled=False)
    names = list(own or known) if wanted == "all" else _named(wanted, known.values())
    return _read(choose(names, known, "--tasks"), options["limit"], report=options["report"])


def _read(chosen: Mapping[str, TaskManifest], limit: int | None, *, report: bool) -> tuple[dict[str, list[Question]], _Stated]:
    """The questions of tasks; those about videos take a while the first time."""
    from itertools import islice

    from tvt.core.scores import Part
    from tvt.data.task_questions import check_metric, is_drawn, locate, read, rows_of

    found: dict[str, list[Question]] = {name: [] for name in chosen}
    stated: _Stated = {}
    faults: list[str] = []
    parts: dict[str, Part] = {name: "report" if report and m.report is not None else "evaluation" for name, m in chosen.items()}
    said = [place.questions or 0 for name, m in chosen.items() if (place := getattr(m, parts[name])) is not None]
    done, total = 0, sum(min(count, limit or count) for count in said)
    with progress_bar("reading questions") as progress:
        for name, manifest in chosen.items():
            try:
                for question in islice(read(locate(manifest, parts[name]), name), limit):
                    found[name].append(question)
                    done += 1
                    progress(done, max(done, total))
                check_metric(manifest, found[name])
                if not is_drawn(data := locate(manifest, parts[name])):
                    stated[name] = {"rows": rows_of(data), "stated": data.questions}
            except InputError as error:
                faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return found, stated


def _named(wanted: str, known: Iterable[TaskManifest]) -> list[str]:
    """The names of a list, with those of its tasks for a benchmark's."""
    tasks: dict[str, list[str]] = {}
    for manifest in known:
        if manifest.benchmark is not None and manifest.left_out is None:
            tasks.setdefault(manifest.benchmark.casefold(), []).append(manifest.name)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [task for name in names for task in tasks.get(name.casefold(), [name])]


def _told(
    who: list[Path | None], results: list[dict[str, CellResult]], benchmarks: dict[str, dict[str, str | None]]
) -> list[dict[str, Any]]:
    """The results as JSON has them; counts of questions right before and after where the base model was scored too."""
    from tvt.evaluate.results import macro

    base = dict(zip(who, results, strict=True)).get(None, {})
    return [
        {
            "adapter": None if path is None else str(path),
            "digest": next(iter(cells.values())).digest,
            "answers": next(iter(cells.values())).key,
            "asked": sum(cell.asked for cell in cells.values()),
            "tasks": {task: cell.summary(base.get(task)) for task, cell in cells.items()},
            "aggregates": {
                name: found.summary()
                for name, members in benchmarks.items()
                if (found := macro(name, cells, members)) is not None
            },
        }
        for path, cells in zip(who, results, strict=True)
    ]
