"""VSI-Bench's rows: ``id, dataset, scene_name, question_type, question, ground_truth, options``, and videos beside them.

Columns, places of the videos (``<dataset>/<scene_name>.mp4``) and wording are those that the benchmark's code reads and asks
(vision-x-nyu/thinking-in-space, ``lmms_eval/tasks/vsibench/utils.py`` and ``vsibench.yaml``; the same in lmms-eval): an opening
line, the question, the options as they stand in the row (``A. chair``) where there are any, and how to answer. The repository
on the hub, ``nyu-visionx/VSI-Bench``, keeps the videos in three ZIP files; a copy of it with these unpacked is read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tvt.core.question import LETTERS
from tvt.data.hub.row_format import HubRow, RowFormat, text_of, texts_of
from tvt.data.hub.video_frames import FRAMES_VERSION, video_digest, video_frames
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.tasks import QuestionData

OPENING = "These are frames of a video."
ASK_LETTER = "Answer with the option's letter from the given choices directly."
ASK_NUMBER = "Please answer the question using a single word or phrase."
_LISTED = re.compile(r"([A-Z])\.\s*(.*)", re.DOTALL)
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
        asked = text_of(row, "question")
        parts = [OPENING, asked, *(["Options:", *listed, ASK_LETTER] if listed else [ASK_NUMBER])]
        provenance = {"video": f"{path.parent.name}/{path.name}", "frames": shown.indices, "of": shown.total}
        return UncheckedQuestion(
            id=text_of(row, "id"),
            task=text_of(row, "question_type"),
            prompt="\n".join(parts),
            options=tuple(_option(text, letter) for text, letter in zip(listed, LETTERS, strict=False)),
            answer=text_of(row, "ground_truth").strip(),
            images=shown.images,
            question=asked,
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


def _option(text: str, letter: str) -> str:
    """An option without its letter.

    Raises:
        ValueError: it has another one.
    """
    listed = _LISTED.fullmatch(text)
    if listed is None:
        return text
    if listed.group(1) != letter:
        raise ValueError(f"option '{text[:40]}' stands where {letter} is expected; mend the options")
    return listed.group(2).strip()
