"""Funding of positions at a paper venue: when it is paid, how much, once, and whose profit it comes out of."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.core.events import FundingPayment, OrderFill, PathRestarted, PlannedOrder
from raysignal.engine.core.market_events import ContractState, Instrument, Trade
from raysignal.engine.database.database import open_database
from raysignal.engine.execution.paper_state import PaperRecords, PaperState
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.ends import MarketEnd
from raysignal.engine.pipeline.paper_venue import NEVER_US, CandleDepth
from raysignal.runtime.pipeline import Pipeline, build
from tests.support.pipelines import Events, config_of

SWAP = Instrument("okx", "BTC-USDT-SWAP", 1, 0, Decimal("0.01"))
DUE_US = 1_000_000_000
CONFIG = config_of(
    instruments=[{"symbol": "BTC", "market": "okx:BTC-USDT-SWAP"}],
    portfolio={"side": "long-short"}, venue={"kind": "paper", "fee_bps": 0},
)  # fmt: skip


def state(
    at_us: int, rate: str | None = "0.001", next_us: int = DUE_US, mark: str = "100.5"
) -> ContractState:
    said = None if rate is None else Decimal(rate)
    return ContractState(SWAP, Decimal(mark), Decimal(100), said, next_us, None, at_us, at_us)


class World:
    """A path at a paper venue, whose orders are given by hand."""

    def __init__(self, records: Any = None) -> None:
        self.pipeline: Pipeline = build(CONFIG, {"BTC": SWAP}, records_of=records)
        self.events = Events()
        assert self.pipeline.venue is not None
        self.venue = self.pipeline.venue
        self.driver = PathDriver(self.pipeline.path, self.pipeline.portfolio, self.venue, log=self.events)
        self._orders = 0

    def trade(self, side: int, contracts: int, at_us: int) -> None:
        """Have an order filled."""
        self._orders += 1
        order = PlannedOrder(
            at_us=at_us, symbol="BTC", client_id=f"order{self._orders}", side=side, quantity=str(contracts),
            limit_price=None, decided_price=100.0,
        )  # fmt: skip
        self.driver.book_changed(CandleDepth(SWAP, 100.0, 0.0), at_us)
        self.driver.send(order)
        self.driver.book_changed(CandleDepth(SWAP, 100.0, 0.0), at_us + 1)

    def paid(self) -> list[FundingPayment]:
        return self.events.of(FundingPayment)


@pytest.mark.parametrize(("side", "amount"), [(1, "0.5025"), (-1, "-0.5025")])
def test_longs_pay_shorts_their_share_of_the_positions_value_at_its_instant(side: int, amount: str) -> None:
    world = World()
    world.driver.market(state(1), None)
    world.trade(side, 500, 10)  # 5 BTC
    world.driver.market(state(20, mark="100.5"), None)
    cash = world.pipeline.portfolio.cash
    world.driver.market(Trade(SWAP, "1", 1_000, 1, 1, DUE_US - 1, DUE_US - 1), None)
    assert world.paid() == []
    world.driver.market(Trade(SWAP, "2", 1_000, 1, 1, DUE_US, DUE_US), None)
    assert world.paid() == [
        FundingPayment(
            at_us=DUE_US, symbol="BTC", rate="0.001", price="100.5", quantity=str(5 * side), amount=amount
        )
    ]
    assert world.pipeline.portfolio.cash == pytest.approx(cash - float(amount), abs=1e-12)
    assert world.venue.funding_us == NEVER_US


def test_funding_is_paid_once_however_late_the_venue_says_the_next_one() -> None:
    world = World()
    world.trade(1, 500, 10)
    for said in (state(20), state(DUE_US - 5), state(DUE_US + 5), state(DUE_US + 9, next_us=2 * DUE_US)):
        world.driver.market(said, None)
    assert [each.at_us for each in world.paid()] == [DUE_US]
    world.driver.market(state(2 * DUE_US + 1, rate="0.002", next_us=3 * DUE_US), None)
    assert [(each.at_us, each.rate) for each in world.paid()] == [(DUE_US, "0.001"), (2 * DUE_US, "0.001")]


def test_who_holds_nothing_or_does_not_know_the_rate_pays_nothing() -> None:
    world = World()
    world.driver.market(state(1), None)
    world.driver.market(state(DUE_US + 1, rate=None, next_us=2 * DUE_US), None)
    world.trade(1, 500, DUE_US + 10)
    world.driver.market(state(2 * DUE_US + 1, rate=None, next_us=3 * DUE_US), None)
    assert world.paid() == []


def test_funding_that_falls_due_while_no_process_runs_is_not_paid_also_where_its_session_is_played() -> None:
    world = World()
    world.trade(1, 500, 10)
    world.driver.market(state(20), None)
    world.driver.take(PathRestarted(at_us=30, symbol=""))
    world.driver.market(Trade(SWAP, "1", 1_000, 1, 1, DUE_US + 1, DUE_US + 1), None)
    assert world.paid() == []
    world.driver.market(state(DUE_US + 5, next_us=2 * DUE_US), None)
    world.driver.market(state(2 * DUE_US + 5, next_us=3 * DUE_US), None)
    assert [each.at_us for each in world.paid()] == [2 * DUE_US]


def test_profit_of_a_trade_is_after_its_funding() -> None:
    world = World()
    world.trade(1, 500, 10)
    world.driver.market(state(20), None)
    world.driver.market(state(DUE_US + 1, next_us=2 * DUE_US), None)
    world.trade(-1, 500, DUE_US + 10)
    earned = sum(each["contribution"] for each in world.pipeline.earnings())
    fills = [float(each.price) * float(each.quantity) * -each.side for each in world.events.of(OrderFill)]
    assert earned == pytest.approx(sum(fills) - 0.5025, abs=1e-9)


def test_funding_of_an_account_in_a_database_is_paid_once_and_told_again_to_who_may_not_have_heard(
    tmp_path: Path,
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'paper.db'}")

    def records(venue: str, _: PaperState) -> PaperRecords:
        return PaperStore(database, f"pipeline:test:{venue}")

    world = World(records)
    world.trade(1, 500, 10)
    world.driver.market(state(20), None)
    world.driver.market(state(DUE_US + 1, next_us=2 * DUE_US), None)
    (paid,) = world.paid()
    again = World(records)  # the process was killed before it said so
    end = MarketEnd(
        again.pipeline.candles, again.venue, again.pipeline.portfolio, log=Events(), said=lambda: None
    )
    end.published_before([])
    assert end.waiting(9) == [paid]
    end.published_before([paid])
    assert end.waiting(9) == [paid]
    again.driver.market(state(DUE_US - 1), None)
    again.driver.market(state(DUE_US + 2, next_us=2 * DUE_US), None)
    assert again.paid() == []
    database.close()
