"""What an exchange has to answer, whichever it is; `tests/contract/test_exchanges.py` says when an adapter does.

An adapter keeps three promises that the trader rests on:

1. `submit` is idempotent. The same ticket again, at any time, is answered with the order that is there and makes no
   second one. (Binance keeps client ids unique among open orders only: its adapter has to look up before it sends.)
2. Once `order` has said None for an id, and the wait of `ExecutionPolicy.resend_after_us` is over, a request with
   this id that is still under way is not taken any more. (Binance refuses one that is older than its `recvWindow`.)
3. A report tells one instant: its fills add up to what it says is filled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from raysignal.engine.core.amounts import product, total
from raysignal.engine.core.errors import OrderError
from raysignal.engine.core.orders import OrderRequest, OrderStatus, Side


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of a part of an order.

    Attributes:
        ordinal: the exchange's own count, unique and growing within the account.
        client_id: of the order; empty if it was not placed with one.
        quantity, price: above 0.
        fee: in the account's currency; negative for a rebate.
        maker: whether the order was resting.
        at_us: the exchange's clock.
    """

    ordinal: int
    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    maker: bool
    at_us: int

    @property
    def value(self) -> Decimal:
        """Price times quantity."""
        return product(self.price, self.quantity)


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What an exchange says of one order: never CREATED, SENT or UNKNOWN.

    Attributes:
        fills: all of its fills so far, in their order.
    """

    ticket: OrderRequest
    progress: OrderStatus
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True)
class PaidFunding:
    """What a position paid at an instant of funding.

    Attributes:
        rate: of its value that longs pay shorts.
        price: that it was valued at.
        quantity: in the unit of orders; negative for short.
        amount: in the account's currency; negative where it was received.
    """

    symbol: str
    at_us: int
    rate: Decimal
    price: Decimal
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Balances:
    """What an account holds.

    Attributes:
        currency: what cash, prices and fees are in.
        cash: without what positions are worth; a short position's proceeds are in it.
        positions: by symbol, negative for short; those of 0 may be left out.
    """

    currency: str
    cash: Decimal
    positions: Mapping[str, Decimal]


class Exchange(Protocol):
    """One account at an exchange. Every method raises `ExchangeUnreachable` where there was no (readable) answer."""

    @property
    def venue(self) -> str:
        """Its name, as instruments give it."""

    def submit(self, ticket: OrderRequest) -> OrderReport:
        """Place an order; see the module.

        Raises:
            OrderRejected: it is not taken, and never will have been. The same ticket may be rejected again.
            ExchangeUnreachable: it may or may not have been taken.
            IdentityConflict: an order with this id but another content is there.
        """

    def cancel(self, client_id: str) -> OrderReport:
        """Ask for the rest of an order to be cancelled; one that is final stays as it is.

        The report may still say that it is open: the request can be on its way.

        Raises:
            NotFound: the exchange does not know it.
        """

    def order(self, client_id: str) -> OrderReport | None:
        """An order, as it is now; None if the exchange never saw it. Final ones are remembered for good."""

    def open_orders(self) -> Sequence[OrderReport]:
        """Every order of the account that is not final, whoever placed it."""

    def balances(self) -> Balances:
        """What the account holds."""

    def fills(self, after: int = 0) -> Sequence[Fill]:
        """The account's fills with an ordinal above `after`, in their order, whoever placed their orders."""


def check_report(report: OrderReport) -> OrderReport:
    """The report itself; `OrderError` if its fills are not what it says is filled."""
    fills, said = report.fills, report.progress
    found = (
        total(fill.quantity for fill in fills),
        total(fill.value for fill in fills),
        total(fill.fee for fill in fills),
    )
    if found != (said.filled, said.value, said.fees):
        raise OrderError(
            f"the exchange's report of order {report.ticket.client_id} does not add up: filled, value and fees are "
            f"{said.filled}, {said.value}, {said.fees}, those of its fills {found[0]}, {found[1]}, {found[2]}"
        )
    return report
