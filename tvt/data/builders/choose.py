"""Which units become rows, and where each row's right answer stands. Knows nothing of images, files and drafts.

Units are put in an order that depends on the seed alone, strata in turn. Rows are taken from its front, so that the rows of a
smaller request are the first of a larger one. The right answers stand at each position equally often: every run of as many
rows as there are options has each position once, in an order of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tvt.data.builders.contract import Unit
from tvt.errors import InputError

TRAINING, VALIDATION = 0, 1
"""The parts of a build. Validation rows are taken first, so that more training rows do not change them."""
MOST_REUSE = 64
"""How far is looked for a ``--reuse`` that would give enough rows."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How many rows are requested, and how freely images may be shown again."""

    rows: int
    validation: int = 0
    reuse: int = 1
    """In how many rows of one part an image may be shown; never in both parts."""


@dataclass
class Images:
    """In how many rows each source image is shown; none is in both parts."""

    reuse: int
    shown: Counter[str] = field(default_factory=Counter)
    closed: frozenset[str] = frozenset()
    """Images of the part that is done."""

    def free(self, unit: Unit) -> bool:
        """Whether a unit's images may be shown once more."""
        return all(image not in self.closed and self.shown[image] < self.reuse for image in unit.images)

    def take(self, unit: Unit) -> None:
        """Its images are shown once more."""
        self.shown.update(set(unit.images))

    def close(self) -> None:
        """The part is done: what it shows is shown no more."""
        self.closed |= frozenset(self.shown)
        self.shown.clear()


class ShortageError(Exception):
    """The units did not suffice; ``rows`` could be had."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


@dataclass(frozen=True, kw_only=True)
class Stock:
    """All units of a source, and how they are chosen."""

    task: str
    units: Sequence[Unit]
    options: int
    seed: int

    @cached_property
    def order(self) -> dict[int | None, list[list[Unit]]]:
        """The units by their answer, in an order that the seed decides: the strata in their order, each shuffled."""
        answers = dict.fromkeys(unit.answer for unit in self.units)
        return {answer: self._shuffled(answer) for answer in answers}

    def _shuffled(self, answer: int | None) -> list[list[Unit]]:
        strata: dict[str, list[Unit]] = {}
        for unit in sorted((unit for unit in self.units if unit.answer == answer), key=lambda unit: unit.key):
            strata.setdefault(unit.stratum, []).append(unit)
        rng = np.random.default_rng(self.seed)
        names = sorted(strata)
        order = [strata[names[k]] for k in rng.permutation(len(names))]
        return [[units[k] for k in rng.permutation(len(units))] for units in order]


class Pool:
    """Units of one answer, taken in the stock's order, strata in turn."""

    def __init__(self, strata: Sequence[Sequence[Unit]]) -> None:
        self._strata = deque(deque(units) for units in strata)

    def take(self, accept: Callable[[Unit], bool]) -> Unit | None:
        """The next unit that is accepted, of the stratum whose turn it is; what is not accepted is not asked about again."""
        while self._strata:
            stratum = self._strata.popleft()
            while stratum:
                unit = stratum.popleft()
                if accept(unit):
                    self._strata.append(stratum)
                    return unit
        return None


class Chooser:
    """Takes units one after the other, each for the position at which the right answer is to stand.

    Args:
        stock: the units.
        images: what is shown already.
    """

    def __init__(self, stock: Stock, images: Images) -> None:
        self._stock, self._images = stock, images
        self._pools = {answer: Pool(strata) for answer, strata in stock.order.items()}

    def rows(self, count: int, part: int, accept: Callable[[Unit, int], bool]) -> Iterator[tuple[Unit, int]]:
        """Yield ``count`` units with their positions.

        Args:
            count: how many.
            part: number of the part; each has positions of its own.
            accept: whether a unit makes a fair question with its answer at the position.

        Raises:
            ShortageError: before ``count`` are found.
        """
        for place, position in zip(range(count), positions(self._stock.options, self._stock.seed, part), strict=False):
            unit = self._next(position, accept)
            if unit is None:
                raise ShortageError(place)
            self._images.take(unit)
            yield unit, position

    def _next(self, position: int, accept: Callable[[Unit, int], bool]) -> Unit | None:
        def fair(unit: Unit) -> bool:
            return self._images.free(unit) and accept(unit, position)

        pools = [self._pools[answer] for answer in (position, None) if answer in self._pools]
        return next((unit for pool in pools if (unit := pool.take(fair)) is not None), None)


