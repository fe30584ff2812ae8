"""Is a file of training rows fit to train on? Everything that is wrong with it, and what is merely worth knowing, apart.

Faults: rows that cannot be read, images that are missing or broken, answers that lean to a letter, questions asked twice,
images of evaluation sets (the same or nearly), another number of options than the task's, provenance without a licence, too
few rows. Warnings: images that other rows show too or nearly so, answers that can be guessed without looking, and rows that do
not say where they come from.

Guessing: Where a question has an image for each option (as many images as options, or one more, which comes first as the
reference), the images' sizes and bytes are features of the options; the length of an option's text and, of numbers, its value
always are. A feature is a shortcut where the option that has most (or least) of it is right far more often than one of ``k``
options is by chance: a one-sided binomial test over the rows in which one option has most.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tvt.core.choices import METRICS
from tvt.core.question import LETTERS, is_number
from tvt.data.csv_table import Faults
from tvt.data.lookalikes import NEAR, Gallery, ImageHash, hash_bytes, near_pairs_within
from tvt.data.questions.batches import image_fault, image_size
from tvt.data.questions.checks import scan
from tvt.data.questions.files import QuestionSource, open_questions
from tvt.data.tasks import TaskManifest
from tvt.errors import InputError
from tvt.io import json_text
from tvt.model.limits import ModelLimits, ShownRow
from tvt.model.picture import PictureError
from tvt.types import Progress, silent

ALPHA = 0.001
"""Answers lean to a letter where equal shares would give such counts, or worse ones, with a probability below this."""
LEAST_EXPECTED = 5
"""A chi-square test needs so many answers expected of each letter; of fewer rows nothing is said."""


@dataclass(frozen=True, order=True)
class DataFinding:
    """One thing that was found."""

    kind: str
    """A few words, the same for all findings of a kind."""
    message: str
    """What and where, with the next step where there is one."""
    fault: bool = True
    """Whether the file should not be trained on as it is; otherwise it is worth knowing."""


@dataclass(frozen=True)
class DatasetReport:
    """What was found in one file."""

    path: Path
    rows: int
    answers: Mapping[str, int]
    """How often each letter is right."""
    metrics: Mapping[str, int]
    """How many rows without options are scored by each metric, where they are scored."""
    findings: tuple[DataFinding, ...]

    @property
    def faults(self) -> tuple[DataFinding, ...]:
        """What should be mended."""
        return tuple(finding for finding in self.findings if finding.fault)

    @property
    def warnings(self) -> tuple[DataFinding, ...]:
        """What is worth knowing."""
        return tuple(finding for finding in self.findings if not finding.fault)


@dataclass(frozen=True, kw_only=True)
class Standards:
    """What rows are held against."""

    manifests: Mapping[str, TaskManifest] = field(default_factory=dict)
    against: Gallery = field(default_factory=Gallery)
    """Images of evaluation sets."""
    at_least: int = 1
    """Rows that a file must have."""
    near: int = NEAR
    """Bits in which the hashes of near duplicates differ at most."""
    limits: ModelLimits | None = None
    """What a model can take of a row."""


def check_dataset(path: Path, standards: Standards, progress: Progress = silent) -> DatasetReport:
    """Read a file or folder of questions and say all that is wrong with it.

    Raises:
        InputError: nothing there that could be read.
        MissingPackageError: the data extra is not installed.
    """
    source = open_questions(path)
    findings: list[DataFinding] = []
    try:
        scan(source)
    except InputError as error:
        findings += [DataFinding("unreadable", fault) for fault in error.faults]
    rows = _Rows(source, standards)
    try:
        for row in _read(source):
            rows.add(row)
            progress(f"checking {path.name}", row.number + 1, source.rows)
    except InputError as error:  # what cannot be read any further was found by the scan too
        findings += [DataFinding("unreadable", fault) for fault in error.faults]
    findings += rows.findings()
    letters = dict(sorted(rows.letters.items()))
    return DatasetReport(path, source.rows, letters, dict(rows.metrics), tuple(dict.fromkeys(findings)))


@dataclass(frozen=True)
class _Row:
    number: int
    task: str
    prompt: str
    options: list[str]
    answer: str
    images: list[bytes]
    provenance: str | None
    question: str | None
    answers: list[str]
    turns: list[tuple[str, str]]


def _read(source: QuestionSource) -> Iterator[_Row]:
    reported_by_scan = [Faults(part.path) for part in source.parts]
    for numbers, batch in source.batches(faults=reported_by_scan):
        for number, row in zip(numbers.tolist(), batch.to_pylist(), strict=True):
            images = [image["bytes"] for image in row["images"] or () if image and image["bytes"]]
            options = list(row["options"] or ())
            yield _Row(
                number=number,
                task=row["task"] or "",
                prompt=row["prompt"] or "",
                options=options,
                answer=row["answer"] or "",
                images=images,
                provenance=row["provenance"],
                question=row["question"],
                answers=[answer or "" for answer in row["answers"] or ()],
                turns=[(turn["prompt"] or "", turn["answer"] or "") for turn in row["turns"] or ()],
            )


class _Rows:
    """What is remembered of the rows, and what follows from it."""

    def __init__(self, source: QuestionSource, standards: Standards) -> None:
        self._source, self._standards = source, standards
        self.letters: Counter[str] = Counter()
        self.metrics: Counter[str] = Counter()
        self._found: list[DataFinding] = []
        self._by_options: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self._shortcuts: defaultdict[str, Shortcuts] = defaultdict(Shortcuts)
        self._questions: dict[bytes, int] = {}
        self._shown: dict[bytes, int] = {}
        self._hashes: list[int] = []
        self._owners: list[int] = []
        self._silent = self._letters_alone = 0

    def add(self, row: _Row) -> None:
        """Check one row."""
        if row.options:
            self.letters[row.answer] += 1
            self._by_options[row.task, len(row.options)][row.answer] += 1
            self._shortcuts[row.task].add(row.options, row.answer, row.images)
        else:
            self._add_open_ended(row)
        manifest = self._standards.manifests.get(row.task)
        if manifest is not None and manifest.options not in (None, len(row.options)):
            self._note(
                "options", row.number, f"{len(row.options)} options, but {row.task} has {manifest.options}; mend or drop it"
            )
        if self._standards.limits is not None:
            self._hold_against(self._standards.limits, row)
        looks = [look for data in row.images if (look := _hash(data)) is not None]
        if len(looks) == len(row.images):  # what cannot be seen is not the same
            self._add_question(row, looks)
        for look in looks:
            self._add_image(row.number, look)
        self._add_provenance(row)

    def findings(self) -> list[DataFinding]:
        """All that was found, in the order of kinds."""
        result = [*self._found, *self._lean(), *self._guessable(), *self._near()]
        if self._source.rows < self._standards.at_least:
            few = f"{self._source.rows} rows, fewer than {self._standards.at_least}; build more"
            result.append(DataFinding("too few rows", f"{self._source.path}: {few}"))
        if self._silent:
            message = f"{self._source.path}: {self._silent} rows do not say where they come from (no provenance)"
            result.append(DataFinding("no provenance", message, fault=False))
        if self._letters_alone:
            where = f"{self._source.path}: {self._letters_alone} of {self.metrics.total()} open-ended rows"
            message = f"{where} are answered by a letter alone; where it is an option's, give the row its options"
            result.append(DataFinding("letter without options", message, fault=False))
        return result

    def _note(self, kind: str, row: int, what: str, *, fault: bool = True) -> None:
        self._found.append(DataFinding(kind, f"{self._source.where(row)}: {what}", fault))

    def _add_open_ended(self, row: _Row) -> None:
        if row.answer:
            manifest = self._standards.manifests.get(row.task)
            stated = manifest.scored_by if manifest is not None and manifest.scored_by != "accuracy" else None
            metric = stated or ("mra" if is_number(row.answer) else METRICS.default)
            self.metrics[metric] += 1
            self._letters_alone += row.answer in LETTERS
            if (fault := METRICS.find(metric).fault(row.answers or [row.answer])) is not None:
                self._note("metric", row.number, f"{row.task} is scored by {metric}, and {fault}")

    def _hold_against(self, limits: ModelLimits, row: _Row) -> None:
        """Note what a model cannot take of a row; the scan reports broken pictures."""
        images = tuple(data for data in row.images if image_fault(data) is None)
        shown = ShownRow(
            name=self._source.where(row.number),
            texts=(row.prompt, row.question or "", *(asked for asked, _ in row.turns)),
            answers=(row.answer, *(answer for _, answer in row.turns)),
            images=images,
        )
        for fault in limits.faults(shown):
            self._note("model limit", row.number, fault)

    def _add_question(self, row: _Row, looks: list[ImageHash]) -> None:
        asked = "\0".join([*(text for turn in row.turns for text in turn), " ".join(row.prompt.split())])
        whole = b"".join(look.exact for look in looks) + b"\0" + asked.encode()
        first = self._questions.setdefault(hashlib.blake2b(whole, digest_size=16).digest(), row.number)
        if first != row.number:
            self._note("question asked twice", row.number, f"asks what {self._place(first)} asks; drop one")

    def _add_image(self, row: int, look: ImageHash) -> None:
        seen = self._standards.against.find(look, self._standards.near)
        if seen is not None:
            self._note("evaluation image", row, f"{seen.text}; drop the row, or build with --exclude")
        first = self._shown.setdefault(look.exact, row)
        if first != row:
            self._note("image shown twice", row, f"shows an image that {self._place(first)} shows", fault=False)
        elif look.hash is not None:
            self._hashes.append(look.hash)
            self._owners.append(row)

    def _add_provenance(self, row: _Row) -> None:
        if row.provenance is None:
            self._silent += 1
            return
        provenance = _json(row.provenance)
        if provenance is None:
            self._note("provenance", row.number, "provenance is no JSON object; write it as one")
        elif not provenance.get("licence"):
            self._note("licence", row.number, "its provenance states no licence; add 'licence', or 'not stated'")

    def _lean(self) -> Iterator[DataFinding]:
        """Tasks whose right answers lean to a letter, by Pearson's chi-square test against equal shares."""
        from scipy.stats import chisquare

        for (task, options), letters in sorted(self._by_options.items()):
            counts = [letters[letter] for letter in LETTERS[:options]]
            if options < 2 or sum(counts) < LEAST_EXPECTED * options:
                continue
            p = float(chisquare(counts).pvalue)
            if p < ALPHA:
                shares = ", ".join(f"{letter} {count}" for letter, count in zip(LETTERS, counts, strict=False))
                yield DataFinding(
                    "unbalanced answers",
                    f"{self._source.path}: {task}: right answers are {shares} (p = {p:.1g} for equal shares); balance them",
                )

    def _guessable(self) -> Iterator[DataFinding]:
        """Tasks whose right options can be guessed without looking at what they show."""
        for task, shortcuts in sorted(self._shortcuts.items()):
            for item in shortcuts.found():
                message = f"{item.option} is right in {item.right} of {item.rows} rows, by chance in {item.chance:.0%}"
                yield DataFinding("shortcut", f"{self._source.path}: {task}: {message}", fault=False)

    def _near(self) -> Iterator[DataFinding]:
        """Rows whose images look alike; of two rows one finding."""
        pairs: dict[tuple[int, int], int] = {}
        for first, second, apart in near_pairs_within(np.array(self._hashes, np.uint64), self._standards.near):
            rows = self._owners[first], self._owners[second]
            if rows[0] != rows[1]:
                pairs[rows] = min(apart, pairs.get(rows, apart))
        for (first, second), apart in sorted(pairs.items()):
            what = f"an image looks like one of {self._place(first)} ({apart} of 64 bits differ)"
            yield DataFinding("image nearly shown twice", f"{self._source.where(second)}: {what}", fault=False)

    def _place(self, row: int) -> str:
        """A row in the words of a message about another of the same file."""
        where = self._source.where(row).removeprefix(str(self._source.path)).lstrip(": ")
        return f"line {where}" if where.isdecimal() else where


