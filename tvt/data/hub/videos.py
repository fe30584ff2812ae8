"""VSI-Bench's rows, and the frames of their videos.

**Rows**: ``id, dataset, scene_name, question_type, question, ground_truth, options``, and videos beside them.
Columns, places of the videos (``<dataset>/<scene_name>.mp4``) and wording are those that the benchmark's code reads and asks
(vision-x-nyu/thinking-in-space, ``lmms_eval/tasks/vsibench/utils.py`` and ``vsibench.yaml``; the same in lmms-eval): an opening
line, the question, the options as they stand in the row (``A. chair``) where there are any, and how to answer. The repository
on the hub, ``nyu-visionx/VSI-Bench``, keeps the videos in three ZIP files; a copy of it with these unpacked is read.

**Frames** are evenly spaced, encoded once and stored in tvt's cache, shared by the questions about the video.
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
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tvt.core.question import LETTERS, is_number
from tvt.data.hub.formats import HubRow, RowFormat, text_of, texts_of
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.questions.listed_options import without_letter
from tvt.data.tasks import QuestionData
from tvt.errors import InputError, needs_data_extra
from tvt.io import atomic, digest, json_text
from tvt.io.atomic import exclusively
from tvt.io.digest import cache_folder

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


def frame_indices(total: int, count: int) -> tuple[int, ...]:
    """Which of ``total`` frames are shown: ``count`` of them evenly spaced, or all where there are fewer."""
    return tuple(np.linspace(0, total - 1, min(count, total), dtype=int).tolist())


def video_frames(path: Path, count: int) -> Frames:
    """Frames of a video: from memory, from the cache on disk, or decoded and stored there.

    Args:
        path: a file that FFmpeg can read.
        count: how many; a shorter video gives all that it has, with one warning.

    Raises:
        InputError: missing, cut off or damaged, or the cache cannot be written.
    """
    stamp = _stamp(path)
    if (known := RECENT.get((stamp, count))) is not None:
        return known
    request = {"video": video_digest(path), "wanted": count, "version": FRAMES_VERSION, "quality": QUALITY}
    key = digest.of_value(request)[:32]
    root = cache_folder() / "frames"
    with _writing(root), exclusively(root / f".lock-{key[0]}"):
        result = _stored(root / key) or _store(path, count, root / key)
    if len(result.images) < count:
        logging.getLogger(__name__).warning(
            "%s: has %d frames, fewer than the %d asked for; all are shown", path, result.total, count
        )
    RECENT.put((stamp, count), result)
    return result


def video_digest(path: Path) -> str:
    """sha256 of a video's file; one that did not change is not read again.

    Raises:
        InputError: not there, or the cache cannot be written.
    """
    memory = cache_folder() / "digests" / digest.of_value(_stamp(path))[:32]
    try:
        return memory.read_text(encoding="ascii")
    except OSError:
        result = digest.of_file(path)
        with _writing(memory.parent):
            atomic.write_text(memory, result)
        return result


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell that the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; frames are stored there, so make room, or set TVT_CACHE to another folder"
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


RECENT = _Memory()


def _stored(folder: Path) -> Frames | None:
    """The frames in the cache, if they are whole."""
    try:
        record: dict[str, Any] = json_text.loads((folder / _RECORD).read_text(encoding="utf-8"))
        images = tuple((folder / _name(index)).read_bytes() for index in record["indices"])
        whole = [hashlib.sha256(image).hexdigest() for image in images] == record["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Frames(images=images, indices=tuple(record["indices"]), total=record["total"]) if whole else None


def _store(path: Path, count: int, folder: Path) -> Frames:
    """Decode a video, and write its frames: wholly or not at all."""
    frames = decode_frames(path, count)
    shutil.rmtree(folder, ignore_errors=True)  # what is there is damaged
    with atomic.new_folder(folder) as temporary:
        for index, image in zip(frames.indices, frames.images, strict=True):
            (temporary / _name(index)).write_bytes(image)
        record = {
            "schema": 1,
            "video": path.name,
            "total": frames.total,
            "indices": frames.indices,
            "sha256": [hashlib.sha256(image).hexdigest() for image in frames.images],
        }
        (temporary / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return frames


def _name(index: int) -> str:
    return f"{index:07d}.jpg"


def decode_frames(path: Path, count: int) -> Frames:
    """Decode a video front to back, since seeking is exact in few formats; nothing is stored.

    Raises:
        InputError: cut off, damaged, or no video.
    """
    with needs_data_extra():
        import av
    try:
        stated, packets = _counts(path)
        images, total = _decode(path, frame_indices(packets, count)) if packets else ({}, 0)
        if total and total != packets:  # not every packet is a frame that is shown
            images, total = _decode(path, frame_indices(total, count))
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be decoded ({error.strerror or error}); get the file anew") from error
    if not total:
        raise InputError(f"{path}: holds no frame of a video; get the file anew")
    if total < _WHOLE * stated:
        raise InputError(
            f"{path}: holds {total:,} of the {stated:,} frames that it announces, so it was cut off; get the file anew"
        )
    indices = frame_indices(total, count)
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

    needed, images, total = set(indices), {}, 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if total in needed:
                images[total] = _jpeg(frame)
            total += 1
    return images, total


def _jpeg(frame: Any) -> bytes:
    stream = io.BytesIO()
    frame.to_image().convert("RGB").save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


OPENING = "These are frames of a video."
ASK_LETTER = "Answer with the option's letter from the given choices directly."
ASK_NUMBER = "Please answer the question using a single word or phrase."
_PLAIN = re.compile(r"[\w-][\w.-]*")
"""What may stand in a path: no separators, and no dot in front."""


class VsiRows(RowFormat):
    """Rows of VSI-Bench. They are not stored: some 18 questions share the frames of a video."""

    needed = ("id", "dataset", "scene_name", "question_type", "question", "ground_truth", "options")
    answer_column = "ground_truth"
    materialise = False
    version = 1

    def manifest_fault(self, data: QuestionData) -> str | None:
        """See :meth:`RowFormat.manifest_fault`."""
        if data.frames is not None:
            return None
        return "'frames:' is missing in the manifest; say how many frames of a video are shown, e.g. 32"

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; the task is the question's type. Without options the answer is a number.

        Raises:
            InputError: a video that cannot be shown.
        """
        assert data.frames is not None  # noqa: S101 - see manifest_fault
        path = video_path(row, data)
        shown = video_frames(path, data.frames)
        listed = texts_of(row, "options")
        question, answer = text_of(row, "question"), text_of(row, "ground_truth").strip()
        if not listed and not is_number(answer):
            raise ValueError(f"answer '{answer[:20]}' is no number, and it has no options; mend the row")
        parts = [OPENING, question, *(["Options:", *listed, ASK_LETTER] if listed else [ASK_NUMBER])]
        provenance = {"video": f"{path.parent.name}/{path.name}", "frames": shown.indices, "of": shown.total}
        return UncheckedQuestion(
            id=text_of(row, "id"),
            task=text_of(row, "question_type"),
            prompt="\n".join(parts),
            options=tuple(without_letter(text, letter) for text, letter in zip(listed, LETTERS, strict=False)),
            answer=answer,
            images=shown.images,
            question=question,
            provenance=json.dumps(provenance),
        )

    def copying(self, data: QuestionData) -> str:
        """The commands that make a copy."""
        revision = f" --revision {data.revision}" if data.revision else ""
        return (
            f"get it and unpack its ZIP files, with hf download {data.dataset} --repo-type dataset{revision} --local-dir "
            "VSI-Bench, then (cd VSI-Bench && unzip '*.zip'), and name the folder VSI-Bench (recipe: 'datasets:', "
            f"tvt evaluate: --dataset {data.dataset}=DIR)"
        )

    def content(self, row: HubRow, data: QuestionData) -> object:
        """The digest of the row's video, and the rule by which frames are taken from it."""
        return {"video": video_digest(video_path(row, data)), "frames": FRAMES_VERSION}


def video_path(row: HubRow, data: QuestionData) -> Path:
    """The video of a row in the local copy.

    Raises:
        ValueError: not there, or no name of a file.
    """
    folder = Path(data.folder or str(data.dataset))
    place, scene = text_of(row, "dataset"), text_of(row, "scene_name")
    for column, text in (("dataset", place), ("scene_name", scene)):
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"'{column}' is '{text[:40]}', which names no folder or file; get the rows anew")
    path = folder / place / f"{scene}.mp4"
    if not path.is_file():
        raise ValueError(f"{path}: no such video; unzip {place}.zip in {folder}")
    return path
