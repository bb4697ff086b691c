"""What holds of orders whatever the market, the signals and the network do."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from raysignal.engine.core.amounts import (
    affordable,
    down_to_step,
    fits_step,
    magnitude,
    minus,
    product,
    share_bps,
    total,
    units,
    up_to_step,
)
from raysignal.engine.core.errors import ExchangeUnreachable, OrderRejected
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.orders import OrderRequest, OrderState, OrderType, Side, TimeInForce
from raysignal.engine.core.signals import Action
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.exchange import check_report
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.policy import ExecutionPolicy
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.trader import Trader
from tests.support.effort import examples
from tests.support.order_world import LISTING, PERP, SECOND, PlainBook, instruction, paper, trade

_numbers = count(1)
SHORTS = Listing.of(PERP, shorts=True)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all examples, each in accounts of its own; nothing here needs the disk."""
    opened = open_database(f"sqlite:///{tmp_path_factory.mktemp('orders') / 'market.db'}")
    event.listen(
        opened._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
    )
    opened.close()
    yield opened
    opened.close()


# One market: a middle that walks, a few levels a side. Prices in ticks of 1, so that orders and books meet often.

sizes = st.integers(1, 40).map(lambda tenths: str(Decimal(tenths) / 10))


@st.composite
def books(draw: st.DrawFn) -> tuple[int, list[str], list[str]]:
    middle = draw(st.integers(95, 105))
    return middle, draw(st.lists(sizes, max_size=4)), draw(st.lists(sizes, max_size=4))


happenings = st.one_of(
    st.tuples(st.just("book"), books()),
    st.tuples(st.just("trade"), st.integers(93, 107), sizes, st.sampled_from(Side)),
    st.tuples(st.just("market"), st.sampled_from(Side), sizes),
    st.tuples(
        st.just("limit"), st.sampled_from(Side), sizes, st.integers(93, 107), st.sampled_from(TimeInForce)
    ),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("restart")),
)


