"""Names of files and folders made of names of tasks, sets of questions and recipes.

A file system takes 255 bytes a name, which 26 Chinese characters fill once they are quoted; while a file is written, its
temporary name is longer by some 20 bytes. Longer names are cut and end in a digest of the whole; shorter ones are never
changed, so that files of earlier versions are found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from urllib.parse import quote

from tvt.core.task import printable
from tvt.io import digest

_LONGEST = 200
"""Bytes of a name that a suffix of at most 30 bytes follows."""
_LONGEST_QUOTED = 229
"""Bytes of a quoted name: with ``.items.jsonl`` behind it, and a temporary name's 14 bytes around it, they are 255."""


def file_name(source: str) -> str:
    """A task's name with everything replaced that a shell, a glob or a trainer's syntax could read otherwise."""
    return _short(re.sub(r"[^\w.-]+", "_", source), source, _LONGEST)


def quoted_name(name: str) -> str:
    """A set's name with everything quoted that a file's name must not hold; other sets have other names."""
    return _short(quote(name, safe=" -_"), name, _LONGEST_QUOTED)


def folder_name(name: str) -> str:
    """A recipe's name as a relative path: as it is where that is one, else as a file's name."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or not printable(name):
        return file_name(name).strip(".") or "_"
    return name if all(len(part.encode()) <= _LONGEST for part in path.parts) else file_name(name)


def same_files(names: Iterable[str], named: Callable[[str], str]) -> list[str]:
    """Which names stand for one file, a line for each such group; to some file systems capital and small letters are the same.

    Args:
        names: of tasks or sets, each once.
        named: what makes the file's name.
    """
    result: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        result[named(name).casefold()].append(name)
    groups = [group for group in result.values() if len(group) > 1]
    return [f"{' and '.join(group)}: their files would have the same name; rename one of them" for group in groups]


def _short(text: str, whole: str, longest: int) -> str:
    if len(text.encode()) <= longest:
        return text
    start = text.encode()[: longest - 17].decode(errors="ignore")
    return f"{re.sub('%[0-9A-F]?$', '', start)}~{digest.of_value(whole)[:16]}"