def _hash(data: bytes) -> ImageHash | None:
    try:
        return hash_bytes(data)
    except ValueError:  # the scan has reported it
        return None


def _json(text: str) -> dict[str, Any] | None:
    try:
        result = json_text.loads(text)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


SHORTCUT_ALPHA = 1e-4
"""Below this probability under chance a rate is no accident; several features are tested."""


@dataclass
class _OptionCount:
    rows: int = 0
    right: int = 0
    expected: float = 0.0


@dataclass(frozen=True)
class Shortcut:
    """A way to guess."""

    option: str
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

    _counts: dict[tuple[str, str], _OptionCount] = field(default_factory=lambda: defaultdict(_OptionCount))

    def add(self, options: Sequence[str], answer: str, images: Sequence[bytes]) -> None:
        """Count a row in."""
        right = LETTERS.find(answer) if len(answer) == 1 else -1
        if len(options) < 2 or not 0 <= right < len(options):
            return
        for name, values in _features(options, images):
            for which, extreme in (("most", max(values)), ("least", min(values))):
                if values.count(extreme) == 1:
                    count = self._counts[name, which]
                    count.rows += 1
                    count.right += values.index(extreme) == right
                    count.expected += 1 / len(options)

    def found(self) -> Iterator[Shortcut]:
        """Yield the features that give the answer away, the surest first."""
        from scipy.stats import binomtest

        shortcuts = []
        for (name, which), count in self._counts.items():
            chance = count.expected / count.rows
            p = float(binomtest(count.right, count.rows, chance, alternative="greater").pvalue)
            if p < SHORTCUT_ALPHA:
                shortcuts.append(Shortcut(_TEXTS[name, which], count.rows, count.right, chance, p))
        yield from sorted(shortcuts, key=lambda shortcut: (shortcut.p, shortcut.option))


_TEXTS = {
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