class Watched:
    """A paper exchange, told of a random market, and checked after everything that happens."""

    def __init__(self, database: Database, listing: Listing, latency_us: int) -> None:
        self.listing, self.latency_us = listing, latency_us
        self.database, self.account = database, f"account-{next(_numbers)}"
        self.exchange = self.started()
        self.shown: PlainBook | None = None
        self.tickets: list[OrderRequest] = []
        self.at_us = 0

    def started(self) -> PaperExchange:
        return paper(
            self.database, cash="500", latency_us=self.latency_us, maker_bps="3", taker_bps="10",
            listings=[self.listing], account=self.account,
        )  # fmt: skip

    def happen(self, what: tuple[Any, ...]) -> None:
        self.at_us += 100
        getattr(self, f"_{what[0]}")(*what[1:])
        self.check()

    def _book(self, levels: tuple[int, list[str], list[str]]) -> None:
        middle, bids, asks = levels
        self.shown = PlainBook(
            [(str(middle - 1 - place), size) for place, size in enumerate(bids)],
            [(str(middle + place), size) for place, size in enumerate(asks)],
            self.listing.instrument,
        )
        before = len(self.exchange.fills())
        self.exchange.book_changed(self.shown, self.at_us)
        for fill in self.exchange.fills()[before:]:
            assert fill.at_us == self.at_us

    def _trade(self, price: int, size: str, side: Side) -> None:
        before = len(self.exchange.fills())
        self.exchange.traded(trade(str(price), size, side, self.listing.instrument), self.at_us)
        new = self.exchange.fills()[before:]
        assert total(fill.quantity for fill in new) <= Decimal(size)
        assert all(fill.maker and fill.side == -side for fill in new)

    def _market(self, side: Side, size: str) -> None:
        self._submit(OrderType.MARKET, side, size)

    def _limit(self, side: Side, size: str, price: int, lasts: TimeInForce) -> None:
        self._submit(OrderType.LIMIT, side, size, Decimal(price), lasts)

    def _cancel(self, number: int) -> None:
        if number < len(self.tickets):
            self.exchange.cancel(self.tickets[number].client_id)

    def _restart(self) -> None:
        self.exchange = self.started()
        if self.shown is not None:
            self.exchange.book_changed(self.shown, self.at_us)

    def _submit(
        self,
        kind: OrderType,
        side: Side,
        size: str,
        price: Decimal | None = None,
        lasts: Any = TimeInForce.IOC,
    ) -> None:
        name = f"order{len(self.tickets)}"
        ticket = OrderRequest(name, self.listing.instrument, side, kind, Decimal(size), price, lasts)
        self.tickets.append(ticket)
        before = len(self.exchange.fills())
        try:
            assert self.exchange.submit(ticket).ticket == ticket
        except OrderRejected:
            assert self.exchange.order(name) is not None
        if self.shown is not None:
            # What one order takes at once is no more than the book shows at its price or better.
            levels = self.shown.asks if side is Side.BUY else self.shown.bids
            taken = total(fill.quantity for fill in self.exchange.fills()[before:])
            there = [
                Decimal(lots) for at, lots in levels if price is None or (Decimal(at) - price) * side <= 0
            ]
            assert taken <= total(there)

    def check(self) -> None:
        fills = self.exchange.fills()
        balances = self.exchange.balances()
        held = total(product(Decimal(int(fill.side)), fill.quantity) for fill in fills)
        assert balances.cash == 500 - total(
            product(Decimal(int(fill.side)), fill.value) for fill in fills
        ) - total(fill.fee for fill in fills)
        assert balances.positions.get("BTCUSDT", Decimal(0)) == held
        assert [fill.ordinal for fill in fills] == list(range(1, len(fills) + 1))
        if not self.listing.shorts:
            assert balances.cash >= 0
            assert held >= 0
        for ticket in self.tickets:
            report = self.exchange.order(ticket.client_id)
            assert report is not None
            check_report(report)
            assert report.fills == tuple(fill for fill in fills if fill.client_id == ticket.client_id)
            assert report.progress.filled <= ticket.quantity
            assert (report.progress.filled == ticket.quantity) == (report.progress.state is OrderState.FILLED)
            for fill in report.fills:
                assert fill.fee == share_bps(fill.value, Decimal(3 if fill.maker else 10))
                if ticket.limit_price is not None:
                    assert (fill.price - ticket.limit_price) * ticket.side <= 0
                    assert not fill.maker or fill.price == ticket.limit_price
                assert not (fill.maker and ticket.kind is OrderType.MARKET)
        still_open = {report.ticket.client_id for report in self.exchange.open_orders()}
        ended = {
            ticket.client_id for ticket in self.tickets
            if (self.exchange.order(ticket.client_id) or _none()).progress.state.final
        }  # fmt: skip
        assert still_open == {ticket.client_id for ticket in self.tickets} - ended


def _none() -> Any:
    raise AssertionError


@settings(max_examples=examples(40))
@given(
    what=st.lists(happenings, max_size=25),
    listing=st.sampled_from([LISTING, SHORTS]),
    latency_us=st.sampled_from([0, 150]),
)
def test_money_positions_and_fills_agree_in_any_market(
    database: Database, what: list[tuple[Any, ...]], listing: Listing, latency_us: int
) -> None:
    watched = Watched(database, listing, latency_us)
    for happening in what:
        watched.happen(happening)


class Unsteady:
    """An exchange of which every call may be lost, or its answer."""

    def __init__(self, exchange: PaperExchange, troubles: list[str]) -> None:
        self._exchange, self._troubles = exchange, troubles
        self.venue = exchange.venue

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            trouble = self._troubles.pop(0) if self._troubles else ""
            if trouble == "lost":
                raise ExchangeUnreachable(trouble)
            answer = getattr(self._exchange, name)(*arguments)
            if trouble == "unheard":
                raise ExchangeUnreachable(trouble)
            return answer

        return call


