"""How the answer to an open-ended question is scored, in [0, 1]: the metrics by name (:data:`tvt.core.choices.METRICS`).

Answers by an option are right or wrong and need no metric. A metric sees what the model answered, without its reasoning, or the
number that a reader took from it, and all accepted answers.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from tvt.core.choices import METRICS
from tvt.core.question import Question, is_number
from tvt.core.scores import mean_relative_accuracy
from tvt.core.vqa_text import vqa_normal_form


class Metric(ABC):
    """One way of scoring answers."""

    name: str
    """What a manifest's ``metric:`` says."""
    version: int = 1
    """Raised with every change that can change a score: runs are scored anew then."""
    label: str
    """What tables call it."""
    reads: Literal["text", "number"] = "text"
    """Whether it sees the answer's text, or the number that a reader took from it."""

    @abstractmethod
    def score(self, given: str, accepted: Sequence[str]) -> float:
        """What an answer is worth, in [0, 1].

        Args:
            given: the answer, or the number that was read from it, as text.
            accepted: the right answers, the first one that of training rows.
        """

    def fault(self, accepted: Sequence[str]) -> str | None:
        """Why a question with these right answers cannot be scored so, with the next step, or ``None``."""
        return None

    @property
    def identity(self) -> dict[str, str | int]:
        """Name and version, as plain values for a digest."""
        return {"name": self.name, "version": self.version}


def metric_of(question: Question) -> Metric | None:
    """How a question is scored; ``None`` for one with options.

    Raises:
        InputError: its metric is unknown.
    """
    metric: Metric | None = METRICS.find(question.scored_by) if question.open_ended else None
    return metric


class ExactMatch(Metric):
    """The same words, whatever case, punctuation, English articles and space; numbers are compared as numbers.

    Source: SQuAD's exact match and its normalisation (Rajpurkar et al., *SQuAD*, EMNLP 2016; ``normalize_answer`` of its
    evaluation script), with the punctuation of all scripts, as MLQA has it (Lewis et al., ACL 2020). Beyond it, numbers keep
    sign and decimal point, and an answer of which nothing would remain, such as "A", stays as it is: SQuAD's own would take -3
    for 3 and 1.5 for 15.
    """

    name = "exact_match"
    label = "exact match"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`ExactMatch`."""
        return float(any(_same(given, right) for right in accepted))


class Contains(Metric):
    """An accepted answer stands in the model's answer as whole words, both normalised as for the exact match.

    Source: the rule of OCRBench (Liu et al., *OCRBench: On the Hidden Mystery of OCR in Large Multimodal Models*, 2024,
    arXiv 2305.07895), an accepted answer anywhere in the prediction. There it may be part of a word or of a number, so that
    "no" is found in "unknown" and 1 in 21; here not, in scripts with capital letters and in numbers.
    """

    name = "contains"
    label = "contains"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`Contains`."""
        said = _normalised(given)
        return float(any(_same(given, right) or _stands_in(_normalised(right), said) for right in accepted))


class VqaAccuracy(Metric):
    """The accuracy of VQA v2: an answer is wholly right where three other people gave it, averaged over leaving each one out.

    ``mean over annotators i of min(1, #{j != i: answer_j = given} / 3)``, after both were brought into their normal form
    (:func:`tvt.core.vqa_text.vqa_normal_form`). Of ten answers, one match is worth 0.3, two 0.6, three 0.9, four 1.

    Source: Antol et al. 2015 and Goyal et al. 2017, https://visualqa.org/evaluation.html. The code there leaves the annotators'
    answers as they are where all ten agree; here they are normalised then too, as the published ones are.
    """

    name = "vqa_accuracy"
    label = "VQA accuracy"
    _LEAST = 4

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`VqaAccuracy`."""
        said, people = vqa_normal_form(given), len(accepted)
        same = sum(vqa_normal_form(right) == said for right in accepted)
        return math.fsum([same * min(1.0, (same - 1) / 3) if same else 0.0, (people - same) * min(1.0, same / 3)]) / people

    def fault(self, accepted: Sequence[str]) -> str | None:
        """It takes the answers of several people, ten in VQA v2; of fewer than four none could be wholly right."""
        if len(accepted) >= self._LEAST:
            return None
        least = f"at least {self._LEAST} people, each with an entry in 'answers' (ten in VQA v2)"
        return f"VQA accuracy compares with {least}, and this has {len(accepted)}; fill them in, or take metric: exact_match"


class Anls(Metric):
    """The average normalised Levenshtein similarity: ``1 - distance / length of the longer``, or 0 below 0.5; the best counts.

    Case and repeated space do not matter.

    Source: Biten et al., *Scene Text Visual Question Answering*, ICCV 2019, with threshold 0.5. At exactly 0.5, where the
    paper's formula gives 0, the evaluation script of its challenges (rrc.cvc.uab.es, also DocVQA's) gives 0.5, as this does.
    """

    name = "anls"
    label = "ANLS"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`Anls`."""
        said = " ".join(given.lower().split())
        best = max(_similarity(said, " ".join(right.lower().split())) for right in accepted)
        return best if best >= 0.5 else 0.0


