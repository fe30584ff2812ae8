"""``tvt train``: an adapter from a mixed dataset."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvt.cli.completion import complete_recipes
from tvt.cli.options import data_options, echo_json, json_option, note, source_paths
from tvt.cli.progress import progress_bars, status_line

if TYPE_CHECKING:
    from tvt.train.record import TrainingProgress

EPILOG = """\b
Examples:
  tvt train mixed --recipe recipes/example.yaml -o run
  tvt train mixture.yaml --recipe recipe.yaml --data-dir data -o run
  tvt train mixed --recipe recipe.yaml -o run --num-processes 4 --deepspeed zero2.json --resume
"""
PATH = click.Path(path_type=Path)


@click.command(epilog=EPILOG)
@click.argument("mixture", type=PATH)
@click.option(
    "--recipe",
    "recipe_path",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Model, adapter and training.",
    shell_complete=complete_recipes,
)
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="Folder for the adapter and its record.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the adapter's start and later passes."
)
@click.option("--num-processes", type=click.IntRange(min=1), help="Processes over all machines. Default: the recipe's.")
@click.option("--deepspeed", metavar="FILE", help="DeepSpeed configuration, e.g. recipes/deepspeed/zero2.json.")
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change one value of the recipe. Repeatable.")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of this very run.")
@click.option(
    "--num-machines",
    type=click.IntRange(min=1),
    help="Machines; start the command on each. Default: the recipe's, 1 as a rule.",
)
@click.option(
    "--machine-rank",
    type=click.IntRange(min=0),
    help="Which of them this is, from 0. Default: the node's number in a Slurm job, else 0.",
)
@click.option("--main-process-ip", metavar="IP", help="Address of machine 0. Default: the recipe's.")
@click.option(
    "--main-process-port", type=click.IntRange(1, 65535), metavar="PORT", help="A free port there. Default: likewise."
)
@click.option(
    "--rendezvous-timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    default=600,
    show_default=True,
    help="How long to wait for the other machines.",
)
@data_options("a .jsonl or .parquet file of questions, or a folder of them", "SOURCE.jsonl, SOURCE.parquet or SOURCE/")
@json_option
def command(
    *,
    mixture: Path,
    recipe_path: Path,
    output: Path,
    seed: int,
    num_processes: int | None,
    deepspeed: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    num_machines: int | None,
    machine_rank: int | None,
    main_process_ip: str | None,
    main_process_port: int | None,
    rendezvous_timeout: float,
    data: tuple[str, ...],
    data_dir: Path,
    as_json: bool,
) -> None:
    """Train a LoRA adapter on MIXTURE: a mixture file, or a folder that tvt mix wrote.

    The rows of a mixture file are found by --data, in --data-dir, or by the manifests that the recipe names, and mixed into the
    output folder first.

    The loss is on the answer alone, and the vision tower stays frozen unless the recipe says otherwise. A loss or gradient that
    is not finite stops the run before it changes anything. The same command again finds the run done.
    """
    from tvt.io.yaml_files import load_recipe

    runtime = {
        "num_processes": num_processes,
        "deepspeed": deepspeed,
        "num_machines": num_machines,
        "main_process_ip": main_process_ip,
        "main_process_port": main_process_port,
    }
    given = [f"runtime.{name}={json.dumps(value)}" for name, value in runtime.items() if value is not None]
    recipe = load_recipe(recipe_path, [*overrides, *given])
    from tvt.api.datasets import train

    with _quiet(), progress_bars() as count, status_line("loading the model and its rows") as doing:

        def show(progress: TrainingProgress) -> None:
            doing("")
            click.echo(str(progress), err=True)

        record = train(
            mixture,
            recipe,
            output,
            source_paths(data),
            data_dir=data_dir,
            seed=seed,
            resume=resume,
            machine_rank=machine_rank,
            rendezvous_timeout=rendezvous_timeout,
            count=count,
            progress=show,
            note=note,
        )
    if as_json:
        echo_json({**record.json_value(), "output": output})
        return
    last = f", last loss {record.losses[-1][1]:.4f}" if record.losses else ""
    click.echo(f"{record.adapter}: {record.rows:,} rows in {record.steps} steps, {record.rows_per_second:.1f} rows/s{last}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries say off stdout, which is the record's, and their advice to programmers off stderr."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", FutureWarning)
        yield
