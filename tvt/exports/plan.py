"""What every export starts from, the mixture with its sources and the base model, and what an export must say."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from tvt.core.mixture import Mixture
from tvt.errors import InputError, suggest
from tvt.exports.model_types import BaseModel
from tvt.exports.rows import Row, RowsWritten
from tvt.io.names import file_name

_SETTINGS = "Precision, adapter, rates and batches below are usual ones, not those of the study: change them at will."


@dataclass(frozen=True, kw_only=True)
class Part:
    """One source's part of the mixture; ``size`` is None where nobody said and no file could be counted."""

    source: str
    count: int
    path: str
    size: int | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A mixture ready to be written for a trainer; ``parts`` has positive counts only."""

    mixture: Mixture
    parts: tuple[Part, ...]
    model: BaseModel
    template: str | None = None
    """The trainer's chat template, where the user names one."""
    max_pixels: int | None = None
    """As a recipe's ``model.max_pixels``: written pictures have no more."""
    min_pixels: int | None = None
    """As a recipe's ``model.min_pixels``: written pictures have no fewer."""
    rows: RowsWritten = field(default_factory=RowsWritten)
    """What was written into the folder."""

    @property
    def total(self) -> int:
        """Examples in all."""
        return sum(part.count for part in self.parts)

    def header(self, *lines: str) -> str:
        """Comment lines: the counts, then what is to be known of this file."""
        counts = "  ".join(f"{part.source} {part.count}" for part in self.parts)
        text = (f"Written by tvt export. {self.total} examples: {counts}", _SETTINGS, *lines)
        return "".join(f"# {' '.join(line.splitlines())}\n" for line in text)  # a source's name may have a line break


class Export(ABC):
    """A trainer that a mixture is written for: an entry of :data:`tvt.core.choices.EXPORTS`."""

    needs_model: ClassVar[bool] = True
    """Whether the base model must be known."""
    by_type: ClassVar[bool] = True
    """Whether the configuration depends on the model's type."""
    rows: ClassVar[Literal["lines", "parquet"] | None] = None
    """How the rows are written: the parquet folder ``rows``, ``rows.jsonl`` and ``images/`` (:class:`LinesExport`), or
    not at all.
    """
    placeholders: ClassVar[tuple[str, ...]] = ()
    """What the trainer takes for a picture, a video or a sound wherever it stands in a text; rows with it are refused."""

    @abstractmethod
    def render(self, plan: Plan) -> dict[str, str]:
        """The files of the trainer's configuration, by name, for rows that are written.

        Raises:
            InputError: the trainer cannot take the plan, with the next step.
        """

    def command(self, plan: Plan) -> str | None:
        """What is run in the folder; None where nothing is."""
        return None

    def faults(self, plan: Plan) -> list[str]:
        """Why the trainer cannot take the model, before any row is written."""
        return []

    def notes(self, plan: Plan) -> list[str]:
        """What the trainer does otherwise than tvt, and what could not be checked."""
        return []


class LinesExport(Export):
    """A trainer that reads ``rows.jsonl`` and picture files."""

    rows = "lines"

    @abstractmethod
    def line(self, row: Row) -> dict[str, Any]:
        """A row of ``rows.jsonl``; its images are paths relative to the folder."""

    @abstractmethod
    def places(self, line: Mapping[str, Any]) -> tuple[list[str], int]:
        """The paths of the images of a written row, and how many places its texts have for them."""


def make_plan(
    mixture: Mixture,
    *,
    model: str | None,
    data: Mapping[str, str],
    data_dir: Path,
    need_model: bool = True,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    template: str | None = None,
) -> Plan:
    """Check what was given against the mixture and find each source's rows.

    Raises:
        InputError: nothing to train, unknown sources, an empty source, no model; all at once.
    """
    counts = {source: count for source, count in mixture.counts.items() if count > 0}
    if not counts:
        raise InputError("the answer is the base model; nothing to train (see the verdict in the mixture file)")
    faults = [
        f"--data {name}: no such source in the mixture{suggest(name, list(mixture.counts))}; see its counts"
        for name in data
        if name not in mixture.counts
    ]
    sizes = _stated_sizes(mixture)
    parts = []
    for source, count in counts.items():
        path = data.get(source) or (data_dir / f"{file_name(source)}.jsonl").as_posix()
        counted = _count_rows(Path(path))
        size = counted if counted is not None else sizes.get(source)
        if size == 0:
            faults.append(f"{path}: no rows, but the mixture takes {count} of {source}; point --data {source}= to its rows")
        parts.append(Part(source=source, count=count, path=path, size=size))
    faults += _shared_paths(parts)
    base = model or _known_model(mixture)
    if need_model and not base:
        faults.append("which base model? the mixture does not say; add --model, e.g. --model Qwen/Qwen2.5-VL-7B-Instruct")
    if faults:
        raise InputError(*faults)
    known = BaseModel.of(base) if base else BaseModel(name="")
    return Plan(
        mixture=mixture,
        parts=tuple(parts),
        model=known,
        template=template,
        max_pixels=max_pixels,
        min_pixels=min_pixels,
    )


def _shared_paths(parts: list[Part]) -> list[str]:
    """Two sources with one file would silently be the same data."""
    seen: dict[str, str] = {}
    faults = []
    for part in parts:
        other = seen.setdefault(part.path, part.source)
        if other != part.source:
            faults.append(f"{part.path}: stands for both {other} and {part.source}; give each its own with --data SOURCE=PATH")
    return faults


def _count_rows(path: Path) -> int | None:
    """Rows of a local JSON Lines file, or None where there is none to count."""
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            return sum(1 for line in stream if line.strip())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error


def _stated_sizes(mixture: Mixture) -> dict[str, int]:
    """Dataset sizes that the selection was given."""
    spec = _mapping(mixture.provenance.get("spec"))
    sizes = _mapping(spec.get("sizes"))
    return {name: size for name, size in sizes.items() if isinstance(size, int) and not isinstance(size, bool)}


def _known_model(mixture: Mixture) -> str | None:
    """The base model of the study behind the mixture as a hub name, where the provenance names one that is certain."""
    result = _mapping(mixture.provenance.get("evidence")).get("model")
    if not isinstance(result, str):
        return None
    qwen = re.fullmatch(r"(Qwen(?:2|2\.5|3)-VL-\d+B)(?:-Instruct)?", result, re.IGNORECASE)
    if qwen:  # studies name the model without its owner, and finetune the instruct version
        return f"Qwen/{qwen.group(1)}-Instruct"
    return result if "/" in result else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