@settings(max_examples=examples(30))
@given(
    actions=st.lists(st.sampled_from([Action.BUY, Action.SELL, Action.HOLD]), min_size=1, max_size=6),
    troubles=st.lists(st.sampled_from(["", "", "lost", "unheard"]), max_size=30),
    traders=st.lists(st.integers(0, 1), min_size=1, max_size=40),
    kind=st.sampled_from(OrderType),
    steps=st.lists(st.booleans(), min_size=1, max_size=40),
)
def test_every_signal_has_one_order_at_most_on_any_network(
    database: Database,
    actions: list[Action],
    troubles: list[str],
    traders: list[int],
    kind: OrderType,
    steps: list[bool],
) -> None:
    """Two traders of one account take turns, on a network that loses calls and answers, with signals in between."""
    account = f"account-{next(_numbers)}"
    exchange = paper(database, account=account, latency_us=SECOND // 2)
    shown = PlainBook([("99.9", "7"), ("99.8", "500")], [("100", "3"), ("100.1", "500")])
    exchange.book_changed(shown, 1)
    store = OrderStore(database, account)
    plan = ExecutionPolicy(kind=kind, offset_bps=Decimal(20), resend_after_us=2 * SECOND, rest_us=20 * SECOND)
    unsteady: Any = Unsteady(exchange, [])
    both = [Trader(store, unsteady, {"BTC": LISTING}, plan) for _ in range(2)]
    for trader in both:
        trader.start(0)
    unsteady._troubles = troubles
    waiting = [instruction(f"s{number}", action, at_us=number) for number, action in enumerate(actions)]
    told = 0
    for turn in range(max(len(traders), len(steps)) + 80):
        now_us = (turn + 1) * SECOND
        trader = both[traders[turn % len(traders)]]
        if steps[turn % len(steps)] or turn > len(steps):
            exchange.book_changed(shown, now_us)
        if told < len(waiting) and (steps[turn % len(steps)] or turn > len(steps)):
            trader.take(waiting[told])
            told += 1
        trader.work(now_us)
        if told == len(waiting) and not store.waiting() and not store.orders(open_only=True):
            break
    orders = store.orders()
    assert all(order.state.final for order in orders)
    assert None not in store.outcomes().values()
    assert len({order.origin.signal_id for order in orders}) == len(orders)
    for order in orders:
        events = store.history(order.client_id)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        report = exchange.order(order.client_id)
        assert report is not None
        assert report.progress == order.progress
    assert store.fills() == list(exchange.fills())
    assert store.cash() == exchange.balances().cash
    assert {fill.client_id for fill in store.fills()} <= {order.client_id for order in orders}


# Exact arithmetic

amounts = st.decimals("0", "1e15", places=18)
steps = st.sampled_from([Decimal(step) for step in ("1", "0.5", "0.01", "0.00000003", "25", "1e-18")])


@given(amount=amounts, step=steps)
def test_amounts_are_rounded_to_the_steps_around_them(amount: Decimal, step: Decimal) -> None:
    low, high = down_to_step(amount, step), up_to_step(amount, step)
    assert low <= amount <= high
    assert fits_step(low, step)
    assert fits_step(high, step)
    assert high - low in {Decimal(0), step}
    assert (low == high) == fits_step(amount, step)


@given(price=amounts, size=amounts, other=amounts)
def test_products_and_sums_are_exact(price: Decimal, size: Decimal, other: Decimal) -> None:
    unit = 10**18
    value = units(price, 18) * units(size, 18) + units(other, 18) * unit
    result = total((product(price, size), other))
    assert units(result, 36) == value
    assert units(minus(result), 36) == -value
    assert units(magnitude(minus(result)), 36) == value


@given(money=amounts, each=amounts.filter(bool), step=steps)
def test_what_is_affordable_is_paid_for_and_one_step_more_is_not(
    money: Decimal, each: Decimal, step: Decimal
) -> None:
    bought = affordable(money, each, step)
    assert product(bought, each) <= money < product(total((bought, step)), each)
