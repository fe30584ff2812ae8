"""Tasks and rows for people: what ``tvt tasks`` and ``tvt data`` say, the sources of a mixed dataset, and a sheet of questions
with their pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.table import Table
from rich.text import Text

from tvt.core.choices import METRICS
from tvt.core.question import LETTERS, Question
from tvt.data.dataset_check import DataFinding, DatasetReport
from tvt.data.questions.batches import image_size
from tvt.data.task_data import RowsHere
from tvt.data.tasks import QuestionData, TaskManifest, TrainingSource
from tvt.model.picture import PictureError, decode
from tvt.report.style import MISSING, TABLE

MOST_SHOWN = 5
"""Findings of one kind that are printed; ``--json`` has all."""


def build_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What was built, in a few lines."""
    units, answers = record["units"], record["answers"]
    validation = f" and {record['validation']:,} for validation" if record["validation"] else ""
    yield (
        f"{record['task']} from {record['source']['name']} (layout {record['layout']}, builder version "
        f"{record['builder_version']}, seed {record['seed']}): {record['rows']:,} rows{validation}"
    )
    yield "right answers: " + ", ".join(f"{letter} {count:,}" for letter, count in answers.items())
    unfit = sum(units["unfit"].values())
    yield f"units: {units['listed']:,} listed, {units['tried']:,} tried, {unfit:,} unfit" + ":" * bool(unfit)
    for reason, count in units["unfit"].items():
        yield f"  {count:,} {reason}"
    if record["excluded"]["images"]:
        yield f"kept clear of {record['excluded']['images']:,} images"
    yield f"licence: {record['source']['licence']}"


def check_table(report: DatasetReport) -> Table:
    """The findings of a file; of many of one kind the first and how many more there are."""
    table = Table(**TABLE)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("where and what to do", overflow="fold")
    for finding in _shortened(report):
        colour = "red" if finding.fault else "yellow"
        where = finding.message.removeprefix(f"{report.path}: ").removeprefix(f"{report.path}:")
        table.add_row(Text("fault" if finding.fault else "warning", style=colour), finding.kind, Text(where))
    return table


def check_line(report: DatasetReport) -> str:
    """The sum of it, in a line."""
    faults, warnings = len(report.faults), len(report.warnings)
    parts = [f"{faults:,} fault{'s' * (faults != 1)}"] if faults else ["no faults"]
    parts += [f"{warnings:,} warning{'s' * (warnings != 1)}"] if warnings else []
    letters = ", ".join(f"{letter} {count:,}" for letter, count in report.answers.items())
    answers = f" (right answers: {letters})" * bool(letters)
    kinds = " and ".join(f"{count:,} by {METRICS.find(name).label}" for name, count in report.metrics.items())
    answers += f" (open-ended, scored {kinds})" * bool(kinds)
    return f"{report.path}: {report.rows:,} rows{answers}, {', '.join(parts)}"


def check_record(report: DatasetReport) -> dict[str, Any]:
    """A file's report for ``--json``."""
    return {
        "path": str(report.path),
        "rows": report.rows,
        "answers": dict(report.answers),
        **({"metrics": dict(report.metrics)} if report.metrics else {}),
        "faults": _records(report.faults),
        "warnings": _records(report.warnings),
    }


def _records(findings: Sequence[DataFinding]) -> list[dict[str, str]]:
    return [{"kind": finding.kind, "message": finding.message} for finding in findings]


def _shortened(report: DatasetReport) -> Iterator[DataFinding]:
    ordered = sorted(report.findings, key=lambda finding: (not finding.fault, finding.kind))
    for (fault, kind), group in groupby(ordered, key=lambda finding: (finding.fault, finding.kind)):
        findings = list(group)
        yield from findings[:MOST_SHOWN]
        if len(findings) > MOST_SHOWN:
            yield DataFinding(kind, f"and {len(findings) - MOST_SHOWN:,} more; --json lists all", fault)


MANY_EPOCHS = 4
"""Repeats beyond this are worth little more (Muennighoff et al., 2023), and a person should know of them."""


