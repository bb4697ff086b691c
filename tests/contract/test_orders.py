"""Stored orders and the paper exchange, the same in every database."""

from decimal import Decimal

import pytest
from sqlalchemy import inspect

from raysignal.engine.core.errors import NotFound, OrderError, StoreError
from raysignal.engine.core.orders import OrderState, OrderStatus, Origin, Side, create
from raysignal.engine.core.signals import Action
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution import tables
from raysignal.engine.execution.exchange import Fill
from raysignal.engine.execution.policy import TargetOutcome
from raysignal.engine.execution.store import Account, Adjustment, OrderStore, Position
from tests.support.order_script import (
    LIMIT_PLAN,
    LIMIT_SCRIPT,
    MARKET_PLAN,
    MARKET_SCRIPT,
    Wire,
    World,
    check,
)
from tests.support.order_world import instruction, market

ORIGIN = Origin("main", "sma-50-200", "up")
ORDER = create(market("a", Side.BUY, "2"), ORIGIN, 5)


def fill(ordinal: int, quantity: str, price: str = "100.10", fee: str = "0.1") -> Fill:
    return Fill(
        ordinal,
        "a",
        "BTCUSDT",
        Side.BUY,
        Decimal(quantity),
        Decimal(price),
        Decimal(fee),
        maker=False,
        at_us=7,
    )


@pytest.fixture
def store(database: Database) -> OrderStore:
    opened = OrderStore(database, "main")
    opened.open(Account("binance", "USDT", Decimal("1000.000"), 0), 1)
    assert opened.take(instruction("up", Action.BUY))
    return opened


