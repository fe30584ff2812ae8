"""A contact sheet of questions: their images, what is asked, the options, and which is right, as one PNG to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tvt.core.task import LETTERS, Question
from tvt.model.picture import PictureError, decode

COLUMNS = 3
CELL = 560
"""Width of a question in pixels."""
MARGIN = 16
TALLEST = 300
"""Images of a question are at most so tall; several stand side by side, two in a row."""
TEXT = 17
MOST_LINES = 7
"""A longer question is cut."""
INK, FAINT, PAPER, RIGHT = (28, 30, 34), (110, 114, 122), (255, 255, 255), (0, 128, 66)
_LINE = round(TEXT * 1.4)


@dataclass(frozen=True)
class _Line:
    text: str
    colour: tuple[int, int, int]
    bold: bool = False


def contact_sheet(questions: Sequence[Question], title: str, columns: int = COLUMNS) -> Image.Image:
    """Draw questions as a sheet.

    Args:
        questions: what to show, in reading order.
        title: above the sheet.
        columns: how many stand side by side.
    """
    cells = [_cell(question) for question in questions]
    columns = max(1, min(columns, len(cells)))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    head = 2 * MARGIN + 2 * TEXT
    sheet = Image.new("RGB", (columns * (CELL + MARGIN) + MARGIN, head + sum(heights) + MARGIN * (len(rows) + 1)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, _font(round(TEXT * 1.4), bold=True))
    top = head
    for row, height in zip(rows, heights, strict=True):
        draw.line((MARGIN, top - MARGIN // 2, sheet.width - MARGIN, top - MARGIN // 2), (222, 224, 228))
        for place, cell in enumerate(row):
            sheet.paste(cell, (MARGIN + place * (CELL + MARGIN), top))
        top += height + MARGIN
    return sheet


def as_png(sheet: Image.Image) -> bytes:
    """The sheet as a file."""
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _cell(question: Question) -> Image.Image:
    picture = _pictures(question.images)
    lines = _lines(question)
    cell = Image.new("RGB", (CELL, picture.height + MARGIN // 2 + _LINE * len(lines)), PAPER)
    cell.paste(picture, (0, 0))
    draw = ImageDraw.Draw(cell)
    for place, line in enumerate(lines):
        top = picture.height + MARGIN // 2 + place * _LINE
        draw.text((0, top), line.text, line.colour, _font(TEXT, bold=line.bold))
    return cell


def _pictures(images: Sequence[bytes]) -> Image.Image:
    """The images of a question, in rows of two; one that cannot be read is a crossed box."""
    side = 1 if len(images) == 1 else 2
    width = (CELL - (side - 1) * MARGIN // 2) // side
    small = [_small(data, width) for data in images]
    rows = [small[start : start + side] for start in range(0, len(small), side)]
    height = sum(max(image.height for image in row) + MARGIN // 2 for row in rows)
    found = Image.new("RGB", (CELL, height), PAPER)
    top = 0
    for row in rows:
        for place, image in enumerate(row):
            found.paste(image, (place * (width + MARGIN // 2), top))
        top += max(image.height for image in row) + MARGIN // 2
    return found


def _small(data: bytes, width: int) -> Image.Image:
    try:
        decoded = decode(data)
    except PictureError:  # the sheet shows that there is no image
        broken = Image.new("RGB", (width, TALLEST // 2), (240, 240, 240))
        ImageDraw.Draw(broken).line((0, 0, width, TALLEST // 2), (200, 0, 0), 3)
        return broken
    scale = min(width / decoded.width, TALLEST / decoded.height)
    size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
    return decoded.resize(size, Image.Resampling.LANCZOS)


def _lines(question: Question) -> list[_Line]:
    asked = _wrapped(" ".join((question.question or question.prompt).split()))
    if len(asked) > MOST_LINES:
        asked = [*asked[: MOST_LINES - 1], asked[MOST_LINES - 1].rstrip(" .") + " …"]
    lines = [_Line(question.id, FAINT), *(_Line(text, INK) for text in asked)]
    if question.numeric:
        return [*lines, _Line(f"answer: {question.answer}", RIGHT, bold=True)]
    for letter, option in zip(LETTERS, question.options, strict=False):
        right = letter == question.answer
        first, *rest = _wrapped(f"({letter}) {option}" + "  ✓" * right, bold=right)
        lines += [_Line(text, RIGHT if right else INK, right) for text in (first, *rest)]
    return lines


def _wrapped(text: str, *, bold: bool = False) -> list[str]:
    """A text in lines that fit a cell; a word that does not is cut."""
    font = _font(TEXT, bold=bold)
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= CELL:
            lines[-1] = longer
            continue
        while font.getlength(word) > CELL:
            word = word[: max(1, len(word) * 3 // 4)]  # noqa: PLW2901
        lines.append(word)
    return [line for line in lines if line] or [""]


@cache
def _font(size: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings and which has the letters of most alphabets."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
