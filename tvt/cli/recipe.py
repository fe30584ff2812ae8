"""``tvt recipe``: look at a recipe before anything is run."""

from __future__ import annotations

from pathlib import Path

import click

from tvt.cli.completion import complete_recipes
from tvt.cli.options import echo_json, json_option, note

EPILOG = """\b
Example:
  tvt recipe check recipes/example.yaml --set training.learning_rate=2e-4
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
    from tvt.io.recipe_file import load_recipe
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
