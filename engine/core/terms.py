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

HIGHS, LOWS = ("high", "High"), ("low", "Low")
"""The features that say how far the price went in a row's bar, the first of them that is there."""
RANGE_NAMES = frozenset({*HIGHS, *LOWS})


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
    def of(
        cls,
        values: Float64Array | None,
        numbers: Mapping[str, Float64Array],
        signal: Int8Array,
        action: Int8Array,
    ) -> "SignalTerms | None":
        """From columns of a batch; None where they say nothing.

        Args:
            values: as above.
            numbers: the features that are numbers.
            signal: int8[n], what the signals ask for.
            action: int8[n], what is done: a stop and a target belong to the side that the signal named, so they are
                left out where something else is done.
        """
        high = next((numbers[name] for name in HIGHS if name in numbers), None)
        low = next((numbers[name] for name in LOWS if name in numbers), None)
        if values is None and high is None and low is None:
            return None
        if values is not None and signal is not action and not np.array_equal(signal, action):
            values = values.copy()
            values[np.ix_(signal != action, [STOP_LOSS, TAKE_PROFIT])] = np.nan
        return cls(values, high, low)

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
