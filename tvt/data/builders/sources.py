"""The folder of raw data that a builder reads: is everything there, and is it what the manifest speaks of?"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tvt.data.builders.contract import Builder
from tvt.data.builders.raw_files import IMAGE_SUFFIXES
from tvt.data.progress import Progress, silent
from tvt.data.tasks import TaskManifest, TrainingSource
from tvt.errors import InputError
from tvt.io import digest

MOST_DIGESTS = 200
"""Of more index files than these (annotations of each image, say), one digest of all their digests is recorded."""


def source_of(manifest: TaskManifest | None, layout: str) -> TrainingSource:
    """What the manifest says of a layout's raw data; where it says nothing, that its licence is not stated."""
    for source in manifest.sources if manifest is not None else ():
        if source.layout == layout:
            return source
    return TrainingSource(name=layout, url="", licence="not stated", revision="not stated", files=(), layout=layout)


def check_source(builder: Builder, folder: Path, source: TrainingSource, progress: Progress = silent) -> dict[str, str]:
    """Look for everything that a builder expects, and compare digests where the manifest tells them.

    Returns:
        sha256 of the index files (what is no image), by path relative to the folder.

    Raises:
        InputError: files missing, or others than the manifest speaks of; every fault, one line each.
    """
    if not folder.is_dir():
        raise InputError(f"--source {folder}: no such folder; {_where_from(source, builder)}")
    found = {pattern: sorted(_matches(folder, pattern)) for pattern in builder.expects}
    missing = [pattern for pattern, paths in found.items() if not paths]
    if missing:
        steps = _where_from(source, builder)
        raise InputError(*(f"{folder}: no {pattern}, which {builder.layout} needs; {steps}" for pattern in missing))
    files = sorted({path for paths in found.values() for path in paths if _is_index(path)})
    digests: dict[str, str] = {}
    for number, path in enumerate(files, 1):
        digests[path.relative_to(folder).as_posix()] = digest.of_file(path)
        progress("reading indices", number, len(files))
    _compare(digests, folder, source)
    return digests if len(digests) <= MOST_DIGESTS else {f"{len(digests)} files": digest.of_value(digests)}


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Files and folders of a pattern. Of images one is enough: there may be a million, and only indices are digested."""
    if not any(mark in pattern for mark in "*?["):
        return [folder / pattern] if (folder / pattern).exists() else []
    found = folder.glob(pattern)
    first = next(found, None)
    if first is None:
        return []
    return [first, *found] if _is_index(first) else [first]


def _is_index(path: Path) -> bool:
    return path.is_file() and not path.name.lower().endswith(IMAGE_SUFFIXES)


def _where_from(source: TrainingSource, builder: Builder) -> str:
    if source.url:
        return f"get {source.name} ({source.revision}) from {source.url} and unpack it there"
    return f"give the folder of {builder.layout}'s raw data"


def _compare(digests: dict[str, str], folder: Path, source: TrainingSource) -> None:
    """Digests that the manifest tells must be those found."""
    faults = [
        f"{folder / path}: sha256 {found[:12]}…, but the manifest speaks of {file.sha256[:12]}…; get revision {source.revision}"
        for file in source.files
        if file.sha256 is not None
        for path, found in digests.items()
        if PurePosixPath(path).match(file.path) and found != file.sha256
    ]
    if faults:
        raise InputError(*faults)
