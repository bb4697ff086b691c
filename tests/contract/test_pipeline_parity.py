"""A session on three disturbed exchanges plays as it was recorded: without sockets, so that an hour takes minutes."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.events import (
    Alarm,
    Candle,
    CandleBackfill,
    Command,
    CommandKind,
    FundingPayment,
    OrderFill,
)
from raysignal.engine.core.market_events import Channel
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import RestRequest
from raysignal.engine.pipeline.candles import candle_of
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.session import SessionWriter
from raysignal.loopback.exchanges.disturbance import OF_A_FEED, OF_MESSAGES, DisturbancePlan
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.market import MarketMoves
from raysignal.loopback.exchanges.unplugged import Unplugged
from raysignal.runtime.feeds import bars_of_history
from raysignal.runtime.pipeline import subscriptions_of
from raysignal.runtime.pipeline_file import read_config
from raysignal.runtime.pipeline_live import SessionNotes, headers_of
from raysignal.runtime.pipeline_session import Both, SessionPlayer, replay_session, write_about
from tests.support.pipelines import MINUTE_US, Events

CONFIG = """
name: disturbed
instruments:
  - {symbol: BTC, market: "binance-usdm:BTCUSDT"}
  - {symbol: ETH, market: "okx:ETH-USDT-SWAP"}
  - {symbol: SOL, market: "bybit-linear:SOLUSDT"}
strategies:
  - {name: fast, kind: sma, bar: 5s, parameters: {fast: 1, slow: 2}}
  - {name: reversal, kind: bollinger, bar: 1m, parameters: {window: 3, width: 0.5}}
features: [rsi(3), imbalance, spread, depth, micro_price, funding_rate, basis, open_interest_change, liquidations]
aggregation: {method: hit_rate}
portfolio: {weight: 0.3, side: long-short}
venue: {kind: paper, fee_bps: 2, latency_ms: 40}
"""
START_US = 1_700_006_400_000_000 - 90_000_000  # funding is settled a minute and a half later
STEP_US = 100_000
DISTURBED_S = 30.0


class DisturbedVenue:
    """An exchange without sockets, what goes wrong with it, and the feed that a path has of it."""

    def __init__(self, market: str, seed: int) -> None:
        name, _, symbol = market.partition(":")
        self.venue, self._seed, self._random = venue_named(name), seed, Random(seed)
        self.exchange = GeneratedExchange(
            name, seed=seed, start_us=START_US, symbols=[symbol], market=MarketMoves(volatility=3.0)
        )
        body = self.exchange.get(self.venue.instruments_request([symbol]).path).body
        (self.instrument,) = self.venue.read_instruments([symbol], body)
        (self.listing,) = self.venue.read_listings([symbol], body)

    def follow(self, player: SessionPlayer, writer: SessionWriter, series: Sequence[int]) -> None:
        """Connect the path; `series` are the numbers of the venue's connections in the session."""
        sink = player.sink(lambda instrument: self.feed.tracker(instrument))  # noqa: PLW0108 - it is made below
        (wanted,) = subscriptions_of([self.instrument]).values()
        self.feed = Unplugged(
            self.exchange, self.venue, wanted, sink, seed=self._seed, plan=DisturbancePlan(self._seed, DISTURBED_S),
            notes_of=lambda number: SessionNotes(writer, series[number]),
        )  # fmt: skip

    def run(self, until_us: int) -> None:
        """Until then; trades are disturbed beside books and requests."""
        if self._random.random() < STEP_US / 1e6 / DISTURBED_S:
            self.exchange.orders.place(self._random.choice(OF_MESSAGES), channel=Channel.TRADES)
        self.feed.run(until_us)

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:
        """See `engine.market.feed.Answers`."""
        del tries
        answer = self.exchange.get(request.path)
        if answer.status != 200:
            raise StoreUnavailable(f"{answer.status}")
        return answer.body


