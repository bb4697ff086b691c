"""How the paper exchange fills orders from a market that does not know of them. Ticks and lots; no money, no state.

*Depth.* An order that takes walks the book from the best price on. What the account has taken from a level is gone
from it until the level shows another size; the account cannot take the same lots twice.

*Queue.* An order that comes to rest stands behind everything its level shows then. Only trades at its price, and
against its side, shorten what is ahead: cancellations are taken to be behind it. A trade that leaves lots after what
was ahead fills it with them; a trade through its price fills it with all of its lots. So does an opposing book that
has come to its price or through it, up to what that shows. It is always filled at its limit. One trade is not spent
twice: the account's older and better orders have it first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import numpy as np

from raysignal.engine.core.amounts import less, units
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.core.orders import OrderRequest, OrderStatus, Side

BIDS, ASKS = 0, 1


class Depth(Protocol):
    """An order book in sync; `engine.market.books.OrderBook` is one."""

    @property
    def instrument(self) -> Instrument:
        """Whose book it is."""

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        """Prices in ticks and sizes in lots of a side (`BIDS` or `ASKS`), best first, at most `count` of them."""


@dataclass(frozen=True, slots=True)
class ConsumedLevel:
    """What the account took from a level, in lots, since the level showed `shown`."""

    taken: int
    shown: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Lots to be had at a price, and what the level shows altogether."""

    price: int
    lots: int
    shown: int


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """An order at the paper exchange.

    Attributes:
        ordinal: the exchange's count of orders.
        arrives_us: when it meets the book, or the first book after.
        arrived: whether it has.
        cancels_us: when a request to cancel it takes effect; None without one.
        ahead: lots that stand before it in the queue of its level.
        held_price: the price for which money is set aside; None if no book said one when it came.
    """

    ordinal: int
    ticket: OrderRequest
    progress: OrderStatus
    arrives_us: int
    arrived: bool = False
    cancels_us: int | None = None
    ahead: int = 0
    held_price: Decimal | None = None

    @property
    def symbol(self) -> str:
        """Of its instrument."""
        return self.ticket.instrument.symbol

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return less(self.ticket.quantity, self.progress.filled)

    @property
    def remaining_lots(self) -> int:
        """What is not filled, in lots."""
        return lots_of(self.ticket.instrument, self.remaining)

    @property
    def limit(self) -> int | None:
        """Its limit in ticks."""
        price = self.ticket.limit_price
        return None if price is None else ticks_of(self.ticket.instrument, price)


def ticks_of(instrument: Instrument, price: Decimal) -> int:
    """A price in ticks; it is a whole number of them."""
    return units(price, instrument.price_decimals)


def lots_of(instrument: Instrument, size: Decimal) -> int:
    """A size in lots; it is a whole number of them."""
    return units(size, instrument.size_decimals)


def resting_side(side: Side) -> int:
    """The side of the book where such orders rest."""
    return BIDS if side is Side.BUY else ASKS


def opposing_side(side: Side) -> int:
    """The side of the book that such orders take from."""
    return ASKS if side is Side.BUY else BIDS


def best_price(depth: Depth, side: Side) -> int | None:
    """The best price to be had; None if the opposing side is empty."""
    prices, _ = depth.levels(opposing_side(side), 1)
    return int(prices[0]) if len(prices) else None


def offers(
    depth: Depth, side: Side, eaten: Mapping[int, ConsumedLevel], limit: int | None
) -> Iterator[Slice]:
    """What an order can take, best first, down to its limit."""
    best = best_price(depth, side)
    if best is None or (limit is not None and (best - limit) * side > 0):
        return
    prices, sizes = depth.levels(opposing_side(side))
    for price, shown in zip(prices.tolist(), sizes.tolist(), strict=True):
        if limit is not None and (price - limit) * side > 0:
            return
        gone = eaten.get(price)
        lots = shown if gone is None or gone.shown != shown else shown - gone.taken
        if lots > 0:
            yield Slice(price, lots, shown)


def shown_at(depth: Depth, side: int, price: int) -> int:
    """What a level shows; 0 if there is none."""
    prices, sizes = depth.levels(side)
    found = np.flatnonzero(prices == price)
    return int(sizes[found[0]]) if len(found) else 0


def still_eaten(depth: Depth, side: int, eaten: Mapping[int, ConsumedLevel]) -> Mapping[int, ConsumedLevel]:
    """Those levels that have not changed since."""
    if not eaten:
        return eaten
    levels = depth.levels(side)
    prices, sizes = levels if side == ASKS else (levels[0][::-1], levels[1][::-1])  # ascending
    if len(prices) == 0:
        return {}
    wanted = np.fromiter(eaten, np.int64, len(eaten))
    shown = np.fromiter((gone.shown for gone in eaten.values()), np.int64, len(eaten))
    at = np.minimum(np.searchsorted(prices, wanted), len(prices) - 1)
    same = (prices[at] == wanted) & (sizes[at] == shown)
    if same.all():
        return eaten
    return {price: eaten[price] for price in wanted[same].tolist()}


def by_priority(orders: Iterable[RestingOrder]) -> list[RestingOrder]:
    """Orders of one side that rest: better limits first, among equals the older."""
    return sorted(orders, key=lambda order: (-order.ticket.side * (order.limit or 0), order.ordinal))


def touched_by(trade: Trade, orders: Iterable[RestingOrder]) -> list[tuple[RestingOrder, int, int]]:
    """What a trade does to the orders of its instrument that rest: each with what it is filled by, and what is
    ahead of it afterwards; those that nothing happens to are left out.
    """
    hit = Side.SELL if trade.side > 0 else Side.BUY
    left, changes = trade.size, []
    for order in by_priority(order for order in orders if order.ticket.side is hit):
        limit = order.limit
        beyond = (
            0 if limit is None else (limit - trade.price) * hit
        )  # above 0: the trade went through the limit
        if limit is None or beyond < 0:
            continue
        ahead = 0 if beyond > 0 else max(order.ahead - trade.size, 0)
        passed = 0 if beyond > 0 else order.ahead
        lots = max(min(order.remaining_lots, left, trade.size - passed), 0)
        left -= lots
        if lots or ahead != order.ahead:
            changes.append((order, lots, ahead))
    return changes