def test_the_tables_of_the_code_are_those_of_the_migrations(database: Database) -> None:
    with database.reading() as connection:
        found = inspect(connection)
        for table in tables.METADATA.sorted_tables:
            columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
            assert columns == {column.name: column.nullable for column in table.columns}
            keys = found.get_pk_constraint(table.name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key]
            indexes = {index["name"] for index in found.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= indexes


def test_an_order_comes_back_as_it_was_stored_with_its_history(store: OrderStore, address: str) -> None:
    assert store.create(ORDER)
    sent = ORDER.turn(OrderState.SENT, 6)
    part = sent.advance(
        OrderStatus(OrderState.PARTIALLY_FILLED, Decimal("0.50"), Decimal("50.050"), Decimal("0.1")), 7
    )
    assert store.save(ORDER, sent)
    assert store.save(sent, part, [fill(3, "0.50")])
    again = open_database(address)
    reopened = OrderStore(again, "main")
    assert reopened.order("a") == part
    assert reopened.orders(open_only=True) == [part]
    assert reopened.history("a") == [ORDER.last, sent.last, part.last]
    assert reopened.fills() == [fill(3, "0.50")]
    assert reopened.fills(3) == []
    assert reopened.positions() == {
        "BTCUSDT": Position(Decimal("0.50"), Decimal("-50.0500"), Decimal("0.1")),
    }  # fmt: skip
    assert reopened.cash() == Decimal("949.85")
    again.close()


def test_a_signal_is_taken_and_decided_once(store: OrderStore) -> None:
    assert not store.take(instruction("up", Action.SELL, "7"))
    assert store.waiting() == [instruction("up", Action.BUY)]
    assert store.create(ORDER)
    assert not store.create(ORDER)
    assert not store.leave("up", TargetOutcome.TOO_OLD, 9)
    assert store.waiting() == []
    assert store.outcomes() == {"up": TargetOutcome.ORDERED}
    assert len(store.orders()) == 1


def test_accounts_do_not_see_each_other(store: OrderStore, database: Database) -> None:
    store.create(ORDER)
    other = OrderStore(database, "other")
    other.open(Account("okx", "USD", Decimal(5), 0), 1)
    other.take(instruction("down", Action.SELL))
    assert other.orders() == []
    assert other.order("a") is None
    assert len(other.waiting()) == 1
    assert other.cash() == 5
    with pytest.raises(NotFound, match="other has no order a"):
        other.history("a")


def test_a_signal_leads_to_an_order_of_one_account_whichever_asks_first(
    store: OrderStore, database: Database
) -> None:
    other = OrderStore(database, "other")
    assert not other.take(instruction("up", Action.BUY))
    assert other.outcomes() == {}
    assert not other.create(create(market("b", Side.BUY, "2"), Origin("other", "sma-50-200", "up"), 5))
    assert store.create(ORDER)


def test_an_order_for_a_signal_that_was_not_taken_is_not_stored(store: OrderStore) -> None:
    stray = create(market("b", Side.BUY, "2"), Origin("main", "sma-50-200", "never"), 5)
    assert not store.create(stray)
    assert store.order("b") is None


def test_a_step_from_an_older_one_stores_nothing(store: OrderStore) -> None:
    store.create(ORDER)
    sent = ORDER.turn(OrderState.SENT, 6)
    assert store.save(ORDER, sent)
    assert not store.save(ORDER, ORDER.turn(OrderState.CANCELLED, 7))
    assert store.order("a") == sent


def test_fills_that_were_told_otherwise_before_store_nothing(store: OrderStore) -> None:
    store.create(ORDER)
    sent = ORDER.turn(OrderState.SENT, 6)
    part = sent.advance(
        OrderStatus(OrderState.PARTIALLY_FILLED, Decimal(1), Decimal("100.10"), Decimal("0.1")), 7
    )
    done = part.advance(OrderStatus(OrderState.FILLED, Decimal(2), Decimal("200.20"), Decimal("0.2")), 8)
    store.save(ORDER, sent)
    store.save(sent, part, [fill(1, "1")])
    with pytest.raises(OrderError, match="tells other fills"):
        store.save(part, done, [fill(1, "1", price="100.20"), fill(2, "1")])
    with pytest.raises(OrderError, match="tells other fills"):
        store.save(part, done, [fill(2, "1")])
    assert store.order("a") == part
    assert len(store.history("a")) == 3
    assert store.positions()["BTCUSDT"].quantity == 1
    assert store.save(part, done, [fill(1, "1"), fill(2, "1")])
    assert store.positions()["BTCUSDT"].quantity == 2


def test_a_fill_of_two_orders_is_an_error_and_stores_nothing(store: OrderStore) -> None:
    store.create(ORDER)
    store.take(instruction("second", Action.BUY))
    second = create(market("b", Side.BUY, "2"), Origin("main", "sma-50-200", "second"), 6)
    store.create(second)
    done = OrderStatus(OrderState.FILLED, Decimal(2), Decimal("200.20"), Decimal("0.1"))
    for order in (ORDER, second):
        store.save(order, order.turn(OrderState.SENT, 6))
    store.save(
        ORDER.turn(OrderState.SENT, 6), ORDER.turn(OrderState.SENT, 6).advance(done, 7), [fill(1, "2")]
    )
    sent = second.turn(OrderState.SENT, 6)
    with pytest.raises(StoreError):
        store.save(sent, sent.advance(done, 7), [fill(1, "2")])
    assert store.order("b") == sent
    assert store.positions()["BTCUSDT"].quantity == 2


def test_what_a_person_accepts_is_noted_and_counts(store: OrderStore) -> None:
    store.adjust(
        [Adjustment("BTCUSDT", Decimal("0.5"), Decimal(0)), Adjustment("", Decimal(0), Decimal("-7.25"))],
        "it was sold by hand", 12, 9,
    )  # fmt: skip
    assert store.positions()["BTCUSDT"].quantity == Decimal("0.5")
    assert store.cash() == Decimal("992.75")
    opened = store.opened()
    assert opened is not None
    assert opened.compared_fill == 12
    store.compared(3)
    assert store.opened() == opened


def test_whole_lives_end_alike_in_every_database(database: Database) -> None:
    for name, script, plan in (("m", MARKET_SCRIPT, MARKET_PLAN), ("l", LIMIT_SCRIPT, LIMIT_PLAN)):
        World(database, name, plan, Wire(), Wire()).live(script)
    filled = Decimal("97.551")
    assert check(database, "m") == [("up", OrderState.FILLED, filled), ("down", OrderState.FILLED, filled)]
    assert check(database, "l") == [
        ("up", OrderState.CANCELLED, Decimal(8)),
        ("down", OrderState.FILLED, Decimal(8)),
    ]


@pytest.mark.parametrize("together", [True, False])
def test_lives_that_are_killed_now_and_then_agree_in_every_database(
    database: Database, together: bool
) -> None:
    for first in (5, 9, 14):
        wire = Wire(range(first, 200, 16))
        name = f"killed-{first}"
        World(database, name, MARKET_PLAN, wire, wire if together else Wire(range(2, 60, 7))).live(
            MARKET_SCRIPT
        )
        assert [signal for signal, _, _ in check(database, name)] == ["up", "down"]