def record(folder: Path, minutes: int, seed: int) -> tuple[Events, Counter[str]]:
    """A session of so much of the market's time: its events, and what was done to the exchanges."""
    file, session, log = folder / "disturbed.yaml", folder / "session", Events()
    file.write_text(CONFIG, encoding="utf-8")
    config = read_config(file)
    venues = {
        each.symbol: DisturbedVenue(each.market or "", seed + at)
        for at, each in enumerate(config.instruments)
    }
    instruments = {symbol: each.instrument for symbol, each in venues.items()}
    listings = {symbol: each.listing for symbol, each in venues.items()}
    headers = headers_of(instruments.values())
    player = SessionPlayer(config, instruments, listings, headers)
    with SessionWriter(session) as writer:
        write_about(session, CONFIG, config, instruments, listings, headers)
        driver = player.go_live(Both(writer, log))
        for each in venues.values():
            each.follow(
                player, writer, [at for at, header in enumerate(headers) if header.venue == each.venue.name]
            )
        told = [(CommandKind.HALT, 1 / 2), (CommandKind.RESET, 3 / 5)]
        for now_us in range(START_US + STEP_US, START_US + minutes * MINUTE_US, STEP_US):
            for each in venues.values():
                each.run(now_us)
            if told and now_us >= START_US + told[0][1] * minutes * MINUTE_US:
                kind, _ = told.pop(0)
                driver.take(Command(at_us=now_us, symbol="", command=kind, who="kim", reason="a test"))
            if now_us % MINUTE_US == 5 * STEP_US:
                _backfill(player, driver, venues, now_us)
        for each in venues.values():
            each.feed.end()
    return log, sum((Counter(each.exchange.orders.done) for each in venues.values()), Counter())


def _backfill(
    player: SessionPlayer, driver: PathDriver, venues: Mapping[str, DisturbedVenue], now_us: int
) -> None:
    """Ask the venues for what strategies have missed, as `runtime.candle_backfill` does over HTTP."""
    for gap in player.pipeline.strategies.gaps:
        at = venues[gap.symbol]
        with suppress(StoreUnavailable):
            bars = asyncio.run(
                bars_of_history(
                    at.venue, at.instrument, gap.interval_us, gap.from_us, gap.to_us, at, gap.to_us
                )
            )
            candles = tuple(candle_of(gap.symbol, bar, complete=True) for bar in bars)
            if candles:
                driver.take(
                    CandleBackfill(
                        at_us=now_us, symbol=gap.symbol, interval_us=gap.interval_us, candles=candles
                    )
                )


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("minutes", [3, pytest.param(60, marks=pytest.mark.long)])
def test_session_on_three_disturbed_exchanges_plays_as_it_was_recorded(minutes: int, tmp_path: Path) -> None:
    log, disturbed = record(tmp_path, minutes, seed=5)
    check = replay_session(tmp_path / "session")
    assert check.difference is None
    assert check.whole
    assert check.events == len(log.outputs)
    paid = log.of(FundingPayment)
    assert paid
    assert {each.at_us for each in paid} == {START_US + 90_000_000}
    alarms = Counter(alarm.code for alarm in log.of(Alarm))
    backfills = sum(isinstance(event, CandleBackfill) for event in log.inputs)
    print(
        f"{minutes} min of the market on 3 venues, {sum(disturbed.values())} disturbances: the same {check.events} "
        f"events; {len(log.of(Candle))} candles, {len(log.of(OrderFill))} fills, {backfills} backfills, "
        f"alarms {dict(alarms)}"
    )
    assert sum(disturbed.values()) > 5 * minutes
    assert min(alarms["book_lost"], alarms["candles_missing"], len(log.of(OrderFill))) > minutes // 2
    assert {each.command for each in log.inputs if isinstance(each, Command)} == {
        CommandKind.HALT,
        CommandKind.RESET,
    }
    if minutes == 60:
        assert set(OF_A_FEED) <= set(disturbed)
        assert alarms["candles_backfilled"] > 5
