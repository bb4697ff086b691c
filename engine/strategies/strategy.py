"""What a strategy is: a rule that says BUY, HOLD or SELL at each bar, knowing this bar and those before it.

Both sides of a strategy say the same, bit for bit: `actions` of all bars at once, and a `StrategyStream` that is
given them in pieces, one bar or many at a time. Neither sees a bar that is not there yet, so the actions of a prefix
are the prefix of the actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """n bars of one symbol in the order of time, or prices alone.

    Attributes:
        known_at_us: int64[n], UTC microseconds: when the bar had ended; strictly rising.
        open, high, low, close: float64[n], in the quote currency; where only closes are known, all are the close.
        volume: float64[n], in the base currency; NaN where it is not known.
        book: float64[n, 4], best bid, its size, best ask, its size at the end of each bar; NaN where the order book
            is not known; None: at no bar.
        contract: float64[n, 6], funding rate, mark price, index price and open interest at the end of each bar, longs
            and shorts that were liquidated in it; NaN where it is not known; None: at no bar.
    """

    known_at_us: Int64Array
    open: Float64Array
    high: Float64Array
    low: Float64Array
    close: Float64Array
    volume: Float64Array
    book: Float64Array | None = None
    contract: Float64Array | None = None

    def __post_init__(self) -> None:
        n = len(self.known_at_us)
        for name in ("open", "high", "low", "close", "volume"):
            if len(getattr(self, name)) != n:
                raise InvalidField(name, len(getattr(self, name)), f"{n} values, one a bar")
        if self.book is not None and self.book.shape != (n, 4):
            raise InvalidField("book", self.book.shape, f"({n}, 4), four values a bar")
        if self.contract is not None and self.contract.shape != (n, 6):
            raise InvalidField("contract", self.contract.shape, f"({n}, 6), six values a bar")

    @classmethod
    def of_closes(cls, known_at_us: Int64Array, close: Float64Array) -> "Bars":
        """Bars of which only the closes are known."""
        return cls(known_at_us, close, close, close, close, np.full(len(close), np.nan))

    def __len__(self) -> int:
        return len(self.known_at_us)

    def slice(self, start: int, stop: int) -> "Bars":
        """Bars `start` to `stop`, as views."""
        return Bars(
            self.known_at_us[start:stop], self.open[start:stop], self.high[start:stop], self.low[start:stop],
            self.close[start:stop], self.volume[start:stop], None if self.book is None else self.book[start:stop],
            None if self.contract is None else self.contract[start:stop],
        )  # fmt: skip


class StrategyStream(Protocol):
    """A strategy on its way through the bars."""

    def advance(self, bars: Bars) -> Int8Array:
        """The actions of the next bars, int8[n]; however they are cut, the same bytes."""
        ...


@runtime_checkable
class ConfidentStream(StrategyStream, Protocol):
    """A stream that also says how sure it is of each action."""

    def advance_with_confidence(self, bars: Bars) -> tuple[Int8Array, Float64Array]:
        """The actions of the next bars, int8[n], and their confidences, float64[n], 0 to 1."""
        ...


class Strategy(Protocol):
    """A rule with its parameters; usually a frozen dataclass, which refuses nonsense with `InvalidField`."""

    @property
    def warm_up(self) -> int:
        """Bars at the start that are always HOLD, because the rule has not seen enough."""
        ...

    def actions(self, bars: Bars) -> Int8Array:
        """int8[n]: 1 buy, 0 hold, -1 sell, each known at its bar."""
        ...

    def stream(self) -> StrategyStream:
        """The same, bar by bar, from the first bar on."""
        ...


class Family(Protocol):
    """Strategies of one kind, on their way together: what they share is worked out once."""

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        """Fill `actions`, int8[strategies, n], with those of the next bars."""
        ...


class IndependentFamily:
    """Strategies that share nothing."""

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        self._streams = [strategy.stream() for strategy in strategies]

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        """See `Family`."""
        for row, stream in enumerate(self._streams):
            actions[row] = stream.advance(bars)


def family(strategies: Sequence[Strategy]) -> Family:
    """All of them as one family; a class that has a `family` of its own makes it."""
    kinds = {type(strategy) for strategy in strategies}
    if len(kinds) == 1:
        own = getattr(next(iter(kinds)), "family", None)
        if own is not None:
            made: Family = own(strategies)
            return made
    return IndependentFamily(strategies)
