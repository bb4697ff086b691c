"""Generated signals over HTTP, in one process: refusals by name, identity, bars, history, positions."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysignal.agents.inference.indicators import USUAL
from raysignal.engine.core.instants import format_instant, parse_instant
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import open_database
from raysignal.engine.market.bar_rows import store_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.serve.model_signals import AskedSignal, ModelNeeds, completed
from tests.support.one_replica import Replica, replica, speaking_to
from tests.support.onnx_models import feed_forward, write_model

GENERATE, FROM_DB = "/api/signals/generate", "/api/signals/generate-from-db"
CALL = {"symbol": "USDCOP", "close_price": 4250.5, "rsi": 35.5, "macd": -2.3, "macd_signal": -1.8}
BUY = {
    "symbol": "USDCOP", "close_price": 4250.5, "rsi": 20.0, "macd": 2.3, "macd_signal": -1.8, "ema": 4200.0,
    "bollinger_low": 4260.0, "atr": 5.0,
}  # fmt: skip
NOW_US = parse_instant("2026-03-02T15:00:00Z")
MINUTE = 60_000_000


@pytest.mark.parametrize("features", [("rsi(14)", "close"), ("close",)])
def test_a_body_is_the_same_content_to_a_replica_that_does_not_know_of_a_new_model_yet(
    features: tuple[str, ...],
) -> None:
    asked = AskedSignal("USDCOP", NOW_US, 4250.5, {"rsi": 35.5, "macd": -2.3})
    before, after = ModelNeeds((), (), True, None), ModelNeeds(features, (), False, None)
    assert completed(asked, before, None)[0] == completed(asked, after, None)[0]


class Clock:
    """Stands still, but when it is moved."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us

    def go_on(self, seconds: float = 60.0) -> None:
        self.now_us += int(seconds * 1e6)


@asynccontextmanager
async def running(
    folder: Path, now_us: Callable[[], int] | None = None, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Replica]]:
    settings = {"database_url": f"sqlite:///{folder / 'market.db'}"} | settings
    async with replica(folder, now_us=now_us or Clock(), **settings) as found, speaking_to(found) as client:
        yield client, found


def keep_bars(folder: Path, n: int = 60, symbol: str = "USDCOP", gap_after: int | None = None) -> list[Bar]:
    """Minutes whose last has ended at `NOW_US`; with a gap of an hour in between."""
    instrument = Instrument("fx", symbol, 2, 2)
    first = NOW_US - n * MINUTE - (0 if gap_after is None else 60 * MINUTE)
    bars = []
    for at in range(n):
        open_us = first + at * MINUTE + (60 * MINUTE if gap_after is not None and at > gap_after else 0)
        close = 425_000 + 37 * at - 11 * (at % 7) ** 2
        bars.append(
            Bar(instrument, Basis.TRADES, MINUTE, open_us, close, close + 120, close - 90, close, 100, 3)
        )
    database = open_database(f"sqlite:///{folder / 'market.db'}")
    with database.writing() as connection:
        store_bars(database, connection, bars)
    database.close()
    return bars


