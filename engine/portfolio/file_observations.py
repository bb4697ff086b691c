"""What is observed of a signal file's features, steps of prices and spacing of stamps, and remarks about them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.instants import DAY_US, MICROSECONDS

_EXAMPLE = 40
_USUAL, _HOLE = 3, 10
"""A gap that comes three times is usual; a hole is ten spacings long, and twice the longest usual gap."""
_SPLIT, _OUTSTANDING, _NEAR = float(np.log(1.4)), 10.0, 0.1
"""From a 3-for-2 split on, and ten times a usual step; within a tenth of a whole number it is called after it."""
_MOVES_KEPT = 20
_UNITS = (
    ("d", DAY_US), ("h", 3_600 * MICROSECONDS), ("m", 60 * MICROSECONDS), ("s", MICROSECONDS), ("ms", 1_000), ("us", 1),
)  # fmt: skip


@dataclass(slots=True)
class Feature:
    """What is known of one feature.

    Attributes:
        numbers, texts: rows with a value of either kind.
        least, most: of the numbers.
        example: the first text.
    """

    numbers: int = 0
    texts: int = 0
    least: float = np.inf
    most: float = -np.inf
    example: str | None = None

    def add_numbers(self, values: Float64Array) -> None:
        """Count the numbers of some rows; NaN is missing."""
        known = values[~np.isnan(values)]
        if len(known):
            self.numbers += len(known)
            self.least = min(self.least, float(known.min()))
            self.most = max(self.most, float(known.max()))

    def add_texts(self, column: TextColumn) -> None:
        """Count the texts of some rows; an empty one is missing."""
        there = np.flatnonzero(np.diff(column.offsets))
        self.texts += len(there)
        if self.example is None and len(there):
            text = " ".join(column[int(there[0])].split())
            self.example = text if len(text) <= _EXAMPLE else text[: _EXAMPLE - 1] + "…"

    def as_dict(self, name: str, rows: int) -> dict[str, Any]:
        """Plain values; `missing` is a share of the usable rows."""
        kinds = [kind for kind, count in (("number", self.numbers), ("text", self.texts)) if count]
        return {
            "name": name,
            "type": " and ".join(kinds),
            "missing": 1.0 - (self.numbers + self.texts) / rows,
            "least": self.least if self.numbers else None,
            "most": self.most if self.numbers else None,
            "example": self.example,
        }


@dataclass(slots=True)
class PriceMoves:
    """The steps of a symbol's price from row to row, and those that stand out: a split, or a damaged row.

    Attributes:
        count, total: of the absolute logarithmic steps that are smaller than `_SPLIT`.
        large: of the others: row, price before, price.
        more: how many of the others are not kept.
    """

    count: int = 0
    total: float = 0.0
    large: list[tuple[int, float, float]] = field(default_factory=list)
    more: int = 0

    def add(self, prices: Float64Array, rows: Int64Array) -> None:
        """Take note of prices in time; `rows` says where all but the first of them stand."""
        steps = np.abs(np.diff(np.log(prices)))
        wide = np.flatnonzero(steps > _SPLIT)
        self.count += len(steps) - len(wide)
        self.total += float(steps.sum() - steps[wide].sum())
        kept = wide[: _MOVES_KEPT - len(self.large)]
        self.large += [(int(rows[at]), float(prices[at]), float(prices[at + 1])) for at in kept.tolist()]
        self.more += len(wide) - len(kept)

    def remark(self, symbol: str) -> "FileRemark | None":
        """The first step that stands out; None: there is none, or prices move like that all the time."""
        usual = self.total / self.count if self.count else 0.0
        found = [one for one in self.large if abs(np.log(one[2] / one[1])) > _OUTSTANDING * usual]
        if not found or len(found) + self.more > max(_MOVES_KEPT, self.count // 100):
            return None
        row, before, price = found[0]
        others = f"; {len(found) + self.more - 1:,d} more steps like it" if len(found) + self.more > 1 else ""
        return FileRemark(
            row,
            f"the price of {symbol} steps {price_step(before, price)}, where a usual step is {usual:.2%}: adjust the "
            f"prices before it, or leave the row out if it is damaged{others}",
        )


@dataclass(slots=True)
class StampSpacing:
    """The steps of a symbol's time from row to row.

    Attributes:
        steps: how often which step occurs, in microseconds.
        after_us: for each of them, the instant before its first occurrence.
        irregular: there are so many different steps that they are not counted.
    """

    steps: Counter[int] = field(default_factory=Counter)
    after_us: dict[int, int] = field(default_factory=dict)
    irregular: bool = False

    def add(self, instants: Int64Array) -> None:
        """Take note of instants that follow each other."""
        if self.irregular:
            return
        # Several rows of one instant are no step.
        instants = np.unique(instants)
        steps, first, counts = np.unique(np.diff(instants), return_index=True, return_counts=True)
        for step, position, count in zip(steps.tolist(), first.tolist(), counts.tolist(), strict=True):
            self.steps[step] += count
            self.after_us.setdefault(step, int(instants[position]))

    def give_up(self) -> None:
        """Count no steps any more."""
        self.irregular = True
        self.steps.clear()
        self.after_us.clear()

    @property
    def usual(self) -> int | None:
        """The commonest step; None before the second row, and where steps are not counted."""
        return max(self.steps, key=lambda step: (self.steps[step], -step), default=None)

    def gaps(self) -> dict[int, int]:
        """The steps that are longer than the usual one, and how often each occurs."""
        usual = self.usual
        return {} if usual is None else {step: count for step, count in self.steps.items() if step > usual}

    def hole(self) -> int | None:
        """The largest gap, where it is longer than those that come again, such as nights and weekends."""
        spacing = self.usual
        if spacing is None:
            return None
        largest = max(self.steps)
        again = max((step for step, count in self.steps.items() if count >= _USUAL), default=spacing)
        regular = 2 * self.steps[spacing] > self.steps.total()
        return largest if regular and largest > max(_HOLE * spacing, 2 * again) else None


def price_step(before: float, price: float) -> str:
    """A step of a price in words."""
    factor = max(price / before, before / price)
    near = round(factor)
    kind = "split" if price < before else "reverse split"
    like = f", as after a {near}-for-1 {kind}" if abs(factor / near - 1.0) < _NEAR else ""
    return f"from {before:,.10g} to {price:,.10g}, a factor of {factor:,.4g}{like}"


@dataclass(frozen=True, slots=True)
class FileRemark:
    """What is not refused, and yet not as it should be.

    Attributes:
        row: where it shows; None: nowhere in particular.
        sentence: what it is, and what to do about it.
    """

    row: int | None
    sentence: str


@dataclass(slots=True)
class StuckPrice:
    """Rows that are refused since a step of the price, because it stays where it went.

    Attributes:
        row: the first of them.
        before, price: on both sides of the step.
        count: how many there are.
    """

    row: int
    before: float
    price: float
    count: int


def length(span_us: int) -> str:
    """A span in the largest unit that it is a whole number of, such as `10m`; from two days on as `29d 10m`."""
    if span_us < 2 * DAY_US:
        unit, size = next((unit, size) for unit, size in _UNITS if span_us % size == 0)
        return f"{span_us // size}{unit}"
    parts = []
    for unit, size in _UNITS:
        count, span_us = divmod(span_us, size)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts)
