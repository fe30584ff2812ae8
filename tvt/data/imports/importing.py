"""Files of others in, questions out: ids are made unique, what evaluation sets have too is left out, and every row that cannot
be read is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tvt.core.choices import FORMATS
from tvt.core.question import Question
from tvt.data.hub.formats import HubRow, RowFormat
from tvt.data.imports.conversations import Reading
from tvt.data.imports.formats import ImportedRows, made_id
from tvt.data.imports.media import RowError
from tvt.data.imports.raw_rows import RawRow, raw_rows
from tvt.data.imports.tables import AnyRows, layout_of
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.io.strict_yaml import input_error
from tvt.types import Progress, silent

EXAMPLES = 3
"""Questions that are shown."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row that was left out."""

    file: str
    where: str
    """Its line or number."""
    kind: str
    """A few words, the same for all rows that were left out for the same reason."""
    message: str
    """What is wrong with it, with the next step."""


@dataclass(kw_only=True)
class ImportReport:
    """What became of the rows of some files."""

    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    """Rows that were understood, by format."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How many have ``options``, a ``number`` or ``text`` as answer, several ``turns``, ``images``."""
    made_ids: int = 0
    """Rows without an id, which got one made of their content."""
    changed_ids: int = 0
    """Rows whose id another row had already: theirs ends in a number."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was changed, and in how many rows."""
    unread: list[LeftOut] = field(default_factory=list)
    shared: list[LeftOut] = field(default_factory=list)
    """Rows that an evaluation set has too."""
    examples: list[Question] = field(default_factory=list)

    @property
    def understood(self) -> int:
        """Rows that became questions."""
        return sum(self.formats.values())


class Importer:
    """Reads files as questions and keeps count.

    Args:
        files: what to read, each with its format and columns.
        task: of rows that do not name theirs; where ``own_tasks`` is false, of all.
        own_tasks: whether a row's own ``task`` counts.
        excluded: says what of an evaluation set a question shows; ``None`` where it shows nothing of it.
        progress: called with how many rows of a file were read.
    """

    def __init__(
        self,
        files: Sequence[QuestionData],
        task: str,
        *,
        own_tasks: bool = True,
        excluded: Callable[[Question], str | None] = lambda _: None,
        progress: Progress = silent,
    ) -> None:
        self.report = ImportReport()
        self._files, self._task, self._own_tasks = files, task, own_tasks
        self._excluded, self._progress = excluded, progress
        self._ids: set[str] = set()

    def questions(self) -> Iterator[Question]:
        """Yield the questions; the report is whole after the last.

        Raises:
            InputError: a file that cannot be read at all.
        """
        for data in self._files:
            form: RowFormat = FORMATS.find(data.format)
            if (fault := form.manifest_fault(data)) is not None:
                raise InputError(f"{data.path}: {fault}")
            for number, raw in enumerate(raw_rows(data), 1):
                self.report.rows += 1
                question = self._question(raw, data, form)
                if question is not None:
                    yield question
                self._progress(f"reading {Path(str(data.path)).name}", number, 0)

    def _question(self, raw: RawRow, data: QuestionData, form: RowFormat) -> Question | None:
        """The question of a row; ``None`` where it is left out."""
        report = self.report
        try:
            if isinstance(raw.content, RowError):
                raise raw.content
            reading = _read(raw.content, data, form)
            name, made = self._id(reading)
            question = reading.unchecked(name, (reading.task if self._own_tasks else None) or self._task).checked()
            _check_text(question)
        except ValueError as error:
            kind = error.kind if isinstance(error, RowError) else "faulty rows"
            report.unread.append(LeftOut(file=str(data.path), where=raw.where, kind=kind, message=str(error)))
            return None
        if (shows := self._excluded(question)) is not None:
            kind = "rows of evaluation sets"
            report.shared.append(LeftOut(file=str(data.path), where=raw.where, kind=kind, message=shows))
            return None
        self._ids.add(question.id)
        report.made_ids += made
        report.changed_ids += not made and question.id != reading.id
        report.formats[layout_of(raw.content, data) if isinstance(form, AnyRows) else data.format] += 1
        report.notes.update(dict.fromkeys(reading.notes, 1))
        self._count(question, reading)
        return question

    def _id(self, reading: Reading) -> tuple[str, bool]:
        """An id that no other row has, and whether it was made because the row has none."""
        first = reading.id or made_id(reading)
        name, count = first, 1
        while name in self._ids:
            count += 1
            name = f"{first}-{count}"
        return name, reading.id is None

    def _count(self, question: Question, reading: Reading) -> None:
        kinds = self.report.kinds
        kinds["options" if question.options else "number" if question.numeric else "text"] += 1
        kinds["turns"] += bool(reading.turns)
        kinds["images"] += len(question.images)
        if len(self.report.examples) < EXAMPLES:
            self.report.examples.append(question)


def _read(row: HubRow, data: QuestionData, form: RowFormat) -> Reading:
    """A row as a question, in formats of files and of datasets alike.

    Raises:
        ValueError: what is wrong with the row.
    """
    if isinstance(form, ImportedRows):
        return form.reading(row, data)
    try:
        question = form.question(row, data)
    except KeyError as error:
        what = f"no column '{error.args[0]}'"
        raise RowError(what, f"{what}; format '{data.format}' needs {', '.join(form.needed)}") from error
    return Reading(**{part.name: getattr(question, part.name) for part in fields(Reading) if part.name != "notes"})


def _check_text(question: Question) -> None:
    """Refuse text that UTF-8 cannot hold: JSON lets half of a surrogate pair through."""
    try:
        texts = (*question.options, *question.accepted, *(text for turn in question.turns for text in turn))
        "".join((question.id, question.task, question.prompt, question.answer, *texts)).encode()
    except UnicodeEncodeError as error:
        raise RowError("text that is no Unicode", f"its text holds half of a character ({error.reason}); mend it") from error


def file_data(path: Path, **asked: Any) -> QuestionData:
    """A file with its format, and what else is known of it.

    Raises:
        InputError: a format that is none.
    """
    try:
        return QuestionData(path=str(path), **{name: value for name, value in asked.items() if value})
    except ValidationError as error:
        raise input_error(error, QuestionData, str(path)) from error


def grouped(rows: Sequence[LeftOut]) -> dict[str, list[LeftOut]]:
    """Rows that were left out by their reason, the most frequent first."""
    counts = Counter(row.kind for row in rows)
    return {kind: [row for row in rows if row.kind == kind] for kind, _ in counts.most_common()}


def fault_lines(rows: Sequence[LeftOut], *, every: bool = False, step: str = "--all") -> list[str]:
    """Rows that were left out, for people: of each reason how many, and the first ones, or every one; ``step`` lists all."""
    lines = []
    for kind, group in grouped(rows).items():
        files = {row.file for row in group}
        shown = group if every else group[:3]
        lines.append(f"{kind}: {len(group):,} row{'s' * (len(group) > 1)}")
        lines += [f"  {Path(row.file).name + ' ' if len(files) > 1 else ''}{row.where}: {row.message}" for row in shown]
        if len(group) > len(shown):
            lines.append(f"  ... and {len(group) - len(shown):,} more ({step} lists them)")
    return lines
