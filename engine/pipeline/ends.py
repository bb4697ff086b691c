"""The two ends of a path that runs in several processes, with the bus between them.

    market end: feeds, candles, paper accounts     ── <name>.market: candles, fills, … ──▶        decide end: the rest
                                                   ◀─ <name>.orders: planned orders ──────       of the path
    a person, or a venue asked later               ── <name>.commands: halts, candles ──▶

The decide end is a `DurableStage`: its journal holds all that it was given and said. The market end keeps nothing but
its accounts. An order's delivery is acknowledged once its end is published; those that are not are submitted again when
a process starts, before it reads any news, and all that the exchange has ever said of them is told again. So nothing
is lost, and what comes twice has one identity and one content.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.events import Candle, FundingPayment, OrderEnded, PlannedOrder
from raysignal.engine.core.market_events import BookChange, BookLost, ContractEvent, Trade, TradesLost
from raysignal.engine.pipeline.bus import BOUND, BusEvent, Delivery
from raysignal.engine.pipeline.candles import CandleStage
from raysignal.engine.pipeline.driver import EventLog, PathDriver
from raysignal.engine.pipeline.paper_venue import PaperVenue
from raysignal.engine.pipeline.path import DecisionPath
from raysignal.engine.pipeline.portfolio import KernelPortfolio, VenuePortfolio


def market_stream(name: str) -> str:
    """The stream of a portfolio's candles, fills, ends of orders and funding."""
    return f"{name}.market"


def orders_stream(name: str) -> str:
    """The stream of a portfolio's planned orders."""
    return f"{name}.orders"


def commands_stream(name: str) -> str:
    """The stream of what persons tell a portfolio's risk, and of candles that were missed."""
    return f"{name}.commands"


def market_group(name: str) -> str:
    """Who reads the orders."""
    return f"{name}.market"


def decide_group(name: str) -> str:
    """Who reads the market; its journal has this name."""
    return f"{name}.decide"


class DecideEnd:
    """A path whose candles and fills come over the bus, as `DurableStage` takes it; `log` is told of every event."""

    def __init__(self, path: DecisionPath, log: EventLog) -> None:
        self._path = path
        self.log = log

    def on(self, event: Any) -> Sequence[Any]:
        """See `PureStage`."""
        self.log.input(event)
        made = self._path.on(event)
        for each in made:
            self.log.output(each)
        return made


class MarketEnd:
    """See the module. One thread at a time.

    Args:
        venue: who fills the orders; None: nobody orders anything.
        said: called when there is something to publish.
        bound: so many events may wait to be published.

    Attributes:
        driver: takes the market's events.
    """

    def __init__(
        self, candles: CandleStage, venue: PaperVenue | None, portfolio: KernelPortfolio | VenuePortfolio, *,
        log: EventLog, said: Callable[[], None], bound: int = BOUND,
    ) -> None:  # fmt: skip
        self._candles = candles
        self._venue = venue
        self._log = log
        self._said = said
        self._bound = bound
        self._outbox: deque[BusEvent] = deque()
        self._ended_us: dict[tuple[str, int], int] = {}
        self._under_way: dict[str, list[Delivery]] = {}
        self.driver = PathDriver(self, portfolio, venue, log=self)

    def published_before(self, events: Iterable[BusEvent]) -> None:
        """What the stream holds already: a candle that is in it is not made again, of what is left of its trades.

        Funding that the accounts have paid lately, and that is not in it, is told of now.
        """
        told = set()
        for event in events:
            if isinstance(event, Candle):
                self._ended_us[event.symbol, event.interval_us] = event.at_us
            elif isinstance(event, FundingPayment):
                told.add(event.identity)
        for payment in () if self._venue is None else self._venue.paid_lately():
            if payment.identity not in told:
                self.output(payment)

    def take_orders(self, deliveries: Iterable[Delivery]) -> None:
        """Orders from the bus, in order. All that a process finds at its start come in one call."""
        new: list[PlannedOrder] = []
        for delivery in deliveries:
            order = delivery.event
            assert isinstance(order, PlannedOrder)
            held = self._under_way.setdefault(order.client_id, [])
            if not held:
                self._log.input(order)
                new.append(order)
            if delivery not in held:
                held.append(delivery)
        if new:
            self.driver.send(*new)

    def waiting(self, most: int) -> list[BusEvent]:
        """The next events to be published, in order."""
        return list(islice(self._outbox, most))

    def published(self, count: int) -> list[Delivery]:
        """So many of them are; the deliveries that can be acknowledged now."""
        done: list[Delivery] = []
        for _ in range(count):
            event = self._outbox.popleft()
            if isinstance(event, OrderEnded):
                done += self._under_way.pop(event.client_id, ())
        return done

    def on(self, *events: Any) -> Sequence[Any]:
        """The part of the path that is at this end: market events to candles."""
        made: list[Candle] = []
        for event in events:
            if isinstance(event, Trade | BookChange | BookLost | TradesLost | ContractEvent):
                made += self._candles.on(event)
        return [candle for candle in made if self._is_new(candle)]

    def input(self, event: Any) -> None:
        """See `EventLog`."""
        self._log.input(event)

    def output(self, event: Any) -> None:
        """What goes to the other end.

        Raises:
            StoreUnavailable: too much waits.
        """
        if len(self._outbox) >= self._bound:
            raise StoreUnavailable(
                f"{self._bound} events wait for the bus, as many as may; expected it to answer, and the decide stage "
                "to run and to keep up. This process ends; a new one tells what was said of orders again"
            )
        self._log.output(event)
        self._outbox.append(event)
        self._said()

    def _is_new(self, candle: Candle) -> bool:
        place = candle.symbol, candle.interval_us
        if candle.at_us <= self._ended_us.get(place, 0):
            return False
        self._ended_us[place] = candle.at_us
        return True
