"""What scoring shows a model of questions, for its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tvt.core.question import Question
from tvt.evaluate.prompts import Profile
from tvt.model.limits import ShownRow


def asked_rows(task: str, questions: Iterable[Question], profile: Profile) -> Iterator[ShownRow]:
    """Texts and pictures of each question, named by task and id.

    Raises:
        InputError: a question cannot be put as the profile says.
    """
    for question in questions:
        texts = tuple(piece["text"] for piece in profile.content(question) if "text" in piece)
        yield ShownRow(name=f"{task}, question {question.id}", texts=texts, images=question.images)
