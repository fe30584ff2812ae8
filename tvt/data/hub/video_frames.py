"""Frames of a video as images: evenly spaced, encoded once and kept in tvt's cache, shared by the questions about the video.

Of n frames, k are shown: those at ``numpy.linspace(0, n - 1, k, dtype=int)``, the first and the last among them, as lmms-eval
shows VSI-Bench as images (``lmms_eval/tasks/vsibench/multi_image_input/utils.py``). They are JPEG files of quality 95 without
subsampled colours. The same file gives the same frames; another build of FFmpeg or libjpeg may round otherwise, which answers
notice, since they go by the images' bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tvt.errors import InputError, needs_data_extra
from tvt.io import atomic, digest, staging
from tvt.io.cache import cache_folder
from tvt.io.lock import exclusively

FRAMES_VERSION = 1
"""Raised whenever the same video would give other frames."""
QUALITY = 95
MEMORY_BYTES = 2 * 2**30
"""Encoded frames that stay in memory for the next question about the same video: room for the 288 videos of VSI-Bench."""
_WHOLE = 0.95
"""A file with a smaller share of the frames that its header promises was cut off. (Some players' edits hide a few.)"""
_RECORD = "frames.json"

Stamp = tuple[str, int, int, int]
"""A file's path, size, time of change and inode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """Frames of a video."""

    images: tuple[bytes, ...]
    """JPEG files, in the order of time."""
    indices: tuple[int, ...]
    """Which frames they are, from 0."""
    total: int
    """How many frames the video has."""


def frame_indices(total: int, wanted: int) -> tuple[int, ...]:
    """Which of ``total`` frames are shown: ``wanted`` of them evenly spaced, or all where there are fewer."""
    return tuple(np.linspace(0, total - 1, min(wanted, total), dtype=int).tolist())


def video_frames(path: Path, wanted: int) -> Frames:
    """Frames of a video: from memory, from the cache on disk, or decoded and kept there.

    Args:
        path: a file that FFmpeg can read.
        wanted: how many; a shorter video gives all that it has, which is said once.

    Raises:
        InputError: missing, cut off or damaged, or the cache cannot be written.
    """
    stamp = _stamp(path)
    if (known := _MEMORY.get((stamp, wanted))) is not None:
        return known
    told = {"video": video_digest(path), "wanted": wanted, "version": FRAMES_VERSION, "quality": QUALITY}
    key = digest.of_value(told)[:32]
    root = cache_folder() / "frames"
    with _writing(root), exclusively(root / f".lock-{key[0]}"):
        found = _stored(root / key) or _store(path, wanted, root / key)
    if len(found.images) < wanted:
        logging.getLogger(__name__).warning(
            "%s: has %d frames, fewer than the %d asked for; all are shown", path, found.total, wanted
        )
    _MEMORY.put((stamp, wanted), found)
    return found


def video_digest(path: Path) -> str:
    """sha256 of a video's file; one that did not change is not read again.

    Raises:
        InputError: not there, or the cache cannot be written.
    """
    memory = cache_folder() / "digests" / digest.of_value(_stamp(path))[:32]
    try:
        return memory.read_text(encoding="ascii")
    except OSError:
        found = digest.of_file(path)
        with _writing(memory.parent):
            atomic.write_text(memory, found)
        return found


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell that the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; frames are kept there, so make room, or set TVT_CACHE to another folder"
        ) from error


def _stamp(path: Path) -> Stamp:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; put the video there") from error
    return str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ino


class _Memory:
    """The frames used last, up to ``MEMORY_BYTES``."""

    def __init__(self) -> None:
        self._frames: OrderedDict[tuple[Stamp, int], Frames] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: tuple[Stamp, int]) -> Frames | None:
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
            return self._frames.get(key)

    def put(self, key: tuple[Stamp, int], frames: Frames) -> None:
        with self._lock:
            if key not in self._frames:
                self._frames[key] = frames
                self._bytes += sum(map(len, frames.images))
            while self._bytes > MEMORY_BYTES and len(self._frames) > 1:
                self._bytes -= sum(map(len, self._frames.popitem(last=False)[1].images))

    def clear(self) -> None:
        with self._lock:
            self._frames.clear()
            self._bytes = 0


_MEMORY = _Memory()


def forget_frames() -> None:
    """Give back the memory that frames take."""
    _MEMORY.clear()


def _stored(folder: Path) -> Frames | None:
    """The frames in the cache, if they are whole."""
    try:
        told: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        images = tuple((folder / _name(index)).read_bytes() for index in told["indices"])
        whole = [hashlib.sha256(image).hexdigest() for image in images] == told["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Frames(images=images, indices=tuple(told["indices"]), total=told["total"]) if whole else None


def _store(path: Path, wanted: int, folder: Path) -> Frames:
    """Decode a video, and write its frames: wholly or not at all."""
    frames = decode_frames(path, wanted)
    shutil.rmtree(folder, ignore_errors=True)  # what is there is damaged
    with staging.new_folder(folder) as temporary:
        for index, image in zip(frames.indices, frames.images, strict=True):
            (temporary / _name(index)).write_bytes(image)
        told = {
            "schema": 1,
            "video": path.name,
            "total": frames.total,
            "indices": frames.indices,
            "sha256": [hashlib.sha256(image).hexdigest() for image in frames.images],
        }
        (temporary / _RECORD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return frames


def _name(index: int) -> str:
    return f"{index:07d}.jpg"


def decode_frames(path: Path, wanted: int) -> Frames:
    """Decode a video front to back, since seeking is exact in few formats; nothing is kept.

    Raises:
        InputError: cut off, damaged, or no video.
    """
    with needs_data_extra():
        import av
    try:
        told, packets = _counts(path)
        images, total = _decode(path, frame_indices(packets, wanted)) if packets else ({}, 0)
        if total and total != packets:  # not every packet is a frame that is shown
            images, total = _decode(path, frame_indices(total, wanted))
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be decoded ({error.strerror or error}); get the file anew") from error
    if not total:
        raise InputError(f"{path}: holds no frame of a video; get the file anew")
    if total < _WHOLE * told:
        raise InputError(
            f"{path}: holds {total:,} of the {told:,} frames that it promises, so it was cut off; get the file anew"
        )
    indices = frame_indices(total, wanted)
    return Frames(images=tuple(images[index] for index in indices), indices=indices, total=total)


def _counts(path: Path) -> tuple[int, int]:
    """How many frames a video's header promises (0 where it does not say), and how many packets there are."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            return 0, 0
        stream = container.streams.video[0]
        return stream.frames, sum(1 for packet in container.demux(stream) if packet.size)


def _decode(path: Path, indices: Sequence[int]) -> tuple[dict[int, bytes], int]:
    """The frames at ``indices`` as JPEG, and how many frames there are."""
    import av

    wanted, images, total = set(indices), {}, 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if total in wanted:
                images[total] = _jpeg(frame)
            total += 1
    return images, total


def _jpeg(frame: Any) -> bytes:
    stream = io.BytesIO()
    frame.to_image().convert("RGB").save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()
