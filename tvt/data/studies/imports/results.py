"""Results of other programs as values, and the CSV study that they make together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tvt.core.scores import BASE
from tvt.data.studies.score_rows import base_step
from tvt.errors import InputError, suggest


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model's accuracy on one target, as a program wrote it."""

    source: str
    target: str
    accuracy: float
    """A fraction, or a percentage where any model has more than 1 on the target."""
    origin: Path
    run: str = "run_0"
    total: int | None = None
    """Of how many questions; ``None`` where nobody says."""
    hits: Mapping[str, float] | None = None
    """What each question earned, by the program's own id."""
    when: str = ""
    """When it was written, for choosing the last of several."""
    adapter: bool = False
    """Whether the program says that an adapter was loaded."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A CSV study, and notes of what was left out or supposed."""

    text: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...]


Reader = Callable[[Path], tuple[list[Result], list[str]]]
"""The results below a folder or in a file, and notes."""


def study_of(results: Sequence[Result], notes: Iterable[str], base: str | None) -> Imported:
    """The CSV study of some results.

    Args:
        results: of all models.
        notes: from their reading.
        base: the base model among their sources; ``None`` takes the one called ``base``, or the only one without an adapter.

    Raises:
        InputError: no results, no base model among them, or accuracies that are none.
    """
    if not results:
        raise InputError("no results there; name the folder that the program wrote, or say what it is with --from")
    results, replaced = _last(results)
    results = _units(results)
    name = _base(results, base)
    if {result.source for result in results} == {name}:
        raise InputError(f"only the base model '{name}' has results; add those of finetuned models")
    results = [replace(r, source=BASE) if r.source == name else r for r in results]
    first = {r.target: r.hits for r in results if r.source == BASE}
    rows = [_row(r, first.get(r.target)) for r in results]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["run", "source", "target", "accuracy", "total", "both_correct"])
    writer.writerows(rows)
    sources = tuple(dict.fromkeys(r.source for r in results if r.source != BASE))
    supposed = [] if name == BASE or base else [f"the base model is '{name}', the only one without an adapter"]
    return Imported(
        text=stream.getvalue(),
        sources=sources,
        targets=tuple(dict.fromkeys(r.target for r in results)),
        notes=(*notes, *replaced, *supposed),
    )


def _last(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """The last result of each run, source and target, and a note of others."""
    chosen: dict[tuple[str, str, str], Result] = {}
    older: dict[str, None] = {}
    for result in sorted(results, key=lambda r: r.when):
        key = (result.run, result.source, result.target)
        if key in chosen:
            older[f"{result.source} on {result.target}"] = None
        chosen[key] = result
    order = dict.fromkeys((r.run, r.source, r.target) for r in results)
    step = "the last result counts; for two runs name each: NAME=PATH NAME=PATH"
    names = ", ".join(list(older)[:3]) + (" and others" if len(older) > 3 else "")
    note = [f"several results of {names}: {step}"] if older else []
    return [chosen[key] for key in order], note


def _units(results: Sequence[Result]) -> list[Result]:
    """The results as fractions. A target on which any model has more than 1 is in percent."""
    faults = [
        f"{r.origin}: {r.source} on {r.target}: {r.accuracy:g} is no accuracy; --score another, or --without {r.target}"
        for r in results
        if not 0 <= r.accuracy <= 100
    ]
    if faults:
        raise InputError(*dict.fromkeys(faults))
    percent = {r.target for r in results if r.accuracy > 1}
    return [replace(r, accuracy=r.accuracy / 100) if r.target in percent else r for r in results]


def _base(results: Sequence[Result], base: str | None) -> str:
    names = list(dict.fromkeys(result.source for result in results))
    if base is not None:
        if base not in names:
            raise InputError(f"--base {base}: no results of it{suggest(base, names)}; there are {', '.join(names)}")
        return base
    if BASE in names:
        return BASE
    plain = list(dict.fromkeys(result.source for result in results if not result.adapter))
    if len(plain) == 1 and len(names) > 1:
        return plain[0]
    raise InputError(f"which of {', '.join(names)} is the base model? {base_step(names)}")


def _row(result: Result, base: Mapping[str, float] | None) -> list[object]:
    """A line of the CSV; what both got right is known where the same questions were judged right or wrong."""
    hits = result.hits
    both: float | str = ""
    paired = hits is not None and base is not None and hits.keys() == base.keys() and result.source != BASE
    if paired and hits is not None and base is not None and {*hits.values(), *base.values()} <= {0.0, 1.0}:
        both = int(sum(hits[key] * base[key] for key in hits))
    return [result.run, result.source, result.target, repr(result.accuracy), result.total or "", both]
