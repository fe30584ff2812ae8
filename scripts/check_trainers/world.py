"""The mixture that every trainer is given: all that has gone wrong in one of them, in forty rows of the miniature world."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tvt.core.mixture import Audit, Mixture, SolverRecord
from tvt.core.question import Question, Turn
from tvt.data.miniature import generate
from tvt.data.questions.files import write_jsonl
from tvt.io.yaml_files import save_mixture

COUNTS = {"Counting, #1": 12, "Ähnlichkeit 相似": 9, "Text only": 6, "Pictures of all kinds": 8, "Conversations": 5}
"""The first has five rows, so that it is used twice and a half."""
TASKS = ("Counting", "Relative_Depth", "Spatial_Relation", "Object_Localization", "Nearest_Post")


def write_world(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write the mixture and the rows of its sources, in files with odd names; returns their paths."""
    (folder / "rows é [x]").mkdir(parents=True)
    data = {}
    for number, (name, rows) in enumerate(zip(COUNTS, _sources(), strict=True)):
        data[name] = folder / "rows é [x]" / f"source #{number}, ünd so.jsonl"
        write_jsonl([replace(row, id=f"{row.id}/{index}", task=name) for index, row in enumerate(rows)], data[name])
    total = sum(COUNTS.values())
    mixture = Mixture(
        objective=0.1,
        weights={name: count / total for name, count in COUNTS.items()},
        counts=dict(COUNTS),
        budget=total,
        predicted={},
        prices={},
        audit=Audit(passed=True, worst_violation=0.0),
        solver=SolverRecord(name="CLARABEL", status="optimal", seconds=0.0),
    )
    path = folder / "mixture.yaml"
    save_mixture(mixture, path)
    return path, data


def _sources() -> Iterator[list[Question]]:
    drawn = [list(generate(task, 10, seed=3, split="train")) for task in TASKS]
    yield [_asked(row, f"{row.prompt} ({index})") for index, row in enumerate(drawn[0][:5])]
    several = zip(drawn[1], drawn[2], drawn[3], strict=True)
    yield [
        replace(
            _asked(a, f"Welches Bild ist näher? 哪个更近？ «{index}»\u2028 A. eins\nB. zwei ✓"),
            images=(*a.images, *b.images, *c.images),
        )
        for index, (a, b, c) in enumerate(several)
    ]
    yield [
        replace(_asked(row, f"Is {index} < {index + 1}? Say A or B. {{{{x}}}} <b>"), images=())
        for index, row in enumerate(drawn[2])
    ]
    pictures = zip(drawn[3], _pictures(), strict=False)
    yield [replace(_asked(row, f"{row.prompt} [{index}]"), images=(picture,)) for index, (row, picture) in enumerate(pictures)]
    yield [
        replace(
            _asked(row, f"And now, {index}? A or B"), turns=(Turn("What is it?", "A post — ✓"), Turn("Which colour?", "red"))
        )
        for index, row in enumerate(drawn[4][:5])
    ]


def _asked(row: Question, prompt: str) -> Question:
    return replace(row, prompt=prompt)


def _pictures() -> Iterator[bytes]:
    """Pictures that trainers open each in its own way."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((90, 60))
    colours = Image.merge("RGB", (ramp, ramp.rotate(180), ramp))
    turned: Any = Image.Exif()
    turned[0x0112] = 6
    faded = colours.convert("RGBA")
    faded.putalpha(ramp)
    yield _encoded(colours, "PNG")
    yield _encoded(colours, "JPEG", exif=turned.tobytes())
    yield _encoded(faded, "PNG")
    yield _encoded(ramp.convert("I;16").point(lambda value: value * 257), "PNG")
    yield _encoded(colours.quantize(8), "GIF")
    yield _encoded(colours.resize((900, 500)), "PNG")
    yield _encoded(colours.resize((30, 140)), "PNG")
    yield _encoded(ramp, "PNG")


def _encoded(picture: Any, kind: str, **more: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()
