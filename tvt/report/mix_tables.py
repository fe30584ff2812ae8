"""A mixed dataset in the terminal: its sources, and rows as a person would want to see them."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tvt.core.question import LETTERS, Question
from tvt.data.questions.image_bytes import image_size
from tvt.model.picture import PictureError

MANY_EPOCHS = 4
"""Repeats beyond this are worth little more (Muennighoff et al., 2023), and a person should know of them."""


def sources_table(sources: dict[str, dict[str, Any]], rows: int, seed: int) -> Table:
    """Weight, examples, rows available and epochs of each source, most examples first."""
    table = Table(title=f"{rows:,} rows, seed {seed}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("source", overflow="fold")
    names = ["weight", "examples", "available", "epochs"]
    left_out = any(told["left_out"] for told in sources.values())
    for name in [*names, "left out"] if left_out else names:
        table.add_column(name, justify="right", no_wrap=True)
    for source, told in sorted(sources.items(), key=lambda item: (-item[1]["examples"], item[0])):
        cells = [f"{told['weight']:.1%}", f"{told['examples']:,}", f"{told['available']:,}", f"{told['epochs']:.2f}"]
        table.add_row(Text(source), *cells, *([f"{told['left_out']:,}"] if left_out else []))
    return table


def epoch_notes(sources: dict[str, dict[str, Any]]) -> list[str]:
    """Sources whose rows come so often that more rows or a smaller share would do more."""
    return [
        f"{name}: {told['available']:,} rows, each used {told['epochs']:.1f} times; more rows, or tvt select "
        "with --max-epochs, would do more than repeats"
        for name, told in sources.items()
        if told["epochs"] > MANY_EPOCHS
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
    told = all(option in record["prompt"] for option in record["options"])  # then once is enough
    for letter, option in zip(LETTERS, record["options"], strict=False):
        right = letter == record["answer"]
        if right or not told:
            text.append(f"   {'→' if right else ' '} {letter}. {_clean(option)}\n", style="green" if right else "")
    return text


def _count(images: int) -> str:
    return "no image" if images == 0 else "1 image" if images == 1 else f"{images} images"
