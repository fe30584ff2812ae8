"""Tables of questions and answers (CSV, parquet, folders of ``datasets``), and rows whose columns say what format they are."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tvt.core.choices import FORMATS
from tvt.core.question import LETTERS
from tvt.data.builders.contract import prompt_of
from tvt.data.hub.formats import HubRow, numbered_images
from tvt.data.imports.conversations import Reading, answers_of, with_options
from tvt.data.imports.descriptions import description_of
from tvt.data.imports.formats import ImportedRows, id_of, listed, text_or_none
from tvt.data.imports.media import RowError, media_reader
from tvt.data.questions.listed_options import without_letter
from tvt.data.tasks import QuestionData
from tvt.errors import suggest
from tvt.io import json_text

QUESTION = ("prompt", "question", "query", "instruction", "problem")
ANSWER = ("answer", "answers", "label", "ground_truth", "gt_answer", "response", "solution", "target")
IMAGE = ("images", "image", "image_path", "image_file", "img", "img_path", "picture", "filename", "file_name")
OPTIONS = ("options", "choices", "candidates")
VIDEO = ("video", "videos", "video_path")
_BETWEEN = ("|", "\n", ";")
"""What may stand between options in a text; the first that is there."""


class TableRows(ImportedRows):
    """A question and its answer in columns, with images and options where there are any.

    Columns are those that ``columns`` names, or else the first of the usual names that is there.
    """

    def reading(self, row: HubRow, data: QuestionData) -> Reading:
        """See :meth:`ImportedRows.reading`."""
        question, answer = _column(row, data, "question", QUESTION), _column(row, data, "answer", ANSWER)
        text = text_or_none(row.get(question or ""))
        if question is None or answer is None:
            what = "question" if question is None else "answer"
            raise RowError(
                f"no column of {what}s", f"no column of the {what} among {', '.join(map(str, row))}; name it with --{what} COL"
            )
        if text is None:
            raise RowError("no question", f"'{question}' is empty; write the question or drop the row")
        options = _options(row, data)
        result = Reading(
            id=id_of(row),
            task=text_or_none(row.get("task")),
            prompt=text,
            answer="",
            options=options,
            images=_images(row, data),
            question=text_or_none(row.get("question")) if question == "prompt" else None,
        )
        return _answered(_shown(result), row[answer])


def _column(row: HubRow, data: QuestionData, role: str, usual: Sequence[str]) -> str | None:
    """The column that has a role; names in other capitals are found too.

    Raises:
        RowError: the column that was named is not there.
    """
    if (named := data.columns.get(role)) is not None:
        return _there(row, named)
    small = {str(name).casefold(): str(name) for name in row}
    there = [small[name] for name in usual if name in small]
    return next((name for name in there if row[name] not in (None, "")), there[0] if there else None)


def _there(row: HubRow, name: str) -> str:
    """The column of a name; one that is not there is a fault."""
    if name not in row:
        near = suggest(name, [str(column) for column in row])
        raise RowError(f"no column '{name}'", f"no column '{name}'{near}; there are {', '.join(map(str, row))}")
    return name


def _images(row: HubRow, data: QuestionData) -> tuple[bytes, ...]:
    """The images of a row: of its column of them, of numbered columns, or frames of its video."""
    media = media_reader(data)
    named = [name.strip() for name in data.columns.get("image", "").split(",") if name.strip()]
    columns = (
        named or [name for name in [_column(row, data, "", IMAGE)] if name] or numbered_images([str(name) for name in row])
    )
    images = [media.image(value) for name in columns for value in _several(row[_there(row, name)])]
    video = _column(row, data, "", VIDEO)
    videos = listed(row[video]) if video is not None and not named else ()
    return (*images, *(frame for value in videos for frame in media.video(value)))


def _several(value: Any) -> tuple[Any, ...]:
    """Images of a cell: one, a list, or the text of a list of paths."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = _literal(value)
        return tuple(parsed) if isinstance(parsed, list) else (value,)
    return listed(value)


