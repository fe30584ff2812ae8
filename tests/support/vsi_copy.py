"""A small VSI-Bench in the layout of its repository on the hub, its ZIP files unpacked: one parquet file, videos by dataset.

Columns and their types are those of ``nyu-visionx/VSI-Bench`` (split ``test``, 5,130 rows); questions and videos are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import numbered_video

NAME = "nyu-visionx/VSI-Bench"
NUMBERS = ("object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation")
DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
CHOICES = (*DIRECTIONS, "object_rel_distance", "route_planning", "obj_appearance_order")
SCENES = (("arkitscenes", "41069025"), ("scannet", "scene0011_00"), ("scannetpp", "09c1414f1b"))
FRAMES = (40, 30, 20)
"""Frames of each scene's video."""
Row = dict[str, Any]
Change = Callable[[list[Row]], list[Row]]

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        *((name, pa.string()) for name in ("dataset", "scene_name", "question_type", "question", "ground_truth")),
        ("options", pa.list_(pa.string())),
    ]
)


def rows(each: int = 3) -> list[Row]:
    """``each`` rows of every type of question, over the scenes in turn."""
    found: list[Row] = []
    for kind in (*NUMBERS, *CHOICES):
        for k in range(each):
            dataset, scene = SCENES[k % len(SCENES)]
            count = 2 + (kind != DIRECTIONS[0]) + (kind not in DIRECTIONS[:2])
            options = [f"{'ABCD'[n]}. thing {n} of {k}" for n in range(count)]
            found.append(
                {
                    "id": len(found),
                    "dataset": dataset,
                    "scene_name": scene,
                    "question_type": kind,
                    "question": f"Question {k} of {kind}?",
                    "ground_truth": str((k * k + 1) * 1.5) if kind in NUMBERS else "ABCD"[k % count],
                    "options": None if kind in NUMBERS else options,
                }
            )
    return found


def write_copy(folder: Path, each: int = 3, change: Change = lambda rows: rows, *, codec: str = "libx264") -> Path:
    """Write the whole dataset.

    Args:
        folder: the copy's folder.
        each: questions of a type.
        change: makes the rows other than they should be.
        codec: of the videos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(change(rows(each)), SCHEMA), folder / "test-00000-of-00001.parquet")
    for k, (dataset, scene) in enumerate(SCENES):
        numbered_video.write(folder / dataset / f"{scene}.mp4", FRAMES[k], codec=codec, tint=(60 * k, 200, 40))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# VSI-Bench\n")
    return folder
