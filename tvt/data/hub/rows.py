"""Rows of a dataset of the hub, or of a local copy in the hub's layout, as they are stored: images stay the bytes they were.

A dataset's own code is never run: ``datasets`` reads files only.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tvt.data.hub.formats import HubRow
from tvt.data.tasks import QuestionData
from tvt.errors import InputError, needs_data_extra, suggest
from tvt.io import digest

_PATTERN = re.compile(r"[][*?{}]|::|#")
"""What ``datasets`` and fsspec do not take for part of a name."""
_COMMIT = 40
"""Length of a commit's name."""


def local_folder(data: QuestionData) -> Path | None:
    """The folder of the local copy: ``folder``, or ``dataset`` where that is a folder."""
    result = Path(data.folder or str(data.dataset))
    return result if data.folder is not None or result.is_dir() else None


def label(data: QuestionData) -> str:
    """What a part of a dataset is called in messages."""
    name = ", ".join(filter(None, (data.dataset, data.config, data.split)))
    filters = " and ".join(f"{column} = {value}" for column, value in sorted(data.where.items()))
    return f"{name} where {filters}" if filters else name


def commit_of(data: QuestionData) -> str:
    """The commit of a dataset of the hub; asks the hub unless ``revision`` is a whole one.

    Raises:
        InputError: the hub cannot be reached, or knows no such dataset or revision.
    """
    if data.revision is not None and is_commit(data.revision):
        return data.revision
    return _latest_commit(data)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit, which never means anything else."""
    return revision is not None and len(revision) == _COMMIT and all(letter in "0123456789abcdef" for letter in revision)


def content_of(data: QuestionData) -> dict[str, Any]:
    """What decides the rows, as plain values: the commit, or the digests of a local copy's files.

    Raises:
        InputError: not there.
    """
    folder = _existing(data)
    if folder is None:
        return {"commit": commit_of(data)}
    with _datasets() as datasets, _readable_errors(data):
        files = datasets.load_dataset_builder(_place(folder), data.config).config.data_files
    if data.split not in files:
        raise _no_split(data, list(files))
    return {"files": [digest.of_file(Path(path)) for path in files[data.split]]}


@dataclass(frozen=True)
class HubRows:
    """An opened part of a dataset."""

    data: QuestionData
    columns: tuple[str, ...]
    _dataset: Any

    def check(self, needed: tuple[str, ...]) -> None:
        """See that the columns are there.

        Raises:
            InputError: some are missing; every one, one line each.
        """
        faults = [
            f"{label(self.data)}: no column '{name}'{suggest(name, self.columns)}; format '{self.data.format}' needs "
            f"{', '.join(needed)}"
            for name in needed
            if name not in self.columns
        ]
        there = ", ".join(self.columns)
        faults += [
            f"{label(self.data)}: no column '{name}'{suggest(name, self.columns)}; 'where:' can ask for {there}"
            for name in self.data.where
            if name not in self.columns
        ]
        if faults:
            raise InputError(*faults)

    def __iter__(self) -> Iterator[HubRow]:
        """The rows that ``where`` asks for."""
        filters = self.data.where.items()
        with _readable_errors(self.data):
            for row in self._dataset:
                if all(str(row[column]) == value for column, value in filters):
                    yield row


def open_rows(data: QuestionData) -> HubRows:
    """Open a part of a dataset. A local copy is read where it is; the hub's files go to the cache of ``datasets``.

    Raises:
        InputError: not there, or no such configuration or split.
    """
    folder = _existing(data)
    with _datasets() as datasets, _readable_errors(data):
        result = datasets.load_dataset(
            _place(folder) if folder else str(data.dataset),
            data.config,
            split=data.split,
            revision=None if folder else commit_of(data),
            streaming=folder is not None,
        )
        result = as_stored_features(result)
        columns = tuple(result.features or next(iter(result), {}))
    return HubRows(data, columns, result)


def _existing(data: QuestionData) -> Path | None:
    """The folder of the local copy; one that is not there would be looked for on the hub."""
    folder = local_folder(data)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{data.dataset}: {folder}: no such folder; name the folder of the local copy")
    return folder


@cache
def _place(folder: Path) -> str:
    """A local copy as ``datasets`` is given it: by links to its files where the folder's name would be a pattern for it."""
    folder = folder.absolute()
    if not _PATTERN.search(str(folder)):
        return str(folder)
    linked = Path(tempfile.mkdtemp(prefix="tvt-copy-")) / "copy"  # datasets follows a link to the folder itself
    atexit.register(shutil.rmtree, linked.parent, ignore_errors=True)
    for place, folders, names in os.walk(folder):  # which gives links to folders and does not enter them
        there = linked / Path(place).relative_to(folder)
        there.mkdir(parents=True)
        for name in (*names, *(name for name in folders if (Path(place) / name).is_symlink())):
            (there / name).symlink_to(Path(place) / name)
    return str(linked)