async def test_the_call_of_a_service_without_a_model_says_placeholder(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, found):
        answer = await http.post(GENERATE, json=CALL)
        assert answer.status_code == 200, answer.text
        signal = answer.json()
        assert list(signal) == [
            "signal_id", "timestamp", "symbol", "action", "confidence", "entry_price", "stop_loss", "take_profit",
            "position_size", "risk_reward_ratio", "model_version", "placeholder", "reasoning", "latency_ms",
        ]  # fmt: skip
        assert (signal["model_version"], signal["placeholder"]) == ("PLACEHOLDER", True)
        assert [signal[name] for name in ("stop_loss", "take_profit", "risk_reward_ratio")] == [None] * 3
        assert "null" in signal["reasoning"][-1]
        assert signal["reasoning"][0].startswith("PLACEHOLDER")
        assert signal["timestamp"] == format_instant(NOW_US)
        assert signal["latency_ms"] >= 0.0
        assert not (tmp_path / "market.db").exists()
    (line,) = [line for line in found.lines if line.get("path") == GENERATE]
    assert (line["placeholder"], line["signal_id"]) == (True, signal["signal_id"])


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "symbol", "symbol is None"),
        (CALL | {"symbol": 5}, "symbol", "expected a text"),
        (CALL | {"symbol": "x" * 65}, "symbol", "64 characters"),
        ({"symbol": "USDCOP"}, "close_price", "close_price is None"),
        (CALL | {"close_price": -1.0}, "close_price", "close_price is -1.0"),
        (CALL | {"close_price": 0}, "close_price", "expected a number from"),
        (CALL | {"close_price": "4250"}, "close_price", "close_price is '4250'"),
        (CALL | {"close_price": True}, "close_price", "close_price is True"),
        (CALL | {"close_price": None}, "close_price", "close_price is None"),
        (CALL | {"close_price": float("nan")}, "close_price", "close_price is nan"),
        (CALL | {"rsi": float("nan")}, "rsi", "rsi is nan; expected a number from 0 to 100"),
        (CALL | {"rsi": float("inf")}, "rsi", "rsi is inf"),
        (CALL | {"rsi": 101}, "rsi", "expected a number from 0 to 100"),
        (CALL | {"macd": "low"}, "macd", "macd is 'low'; expected a finite number"),
        (CALL | {"macd": [1.0]}, "macd", "expected a finite number"),
        (CALL | {"atr": -0.5}, "atr", "atr is -0.5; expected a number from 0 on"),
        (CALL | {"mine": 10**400}, "mine", "expected a finite number"),
        (CALL | {"rsi(14)": 30.0}, "rsi(14)", "expected only one name of rsi(14)"),
        (CALL | {"timestamp": "soon"}, "timestamp", "timestamp is 'soon'"),
        (CALL | {"timestamp": "2026-03-09T15:00:00Z"}, "timestamp", "a time that is not after"),
        (CALL | {"signal_id": ""}, "signal_id", "signal_id is ''"),
        (CALL | {"signal_id": 7}, "signal_id", "signal_id is 7"),
        (CALL | {"episode_start": 1}, "episode_start", "expected true or false"),
        (CALL | {"bar": 60}, "bar", "a length from 1s to 1d"),
        (CALL | {"bar": "7m"}, "bar", "divides a day"),
        (CALL | {f"f{n}": 1.0 for n in range(300)}, "features", "at most 256"),
        (CALL | {"latency_ms": 1.0}, "latency_ms", "it is what the answer says"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name_and_changes_nothing(
    tmp_path: Path, body: dict[str, Any], field: str, said: str
) -> None:
    async with running(tmp_path) as (http, _):
        answer = await http.post(
            GENERATE, content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
        assert said in answer.json()["detail"]
        assert (await http.get("/api/signals/history")).json()["signals"] == []
        assert (await http.get("/api/signals/latest")).status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"symbol": "A", "symbol": "B", "close_price": 1}', "application/json", 422),
        (b"symbol=A", "text/plain", 415),
        (b'{"symbol": "' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
async def test_bodies_that_are_none_are_refused(
    tmp_path: Path, content: bytes, kind: str, status: int
) -> None:
    async with running(tmp_path) as (http, _):
        for path in (GENERATE, FROM_DB):
            answer = await http.post(path, content=content, headers={"Content-Type": kind})
            assert answer.status_code == status, answer.text


async def test_secrets_of_a_body_are_dropped_before_anything(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        answer = await http.post(GENERATE, json=CALL | {"passphrase": "hunter2", "api_key": 5})
        assert answer.status_code == 200, answer.text
        row = (await http.get("/history", params={"portfolio": "model"})).text
        assert "hunter2" not in row
        assert "api_key" not in row


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/signals/latest"),
        ("GET", "/api/signals/history"),
        ("POST", GENERATE),
        ("POST", FROM_DB),
        ("GET", "/api/signals/positions/active"),
        ("GET", "/api/signals/positions/closed"),
        ("GET", "/api/signals/statistics"),
        ("GET", "/api/signals/model/info"),
    ],
)
async def test_with_a_key_nothing_is_generated_or_shown_without_it(
    tmp_path: Path, method: str, path: str
) -> None:
    async with running(tmp_path, api_key="key-1") as (http, _):
        assert (await http.request(method, path, json=CALL)).status_code == 401
        assert (await http.get("/health")).json() == {"status": "ok", "model": "placeholder"}
        headers = {"Authorization": "Bearer key-1"}
        answer = await http.request(method, path, json=CALL, headers=headers)
        assert answer.status_code in {200, 404, 422}
    async with running(tmp_path / "open") as (http, _):
        page = {"Origin": "https://evil.example"}
        answer = await http.request(method, path, json=CALL, headers=page | {"Host": "evil.example"})
        assert answer.status_code == 403
        if method == "POST":
            assert (await http.post(path, json=CALL, headers=page)).status_code == 403


async def test_the_root_is_json_for_programs_and_leads_browsers_to_the_documentation(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
        answer = await http.get("/", headers=browser)
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
        for accept in ("*/*", "application/json", "application/json, text/html"):
            said = (await http.get("/", headers={"Accept": accept})).json()
            assert (said["service"], said["model"]) == ("raysignal", "placeholder")
            assert f"POST {GENERATE}" in said["signals"]
        assert (await http.get("/health")).json() == {"status": "ok", "model": "placeholder"}


async def test_an_identity_is_answered_with_its_first_signal(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock) as (http, _):
        named: list[dict[str, Any]] = [
            {"json": CALL | {"signal_id": "a-1"}},
            {"json": CALL, "headers": {"Idempotency-Key": "a-2"}},
        ]
        for asked in named:
            first = (await http.post(GENERATE, **asked)).json()
            clock.go_on()
            again = await http.post(GENERATE, **asked)
            assert (again.status_code, again.json()) == (200, first)
        other = await http.post(GENERATE, json=CALL | {"signal_id": "a-1", "close_price": 4300.0})
        assert (other.status_code, other.json()["field"]) == (409, "signal_id")
        early = CALL | {"signal_id": "a-1", "timestamp": format_instant(NOW_US)}
        assert (await http.post(GENERATE, json=early)).status_code == 200
        moved = early | {"timestamp": format_instant(NOW_US + 1)}
        assert (await http.post(GENERATE, json=moved)).status_code == 409
        stamped = CALL | {"timestamp": format_instant(clock.now_us)}
        answers = [(await http.post(GENERATE, json=stamped)).json() for _ in range(2)]
        assert answers[0] == answers[1]
        assert (await http.post(GENERATE, json=stamped | {"rsi": 36.0})).status_code == 409
        signals = (await http.get("/api/signals/history")).json()["signals"]
        assert [each["signal_id"] for each in signals[1:]] == ["a-2", "a-1"]
        assert len(signals) == 3


async def test_what_names_no_time_is_never_late_for_another_such(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        answers = await asyncio.gather(
            *(http.post(GENERATE, json=CALL | {"rsi": float(n)}) for n in range(60))
        )
        assert {answer.status_code for answer in answers} == {200}
        stamps = [answer.json()["timestamp"] for answer in answers]
        assert len(set(stamps)) == 60
        late = await http.post(GENERATE, json=CALL | {"timestamp": "2026-03-02T14:00:00Z"})
        assert (late.status_code, late.json()["field"]) == (409, "timestamp")


async def test_missing_indicators_come_from_stored_bars_that_had_ended(tmp_path: Path) -> None:
    bars = keep_bars(tmp_path)
    clock = Clock()
    async with running(tmp_path, clock) as (http, _):
        clock.go_on(30)
        signal = (await http.post(GENERATE, json={"symbol": "fx:USDCOP", "close_price": 4262.0})).json()
        assert "There is no ATR" not in signal["reasoning"][-1]
        row = (await http.get("/history", params={"portfolio": "model"})).json()["rows"][0]
        assert set(USUAL) < set(row["features"])
        early = {
            "symbol": "USDCOP",
            "close_price": 4262.0,
            "rsi": 50.0,
            "timestamp": format_instant(bars[30].end_us),
        }
        assert (await http.post(GENERATE, json=early)).status_code == 200
        features = (await http.get("/history", params={"portfolio": "model"})).json()["rows"][1]["features"]
        assert features["rsi(14)"] == 50.0
        assert "macd(12, 26, 9)" not in features  # there were too few bars for it by then
        closes = [float(Decimal(bar.close) / 100) for bar in bars[11:31]]
        assert features["bollinger_low(20, 2)"] < sum(closes) / 20
        wrong = await http.post(GENERATE, json=CALL | {"bar": "5m"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "bar")


async def test_a_signal_from_the_database_is_of_the_last_bar_once(tmp_path: Path) -> None:
    bars, clock = keep_bars(tmp_path, gap_after=40), Clock()
    async with running(tmp_path, clock) as (http, _):
        first = await http.post(FROM_DB, json={"symbol": "fx:USDCOP"})
        assert first.status_code == 200, first.text
        signal = first.json()
        assert (signal["timestamp"], signal["entry_price"]) == (
            format_instant(NOW_US),
            bars[-1].close / 100,
        )
        assert (await http.post(FROM_DB, json={"symbol": "fx:USDCOP"})).json() == signal
        row = (await http.get("/history", params={"portfolio": "model"})).json()["rows"][0]
        assert (row["features"]["high"], row["features"]["low"]) == (bars[-1].high / 100, bars[-1].low / 100)
        before = await http.post(
            FROM_DB, json={"symbol": "USDCOP", "timestamp": format_instant(bars[40].end_us + 7)}
        )
        assert before.json()["timestamp"] == format_instant(bars[40].end_us)
        named = {"symbol": "fx:USDCOP", "signal_id": "mine"}
        of_id = (await http.post(FROM_DB, json=named)).json()
        clock.go_on(3600)
        assert (await http.post(FROM_DB, json=named)).json() == of_id
        assert (await http.post(FROM_DB, json=named | {"symbol": "USDCOP"})).status_code == 409
        none = await http.post(FROM_DB, json={"symbol": "EURUSD"})
        assert (none.status_code, none.json()["field"]) == (404, "symbol")
        assert "market.db has no bar of EURUSD" in none.json()["detail"]
        for field in ("close_price", "rsi"):
            refused = await http.post(FROM_DB, json={"symbol": "USDCOP", field: 1.0})
            assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_without_a_database_a_signal_from_it_is_refused_and_no_file_is_made(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        assert (await http.post(FROM_DB, json={"symbol": "USDCOP"})).status_code == 404
        assert not (tmp_path / "market.db").exists()


async def test_positions_open_and_close_at_their_levels_and_history_statistics_tell_it(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with running(tmp_path, clock) as (http, _):
        bought = (await http.post(GENERATE, json=BUY)).json()
        assert (bought["action"], bought["stop_loss"], bought["take_profit"]) == ("BUY", 4240.5, 4265.5)
        assert (bought["position_size"], bought["risk_reward_ratio"]) == (0.02, 1.5)
        active = (await http.get("/api/signals/positions/active")).json()
        (position,) = active["positions"]
        assert (position["side"], position["stop_loss"], position["take_profit"]) == ("long", 4240.5, 4265.5)
        assert position["entry_signal_id"] == bought["signal_id"]
        assert active["unrealised_pnl"] == pytest.approx(position["pnl"])
        assert (await http.get("/api/signals/positions/active", params={"symbol": "EURUSD"})).json()[
            "positions"
        ] == []
        clock.go_on()
        await http.post(GENERATE, json=CALL | {"close_price": 4270.0, "high": 4271.0, "low": 4262.0})
        assert (await http.get("/api/signals/positions/active")).json()["positions"] == []
        (closed,) = (await http.get("/api/signals/positions/closed")).json()["positions"]
        assert (closed["exit_reason"], closed["exit_price"]) == ("target", 4265.5)
        said = (await http.get("/api/signals/statistics")).json()
        assert said["signals"] == {"BUY": 1, "SELL": 0, "HOLD": 1}
        assert (said["trades"], said["win_rate"], said["open"]) == (1, 1.0, 0)
        assert said["pnl"] == pytest.approx(closed["pnl"])
        standing = (await http.get("/performance/model")).json()
        assert said["equity"] == standing["performance"]["equity"]
        assert standing["policy"]["side"] == "long-short"
        assert said["latency_ms"]["p99"] >= said["latency_ms"]["p50"] > 0.0


async def test_history_goes_back_page_by_page_and_latest_is_its_first(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock) as (http, _):
        made = []
        for n in range(9):
            clock.go_on()
            symbol = ("USDCOP", "EURUSD")[n % 3 == 0]
            made.append(
                (await http.post(GENERATE, json=(BUY if n % 2 else CALL) | {"symbol": symbol})).json()
            )
        # A signal that somebody posts to the portfolio himself is none of the model's.
        own = {"timestamp": format_instant(clock.now_us), "signal": "SELL", "price": 4250.0, "symbol": "MXN"}
        for extra in ({}, {"source": "model"}):
            assert (await http.post("/signal?portfolio=model", json=own | extra)).status_code == 200
        seen, cursor, pages = [], None, 0
        while True:
            asked = {"limit": "4"} | ({"cursor": cursor} if cursor else {})
            page = (await http.get("/api/signals/history", params=asked)).json()
            seen += page["signals"]
            cursor, pages = page["cursor"], pages + 1
            if cursor is None:
                break
        assert seen == made[::-1]
        assert pages == 3
        latest = (await http.get("/api/signals/latest")).json()
        assert latest == made[-1]
        assert (await http.get("/api/signals/latest", params={"symbol": "EURUSD"})).json() == made[6]
        assert (await http.get("/api/signals/latest", params={"symbol": "MXN"})).status_code == 404
        asked = {
            "action": "BUY",
            "symbol": "USDCOP",
            "from": made[2]["timestamp"],
            "to": made[7]["timestamp"],
        }
        told = (await http.get("/api/signals/history", params=asked)).json()["signals"]
        assert told == [made[5]]
        wrong = await http.get("/api/signals/history", params={"cursor": "x"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    "posted",
    [
        {"model_version": "x", "reasoning": "y", "latency_ms": "soon"},
        {"model_version": 5, "reasoning": "y", "latency_ms": 1.0},
        {"model_version": "x", "latency_ms": 1.0},
    ],
)
async def test_a_posted_row_that_only_looks_generated_disturbs_nothing_that_is_read(
    tmp_path: Path, posted: dict[str, Any]
) -> None:
    clock = Clock()
    async with running(tmp_path, clock) as (http, _):
        made = (await http.post(GENERATE, json=CALL)).json()
        row = {"timestamp": format_instant(clock.now_us), "symbol": "MXN", "signal": "BUY", "price": 17.0}
        row |= {"source": "model", "signal_id": "p-1", "confidence": 0.9} | posted
        assert (await http.post("/signal?portfolio=model", json=row)).status_code == 200
        assert (await http.get("/api/signals/latest")).json() == made
        assert (await http.get("/api/signals/history")).json()["signals"] == [made]
        counted = (await http.get("/api/signals/statistics")).json()["signals"]
        assert counted == {"BUY": 0, "SELL": 0, "HOLD": 0} | {made["action"]: 1}
        taken = await http.post(GENERATE, json={"symbol": "MXN", "close_price": 17.0, "signal_id": "p-1"})
        assert (taken.status_code, taken.json()["field"]) == (409, "signal_id")


async def test_before_the_first_signal_everything_is_there_and_empty(tmp_path: Path) -> None:
    async with running(tmp_path) as (http, _):
        assert (await http.get("/api/signals/positions/active")).json() == {
            "portfolio": "model", "positions": [], "unrealised_pnl": 0.0,
        }  # fmt: skip
        for path, name in (("positions/closed", "positions"), ("history", "signals")):
            assert (await http.get(f"/api/signals/{path}")).json()[name] == []
        said = (await http.get("/api/signals/statistics")).json()
        assert (said["trades"], said["equity"], said["latency_ms"]["p50"]) == (0, None, None)
        info = (await http.get("/api/signals/model/info")).json()
        assert (info["placeholder"], info["features"], info["trouble"]) == (True, [], None)


def with_model(folder: Path, *features: str, **members: Any) -> dict[str, Any]:
    """Settings of a service with a feed-forward model of these features."""
    model = feed_forward(len(features)).SerializeToString()
    place = write_model(folder / "model", model, features=list(features), bar="1m", **members)
    return {"inference": {"model": str(place), "confidence": 0.0}}


async def test_a_model_is_given_what_it_needs_from_the_body_and_the_rest_from_bars(tmp_path: Path) -> None:
    bars = keep_bars(tmp_path)
    settings = with_model(tmp_path, "rsi(14)", "returns(1)", "close")
    async with running(tmp_path, **settings) as (http, found):
        answer = await http.post(GENERATE, json={"symbol": "USDCOP", "close_price": 4262.0, "rsi": 44.0})
        assert answer.status_code == 200, answer.text
        signal = answer.json()
        assert (signal["model_version"], signal["placeholder"]) == ("policy 1", False)
        row = (await http.get("/history", params={"portfolio": "model"})).json()["rows"][0]
        assert (row["features"]["rsi(14)"], row["features"]["close"]) == (44.0, 4262.0)
        assert row["features"]["returns(1)"] == pytest.approx(bars[-1].close / bars[-2].close - 1.0)
        by_hand = row["features"] | {"symbol": "EURUSD", "close_price": 4262.0}
        for name in ("model_version", "reasoning", "latency_ms"):
            del by_hand[name]
        again = (await http.post(GENERATE, json=by_hand)).json()
        assert (again["confidence"], again["action"]) == (signal["confidence"], signal["action"])
        of_bar = await http.post(FROM_DB, json={"symbol": "fx:USDCOP"})
        assert (of_bar.status_code, of_bar.json()["model_version"]) == (200, "policy 1")
        assert (await http.get("/health")).json()["model"] == "ready"
        info = (await http.get("/api/signals/model/info")).json()
        assert info["features"] == ["rsi(14)", "returns(1)", "close"]
    assert all("placeholder" not in line or line["placeholder"] is False for line in found.lines)


@pytest.mark.parametrize(
    ("features", "body", "field", "said"),
    [
        (("rsi(14)",), {}, "rsi(14)", "the database has no bars of USDCOP to take it from"),
        (("rsi(14)",), {"rsi": None}, "rsi(14)", "the model needs it"),
        (("my_own",), {"rsi": 5.0}, "my_own", "none of the indicators that stored bars tell"),
        (("volume",), {}, "volume", "of the bar that the price closed"),
        (("rsi(14)",), {"rsi": 5.0, "rsy": 5.0}, "rsy", "an indicator, or one of the model's: rsi(14)"),
    ],
)
async def test_a_feature_that_is_missing_or_unknown_to_the_model_is_named(
    tmp_path: Path, features: tuple[str, ...], body: dict[str, Any], field: str, said: str
) -> None:
    async with running(tmp_path, **with_model(tmp_path, *features)) as (http, _):
        answer = await http.post(GENERATE, json={"symbol": "USDCOP", "close_price": 4262.0} | body)
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
        assert said in answer.json()["detail"]


async def test_bars_that_are_too_few_or_too_old_are_said(tmp_path: Path) -> None:
    bars = keep_bars(tmp_path, n=9)
    clock = Clock()
    async with running(tmp_path, clock, **with_model(tmp_path, "rsi(14)")) as (http, _):
        answer = await http.post(GENERATE, json={"symbol": "USDCOP", "close_price": 4262.0})
        assert (
            f"the bars of fx:USDCOP up to {format_instant(bars[-1].end_us)} are too few"
            in answer.json()["detail"]
        )
    async with running(tmp_path, clock, **with_model(tmp_path, "returns(1)")) as (http, _):
        assert (
            await http.post(GENERATE, json={"symbol": "USDCOP", "close_price": 4262.0})
        ).status_code == 200
        clock.go_on(3600)
        stale = await http.post(GENERATE, json={"symbol": "USDCOP", "close_price": 4262.0})
        assert stale.status_code == 422
        assert "returns(1)" in stale.json()["field"]


async def test_a_configured_model_that_cannot_be_used_is_no_placeholder(tmp_path: Path) -> None:
    settings = with_model(tmp_path, "rsi(14)")
    (tmp_path / "model" / "model.onnx").write_bytes(b"other")
    async with running(tmp_path, **settings) as (http, _):
        answer = await http.post(GENERATE, json=CALL)
        assert answer.status_code == 503
        assert "SHA-256" in answer.json()["detail"]
        assert (await http.get("/health")).json() == {"status": "ok", "model": "unavailable"}
        assert "SHA-256" in (await http.get("/api/signals/model/info")).json()["trouble"]
        assert (await http.get("/api/signals/statistics")).status_code == 200
