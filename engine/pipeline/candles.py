"""Trades of the feeds to candles of several lengths at once. Late and missing trades by the rule of `BarBuilder`.

A builder does not take a pause of the market for granted, since a feed mends such bars by the venue's own. Here nothing
mends them: a candle is complete if its bar is, or if no trade was said to be lost since the candle before it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Generic, TypeVar

from msgspec import UNSET, UnsetType

from raysignal.engine.core.events import BookSummary, Candle, ContractSummary, PathRestarted
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractEvent,
    ContractLost,
    ContractState,
    Event,
    Instrument,
    Liquidation,
    TradesLost,
)
from raysignal.engine.market.bars import MOST_AHEAD_US, Bar, BarBuilder

_MOST_ENDS = 64  # of the shortest candles, that a book is known at before they come
_STALE_US = 60_000_000  # a contract's state is said every few seconds


_Told = TypeVar("_Told", BookChange, ContractState)


class LastAtEnds(Generic[_Told]):
    """What was said last of an instrument at the ends of its candles, which come later than what follows them.

    Args:
        interval_us: of the shortest candles; the others are multiples of it.
    """

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us
        # The last event of each interval, by its beginning; None: it was lost after it.
        self._last: deque[tuple[int, _Told | None]] = deque(maxlen=_MOST_ENDS)

    def put(self, event: _Told) -> None:
        """Something was said."""
        at_us = event.exchange_us or event.received_us  # as mid prices are stamped
        if at_us - event.received_us <= MOST_AHEAD_US:
            self._put(at_us - at_us % self._interval_us, event)

    def lose(self) -> None:
        """It is not true any more. When, by the venue's clock, is not known: after what was said last."""
        if self._last:
            self._put(0, None)

    def at(self, end_us: int) -> _Told | None:
        """The last before an instant; None: nothing was known then. Instants only ever rise."""
        while len(self._last) > 1 and self._last[1][0] < end_us:
            self._last.popleft()
        return self._last[0][1] if self._last and self._last[0][0] < end_us else None

    def clear(self) -> None:
        """Nothing is known any more."""
        self._last.clear()

    def _put(self, begin_us: int, event: _Told | None) -> None:
        if self._last and begin_us <= self._last[-1][0]:
            self._last[-1] = self._last[-1][0], event
        else:
            self._last.append((begin_us, event))


class ContractAtEnds:
    """The state of a contract at the ends of its candles, and what was liquidated within them.

    Args:
        intervals_us: of the candles, the shortest first.
    """

    def __init__(self, intervals_us: Sequence[int]) -> None:
        self._shortest_us, self._longest_us = intervals_us[0], intervals_us[-1]
        self._states: LastAtEnds[ContractState] = LastAtEnds(self._shortest_us)
        self._heard_us: int | None = None  # when its state was first heard since it was lost last
        # Sizes of longs and shorts that were liquidated in each of the shortest intervals, by its beginning.
        self._sizes: dict[int, list[float]] = {}

    def on(self, event: ContractEvent) -> None:
        """An event of the contract."""
        if isinstance(event, ContractState):
            self._states.put(event)
            if self._heard_us is None:
                self._heard_us = event.exchange_us
        elif isinstance(event, Liquidation):
            begin_us = event.exchange_us - event.exchange_us % self._shortest_us
            sizes = self._sizes.setdefault(begin_us, [0.0, 0.0])
            sizes[event.side > 0] += event.instrument.size(event.size)
        else:
            self._states.lose()
            self._heard_us = None

    def summary(self, end_us: int, interval_us: int) -> ContractSummary | UnsetType:
        """Of a candle; unset where its state was not known at the end, or is older than `_STALE_US`."""
        state = self._states.at(end_us)
        begin_us, longs, shorts = end_us - interval_us, 0.0, 0.0
        for at_us in [at_us for at_us in self._sizes if at_us < end_us - self._longest_us]:
            del self._sizes[at_us]
        if state is None or end_us - state.exchange_us > _STALE_US:
            return UNSET
        for at_us, (of_longs, of_shorts) in self._sizes.items():
            if begin_us <= at_us < end_us:
                longs, shorts = longs + of_longs, shorts + of_shorts
        if self._heard_us is None or begin_us < self._heard_us:
            longs = shorts = math.nan  # some may have been missed
        return ContractSummary(
            _float(state.funding_rate), _float(state.mark), _float(state.index), _float(state.open_interest),
            longs, shorts,
        )  # fmt: skip

    def clear(self) -> None:
        """Nothing is known any more."""
        self._states.clear()
        self._sizes.clear()
        self._heard_us = None


