"""From a signal to the order that follows it: where the position should be, and what is missing. No IO, no clock.

A BUY wants a long position; a SELL wants none (long-flat) or a short one (long-short). The size of a position is
`weight` of what is free in the account (cash, and this symbol's own position at the signal's price), less a margin for
fees and for prices that move. A position that is on the wanted side already is left alone, unless it is so small that
the venue takes no order for it: it could never be closed, so it counts as none and becomes a part of the new one. A
signal that is too old opens nothing any more, but still closes what it says should not be held. Each signal leads to
one order at most, and to one `TargetOutcome`, which is stored.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from raysignal.engine.core import policy
from raysignal.engine.core.amounts import (
    BPS,
    ZERO,
    affordable,
    check_not_negative,
    check_positive,
    down_to_step,
    less,
    product,
    share_bps,
    total,
    up_to_step,
)
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, MICROSECONDS
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.orders import OrderRequest, OrderType, Origin, Side, TimeInForce, client_id
from raysignal.engine.core.signals import Action, Signal


class TargetOutcome(StrEnum):
    """What a signal led to."""

    ORDERED = "ordered"
    HOLD = "hold"  # it asks for nothing
    ALREADY_HELD = "already_held"  # the position is on the wanted side
    NOTHING_TO_SELL = "nothing_to_sell"  # SELL while flat, long-flat
    TOO_SMALL = "too_small"  # what could be traded is less than the exchange takes
    TOO_OLD = "too_old"  # when it could be acted on, and there was nothing to close
    LATE = "late"  # a later one of its symbol was decided before
    SUPERSEDED = "superseded"  # a later one of its symbol came while it waited
    NOT_TRADED = "not_traded"  # its symbol is none of the account's


@dataclass(frozen=True, slots=True)
class Instruction:
    """A signal as the trader needs it.

    Attributes:
        symbol: as the signal names it.
        price: that it was made at; above 0.
        known_at_us: the instant at which it was known.
    """

    signal_id: str
    strategy: str
    symbol: str
    action: Action
    price: Decimal
    known_at_us: int

    def __post_init__(self) -> None:
        if not self.signal_id:
            raise InvalidField("signal_id", self.signal_id, "an identity")
        check_positive("price", self.price)

    @classmethod
    def of(cls, signal: Signal, price: Decimal | None = None) -> "Instruction":
        """Of a signal; `price` where it is known exactly."""
        exact = Decimal(repr(signal.price)) if price is None else price
        return cls(
            signal.signal_id, signal.source, signal.symbol, Action(signal.action), exact, signal.timestamp_us
        )


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """How an account follows signals.

    Attributes:
        side: `long-flat` or `long-short`.
        weight: share of what is free that a position takes; 0 < weight <= 1.
        margin_bps: kept free beside a position, in basis points of it. A flip pays fees twice.
        kind: market orders, or limit orders that rest.
        offset_bps: how much worse for us than the signal's price the limit is; below 0: better.
        rest_us: a limit order is cancelled after so long.
        good_for_us: a signal that is older opens no position any more.
        resend_after_us: how long an order that the exchange never saw is waited for, before it is sent again.
    """

    side: policy.Side = "long-flat"
    weight: Decimal = Decimal(1)
    margin_bps: Decimal = Decimal(50)
    kind: OrderType = OrderType.MARKET
    offset_bps: Decimal = ZERO
    rest_us: int = 3_600 * MICROSECONDS
    good_for_us: int = DAY_US
    resend_after_us: int = 10 * MICROSECONDS

    def __post_init__(self) -> None:
        if self.side not in {"long-flat", "long-short"}:
            raise InvalidField("side", self.side, "long-flat or long-short")
        if check_positive("weight", self.weight) > 1:
            raise InvalidField("weight", self.weight, "at most 1")
        check_not_negative("margin_bps", self.margin_bps)
        if not self.offset_bps.is_finite() or abs(self.offset_bps) >= BPS:
            raise InvalidField("offset_bps", self.offset_bps, "less than 10000 basis points either way")
        for name in ("rest_us", "good_for_us", "resend_after_us"):
            if getattr(self, name) <= 0:
                raise InvalidField(name, getattr(self, name), "a time above 0")


def decide(  # noqa: PLR0911 - one for each reason that there is no order
    instruction: Instruction,
    *,
    account: str,
    held: Decimal,
    cash: Decimal,
    listing: Listing,
    plan: ExecutionPolicy,
    now_us: int,
) -> tuple[OrderRequest, Origin] | TargetOutcome:
    """The order that a signal leads to, or why there is none.

    `held` is the position in the symbol, `cash` what is free of others' positions.
    """
    if instruction.action is Action.HOLD:
        return TargetOutcome.HOLD
    closing = instruction.action is Action.CLOSE
    if closing and held == 0:
        return TargetOutcome.NOTHING_TO_SELL
    side = (Side.SELL if held > 0 else Side.BUY) if closing else Side(int(instruction.action))
    old = now_us - instruction.known_at_us > plan.good_for_us
    closes_only = old or closing or (side is Side.SELL and plan.side == "long-flat")
    limit = None if plan.kind is OrderType.MARKET else _limit(instruction.price, side, listing, plan)
    price = instruction.price if limit is None else limit
    on_its_side = product(held, Decimal(int(side)))
    if on_its_side > 0 and _tradable(on_its_side, price, listing, plan) is not None:
        return TargetOutcome.ALREADY_HELD
    if closes_only and on_its_side >= 0:
        return TargetOutcome.TOO_OLD if old else TargetOutcome.NOTHING_TO_SELL
    size = ZERO if closes_only else _size(instruction.price, held, cash, listing, plan)
    quantity = _tradable(max(less(size, on_its_side), ZERO), price, listing, plan)
    if quantity is None:
        return TargetOutcome.TOO_SMALL
    origin = Origin(account, instruction.strategy, instruction.signal_id)
    identity = client_id(listing.instrument.venue, listing.symbol, origin)
    if limit is None:
        return OrderRequest(identity, listing.instrument, side, OrderType.MARKET, quantity), origin
    return OrderRequest(
        identity, listing.instrument, side, OrderType.LIMIT, quantity, limit, TimeInForce.GTC
    ), origin


def _size(price: Decimal, held: Decimal, cash: Decimal, listing: Listing, plan: ExecutionPolicy) -> Decimal:
    money = listing.money(price)
    free = total((cash, product(held, money)))
    if free <= 0:
        return ZERO
    each = total((money, share_bps(money, plan.margin_bps)))
    return affordable(product(free, plan.weight), each, listing.rules(plan.kind).step)


def _tradable(quantity: Decimal, price: Decimal, listing: Listing, plan: ExecutionPolicy) -> Decimal | None:
    """The quantity as the exchange takes it, never more than that; None where it takes none so small."""
    rules, money = listing.rules(plan.kind), listing.money(price)
    rounded = down_to_step(listing.most(quantity, price, plan.kind), rules.step)
    return None if rounded < rules.least or product(money, rounded) < rules.least_value else rounded


def _limit(price: Decimal, side: Side, listing: Listing, plan: ExecutionPolicy) -> Decimal:
    """Rounded to our side of the offset, but never to 0."""
    offset = share_bps(price, plan.offset_bps)
    if side is Side.BUY:
        return max(down_to_step(total((price, offset)), listing.price_step), listing.price_step)
    return up_to_step(less(price, offset), listing.price_step)
