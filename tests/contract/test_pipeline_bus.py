"""A path in two processes with the bus between them says what it says in one, whoever is killed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from raysignal.engine.core.errors import InvalidField, NotFound, StoreUnavailable
from raysignal.engine.core.events import (
    AggregatedSignal,
    Command,
    CommandKind,
    DecisionAnswer,
    OrderEnded,
    OrderFill,
    PlannedOrder,
    RiskVerdict,
)
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.database.database import open_database
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.market.clocks import SystemClock
from raysignal.engine.pipeline.bus import Bus, MemoryBus, open_bus
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.durable_stage import DurableStage
from raysignal.engine.pipeline.ends import (
    DecideEnd,
    MarketEnd,
    decide_group,
    market_group,
    market_stream,
    orders_stream,
)
from raysignal.engine.pipeline.paper_venue import CandleDepth
from raysignal.engine.risk.breaker import TradingState
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_bus import command_over_bus, decide_process, streams_of
from raysignal.runtime.pipeline_config import MemoryConfig, PipelineConfig
from tests.support.pipelines import Events, config_of
from tests.support.redis_server import RedisServer, redis_server

BTC = Instrument("binance-usdm", "BTCUSDT", 2, 3)
STRATEGIES = [{"name": "cross", "kind": "sma", "bar": "1s", "parameters": {"fast": 1, "slow": 3}}]
CONFIG = config_of(
    strategies=STRATEGIES, venue={"kind": "paper"}, portfolio={"side": "long-short", "weight": 0.5}
)
REMEMBERING = CONFIG.model_copy(
    update={"decide": "memory", "memory": MemoryConfig(horizon="2b", least=2.0, against=0.6)}
)
MARKET, ORDERS = market_stream("test"), orders_stream("test")
SAID = (AggregatedSignal, DecisionAnswer, RiskVerdict, PlannedOrder, OrderFill, OrderEnded)


def trades(count: int = 400, seed: int = 1) -> Iterator[Trade]:
    """Four a second, of a price that goes up and down."""
    random, ticks = Random(seed), 10_000
    for number in range(count):
        ticks += random.randint(-40, 40)
        at_us = 1_700_000_000_000_000 + number * 250_000
        yield Trade(BTC, str(number), ticks, 1_000, 1, at_us, at_us)


def play(driver: PathDriver, trade: Trade) -> None:
    driver.book_changed(CandleDepth(BTC, BTC.price(trade.price), 4.0), trade.received_us)
    driver.market(trade, None)


class Split:
    """Both ends in this process; each can be begun anew."""

    def __init__(self, folder: Path, bus: Bus, config: PipelineConfig = CONFIG) -> None:
        self._folder, self.bus, self._config = folder, bus, config
        self.database = open_database(f"sqlite:///{folder}/paper.db")
        self.begin_market()
        self.begin_deciding()

    def begin_market(self) -> None:
        pipeline = build(
            self._config,
            {"BTC": BTC},
            records_of=lambda venue, _: PaperStore(self.database, f"pipeline:test:{venue}"),
        )
        self.market = MarketEnd(
            pipeline.candles, pipeline.venue, pipeline.portfolio, log=Events(), said=lambda: None
        )
        self.bus.join(ORDERS, market_group("test"))
        self.market.published_before(each.event for each in self.bus.entries(MARKET, most=100_000))
        self.market.take_orders(self.bus.claim([ORDERS], market_group("test"), "only", idle_s=0.0))

    def begin_deciding(self) -> None:
        self.pipeline: Pipeline = build(self._config, {"BTC": BTC}, gapless=True)
        self.events = Events()
        self.stage = DurableStage.open(
            DecideEnd(self.pipeline.path, self.events), self.bus, streams=streams_of("test"),
            group=decide_group("test"), consumer="only",
            route=lambda event: ORDERS if isinstance(event, PlannedOrder) else None,
            stores=open_stores((self._folder / "store").as_uri()), cache_dir=self._folder / "cache",
        )  # fmt: skip

    def publish(self, *, acknowledge: bool = True) -> None:
        events = self.market.waiting(100_000)
        self.bus.publish(MARKET, events)
        done = self.market.published(len(events))
        if acknowledge:
            self.bus.acknowledge(market_group("test"), done)

    def take_orders(self) -> int:
        found = self.bus.read([ORDERS], market_group("test"), "only", wait_s=0.0)
        self.market.take_orders(found)
        return len(found)

    def settle(self) -> None:
        """Until neither end has anything to say."""
        while True:
            self.publish()
            while self.stage.step(wait_s=0.0):
                pass
            if not self.take_orders() and not self.market.waiting(1):
                return

    def said(self, kind: type | tuple[type, ...]) -> list[Any]:
        """In the order in which the deciding end took or said them."""
        return [event for event in self.events.everything if isinstance(event, kind)]

    def account(self) -> list[tuple[int, str]]:
        store = PaperStore(self.database, "pipeline:test:binance-usdm")
        return [(fill.ordinal, fill.client_id) for fill in store.fills(0)]


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Split]:
    made = Split(tmp_path, MemoryBus())
    yield made
    made.stage.close()
    made.database.close()


def test_two_ends_decide_order_and_fill_what_one_process_does(split: Split) -> None:
    pipeline, alone = build(CONFIG, {"BTC": BTC}, gapless=True), Events()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=alone)
    for trade in trades():
        play(driver, trade)
        play(split.market.driver, trade)
        split.settle()
    assert len(alone.of(OrderFill)) > 20
    assert split.said(SAID) == [event for event in alone.everything if isinstance(event, SAID)]
    assert split.pipeline.portfolio.equity == pipeline.portfolio.equity


def test_memory_says_in_two_processes_what_it_says_in_one_also_after_a_kill(tmp_path: Path) -> None:
    split = Split(tmp_path, MemoryBus(), REMEMBERING)
    pipeline, alone = build(REMEMBERING, {"BTC": BTC}, gapless=True), Events()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=alone)
    for number, trade in enumerate(trades(200)):
        play(driver, trade)
        play(split.market.driver, trade)
        split.settle()
        if number == 150:
            deciding_again(split)
    answers = [event for event in alone.everything if isinstance(event, DecisionAnswer)]
    assert any(each.side is not None for each in answers)
    assert split.said(DecisionAnswer) == answers
    split.stage.close()
    split.database.close()


async def test_review_is_for_one_process_and_is_refused(tmp_path: Path) -> None:
    config = config_of(strategies=STRATEGIES, decide="review")
    with pytest.raises(InvalidField, match="decide is 'review'; expected none or memory"):
        async with decide_process(
            config, "", MemoryBus(), open_stores(tmp_path.as_uri()), tmp_path / "cache", log=Events(),
            hosts_of=lambda venue: venue.hosts, clock=SystemClock(), random=Random(1),
        ):  # fmt: skip
            pass


def settled(split: Split) -> None:
    """What must hold when no order is under way."""
    fills = split.said(OrderFill)
    assert [(fill.ordinal, fill.client_id) for fill in fills] == split.account()
    ordered = [order.client_id for order in split.said(PlannedOrder)]
    assert ordered == [end.client_id for end in split.said(OrderEnded)]
    assert len(set(ordered)) == len(ordered) > 5


def not_published(split: Split) -> None:
    """The market's end dies with fills that it has not published."""
    split.take_orders()
    split.begin_market()