class RelaxedAccuracy(Metric):
    """ChartQA's: a number may be off by 5% of the right one, any other answer must be the same whatever its case.

    A number that ends in ``%`` is that many hundredths. Where the right number is 0, the texts must be the same.

    Source: Masry et al., *ChartQA*, Findings of ACL 2022 (section 5.1), after Methani et al., *PlotQA*, WACV 2020; percent
    signs and 0 are as in the code by which others report it (pix2struct, ``relaxed_correctness``).
    """

    name = "relaxed_accuracy"
    label = "relaxed accuracy"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`RelaxedAccuracy`."""
        return float(any(_relaxed(given.strip(), right.strip()) for right in accepted))


class Number(Metric):
    """The number that a reader took from the answer is one of the right ones."""

    name = "number"
    label = "number"
    reads = "number"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`Number`."""
        return float(any(math.isclose(float(given), float(right), rel_tol=1e-9) for right in accepted))

    def fault(self, accepted: Sequence[str]) -> str | None:
        """All right answers must be numbers."""
        return _no_number(accepted)


class MeanRelativeAccuracy(Metric):
    """VSI-Bench's: see :func:`tvt.core.scores.mean_relative_accuracy`."""

    name = "mra"
    label = "MRA"
    reads = "number"

    def score(self, given: str, accepted: Sequence[str]) -> float:
        """See :class:`MeanRelativeAccuracy`; the best of several right numbers counts."""
        return max(mean_relative_accuracy(float(given), float(right)) for right in accepted)

    def fault(self, accepted: Sequence[str]) -> str | None:
        """All right answers must be numbers."""
        return _no_number(accepted)


def _no_number(accepted: Sequence[str]) -> str | None:
    wrong = next((right for right in accepted if not is_number(right)), None)
    if wrong is None:
        return None
    return f"the right answer '{wrong[:40]}' is no number; mend the row, or take a metric for text, such as metric: exact_match"


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def _normalised(text: str) -> str:
    """Lower case, without punctuation that is no part of a number, without English articles, single spaces.

    A text of which nothing would remain is left as it is, in lower case.
    """
    lower = text.casefold().strip()
    kept = "".join(" " if _is_punctuation(lower, at) else letter for at, letter in enumerate(lower))
    return " ".join(_ARTICLES.sub(" ", kept).split()) or " ".join(lower.split())


def _is_punctuation(text: str, at: int) -> bool:
    """Whether the sign at a place is punctuation; the apostrophe too, but no point and sign of a number."""
    sign = text[at]
    if sign not in string.punctuation and not unicodedata.category(sign).startswith("P"):
        return False
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if sign in ".," and before.isdigit() and after.isdigit():
        return False
    return not (sign in "-+" and after.isdigit() and not before.isalnum())


def _same(given: str, right: str) -> bool:
    if is_number(given) and is_number(right):
        return float(given) == float(right)
    return _normalised(given) == _normalised(right)


def _stands_in(right: str, said: str) -> bool:
    """Whether a text is part of another without cutting a word or a number."""
    at = said.find(right) if right else -1
    while at >= 0:
        end = at + len(right)
        if not _joined(said[:at], right[0]) and not _joined(right, said[end : end + 1], said[end + 1 : end + 2]):
            return True
        at = said.find(right, at + 1)
    return False


def _joined(before: str, after: str, next_after: str = "") -> bool:
    """Whether the end of a text and a letter behind it belong to one word or number."""
    last = before[-1:]
    if last in (".", ",", "-", "+") and after.isdigit():
        return True
    if last.isdigit() and after in (".", ",") and next_after.isdigit():
        return True
    return _divides(last) and _divides(after)


def _divides(letter: str) -> bool:
    """Whether words of a letter's script have spaces between them: it has capitals, or is a digit."""
    return letter.isdigit() or letter.lower() != letter.upper()


def _similarity(one: str, other: str) -> float:
    """``1 - Levenshtein distance / length of the longer``; 1 where both are empty."""
    longest = max(len(one), len(other))
    return 1 - _distance(one, other) / longest if longest else 1.0


def _distance(one: str, other: str) -> int:
    """Insertions, deletions and substitutions from one text to another (Levenshtein 1966), row by row."""
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        here = [row]
        for column, its in enumerate(other, 1):
            here.append(min(above[column] + 1, here[-1] + 1, above[column - 1] + (letter != its)))
        above = here
    return above[-1]


def _relaxed(given: str, right: str) -> bool:
    number, target = _chart_number(given), _chart_number(right)
    if number is not None and target:
        return abs(number - target) / abs(target) <= 0.05
    return given.lower() == right.lower()


def _chart_number(text: str) -> float | None:
    digits = text.removesuffix("%")
    if not is_number(digits):
        return None
    return float(digits) / 100 if text.endswith("%") else float(digits)