def _options(row: HubRow, data: QuestionData) -> tuple[str, ...]:
    """The options of a row, without letters: a list, the text of one, an object by letter, or a column for each letter."""
    column = _column(row, data, "options", OPTIONS)
    if column is None:
        letters = [
            name for letter in LETTERS for name in (letter, f"option_{letter.lower()}", f"option_{letter}") if name in row
        ]
        values = [text_or_none(row[name]) for name in letters]
        return tuple(text for text in values if text is not None) if len(letters) > 1 else ()
    value = row[column]
    if isinstance(value, str):
        parsed = _literal(value) if value.lstrip()[:1] in "[{(" and value.strip() else None
        value = parsed if isinstance(parsed, list | tuple | Mapping) else _split(value)
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value) if value[key] is not None]
    texts = [text_or_none(item) if not isinstance(item, float) else f"{item:.15g}" for item in value or ()]
    if None in texts or len(texts) == 1:
        raise RowError(
            "options that cannot be read", f'\'{column}\' is no list of two options or more; write ["cat", "dog"] or cat|dog'
        )
    try:
        return tuple(without_letter(str(text), letter) for text, letter in zip(texts, LETTERS, strict=False))
    except ValueError as error:
        raise RowError("options that cannot be read", str(error)) from error


def _split(text: str) -> list[str]:
    """The options of a text with a mark between them."""
    mark = next((mark for mark in _BETWEEN if mark in text.strip()), None)
    return (
        [part.strip() for part in text.split(mark) if part.strip()]
        if mark is not None
        else [text.strip()]
        if text.strip()
        else []
    )


def _literal(text: str) -> Any:
    """The value of a JSON text or a Python literal, as pandas writes lists into CSV; ``None`` where it is neither."""
    try:
        return json_text.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None


def _shown(row: Reading) -> Reading:
    """The row with its options in the prompt, as BLINK lists them, unless they stand there already."""
    if not row.options or all(option in row.prompt for option in row.options):
        return row
    note = "options were written into the prompt, as (A) ..."
    return replace(row, prompt=prompt_of(row.prompt, row.options), question=row.prompt, notes=(*row.notes, note))


def _answered(row: Reading, value: Any) -> Reading:
    """The row with its answer: the letter of an option where there are options, else text."""
    if row.options and isinstance(value, int) and not isinstance(value, bool):
        return replace(row, answer=_by_place(value, row.options), notes=(*row.notes, "answers counted from 0 became letters"))
    answers = answers_of(value)
    if not answers:
        raise RowError("no answer", "its answer is empty; write one or drop the row")
    return with_options(replace(row, answer=answers[0], answers=answers if len(answers) > 1 else ()))


def _by_place(place: int, options: Sequence[str]) -> str:
    """The letter of an option that is named by its place, from 0, as ScienceQA and MMLU have it."""
    same = [at for at, option in enumerate(options) if option == str(place)]
    there = 0 <= place < len(options)
    if there and (not same or same == [place]):
        return LETTERS[place]
    if len(same) == 1 and not there:
        return LETTERS[same[0]]
    what = (
        "may be the place or the text of an option" if same else f"is no place of one of {len(options)} options, counted from 0"
    )
    raise RowError("answers that are no option", f"the answer {place} {what}; write the right option's letter")


_TALKS = {"conversations", "conversation", "texts"}
_COLUMNS: tuple[tuple[str, tuple[set[str], ...]], ...] = (
    ("messages", ({"messages"},)),
    ("sharegpt", (_TALKS, {"images", "videos"})),
    ("llava", ({"conversations"}, {"image", "video"})),
    ("sharegpt", (_TALKS,)),
    ("trl", ({"prompt"}, {"completion"})),
    ("alpaca", ({"instruction"}, {"output"})),
    ("alpaca", ({"query"}, {"response"})),
    ("csv", (set(QUESTION), set(ANSWER))),
)
"""Formats by their columns, the first that fits: a row has one column of each set."""


class AnyRows(ImportedRows):
    """Rows whose columns say what format they are; see :func:`layout_of`."""

    def reading(self, row: HubRow, data: QuestionData) -> Reading:
        """See :meth:`ImportedRows.reading`."""
        form = FORMATS.find(layout_of(row, data))
        result: Reading = form.reading(row, data)
        return result


def layout_of(row: HubRow, data: QuestionData) -> str:
    """The name of the format that a row's columns are.

    Raises:
        RowError: of none that is known.
    """
    if data.columns:
        return "csv"
    described = description_of(data)
    if described is not None:
        return "alpaca" if described.formatting == "alpaca" else "sharegpt"
    if isinstance(row.get("options"), list) and {"id", "task", "prompt", "answer"} <= set(row):
        raise RowError("rows of tvt", "it is a question in tvt's own columns already; tvt takes its file as it is")
    there = {str(name).casefold() for name in row if row[name] is not None}
    if (name := next((name for name, needed in _COLUMNS if all(there & one for one in needed)), None)) is not None:
        return name
    columns = ", ".join(map(str, row)) or "no columns"
    step = "name the format with --from, or columns with --question and --answer"
    raise RowError("columns of no known format", f"it has {columns}; {step}")
