"""The stored account beside the exchange's: which figures differ, and in which sentence a person is told. No IO.

What is not here is explained: an order that was filled, cancelled or never arrived while nobody looked is told by the
exchange itself when it is looked up, and has been stored by the time that the two are compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from raysignal.engine.core.amounts import ZERO, less, plain
from raysignal.engine.core.orders import Order
from raysignal.engine.execution.exchange import Balances, Fill, OrderReport
from raysignal.engine.execution.store import Adjustment, Position


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison found.

    Attributes:
        differences: a sentence each.
        adjustments: what would make cash and positions agree.
        can_be_accepted: whether no foreign order is open, which could change the figures again.
        last_fill: the largest ordinal among the exchange's fills.
    """

    differences: tuple[str, ...]
    adjustments: tuple[Adjustment, ...]
    can_be_accepted: bool
    last_fill: int


def compare(
    *,
    orders: Mapping[str, Order],
    positions: Mapping[str, Position],
    cash: Decimal,
    balances: Balances,
    open_orders: Sequence[OrderReport],
    fills: Iterable[Fill],
    stored_fills: Iterable[Fill],
) -> Reconciliation:
    """Compare; `orders` are those stored among the ones that the exchange speaks of, by client id."""
    foreign = [_foreign(report, orders.get(report.ticket.client_id)) for report in open_orders]
    found = [sentence for sentence in foreign if sentence]
    can_be_accepted = not found
    adjustments = []
    told = list(fills)
    unknown = _unknown_fills(told, set(stored_fills))
    for symbol in sorted({*positions, *balances.positions, *unknown}):
        here = positions.get(symbol, Position()).quantity
        there = balances.positions.get(symbol, ZERO)
        if here != there:
            adjustments.append(Adjustment(symbol, less(there, here), ZERO))
        if here != there or symbol in unknown:
            found.append(
                f"position in {symbol}: {plain(there)} at the exchange, {plain(here)} by the stored fills"
                f"{unknown.get(symbol, '')}"
            )
    if cash != balances.cash:
        adjustments.append(Adjustment("", ZERO, less(balances.cash, cash)))
        currency = balances.currency
        found.append(
            f"cash: {plain(balances.cash)} {currency} at the exchange, {plain(cash)} by the stored fills"
        )
    last_fill = max((fill.ordinal for fill in told), default=0)
    return Reconciliation(tuple(found), tuple(adjustments), can_be_accepted, last_fill)


def _foreign(report: OrderReport, order: Order | None) -> str:
    name = report.ticket.client_id
    if order is None:
        return f"order {name} ({report.ticket}) is open at the exchange and not stored here"
    if order.state.final:
        return f"order {name} ({report.ticket}) is open at the exchange and stored as {order.state.name}"
    return ""


def _unknown_fills(told: Iterable[Fill], stored: set[Fill]) -> dict[str, str]:
    """By symbol, which fills of the exchange are not stored."""
    said: dict[str, list[str]] = {}
    for fill in told:
        if fill not in stored:
            text = f"{fill.side.name} {plain(fill.quantity)} at {plain(fill.price)}"
            said.setdefault(fill.symbol, []).append(
                f"fill {fill.ordinal} ({text}, order {fill.client_id or 'without id'})"
            )
    return {symbol: f"; not stored: {', '.join(fills[:3])}" for symbol, fills in said.items()}
