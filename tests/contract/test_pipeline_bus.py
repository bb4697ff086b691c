"""A path in two processes with the bus between them says what it says in one, whoever is killed."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.errors import InvalidField, NotFound, StoreUnavailable, UnexplainedDifference
from raysignal.engine.core.events import (
    AggregatedSignal,
    Candle,
    Command,
    CommandKind,
    DecisionAnswer,
    OrderEnded,
    OrderFill,
    PlannedOrder,
    PositionDecision,
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
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.model_asker import Advise
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_accounts import AccountDifference, account_name, reconcile
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


def test_account_that_was_made_anew_is_refused_until_it_holds_what_the_journal_says(
    tmp_path: Path, split: Split
) -> None:
    def reconciled(*, accept: bool = False) -> dict[str, AccountDifference]:
        stores = open_stores((tmp_path / "store").as_uri())
        found = reconcile(CONFIG, {"BTC": BTC}, {}, stores, split.database, accept=accept)
        return {each.what: each for each in found}

    def check() -> None:
        pipeline = build(
            CONFIG,
            {"BTC": BTC},
            records_of=lambda _, __: PaperStore(split.database, account_name("test", BTC.venue)),
        )
        assert pipeline.venue is not None
        pipeline.venue.check_told(fills)

    for place, trade in enumerate(trades()):
        play(split.market.driver, trade)
        if place % 20 == 0:
            split.settle()
    split.settle()
    fills, portfolio = split.said(OrderFill), split.pipeline.portfolio
    assert portfolio.positions
    assert reconciled() == {}
    check()

    split.database.close()
    split.database = open_database(f"sqlite:///{tmp_path}/another.db")
    split.begin_market()
    with pytest.raises(
        UnexplainedDifference, match=r"has 0 fills, and has told of number .* pipeline reconcile"
    ):
        check()
    found = reconciled()
    assert found.keys() == {"cash", "BTCUSDT", "last fill"}
    assert float(found["BTCUSDT"].journal) == portfolio.positions["BTC"]
    assert float(found["cash"].journal) == pytest.approx(portfolio.cash)
    assert (found["BTCUSDT"].found, found["cash"].found) == (0, 10_000)
    assert reconciled(accept=True).keys() == found.keys()
    assert reconciled() == {}

    split.begin_market()
    check()
    for trade in trades(800, 2):
        play(split.market.driver, trade)
        split.settle()
    ordinals = [fill.ordinal for fill in split.said(OrderFill)]
    assert len(ordinals) > len(fills)
    assert ordinals == list(range(1, len(ordinals) + 1))
    assert reconciled() == {}


def test_command_shows_the_difference_and_asks_before_it_changes_an_account(
    tmp_path: Path, split: Split
) -> None:
    for trade in trades():
        play(split.market.driver, trade)
    split.settle()
    assert split.pipeline.portfolio.positions
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "name: test\ninstruments: [{symbol: BTC, market: 'binance-usdm:BTCUSDT'}]\n"
        "strategies: [{name: cross, kind: sma, bar: 1s, parameters: {fast: 1, slow: 3}}]\n"
        "portfolio: {side: long-short, weight: 0.5}\nvenue: {kind: paper}\n"
    )
    env = {
        "RAYSIGNAL_STORE": (tmp_path / "store").as_uri(), "COLUMNS": "200",
        "RAYSIGNAL_DATABASE_URL": f"sqlite:///{tmp_path}/another.db",
    }  # fmt: skip

    def run(*more: str, answer: str | None = None) -> tuple[int, str]:
        arguments = ["pipeline", "reconcile", str(file), "--loopback", *more]
        result = CliRunner().invoke(app, arguments, env=env, input=answer)
        return result.exit_code, result.output

    status, said = run(answer="n\n")
    assert (status, "last fill" in said, "BTCUSDT" in said) == (1, True, True), said
    status, said = run("--json")
    assert (status, json.loads(said)["taken_over"]) == (1, False)
    assert run("--yes")[0] == 0
    assert run()[1].strip() == "the accounts of test are what its journal says"


def test_what_has_no_journal_or_no_account_cannot_be_reconciled(tmp_path: Path, split: Split) -> None:
    with pytest.raises(
        NotFound, match="no journal of test; expected the RAYSIGNAL_STORE of its decide stage"
    ):
        reconcile(CONFIG, {"BTC": BTC}, {}, open_stores((tmp_path / "none").as_uri()), split.database)
    alone = config_of(strategies=STRATEGIES)
    with pytest.raises(NotFound, match="test has no account"):
        reconcile(alone, {"BTC": BTC}, {}, open_stores((tmp_path / "store").as_uri()), split.database)


REVIEW = """
name: test
instruments: [{symbol: BTC, market: "binance-usdm:BTCUSDT"}]
strategies: [{name: cross, kind: sma, bar: 1s, parameters: {fast: 1, slow: 3}}]
decide: review
memory: {horizon: 2b, least: 1000000.0}
"""


class SilentAdviser:
    """A model that is asked and never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, _: Any) -> Any:
        self.asked += 1
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """Nothing is held."""


def candles() -> Iterator[Candle]:
    """Seconds from now on, of a price that goes up and down."""
    random, close, now_us = Random(1), 100.0, time.time_ns() // 1000
    for number in count(1):
        close *= 1 + random.uniform(-0.01, 0.01)
        yield Candle(
            at_us=now_us + number * 1_000_000, symbol="BTC", interval_us=1_000_000, open=close, high=close, low=close,
            close=close, volume=1.0,
        )  # fmt: skip


async def test_answers_of_a_review_come_over_the_bus_and_what_a_dead_process_asked_stands(
    tmp_path: Path,
) -> None:
    bus, market, silent = MemoryBus(), candles(), SilentAdviser()
    exchange = GeneratedExchange("binance-usdm", seed=5, start_us=time.time_ns() // 1000, symbols=["BTCUSDT"])

    async def nobody() -> Any:
        return None, "there is no key"

    async def somebody() -> Any:
        return silent, ""

    async def life(advise: Advise, until: Callable[[Events], Any]) -> Events:
        events = Events()
        async with decide_process(
            REVIEW, bus, open_stores((tmp_path / "store").as_uri()),
            tmp_path / "cache", log=events, hosts_of=lambda _: server.hosts, clock=SystemClock(), random=Random(1),
            advise=advise,
        ) as process:  # fmt: skip
            running = asyncio.create_task(process.run())
            try:
                async with asyncio.timeout(120):
                    last: Candle | None = None
                    while not until(events):
                        assert not running.done(), running
                        if last is None or last in events.inputs:
                            last = next(market)
                            bus.publish(MARKET, [last])
                        await asyncio.sleep(0.01)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return events

    def reasons(events: Events) -> list[str]:
        return [each.reason for each in events.everything if isinstance(each, DecisionAnswer)]

    async with ExchangeServer(exchange) as server:
        first = await life(nobody, lambda events: "model_unavailable" in reasons(events))
        (answer, *_) = (each for each in first.inputs if isinstance(each, DecisionAnswer))
        assert (answer.by, answer.side, answer.explanation) == ("nobody", None, "there is no key")
        await life(somebody, lambda _: silent.asked)
        last = await life(nobody, lambda events: "restarted" in reasons(events))
    decided = {each.reason for each in last.everything if isinstance(each, PositionDecision)}
    assert {"model_unavailable", "restarted"} <= decided


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
