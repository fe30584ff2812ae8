"""One look for all plots: colours that colour-blind readers can tell apart, plain axes, and files that are reproducible."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from tvt.errors import InputError
from tvt.io import atomic

HELP = "#0072B2"
"""Blue: positive transfer (Okabe and Ito's palette)."""
HARM = "#D55E00"
"""Vermillion: negative transfer."""
PALE_HELP = "#CFE3F1"
PALE_HARM = "#F8DCC8"
INK = "#222222"
GREY = "#8A8A8A"
PALE = "#E4E4E4"
DIVERGING = "RdBu"
"""Red to blue through white, safe for the common kinds of colour blindness."""
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 200
FORMATS = ("svg", "png")

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # task names may hold dollar signs
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "tvt",  # else every drawing of the same figures is another file
    "figure.facecolor": "white",
}


def styled() -> AbstractContextManager[None]:
    """Context in which figures are drawn and saved."""
    context: AbstractContextManager[None] = rc_context(_RC)
    return context


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, atomically; call inside :func:`styled`.

    Returns:
        The files.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = []
    for suffix in FORMATS:
        data = io.BytesIO()
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        figure.savefig(data, format=suffix, dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata=metadata)
        path = folder / f"{slug(name)}.{suffix}"
        try:
            atomic.write_bytes(path, data.getvalue())
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; name another folder for the plots") from error
        paths.append(path)
    return paths


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "study"


def draw(make: Callable[[], Figure], folder: Path, name: str) -> list[Path]:
    """Make and save a figure in the common style."""
    with styled():
        return save(make(), folder, name)
