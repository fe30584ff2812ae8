"""Questions as Arrow batches of one schema, whichever file they came from, and checks of their encoded images.

Images are not decoded to know whether they are whole, how large they are, and whether a model can be shown them. PNG and JPEG,
which are nearly all there is, are read by their structure: a PNG's checksums find any damage, a JPEG must reach its end marker.
Decoding every image of a million rows would take an hour; this takes seconds. Other formats are decoded.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tvt.core.question import Question, Turn
from tvt.model.picture import BrokenPictureError, PictureError, decode, shown_size, size_fault

Rows = npt.NDArray[np.int64]
"""Numbers of rows, from 0."""

IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
TURNS = pa.list_(pa.struct([("prompt", pa.string()), ("answer", pa.string())]))
_STRING = {"dtype": "string", "_type": "Value"}
# As datasets 3 wrote lists, which newer versions read too: the older know no "List".
IMAGES_FEATURE = {"feature": {"_type": "Image"}, "_type": "Sequence"}


@dataclass(frozen=True, kw_only=True, slots=True)
class UncheckedQuestion:
    """A question as a row has it, before its answer is compared with its options; the fields of :class:`Question`."""

    id: str
    task: str
    prompt: str
    options: tuple[str, ...]
    answer: str
    images: tuple[bytes, ...] = ()
    question: str | None = None
    provenance: str | None = None
    answers: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()

    def checked(self) -> Question:
        """As a question.

        Raises:
            ValueError: the answer is none of the options, or empty.
        """
        return Question(**{field.name: getattr(self, field.name) for field in fields(self)})


def with_features(schema: pa.Schema, features: dict[str, Any]) -> pa.Schema:
    """A schema that says which features of ``datasets`` its columns are."""
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


SCHEMA = with_features(
    pa.schema(
        [
            ("id", pa.string()),
            ("task", pa.string()),
            ("prompt", pa.string()),
            ("options", pa.list_(pa.string())),
            ("answer", pa.string()),
            ("images", IMAGES),
            ("question", pa.string()),
            ("provenance", pa.string()),
            ("answers", pa.list_(pa.string())),
            ("turns", TURNS),
        ]
    ),
    {
        **dict.fromkeys(("id", "task", "prompt"), _STRING),
        "options": {"feature": _STRING, "_type": "Sequence"},
        "answer": _STRING,
        "images": IMAGES_FEATURE,
        **dict.fromkeys(("question", "provenance"), _STRING),
        "answers": {"feature": _STRING, "_type": "Sequence"},
        "turns": [{"prompt": _STRING, "answer": _STRING}],  # a "Sequence" of them would be a dict of lists
    },
)
OPTIONAL = ("question", "provenance", "answers", "turns")
"""Columns that a file may lack; they are null then."""
REQUIRED = tuple(name for name in SCHEMA.names if name not in OPTIONAL)


def batch_of(questions: Sequence[Question | UncheckedQuestion]) -> pa.RecordBatch:
    """Questions as a batch."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([q.id for q in questions], pa.string()),
            pa.array([q.task for q in questions], pa.string()),
            pa.array([q.prompt for q in questions], pa.string()),
            pa.array([list(q.options) for q in questions], pa.list_(pa.string())),
            pa.array([q.answer for q in questions], pa.string()),
            image_lists([q.images for q in questions]),
            pa.array([q.question for q in questions], pa.string()),
            pa.array([q.provenance for q in questions], pa.string()),
            pa.array([list(q.answers) or None for q in questions], pa.list_(pa.string())),
            pa.array([[turn._asdict() for turn in q.turns] or None for q in questions], TURNS),
        ],
        schema=SCHEMA,
    )


def questions_of(batch: pa.RecordBatch) -> Iterator[Question]:
    """The questions of a batch that was found free of faults."""
    for row in batch.to_pylist():
        yield Question(
            id=row["id"],
            task=row["task"],
            prompt=row["prompt"],
            options=tuple(row["options"]),
            answer=row["answer"],
            images=tuple(image["bytes"] for image in row["images"]),
            question=row["question"],
            provenance=row["provenance"],
            answers=tuple(row["answers"] or ()),
            turns=tuple(Turn(**turn) for turn in row["turns"] or ()),
        )


def image_lists(images: Sequence[Sequence[bytes]]) -> pa.Array:
    """Lists of encoded images as the column ``images``."""
    flat = pa.array([image for row in images for image in row], pa.binary())
    return lists_of(np.fromiter(map(len, images), np.int64, len(images)), flat)


def lists_of(lengths: npt.NDArray[Any], flat: pa.Array) -> pa.Array:
    """``flat`` encoded images as lists of these lengths; paths are left out, for they may name somebody's machine."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), pa.int32())
    structs = pa.StructArray.from_arrays([flat, pa.nulls(len(flat), pa.string())], fields=list(IMAGES.value_type))
    return pa.ListArray.from_arrays(offsets, structs, type=IMAGES)


def list_lengths(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Length of each list; 0 for a null."""
    lengths: npt.NDArray[np.int64] = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def flat_images(images: pa.Array) -> pa.Array:
    """The encoded images of all lists, one after the other."""
    return pc.struct_field(pc.list_flatten(images), "bytes")


def value_lengths(values: pa.Array) -> npt.NDArray[np.int64]:
    """Length in bytes of each text or encoded image; 0 for a null."""
    lengths: npt.NDArray[np.int64] = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of a frame, which states height and width."""


_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits a channel that a PNG may have, by its kind of colours; 3 is a palette."""


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image, after checking that it is whole and can be shown.

    Raises:
        BrokenPictureError: no image, or a damaged one.
        PictureError: too large, or of values that have no defined brightness.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(_JPEG):
        return _jpeg(data)
    return _other(data)


def image_fault(data: bytes) -> str | None:
    """What is wrong with an encoded image, or ``None``."""
    try:
        image_size(data)
    except BrokenPictureError as error:
        return f"broken image: {error}"
    except PictureError as error:
        return f"unusable image: {error}"
    return None


def _png(data: bytes) -> tuple[int, int]:
    at, size, kinds = len(_PNG), None, set()
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BrokenPictureError("damaged PNG (a checksum is wrong)")
        kinds.add(kind)
        if kind == b"IHDR" and length >= 13:
            size = struct.unpack(">II", data[at + 8 : at + 16])
            depth, colours = data[at + 16], data[at + 17]
            if at != len(_PNG) or depth not in _DEPTHS.get(colours, ()):
                raise BrokenPictureError("damaged PNG (no such kind of pixels)")
        if kind == b"IEND":
            if size is None or 0 in size or b"IDAT" not in kinds or (colours == 3 and b"PLTE" not in kinds):
                break
            if depth == 16 and b"tRNS" in kinds:  # only Pillow's reader knows which of them are refused
                shown_size(data)
            return _allowed(size[0], size[1])
        at = end
    raise BrokenPictureError("truncated PNG")


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    if b"\xff\xd9" not in data[-4096:]:  # some writers pad what follows the end
        raise BrokenPictureError("truncated JPEG")
    while at + 9 < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _SIZED:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if height and width:
                return _allowed(width, height)
            break
        at += 2 + (0 if marker == 0x01 or 0xD0 <= marker <= 0xD7 else int.from_bytes(data[at + 2 : at + 4], "big"))
    raise BrokenPictureError("damaged JPEG")


def _other(data: bytes) -> tuple[int, int]:
    if not data:
        raise BrokenPictureError("empty image")
    return decode(data).size


def _allowed(width: int, height: int) -> tuple[int, int]:
    fault = size_fault(width, height)
    if fault is not None:
        raise PictureError(fault)
    return width, height
