"""The layouts of rows of prompt and completion, converted to one: TRL takes several, and so do others' datasets.

=============  ==========================================================================================
images         a list of structs with ``bytes``, ``path`` or both, of paths, or of encoded images; or none
image          one such image in place of the list
prompt         a list of messages with ``role`` and ``content``, or the question as plain text
completion     likewise, or the answer as plain text
content        text, or blocks of type *image* and *text*, with the images before the first text of the prompt
=============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
ROLES = {"prompt": "user", "completion": "assistant"}
NAMES = ("id", "source")
"""Columns that name a row in messages; a dataset may lack them."""
SCHEMA = pa.schema(
    [("images", IMAGES), ("prompt", MESSAGES), ("completion", MESSAGES), ("id", pa.string()), ("source", pa.string())]
)
ACCEPTED = "tvt mix writes such rows, and tvt docs data says which other layouts are read"


class LayoutError(ValueError):
    """A row in a layout that is not read; says why."""


def schema_faults(schema: pa.Schema) -> list[str]:
    """Why a table's columns cannot be read as rows, without the table's name; empty where they can."""
    if "messages" in schema.names and not set(ROLES) <= set(schema.names):
        return ["has messages, not prompt and completion; put the last answer into completion, and what is before into prompt"]
    missing = [name for name in ROLES if name not in schema.names]
    faults = [f"no column {', '.join(missing)}; {ACCEPTED}"] if missing else []
    kinds = {name: schema.field(name).type for name in ("images", "image", *ROLES) if name in schema.names}
    faults += [
        f"column {name} is {kind}; it must hold {'messages or text' if name in ROLES else 'encoded images or their paths'}; "
        f"{ACCEPTED}"
        for name, kind in kinds.items()
        if not (_is_messages(kind) if name in ROLES else _is_images(kind, listed=name == "images"))
    ]
    return faults


def columns(schema: pa.Schema, *, bytes_too: bool) -> list[str]:
    """The columns of rows; with names of parquet's leaves in place of the images where their bytes may be left out."""
    names = [name for name in (*ROLES, *NAMES) if name in schema.names]
    name, inner = "images" if "images" in schema.names else "image", _image_kind(schema)
    if inner is None:
        return names
    if bytes_too or not pa.types.is_struct(inner) or inner.get_field_index("path") < 0:
        return [*names, name]
    return [*names, *(f"{name}.{step}path" for step in ("list.element.", "element.", "list.item.", "item.", ""))]


def images_are_files(schema: pa.Schema) -> bool:
    """Whether every image is named by its path, and none is held."""
    kind = _image_kind(schema)
    return kind is not None and (_is_text(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") < 0))


def _image_kind(schema: pa.Schema) -> pa.DataType | None:
    """The type of one image; ``None`` where there are none."""
    name = "images" if "images" in schema.names else "image"
    if name not in schema.names:
        return None
    kind = schema.field(name).type
    return kind.value_type if _is_list(kind) else kind


def is_canonical(schema: pa.Schema) -> bool:
    """Whether nothing need be changed about the columns that rows have."""
    kinds = {name: schema.field(name).type for name in ("images", *ROLES) if name in schema.names}
    return kinds == {"images": IMAGES, "prompt": MESSAGES, "completion": MESSAGES}


def canonical(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in :data:`SCHEMA`.

    Raises:
        LayoutError: a row whose content cannot be put so.
    """
    if is_canonical(batch.schema):
        arrays = [_column(batch, name, kind) for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    return pa.RecordBatch.from_pylist([row_of(row) for row in batch.to_pylist()], schema=SCHEMA)


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    column = batch.column(name)
    return column if column.type == kind else column.cast(kind)


def row_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of any layout as :data:`SCHEMA` has it.

    Raises:
        LayoutError: its content cannot be put so.
    """
    listed = row.get("images") if "images" in row else [row["image"]] if row.get("image") is not None else []
    images = [_image(image) for image in listed or []]
    fields: dict[str, Any] = {"images": images}
    for name, role in ROLES.items():
        fields[name] = _messages(row[name], role, len(images) if name == "prompt" else 0)
    return fields | {name: None if row.get(name) is None else str(row[name]) for name in NAMES}


def named_files(batch: pa.RecordBatch) -> list[str]:
    """Paths of the images that rows in :data:`SCHEMA` name and do not hold."""
    images = pc.list_flatten(batch.column("images"))
    held, paths = pc.is_valid(pc.struct_field(images, "bytes")), pc.struct_field(images, "path")
    names: list[str] = paths.filter(pc.and_(pc.invert(held), pc.is_valid(paths))).to_pylist()
    return names


def image_path(path: str, folder: Path) -> Path:
    """The path of an image: relative paths start from the dataset's folder, or else from where tvt was called."""
    near = folder / path
    return near if near.exists() else Path(path)


def _image(image: Any) -> dict[str, Any]:
    if isinstance(image, str):
        return {"bytes": None, "path": image}
    if isinstance(image, bytes):
        return {"bytes": image, "path": None}
    fields = image or {}
    return {"bytes": fields.get("bytes"), "path": fields.get("path")}


def _messages(value: Any, role: str, images: int) -> list[dict[str, str | None]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    messages = [(message or {}) for message in value or []]
    texts = [{"role": message.get("role"), "content": _text(message.get("content"))} for message in messages]
    placed = _placeholders(messages)
    if placed not in (None, images):
        raise LayoutError(f"has {placed} places for {images} images in its messages; give each image one")
    users = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    if any(_placeholders([message]) for index, message in enumerate(messages) if index not in users[:1]):
        raise LayoutError("has images outside its first question; tvt puts all images of a row there")
    return texts


def _placeholders(messages: list[Any]) -> int | None:
    """How many images the blocks of messages name; ``None`` where all content is text, before which all images stand."""
    blocks = [block for message in messages if isinstance(message.get("content"), list) for block in message["content"]]
    return sum(block.get("type") == "image" for block in blocks) if blocks else None


def _text(content: Any) -> str | None:
    """Text of a message; its images come before it."""
    if content is None or isinstance(content, str):
        return content
    kinds = [block.get("type") for block in content]
    if set(kinds) - {"image", "text"}:
        raise LayoutError(
            f"has content of type {', '.join(sorted(map(str, set(kinds) - {'image', 'text'})))}; tvt takes image and text"
        )
    if "image" in kinds[kinds.index("text") if "text" in kinds else 0 :] and "text" in kinds:
        raise LayoutError("has images after text; tvt puts all images of a row before its question")
    return "".join(block.get("text") or "" for block in content if block.get("type") == "text")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_images(kind: pa.DataType, *, listed: bool) -> bool:
    if pa.types.is_null(kind):
        return True
    if listed and not _is_list(kind):
        return False
    inner = kind.value_type if listed else kind
    if pa.types.is_struct(inner):
        return bool(inner.get_field_index("bytes") >= 0 or inner.get_field_index("path") >= 0)
    return _is_text(inner) or bool(pa.types.is_null(inner) or pa.types.is_binary(inner) or pa.types.is_large_binary(inner))


def _is_messages(kind: pa.DataType) -> bool:
    if _is_text(kind):
        return True
    if not _is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    inner = kind.value_type
    if inner.get_field_index("role") < 0 or (at := inner.get_field_index("content")) < 0:
        return False
    content = inner.field(at).type
    return _is_text(content) or (_is_list(content) and bool(pa.types.is_struct(content.value_type)))
