"""What a model's portfolio is about to be given: bars of the symbols that it holds, and signals, in the order of time.

It is checked before a model is stepped as the portfolio will check it, so that a price that is refused is in no model's
memory.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from raysignal.agents.inference.bar_database import BarDatabase
from raysignal.agents.inference.values import SignalRequest
from raysignal.engine.core.errors import LateSignal, PriceJump, RaysignalError
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Signal
from raysignal.engine.portfolio.receipts import SymbolMark

_LATE_BAR_US = 60_000_000
"""A bar after a hole is not taken for so long: what is missing may come."""


class SignalPortfolio(Protocol):
    """The portfolio that signals of a model go to."""

    async def submit(self, signals: Sequence[Signal]) -> Sequence[RaysignalError | None]:
        """Take signals in, in the order of time; for each, why it is refused, or None. Repeating is safe."""
        ...

    async def marks(self, symbols: Sequence[str]) -> Mapping[str, SymbolMark]:
        """How these symbols stand, but for those that it has not seen."""
        ...


class PortfolioRows:
    """The rows that a portfolio is given next, checked as it checks them.

    Args:
        marks: of the symbols, as they stand.
        limit: the largest believable factor between two prices of a symbol.

    Attributes:
        prices: bars before the last request that was checked, each symbol's in order.
    """

    def __init__(self, marks: Mapping[str, SymbolMark], limit: float) -> None:
        self._limit = limit
        self._last = {symbol: (mark.last_us, mark.last_price) for symbol, mark in marks.items()}
        self._coming: dict[str, deque[Signal]] = {}
        self.prices: list[Signal] = []

    def add_bars(self, symbol: str, bars: Iterable[Signal]) -> None:
        """Bars of a symbol that come next, in order."""
        self._coming[symbol] = deque(bars)

    def refusal(self, symbol: str, at_us: int, price: float) -> RaysignalError | None:
        """Why a row would be refused after the bars that come before it; None: it would be taken."""
        self.take_bars(symbol, at_us)
        return self._check(symbol, at_us, price)

    def take_bars(self, symbol: str, until_us: int) -> None:
        """The bars of a symbol up to an instant are given, but for those that would be refused."""
        coming = self._coming.get(symbol)
        while coming and coming[0].timestamp_us <= until_us:
            bar = coming.popleft()
            if self._check(symbol, bar.timestamp_us, bar.price) is None:
                self.note(symbol, bar.timestamp_us, bar.price)
                self.prices.append(bar)

    def note(self, symbol: str, at_us: int, price: float) -> None:
        """A row that will be given."""
        self._last[symbol] = at_us, price

    def _check(self, symbol: str, at_us: int, price: float) -> RaysignalError | None:
        if symbol not in self._last:
            return None
        last_us, last = self._last[symbol]
        if at_us < last_us:
            return LateSignal(symbol, format_instant(at_us), format_instant(last_us))
        if last > 0.0 and max(price / last, last / price) > self._limit:
            return PriceJump(symbol, price, last, self._limit)
        return None


class PortfolioPrices:
    """The way of stored bars into a portfolio; for one event loop.

    Args:
        portfolio: that signals go to.
        limit: the largest believable factor between two prices of a symbol.
        database: that has bars; None: none are brought.
        length_us: of the bars that are brought, where the model's card names none and there are such; else the
            shortest.
        followed: instruments, `venue:symbol`, whose bars are brought as they end; of others at the next signal.
    """

    def __init__(
        self,
        portfolio: SignalPortfolio,
        limit: float,
        database: BarDatabase | None,
        length_us: int,
        followed: Sequence[str] = (),
    ) -> None:
        self._portfolio, self._limit = portfolio, limit
        self._followed = (
            [] if database is None else [*followed, *(name.partition(":")[2] for name in followed)]
        )
        self._database, self._length_us = database, length_us

    async def rows_for(self, requests: Sequence[SignalRequest], card_us: int | None) -> PortfolioRows:
        """What the portfolio is to be given beside the signals of requests; bars up to the first of each symbol are
        given to it now.

        Args:
            requests: of which signals are or have been made.
            card_us: the length of the bars that the model's card names.
        """
        ends: dict[str, list[int]] = {}
        for each in requests:
            ends.setdefault(each.symbol, []).append(each.at_us)
        marks = await self._brought({symbol: min(found) for symbol, found in ends.items()}, card_us)
        rows = PortfolioRows(marks, self._limit)
        for symbol, found in ends.items():
            if len(found) > 1:  # a position may begin with the first of them, and bars lie before the next
                after_us = max(min(found), marks[symbol].last_us if symbol in marks else 0)
                rows.add_bars(symbol, await self._bars(symbol, after_us, max(found), card_us))
        return rows

    async def follow(self, now_us: int, card_us: int | None) -> None:
        """Give the portfolio the bars that have ended of what it holds of followed instruments; a missing one is
        waited for.
        """
        if self._followed:
            await self._brought(dict.fromkeys(self._followed, now_us), card_us, _LATE_BAR_US)

    async def _brought(
        self, until_us: Mapping[str, int], card_us: int | None, patience_us: int = 0
    ) -> Mapping[str, SymbolMark]:
        """Give the portfolio the bars of what it holds of these symbols up to an instant each; their marks then."""
        while True:
            marks = await self._portfolio.marks(list(until_us))
            rows = PortfolioRows(marks, self._limit)
            for symbol, mark in marks.items():
                if mark.held:
                    end_us = until_us[symbol]
                    rows.add_bars(
                        symbol, await self._bars(symbol, mark.last_us, end_us, card_us, patience_us)
                    )
                    rows.take_bars(symbol, end_us)
            if not rows.prices:
                return marks
            await self._portfolio.submit(rows.prices)

    async def _bars(
        self, symbol: str, after_us: int, until_us: int, card_us: int | None, patience_us: int = 0
    ) -> list[Signal]:
        stored = None if self._database is None else await self._database.opened()
        if stored is None:
            return []
        preferred_us = [each for each in (card_us, self._length_us) if each is not None]
        return await asyncio.to_thread(
            stored.prices_between, symbol, after_us, until_us, preferred_us, patience_us=patience_us
        )
