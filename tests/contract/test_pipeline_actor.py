"""A pipeline as the service hosts it: what it says over HTTP, what a person tells it, and that it stays told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysignal.engine.core.errors import NotFound, SettingsError
from raysignal.engine.core.events import StrategySignal, decode_event
from raysignal.engine.core.instants import format_instant
from raysignal.engine.pipeline.session import read_frames
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.loopback.gemini import GeminiServer
from raysignal.runtime.pipeline_actors import PipelineRun, Pipelines
from raysignal.runtime.pipeline_session import replay_session
from raysignal.runtime.settings import Settings
from tests.support.advising import KEY
from tests.support.one_replica import replica, speaking_to

CONFIG = """
name: live
instruments: [{symbol: BTC, market: "binance-usdm:BTCUSDT"}]
strategies:
  - {name: cross, kind: sma, bar: 1s, parameters: {fast: 1, slow: 2}}
portfolio: {weight: 0.3}
risk: {position_notional: 5000}
venue: {kind: paper, fee_bps: 2}
"""


class OnePipeline(Pipelines):
    """The way to a pipeline of this process."""

    def __init__(self, run: PipelineRun) -> None:
        super().__init__(Settings())
        self._here = run

    @property
    def names(self) -> list[str]:
        return ["live"]

    async def statuses(self) -> list[dict[str, Any]]:
        return [self._here.status()]

    async def ask(self, name: str | None, what: str, **asked: Any) -> dict[str, Any]:
        self._check(name)
        return {"pipeline": "live"} | self._here.answer(what, **asked)

    async def command(self, name: str | None, kind: str, who: str, reason: str) -> dict[str, Any]:
        self._check(name)
        return {"pipeline": "live"} | self._here.command(kind, who, reason)

    def _check(self, name: str | None) -> None:
        if name not in {None, "live"}:
            self._named(name)


@asynccontextmanager
async def exchange() -> AsyncIterator[Settings]:
    made = GeneratedExchange("binance-usdm", seed=5, start_us=time.time_ns() // 1000, symbols=["BTCUSDT"])
    async with ExchangeServer(made) as server:
        hosts = {"binance-usdm": {"stream": server.hosts.stream, "rest": server.hosts.rest}}
        yield Settings(feed_hosts=hosts)


@asynccontextmanager
async def running(settings: Settings, folder: Path, config: str = CONFIG) -> AsyncIterator[httpx.AsyncClient]:
    run = PipelineRun(settings, config, folder / "session")
    task = asyncio.create_task(run.run())
    try:
        async with replica(folder, pipelines=OnePipeline(run)) as found, speaking_to(found) as http:
            yield http
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def performance_is_that_of_the_fills(http: httpx.AsyncClient) -> None:
    """One P&L: the pages of portfolios show the pipeline's under its name."""
    await answer(http, "/v1/trades?portfolio=live", lambda found: found["trades"])
    found = (await http.get("/performance/live")).json()
    assert (found["portfolio"], found["symbols"], found["policy"]["fee_bps"]) == ("live", ["BTC"], 2.0)
    figures = found["performance"]
    assert figures["realised_pnl"] + figures["unrealised_pnl"] == pytest.approx(
        figures["equity"] - 10_000.0, abs=1e-6
    )
    listed = {each["portfolio"] for each in (await http.get("/portfolios")).json()["portfolios"]}
    assert {"baseline", "live"} <= listed
    (trade,) = (await http.get("/v1/trades?portfolio=live&limit=1")).json()["trades"]
    assert (trade["symbol"], trade["status"]) == ("BTC", "closed")
    assert isinstance(trade["slippage"], float)
    orders = (await http.get("/v1/orders")).json()["orders"]
    assert trade["entry_signal_id"] in {order["client_id"] for order in orders}
    summary = (await http.get("/v1/trades/summary?portfolio=live")).json()
    assert summary["trades"] >= 1
    assert summary["last"][0]["status"] == "closed"
    assert 'raysignal_portfolio_equity{portfolio="live"}' in (await http.get("/metrics")).text
    for path in ("/signal?portfolio=live", "/portfolios/live"):
        send = http.put if path.startswith("/portfolios") else http.post
        refused = await send(path, json={})
        assert (refused.status_code, refused.json()["field"]) == (409, "portfolio"), refused.text
        assert "a pipeline's" in refused.json()["detail"]
    history = await http.get("/history?portfolio=live")
    assert history.status_code == 404
    assert "GET /v1/decisions" in history.json()["detail"]


