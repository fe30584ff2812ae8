"""What the shell offers for STUDY, RECIPE and the names of tasks. It answers at every press of a key: nothing heavy is loaded.

Files are looked at with a few reads of text, not with the readers of tvt: an offer may be missing, the command itself says what
is wrong with what was typed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from tvt.io.machine import bundled_root
from tvt.io.recipe_files import recipe_names

MOST_FOLDERS = 500
"""So many entries of a folder are looked at."""
HEAD = 4096
"""Bytes of a YAML file that are read to see whether it is a recipe."""
Offers = list[CompletionItem]
Complete = Callable[[click.Context, click.Parameter, str], Offers]


def complete_studies(_ctx: click.Context, _parameter: click.Parameter, typed: str) -> Offers:
    """Bundled studies, study folders below what is typed, and CSV files."""
    return _offers(typed, [*(path.name for path in _bundled_studies()), *_study_folders(typed), *_files(typed, "*.csv")])


def complete_folders(_ctx: click.Context, _parameter: click.Parameter, typed: str) -> Offers:
    """Folders of studies with runs."""
    return _offers(typed, [name for name in _study_folders(typed) if (Path(name) / "recipe.yaml").is_file()])


def complete_recipes(_ctx: click.Context, _parameter: click.Parameter, typed: str) -> Offers:
    """YAML files that look like recipes, and the names of those that come with tvt."""
    result = [*_files(typed, "*.yaml"), *_files(typed, "recipes/*.yaml")]
    return _offers(typed, [*(name for name in result if _is_recipe(Path(name))), *recipe_names()])


def complete_tasks(ctx: click.Context, _parameter: click.Parameter, typed: str) -> Offers:
    """The tasks that come with tvt, and those of ``--manifests``."""
    folders = [bundled_root(), *map(_manifests, ctx.params.get("manifests") or ())]
    return _offers(typed, [name for folder in folders for name in _manifest_names(folder)], files=False)


def complete_labels(column: str, *more: str, end: str = "") -> Complete:
    """Names of tasks in the studies on the command line, of all bundled tasks where there are none.

    Args:
        column: ``source`` or ``target``: as what a task stands in a study.
        more: words that may stand for a task.
        end: what follows a name, e.g. ``=``.
    """

    def complete(ctx: click.Context, _parameter: click.Parameter, typed: str) -> Offers:
        # While an option waits for its value, click has not told the arguments apart yet.
        one = ctx.params.get("study")
        named = ctx.params.get("studies") or ([one] if one else ctx.args)
        studies = [path for name in named if (path := _scores_of(name)) is not None]
        names = [name for path in studies for name in _labels(path, column)] or list(_manifest_names(bundled_root()))
        return _offers(typed, [*more, *(f"{name}{end}" for name in names)], files=False)

    return complete


def _offers(typed: str, names: Iterable[str], *, files: bool = True) -> Offers:
    """The names that go on from what is typed, in any case; else, where files are meant, whatever the shell itself offers."""
    begun = typed.casefold()
    result = [CompletionItem(name) for name in dict.fromkeys(names) if name.casefold().startswith(begun)]
    return result or ([CompletionItem(typed, type="file")] if files else [])


def _bundled_studies() -> Iterator[Path]:
    yield from (path.parent for path in sorted((bundled_root() / "studies").glob("*/study.yaml")))


def _study_folders(typed: str) -> Iterator[str]:
    """Folders with a study's tables, one or two levels below the folder that is typed."""
    for pattern in ("*/scores.csv", "*/*/scores.csv"):
        yield from (str(path.parent) for path in _below(typed, pattern) if (path.parent / "study.yaml").is_file())


def _files(typed: str, pattern: str) -> Iterator[str]:
    yield from (str(path) for path in _below(typed, pattern) if path.is_file())


def _below(typed: str, pattern: str) -> Iterator[Path]:
    """What matches a pattern in the folder that is typed, as the user would write it. Hidden folders are left alone."""
    head = typed.rpartition("/")[0]
    folder = Path(head or ("/" if typed.startswith("/") else "."))
    try:
        result = sorted(islice(folder.expanduser().glob(pattern), MOST_FOLDERS))
    except OSError:
        return
    yield from (
        path for path in result if not any(part.startswith(".") for part in path.relative_to(folder.expanduser()).parts)
    )


def _is_recipe(path: Path) -> bool:
    return {"sources:", "targets:"} <= set(re.findall(r"^\w+:", _head(path), re.MULTILINE))


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(HEAD)
    except OSError:
        return ""


def _manifests(reference: str) -> Path:
    """Where a reference to manifests leads: a folder or file, or a bundled folder's name."""
    return bundled_root() / reference if (bundled_root() / reference).is_dir() else Path(reference)


def _manifest_names(place: Path) -> Iterator[str]:
    """Names that the manifests of a folder (or one manifest) state."""
    for path in [place] if place.is_file() else sorted(islice(place.glob("*.yaml"), MOST_FOLDERS)):
        match = re.search(r"^name:[ \t]*(.+?)[ \t]*(?:#.*)?$", _head(path), re.MULTILINE)
        if match:
            yield match.group(1).strip("'\"")


def _scores_of(study: str) -> Path | None:
    """The table of a study, as it was named."""
    bundled = [path for path in _bundled_studies() if path.name == study or path.name.endswith(f"-{study}")]
    places = [*(path / "scores.csv" for path in bundled), Path(study) / "scores.csv", Path(study)]
    return next((place for place in places if place.is_file()), None)


def _labels(path: Path, column: str) -> list[str]:
    """The different values of a column of a CSV file, the base model left out."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            names = dict.fromkeys(row[column] for row in rows if row.get(column))
    except (OSError, csv.Error, UnicodeDecodeError, KeyError):
        return []
    return [name for name in names if name != "base"]
