"""What a signal may say beyond its action: size, bracket, confidence and expiry, in columns.

A bracket is what closes a position by itself: `stop_loss` and `take_profit` (prices), `trailing_stop_bps` (from the
best price since the position was opened) and `expires` (an instant).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array

TERMS = ("size", "stop_loss", "take_profit", "trailing_stop_bps", "confidence", "expires")
"""The columns of terms, float64; `expires` in UTC microseconds, exact before the year 2255. NaN: not said."""
SIZE, STOP_LOSS, TAKE_PROFIT, TRAILING, CONFIDENCE, EXPIRES = range(len(TERMS))


ROUNDING = 1.000_001
"""Of prices that were written with few digits."""
WIDEST_RANGE = 10.0
"""A high or a low further than this factor from its row's price is not believed."""
_BESIDE_LETTERS = " _-/<>"


def is_range_name(name: str) -> bool:
    """Whether a feature says how far the price went in a row's bar: `high` or `low`, in any case, or `<HIGH>`."""
    return _plain_name(name) in {"high", "low"}


def _plain_name(name: str) -> str:
    return name.strip(_BESIDE_LETTERS).casefold()


def column_of(numbers: Mapping[str, Float64Array], name: str) -> Float64Array | None:
    """The column of a name in small letters, however rows spell it: the first spelling that says something in a row."""
    found: Float64Array | None = None
    for spelled in sorted(each for each in numbers if _plain_name(each) == name):
        column = numbers[spelled]
        found = column if found is None else np.where(np.isnan(found), column, found)
    return found


@dataclass(frozen=True, slots=True)
class SignalTerms:
    """What the kernel is told of n signals beside symbol, action and price.

    Attributes:
        values: float64[n, 6], the columns `TERMS`; None: no signal says any of it.
        high, low: float64[n], NaN where not known; None: of no row.
    """

    values: Float64Array | None = None
    high: Float64Array | None = None
    low: Float64Array | None = None

    @classmethod
    def of(cls, values: Float64Array | None, numbers: Mapping[str, Float64Array]) -> "SignalTerms | None":
        """From the terms and the numeric features of a batch; None where they say nothing."""
        high, low = column_of(numbers, "high"), column_of(numbers, "low")
        return None if values is None and high is None and low is None else cls(values, high, low)

    def reach(self, price: Float64Array) -> tuple[Float64Array, Float64Array]:
        """How far the price of each row went up and down to it, as the kernel takes it; `price` where not known."""
        if self.high is not None and self.low is not None:
            other = (price > self.high * ROUNDING) | (price * ROUNDING < self.low)
        else:
            other = np.zeros(len(price), np.bool_)
        high, low = self.high, self.low
        if high is not None:
            high = np.where(~other & (high > price) & (high <= price * WIDEST_RANGE), high, price)
        if low is not None:
            low = np.where(~other & (low < price) & (low >= price / WIDEST_RANGE), low, price)
        return price if high is None else high, price if low is None else low

    def done(self, signal: Int8Array, action: Int8Array) -> "SignalTerms":
        """The same where `action` is done instead of what the signals ask for, two of int8[n].

        A stop and a target belong to the side that the signal named: they are left out where something else is done.
        """
        if self.values is None or signal is action or np.array_equal(signal, action):
            return self
        values = self.values.copy()
        values[np.ix_(signal != action, [STOP_LOSS, TAKE_PROFIT])] = np.nan
        return SignalTerms(values, self.high, self.low)

    def slice(self, start: int, stop: int) -> "SignalTerms":
        """Rows `start` to `stop`, as views."""
        return SignalTerms(
            None if self.values is None else self.values[start:stop],
            None if self.high is None else self.high[start:stop],
            None if self.low is None else self.low[start:stop],
        )

    @classmethod
    def concat(cls, parts: Sequence[tuple[int, "SignalTerms | None"]]) -> "SignalTerms | None":
        """Consecutive parts of n rows each; one that says nothing has nothing but NaN there."""
        values = concat_terms([(n, None if part is None else part.values) for n, part in parts])
        high, low = (
            _joined([(n, None if part is None else getattr(part, name)) for n, part in parts])
            for name in ("high", "low")
        )
        return None if values is None and high is None and low is None else cls(values, high, low)


def concat_terms(parts: Sequence[tuple[int, Float64Array | None]]) -> Float64Array | None:
    """Terms of consecutive parts of n rows each; None where none has any."""
    if all(values is None for _, values in parts):
        return None
    return np.concatenate(
        [np.full((n, len(TERMS)), np.nan) if values is None else values for n, values in parts]
    )


def _joined(parts: Sequence[tuple[int, Float64Array | None]]) -> Float64Array | None:
    if all(values is None for _, values in parts):
        return None
    return np.concatenate([np.full(n, np.nan) if values is None else values for n, values in parts])