async def answer(
    http: httpx.AsyncClient, path: str, until: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """What a path answers once it is so."""
    async with asyncio.timeout(60):
        while True:
            said = await http.get(path)
            if said.status_code == 200 and until(found := said.json()):
                return dict(found)
            await asyncio.sleep(0.05)


async def test_pipeline_is_seen_over_http_and_a_halt_outlives_it(tmp_path: Path) -> None:
    async with exchange() as settings:
        async with running(settings, tmp_path) as http:
            fills = await answer(http, "/v1/fills", lambda found: len(found["fills"]) >= 2)
            (status,) = (await http.get("/v1/pipelines")).json()["pipelines"]
            assert (status["name"], status["trouble"]) == ("live", None)
            orders = (await http.get("/v1/orders")).json()["orders"]
            assert {fill["client_id"] for fill in fills["fills"]} <= {order["client_id"] for order in orders}
            assert {order["state"] for order in orders} <= {"open", "filled"}
            positions = (await http.get("/v1/positions?pipeline=live")).json()
            worth = positions["cash"] + sum(each["value"] for each in positions["positions"])
            assert positions["equity"] == pytest.approx(worth, rel=1e-6)
            (weights,) = (await http.get("/v1/aggregation")).json()["symbols"]
            assert weights["symbol"] == "BTC"
            earned = (await http.get("/v1/attribution")).json()["strategies"]
            assert {each["strategy"] for each in earned} <= {"cross"}
            await performance_is_that_of_the_fills(http)
            halted = await http.post(
                "/v1/risk/halt", json={"who": "kim", "reason": "the venue is odd", "flatten": True}
            )
            assert halted.status_code == 200
            assert halted.json()["state"] == "halted"
            await answer(http, "/v1/positions", lambda found: not found["positions"])
        assert replay_session(tmp_path / "session").difference is None
        async with running(settings, tmp_path) as http:
            risk = await answer(http, "/v1/risk", lambda _: True)
            assert (risk["state"], risk["who"], risk["reason"]) == ("halted", "kim", "the venue is odd")
            reset = await http.post("/v1/risk/reset", json={"who": "kim", "reason": "looked at it"})
            assert reset.json()["state"] == "active"


async def told_by(settings: Settings, folder: Path, count: int) -> tuple[str, list[str]]:
    """The first messages of a session, at least so many, and its name in the stream."""
    run = PipelineRun(settings, CONFIG, folder / "session")
    task = asyncio.create_task(run.run())
    texts: list[str] = []
    try:
        async with asyncio.timeout(60):
            while len(texts) < count:
                tail = await run.tail(len(texts), 1_000, 60.0)
                texts += tail.texts
            return tail.shard, texts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_a_session_was_told_of_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with exchange() as settings:
        shard, before = await told_by(settings, tmp_path, 5)
        again, after = await told_by(settings, tmp_path, len(before) + 1)
    assert again == shard
    assert after[: len(before)] == before
    told = [json.loads(text) for text in after]
    assert [each["sequence"] for each in told] == [4 * place + 1 for place in range(len(told))]
    assert {"signal", "decision", "fill", "position_update"} <= {each["type"] for each in told}


REVIEWED = (
    CONFIG
    + """decide: review
memory: {horizon: 1b, least: 1000000.0}
"""
)


@pytest.mark.long
async def test_what_a_model_decided_is_seen_over_http_and_plays_again_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with GeminiServer() as model:
        async with exchange() as settings:
            reviewing = settings.model_copy(
                update={"llm": settings.llm.model_copy(update={"url": model.url})}
            )
            async with running(reviewing, tmp_path, REVIEWED) as http:
                found = await answer(
                    http, "/v1/decisions", lambda found: found["reasons"].get("model_answered")
                )
        calls = model.calls
        assert calls
        assert found["decide"] == "review"
        assert found["memory"]["settled"]
        reviewed = [each for each in found["decisions"] if each["reason"] == "model_answered"]
        assert all((each["by"], bool(each["explanation"])) == ("model", True) for each in reviewed)
        assert replay_session(tmp_path / "session").difference is None
        assert model.calls == calls


async def so(holds: Callable[[], Any]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.02)


def open_orders(run: PipelineRun) -> list[Any]:
    return [order for order in run.answer("orders")["orders"] if order["state"] == "open"]


POSTED = """
name: live
instruments: [{symbol: BTC, market: "binance-usdm:BTCUSDT"}]
strategies: [{name: desk, kind: posted, bar: 1s, parameters: {source: tv}}]
portfolio: {weight: 0.3, side: long-short}
venue: {kind: paper, fee_bps: 2}
"""


async def test_posted_signals_are_followed_each_once_also_those_that_came_while_nothing_ran(
    tmp_path: Path,
) -> None:
    def posted(number: int, signal: str, source: str = "tv") -> dict[str, Any]:
        at = format_instant(time.time_ns() // 1000)
        return {
            "timestamp": at,
            "symbol": "BTC",
            "signal": signal,
            "price": 60_000,
            "source": source,
            "signal_id": f"s{number}",
        }

    async with exchange() as settings, replica(tmp_path) as found, speaking_to(found) as http:
        first = posted(1, "BUY")
        for life, signals in enumerate([[first], [first, posted(3, "BUY", "other"), posted(4, "SELL")]]):
            run = PipelineRun(settings, POSTED, tmp_path / "session", found.desk)
            if life:
                for each in signals:  # while nothing runs
                    assert (await http.post("/signal", json=each)).status_code == 200
            task = asyncio.create_task(run.run())
            try:
                await so(lambda run=run: not run.status()["trouble"])
                if not life:
                    await http.post("/signal", json=first)
                await so(
                    lambda run=run, life=life: (
                        len(run.answer("fills")["fills"]) > life and not open_orders(run)
                    )
                )
                sides = [fill["side"] for fill in run.answer("fills")["fills"]]
                assert sides[-1] == ("BUY", "SELL")[life]
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        said = [decode_event(frame.data) for frame in read_frames(tmp_path / "session") if frame.kind == b"I"]
        posts = [
            (each.signal_id, each.side, each.ordinal) for each in said if isinstance(each, StrategySignal)
        ]
        assert posts == [("s1", 1, 0), ("s4", -1, 2)]
        assert replay_session(tmp_path / "session").difference is None


async def test_what_cannot_be_told_to_risk_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with exchange() as settings, running(settings, tmp_path) as http:
        await answer(http, "/v1/risk", lambda _: True)
        for body, field in (
            ({"who": "kim"}, "reason"), ({"who": " ", "reason": "x"}, "who"), ({"who": 1, "reason": "x"}, "who"),
            ({"who": "kim", "reason": "x", "flatten": "yes"}, "flatten"), ({"who": "kim", "reason": "x", "y": 1}, "y"),
        ):  # fmt: skip
            refused = await http.post("/v1/risk/halt", json=body)
            assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
        for field, body in (
            ("who", b'{"who": "\\ud800", "reason": "x"}'), ("reason", b'{"who": "kim", "reason": "\\ud800"}'),
        ):  # fmt: skip
            refused = await http.post(
                "/v1/risk/reset", content=body, headers={"content-type": "application/json"}
            )
            assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
        named = await http.get("/v1/orders?pipeline=A%20b")
        assert (named.status_code, named.json()["field"]) == (422, "pipeline")
        risk = (await http.get("/v1/risk")).json()
        assert risk["state"] == "active"
        assert risk["limits"] == {"position_notional": 5000, "leverage": 1.0}
        missing = await http.get("/v1/orders?pipeline=other")
        assert (missing.status_code, missing.json()["field"]) == (404, "pipeline")


async def test_service_without_pipelines_says_which_setting_names_them(tmp_path: Path) -> None:
    async with replica(tmp_path) as found, speaking_to(found) as http:
        assert (await http.get("/v1/pipelines")).json() == {"pipelines": []}
        missing = await http.get("/v1/risk")
        assert missing.status_code == 404
        assert "RAYSIGNAL_PIPELINE__FILES" in missing.json()["detail"]


async def test_pipeline_that_cannot_run_says_why(tmp_path: Path) -> None:
    hosts = {"binance-usdm": {"stream": "ws://127.0.0.1:9", "rest": "http://127.0.0.1:9"}}
    async with running(Settings(feed_hosts=hosts), tmp_path) as http:
        refused = await http.get("/v1/positions")
        assert refused.status_code == 503
        assert "pipeline live does not run" in refused.json()["detail"]


def test_files_that_are_no_pipelines_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Pipelines(Settings(pipeline={"files": [str(tmp_path / "none.yaml")]}))
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(CONFIG, encoding="utf-8")
    for name in ("baseline", "enhanced", "model", "compare", "swing"):
        (tmp_path / "taken.yaml").write_text(CONFIG.replace("name: live", f"name: {name}"), "utf-8")
        with pytest.raises(
            SettingsError, match=f"is '{name}', which a portfolio of the service has; expected another"
        ):
            Pipelines(Settings(pipeline={"files": [str(tmp_path / "taken.yaml")]}), ["swing"])
    with pytest.raises(SettingsError, match="two pipelines of the name 'live'"):
        Pipelines(Settings(pipeline={"files": [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]}))