def sources_table(sources: dict[str, dict[str, Any]], rows: int, seed: int) -> Table:
    """Weight, examples, rows available and epochs of each source, most examples first."""
    table = Table(title=f"{rows:,} rows, seed {seed}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("source", overflow="fold")
    names = ["weight", "examples", "available", "epochs"]
    left_out = any(figures["left_out"] for figures in sources.values())
    for name in [*names, "left out"] if left_out else names:
        table.add_column(name, justify="right", no_wrap=True)
    for source, figures in sorted(sources.items(), key=lambda item: (-item[1]["examples"], item[0])):
        cells = [
            f"{figures['weight']:.1%}",
            f"{figures['examples']:,}",
            f"{figures['available']:,}",
            f"{figures['epochs']:.2f}",
        ]
        table.add_row(Text(source), *cells, *([f"{figures['left_out']:,}"] if left_out else []))
    return table


def epoch_notes(sources: dict[str, dict[str, Any]]) -> list[str]:
    """Sources whose rows come so often that more rows or a smaller share would do more."""
    return [
        f"{name}: {figures['available']:,} rows, each used {figures['epochs']:.1f} times; more rows, or tvt select "
        "with --max-epochs, would do more than repeats"
        for name, figures in sources.items()
        if figures["epochs"] > MANY_EPOCHS
    ]


def preview_record(place: int, source: str, number: int, question: Question) -> dict[str, Any]:
    """One row of a preview as plain values; ``images`` are their sizes in pixels, or what is wrong with them."""
    return {
        "place": place,
        "source": source,
        "pass": number,
        "id": question.id,
        "images": [_size(image) for image in question.images],
        "prompt": question.prompt,
        "options": list(question.options),
        "answer": question.answer,
    }


def _size(image: bytes) -> list[int] | str:
    try:
        return list(image_size(image))
    except PictureError as error:
        return str(error)


def _clean(text: str) -> str:
    """Text without control characters, which could do anything to a terminal."""
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def preview_text(record: dict[str, Any]) -> Text:
    """One row of a preview for reading: where it is from, its images, the prompt, the options with the answer marked."""
    again = f", pass {record['pass'] + 1}" if record["pass"] else ""
    text = Text()
    text.append(f"{record['place'] + 1}. {_clean(record['source'])}", style="bold")
    text.append(f"  {_clean(record['id'])}{again}\n", style="dim")
    sizes = [size if isinstance(size, str) else f"{size[0]}×{size[1]}" for size in record["images"]]
    text.append(f"   {_count(len(sizes))}{': ' if sizes else ''}{', '.join(sizes)}\n", style="cyan")
    for line in record["prompt"].splitlines():
        text.append(f"   {_clean(line)}\n")
    in_prompt = all(option in record["prompt"] for option in record["options"])  # then once is enough
    for letter, option in zip(LETTERS, record["options"], strict=False):
        right = letter == record["answer"]
        if right or not in_prompt:
            text.append(f"   {'→' if right else ' '} {letter}. {_clean(option)}\n", style="green" if right else "")
    return text


def _count(images: int) -> str:
    return "no image" if images == 0 else "1 image" if images == 1 else f"{images} images"


def tasks_table(manifests: Mapping[str, TaskManifest], here: Mapping[str, RowsHere]) -> Table:
    """All tasks, one a row."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for head in ("task", "", "level", "grain"):
        table.add_column(head, no_wrap=True)
    for head in ("options", "scored"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("built from", overflow="fold")
    table.add_column("rows here", justify="right", no_wrap=True)
    for name, manifest in manifests.items():
        rows = here[name]
        table.add_row(
            Text(name, style="dim" if manifest.left_out else ""),
            manifest.abbreviation or "",
            manifest.level or MISSING,
            manifest.granularity or MISSING,
            str(manifest.options or MISSING),
            _questions(manifest.evaluation),
            ", ".join(rows.layouts) or MISSING,
            f"{rows.rows:,}" if rows.rows is not None else "yes" if rows.where else MISSING,
        )
    return table


def tasks_notes(manifests: Mapping[str, TaskManifest], here: Mapping[str, RowsHere]) -> Iterator[str]:
    """What the table does not say."""
    left_out = [name for name, manifest in manifests.items() if manifest.left_out]
    if left_out:
        yield f"left out of the paper's study: {', '.join(left_out)}"
    buildable = [name for name, rows in here.items() if rows.where is None and rows.layouts]
    if buildable:
        yield f"tvt tasks show {buildable[0]} says how its rows are built, and from what"


def task_lines(manifest: TaskManifest, here: RowsHere) -> Iterator[tuple[str, str]]:
    """Everything that is known of a task but its sources: (what, its value)."""
    yield "task", f"{manifest.name}" + f" ({manifest.abbreviation})" * bool(manifest.abbreviation)
    yield "benchmark", manifest.benchmark or ""
    yield "left out", manifest.left_out or ""
    yield "level", manifest.level or ""
    yield "granularity", manifest.granularity or ""
    yield "says who", manifest.classification_source or ""
    yield "options", str(manifest.options or "")
    yield "metric", manifest.scored_by
    yield "ceiling", f"{manifest.ceiling:.0%}"
    yield "people", f"{manifest.human:.1%}, the ceiling with --ceiling human" if manifest.human is not None else ""
    yield "people's source", manifest.human_source or ""
    for part in ("training", "evaluation", "report"):
        yield part, _place(getattr(manifest, part))
    yield "rows here", _here(here)


def source_lines(source: TrainingSource, files: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """A source of raw data: (what, its value)."""
    stands_in = " (a substitute for BLINK's own source)" * source.substitute
    yield "source", f"{source.name}{stands_in}"
    yield "layout", source.layout
    yield "get it from", source.url
    yield "revision", source.revision
    yield "licence", source.licence
    yield "files", ", ".join(files)
    yield "note", source.note or ""


def lines_table(lines: Iterator[tuple[str, str]]) -> Table:
    """Pairs as two columns; what has no value is left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold", min_width=11)
    table.add_column(overflow="fold")
    for what, value in lines:
        if value:
            table.add_row(what, Text(value))
    return table


def task_record(manifest: TaskManifest, here: RowsHere, commands: list[str]) -> dict[str, Any]:
    """A task for ``--json``: its manifest, the rows that are here, and the commands that build them."""
    return {
        **manifest.model_dump(mode="json", exclude_none=True),
        "rows_here": {"where": here.where, "rows": here.rows},
        "layouts": list(here.layouts),
        "commands": commands,
    }


def _questions(data: QuestionData | None) -> str:
    count = None if data is None else data.limit if data.harness is not None else data.questions
    return f"{count:,}" if count is not None else MISSING


def _place(data: QuestionData | None) -> str:
    """Where questions are, in a line."""
    if data is None:
        return ""
    if data.harness is not None:
        lines = [f"{data.harness}'s task {data.task}", f"score {data.score}" if data.score else ""]
        lines += [f"{data.limit:,} questions" if data.limit else "", f"from {data.include_path}" if data.include_path else ""]
        return ", ".join(filter(None, lines))
    lines = [data.path or " ".join(filter(None, (data.dataset, data.config)))]
    lines += [f"split {data.split}"] if data.dataset is not None else []
    lines += [f"{column} = {value}" for column, value in data.where.items()]
    lines += [f"{data.questions:,} questions"] if data.questions is not None else []
    lines += [f"revision {data.revision}"] if data.revision is not None else []
    lines += [f"read from {data.folder}"] if data.folder is not None else []
    return ", ".join(lines)


def _here(here: RowsHere) -> str:
    if here.where is None:
        return "none"
    return f"{here.rows:,} in {here.where}" if here.rows is not None else here.where


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
    result = Image.new("RGB", (CELL, height), PAPER)
    top = 0
    for row in rows:
        for place, image in enumerate(row):
            result.paste(image, (place * (width + MARGIN // 2), top))
        top += max(image.height for image in row) + MARGIN // 2
    return result


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
    asked = _clipped(question.question or question.prompt)
    turns = [_Line(line, FAINT) for turn in question.turns for text in turn for line in _clipped(text, max(1, MOST_LINES // 2))]
    lines = [_Line(question.id, FAINT), *turns, *(_Line(text, INK) for text in asked)]
    if question.open_ended:
        return [*lines, *_answer_lines(question)]
    for letter, option in zip(LETTERS, question.options, strict=False):
        right = letter == question.answer
        first, *rest = _wrapped(f"({letter}) {option}" + "  ✓" * right, bold=right)
        lines += [_Line(text, RIGHT if right else INK, right) for text in (first, *rest)]
    return lines


def _answer_lines(question: Question) -> list[_Line]:
    """The answer to an open-ended question, and what else is accepted."""
    others = [text for text in dict.fromkeys(question.accepted) if text != question.answer]
    lines = [
        _Line(line, RIGHT, bold=True)
        for line in _clipped(f"answer ({METRICS.find(question.scored_by).label}): {question.answer}", bold=True)
    ]
    return [*lines, *(_Line(line, RIGHT) for line in _clipped(f"or: {' | '.join(others)}") if others)]


def _clipped(text: str, most: int = MOST_LINES, *, bold: bool = False) -> list[str]:
    """A text in few lines that fit a cell; what is more is cut."""
    lines = _wrapped(" ".join(text.split()), bold=bold)
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1].rstrip(" .") + " …"]


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
