"""``tvt studies``: the studies that come with tvt, and ``tvt studies import``: those that other programs measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tvt.cli.options import NearestChoice, echo_json, json_option, named_paths, note
from tvt.report.printing import echo

STUDIES_EPILOG = """\b
Examples:
  tvt studies
  tvt studies --json
  tvt studies import results --base Qwen2.5-VL-7B-Instruct -o study.csv
"""
IMPORT_EPILOG = """\b
Examples:
  tvt studies import lmms-eval-output -o study.csv
  tvt studies import base=results/base Jigsaw=results/adapter-3 --score chartqa=relaxed_overall
  tvt studies import wandb.csv --columns targets='eval/*/accuracy' --base zero-shot
  tvt studies import scores.csv --columns source=ckpt --columns target=bench --columns accuracy=acc --columns total=n
"""
FORMATS = ("auto", "lmms-eval", "vlmevalkit", "wandb", "table")


@click.group(name="studies", epilog=STUDIES_EPILOG, invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the studies that come with tvt, or import one that another program measured.

    A study says how finetuning on each source task changed each target task. Any command that takes a STUDY takes one of
    these names (or its end, such as 7b), a study folder, or a CSV file. A study of your own is made by tvt study.
    """
    if context.invoked_subcommand is None:
        from tvt.cli.study_show import list_studies

        list_studies(as_json)


@command.command("import", epilog=IMPORT_EPILOG)
@click.argument("paths", metavar="[SOURCE=]PATH...", nargs=-1, required=True)
@click.option("--from", "form", type=NearestChoice(FORMATS), default="auto", show_default=True, help="What wrote the results.")
@click.option("--base", metavar="NAME", help="The base model.  [default: the only one without an adapter, or one called base]")
@click.option(
    "--columns", multiple=True, metavar="FIELD=COLUMN", help="Of a table: source, run, target, accuracy, total; or targets."
)
@click.option("--score", "scores", multiple=True, metavar="TASK=METRIC", help="Which metric of a task counts. Repeatable.")
@click.option("--without", multiple=True, metavar="TASK", help="Leave a task out. Repeatable.")
@click.option("--categories", is_flag=True, help="The categories of VLMEvalKit's datasets are the targets.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("study.csv"), show_default=True, help="The CSV.")
@json_option
def import_(
    *,
    paths: tuple[str, ...],
    form: Any,
    base: str | None,
    columns: tuple[str, ...],
    scores: tuple[str, ...],
    without: tuple[str, ...],
    categories: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Write the results of lmms-eval or VLMEvalKit, wandb's export, or any table as a CSV study.

    PATH is the folder that the program wrote, one model's in it, or a file. With SOURCE= it says what the model was trained on,
    else the model's own name stands for it; the same SOURCE twice means two runs. Numbers of questions and the answers to each
    are taken along where they are there, so that the errors are known.
    """
    from tvt.api.imports import import_results
    from tvt.io import atomic

    imported = import_results(
        [_named(text) for text in paths],
        form=form,
        base=base,
        columns=named_paths("--columns", "FIELD=COLUMN", columns, "source=model"),
        scores=named_paths("--score", "TASK=METRIC", scores, "chartqa=relaxed_overall"),
        without=without,
        categories=categories,
    )
    atomic.write_text(output, imported.text)
    for text in imported.notes:
        note(text)
    if as_json:
        echo_json({"schema": 1, "output": str(output), "sources": imported.sources, "targets": imported.targets})
        return
    echo(f"wrote {output}: {len(imported.sources)} sources x {len(imported.targets)} targets; tvt analyze {output}")


def _named(text: str) -> tuple[str | None, Path]:
    """A path with the source that stands before it; a path that exists as it is has none."""
    name, equals, path = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() or "/" in name else (name, Path(path))
