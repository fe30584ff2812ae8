"""Names of files and folders, made of tasks, sets of questions and recipes, and the cards (README.md) that the hub reads.

A file system takes 255 bytes a name, which 26 Chinese characters fill once they are quoted; while a file is written, its
temporary name is longer by some 20 bytes. Longer names are cut and end in a digest of the whole; shorter ones are never
changed, so that files of earlier versions are found.

A card has a header of YAML for the hub's search, then text for people. What the header's keys mean is said in the hub's
documentation (model cards, dataset cards); ``license`` takes identifiers only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from tvt.core.task import printable
from tvt.io import digest, strict_yaml

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


NOT_STATED = "not stated"

_FAMILIES = {
    "cc-by": ("2.0", "2.5", "3.0", "4.0"),
    "cc-by-sa": ("3.0", "4.0"),
    "cc-by-nc": ("2.0", "3.0", "4.0"),
    "cc-by-nd": ("4.0",),
    "cc-by-nc-nd": ("3.0", "4.0"),
    "cc-by-nc-sa": ("2.0", "3.0", "4.0"),
    "cc0": ("1.0",),
    "cdla-permissive": ("1.0", "2.0"),
    "cdla-sharing": ("1.0",),
    "apache": ("2.0",),
    "gpl": ("2.0", "3.0"),
    "mpl": ("2.0",),
}
LICENCES = {
    *(f"{family}-{version}" for family, versions in _FAMILIES.items() for version in versions),
    *("mit", "bsd-2-clause", "bsd-3-clause", "odc-by", "odbl", "isc", "unlicense", "wtfpl"),
}
"""The hub's identifiers of licences that data usually has."""


def licence_id(text: str) -> str | None:
    """The hub's identifier of a licence, e.g. ``cc-by-4.0`` of "CC BY 4.0"; ``None`` where it is not clearly one of them."""
    name = re.sub(r"[\s_]+", "-", text.strip().lower()).removesuffix("-license")
    name = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "cc0": "cc0-1.0"}.get(name, name)
    return name if name in LICENCES else None


def hub_name(text: str) -> str | None:
    """A text if it is a repository's name on the hub, ``owner/name``."""
    return text if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text) else None


def hub_dataset(address: str) -> str | None:
    """The name of a dataset on the hub, from its address there."""
    match = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/datasets/([\w.-]+/[\w.-]+)", address)
    return match.group(1) if match else None


def front_matter(header: Mapping[str, Any], remarks: Iterable[str] = ()) -> str:
    """The header, with remarks for the person who fills it in."""
    stated = {key: value for key, value in header.items() if value not in (None, [], "")}
    return "".join(["---\n", strict_yaml.dump(stated), *(f"# {line}\n" for line in remarks), "---\n"])


def cell(text: object) -> str:
    """A text as it can stand in a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(heads: Iterable[str], rows: Iterable[Iterable[object]], figures: int = 0) -> list[str]:
    """A table's lines; the last ``figures`` columns are of numbers."""
    names = list(heads)
    words = len(names) - figures
    return [
        f"| {' | '.join(names)} |",
        f"|{'---|' * words}{'---:|' * figures}",
        *(f"| {' | '.join(cell(value) for value in row)} |" for row in rows),
    ]
