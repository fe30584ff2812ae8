"""The recipes and DeepSpeed configurations that come with tvt, which are found by name from any folder."""

from __future__ import annotations

from pathlib import Path

import tvt
from tvt.errors import suggest

_FOLDER = "recipes"


def recipes_root() -> Path:
    """Folder of the recipes that come with tvt: inside the installed package, or beside it in a checkout."""
    package = Path(tvt.__file__).resolve().parent
    inside = package / _FOLDER
    return inside if inside.is_dir() else package.parent / _FOLDER


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with tvt, as commands take them."""
    return tuple(sorted(path.stem for path in recipes_root().glob("*.yaml")))


def deepspeed_names() -> tuple[str, ...]:
    """Names of the DeepSpeed configurations that come with tvt, as ``runtime.deepspeed`` takes them."""
    return tuple(f"deepspeed/{path.name}" for path in sorted((recipes_root() / "deepspeed").glob("*.json")))


def recipe_file(path: Path) -> Path:
    """The recipe, or the file beside recipes, that a path means: a file that exists, else the bundled one of that name.

    Bundled ones may be written as the pages do, ``recipes/miniature.yaml``, or shorter, ``miniature`` and
    ``deepspeed/zero2.json``. What is neither stays what it is.
    """
    if path.exists() or path.is_absolute():
        return path
    parts = path.parts[1:] if path.parts[:1] == (_FOLDER,) else path.parts
    if ".." in parts or not parts:
        return path
    for name in ("/".join(parts), "/".join(parts) + ".yaml"):
        place = recipes_root() / name
        if place.is_file():
            return place
    return path


def nearest_recipe(path: Path) -> str:
    """For the message about a recipe that is nowhere: the bundled one that may be meant, and where all are listed."""
    names = recipe_names()
    return f"{suggest(path.stem, names)}; tvt recipes lists those that come with tvt"
