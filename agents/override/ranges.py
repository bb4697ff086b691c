"""Cohorts by hour and by range: what a signal's instant and its numbers have in common with others."""

from collections.abc import Mapping
from math import floor, log10

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.instants import MICROSECONDS

HOURS = tuple(f"{start:02d}:00 to {start + 4:02d}:00 UTC" for start in range(0, 24, 4))
FEWEST_VALUES = 60
"""Values of a number below which its range is no cohort."""
MOST_NUMBERS = 24
"""Numbers whose range is a cohort; each more makes it harder for all to stand out."""
_LARGE = 15  # digits before the point, from which on an exponent is easier to read
_FOUR_HOURS_US = 4 * 3_600 * MICROSECONDS


def hours_of(timestamp_us: Int64Array) -> CategoryColumn:
    """The part of its UTC day that each instant lies in, of six."""
    codes = timestamp_us // _FOUR_HOURS_US % len(HOURS)
    return CategoryColumn(codes.astype(np.int32), HOURS)


def numbers_by_third(numbers: Mapping[str, Float64Array]) -> dict[str, CategoryColumn]:
    """The thirds of the first `MOST_NUMBERS` numbers that have some, by name."""
    found: dict[str, CategoryColumn] = {}
    for name in sorted(numbers):
        thirds = thirds_of(numbers[name]) if len(found) < MOST_NUMBERS else None
        if thirds is not None:
            found[name] = thirds
    return found


def thirds_of(values: Float64Array) -> CategoryColumn | None:
    """The third of its range that each of n values lies in, NaN in none.

    None where fewer than `FEWEST_VALUES` are there, where fewer than three parts differ, and for what only ever rises,
    such as a row number, which tells nothing but the time.
    """
    there = np.isfinite(values)
    known = values[there]
    if len(known) < FEWEST_VALUES or (known[1:] > known[:-1]).all():
        return None
    low, high = np.quantile(known, (1 / 3, 2 / 3))
    codes = np.where(values <= low, 0, np.where(values <= high, 1, 2)).astype(np.int32)
    if len(np.unique(codes[there])) < 3:
        return None
    first, second = _edges(float(low), float(high))
    names = (f"at most {first}", f"above {first} to {second}", f"above {second}")
    return CategoryColumn(np.where(there, codes, -1).astype(np.int32), names)


def _edges(low: float, high: float) -> tuple[str, str]:
    """Two ends in words, with four digits at least, and as many as tell them apart by two digits of their distance."""
    size, distance = (floor(log10(value)) for value in (max(abs(low), abs(high)), high - low))
    decimals = max(3 - size, 1 - distance)
    if not -4 <= size < _LARGE:
        return f"{low:.{size + decimals + 1}g}", f"{high:.{size + decimals + 1}g}"
    texts = [f"{value:,.{max(0, decimals)}f}" for value in (low, high)]
    first, second = (text.rstrip("0").rstrip(".") if "." in text else text for text in texts)
    return first, second
