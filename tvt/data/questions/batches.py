"""Questions as Arrow batches of one schema, whichever file they came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tvt.core.question import Question

Rows = npt.NDArray[np.int64]
"""Numbers of rows, from 0."""

IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_STRING = {"dtype": "string", "_type": "Value"}
# As datasets 3 wrote lists, which newer versions read too: the older know no "List".
IMAGES_FEATURE = {"feature": {"_type": "Image"}, "_type": "Sequence"}


@dataclass(frozen=True, kw_only=True, slots=True)
class UncheckedQuestion:
    """A question as a row tells it, its answer not held against its options yet; the fields of :class:`Question`."""

    id: str
    task: str
    prompt: str
    options: tuple[str, ...]
    answer: str
    images: tuple[bytes, ...] = ()
    question: str | None = None
    provenance: str | None = None

    def checked(self) -> Question:
        """As a question.

        Raises:
            ValueError: the answer is none of the options, or no number.
        """
        return Question(**{field.name: getattr(self, field.name) for field in fields(self)})


def with_features(schema: pa.Schema, features: dict[str, Any]) -> pa.Schema:
    """A schema that tells ``datasets`` which features its columns are."""
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
        ]
    ),
    {
        **dict.fromkeys(("id", "task", "prompt"), _STRING),
        "options": {"feature": _STRING, "_type": "Sequence"},
        "answer": _STRING,
        "images": IMAGES_FEATURE,
        **dict.fromkeys(("question", "provenance"), _STRING),
    },
)
OPTIONAL = ("question", "provenance")
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