def as_stored_features(dataset: Any) -> Any:
    """The dataset with images as they were stored, neither decoded nor encoded anew."""
    import datasets

    for name, feature in (dataset.features or {}).items():
        if (stored := _as_stored(feature, datasets)) is not feature:
            dataset = dataset.cast_column(name, stored)
    return dataset


def _as_stored(feature: Any, datasets: Any) -> Any:
    """The feature with encoded images in place of decoded ones, also in lists and objects; the very same where it has none."""
    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False) if feature.decode else feature
    if isinstance(feature, datasets.List):
        inner = _as_stored(feature.feature, datasets)
        return feature if inner is feature.feature else datasets.List(inner, length=feature.length)
    if isinstance(feature, dict):
        fields = {name: _as_stored(kind, datasets) for name, kind in feature.items()}
        return feature if all(fields[name] is kind for name, kind in feature.items()) else fields
    return feature


@cache
def _commit_on_hub(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(name, revision=revision).sha)


def _latest_commit(data: QuestionData) -> str:
    with _datasets(), _readable_errors(data):
        return _commit_on_hub(str(data.dataset), data.revision)


@contextmanager
def _datasets() -> Iterator[Any]:
    with needs_data_extra():
        import datasets
    yield datasets


@contextmanager
def _readable_errors(data: QuestionData) -> Iterator[None]:
    """Tell what ``datasets`` and the hub's client raise, which is whatever the libraries below them do, in one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise _fault(data, error) from error


def _fault(data: QuestionData, error: Exception) -> InputError:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    folder = local_folder(data)
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    if isinstance(error, ValueError) and (result := _no_config(data)) is not None:
        return result
    message = f"{label(data)}: cannot be read ({reason}); get the files anew"
    if folder is not None and isinstance(error, FileNotFoundError):
        message = f"{folder}: no files that datasets can read; is it the dataset's folder, README.md too?"
    elif isinstance(error, RevisionNotFoundError) or isinstance(error.__cause__, RevisionNotFoundError):
        message = f"{data.dataset}: no revision '{data.revision}' on the hub; pin an existing commit"
    elif folder is None and isinstance(error, RepositoryNotFoundError | DatasetNotFoundError):
        message = f"{data.dataset}: no such dataset on the hub, or a closed one; check the name, or log in with hf auth login"
    elif folder is None and not isinstance(error, ValueError):
        message = (
            f"{data.dataset}: the hub cannot be reached ({reason}); go online once with a pinned 'revision:', or name a local "
            f"copy (recipe: 'datasets:', tvt evaluate: --dataset {data.dataset}=DIR)"
        )
    return InputError(message)


def _no_config(data: QuestionData) -> InputError | None:
    """The fault that there is no such configuration or split, with those that there are; ``None`` where that is not it."""
    import datasets

    folder = local_folder(data)
    place, revision = _place(folder) if folder else str(data.dataset), None if folder else data.revision
    try:
        configs = datasets.get_dataset_config_names(place, revision=revision)
        if data.config not in configs and (data.config is not None or len(configs) > 1):
            near = suggest(data.config or "", configs)
            what = f"no configuration '{data.config}'{near}" if data.config else "no 'config:', and it has several"
            return InputError(f"{data.dataset}: {what}; there are {', '.join(configs)}")
        splits = datasets.get_dataset_split_names(place, data.config, revision=revision)
    except Exception:  # the first error is the one to report
        return None
    return _no_split(data, splits) if data.split not in splits else None


def _no_split(data: QuestionData, splits: list[str]) -> InputError:
    where = ", ".join(filter(None, (data.dataset, data.config)))
    return InputError(f"{where}: no split '{data.split}'{suggest(data.split, splits)}; there are {', '.join(splits)}")
