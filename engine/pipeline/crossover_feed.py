"""What `raysignal feed` makes of a venue: bars, one crossover on them, its signals posted, and their orders on paper.

Strategies that are weighed and decided on have a path of their own (`engine.pipeline.path`).

    follower = CrossoverFeed(venue, instruments, options, context, dealer=dealer)
    feed = Feed(venue, follower.subscriptions, follower.take, …)
    follower.follow(feed.tracker)
    follower.start()                    # recorder and trader on threads of their own

`take` is the feed's sink: it runs in the feed's loop, makes bars, and waits for nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument, Quote, Trade
from raysignal.engine.core.signals import Signal
from raysignal.engine.execution.policy import Instruction
from raysignal.engine.execution.trading_thread import Levels, TradingThread
from raysignal.engine.market.bars import Bar, BarBuilder, Basis, bar_name
from raysignal.engine.market.crossover_watch import Watch
from raysignal.engine.market.recorder import MarketRecorder, RecorderContext
from raysignal.engine.market.recorder_thread import RecorderThread
from raysignal.engine.market.venues.protocol import Subscription, Tracker, Venue, told_by_books

LEFT_OUT = 10
"""So many prices in a row that are left out, and nothing that is made of them can be believed."""


@dataclass(frozen=True, slots=True)
class CrossoverOptions:
    """What is made of a market.

    Attributes:
        interval_us: the length of the bars.
        fast, slow: windows of the crossover, in bars.
        basis: what prices the bars are made of.
        lateness_us: see `BarBuilder`.
        post_bars: whether each bar is posted as a price, which moves brackets.
    """

    interval_us: int
    fast: int = 50
    slow: int = 200
    basis: Basis = Basis.TRADES
    lateness_us: int = 0
    post_bars: bool = True

    def watch(self, instrument: Instrument) -> Watch:
        """The crossover on the bars of an instrument."""
        return Watch(instrument, self.interval_us, fast=self.fast, slow=self.slow, basis=self.basis)


class CrossoverFeed:
    """See the module.

    Args:
        venue: whose instruments they are; its openings say what books tell of trades; see `BarBuilder`.
        context: what bars and signals are recorded with.
        dealer: trades the signals on paper; None: nobody does.
    """

    def __init__(
        self,
        venue: Venue,
        instruments: Sequence[Instrument],
        terms: CrossoverOptions,
        context: RecorderContext,
        *,
        dealer: TradingThread | None = None,
    ) -> None:
        self._terms = terms
        self._watches = [terms.watch(each) for each in instruments]
        openings = venue.openings(self.subscriptions)
        self._builders = {
            each.symbol: BarBuilder(
                each, terms.interval_us, terms.basis, lateness_us=terms.lateness_us,
                numbered=venue.numbers_trades, told_by_books=told_by_books(each, openings),
            )
            for each in instruments
        }  # fmt: skip
        self._dealer = dealer
        self._prices: dict[str, Trade] = {}
        self._keeper = MarketRecorder(
            context,
            self._watches,
            act=self._act,
            last_trades=lambda: list(self._prices.values()),
            post_bars=terms.post_bars,
        )
        self._behind = RecorderThread(self._keeper, log=context.log)
        self._tracker: Callable[[Instrument], Tracker] | None = None
        self._bars: dict[str, Bar] = {}
        self._best: dict[str, BookChange] = {}
        self.signals = 0

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What is wanted of the feed; the venue's own best prices only to hold the book against them."""
        wanted = frozenset({Channel.DEPTH, Channel.TRADES, Channel.QUOTES})
        return tuple(Subscription(watch.instrument, wanted) for watch in self._watches)

    @property
    def failure(self) -> BaseException | None:
        """What ended the keeper; None: it goes on."""
        return self._behind.failure

    @property
    def begun(self) -> bool:
        """Whether keeper and dealer are where the last ones left off."""
        return self._behind.begun and (self._dealer is None or not self._dealer.trouble)

    @property
    def waiting(self) -> int:
        """Bars that the keeper has not gone through yet."""
        return self._behind.waiting

    def last_bar(self, symbol: str) -> Bar | None:
        """The latest that has ended; None: none has."""
        return self._bars.get(symbol)

    def missing(self) -> str:
        """What is not as it should be although the feed is, in words; empty: nothing."""
        troubles = []
        if self._behind.trouble:
            troubles.append(f"bars and signals are not kept: {self._behind.trouble}")
        if self._dealer is not None and self._dealer.trouble:
            troubles.append(f"orders wait: {self._dealer.trouble}")
        left_out = [
            f"the last {builder.left_out} prices of {symbol} are left out, {_why_left_out(builder)}"
            for symbol, builder in self._builders.items()
            if builder.left_out >= LEFT_OUT
        ]
        return "; ".join([*troubles, *left_out])

    def follow(self, tracker: Callable[[Instrument], Tracker]) -> None:
        """Where books are to be had, for orders: `Feed.tracker`."""
        self._tracker = tracker

    def take(self, events: Sequence[Event]) -> None:
        """The events of one message."""
        for event in events:
            symbol = event.instrument.symbol
            builder = self._builders.get(symbol)
            if builder is None or isinstance(event, Quote):
                continue
            bars = builder.receive(event)
            if bars:
                self._bars[symbol] = bars[-1]
                self._behind.offer(bars)
            if isinstance(event, BookChange):
                self._best[symbol] = event
                if self._dealer is not None and self._dealer.wants(symbol):
                    self._show(self._dealer, event)
            elif isinstance(event, Trade):
                self._prices[symbol] = event
                if self._dealer is not None and self._dealer.wants(symbol):
                    self._dealer.traded(event)
            elif isinstance(event, BookLost):
                self._best.pop(symbol, None)
                if self._dealer is not None:
                    self._dealer.lost(symbol)

    def status(self) -> dict[str, Any]:
        """All there is to say, in plain values."""
        return {
            "bar": bar_name(self._terms.interval_us),
            "windows": [self._terms.fast, self._terms.slow],
            "symbols": {symbol: self._symbol(symbol) for symbol in self._builders},
            "signals": self.signals,
            "bars_waiting": self._behind.waiting,
            "bars_dropped": self._behind.dropped,
            "bars_to_mend": self._keeper.to_mend,
            "bars_mended": self._keeper.mended,
            "crossovers_restarted": self._keeper.restarts,
            "paper": None if self._dealer is None else self._dealer.status(),
        }

    def start(self) -> None:
        """Keeper and dealer begin where the database says that they were."""
        if self._dealer is not None:
            self._dealer.start()
        self._behind.start()

    def stop(self) -> None:
        """Put on record what was seen, and end. Waits for the database."""
        self._behind.stop()
        if self._dealer is not None:
            self._dealer.stop()

    def _act(self, signal: Signal) -> None:
        if self._dealer is None or self._dealer.instruct(Instruction.of(signal)):
            self.signals += 1

    def _show(self, dealer: TradingThread, event: BookChange) -> None:
        assert self._tracker is not None
        book = self._tracker(event.instrument).book(event.instrument)
        dealer.book(Levels.of(book), event.received_us)

    def _known(self, instrument: Instrument) -> tuple[int, int]:
        assert self._tracker is not None
        return self._tracker(instrument).known(instrument)

    def _symbol(self, symbol: str) -> dict[str, Any]:
        builder, best, trade, bar = (
            self._builders[symbol], self._best.get(symbol), self._prices.get(symbol), self._bars.get(symbol),
        )  # fmt: skip
        low, high = (0, 0) if best is None or self._tracker is None else self._known(best.instrument)
        return {
            "bid": None if best is None else best.instrument.price(best.bid),
            "ask": None if best is None else best.instrument.price(best.ask),
            "known": None if best is None else {
                "bid_from": best.instrument.price(low) if low else None,
                "ask_to": best.instrument.price(high) if high else None,
            },
            "last": None if trade is None else trade.instrument.price(trade.price),
            "bar": None if bar is None else {
                "open": format_instant(bar.open_us),
                "close": bar.instrument.price(bar.close),
                "trades": bar.trades,
            },
            "late": builder.late,
            "repeated": builder.repeated,
            "ahead": builder.ahead,
        }  # fmt: skip


def _why_left_out(builder: BarBuilder) -> str:
    if builder.reused:
        return "having the ids of earlier trades; expected new ones: has the venue begun its numbers again?"
    if builder.ahead_us > 0:
        return f"being stamped {builder.ahead_us / 1e6:,.0f} s ahead of the clock; expected a clock that is right"
    return "being of bars that have ended: was a price before them stamped too late?"
