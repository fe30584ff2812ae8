"""A mixture as one dataset: parquet with the images inside, in the order of training, loadable by ``datasets.load_dataset``.

The columns are those that TRL trains on (``images``, ``prompt``, ``completion``) and, for people, ``source`` and ``id``. The
dataset is written beside its place and renamed last; the same plan gives the same bytes. Rows pass through buckets on disk, so
that memory stays bounded whatever the size.
"""

from __future__ import annotations

import base64
import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tvt.core.values import Frozen
from tvt.data.controls import Asked, Control
from tvt.data.mixing.card import card
from tvt.data.mixing.plan import MixPlan, MixSource, source_record
from tvt.data.questions.batches import IMAGES, IMAGES_FEATURE, Rows, with_features
from tvt.errors import InputError
from tvt.io import atomic, digest, json_lines, json_text
from tvt.io.yaml_files import dump_mixture
from tvt.types import Progress, silent

SHARD_BYTES = 128 * 2**20
GROUP_BYTES = 16 * 2**20
GROUP_ROWS = 1000
PIECE_BYTES = 8 * 2**20
ROW_OVERHEAD = 128
"""Bytes of a row besides its prompt and images: lists, roles, names."""
RECORD = "mix.json"

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_STRING = {"dtype": "string", "_type": "Value"}
_MESSAGES_FEATURE = [{"role": _STRING, "content": _STRING}]  # a "Sequence" of them would be a dict of lists
SCHEMA = with_features(
    pa.schema(
        [("images", IMAGES), ("prompt", MESSAGES), ("completion", MESSAGES), ("source", pa.string()), ("id", pa.string())]
    ),
    {
        "images": IMAGES_FEATURE,
        "prompt": _MESSAGES_FEATURE,
        "completion": _MESSAGES_FEATURE,
        "source": _STRING,
        "id": _STRING,
    },
)
_TEXT_LEAVES = [f"{name}.list.element.{part}" for name in ("prompt", "completion") for part in ("role", "content")]
_PARQUET: dict[str, Any] = {
    # Images are compressed already.
    "compression": {
        "images.list.element.bytes": "NONE",
        **dict.fromkeys(("images.list.element.path", *_TEXT_LEAVES, "source", "id"), "ZSTD"),
    },
    "use_dictionary": [*_TEXT_LEAVES, "source"],
    "write_statistics": ["source", "id"],
    "version": "2.6",
    "data_page_version": "1.0",
}


@dataclass(frozen=True, kw_only=True)
class Mixed(Frozen):
    """A mixed dataset on disk."""

    folder: Path
    record: dict[str, Any]
    """What ``mix.json`` says: digest, seed, sources with their epochs, files."""
    written: bool
    """False where the same dataset was there already."""


def write_mix(plan: MixPlan, folder: Path, progress: Progress = silent, *, messages: bool = False) -> Mixed:
    """Write the dataset, or find that the very same one is there.

    Args:
        plan: what to write.
        folder: where to; it must be free, or hold this very dataset.
        progress: called with how far it is.
        messages: also write ``messages.jsonl``.

    Raises:
        InputError: the folder has something else in it, cannot be written, or the disk is too small.
    """
    identity = digest.of_value({**plan.identity, "messages": MESSAGES_LAYOUT if messages else False})
    if (result := _previous(folder, identity)) is not None:
        return Mixed(folder=folder, record=result, written=False)
    try:
        _check_space(plan, folder, copies=3 if messages else 1)
        with atomic.new_folder(folder) as temporary:
            record = _write(plan, identity, temporary, progress, messages=messages)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and (result := _previous(folder, identity)) is not None:
            return Mixed(folder=folder, record=result, written=False)  # another process was quicker
        raise InputError(f"{folder}: {error.strerror or error}; nothing was left behind, name another place with -o") from error
    return Mixed(folder=folder, record=record, written=True)


