"""The adapters of a study folder, compared: one per source and seed, of the runs on the full budget.

What the records say is enough: neither the tasks' rows nor the base model need be there, so a study that was moved can be
looked at as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.io.adapter_file import LoraFile, LowRank, open_lora, verify_adapter
from tvt.io.yaml_files import load_recipe
from tvt.study.store import RECIPE, RunRecord, Store
from tvt.train.record import ADAPTER
from tvt.transfer.adapter_similarity import AdapterKey, AdapterSimilarity, adapter_similarity

Progress = Callable[[int, int], None]
"""Called with how many modules are compared and how many there are."""
_REMEDY = "name the folder of a study that tvt study run made, or leave out --adapters"


def _silent(done: int, total: int) -> None:
    pass


def study_adapters(folder: Path, progress: Progress = _silent) -> AdapterSimilarity:
    """Compare the adapters of a study's sources, seed by seed.

    Every adapter is checked against its record first. Then the files are read module by module: what is in memory is one
    module's matrices of all adapters, in float64 (for 53 tasks, rank 8 and the largest layers of a 32B model some 0.2 GB a
    seed), however large the adapters are.

    Args:
        folder: the study folder.
        progress: called with how many modules are done.

    Raises:
        InputError: no study with runs, fewer than two sources with adapters, two runs that could each be a source's, or
            adapters that are damaged or no plain LoRA; every fault, one line each.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"{folder}: holds no adapters ({RECIPE} and runs/ are missing); {_REMEDY}")
    recipe, store = load_recipe(path), Store(folder)
    folders, missing = _find(recipe, store)
    sources = dict.fromkeys(source for source, _ in folders)
    if len(sources) < 2:
        what = f"adapters of {len(sources)} of {len(recipe.sources)} sources, and comparing takes two"
        why = f" ({missing[0]})" if missing else ""
        raise InputError(f"{folder}: holds {what}{why}; finish the study with tvt study run, or leave out --adapters")
    files = _open(folders)
    return adapter_similarity(list(folders), _streamed(files, progress), missing)


def _find(recipe: Recipe, store: Store) -> tuple[dict[AdapterKey, Path], list[str]]:
    """The adapter of every source and seed, in the recipe's order, and what to say of those that are not there."""
    known = store.known()
    folders: dict[AdapterKey, Path] = {}
    missing, faults = [], []
    for seed in recipe.seeds:
        for source in recipe.sources:
            runs = [run for run, spec in known.items() if _is_run(spec, source, seed, recipe)]
            trained = [run for run in runs if store.training(run) is not None and (store.run_folder(run) / ADAPTER).is_dir()]
            if len(trained) > 1:
                where = " and ".join(str(store.run_folder(run)) for run in trained)
                hint = "delete the one that stands on other rows or another base model than the study does now"
                faults.append(f"{where}: both are {source}, seed {seed}; {hint}")
            elif trained:
                folders[source, f"seed_{seed}"] = store.run_folder(trained[0]) / ADAPTER
            else:
                reason = next((why for run in runs if (why := store.failure(run))), "not trained yet")
                missing.append(f"{source}, seed {seed}: {reason}")
    if faults:
        raise InputError(*faults)
    return folders, missing


def _is_run(spec: RunRecord, source: str, seed: int, recipe: Recipe) -> bool:
    """Whether a run is that of a source alone on the full budget, trained as the recipe says."""
    if dict(spec.run.counts) != {source: recipe.budget} or spec.run.seed != seed:
        return False
    expected, identity = recipe.training_identity(), spec.identity
    here = {part: {**identity.get(part, {})} for part in expected}
    for part in (expected["model"], here["model"]):
        part.pop("model_name_or_path", None)  # a digest in the one, a folder in the other
    return here == expected


def _open(folders: Mapping[AdapterKey, Path]) -> list[LoraFile]:
    """Check all adapters, also whether they fit each other."""
    faults: list[str] = []
    files: list[LoraFile] = []
    for folder in folders.values():
        try:
            verify_adapter(folder)
            files.append(open_lora(folder))
        except InputError as error:
            faults += error.faults
    faults = faults or list(_widths(files))
    if faults:
        raise InputError(*faults)
    return files


def _widths(files: list[LoraFile]) -> Iterator[str]:
    """Modules that are not as wide as in the adapter before: those of another base model."""
    first: dict[str, tuple[LoraFile, tuple[int, int]]] = {}
    for file in files:
        for module in file.modules:
            earlier, shape = first.setdefault(module, (file, file.shape(module)))
            if file.shape(module) != shape:
                where = f"{file.path.parent}: {module} has another width than in {earlier.path.parent}"
                yield f"{where}; compare adapters of one base model"
                break


def _streamed(files: list[LoraFile], progress: Progress) -> Iterator[tuple[str, list[LowRank | None]]]:
    """Every module with all adapters' updates of it."""
    modules = list(dict.fromkeys(module for file in files for module in file.modules))
    for done, module in enumerate(modules, 1):
        yield module, [file.read(module) for file in files]
        progress(done, len(modules))
