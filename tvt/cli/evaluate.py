"""``tvt evaluate``: accuracies of adapters, and of their base model, on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tvt.cli.options import (
    NearestChoice,
    answer_lines,
    answers_json,
    echo_json,
    json_option,
    manifests_option,
    min_pixels_option,
    named_paths,
    note,
    pixels_option,
    show_answers,
    thresholds_of,
    warn_option,
)
from tvt.cli.progress import progress_bar, status_line
from tvt.core.choices import METRICS, READERS
from tvt.errors import InputError
from tvt.evaluate.readers import OLD_NAMES, find_reader, offered
from tvt.report.printing import echo, new_console

if TYPE_CHECKING:
    from tvt.api.scoring import Questions

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
@click.option(
    "--metric",
    type=NearestChoice(METRICS.names),
    metavar="METRIC",
    help=f"With --questions: how open-ended answers are scored: {', '.join(METRICS.names)}.  [default: numbers by mra, text by "
    f"{METRICS.default}]",
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
    type=NearestChoice(["options", "generate"]),
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
    type=NearestChoice([*READERS.names, *OLD_NAMES]),
    default=READERS.default,
    show_default=True,
    metavar="READER",
    help=f"Who reads the letter or number in a generated answer: {offered()}.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Questions in a pass.")
@click.option(
    "--dtype",
    type=NearestChoice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="Of the model.",
)
@click.option("--4bit", "four_bit", is_flag=True, help="Load the base model in 4 bits (nf4), as for QLoRA.")
@pixels_option
@min_pixels_option
@click.option(
    "--num-processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the questions, one a GPU. No answer changes by it.",
)
@click.option(
    "--endpoint",
    metavar="ADDRESS",
    help="Ask a server of OpenAI's chat completions, e.g. vLLM at http://gpu7:8000/v1, in place of the model here; with "
    "--mode generate.",
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
    """Score adapters, and their base model, on questions with options, or open-ended ones, answered by a number or a text.

    Numbers are generated in either mode, and scored by mean relative accuracy (MRA) unless a metric is named. Text takes
    --mode generate, and is scored by exact match after normalisation unless a metric is named.

    Every answer is kept: an interrupted evaluation goes on where it stopped, and a question is asked again only when it, its
    images, the adapter's weights, the model, the prompt or the mode changed.

    Below the tasks stands the macro average of each benchmark that they are of, with its 95% interval.
    """
    from tvt.api.scoring import evaluate
    from tvt.core.recipe import WarningSettings
    from tvt.report.evaluation_tables import accuracy_table, tied_warnings

    thresholds = thresholds_of(WarningSettings(), warn)
    questions = _questions(given, options)
    if not questions.by_task:
        raise InputError("on what? name questions with --questions TASK=PATH, or --tasks with --manifests")
    model, settings = _settings(options)
    reader = find_reader(extract)
    if extract != reader.name:
        note(f"--extract {extract} means {reader.name}; name the version, since others read otherwise")
    with status_line("checking adapters, loading the model") as doing, progress_bar("scoring") as bar:

        def progress(done: int, total: int) -> None:
            if done:  # from then on the bar says how far it is
                doing("")
                bar(done, total)

        scored = evaluate(
            adapters,
            questions,
            model,
            settings,
            output=output,
            base=not no_base,
            reader=reader.name,
            processes=options["num_processes"],
            manifests=options["manifests"],
            endpoint=options["endpoint"],
            progress=progress,
            note=note,
        )
    answers = {"": scored.answers(thresholds)}
    ties = tied_warnings(scored.rows)
    if as_json:
        doubts = [*(line.text for line in answer_lines(answers)), *ties]
        model_name = {"schema": 1, "model": options["model"]}
        echo_json({**model_name, **scored.json_value(), "warnings": doubts, "answers": answers_json(answers)})
    else:
        table = accuracy_table(scored.rows, unparsed=settings.mode == "generate", benchmarks=scored.benchmarks)
        new_console(highlight=False).print(table)
        known = f"; {scored.total - scored.asked:,} were known" if scored.asked < scored.total else ""
        echo(f"asked {scored.asked:,} questions{known}; answers in {output}", err=True)
    show_answers(answers, as_json=as_json)
    for text in ties:
        note(text)


def _questions(given: tuple[str, ...], options: dict[str, Any]) -> Questions:
    """The questions of the files and of the tasks that are named."""
    from tvt.api.scoring import Questions, questions_of_files, questions_of_tasks

    tasks, limit = options["tasks"], options["limit"]
    if not tasks and (options["manifests"] or options["report"] or options["datasets"]):
        raise InputError("--manifests, --dataset and --report are for --tasks; add --tasks all")
    of_tasks = Questions()
    if tasks:
        with progress_bar("reading questions") as progress:
            of_tasks = questions_of_tasks(
                tasks,
                options["manifests"],
                named_paths("--dataset", "NAME=DIR", options["datasets"], "BLINK-Benchmark/BLINK=/data/BLINK"),
                limit=limit,
                report=options["report"],
                progress=progress,
            )
    files = named_paths("--questions", "TASK=PATH", given, "Jigsaw=data/jigsaw.parquet")
    if options["metric"] and not files:
        raise InputError("--metric is for --questions; a task's manifest says its own ('evaluation: {metric: ...}')")
    return of_tasks.joined(questions_of_files(files, limit, options["metric"]))


def _settings(options: dict[str, Any]) -> tuple[Any, Any]:
    """The options as the values that recipes hold."""
    from tvt.core.recipe import EvaluationConfig, ModelConfig
    from tvt.io.yaml_files import model_path

    model = ModelConfig(
        model_name_or_path=model_path(options["model"]),
        revision=options["revision"],
        dtype=options["dtype"],
        load_in_4bit=options["four_bit"],
        max_pixels=options["max_pixels"],
        min_pixels=options["min_pixels"],
    )
    if options["endpoint"] and options["mode"] != "generate":
        raise InputError("--endpoint: a server gives texts and no likelihoods of letters; add --mode generate")
    settings = EvaluationConfig(
        backend="endpoint" if options["endpoint"] else "local",
        mode=options["mode"],
        max_new_tokens=options["max_new_tokens"],
        prompt=options["prompt"],
        batch_size=options["batch_size"],
        questions=options["limit"],
    )
    return model, settings