class CandleStage:
    """Market events to candles; those that one event ends come by their ends, shorter ones first.

    Args:
        symbols: the portfolios' name of each instrument.
        intervals_us: the lengths of the candles of each symbol.
        builder_of: makes the builder of an instrument and a length, which knows how its venue numbers trades.
        books: whether candles say how the order book was at their end.
        contracts: whether they say how the contract stood, of those that tell.
    """

    def __init__(
        self,
        symbols: Mapping[Instrument, str],
        intervals_us: Mapping[str, Iterable[int]],
        builder_of: Callable[[Instrument, int], BarBuilder] = BarBuilder,
        *,
        books: bool = False,
        contracts: bool = False,
    ) -> None:
        self._symbols = {(each.venue, each.symbol): name for each, name in symbols.items()}
        self._lengths = [(each, sorted(intervals_us[name])) for each, name in symbols.items()]
        self._builder_of = builder_of
        self._books = {
            (each.venue, each.symbol): LastAtEnds[BookChange](lengths[0])
            for each, lengths in self._lengths
            if books
        }
        self._contracts = {
            (each.venue, each.symbol): ContractAtEnds(lengths) for each, lengths in self._lengths if contracts
        }
        self._builders: dict[tuple[str, str], list[BarBuilder]] = {}
        self._unbroken: set[tuple[str, int]] = (
            set()
        )  # symbols and lengths that nothing was lost of since their candle
        self._restart()

    def on(self, event: Event | PathRestarted) -> Sequence[Candle]:
        """See `engine.pipeline.path`."""
        if isinstance(event, PathRestarted):
            self._restart()
            return ()
        place = event.instrument.venue, event.instrument.symbol
        if isinstance(event, TradesLost):
            self._unbroken = {each for each in self._unbroken if each[0] != self._symbols.get(place)}
        if isinstance(event, ContractState | Liquidation | ContractLost):
            if place in self._contracts:
                self._contracts[place].on(event)
            return ()
        book = self._books.get(place)
        if book is not None:
            if isinstance(event, BookChange):
                book.put(event)
            elif isinstance(event, BookLost):
                book.lose()
        ended: list[Bar] = []
        for builder in self._builders.get(place, ()):
            ended += builder.receive(event)
        if not ended:
            return ()
        ended.sort(key=lambda bar: (bar.end_us, bar.interval_us))
        return [self._candle(self._symbols[place], bar) for bar in ended]

    def _restart(self) -> None:
        self._unbroken.clear()
        for book in self._books.values():
            book.clear()
        for contract in self._contracts.values():
            contract.clear()
        self._builders = {
            (each.venue, each.symbol): [self._builder_of(each, interval_us) for interval_us in lengths]
            for each, lengths in self._lengths
        }

    def _candle(self, symbol: str, bar: Bar) -> Candle:
        complete = bar.complete or (symbol, bar.interval_us) in self._unbroken
        self._unbroken.add((symbol, bar.interval_us))
        place = bar.instrument.venue, bar.instrument.symbol
        book, contract = self._books.get(place), self._contracts.get(place)
        return candle_of(
            symbol,
            bar,
            complete=complete,
            book=UNSET if book is None else _summary(book.at(bar.end_us)),
            contract=UNSET if contract is None else contract.summary(bar.end_us, bar.interval_us),
        )


def candle_of(
    symbol: str, bar: Bar, *, complete: bool, book: BookSummary | UnsetType = UNSET,
    contract: ContractSummary | UnsetType = UNSET,
) -> Candle:  # fmt: skip
    """A bar as strategies see it."""
    price = bar.instrument.price
    return Candle(
        at_us=bar.end_us, symbol=symbol, interval_us=bar.interval_us,
        open=price(bar.open), high=price(bar.high), low=price(bar.low), close=price(bar.close),
        volume=bar.instrument.size(bar.volume), complete=complete, book=book,
        contract=contract,
    )  # fmt: skip


def _float(amount: Decimal | None) -> float:
    return math.nan if amount is None else float(amount)


def _summary(change: BookChange | None) -> BookSummary | UnsetType:
    if change is None:
        return UNSET
    price, size = change.instrument.price, change.instrument.size
    return BookSummary(price(change.bid), size(change.bid_size), price(change.ask), size(change.ask_size))
