"""``answers.json`` of a study folder: how the answers behind ``scores.csv`` are spread, and what is odd about the questions.

A file of its own, so that ``scores.csv`` stays what every version reads. Studies that tvt did not measure have none.
"""

from __future__ import annotations

import json
from pathlib import Path

from tvt.core.answer_statistics import AnswerReport
from tvt.errors import InputError
from tvt.io import atomic

ANSWERS_FILE = "answers.json"
SCHEMA = 1


def write_answer_file(folder: Path, report: AnswerReport) -> None:
    """Write ``answers.json``."""
    atomic.write_text(
        folder / ANSWERS_FILE, json.dumps({"schema": SCHEMA, **report.dump()}, indent=1, ensure_ascii=False) + "\n"
    )


def read_answer_file(folder: Path) -> AnswerReport | None:
    """Read ``answers.json``; ``None`` where there is none.

    Raises:
        InputError: it is damaged, or of another version.
    """
    path = folder / ANSWERS_FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read; delete it, and tvt study run writes it anew") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise InputError(f"{path}: written by another version of tvt; delete it, and tvt study run writes it anew")
    try:
        return AnswerReport.load(told)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; delete it, and tvt study run writes it anew") from error
