"""The report of ``tvt report``: one HTML file that explains itself and asks nothing of any network."""

from __future__ import annotations

from typing import Any

from tvt.core.values import encode

DIGITS = 5
"""Decimals of the page's figures: more than any is shown with, fewer than would swell the file."""


def short(value: object, digits: int = DIGITS) -> Any:
    """The value as the page's JSON takes it."""
    return encode(value, digits)