def _previous(folder: Path, identity: str) -> dict[str, Any] | None:
    """The record of the same dataset, if ``folder`` is that; ``None`` if it is free."""
    if not folder.exists() and not folder.is_symlink():
        return None
    atomic.refuse_file(folder)
    if not any(folder.iterdir()):
        return None
    try:
        record: dict[str, Any] = json_text.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = record["digest"] == identity
        whole = all((folder / name).stat().st_size == file["bytes"] for name, file in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder}: not empty, and no whole dataset of tvt mix; name a new folder with -o DIR") from None
    if not same:
        raise InputError(
            f"{folder}: holds another mix (other mixture, rows, seed or evaluation set); name a new folder with -o DIR"
        )
    if not whole:
        raise InputError(f"{folder}: holds this mix, but files were changed; remove the folder and mix anew")
    return record


def _picked_bytes(plan: MixPlan) -> int:
    total = len(plan.manifest) * ROW_OVERHEAD
    for source, rows, _ in _picks(plan):
        total += int(_sizes(source)[rows].sum())
    return total


def _check_space(plan: MixPlan, folder: Path, copies: int) -> None:
    """All rows and one shard more must fit: rows wait on disk while they are sorted. Base64 takes up to two copies more."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    needed, free = _picked_bytes(plan) * copies + 2 * SHARD_BYTES, shutil.disk_usage(parent).free
    if needed > free:
        raise InputError(
            f"{folder}: needs about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; name another disk with -o"
        )


def _write(plan: MixPlan, identity: str, folder: Path, progress: Progress, *, messages: bool) -> dict[str, Any]:
    """Fill the folder; returns the record, which is written last."""
    total, size = len(plan.manifest), _picked_bytes(plan)
    per_shard = -(-total // max(1, -(-size // SHARD_BYTES)))
    group = int(np.clip(GROUP_BYTES * total // max(size, 1), 1, GROUP_ROWS))
    waiting = folder / ".waiting"
    waiting.mkdir()
    buckets = Buckets(waiting, SCHEMA, per_shard)
    _scatter(plan, buckets, progress)
    counts = _write_rows(plan, buckets, folder, group=group, per_shard=per_shard, messages=messages, progress=progress)
    waiting.rmdir()
    (folder / "mixture.yaml").write_text(dump_mixture(plan.mixture), encoding="utf-8")
    others = ["manifest.csv", "mixture.yaml", *([FILE] if messages else [])]
    files: dict[str, dict[str, Any]] = {name: {"rows": rows, **_file(folder / name)} for name, rows in counts.items()}
    files.update({name: _file(folder / name) for name in others})
    record = _record(plan, identity, files)
    (folder / "README.md").write_text(card(record, plan.mixture), encoding="utf-8")
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _write_rows(
    plan: MixPlan, buckets: Buckets, folder: Path, *, group: int, per_shard: int, messages: bool, progress: Progress
) -> dict[str, int]:
    """Write shards, manifest and messages in one go; returns the rows of each shard."""
    total = len(plan.manifest)
    shards = -(-total // per_shard)
    (folder / "data").mkdir()
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        stream = stack.enter_context((folder / "manifest.csv").open("wb"))
        manifest = stack.enter_context(pyarrow.csv.CSVWriter(stream, _MANIFEST))
        lines = stack.enter_context((folder / FILE).open("wb")) if messages else None
        for k in range(shards):
            name = f"data/train-{k:05d}-of-{shards:05d}.parquet"
            place = k * per_shard
            with pq.ParquetWriter(folder / name, SCHEMA, **_PARQUET) as writer:
                for table in buckets.take(k, group):
                    writer.write_table(table)
                    manifest.write_table(_manifest(plan, place, table))
                    if lines is not None:
                        write_messages(table, lines)
                    place += table.num_rows
                    progress("writing", place, total)
            counts[name] = place - k * per_shard
    return counts


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest.of_file(path)}


def _record(plan: MixPlan, identity: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "digest": identity,
        "seed": plan.seed,
        "rows": len(plan.manifest),
        "sources": {source.name: source_record(source) for source in plan.sources},
        "evaluation": plan.evaluation,
        "files": files,
    }


_MANIFEST = pa.schema([("source", pa.string()), ("id", pa.string()), ("row", pa.int64()), ("pass", pa.int32())])


def _manifest(plan: MixPlan, start: int, table: pa.Table) -> pa.Table:
    """The manifest's lines of a shard that starts at the place ``start``."""
    here = slice(start, start + table.num_rows)
    rows = np.empty(table.num_rows, np.int64)
    for index, source in enumerate(plan.sources):
        mine = plan.manifest.source[here] == index
        rows[mine] = source.rows(plan.manifest.row[here][mine].astype(np.int64))
    columns = [table.column("source"), table.column("id"), pa.array(rows), pa.array(plan.manifest.passes[here])]
    return pa.table(columns, schema=_MANIFEST)


