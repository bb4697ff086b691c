"""What plays events into a path: live, a replay and a backtest have this one.

It hands the path's orders to the venue, and what the venue says back to the path. With a paper venue it is all there is
between the market and the portfolio, and as pure as the path: the same market, the same orders, fills and profits.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from raysignal.engine.core.events import Candle, FundingRateSettled, PathRestarted, PlannedOrder
from raysignal.engine.core.market_events import BookChange, BookLost, ContractState, Event, Trade
from raysignal.engine.execution.matching import Depth
from raysignal.engine.pipeline.paper_venue import CandleDepth, CandleMarket, PaperVenue
from raysignal.engine.pipeline.portfolio import KernelPortfolio, VenuePortfolio


class EventLog(Protocol):
    """What is told of every event of the path, in order; market events are not among them."""

    def input(self, event: Any, /) -> None:
        """An input, before it is followed."""

    def output(self, event: Any, /) -> None:
        """What followed, the paper venue's fills among it."""


class EventPath(Protocol):
    """What events are played into: a `DecisionPath`, or the part of one that this process runs."""

    def on(self, *events: Any) -> Sequence[Any]:
        """Everything that they lead to, in order."""


class PathDriver:
    """See the module.

    Args:
        venue: who fills the orders; None: the portfolio fills by itself.
        market: how the venue sees candles, where nothing else is known of the market.

    Attributes:
        sends: whether orders go to the venue; not while a session is played whose fills are known (`fact`).
    """

    def __init__(
        self, path: EventPath, portfolio: KernelPortfolio | VenuePortfolio, venue: PaperVenue | None, *,
        log: EventLog, market: CandleMarket | None = None,
    ) -> None:  # fmt: skip
        self._path = path
        self._portfolio = portfolio
        self._venue = venue
        self.log = log
        self.sends = True
        self._market = market if venue is not None else None

    @property
    def idle(self) -> bool:
        """Whether no order is under way at the venue."""
        return self._venue is None or self._venue.idle

    def take(self, event: Any) -> None:
        """An input of the path."""
        self.log.input(event)
        if self._market is not None and type(event) is Candle:
            self._meet_open(event, self._market)
        self._follow(self._path.on(event))
        if self._venue is not None and type(event) is PathRestarted:
            self._say(self._venue.restart(event.at_us))
        elif self._venue is not None and type(event) is FundingRateSettled:
            self._settle(event, self._venue)

    def market(self, event: Event, depth: Depth | None) -> None:
        """An event of a feed; `depth`: the book of its instrument, if it is in sync."""
        if self._venue is not None:
            if event.received_us >= self._venue.funding_us:
                self._say(self._venue.settle_funding(event.received_us))
            if isinstance(event, BookChange):
                if depth is not None:
                    self.book_changed(depth, event.received_us)
            elif isinstance(event, Trade):
                self._say(self._venue.traded(event, event.received_us))
            elif isinstance(event, BookLost):
                self._venue.book_lost(event.instrument, event.received_us)
            elif isinstance(event, ContractState):
                self._say(self._venue.contract(event))
        made = self._path.on(event)
        if made:
            self._follow(made)

    def book_changed(self, depth: Depth, at_us: int) -> None:
        """The venue's book is this now."""
        if self._venue is not None:
            self._say(self._venue.book_changed(depth, at_us))

    def send(self, *orders: PlannedOrder) -> None:
        """Orders go to the venue; see `PaperVenue.submit`."""
        assert self._venue is not None
        self._say(self._venue.submit(*orders))

    def fact(self, event: Any) -> None:
        """What a session says of market and venue, without either: a candle, a fill or an end.

        What follows is told to the log, and no order is sent.
        """
        self.log.output(event)
        if self._venue is not None:
            self._venue.follow(event)
        self._follow(self._path.on(event))

    def settle(self) -> None:
        """At the end: the portfolio's own ledger has seen every price."""
        if isinstance(self._portfolio, KernelPortfolio):
            self._portfolio.settle()

    def _settle(self, event: FundingRateSettled, venue: PaperVenue) -> None:
        """A funding rate of a file: positions are valued at their last price."""
        last = self._portfolio.prices.get(event.symbol)
        if last is not None:
            self._say(venue.fund(event.symbol, event.at_us, Decimal(event.rate), Decimal(repr(last[0]))))

    def _meet_open(self, candle: Candle, market: CandleMarket) -> None:
        """Orders that wait meet the open of the candle, if it is one of the shortest of its symbol."""
        assert self._venue is not None
        if self._venue.idle or candle.interval_us != market.mark_us[candle.symbol]:
            return
        instrument, at_us = market.instruments[candle.symbol], candle.at_us - candle.interval_us
        if market.latency_us < candle.interval_us:
            # An order that is faster than a candle meets its open, which is the price then as far as anybody knows.
            at_us += market.latency_us
        elif not self._venue.has_order(candle.symbol, at_us - market.latency_us):
            return
        news = self._venue.book_changed(CandleDepth(instrument, candle.open, market.spread_bps), at_us)
        self._venue.book_lost(instrument, at_us)  # until the next open nothing is known of it
        self._say(news)

    def _say(self, news: Sequence[Any]) -> None:
        for event in news:
            self.log.output(event)
            self._follow(self._path.on(event))

    def _follow(self, made: Sequence[Any]) -> None:
        for event in made:
            self.log.output(event)
        if self._venue is None:
            return
        for event in made:
            if not self.sends:
                self._venue.follow(event)
            elif type(event) is PlannedOrder:
                self.send(event)
