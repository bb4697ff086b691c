"""An order as a value: what was asked for, who asked, how far it has come, and which states can follow which.

A `OrderRequest` is what the exchange is asked for and never changes; its `client_id` follows from who asked for what,
so that whoever asks again asks for the same order. `OrderStatus` is how far it has come. `Order` holds both, and each
new progress is an `OrderEvent` of its history, which is kept whole: `replay` makes the order from it again.

    from, to            SENT  UNKNOWN  ACCEPTED  PARTIALLY_FILLED  FILLED  CANCELLED  EXPIRED  REJECTED
    CREATED             yes   -        -         -                 -       yes        -        -
    SENT                -     yes      yes       yes               yes     yes        yes      yes
    UNKNOWN             yes   -        yes       yes               yes     yes        yes      yes
    ACCEPTED            -     -        -         yes               yes     yes        yes      -
    PARTIALLY_FILLED    -     -        -         yes               yes     yes        yes      -
    FILLED, CANCELLED, EXPIRED, REJECTED: nothing follows

CREATED: stored here, has not left. SENT: stored, and may be at the exchange from now on. UNKNOWN: was sent, and what
became of it is not known; it can be SENT again, with the same id, only when the exchange says that it never saw it.
ACCEPTED: the exchange has it. EXPIRED: the exchange ended it by its own rules (the rest of a market order that found
no more depth). Whatever is not in the table raises `ImpossibleTransition`, and so does a filled quantity that shrinks,
exceeds the ordered one, or does not go with its state.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import IntEnum, StrEnum

from raysignal.engine.core.amounts import ZERO, check_positive, plain
from raysignal.engine.core.errors import ImpossibleTransition, InvalidField
from raysignal.engine.core.market_events import Instrument

ID_LENGTH = 32
"""Characters of a client id, letters and digits only: the most that OKX takes (Binance and Bybit: 36)."""


class Side(IntEnum):
    """Which way the position goes."""

    BUY = 1
    SELL = -1


class OrderType(StrEnum):
    """How the price is found."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """What becomes of what is not filled at once."""

    GTC = "gtc"  # it rests until it is cancelled
    IOC = "ioc"  # it expires


class Purpose(StrEnum):
    """What an order is for; a part of its identity."""

    FOLLOW = "follow"  # brings the position to where a signal wants it


class OrderState(StrEnum):
    """Where an order is in its life; see the module."""

    CREATED = "created"
    SENT = "sent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not FOLLOWS[self]


_ANSWERS = frozenset({
    OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED,
    OrderState.REJECTED,
})  # fmt: skip
_ENDS_OF_A_RESTING_ONE = frozenset(
    {OrderState.PARTIALLY_FILLED, OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED}
)

FOLLOWS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.CREATED: frozenset({OrderState.SENT, OrderState.CANCELLED}),
    OrderState.SENT: _ANSWERS | {OrderState.UNKNOWN},
    OrderState.UNKNOWN: _ANSWERS | {OrderState.SENT},
    OrderState.ACCEPTED: _ENDS_OF_A_RESTING_ONE,
    OrderState.PARTIALLY_FILLED: _ENDS_OF_A_RESTING_ONE,
    OrderState.FILLED: frozenset(),
    OrderState.CANCELLED: frozenset(),
    OrderState.EXPIRED: frozenset(),
    OrderState.REJECTED: frozenset(),
}
"""The table of the module."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What an exchange is asked for.

    Attributes:
        client_id: see `client_id`.
        quantity: in units of the instrument's size; above 0.
        limit_price: the worst price that is taken; a limit order has one, a market order None.
        time_in_force: of a limit order; a market order is always IOC.
    """

    client_id: str
    instrument: Instrument
    side: Side
    kind: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.IOC

    def __post_init__(self) -> None:
        if not (self.client_id.isascii() and self.client_id.isalnum() and len(self.client_id) <= ID_LENGTH):
            raise InvalidField("client_id", self.client_id, f"1 to {ID_LENGTH} letters and digits")
        check_positive("quantity", self.quantity)
        if self.kind is OrderType.LIMIT:
            check_positive("limit_price", self.limit_price)
            return
        if self.limit_price is not None:
            raise InvalidField("limit_price", self.limit_price, "none, because a market order has no limit")
        if self.time_in_force is not TimeInForce.IOC:
            raise InvalidField("time_in_force", self.time_in_force, "ioc, because a market order cannot rest")

    def __str__(self) -> str:
        limit = "" if self.limit_price is None else f" at {plain(self.limit_price)}"
        return f"{self.side.name} {plain(self.quantity)} {self.instrument.symbol}{limit}"


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """How far an order has come.

    Attributes:
        filled: quantity that is filled.
        value: sum of price times quantity over its fills; exact.
        fees: paid for its fills, in the account's currency.
        reason: why it is in this state, in one word or a sentence; empty where that goes without saying.
    """

    state: OrderState
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step of an order's history: its number, from 1 on, when it was known here, and the progress since."""

    number: int
    at_us: int
    progress: OrderStatus


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for an order.

    Attributes:
        account: the account that it is for, by its name here.
        strategy: who made the signal.
        signal_id: of the signal that it follows, or of the bar.
        attempt: from 1 on; another attempt is another order.
    """

    account: str
    strategy: str
    signal_id: str
    purpose: Purpose = Purpose.FOLLOW
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Order:
    """An order; see the module.

    Attributes:
        last: the last event of its history, which says how far it is.
    """

    ticket: OrderRequest
    origin: Origin
    created_us: int
    last: OrderEvent

    @property
    def client_id(self) -> str:
        """Its identity, here and at the exchange."""
        return self.ticket.client_id

    @property
    def state(self) -> OrderState:
        """Where it is in its life."""
        return self.last.progress.state

    @property
    def progress(self) -> OrderStatus:
        """How far it is."""
        return self.last.progress

    def advance(self, progress: OrderStatus, at_us: int) -> "Order":
        """The order after one more step.

        Raises:
            ImpossibleTransition: nothing has changed, or what has cannot.
        """
        check_step(self.ticket, self.progress, progress)
        return replace(self, last=OrderEvent(self.last.number + 1, at_us, progress))

    def turn(self, state: OrderState, at_us: int, reason: str = "") -> "Order":
        """The order in another state, with the fills it has."""
        return self.advance(replace(self.progress, state=state, reason=reason), at_us)


def create(ticket: OrderRequest, origin: Origin, at_us: int) -> Order:
    """A new order, as it is stored before anybody hears of it."""
    return Order(ticket, origin, at_us, OrderEvent(1, at_us, OrderStatus(OrderState.CREATED)))


def replay(ticket: OrderRequest, origin: Origin, history: Iterable[OrderEvent]) -> Order:
    """The order that a history leads to.

    Raises:
        ImpossibleTransition: it is not the history of this order: it does not begin with CREATED, has a hole, or a
            step that cannot be.
    """
    order: Order | None = None
    for event in history:
        at_us = event.at_us
        order = create(ticket, origin, at_us) if order is None else order.advance(event.progress, at_us)
        if order.last != event:
            raise ImpossibleTransition(f"event {event.number} of order {ticket.client_id} is out of place")
    if order is None:
        raise ImpossibleTransition(f"order {ticket.client_id} has no history")
    return order


def check_step(ticket: OrderRequest, before: OrderStatus, after: OrderStatus) -> None:
    """Raises `ImpossibleTransition` unless `after` can follow `before`."""
    if after.state not in FOLLOWS[before.state]:
        raise _impossible(ticket, before, after, "the one does not follow the other")
    check_filled(ticket, before, after)
    if after.state is OrderState.PARTIALLY_FILLED and after.filled == before.filled:
        raise _impossible(ticket, before, after, "nothing was filled")


def check_filled(ticket: OrderRequest, before: OrderStatus, after: OrderStatus) -> None:
    """Raises `ImpossibleTransition` if what is filled shrinks, is too much, or does not go with the state."""
    if after.filled < before.filled or after.value < before.value:
        raise _impossible(ticket, before, after, "what is filled stays filled")
    if after.filled == before.filled and (after.value, after.fees) != (before.value, before.fees):
        raise _impossible(ticket, before, after, "value and fees change with the filled quantity only")
    if after.filled > ticket.quantity:
        raise _impossible(ticket, before, after, f"only {plain(ticket.quantity)} was ordered")
    if (after.filled == ticket.quantity) != (after.state is OrderState.FILLED):
        raise _impossible(ticket, before, after, "FILLED is the state in which all of it is")
    if after.filled and after.state in _NOTHING_FILLED:
        raise _impossible(ticket, before, after, "nothing can be filled in this state")


def client_id(venue: str, symbol: str, origin: Origin) -> str:
    """The identity that follows from who asks for what: 32 lower-case letters and digits, 120 bits of a SHA-256."""
    parts = (
        origin.account, origin.strategy, venue, symbol, origin.signal_id, origin.purpose.value, str(origin.attempt),
    )  # fmt: skip
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return "rs" + digest.hexdigest()[: ID_LENGTH - 2]


_NOTHING_FILLED = frozenset(
    {OrderState.CREATED, OrderState.SENT, OrderState.UNKNOWN, OrderState.ACCEPTED, OrderState.REJECTED}
)


def _impossible(
    ticket: OrderRequest, before: OrderStatus, after: OrderStatus, why: str
) -> ImpossibleTransition:
    return ImpossibleTransition(
        f"order {ticket.client_id} cannot go from {before.state.name} with {plain(before.filled)} filled to "
        f"{after.state.name} with {plain(after.filled)} filled: {why}",
        client_id=ticket.client_id, before=before.state.value, after=after.state.value,
    )  # fmt: skip
