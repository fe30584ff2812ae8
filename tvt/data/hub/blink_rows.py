"""BLINK's rows: ``idx, question, sub_task, image_1 ... image_4, choices, answer, prompt, explanation``.

As the dataset card of ``BLINK-Benchmark/BLINK`` describes them and the benchmark's code reads them (zeyofu/BLINK_Benchmark,
README.md and eval/test_benchmark.py, commit 0cca9a3): one configuration a task, splits ``val`` and ``test``, answers such as
``(A)``, those of ``test`` kept back for the leaderboard.
"""

from __future__ import annotations

from tvt.data.hub.row_format import HubRow, RowFormat, image_of, numbered_images, text_of, texts_of
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.tasks import QuestionData

HIDDEN = "hidden"
"""What stands for an answer in the split ``test``."""


class BlinkRows(RowFormat):
    """Rows of BLINK, and of benchmarks that took over its columns."""

    needed = ("idx", "question", "choices", "answer", "prompt", "image_1")

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; the task is the configuration, and images are those that are there."""
        answer = text_of(row, "answer").strip()
        bracketed = len(answer) == 3 and answer[0] == "(" and answer[2] == ")"
        return UncheckedQuestion(
            id=text_of(row, "idx"),
            task=data.config or text_of(row, "sub_task"),
            prompt=text_of(row, "prompt"),
            options=texts_of(row, "choices"),
            answer=answer[1] if bracketed else answer,
            images=tuple(image_of(row[name], name) for name in numbered_images(row) if row[name] is not None),
            question=text_of(row, "question"),
        )

    def hidden(self, row: HubRow) -> bool:
        """Whether the answer is ``hidden``."""
        return text_of(row, "answer").strip().casefold() in ("", HIDDEN)
