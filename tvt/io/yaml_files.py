"""Recipes and mixtures on disk: ``recipe.yaml`` with single values overridden, and ``mixture.yaml``, which reloads exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import tvt
from tvt.core.choices import PROMPTS
from tvt.core.mixture import Mixture
from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.io import atomic, strict_yaml
from tvt.io.recipe_files import nearest_recipe, recipe_file
from tvt.io.strict_yaml import input_error

BUNDLED_MODELS = {"tvt/miniature": "base", "tvt/miniature-balanced": "balanced"}
"""The folder of each base model that comes with tvt, by its name."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``overrides`` such as ``training.learning_rate=1e-4``; the value is YAML.

    A path that is nowhere may name a recipe that comes with tvt (``miniature``). Paths in it start from the recipe's folder, or
    else from where tvt was called; see :func:`resolve_recipe_paths`.

    Raises:
        InputError: unreadable, not strict YAML, an override without ``=``, or not a recipe; every fault, one line each.
    """
    path = recipe_file(path)
    if not path.exists():
        raise InputError(f"{path}: no such recipe{nearest_recipe(path)}")
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: not a recipe, which is a mapping with name, model, sources and targets; see recipes/example.yaml"
        )
    faults = [fault for override in overrides if (fault := _override(data, override))]
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        origin = f"{path} with --set" if overrides else str(path)
        raise InputError(*faults, *input_error(error, Recipe, origin).faults) from error
    if faults:
        raise InputError(*faults)
    return resolve_recipe_paths(recipe, path.parent)


def resolve_recipe_paths(recipe: Recipe, near: Path) -> Recipe:
    """The recipe with what lies near a folder named by absolute paths, so that it means the same from anywhere.

    The models ``tvt/miniature`` and ``tvt/miniature-balanced`` are those that come with tvt.
    """
    values = recipe.model_dump(mode="json")
    model = recipe.model.model_name_or_path
    values["model"]["model_name_or_path"] = _near(near, model_path(model))
    values["manifests"] = [_near(near, item) for item in recipe.manifests]
    values["datasets"] = {name: _near(near, folder) for name, folder in recipe.datasets.items()}
    if recipe.data_dir is not None:
        values["data_dir"] = _near(near, recipe.data_dir)
    if recipe.evaluation.prompt not in PROMPTS.names:
        values["evaluation"]["prompt"] = _near(near, recipe.evaluation.prompt)
    if recipe.runtime.deepspeed is not None:
        values["runtime"]["deepspeed"] = _near(near, str(recipe_file(Path(_near(near, recipe.runtime.deepspeed)))))
    return Recipe.model_validate(values)


def model_path(name: str) -> str:
    """A model's name or folder as transformers knows it: those that come with tvt are folders inside it."""
    folder = BUNDLED_MODELS.get(name)
    return name if folder is None else str(Path(tvt.__file__).resolve().parent / "data" / "miniature" / folder)


def public_model_name(name: str) -> str:
    """A model's name for others: a hub name, or the last part of a folder; the inverse of :func:`model_path`."""
    bundled = next((model for model in BUNDLED_MODELS if name == model_path(model)), None)
    if bundled is not None:
        return bundled
    return Path(name).name if Path(name).is_absolute() or Path(name).is_dir() else name


def _near(near: Path, name: str) -> str:
    """A path near the folder, or else from where tvt was called, as an absolute one; what is nowhere stays what it is."""
    result = next((place for place in (near / name, Path(name)) if place.exists()), None)
    return name if result is None else str(result.absolute())


def _override(data: dict[str, Any], text: str) -> str | None:
    """Set one value in ``data``; returns the fault if that cannot be."""
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        return f"--set {text}: write it as FIELD=VALUE, e.g. --set training.learning_rate=1e-4"
    try:
        parsed = strict_yaml.load(value, f"--set {name}")
    except InputError as error:
        return "; ".join(error.faults)
    place: Any = data
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            return f"--set {text}: '{part}' holds no fields; see recipes/example.yaml for what a recipe has"
    place[parts[-1]] = parsed
    return None


SCHEMA = 1
_HEADER = """\
# A data mixture, written by tvt {version}. Weights are shares of the budget; counts are the examples to train on.
# Reuse it: tvt export FILE --to trl|llamafactory|ms-swift|axolotl|json, tvt predict STUDY --mixture FILE
"""


def save_mixture(mixture: Mixture, path: Path) -> None:
    """Write ``mixture`` to ``path``, wholly or not at all; :func:`load_mixture` gives an equal mixture back.

    ``provenance`` must hold plain values (mappings, lists, text, numbers, booleans, None). A tuple is written as a list, the
    only thing that would come back as another type.
    """
    atomic.write_text(path, dump_mixture(mixture))


def dump_mixture(mixture: Mixture) -> str:
    """The text of a mixture file."""
    from tvt import __version__

    data = _plain(mixture.model_dump())
    for predicted in data["predicted"].values():
        if not predicted["estimated"]:  # the rule
            del predicted["estimated"]
    return _HEADER.format(version=__version__) + strict_yaml.dump(data)


def load_mixture(path: Path) -> Mixture:
    """Read a mixture file.

    Raises:
        InputError: unreadable, not strict YAML, of another schema, or not a mixture; every fault, one line each.
    """
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a mixture; write one with tvt select ... -o {path.name}")
    version = data.get("schema_version", SCHEMA)
    if version != SCHEMA:
        raise InputError(f"{path}: schema_version: {version!r} is not {SCHEMA}; select the mixture anew with this tvt")
    try:
        mixture = Mixture.model_validate(data)
    except ValidationError as error:
        raise input_error(error, Mixture, str(path)) from error
    faults = _inconsistencies(mixture)
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in faults))
    return mixture


def _inconsistencies(mixture: Mixture) -> list[str]:
    """What no single field can be blamed for, usually the trace of an edit by hand."""
    faults = [f"counts.{name}: {count} is negative; make it 0 or more" for name, count in mixture.counts.items() if count < 0]
    return faults + [
        f"counts.{name}: no weight for this source; add it to weights or drop the count"
        for name in mixture.counts
        if name not in mixture.weights
    ]


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
