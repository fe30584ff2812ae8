"""A small BLINK in the layout of its repository on the hub: 14 configurations, two splits, README, images inside parquet.

Layout, columns and their order are those of ``BLINK-Benchmark/BLINK`` (README.md as of commit 74519cd); questions are drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from tvt.core.question import LETTERS, Question
from tvt.data.questions.files import write_jsonl, write_parquet

NAME = "BLINK-Benchmark/BLINK"
SHAPES = {
    "Art_Style": (3, 2),
    "Counting": (1, 4),
    "Forensic_Detection": (4, 4),
    "Functional_Correspondence": (2, 4),
    "IQ_Test": (1, 4),
    "Jigsaw": (3, 2),
    "Multi-view_Reasoning": (2, 2),
    "Object_Localization": (1, 2),
    "Relative_Depth": (1, 2),
    "Relative_Reflectance": (1, 3),
    "Semantic_Correspondence": (2, 4),
    "Spatial_Relation": (1, 2),
    "Visual_Correspondence": (2, 4),
    "Visual_Similarity": (3, 2),
}
"""Images and options of a question, by configuration."""
TASKS = tuple(name for name in SHAPES if name != "IQ_Test")
_TEXTS = ("idx", "question", "sub_task", "answer", "prompt", "explanation")
_IMAGES = ("image_1", "image_2", "image_3", "image_4")
COLUMNS = ("idx", "question", "sub_task", *_IMAGES, "choices", "answer", "prompt", "explanation")
Row = dict[str, Any]
Change = Callable[[str, str, list[Row]], list[Row]]
"""Takes configuration, split and rows, and gives the rows to write."""


def picture(seed: int, *, jpeg: bool = False, size: int = 28) -> bytes:
    """A small picture of its own."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG" if jpeg else "PNG")
    return stream.getvalue()


def rows(config: str, split: str, count: int) -> list[Row]:
    """Rows as the hub has them; the answers of ``test`` are hidden."""
    images, options = SHAPES[config]
    start = 1_000_000 * list(SHAPES).index(config) + (500_000 if split == "test" else 0)
    found = []
    for k in range(count):
        choices = [f"choice {letter} of {k}" for letter in LETTERS[:options]]
        listed = "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
        question = f"Which one is it, question {k} of {config}?"
        pictures = [picture(start + 10 * k + n, jpeg=n % 2 == 1) for n in range(images)]
        found.append(
            {
                "idx": f"{split}_{config}_{k + 1}",
                "question": question,
                "sub_task": config,
                **{name: {"bytes": pictures[n], "path": None} if n < images else None for n, name in enumerate(_IMAGES)},
                "choices": choices,
                "answer": f"({LETTERS[k % options]})" if split == "val" else "hidden",
                "prompt": f"{question}\nSelect from the following choices.\n{listed}",
                "explanation": "",
            }
        )
    return found


def schema() -> pa.Schema:
    """The columns, without what ``datasets`` writes beside them: README.md says what they are."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_IMAGES, image), "choices": pa.list_(pa.string())}
    return pa.schema([(name, kinds[name]) for name in COLUMNS])


def write_copy(folder: Path, count: int = 3, change: Change = lambda _config, _split, rows: rows) -> Path:
    """Write the whole dataset.

    Args:
        folder: the copy's folder.
        count: questions of a split.
        change: makes the rows other than they should be.
    """
    for config in SHAPES:
        for split in ("val", "test"):
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(change(config, split, rows(config, split, count)), schema()), path)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card(count), sort_keys=False)}---\n# BLINK\n")
    return folder


def card(count: int) -> dict[str, Any]:
    """The head of README.md."""
    features = [
        *({"name": name, "dtype": "string"} for name in ("idx", "question", "sub_task")),
        *({"name": name, "dtype": "image"} for name in _IMAGES),
        {"name": "choices", "sequence": "string"},
        *({"name": name, "dtype": "string"} for name in ("answer", "prompt", "explanation")),
    ]
    splits = [{"name": split, "num_bytes": 1, "num_examples": count} for split in ("val", "test")]
    told = {"features": features, "splits": splits, "download_size": 1, "dataset_size": 1}
    return {
        "license": "apache-2.0",
        "dataset_info": [{"config_name": config, **told} for config in SHAPES],
        "configs": [
            {"config_name": config, "data_files": [{"split": s, "path": f"{config}/{s}-*"} for s in ("val", "test")]}
            for config in SHAPES
        ],
    }


def write_training(folder: Path, count: int = 8) -> Path:
    """Training rows of the 13 tasks as ``Task.parquet``, or ``Task.jsonl`` for every third."""
    for k, task in enumerate(TASKS):
        images, options = SHAPES[task]
        found = [
            Question(
                id=f"train-{n}",
                task=task,
                prompt=f"Which one is it, row {n}?\nSelect from the following choices.\n"
                + "\n".join(f"({letter}) choice {letter}" for letter in LETTERS[:options]),
                options=tuple(f"choice {letter}" for letter in LETTERS[:options]),
                answer=LETTERS[n % options],
                images=tuple(picture(50_000_000 + 1000 * k + 10 * n + m) for m in range(images)),
            )
            for n in range(count)
        ]
        if k % 3:
            write_parquet(found, folder / f"{task}.parquet")
        else:
            write_jsonl(found, folder / f"{task}.jsonl")
    return folder
