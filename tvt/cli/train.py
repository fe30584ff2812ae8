"""``tvt train``, an adapter on a mixed dataset, and ``tvt recipe``, how the runs of a study are trained and scored."""

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
from tvt.report.printing import echo, new_console

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
            echo(str(progress), err=True)

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
    echo(f"{record.adapter}: {record.rows:,} rows in {record.steps} steps, {record.rows_per_second:.1f} rows/s{last}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libraries say off stdout, which is the record's, and their advice to programmers off stderr."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", FutureWarning)
        yield


RECIPE_EPILOG = """\b
Examples:
  tvt recipe check recipes/example.yaml --set training.learning_rate=2e-4
  tvt recipe check miniature
  tvt recipe fields training
"""


@click.group(epilog=RECIPE_EPILOG)
def recipe() -> None:
    """Check a recipe: the YAML file that says how the runs of a study are trained and scored."""


@recipe.command(epilog=RECIPE_EPILOG)
@click.argument("recipe", type=click.Path(path_type=Path), shell_complete=complete_recipes)
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change one value. Repeatable.")
@json_option
def check(*, recipe: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """List all faults of a recipe and of what it needs here, or say what it asks for. Nothing is loaded."""
    from tvt.core.notebook import counted
    from tvt.errors import refuse
    from tvt.evaluate.prompts import read_profile
    from tvt.io import digest
    from tvt.io.yaml_files import load_recipe
    from tvt.train.checks import environment_checks, training_checks

    loaded = load_recipe(recipe, overrides)
    here = loaded.runtime.executor == "local"
    refuse([*training_checks(loaded), *(environment_checks() if here else ())], note)
    read_profile(loaded.evaluation.prompt)
    placebos = len(loaded.placebo) * len(loaded.seeds)
    runs = len(loaded.sources) * len(loaded.seeds) * len(loaded.doses) + placebos
    training, evaluation = (digest.of_value(part) for part in (loaded.training_identity(), loaded.evaluation_identity()))
    if as_json:
        record = {
            "recipe": loaded.model_dump(mode="json"),
            "runs": runs,
            "training_digest": training,
            "evaluation_digest": evaluation,
        }
        echo_json({"schema": 1, **record})
        return
    echo(f"{recipe}: no faults")
    beside = f", and {placebos} of placebos" if placebos else ""
    axes = ((loaded.sources, "source"), (loaded.seeds, "seed"), (loaded.doses, "dose"))
    grid = " x ".join(counted(len(values), noun) for values, noun in axes)
    echo(f"  {runs} training runs: {grid}{beside}")
    echo(
        f"  of {loaded.budget:,} examples, {loaded.training.global_batch_size} a step, scored on {len(loaded.targets)} targets"
    )
    echo(f"  training digest {training[:12]}, evaluation digest {evaluation[:12]}: runs with the same are not done again")


@recipe.command(epilog=RECIPE_EPILOG)
@click.argument("words", nargs=-1)
def fields(*, words: tuple[str, ...]) -> None:
    """Every field of a recipe: its default, whether another value changes results, and what it does.

    With WORDS only the fields that hold one of them in their name.
    """
    from rich.table import Table

    from tvt.core.recipe import recipe_fields
    from tvt.errors import InputError

    shown = [field for field in recipe_fields() if not words or any(word in field.name for word in words)]
    if not shown:
        raise InputError(f"no field of a recipe holds {' or '.join(map(repr, words))}; tvt recipe fields lists all")
    table = Table("field", "default", "changes", "what", box=None, pad_edge=False)
    for field in shown:
        table.add_row(field.name, field.default or "needed", field.effect, field.description)
    new_console().print(table, markup=False)


RECIPES_EPILOG = """\b
Examples:
  tvt recipes
  tvt recipe check miniature
  tvt study plan blink-qwen2.5-vl-7b
"""


@click.command(epilog=RECIPES_EPILOG)
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes and DeepSpeed configurations that come with tvt.

    Every command that takes a recipe takes one of these names, from any folder; a file of that name goes before it. The folder
    at the end is where they lie, to be copied from.
    """
    from tvt.io.recipe_files import deepspeed_names, recipe_names, recipes_root
    from tvt.io.yaml_files import load_recipe

    root = recipes_root()
    loaded = {name: load_recipe(root / f"{name}.yaml") for name in recipe_names()}
    if as_json:
        listed = [
            {
                "name": name,
                "model": recipe.model.model_name_or_path,
                "sources": list(recipe.sources),
                "targets": list(recipe.targets),
                "path": str(root / f"{name}.yaml"),
            }
            for name, recipe in loaded.items()
        ]
        echo_json({"schema": 1, "recipes": listed, "deepspeed": list(deepspeed_names()), "folder": str(root)})
        return
    from rich.table import Table

    from tvt.io.yaml_files import public_model_name

    table = Table("name", "model", "sources x targets", box=None, pad_edge=False)
    for name, recipe in loaded.items():
        size = f"{len(recipe.sources)} x {len(recipe.targets)}"
        table.add_row(name, public_model_name(recipe.model.model_name_or_path), size)
    console = new_console(highlight=False)
    console.print(table, markup=False)
    console.print(f"For runtime.deepspeed: {', '.join(deepspeed_names())}", markup=False)
    console.print(f"They lie in {root}", markup=False, soft_wrap=True)