def positions(options: int, seed: int, part: int) -> Iterator[int]:
    """Endless positions of right answers: in every block of ``options`` rows each stands once, in an order of its own."""
    rng = np.random.default_rng([seed, part])
    while True:
        yield from (int(position) for position in rng.permutation(options))


def check_units(stock: Stock) -> None:
    """What a builder lists must be sound.

    Raises:
        InputError: no units.
        ValueError: a defect of the builder: keys that are not unique, or an answer that is no option.
    """
    if not stock.units:
        raise InputError(f"{stock.task}: the source has nothing to make a question of; check that it was unpacked whole")
    repeated = [key for key, times in Counter(unit.key for unit in stock.units).items() if times > 1]
    if repeated:
        raise ValueError(f"units share the key {repeated[0]}")
    if any(unit.answer is not None and not 0 <= unit.answer < stock.options for unit in stock.units):
        raise ValueError("a unit's answer is none of the options")


def possible(stock: Stock, amounts: Amounts, unfit: frozenset[str] = frozenset()) -> Amounts:
    """How many rows a source gives at most, without drafting any; units known to be ``unfit`` are left out."""
    images = Images(amounts.reuse)
    chooser = Chooser(stock, images)
    result = []
    for part, count in ((VALIDATION, amounts.validation), (TRAINING, amounts.rows)):
        try:
            result.append(sum(1 for _ in chooser.rows(count, part, lambda unit, _: unit.key not in unfit)))
        except ShortageError as shortage:
            result.append(shortage.rows)
        images.close()
    return Amounts(rows=result[1], validation=result[0], reuse=amounts.reuse)


def shortage_error(stock: Stock, amounts: Amounts, unfit: frozenset[str] = frozenset()) -> InputError:
    """Say how many rows are possible, and which ``--reuse`` would give what was asked for."""
    most = possible(stock, amounts, unfit)
    requested = f"{amounts.rows:,} rows" + f" and {amounts.validation:,} for validation" * bool(amounts.validation)
    have = "at most " * (not unfit) + f"{most.rows:,}" + f" and {most.validation:,}" * bool(amounts.validation)
    left_out = f" ({len(unfit):,} of them unfit)" if unfit else ""
    steps = [f"ask for -n {most.rows}" + f" --validation {most.validation}" * bool(amounts.validation)] if most.rows else []
    larger = _reuse_for(stock, amounts, unfit)
    if larger is not None:
        steps.append(f"let an image be in up to {larger} rows (--reuse {larger})")
    counts = Counter(unit.answer for unit in stock.units if unit.answer is not None and unit.key not in unfit)
    fixed = " : ".join(f"{counts[answer]:,}" for answer in range(stock.options))
    balance = f"; their answers are fixed, {fixed}, and all are used equally often" if counts else ""
    rows = "row" if amounts.reuse == 1 else "rows"
    return InputError(
        f"{stock.task}: {requested} were asked for, but the source's {len(stock.units):,} units{left_out} give {have} with no "
        f"image in more than {amounts.reuse} {rows}{balance}; {', or '.join(steps) or 'give more of the source'}"
    )


def _reuse_for(stock: Stock, amounts: Amounts, unfit: frozenset[str]) -> int | None:
    """The least reuse up to ``MOST_REUSE`` that gives all rows asked for, found by bisection."""

    def suffices(reuse: int) -> bool:
        target = Amounts(rows=amounts.rows, validation=amounts.validation, reuse=reuse)
        return possible(stock, target, unfit) == target

    low, high = amounts.reuse, MOST_REUSE  # low does not suffice
    if high <= low or not suffices(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
