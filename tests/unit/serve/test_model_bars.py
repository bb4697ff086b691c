"""Positions of generated signals meet their stops and targets by the market's bars, each once, whoever brings them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from raysignal.agents.inference.indicators import full_name
from raysignal.agents.inference.stored_bars import PRICE_SOURCE
from raysignal.agents.inference.values import SignalRequest
from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import open_database
from raysignal.engine.market.bar_rows import store_bars
from raysignal.engine.market.bars import Bar, Basis
from tests.support.one_replica import replica, speaking_to
from tests.support.onnx_models import feed_forward, write_model

FROM_DB, GENERATE = "/api/signals/generate-from-db", "/api/signals/generate"
FIRST_US, MINUTE = parse_instant("2026-03-02T08:00:00Z"), 60_000_000
WARM_UP = 40


class Clock:
    now_us = FIRST_US

    def __call__(self) -> int:
        return self.now_us


def drawn_bars(seed: int, n: int = 240, moves: float = 0.001) -> list[Bar]:
    """Minutes of a random walk; sessions end now and then, and the next one opens elsewhere."""
    random, instrument = np.random.default_rng(seed), Instrument("binance-usdm", "USDCOP", 2, 2)
    bars, open_us, price = [], FIRST_US, 4_000.0
    for _ in range(n):
        if random.random() < 0.06:
            open_us += 14 * 60 * MINUTE
            price *= float(np.exp(random.normal(0.0, 8.0 * moves)))
        first = price * float(np.exp(random.normal(0.0, moves / 10)))
        price = first * float(np.exp(random.normal(0.0, moves)))
        up, down = random.exponential(moves / 2, 2)
        ends = [first, max(first, price) * (1.0 + up), min(first, price) * (1.0 - down), price]
        bars.append(
            Bar(instrument, Basis.TRADES, MINUTE, open_us, *(round(each * 100) for each in ends), 100, 3)
        )
        open_us += MINUTE
    return bars


def keep(folder: Path, bars: list[Bar]) -> None:
    database = open_database(f"sqlite:///{folder / 'market.db'}")
    with database.writing() as connection:
        store_bars(database, connection, bars)
    database.close()


def followed(folder: Path, **feed: Any) -> dict[str, Any]:
    return {
        "database_url": f"sqlite:///{folder / 'market.db'}",
        "feed": {"instruments": ("binance-usdm:USDCOP",)} | feed,
    }


def settings_of(folder: Path, **inference: Any) -> dict[str, Any]:
    model = write_model(folder / "model", feed_forward(2), features=["rsi(14)", "returns(1)"], bar="1m")
    return followed(folder) | {
        "inference": {"model": str(model), "confidence": 0.0, "position_size": 0.5} | inference,
    }


@dataclass(frozen=True, slots=True)
class Exit:
    at_us: int
    price: float
    reason: str


def first_exit(side: int, stop: float, target: float, bars: list[Bar]) -> Exit | None:
    """Slow and obvious: where a position is closed first, the stop before the target within a bar."""
    for bar in bars:
        first, high, low = bar.open / 100, bar.high / 100, bar.low / 100
        worst, best = (low, high) if side > 0 else (high, low)
        if side * (first - stop) <= 0.0:
            return Exit(bar.open_us, first, "stop")
        if side * (first - target) >= 0.0:
            return Exit(bar.open_us, first, "target")
        if side * (worst - stop) <= 0.0:
            return Exit(bar.end_us, stop, "stop")
        if side * (best - target) >= 0.0:
            return Exit(bar.end_us, target, "target")
    return None


async def all_closed(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/api/signals/positions/closed", params={"limit": 1000})
    found: list[dict[str, Any]] = answer.json()["positions"]
    return found


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_positions_close_where_the_slow_reference_says(tmp_path: Path, seed: int, live: bool) -> None:
    bars, clock = drawn_bars(seed), Clock()
    keep(tmp_path, bars)
    calls = set(
        np.random.default_rng(seed).choice(np.arange(WARM_UP, len(bars) - 1), 40, replace=False).tolist()
    )
    async with replica(tmp_path, now_us=clock, **settings_of(tmp_path)) as found, speaking_to(found) as http:
        made: dict[str, dict[str, Any]] = {}
        for place, bar in enumerate(bars):
            clock.now_us = bar.end_us
            if live and place % 3:
                await found.models.follow_bars(clock.now_us)
            if place in calls:
                answer = await http.post(FROM_DB, json={"symbol": "USDCOP"})
                assert answer.status_code == 200, answer.text
                made[answer.json()["signal_id"]] = answer.json()
        for _ in range(2):
            await found.models.follow_bars(clock.now_us + 10 * MINUTE)
        closed = await all_closed(http)
        active = (await http.get("/api/signals/positions/active")).json()["positions"]
        rows = (await http.get("/history", params={"portfolio": "model", "limit": 1000})).json()["rows"]
    reasons = []
    for position in [*closed, *active]:
        signal = made[position["entry_signal_id"]]
        began_us = parse_instant(signal["timestamp"])
        side = 1 if signal["action"] == "BUY" else -1
        ends_us = parse_instant(position["exit_time"]) if position.get("exit_time") else bars[-1].end_us
        after = [bar for bar in bars if bar.open_us >= began_us and bar.end_us <= ends_us + MINUTE]
        expected = first_exit(side, signal["stop_loss"], signal["take_profit"], after)
        if position.get("exit_reason") in {"stop", "target"}:
            assert expected == Exit(ends_us, position["exit_price"], position["exit_reason"])
            reasons.append((position["exit_reason"], ends_us % (24 * 60 * MINUTE)))
        else:
            assert expected is None or expected.at_us > ends_us
    assert {reason for reason, _ in reasons} == {"stop", "target"}
    prices = [row["signal_id"] for row in rows if row["source"] == PRICE_SOURCE]
    assert len(prices) == len(set(prices)) > 0


BUY = {
    "symbol": "USDCOP", "close_price": 4000.0, "rsi": 20.0, "macd": 2.0, "macd_signal": -1.0, "ema": 3990.0,
    "bollinger_low": 4010.0, "atr": 5.0,
}  # fmt: skip
"""Is bought without a model, with a stop at 3990 and a target at 4015."""


def bar_at(place: int, first: float, high: float, low: float, last: float) -> Bar:
    instrument, ticks = (
        Instrument("binance-usdm", "USDCOP", 2, 2),
        (round(each * 100) for each in (first, high, low, last)),
    )
    return Bar(instrument, Basis.TRADES, MINUTE, FIRST_US + place * MINUTE, *ticks, 100, 3)


DIP = bar_at(1, 4000.0, 4001.0, 3985.0, 4000.5)
GAP = bar_at(600, 3980.0, 3995.0, 3970.0, 3994.0)
UP = bar_at(600, 4020.0, 4021.0, 4019.0, 4020.0)
QUIET = bar_at(1, 4000.0, 4001.0, 3999.0, 4000.5)


@pytest.mark.parametrize("by", ["a call", "following"])
@pytest.mark.parametrize(
    ("after", "exit_price", "reason", "at_us"),
    [
        ([DIP], 3990.0, "stop", DIP.end_us),
        ([QUIET, GAP], 3980.0, "stop", GAP.open_us),
        ([QUIET, UP], 4020.0, "target", UP.open_us),
    ],
)
async def test_a_level_that_bars_met_between_two_calls_closes_the_position_there_once(
    tmp_path: Path, after: list[Bar], exit_price: float, reason: str, at_us: int, by: str
) -> None:
    keep(tmp_path, [bar_at(0, 3999.0, 4000.0, 3900.0, 4000.0), *after])
    clock = Clock()
    clock.now_us = FIRST_US + MINUTE
    async with replica(tmp_path, now_us=clock, **followed(tmp_path)) as found, speaking_to(found) as http:
        bought = (await http.post(GENERATE, json=BUY)).json()
        assert (bought["action"], bought["stop_loss"], bought["take_profit"]) == ("BUY", 3990.0, 4015.0)
        clock.now_us = after[-1].end_us + 30 * 1_000_000
        if by == "following":
            for _ in range(2):
                await found.models.follow_bars(clock.now_us + MINUTE)
        held = {"symbol": "USDCOP", "close_price": 4000.0, "rsi": 50.0}
        assert (await http.post(GENERATE, json=held)).status_code == 200
        (closed,) = await all_closed(http)
        assert (closed["exit_price"], closed["exit_reason"]) == (exit_price, reason)
        assert parse_instant(closed["exit_time"]) == at_us
        rows = (await http.get("/history", params={"portfolio": "model"})).json()["rows"]
        ids = [row["signal_id"] for row in rows]
        assert len(ids) == len(set(ids))


async def test_bars_are_brought_of_what_is_held_alone_and_not_where_bars_are_not_posted(
    tmp_path: Path,
) -> None:
    keep(tmp_path, [bar_at(place, 4000.0, 4001.0, 3985.0, 4000.0) for place in range(5)])
    for posts in (True, False):
        clock, folder = Clock(), tmp_path / str(posts)
        settings = followed(tmp_path, post_bars=posts)
        async with replica(folder, now_us=clock, **settings) as found, speaking_to(found) as http:
            bodies = [BUY | {"symbol": "MXN"}, {"symbol": "USDCOP", "close_price": 4000.0, "rsi": 50.0}]
            for body in [*bodies, BUY] if not posts else bodies:
                assert (await http.post(GENERATE, json=body)).status_code == 200
            await found.models.follow_bars(clock.now_us + 60 * MINUTE)
            rows = (await http.get("/history", params={"portfolio": "model"})).json()["rows"]
            assert {row["source"] for row in rows} == {"model"}


async def test_a_bar_that_is_missing_is_waited_for_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    keep(tmp_path, [QUIET, bar_at(3, 4000.0, 4001.0, 3999.0, 4000.5)])
    clock.now_us = FIRST_US + MINUTE
    async with replica(tmp_path, now_us=clock, **followed(tmp_path)) as found, speaking_to(found) as http:
        await http.post(GENERATE, json=BUY)

        async def newest(now_us: int) -> str:
            await found.models.follow_bars(now_us)
            rows = (await http.get("/history", params={"portfolio": "model"})).json()["rows"]
            return str(rows[-1]["timestamp"])

        assert await newest(FIRST_US + 4 * MINUTE) == "2026-03-02T08:02:00Z"
        keep(tmp_path, [bar_at(2, 4000.0, 4001.0, 3985.0, 4000.5)])
        assert await newest(FIRST_US + 4 * MINUTE + 1) == "2026-03-02T08:04:00Z"
        (closed,) = await all_closed(http)
        assert closed["exit_time"] == "2026-03-02T08:03:00Z"
        await http.post(GENERATE, json=BUY | {"timestamp": "2026-03-02T08:04:00Z"})
        keep(tmp_path, [bar_at(6, 4000.0, 4001.0, 3999.0, 4000.5)])
        assert await newest(FIRST_US + 7 * MINUTE) == "2026-03-02T08:04:00Z"
        assert await newest(FIRST_US + 8 * MINUTE) == "2026-03-02T08:07:00Z"


@pytest.mark.parametrize("cut", ["no", "between record and portfolio"])
async def test_bars_between_two_signals_are_in_between_also_where_both_come_at_once_or_late(
    tmp_path: Path, cut: str
) -> None:
    keep(tmp_path, [DIP, bar_at(2, 4000.5, 4001.0, 3999.0, 4000.0)])
    features = {full_name(name): value for name, value in BUY.items() if not isinstance(value, str)}
    del features["close_price"]
    asked = [
        SignalRequest("USDCOP", FIRST_US + place * MINUTE, 4000.0, features, f"id-{place}")
        for place in (1, 3)
    ]
    async with replica(tmp_path, now_us=Clock(), **followed(tmp_path)) as found, speaking_to(found) as http:
        if cut == "no":
            await found.models.generate(asked)
        else:
            found.desk.broken = StoreUnavailable("not now")
            assert {type(each) for each in await found.models.generate(asked)} == {StoreUnavailable}
            assert (await found.models.info())["steps"] == 2
            found.desk.broken = None
            await found.models.follow_bars(asked[1].at_us)
        (closed,) = await all_closed(http)
        assert (closed["entry_signal_id"], closed["exit_reason"], closed["exit_price"]) == (
            "id-1",
            "stop",
            3990.0,
        )
        (active,) = (await http.get("/api/signals/positions/active")).json()["positions"]
        assert active["entry_signal_id"] == "id-3"
        rows = (await http.get("/history", params={"portfolio": "model"})).json()["rows"]
        assert [row["signal_id"] for row in rows if row["source"] == "model"] == ["id-1", "id-3"]