def _picks(plan: MixPlan) -> Iterator[tuple[MixSource, Rows, Rows]]:
    """For each source the rows it gives, ascending, and the place of each."""
    for index, source in enumerate(plan.sources):
        places = np.flatnonzero(plan.manifest.source == index)
        rows = source.rows(plan.manifest.row[places].astype(np.int64))
        order = np.argsort(rows, kind="stable")
        yield source, rows[order], places[order]


def _sizes(source: MixSource) -> npt.NDArray[np.int64]:
    if source.content is None:
        raise ValueError("only a checked plan can be written")
    return source.content.sizes


def _scatter(plan: MixPlan, buckets: Buckets, progress: Progress) -> None:
    """Read every source once, front to back, and put its rows to their places."""
    done, total = 0, len(plan.manifest)
    for source, rows, places in _picks(plan):
        for numbers, batch in source.questions.batches(np.unique(rows)):
            start, end = np.searchsorted(rows, numbers[0]), np.searchsorted(rows, numbers[-1], side="right")
            converted = _training_rows(batch, source.name, plan.control)
            for piece in _pieces(_sizes(source)[rows[start:end]]):
                here = slice(start + piece.start, start + piece.stop)
                buckets.add(converted, np.searchsorted(numbers, rows[here]), places[here])
            done += int(end - start)
            progress("mixing", done, total)


def _pieces(sizes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows into pieces of bounded size: a row that is used a thousand times must not be held a thousand times."""
    number = np.cumsum(sizes + ROW_OVERHEAD) // PIECE_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    yield from (slice(start, end) for start, end in pairwise(bounds) if end > start)


def _training_rows(batch: pa.RecordBatch, source: str, control: Control | None = None) -> pa.RecordBatch:
    """Questions as TRL's prompt and completion."""
    prompts, answers = batch.column("prompt"), batch.column("answer")
    if control is None and batch.column("turns").null_count < batch.num_rows:
        return _conversations(batch, source)
    if control is not None:
        columns = (batch.column(name).to_pylist() for name in ("id", "prompt", "options", "answer"))
        shown = [control.row(source, i, Asked(p, tuple(o), a)) for i, p, o, a in zip(*columns, strict=True)]
        prompts, answers = (pa.array([getattr(of, name) for of in shown], pa.string()) for name in ("prompt", "answer"))
    return pa.RecordBatch.from_arrays(
        [
            batch.column("images"),
            _messages("user", prompts),
            _messages("assistant", answers),
            pa.repeat(pa.scalar(source), batch.num_rows),
            batch.column("id"),
        ],
        schema=SCHEMA,
    )


def _conversations(batch: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """Questions with earlier turns as prompt and completion: the completion begins with the first answer.

    So every answer is part of the completion, and what is asked between them is too, which training leaves out of the loss.
    """
    prompts, completions = [], []
    for row in batch.select(["prompt", "answer", "turns"]).to_pylist():
        turns = [*(row["turns"] or ()), {"prompt": row["prompt"], "answer": row["answer"]}]
        first, *rest = [
            {"role": role, "content": turn[part]}
            for turn in turns
            for role, part in (("user", "prompt"), ("assistant", "answer"))
        ]
        prompts.append([first])
        completions.append(rest)
    return pa.RecordBatch.from_arrays(
        [
            batch.column("images"),
            pa.array(prompts, MESSAGES),
            pa.array(completions, MESSAGES),
            pa.repeat(pa.scalar(source), batch.num_rows),
            batch.column("id"),
        ],
        schema=SCHEMA,
    )


def _messages(role: str, contents: pa.Array) -> pa.Array:
    """A conversation of one message a row. TRL puts a row's images before the first user message's text."""
    offsets = pa.array(np.arange(len(contents) + 1, dtype=np.int32))
    structs = pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(role), len(contents)), contents], fields=list(MESSAGES.value_type)
    )
    return pa.ListArray.from_arrays(offsets, structs, type=MESSAGES)


