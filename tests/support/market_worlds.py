"""A feed on a loopback exchange, and a witness that compares every book with the exchange's own."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Self

from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument
from raysignal.engine.market.conversation import ConnectionTimeouts
from raysignal.engine.market.feed import Feed
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Subscription, Tracker
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.market import GeneratedMarket
from raysignal.loopback.exchanges.server import ExchangeServer

START_US = 1_700_000_000_000_000
ALL = frozenset(Channel)


def difference(tracker: Tracker, instrument: Instrument, market: GeneratedMarket, update_id: int) -> str:
    """In what the book is not the exchange's at that update; empty: in nothing."""
    truth, book = market.at(update_id), tracker.book(instrument)
    if truth is None:
        return f"update {update_id} of {instrument.symbol} never was"
    for side, wanted in enumerate((truth.bids, truth.asks)):
        prices, sizes = book.levels(side)
        held = dict(zip(prices.tolist(), sizes.tolist(), strict=True))
        if held != wanted:
            wrong = {
                price: (held.get(price), wanted.get(price))
                for price in held.keys() | wanted.keys()
                if held.get(price) != wanted.get(price)
            }
            return f"update {update_id} of {instrument.symbol}: (book, truth) by price {wrong}"
    return ""


class Witness:
    """A sink that believes nothing."""

    def __init__(self, exchange: GeneratedExchange, tracker_of: Callable[[Instrument], Tracker]) -> None:
        self.events: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.last: dict[str, int] = {}
        self.trades: list[str] = []
        self.klines: list[Any] = []
        self._exchange, self._tracker_of = exchange, tracker_of
        self._called = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events[type(event).__name__] += 1
            if isinstance(event, BookLost):
                self.lost[event.reason] += 1
                self.last[event.instrument.symbol] = 0
            elif isinstance(event, BookChange):
                symbol = event.instrument.symbol
                self.last[symbol] = event.update_id
                wrong = difference(
                    self._tracker_of(event.instrument), event.instrument, self._exchange.market(symbol),
                    event.update_id,
                )  # fmt: skip
                if wrong:
                    self.wrong.append(wrong)
        self._called.set()

    async def until(self, condition: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait for it; looked at after every call of the feed's."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._called.clear()
                await self._called.wait()


class World:
    """An exchange, its server, and a feed of everything it trades."""

    def __init__(
        self, venue: str, *, speed: float = 50.0, terms: ConnectionTimeouts | None = None, **of_exchange: Any
    ) -> None:
        self.exchange = GeneratedExchange(venue, seed=7, start_us=START_US, **of_exchange)
        self.loopback = ExchangeServer(self.exchange, speed=speed)
        self.terms = terms or ConnectionTimeouts(still_s=10.0, ping_s=6.0, pong_s=6.0)
        self.feed: Feed
        self.witness: Witness

    async def __aenter__(self) -> Self:
        await self.loopback.__aenter__()
        self.witness = Witness(self.exchange, self.tracker)
        self.feed = Feed(
            venue_named(self.exchange.venue),
            [Subscription(each, ALL) for each in self.exchange.instruments],
            self.witness,
            clock=self.loopback.clock,
            random=Random(7),
            terms=self.terms,
            hosts=self.loopback.hosts,
        )
        await self.feed.__aenter__()
        return self

    def tracker(self, instrument: Instrument) -> Tracker:
        return self.feed.tracker(instrument)

    async def __aexit__(self, *_: object) -> None:
        await self.feed.__aexit__()
        await self.loopback.__aexit__()

    async def settled(self) -> None:
        """Let every book come to the exchange's last update while the markets stand still.

        A book that is lost meanwhile may need them to move: then they do, and it is tried again.
        """
        markets = {each.symbol: self.exchange.market(each.symbol) for each in self.exchange.instruments}
        last = self.witness.last

        def arrived() -> bool:
            return all(last[symbol] == each.update_id for symbol, each in markets.items())

        while True:
            await self.witness.until(lambda: self.feed.health().ready)
            self.loopback.pause()
            try:
                await self.witness.until(lambda: arrived() or not all(last.values()))
                if arrived():
                    return
            finally:
                self.loopback.resume()
