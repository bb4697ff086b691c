"""A day of a live market through everything that follows it, at full speed, with every disturbance there is.

    python -m benchmarks day

A generated exchange without sockets (`loopback.exchanges.unplugged`) speaks Binance USD-M, whose books and trades
come by two connections, or Binance spot, where they come by one. Both are disturbed: books in every way that the
loopback knows, trades in all that concern messages. Behind the feed is the real station: bars of a minute, keeper
with a SQLite database, crossover, dealer, paper exchange, and the venue's klines as history. The market stands still
only while the keeper or the dealer has something to do, so a day takes as long as the work that it makes.

Afterwards everything is compared with what it must be. Bars: with those of a second market of the same seed, made from
its trades, of which nothing was lost. Crossings: with those of all stored closes at once. Orders: with what the paper
exchange says of each. `tests/unit/benchmarks/test_day.py` does the same with an hour.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import structlog
from sqlalchemy import func, select

from benchmarks.endurance import resident_mb
from benchmarks.figures import Figure
from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Channel, Event, Instrument, Trade, TradesLost
from raysignal.engine.core.orders import OrderType
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.execution.policy import ExecutionPolicy
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.tables import PAPER_ORDERS
from raysignal.engine.execution.trader import Trader
from raysignal.engine.execution.trading_thread import TradingThread
from raysignal.engine.market.bar_rows import read_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.crossover_watch import MarketSignal
from raysignal.engine.market.recorder import RecorderContext
from raysignal.engine.market.signal_rows import read_signals
from raysignal.engine.market.tables import PRICES
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import RestRequest
from raysignal.engine.pipeline.crossover_feed import CrossoverFeed, CrossoverOptions
from raysignal.loopback.exchanges.disturbance import OF_MESSAGES, Disturbance, DisturbancePlan
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.market import MarketMoves
from raysignal.loopback.exchanges.unplugged import Unplugged
from raysignal.runtime.feeds import bars_of_history

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
START_US = 28_333_333 * MINUTE_US
STEP_US = 100_000
FAST, SLOW = 2, 5
ACCOUNT = "paper:day"
_UNNOTICED = {Disturbance.DROP, Disturbance.SWAP, Disturbance.DELAY}
_OF_TRADES = {True: OF_MESSAGES, False: tuple(each for each in OF_MESSAGES if each not in _UNNOTICED)}
"""What is done to trades, by whether the venue numbers them; else nobody can notice that one is left out."""

_SETTLES_US = 2 * HOUR_US
_MANY_MINUTES = 120


@dataclass(frozen=True, slots=True)
class Terms:
    """What day it is.

    Attributes:
        minutes: how long.
        mean_s: between two disturbances of books; of trades they are a fifth as many.
        klines: whether the venue has klines of the time that is followed.
        kind: of the orders.
    """

    minutes: int
    venue: str = "binance-usdm"
    seed: int = 3
    mean_s: float = 60.0
    klines: bool = True
    kind: OrderType = OrderType.MARKET
    regime_s: float = 900.0


@dataclass
class Seen:
    """What came out of the feed, told apart by minute."""

    numbered: bool  # trades count up by one
    trades: dict[int, int] = field(default_factory=dict)  # how many different ones were delivered
    missed: list[tuple[int, int]] = field(default_factory=list)  # from when to when, as the feed itself says
    _ids: dict[int, set[str]] = field(default_factory=dict)
    _last_us: int = START_US
    _down: bool = True
    _number: int = 0

    def take(self, events: Sequence[Event]) -> None:
        """Events of the feed."""
        for event in events:
            if isinstance(event, Trade):
                self._ids.setdefault(event.exchange_us // MINUTE_US, set()).add(event.trade_id)
                number = int(event.trade_id) if self.numbered else 0
                if self._down or number > self._number + 1:
                    self.missed.append((self._last_us, event.exchange_us))
                    self._down = False
                self._number = max(self._number, number)
                self._last_us = max(self._last_us, event.exchange_us)
            elif isinstance(event, TradesLost):
                self._down = True

    def settle(self, before: int) -> None:
        """No trade of a minute before this one comes any more."""
        for minute in [each for each in self._ids if each < before]:
            self.trades[minute] = self.trades.get(minute, 0) + len(self._ids.pop(minute))

    def missed_minutes(self) -> set[int]:
        """Minutes that an outage of the trades touches."""
        return {
            minute for down, up in self.missed for minute in range(down // MINUTE_US, up // MINUTE_US + 1)
        }


class Day:
    """One day; `live` lets it pass, then the rest can be asked."""

    def __init__(self, folder: Path, terms: Terms) -> None:
        self.terms = terms
        self.venue = venue_named(terms.venue)
        self.exchange = self._market()
        (self.instrument,) = self.exchange.instruments
        self.database: Database = open_database(f"sqlite:///{folder / 'day.db'}")
        self.seen = Seen(self.venue.numbers_trades)
        self._market_lock = threading.Lock()
        listing = Listing.of(self.instrument)
        self.paper = PaperExchange(
            PaperStore(self.database, ACCOUNT), self.venue.name, "quote", Decimal(10_000), [listing],
            costs=Costs(Decimal(2), Decimal(5)), latency_us=50_000,
        )  # fmt: skip
        self.orders = OrderStore(self.database, ACCOUNT)
        plan = ExecutionPolicy(kind=terms.kind, rest_us=5 * MINUTE_US)
        self.trader = Trader(self.orders, self.paper, {listing.instrument.name: listing}, plan)
        log = structlog.wrap_logger(
            structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger("critical")
        )
        self.dealer = TradingThread(self.trader, self.paper, now_us=self.now_us, log=log)
        self.station = CrossoverFeed(
            self.venue, [self.instrument], CrossoverOptions(MINUTE_US, FAST, SLOW),
            RecorderContext(
                database=self.database, history=self._history, post=self._post, log=log, now_us=self.now_us
            ),
            dealer=self.dealer,
        )  # fmt: skip
        self.feed = Unplugged(
            self.exchange, self.venue, self.station.subscriptions, self._take, seed=terms.seed,
            plan=DisturbancePlan(terms.seed, terms.mean_s),
        )  # fmt: skip
        self.station.follow(self.feed.tracker)
        self._disturbing = self._disturbances_of_trades()
        self._next = next(self._disturbing)
        self._posted: Counter[str] = Counter()  # signals by id
        self._prices_posted: Counter[int] = Counter()  # by the end of their bar
        self.memory: dict[int, float] = {}  # MB by hour
        self.end_us = START_US + terms.minutes * MINUTE_US
        self.seconds = 0.0

    def now_us(self) -> int:
        """The market's time."""
        return self.feed.now_us if hasattr(self, "feed") else START_US

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:
        """An `engine.market.feed.Answers` of the exchange."""
        del tries
        with self._market_lock:
            answer = self.exchange.get(request.path)
        if answer.status != 200:
            raise StoreUnavailable(f"{request.path}: {answer.status}")
        return answer.body

    def live(self) -> None:
        """Let the day pass, and after it, undisturbed, as much as is needed for nothing to be open any more."""
        began = time.perf_counter()
        self.station.start()
        while not self.station.begun:
            threading.Event().wait(0.001)
        while self.now_us() < self.end_us:
            self._step()
            if self._next[0] <= self.now_us():
                self.exchange.orders.place(self._next[1], channel=Channel.TRADES)
                self._next = next(self._disturbing)
            hours, rest = divmod(self.now_us() - START_US, HOUR_US)
            if rest == 0:
                self.memory[hours] = resident_mb(os.getpid())
        self.seconds = time.perf_counter() - began
        last_us = self.end_us + _SETTLES_US
        self.feed.quiet()
        while self._unsettled() and self.now_us() < last_us:
            self._step()
        self.station.stop()
        self.seen.settle(self.now_us() // MINUTE_US + 1)
        if self.station.failure is not None:
            raise self.station.failure

    def close(self) -> None:
        """Give the database back."""
        self.database.close()

    @cached_property
    def oracle(self) -> dict[int, tuple[int, ...]]:
        """The bars of the day by their minute, from the trades of another market of the same seed."""
        market = self._market().market(self.instrument.symbol)
        bars: dict[int, list[int]] = {}
        close = 0
        while market.now_us < self.end_us:
            step = market.step()
            minute = step.exchange_us // MINUTE_US
            for each in step.trades:
                bar = bars.setdefault(minute, [each.price, each.price, each.price, each.price, 0, 0])
                bar[1], bar[2], bar[3] = max(bar[1], each.price), min(bar[2], each.price), each.price
                bar[4] += each.size
                bar[5] += 1
        whole: dict[int, tuple[int, ...]] = {}
        for minute in range(min(bars), self.end_us // MINUTE_US):
            bar = bars.get(minute, [close, close, close, close, 0, 0])
            close = bar[3]
            whole[minute] = tuple(bar)
        return whole

    def stored(self) -> dict[int, Bar]:
        """The bars of the day that the database has, by their minute."""
        return {bar.open_us // MINUTE_US: bar for bar in self._bars(START_US)}

    def crossings(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bar and action of every signal of the day, as stored, and as all stored closes at once say."""
        stored = [
            (each.bar_open_us, int(each.signal.action))
            for each in self._made()
            if each.bar_open_us < self.end_us and not each.is_price
        ]
        bars = self._bars(0)
        closes = np.array([bar.close for bar in bars], np.int64)
        sums = np.concatenate([[0], np.cumsum(closes)])
        fast, slow = (sums[SLOW:] - sums[SLOW - n : len(sums) - n] for n in (FAST, SLOW))
        signs = np.sign(fast * SLOW - slow * FAST)
        told = np.flatnonzero(signs)
        turned = told[1:][signs[told[1:]] != signs[told[:-1]]]
        all_at_once = [(bars[n + SLOW - 1].open_us, int(signs[n])) for n in turned.tolist()]
        return stored, [each for each in all_at_once if each[0] >= START_US]

    def posted_otherwise(self) -> int:
        """How many signals were posted, and are not stored, or the other way round, or more than once."""
        stored = Counter(each.signal.signal_id for each in self._made() if not each.is_price)
        return sum(abs(stored[name] - self._posted[name]) for name in stored | self._posted)

    def prices_otherwise(self) -> int:
        """How many bars of the day were not posted as a price exactly once; those that still wait for it are."""
        posted = self._prices_posted + Counter(
            each.signal.timestamp_us for each in self._made() if each.is_price
        )
        bars = Counter(bar.end_us for bar in self._bars(START_US))
        ends = {end_us for end_us in posted | bars if end_us <= self.end_us}
        return sum(abs(bars[end_us] - posted[end_us]) for end_us in ends)

    def order_differences(self) -> list[str]:
        """In what the stored orders, positions and cash are not the paper exchange's."""
        found = []
        stored = self.orders.orders()
        for order in stored:
            report = self.paper.order(order.client_id)
            if report is None or (report.ticket, report.progress) != (order.ticket, order.progress):
                found.append(f"order {order.client_id}: {order.progress}, {report and report.progress}")
        with self.database.reading() as connection:
            there = connection.execute(select(func.count()).select_from(PAPER_ORDERS)).scalar_one()
        if there != len(stored):
            found.append(f"{len(stored)} orders, {there} at the exchange")
        if self.orders.fills() != list(self.paper.fills()):
            found.append("fills differ")
        balances = self.paper.balances()
        held = {symbol: each.quantity for symbol, each in self.orders.positions().items() if each.quantity}
        if (self.orders.cash(), held) != (balances.cash, dict(balances.positions)):
            found.append(f"{self.orders.cash()} and {held}, at the exchange {balances}")
        return found

    def wrong_prices(self) -> tuple[int, int]:
        """How many last prices are stored, and how many of them no trade of their minute can have had."""
        oracle = self.oracle
        wrong = 0
        with self.database.reading() as connection:
            rows = connection.execute(select(PRICES.c.at_us, PRICES.c.price)).all()
        for row in rows:
            bar = oracle.get(row.at_us // MINUTE_US)
            exact = self.instrument.exact_price
            wrong += bar is not None and not exact(bar[2]) <= row.price <= exact(bar[1])
        return len(rows), wrong

    def _market(self) -> GeneratedExchange:
        return GeneratedExchange(
            self.terms.venue, seed=self.terms.seed, start_us=START_US, symbols=["BTCUSDT"],
            market=MarketMoves(step_us=STEP_US, regime_s=self.terms.regime_s),
        )  # fmt: skip

    def _bars(self, from_us: int) -> list[Bar]:
        with self.database.reading() as connection:
            return read_bars(connection, self.instrument, Basis.TRADES, MINUTE_US, from_us, self.end_us)

    def _made(self) -> list[MarketSignal]:
        """The signals that are stored, and the prices that wait to be posted."""
        with self.database.reading() as connection:
            return [each.made for each in read_signals(connection)]

    def _take(self, events: Sequence[Event]) -> None:
        self.seen.take(events)
        self.station.take(events)

    def _post(self, signal: Signal) -> str:
        if signal.action is Action.HOLD:
            self._prices_posted[signal.timestamp_us] += 1
        else:
            self._posted[signal.signal_id] += 1
        return f"receipt of {signal.signal_id}"

    def _history(self, instrument: Instrument, interval_us: int, from_us: int, to_us: int) -> Sequence[Bar]:
        bars = asyncio.run(
            bars_of_history(self.venue, instrument, interval_us, from_us, to_us, self, self.now_us())
        )
        return [bar for bar in bars if self.terms.klines or bar.open_us < START_US]

    def _disturbances_of_trades(self) -> Iterator[tuple[int, Disturbance]]:
        plan = DisturbancePlan(
            self.terms.seed + 1, 5 * self.terms.mean_s, _OF_TRADES[self.venue.numbers_trades]
        )
        return plan.instants(START_US)

    def _step(self) -> None:
        with self._market_lock:
            self.feed.run(self.now_us() + STEP_US)
        minute = self.now_us() // MINUTE_US
        if self.now_us() % MINUTE_US == 0:
            self.seen.settle(minute - 2)
        self._until_idle()

    def _until_idle(self) -> None:
        """Give the threads the time that they would have had."""
        pause = threading.Event()
        while self.station.failure is None and self.station.waiting:
            pause.wait(0.0002)
        if self.dealer.wants(self.instrument.symbol):
            pause.wait(0.001)

    def _unsettled(self) -> bool:
        status = self.station.status()
        mending = self.terms.klines and status["bars_to_mend"]
        last = self.station.last_bar(self.instrument.symbol)
        return bool(
            last is None or last.end_us < self.end_us or mending or self.dealer.wants(self.instrument.symbol)
        )


def measure(minutes: int = 24 * 60) -> list[Figure]:
    """The figures of two days: one with two connections, one with one."""
    figures = []
    for venue in ("binance-usdm", "binance"):
        with tempfile.TemporaryDirectory(prefix="raysignal-day-") as folder:
            day = Day(Path(folder), Terms(minutes, venue))
            try:
                day.live()
                figures += judged(day)
            finally:
                day.close()
    return figures


def judged(day: Day) -> list[Figure]:
    """What the day has to show."""
    oracle, stored = day.oracle, day.stored()
    signals, all_at_once = day.crossings()
    prices, wrong_prices = day.wrong_prices()
    counts, done, status = day.feed.counts(), day.exchange.orders.done, day.station.status()
    wrong = [
        minute for minute, bar in stored.items() if bar.complete and figures_of(bar) != oracle.get(minute)
    ]
    whole = {minute for minute, bar in stored.items() if bar.complete} - set(wrong)
    delivered = {minute for minute, bar in oracle.items() if day.seen.trades.get(minute, 0) == bar[5]}
    orders = day.orders.orders()
    return [
        _figure(day, "market", (day.end_us - START_US) / HOUR_US, "h"),
        _figure(day, "market's time over the time it took", (day.end_us - START_US) / 1e6 / day.seconds, "x"),
        _figure(day, "messages", counts["messages"]),
        _figure(day, f"disturbances, of {len(done)} kinds", sum(done.values())),
        _figure(day, "connections", counts["connects"]),
        _figure(day, "books lost and whole again", counts["resyncs"]),
        _figure(day, "bars that the data contain", len(oracle)),
        _figure(day, "of these, bars whose trades were all delivered", len(delivered)),
        _figure(day, "of these, not stored whole and equal to the trades", len(delivered - whole), target=0),
        _figure(day, "bars that are not stored", len(oracle.keys() - stored.keys()), target=0),
        _figure(day, "bars called complete that are not the trades'", len(wrong), target=0),
        _figure(day, "bars that an outage touched", len(day.seen.missed_minutes() & oracle.keys())),
        _figure(day, "bars made whole by the venue's klines", status["bars_mended"]),
        _figure(day, "bars that are not complete", sum(not bar.complete for bar in stored.values()), target=0),
        _figure(day, "crossings", len(signals)),
        _figure(
            day, "crossings that all closes at once do not say, or the other way round",
            len(set(signals) ^ set(all_at_once)) + len(signals) - len(set(signals)), target=0,
        ),
        _figure(day, "signals that were not posted exactly once", day.posted_otherwise(), target=0),
        _figure(day, "bars that were not posted as a price exactly once", day.prices_otherwise(), target=0),
        _figure(day, "orders", len(orders)),
        _figure(day, "differences between the orders stored and the paper exchange's",
                len(day.order_differences()), target=0),
        _figure(day, "last prices stored", prices),
        _figure(day, "last prices that were none", wrong_prices, target=0),
        *(
            _figure(day, f"resident memory at hour {hour}", day.memory[hour], "MB")
            for hour in (1, 6, 12, 24) if hour in day.memory
        ),
        *(
            _figure(day, "resident memory, what the last 23 hours added", day.memory[hour] - day.memory[1], "MB", 20)
            for hour in (24,) if hour in day.memory
        ),
    ]  # fmt: skip


def figures_of(bar: Bar) -> tuple[int, ...]:
    """A bar as the oracle has it."""
    return bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades


def _figure(day: Day, what: str, value: float, unit: str = "", target: float | None = None) -> Figure:
    better: Literal["more", "less"] = "less"
    return Figure("day", f"{day.venue.name}: {what}", float(value), unit, target, better)


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:95} {row.shown:>14} {row.asked}")
