"""What an account holds, and how much more it may: nothing is borrowed.

A long position is paid for in full. A short one is covered twice, by its proceeds and as much again, so that gross
exposure never exceeds equity when a position is enlarged. What makes a position smaller is always allowed. Positions
that move against the account afterwards are not liquidated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from raysignal.engine.core.amounts import (
    ZERO,
    affordable,
    less,
    magnitude,
    minus,
    product,
    share_bps,
    total,
)
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.orders import Side


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position: its quantity, negative for short, and the money that one unit was last traded for."""

    quantity: Decimal
    mark: Decimal


@dataclass(frozen=True, slots=True)
class Holdings:
    """Cash and positions of an account, by symbol."""

    cash: Decimal
    positions: Mapping[str, HeldPosition] = field(default_factory=dict)

    def quantity(self, symbol: str) -> Decimal:
        """What is held of a symbol."""
        held = self.positions.get(symbol)
        return ZERO if held is None else held.quantity

    def after(self, symbol: str, side: Side, quantity: Decimal, money: Decimal, fee: Decimal) -> "Holdings":
        """With so much more bought or sold, each unit for `money`."""
        signed = product(Decimal(int(side)), quantity)
        cash = total((self.cash, minus(product(signed, money)), minus(fee)))
        held = HeldPosition(total((self.quantity(symbol), signed)), money)
        return Holdings(cash, {**self.positions, symbol: held})

    def paid(self, amount: Decimal) -> "Holdings":
        """With so much cash less."""
        return Holdings(less(self.cash, amount), self.positions)

    def most(self, listing: Listing, side: Side, price: Decimal, fee_bps: Decimal) -> Decimal:
        """The largest quantity, in whole steps, that may be traded at a price."""
        money = listing.money(price)
        fee = share_bps(money, fee_bps)
        gross = total((money, fee))
        held = self.quantity(listing.symbol)
        free = less(self.cash, self._cover(listing.symbol))
        closing = ZERO
        if held * side < 0:
            closing = magnitude(held)
            free = total((free, product(held, money), minus(product(closing, fee))))
        elif held < 0:
            free = less(free, product(Decimal(2), minus(held), money))
        if side is Side.SELL and not listing.shorts:
            return closing
        return total((closing, affordable(max(free, ZERO), gross, listing.limit.step)))

    def _cover(self, symbol: str) -> Decimal:
        """What the short positions in other symbols lock up."""
        return total(
            product(Decimal(2), minus(held.quantity), held.mark)
            for other, held in self.positions.items()
            if other != symbol and held.quantity < 0
        )