FILE = "messages.jsonl"
MESSAGES_LAYOUT = 2
"""Raised whenever messages.jsonl is written otherwise."""
_MIME = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF8": "gif",
    b"RIFF": "webp",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
}
"""Kinds of pictures by their first bytes."""


def write_messages(table: pa.Table, stream: BinaryIO) -> None:
    """Append rows with ``images``, ``prompt`` and ``completion``.

    An image is a ``data:`` address under the key ``image``: ms-swift and transformers (so axolotl) both read that, while
    ms-swift leaves out what stands under ``base64`` and says nothing.
    """
    for row in table.select(["images", "prompt", "completion"]).to_pylist():
        images = [{"type": "image", "image": _address(image["bytes"])} for image in row["images"]]
        messages: list[dict[str, Any]] = []
        for message in [*row["prompt"], *row["completion"]]:
            text = {"type": "text", "text": message["content"]}
            messages.append({"role": message["role"], "content": [*([] if messages else images), text]})
        stream.write(json_lines.line({"messages": messages}).encode())


def _address(content: bytes) -> str:
    kind = next((name for start, name in _MIME.items() if content.startswith(start)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


HELD_BYTES = 64 * 2**20
"""How much waits in memory before it goes to the files. A small mix never touches them."""
PLACE = "place"


class Buckets:
    """Rows by place; bucket k holds the places from ``k * size`` on.

    Args:
        folder: where the waiting rows go.
        schema: of the rows, without their place.
        size: rows of a bucket.
    """

    def __init__(self, folder: Path, schema: pa.Schema, size: int) -> None:
        self._folder = folder
        self._schema = schema.append(pa.field(PLACE, pa.int64()))
        self._size = size
        self._held: dict[int, list[pa.RecordBatch]] = {}
        self._bytes = 0

    def add(self, batch: pa.RecordBatch, rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> None:
        """Put row ``rows[i]`` of ``batch`` to ``places[i]``; a row may go to several places."""
        order = np.argsort(places)
        rows, places = rows[order], places[order]
        bucket = places // self._size
        bounds = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(places)]
        for start, end in pairwise(bounds):
            piece = batch.take(pa.array(rows[start:end]))
            placed = pa.RecordBatch.from_arrays([*piece.columns, pa.array(places[start:end])], schema=self._schema)
            self._held.setdefault(int(bucket[start]), []).append(placed)
            self._bytes += placed.nbytes
        if self._bytes > HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        for bucket, batches in self._held.items():
            # Appended streams rather than open files: there may be more buckets than a process may have files.
            with self._file(bucket).open("ab") as stream, pa.ipc.new_stream(stream, self._schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        self._held, self._bytes = {}, 0

    def take(self, bucket: int, group: int) -> Iterator[pa.Table]:
        """Yield the rows of a bucket in the order of their places, ``group`` at a time; they are then forgotten."""
        # One chunk first: taking from many is slow for lists.
        table = self._read(bucket).combine_chunks()
        order = np.argsort(table.column(PLACE).to_numpy())
        table = table.drop_columns(PLACE)
        for start in range(0, len(order), group):
            yield table.take(pa.array(order[start : start + group]))

    def _read(self, bucket: int) -> pa.Table:
        batches: list[pa.RecordBatch] = []
        path = self._file(bucket)
        if path.exists():
            with path.open("rb") as stream:
                end = path.stat().st_size
                while stream.tell() < end:
                    batches += list(pa.ipc.open_stream(stream))
            path.unlink()
        batches += self._held.pop(bucket, [])
        return pa.Table.from_batches(batches, self._schema)

    def _file(self, bucket: int) -> Path:
        return self._folder / f"{bucket:05d}.arrows"
