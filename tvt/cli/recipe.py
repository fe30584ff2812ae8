"""``tvt recipe``: look at a recipe before anything is run."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.completion import complete_recipes
from tvt.cli.options import echo_json, json_option, note

EPILOG = """\b
Examples:
  tvt recipe check recipes/example.yaml --set training.learning_rate=2e-4
  tvt recipe fields training
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Check a recipe: the YAML file that says how the runs of a study are trained and scored."""


@command.command(epilog=EPILOG)
@click.argument("recipe", type=click.Path(path_type=Path), shell_complete=complete_recipes)
@click.option("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change one value. Repeatable.")
@json_option
def check(*, recipe: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """List all faults of a recipe and of what it needs here, or say what it asks for. Nothing is loaded."""
    from tvt.errors import refuse
    from tvt.evaluate.prompts import read_profile
    from tvt.io import digest
    from tvt.io.yaml_files import load_recipe
    from tvt.train.checks import environment_checks, training_checks

    loaded = load_recipe(recipe, overrides)
    here = loaded.runtime.executor == "local"
    refuse([*training_checks(loaded), *(environment_checks() if here else ())], note)
    read_profile(loaded.evaluation.prompt)
    runs = len(loaded.sources) * len(loaded.seeds) * len(loaded.doses)
    training, evaluation = (digest.of_value(part) for part in (loaded.training_identity(), loaded.evaluation_identity()))
    if as_json:
        told = {
            "recipe": loaded.model_dump(mode="json"),
            "runs": runs,
            "training_digest": training,
            "evaluation_digest": evaluation,
        }
        echo_json({"schema": 1, **told})
        return
    click.echo(f"{recipe}: no faults")
    click.echo(f"  {runs} training runs: {len(loaded.sources)} sources x {len(loaded.seeds)} seeds x {len(loaded.doses)} doses")
    click.echo(
        f"  of {loaded.budget:,} examples, {loaded.training.global_batch_size} a step, scored on {len(loaded.targets)} targets"
    )
    click.echo(f"  training digest {training[:12]}, evaluation digest {evaluation[:12]}: runs with the same are not done again")


@command.command(epilog=EPILOG)
@click.argument("words", nargs=-1)
def fields(*, words: tuple[str, ...]) -> None:
    """Every field of a recipe: its default, whether another value changes results, and what it does.

    With WORDS only the fields that hold one of them in their name.
    """
    from rich.console import Console
    from rich.table import Table

    from tvt.core.recipe import recipe_fields
    from tvt.errors import InputError

    shown = [field for field in recipe_fields() if not words or any(word in field.name for word in words)]
    if not shown:
        raise InputError(f"no field of a recipe holds {' or '.join(map(repr, words))}; tvt recipe fields lists all")
    table = Table("field", "default", "changes", "what", box=None, pad_edge=False)
    for field in shown:
        table.add_row(field.name, field.default or "needed", field.effect, field.description)
    Console().print(table, markup=False)
