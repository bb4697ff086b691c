"""Whoever is killed between two steps of an order's life: no order is doubled, none is forgotten."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from raysignal.engine.core.orders import OrderState
from raysignal.engine.database.database import Database, open_database
from tests.support.effort import examples
from tests.support.order_script import (
    MARKET_PLAN,
    MARKET_SCRIPT,
    Happening,
    Wire,
    World,
    check,
)

_numbers = count(1)
MARKET = MARKET_SCRIPT, MARKET_PLAN
BOTH_FILLED = [("up", OrderState.FILLED, Decimal("97.551")), ("down", OrderState.FILLED, Decimal("97.551"))]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all lives, each in accounts of its own. A kill that is raised leaves the system up: no need to wait for
    the disk.
    """
    opened = open_database(f"sqlite:///{tmp_path_factory.mktemp('killed') / 'market.db'}")
    event.listen(
        opened._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
    )
    opened.close()
    yield opened
    opened.close()


def lived(
    database: Database, life: tuple[Sequence[Happening], object], trader: Wire, exchange: Wire
) -> World:
    script, plan = life
    world = World(database, f"account-{next(_numbers)}", plan, trader, exchange)  # type: ignore[arg-type]
    world.live(script)
    return world


@pytest.mark.slow
def test_a_trader_that_is_killed_between_any_two_steps_makes_the_same_orders(database: Database) -> None:
    for step in count(1):
        world = lived(database, MARKET, Wire([step]), Wire())
        assert check(database, world.account) == BOTH_FILLED, step
        if not world.deaths:
            break
    assert step > 40


def test_an_exchange_that_is_killed_between_any_two_steps_makes_the_same_orders(database: Database) -> None:
    for step in count(1):
        world = lived(database, MARKET, Wire(), Wire([step]))
        assert check(database, world.account) == BOTH_FILLED, step
        if not world.deaths:
            break
    assert step > 12


@pytest.mark.slow
@settings(max_examples=examples(12))
@given(
    steps=st.lists(st.integers(1, 120), min_size=2, max_size=8, unique=True),
    of=st.sampled_from(["trader", "both"]),
)
def test_however_often_they_are_killed_the_orders_are_the_same(
    database: Database, steps: list[int], of: str
) -> None:
    trader = Wire(steps)
    world = lived(database, MARKET, trader, trader if of == "both" else Wire())
    assert [signal for signal, _, _ in check(database, world.account)] == ["up", "down"]
