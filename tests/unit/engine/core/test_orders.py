"""What an order is, and which states can follow which."""

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest

from raysignal.engine.core import orders
from raysignal.engine.core.errors import ImpossibleTransition, InvalidField
from raysignal.engine.core.orders import (
    FOLLOWS,
    ID_LENGTH,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderStatus,
    OrderType,
    Origin,
    Side,
    TimeInForce,
    client_id,
    create,
    replay,
)
from tests.support.order_world import BTC, limit, market

ORIGIN = Origin("main", "sma-50-200", "signal-1")
TICKET = market("a", Side.BUY, "2")
ONE, TWO = Decimal(1), Decimal(2)


def filled(state: OrderState, quantity: Decimal) -> OrderStatus:
    return OrderStatus(state, quantity, quantity * 100, quantity / 10)


def order_in(state: OrderState) -> Order:
    """An order that is in a state, however it came there."""
    quantity = {OrderState.PARTIALLY_FILLED: ONE, OrderState.FILLED: TWO}.get(state, Decimal(0))
    return replace(create(TICKET, ORIGIN, 5), last=OrderEvent(4, 9, filled(state, quantity)))


def told(state: OrderState, before: Order) -> OrderStatus:
    """What would be right to tell of an order that goes to a state."""
    quantity = before.progress.filled
    if state is OrderState.PARTIALLY_FILLED:
        quantity += Decimal("0.5")
    return filled(state, TWO if state is OrderState.FILLED else quantity)


def table() -> dict[tuple[OrderState, OrderState], bool]:
    """The table in the docstring of the module."""
    lines = [line.split() for line in (orders.__doc__ or "").splitlines()]
    head = next(line for line in lines if line[:2] == ["from,", "to"])
    names = [OrderState[name] for name in head[2:]]
    rows = {
        line[0]: line[1:] for line in lines if len(line) == len(names) + 1 and set(line[1:]) <= {"yes", "-"}
    }
    allowed = dict.fromkeys(product(OrderState, OrderState), False)
    for row, cells in rows.items():
        for name, cell in zip(names, cells, strict=True):
            allowed[OrderState[row], name] = cell == "yes"
    assert len(rows) == 5
    return allowed


@pytest.mark.parametrize(("before", "after"), list(product(OrderState, OrderState)))
def test_an_order_goes_from_state_to_state_as_the_table_says(before: OrderState, after: OrderState) -> None:
    order = order_in(before)
    progress = told(after, order)
    if table()[before, after]:
        assert order.advance(progress, 10).last == OrderEvent(5, 10, progress)
    else:
        with pytest.raises(ImpossibleTransition, match=f"from {before.name} .* to {after.name}"):
            order.advance(progress, 10)


def test_every_order_is_created_and_every_life_ends() -> None:
    assert {state for state in OrderState if state.final} == {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
    }
    assert all(OrderState.CREATED not in after for after in FOLLOWS.values())


@pytest.mark.parametrize(
    ("progress", "why"),
    [
        (filled(OrderState.PARTIALLY_FILLED, Decimal("0.5")), "stays filled"),
        (filled(OrderState.PARTIALLY_FILLED, ONE), "nothing was filled"),
        (filled(OrderState.PARTIALLY_FILLED, TWO), "FILLED is the state"),
        (filled(OrderState.FILLED, Decimal("1.5")), "FILLED is the state"),
        (filled(OrderState.FILLED, Decimal(3)), "only 2 was ordered"),
        (filled(OrderState.CANCELLED, Decimal(0)), "stays filled"),
        (OrderStatus(OrderState.CANCELLED, ONE, Decimal(101), Decimal("0.1")), "value and fees"),
        (OrderStatus(OrderState.CANCELLED, ONE, Decimal(100), Decimal("0.2")), "value and fees"),
        (OrderStatus(OrderState.FILLED, TWO, Decimal(99), Decimal("0.2")), "stays filled"),
    ],
)
def test_a_filled_quantity_that_cannot_be_is_refused(progress: OrderStatus, why: str) -> None:
    order = order_in(OrderState.PARTIALLY_FILLED)
    with pytest.raises(ImpossibleTransition, match=why):
        order.advance(progress, 10)


def test_nothing_is_filled_of_an_order_that_was_rejected() -> None:
    with pytest.raises(ImpossibleTransition, match="nothing can be filled"):
        order_in(OrderState.SENT).advance(filled(OrderState.REJECTED, ONE), 10)


def test_a_history_is_replayed_to_the_order_it_is_of() -> None:
    order = create(TICKET, ORIGIN, 5)
    history = [order.last]
    for progress in (
        OrderStatus(OrderState.SENT), OrderStatus(OrderState.UNKNOWN, reason="no answer"), OrderStatus(OrderState.SENT),
        OrderStatus(OrderState.ACCEPTED), filled(OrderState.PARTIALLY_FILLED, ONE), filled(OrderState.FILLED, TWO),
    ):  # fmt: skip
        order = order.advance(progress, order.last.at_us + 1)
        history.append(order.last)
    assert replay(TICKET, ORIGIN, history) == order
    assert order.progress.value == 100 * order.progress.filled
    for damaged in (history[1:], [*history[:3], *history[4:]], [*history, history[-1]], []):
        with pytest.raises(ImpossibleTransition):
            replay(TICKET, ORIGIN, damaged)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("client_id", lambda: market("", Side.BUY, "1")),
        ("client_id", lambda: market("a-b", Side.BUY, "1")),
        ("client_id", lambda: market("a" * (ID_LENGTH + 1), Side.BUY, "1")),
        ("quantity", lambda: market("a", Side.BUY, "0")),
        ("quantity", lambda: market("a", Side.BUY, "-1")),
        ("quantity", lambda: market("a", Side.BUY, "NaN")),
        ("limit_price", lambda: limit("a", Side.BUY, "1", "0")),
        ("limit_price", lambda: OrderRequest("a", BTC, Side.BUY, OrderType.LIMIT, ONE)),
        ("limit_price", lambda: OrderRequest("a", BTC, Side.BUY, OrderType.MARKET, ONE, ONE)),
        (
            "time_in_force",
            lambda: OrderRequest("a", BTC, Side.BUY, OrderType.MARKET, ONE, None, TimeInForce.GTC),
        ),
    ],
)
def test_a_ticket_that_cannot_be_is_refused_by_field(field: str, make: object) -> None:
    with pytest.raises(InvalidField) as refused:
        make()  # type: ignore[operator]
    assert refused.value.fields["field"] == field


def test_a_client_id_follows_from_who_asks_for_what() -> None:
    first = client_id("binance", "BTCUSDT", ORIGIN)
    assert first == client_id("binance", "BTCUSDT", replace(ORIGIN))
    others = [
        client_id("okx", "BTCUSDT", ORIGIN),
        client_id("binance", "ETHUSDT", ORIGIN),
        client_id("binance", "BTCUSDT", replace(ORIGIN, account="second")),
        client_id("binance", "BTCUSDT", replace(ORIGIN, strategy="sma-20-50")),
        client_id("binance", "BTCUSDT", replace(ORIGIN, signal_id="signal-2")),
        client_id("binance", "BTCUSDT", replace(ORIGIN, attempt=2)),
        client_id("binanceB", "TCUSDT", ORIGIN),
    ]
    assert len({first, *others}) == len(others) + 1
    assert all(len(name) == ID_LENGTH and name.isalnum() for name in (first, *others))
