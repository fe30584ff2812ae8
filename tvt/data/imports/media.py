"""Images and videos as rows name them: a path, encoded bytes, a data: URL, or a struct of bytes and path; as encoded images."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from tvt.data.hub.videos import frame_indices, video_frames
from tvt.data.questions.batches import image_fault
from tvt.data.tasks import QuestionData
from tvt.errors import InputError

_FETCHED = ("http://", "https://", "s3://", "gs://", "ftp://")
_READ: ContextVar[set[Path] | None] = ContextVar("read", default=None)


class RowError(ValueError):
    """Why a row cannot be read.

    Args:
        kind: a few words, the same for all faults of a kind.
        detail: what it is in this row, with the next step.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@contextmanager
def files_read() -> Iterator[set[Path]]:
    """The files beside the rows that are read while it is open: images, videos and descriptions."""
    seen: set[Path] = set()
    token = _READ.set(seen)
    try:
        yield seen
    finally:
        _READ.reset(token)


def note_read(path: Path) -> Path:
    """The path, noted as one that rows rest on."""
    if (seen := _READ.get()) is not None:
        seen.add(path)
    return path


@dataclass(frozen=True, slots=True)
class MediaReader:
    """Reads images and videos that rows name."""

    folders: tuple[Path, ...]
    """In which relative paths are looked for, in order."""
    frames: int | None = None
    """How many frames of a video are shown."""

    def image(self, value: Any) -> bytes:
        """The encoded image that a row names; see :func:`image_of`."""
        return image_of(value, self.folders)

    def video(self, value: Any) -> tuple[bytes, ...]:
        """The frames of a video that a row names; see :func:`frames_of`."""
        return frames_of(value, self.folders, self.frames)


def media_reader(data: QuestionData, *more: Path) -> MediaReader:
    """What reads the images and videos of a file's rows; ``more`` folders are looked into after the file's own."""
    own, *other = media_folders(data)
    folders = (own, *other[:-1], *more, *other[-1:])
    return MediaReader(tuple(dict.fromkeys(folders)), data.frames)


def media_folders(data: QuestionData) -> tuple[Path, ...]:
    """The folders in which relative paths of images and videos are looked for, in order."""
    own = Path(data.path) if data.path is not None else Path(data.folder or str(data.dataset))
    beside = own if own.is_dir() else own.parent
    return tuple(dict.fromkeys([*([Path(data.image_folder)] if data.image_folder else []), beside, Path()]))


def image_of(value: Any, folders: tuple[Path, ...]) -> bytes:
    """The encoded image that a row names, whole and fit to be shown.

    Raises:
        RowError: it is not there, broken, or has to be fetched.
    """
    data = _image_bytes(value, folders)
    if (fault := image_fault(data)) is not None:
        raise RowError("broken images", f"{fault} ({_called(value)}); get the file anew")
    return data


def _image_bytes(value: Any, folders: tuple[Path, ...]) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return _of_url(value) if value.startswith("data:") else file_of(value, folders, "image").read_bytes()
    if isinstance(value, Mapping):
        if isinstance(inner := value.get("bytes"), bytes | bytearray | memoryview) and len(inner):
            return bytes(inner)
        if isinstance(inner, str) and inner:
            return _decoded(inner)
        for key in ("path", "url", "image_url", "image"):
            if value.get(key):
                return _image_bytes(value[key], folders)
    raise RowError("images without content", f"an image is {_called(value)}; give its path, its bytes or a data: URL")


def _of_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise RowError("broken images", f"'{url[:30]}...' is no whole data: URL; write data:image/png;base64,...")
    return _decoded(unquote(body)) if head.endswith(";base64") else unquote_to_bytes(body)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError("broken images", f"an image is no whole base64 text ({error}); encode it anew") from error


def file_of(name: str, folders: tuple[Path, ...], what: str) -> Path:
    """The file that a path means, absolute or in one of the folders.

    Raises:
        RowError: none is there, or it is an address.
    """
    if name.lower().startswith(_FETCHED):
        raise RowError(f"{what}s by address", f"{what} '{name[:60]}' has to be fetched; download it and write its path")
    name = unquote(name.removeprefix("file://")) if name.startswith("file://") else name
    try:
        found = next((place for folder in folders if (place := folder / name).is_file()), None)
    except (OSError, ValueError):  # a name that no file can have
        found = None
    if found is None:
        looked = " or ".join(dict.fromkeys(str(folder) for folder in folders))
        raise RowError(f"missing {what}s", f"no {what} '{name[:80]}' in {looked}; name its folder with --image-folder")
    return note_read(found)


def frames_of(value: Any, folders: tuple[Path, ...], count: int | None) -> tuple[bytes, ...]:
    """The frames of a video that are shown, evenly spaced: of a file, or of a list of images, which are its frames.

    Raises:
        RowError: it cannot be read, or nobody said how many frames are shown.
    """
    if isinstance(value, list):
        shown = range(len(value)) if count is None else frame_indices(len(value), count)
        return tuple(image_of(value[index], folders) for index in shown)
    if count is None:
        raise RowError("videos without a number of frames", "it has a video; say how many frames are shown with --frames N")
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("path", "url", "video_url", "video") if value.get(key)), None)
        if isinstance(value, Mapping):
            value = value.get("url")
    if not isinstance(value, str):
        raise RowError("videos without content", f"a video is {_called(value)}; give its path")
    path = file_of(value, folders, "video")
    try:
        return video_frames(path, count).images
    except InputError as error:
        raise RowError("broken videos", "; ".join(error.faults)) from error


def _called(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value[:60]}'"
    if isinstance(value, Mapping):
        return (
            f"'{value['path']}'"
            if isinstance(value.get("path"), str)
            else f"an object with {', '.join(map(str, value)) or 'no keys'}"
        )
    return "bytes" if isinstance(value, bytes) else "nothing" if value is None else f"a {type(value).__name__}"
