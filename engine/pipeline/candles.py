"""Trades of the feeds to candles of several lengths at once. Late and missing trades by the rule of `BarBuilder`.

A builder does not take a pause of the market for granted, since a feed mends such bars by the venue's own. Here nothing
mends them: a candle is complete if its bar is, or if no trade was said to be lost since the candle before it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import UNSET, UnsetType

from raysignal.engine.core.events import BookSummary, Candle, PathRestarted
from raysignal.engine.core.market_events import BookChange, BookLost, Event, Instrument, TradesLost
from raysignal.engine.market.bars import MOST_AHEAD_US, Bar, BarBuilder

_MOST_ENDS = 64  # of the shortest candles, that a book is known at before they come


class BookAtEnds:
    """The order book of an instrument as it was at the ends of its candles, which come later than what follows them.

    Args:
        interval_us: of the shortest candles; the others are multiples of it.
    """

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us
        # The last change of each interval, by its beginning; None: the book was lost after it.
        self._last: deque[tuple[int, BookChange | None]] = deque(maxlen=_MOST_ENDS)

    def on(self, event: Event) -> None:
        """Any event of the instrument."""
        if isinstance(event, BookChange):
            at_us = event.exchange_us or event.received_us  # as mid prices are stamped
            if at_us - event.received_us <= MOST_AHEAD_US:
                self._put(at_us - at_us % self._interval_us, event)
        elif isinstance(event, BookLost) and self._last:
            # When it was lost, by the venue's clock, is not known: after the last change.
            self._put(0, None)

    def at(self, end_us: int) -> BookChange | None:
        """The last change before an instant; None: the book was not known then. Instants only ever rise."""
        while len(self._last) > 1 and self._last[1][0] < end_us:
            self._last.popleft()
        return self._last[0][1] if self._last and self._last[0][0] < end_us else None

    def clear(self) -> None:
        """Nothing is known any more."""
        self._last.clear()

    def _put(self, begin_us: int, change: BookChange | None) -> None:
        if self._last and begin_us <= self._last[-1][0]:
            self._last[-1] = self._last[-1][0], change
        else:
            self._last.append((begin_us, change))


class CandleStage:
    """Market events to candles; those that one event ends come by their ends, shorter ones first.

    Args:
        symbols: the portfolios' name of each instrument.
        intervals_us: the lengths of the candles of each symbol.
        builder_of: makes the builder of an instrument and a length, which knows how its venue numbers trades.
        books: whether candles say how the order book was at their end.
    """

    def __init__(
        self,
        symbols: Mapping[Instrument, str],
        intervals_us: Mapping[str, Iterable[int]],
        builder_of: Callable[[Instrument, int], BarBuilder] = BarBuilder,
        *,
        books: bool = False,
    ) -> None:
        self._symbols = {(each.venue, each.symbol): name for each, name in symbols.items()}
        self._lengths = [(each, sorted(intervals_us[name])) for each, name in symbols.items()]
        self._builder_of = builder_of
        self._books = {
            (each.venue, each.symbol): BookAtEnds(lengths[0]) for each, lengths in self._lengths if books
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
        book = self._books.get(place)
        if book is not None:
            book.on(event)
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
        self._builders = {
            (each.venue, each.symbol): [self._builder_of(each, interval_us) for interval_us in lengths]
            for each, lengths in self._lengths
        }

    def _candle(self, symbol: str, bar: Bar) -> Candle:
        complete = bar.complete or (symbol, bar.interval_us) in self._unbroken
        self._unbroken.add((symbol, bar.interval_us))
        book = self._books.get((bar.instrument.venue, bar.instrument.symbol))
        summary = UNSET if book is None else _summary(book.at(bar.end_us))
        return candle_of(symbol, bar, complete=complete, book=summary)


def candle_of(symbol: str, bar: Bar, *, complete: bool, book: BookSummary | UnsetType = UNSET) -> Candle:
    """A bar as strategies see it."""
    price = bar.instrument.price
    return Candle(
        at_us=bar.end_us, symbol=symbol, interval_us=bar.interval_us,
        open=price(bar.open), high=price(bar.high), low=price(bar.low), close=price(bar.close),
        volume=bar.instrument.size(bar.volume), complete=complete, book=book,
    )  # fmt: skip


def _summary(change: BookChange | None) -> BookSummary | UnsetType:
    if change is None:
        return UNSET
    price, size = change.instrument.price, change.instrument.size
    return BookSummary(price(change.bid), size(change.bid_size), price(change.ask), size(change.ask_size))
