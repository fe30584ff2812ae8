"""Answers that can be guessed without looking: by the length or size of the options, or by how their images are stored.

Where a question has an image for each option (as many images as options, or one more, which comes first as the reference), the
images' sizes and bytes are features of the options; the length of an option's text and, of numbers, its value always are. A
feature is a shortcut where the option that has most (or least) of it is right far more often than one of ``k`` options is by
chance: a one-sided binomial test over the rows in which one option has most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tvt.core.question import LETTERS, is_number
from tvt.data.questions.image_bytes import image_size
from tvt.model.picture import PictureError

ALPHA = 1e-4
"""Below this probability under chance a rate is no accident; several features are tested."""


@dataclass
class _Tally:
    rows: int = 0
    right: int = 0
    expected: float = 0.0


@dataclass(frozen=True)
class Shortcut:
    """A way to guess."""

    told: str
    """Which option is right so often."""
    rows: int
    """Rows that have one such option."""
    right: int
    chance: float
    """Share that would be right by chance."""
    p: float


@dataclass
class Shortcuts:
    """Counts how often each extreme option is right."""

    _tallies: dict[tuple[str, str], _Tally] = field(default_factory=lambda: defaultdict(_Tally))

    def add(self, options: Sequence[str], answer: str, images: Sequence[bytes]) -> None:
        """Count a row in."""
        right = LETTERS.find(answer) if len(answer) == 1 else -1
        if len(options) < 2 or not 0 <= right < len(options):
            return
        for name, values in _features(options, images):
            for which, extreme in (("most", max(values)), ("least", min(values))):
                if values.count(extreme) == 1:
                    tally = self._tallies[name, which]
                    tally.rows += 1
                    tally.right += values.index(extreme) == right
                    tally.expected += 1 / len(options)

    def found(self) -> Iterator[Shortcut]:
        """Yield the features that give the answer away, the surest first."""
        from scipy.stats import binomtest

        shortcuts = []
        for (name, which), tally in self._tallies.items():
            chance = tally.expected / tally.rows
            p = float(binomtest(tally.right, tally.rows, chance, alternative="greater").pvalue)
            if p < ALPHA:
                shortcuts.append(Shortcut(_TOLD[name, which], tally.rows, tally.right, chance, p))
        yield from sorted(shortcuts, key=lambda shortcut: (shortcut.p, shortcut.told))


_TOLD = {
    ("text", "most"): "the option with the longest text",
    ("text", "least"): "the option with the shortest text",
    ("number", "most"): "the largest number",
    ("number", "least"): "the smallest number",
    ("bytes", "most"): "the option whose image has the most bytes",
    ("bytes", "least"): "the option whose image has the fewest bytes",
    ("pixels", "most"): "the option whose image has the most pixels",
    ("pixels", "least"): "the option whose image has the fewest pixels",
}


def _features(options: Sequence[str], images: Sequence[bytes]) -> Iterator[tuple[str, list[float]]]:
    """Yield features of the options: (name, a value each)."""
    yield "text", [float(len(option)) for option in options]
    if all(is_number(option) for option in options):
        yield "number", [float(option) for option in options]
    if len(images) in (len(options), len(options) + 1):
        shown = images[len(images) - len(options) :]
        yield "bytes", [float(len(image)) for image in shown]
        try:
            sizes = [image_size(image) for image in shown]
        except PictureError:
            return
        yield "pixels", [float(width * height) for width, height in sizes]