def not_acknowledged(split: Split) -> None:
    """It dies after it has published an end, before it acknowledges the order."""
    split.take_orders()
    split.publish(acknowledge=False)
    split.begin_market()


def not_submitted(split: Split) -> None:
    """It dies with orders that it was given and has not submitted."""
    split.bus.read([ORDERS], market_group("test"), "only", wait_s=0.0)
    split.begin_market()


def deciding_again(split: Split) -> None:
    """The end that decides dies; it publishes its last orders again."""
    split.stage.close()
    split.begin_deciding()


@pytest.mark.parametrize("dies", [not_published, not_acknowledged, not_submitted, deciding_again])
def test_end_that_dies_at_any_place_loses_and_doubles_nothing(
    split: Split, dies: Callable[[Split], None]
) -> None:
    for trade in trades(600):
        play(split.market.driver, trade)
        split.publish()
        while split.stage.step(wait_s=0.0):
            pass
        if len(split.said(PlannedOrder)) > len(split.said(OrderEnded)):
            dies(split)
        split.settle()
    settled(split)


def read_and_gone(split: Split) -> None:
    """The end that decides dies with events that it was given and did not take in."""
    split.publish()
    split.bus.read(streams_of("test"), decide_group("test"), "only", wait_s=0.0)
    deciding_again(split)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("home", ["memory", "redis"])
