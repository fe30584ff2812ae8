"""The formats of datasets by the name that a manifest gives as ``format:``."""

from __future__ import annotations

from collections.abc import Mapping

from tvt.data.hub.blink_rows import BlinkRows
from tvt.data.hub.question_rows import QuestionRows
from tvt.data.hub.row_format import RowFormat
from tvt.data.hub.vsi_rows import VsiRows
from tvt.data.tasks import QuestionData
from tvt.errors import InputError

FORMATS: Mapping[str, RowFormat] = {"questions": QuestionRows(), "blink": BlinkRows(), "vsi-bench": VsiRows()}


def format_of(data: QuestionData) -> RowFormat:
    """The format of a dataset.

    Raises:
        InputError: none that can be read.
    """
    if data.format not in FORMATS:
        raise InputError(f"{data.dataset}: format '{data.format}' cannot be read; there are {', '.join(FORMATS)}")
    return FORMATS[data.format]
