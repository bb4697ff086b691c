"""Half an hour of a disturbed market through all that follows it; `python -m benchmarks day` has a day."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.day import START_US, Day, Terms, figures_of, judged
from raysignal.engine.core.orders import OrderState, OrderType
from raysignal.loopback.exchanges.disturbance import OF_A_FEED

MINUTES = 30

pytestmark = pytest.mark.slow


@pytest.fixture
def day_of(tmp_path: Path) -> Iterator[Callable[[Terms], Day]]:
    days: list[Day] = []

    def lived(terms: Terms) -> Day:
        days.append(Day(tmp_path, terms))
        days[-1].live()
        return days[-1]

    yield lived
    for day in days:
        day.close()


@pytest.mark.parametrize(
    ("venue", "kind"),
    [pytest.param("binance-usdm", OrderType.MARKET, marks=pytest.mark.long), ("binance", OrderType.LIMIT)],
)
def test_no_bar_is_lost_and_the_orders_stored_are_the_exchanges(
    day_of: Callable[[Terms], Day], venue: str, kind: OrderType
) -> None:
    day = day_of(Terms(MINUTES, venue, seed=1, mean_s=20.0, kind=kind, regime_s=200.0))
    figures = judged(day)
    assert [each for each in figures if each.reached is False] == []
    assert set(day.exchange.orders.done) == set(OF_A_FEED)
    assert day.station.status()["bars_mended"] >= 3
    assert day.station.status()["crossovers_restarted"] == 0
    assert [each.state for each in day.orders.orders()].count(OrderState.FILLED) >= 2
    assert len(day.oracle) == MINUTES


@pytest.mark.parametrize(
    "venue",
    [pytest.param("binance", marks=pytest.mark.long), "okx"],  # that numbers its trades, and that does not
)
def test_without_klines_no_bar_is_wrong_and_those_that_no_outage_touched_are_whole(
    day_of: Callable[[Terms], Day], venue: str
) -> None:
    day = day_of(Terms(MINUTES, venue, mean_s=20.0, klines=False))
    stored, touched = day.stored(), day.seen.missed_minutes()
    whole = {minute for minute, bar in stored.items() if bar.complete}
    assert 3 <= len(touched) <= MINUTES - 3
    assert START_US // 60_000_000 in touched  # the bar in which the connection began
    assert day.oracle.keys() - touched <= whole
    assert all(figures_of(stored[minute]) == day.oracle[minute] for minute in whole)
    assert whole.isdisjoint(touched)
    assert day.order_differences() == []
