"""What stands behind a target's score and can be differentiated: of questions with options the probability of the right letter
among the letters, the logistic function of its log-odds; of all others the log-likelihood of the right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvt.core.question import Question
from tvt.errors import InputError
from tvt.evaluate.scorer import Scorer
from tvt.model.chat import Chat
from tvt.model.inputs import training_inputs
from tvt.model.likelihood import answer_likelihood

LETTERS, LIKELIHOOD = "letters", "likelihood"
"""Which of the two it is."""


class ScoredQuantity:
    """The quantity of questions, summed, as a tensor whose gradient can be taken.

    Args:
        scorer: of the base model; it puts the questions.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer, self._chat = scorer, Chat(scorer.processor)

    def kind(self, questions: Sequence[Question]) -> str:
        """:data:`LETTERS`, or :data:`LIKELIHOOD` where a question has no options or the letters are no single tokens."""
        if any(len(question.options) < 2 for question in questions):
            return LIKELIHOOD
        try:
            for question in questions:
                self._scorer.letter_tokens(question)
        except InputError:
            return LIKELIHOOD
        return LETTERS

    def letters(self, model: Any, questions: Sequence[Question]) -> tuple[Any, int]:
        """Sum of the probabilities of the right letters, and the number of questions.

        Args:
            model: with an adapter on.
            questions: with options, and with equally many images.
        """
        import torch

        inputs = self._scorer.prepare(questions).to(self._scorer.device)
        found = []
        for scores, question in zip(self._scorer.letter_scores(model, inputs, questions), questions, strict=True):
            right = question.letters.index(question.answer)
            others = torch.cat((scores[:right], scores[right + 1 :]))
            found.append(torch.sigmoid(scores[right] - torch.logsumexp(others, 0)))
        return torch.stack(found).sum(), len(questions)

    def likelihood(self, model: Any, questions: Sequence[Question]) -> tuple[Any, int]:
        """Sum of the log-likelihoods of the right answers, ends of turns included, and the number of questions.

        Args:
            model: with an adapter on.
            questions: with equally many images.
        """
        samples = [self._scorer.sample(question) for question in questions]
        rows = [{"images": s.images, "prompt": s.prompt, "completion": s.completion} for s in samples]
        return answer_likelihood(model, training_inputs(self._chat, rows), self._scorer.device)[0], len(questions)

    def of(self, kind: str) -> Callable[[Any, Sequence[Question]], tuple[Any, int]]:
        """The quantity of a kind: a function of the model and of questions."""
        return self.letters if kind == LETTERS else self.likelihood
