"""Printed texts, as tests compare them."""

from __future__ import annotations


def flat(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())
