"""The rows of a mixed dataset: checked before anything is loaded, decoded one batch at a time, named in every complaint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.errors import InputError
from tvt.io import digest
from tvt.model.agreement import Sample
from tvt.model.picture import decode

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("images", "prompt", "completion")
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class RowsSummary:
    """What a look through all rows found."""

    rows: int
    with_images: int
    """Rows that have at least one image."""


def data_files(folder: Path) -> list[Path]:
    """The parquet files of a dataset, in order.

    Raises:
        InputError: there are none.
    """
    files = sorted((folder / "data").glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder}: no data/*.parquet there; write the dataset with tvt mix MIXTURE -o {folder}")
    return files


def dataset_digest(folder: Path) -> str:
    """Digest of the rows: of the files' bytes in order, wherever they lie."""
    return digest.of_value([digest.of_file(path) for path in data_files(folder)])


def check_rows(folder: Path) -> RowsSummary:
    """Look through all rows without reading their images.

    Raises:
        InputError: unreadable, a column missing, no rows, or a row without question or answer; ten faults at most.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = with_images = 0
    faults: list[str] = []
    for path in data_files(folder):
        try:
            file = pq.ParquetFile(path)
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                faults.append(f"{path}: no column {', '.join(missing)}; write the dataset with tvt mix")
                continue
            told = [name for name in ("id", "source") if name in file.schema_arrow.names]
            leaves = [*told, "prompt", "completion", "images.list.element.path", "images.element.path"]
            for batch in file.iter_batches(batch_size=4096, columns=leaves):
                for index, row in enumerate(batch.to_pylist()):
                    with_images += bool(row["images"])
                    faults += [f"{path}: {_name(row, rows + index)}: {fault}" for fault in _row_faults(row)]
                rows += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            faults.append(
                f"{path}: not readable as parquet ({str(error).splitlines()[0]}); write the dataset anew with tvt mix"
            )
        if len(faults) > _SHOWN:
            break
    if not rows and not faults:
        faults.append(f"{folder}: has no rows; the mixture's budget may be 0")
    if faults:
        more = [f"{folder}: more faults follow; mend these first"] if len(faults) > _SHOWN else []
        raise InputError(*faults[:_SHOWN], *more)
    return RowsSummary(rows=rows, with_images=with_images)


def load_rows(folder: Path, cache: Path) -> Dataset:
    """The rows for random access, images still encoded; ``cache`` takes an uncompressed copy that is mapped into memory."""
    import datasets

    datasets.disable_progress_bars()
    files = [str(path) for path in data_files(folder)]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))
    return rows.cast_column("images", datasets.List(datasets.Image(decode=False)))


class Examples:
    """The rows as torch's DataLoader wants them: a batch of them at a time, decoded, possibly none."""

    def __init__(self, rows: Dataset, folder: Path) -> None:
        self._rows, self._folder = rows, folder

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._example(self._rows[index], index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def first_of_sources(self) -> Iterator[Sample]:
        """The first row of every source; of rows that name no source, the first of all."""
        sources = self._rows["source"][:] if "source" in self._rows.column_names else [None]
        first: dict[str | None, int] = {}
        for index, source in enumerate(sources):
            first.setdefault(source, index)
        for index in first.values():
            yield Sample(name=f"{self._folder}: {_name(self._rows[index], index)}", **self[index])

    def _example(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        images = [self._image(image, row, index, place) for place, image in enumerate(row["images"] or [], 1)]
        return {"images": images, "prompt": list(row["prompt"]), "completion": list(row["completion"])}

    def _image(self, image: dict[str, Any], row: dict[str, Any], index: int, place: int) -> Any:
        from PIL import Image

        where = f"{_name(row, index)}: image {place}"
        content = image["bytes"]
        if content is None:
            try:
                content = Path(image["path"]).read_bytes()
            except (OSError, TypeError) as error:
                raise self._unreadable(where, error) from error
        try:
            return decode(content)
        except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise self._unreadable(where, error) from error

    def _unreadable(self, where: str, error: Exception) -> InputError:
        return InputError(f"{self._folder}: {where} cannot be read ({error}); mend the row and mix anew")


def _name(row: dict[str, Any], index: int) -> str:
    named = f" ({row['source']}, id {row['id']})" if row.get("id") and row.get("source") else ""
    return f"row {index}{named}"


def _row_faults(row: dict[str, Any]) -> Iterator[str]:
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        messages = row[name] or []
        if not messages or not all(isinstance(message.get("content"), str) for message in messages):
            yield f"{name} is not a list of messages with text; mix anew"
        elif messages[-1].get("role") != role:
            yield f"the last message of {name} is not of role {role}; mix anew"
        elif name == "completion" and not messages[-1]["content"].strip():
            yield "the answer is empty; mend or drop the row and mix anew"
