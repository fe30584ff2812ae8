"""Rows in tvt's own columns: ``id, prompt, options, answer``, and images in ``images`` or in ``image_1``, ``image_2``, ..."""

from __future__ import annotations

from tvt.data.hub.row_format import HubRow, RowFormat, image_of, numbered_images, text_of, texts_of
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.tasks import QuestionData


class QuestionRows(RowFormat):
    """Rows in tvt's own columns; ``task`` and ``question`` may be missing, and images too."""

    needed = ("id", "prompt", "options", "answer")

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; without a column ``task`` it is the configuration, or the dataset's name."""
        name = str(data.dataset).rstrip("/").rpartition("/")[2]
        return UncheckedQuestion(
            id=text_of(row, "id"),
            task=(text_of(row, "task") if "task" in row else "") or data.config or name,
            prompt=text_of(row, "prompt"),
            options=texts_of(row, "options"),
            answer=text_of(row, "answer"),
            images=_images(row),
            question=(text_of(row, "question") if "question" in row else "") or None,
        )


def _images(row: HubRow) -> tuple[bytes, ...]:
    """The images of the list, or else those of the numbered columns that are there."""
    listed = row.get("images")
    if listed is not None:
        if not isinstance(listed, list):
            raise ValueError("'images' is no list; it must be a list of images")
        return tuple(image_of(value, "images") for value in listed)
    return tuple(image_of(row[name], name) for name in numbered_images(row) if row[name] is not None)
