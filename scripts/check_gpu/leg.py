"""A leg: something measured, and what it must come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Result = Literal["PASS", "MISS", "not run"]
PACKAGES = {"PIL": "pillow", "yaml": "pyyaml", "flash_attn": "flash-attn"}
"""What pip installs a module by, where that has another name."""
TVT = ("numpy", "PIL", "pydantic", "yaml", "jinja2")
"""What all of tvt's own code for training and scoring needs beside torch."""
SCORING = (*TVT, "torch", "transformers", "peft")
TRAINING = (*SCORING, "pyarrow", "datasets", "accelerate", "trl")


class NotRunError(Exception):
    """A leg cannot be run here; the text says why."""


@dataclass(frozen=True)
class Expectation:
    """What was expected, and what was found."""

    expected: str
    found: Any
    ok: bool


@dataclass
class Bench:
    """Where a leg works, and what it finds."""

    folder: Path
    """Of the leg's own; removed afterwards."""
    model: Path
    """A Qwen2.5-VL with random weights, with its processor."""
    small: bool
    """Whether it is tiny."""
    gpu: bool
    expectations: list[Expectation] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def expect(self, expected: str, found: Any, ok: bool) -> None:
        """State what is expected, and whether what was found is that."""
        self.expectations.append(Expectation(expected, found, bool(ok)))

    def figure(self, **figures: Any) -> None:
        """Add measured figures; a name says its unit."""
        self.figures |= {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}

    def left_out(self, what: str) -> None:
        """Say that a part of the leg is not run, and why."""
        self.notes.append(f"not run: {what}")

    def record(self) -> dict[str, Any]:
        """All that was found, as plain values; a leg that expects nothing has missed its purpose."""
        met = bool(self.expectations) and all(one.ok for one in self.expectations)
        return {
            "result": "PASS" if met else "MISS",
            "expectations": [asdict(one) for one in self.expectations],
            "figures": self.figures,
            "notes": self.notes,
        }


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One check, run in a process of its own."""

    name: str
    what: str
    """In a few words, for people."""
    run: Callable[[Bench], None]
    needs: tuple[str, ...] = TRAINING
    """Modules without which it is not run."""
    seconds: float = 90
    """Its time limit on a GPU."""
    gpu: bool = False
    """Whether it says nothing without a GPU."""
    whole: bool = False
    """Whether it says nothing of a tiny model."""
    alone: bool = False
    """Whether nothing else may run beside it: it compares times, or takes all memory."""
    model: bool = True
    """Whether it needs the model that is made first."""


def load(*modules: str) -> None:
    """Import modules; one that is there and does not load is reported by its own error.

    Raises:
        NotRunError: some are not installed.
    """
    missing = [package(module) for module in modules if find_spec(module) is None]
    if missing:
        raise NotRunError(f"{', '.join(missing)} missing")
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise NotRunError(f"{package(error.name or module)} missing") from error


def package(module: str | None) -> str:
    """What pip installs a module by."""
    top = (module or "a package").partition(".")[0]
    return PACKAGES.get(top, top)