@pytest.mark.parametrize("deaths", [5, pytest.param(200, marks=pytest.mark.long)])
def test_deciding_end_that_dies_at_random_says_what_one_that_lives_does(
    home: str, deaths: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    random, count = Random(deaths), max(120, 3 * deaths)
    dies_at = set(random.sample(range(count), deaths))
    runs: list[tuple[Any, ...]] = []
    for folder in ("lives", "dies"):
        (tmp_path / folder).mkdir()
        disturbed = folder == "dies"
        if home == "redis" and disturbed:
            bus: Bus = open_bus(request.getfixturevalue("server").url)
        else:
            bus = MemoryBus()
        split = Split(tmp_path / folder, bus)
        for trade in trades(count):
            play(split.market.driver, trade)
            if disturbed and int(trade.trade_id) in dies_at:
                random.choice([read_and_gone, deciding_again])(split)
            split.settle()
        settled(split)
        runs.append((split.said(SAID), split.pipeline.weights(), split.pipeline.earnings(), split.account()))
        split.stage.close()
        split.database.close()
        bus.close()
    assert runs[0] == runs[1]


def test_candles_that_are_missed_while_the_market_end_is_away_begin_a_new_warm_up(split: Split) -> None:
    for trade in trades(80):
        number = int(trade.trade_id)
        if number == 40:
            split.begin_market()
        if not 40 <= number < 60:
            play(split.market.driver, trade)
            split.settle()
    codes = [alarm.code for alarm in split.events.outputs if type(alarm).__name__ == "Alarm"]
    assert "candles_missing" in codes


def test_market_end_whose_events_the_bus_does_not_take_ends_with_a_sentence(tmp_path: Path) -> None:
    pipeline = build(CONFIG, {"BTC": BTC})
    market = MarketEnd(
        pipeline.candles, pipeline.venue, pipeline.portfolio, log=Events(), said=lambda: None, bound=2
    )

    def follow() -> None:
        for trade in trades(20):
            play(market.driver, trade)

    with pytest.raises(StoreUnavailable, match="2 events wait for the bus, as many as may"):
        follow()
    assert len(market.waiting(10)) == 2


def command(kind: CommandKind, at_us: int, who: str = "kim") -> Command:
    return Command(at_us=at_us, symbol="", command=kind, who=who, reason="looked at it")


def tell(split: Split, kind: CommandKind, at_us: int) -> None:
    """As another process does; the end that decides runs meanwhile."""
    with ThreadPoolExecutor(1) as others:
        told = others.submit(command_over_bus, split.bus, "test", command(kind, at_us))
        while not told.done():
            split.stage.step(wait_s=0.01)
        told.result()


def test_halt_over_the_bus_is_kept_before_it_is_answered_and_holds_until_a_reset(split: Split) -> None:
    orders: list[int] = []
    for trade in trades(600):
        number = int(trade.trade_id)
        if number == 200:
            tell(split, CommandKind.FLATTEN, trade.received_us)
            deciding_again(split)
            assert split.pipeline.risk.stage.breaker.trading is TradingState.HALTED
        if number == 400:
            assert not split.pipeline.portfolio.positions
            tell(split, CommandKind.RESET, trade.received_us)
            deciding_again(split)
            assert split.pipeline.risk.stage.breaker.trading is TradingState.ACTIVE
        if number in {200, 210, 400}:
            orders.append(len(split.said(PlannedOrder)))
        play(split.market.driver, trade)
        split.settle()
    assert orders[0] > 5
    assert orders[1] == orders[2] <= orders[0] + 1
    assert len(split.said(PlannedOrder)) > orders[2] + 5
    settled(split)


def test_command_that_nobody_takes_says_so_and_is_taken_by_who_begins_later(split: Split) -> None:
    with pytest.raises(StoreUnavailable, match="has not taken the command in 0 s"):
        command_over_bus(split.bus, "test", command(CommandKind.HALT, 5), wait_s=0.0)
    deciding_again(split)
    while split.stage.step(wait_s=0.0):
        pass
    assert split.pipeline.risk.stage.breaker.trading is TradingState.HALTED


def test_command_that_cannot_be_is_refused_and_nothing_is_told(split: Split) -> None:
    with pytest.raises(InvalidField, match="who"):
        command_over_bus(split.bus, "test", command(CommandKind.HALT, 5, who=""))
    with pytest.raises(NotFound, match="pipeline is 'tset'; expected the name"):
        command_over_bus(split.bus, "tset", command(CommandKind.HALT, 5))
    assert split.bus.last("tset.commands").sequence == split.bus.last("test.commands").sequence == 0


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.long)])
def test_processes_and_redis_that_are_killed_lose_and_double_nothing(kills: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.pipeline_killing", str(kills)],
        cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{kills} kills: " in run.stdout
