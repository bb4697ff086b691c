"""Signals of a recurrent model over HTTP, beside a plain app: `python -m benchmarks.model_signals [--delivery]`.

The service steps an LSTM, puts the step on record, trades it in a portfolio that is on record, too, and answers then;
the peer (`benchmarks.model_signals_peer`) steps the same model in memory. They take turns, a few rounds of each. Both
send what they generated to whoever listens at `/ws/signals`: how long that takes, from the post of a bar as it closes
until the message is there, are the first figures, and all of them with `--delivery`.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from benchmarks.figures import Figure
from benchmarks.load import Plan, peer_app, run
from benchmarks.lstm_model import write_lstm
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service

FEATURES = ("rsi(14)", "macd(12, 26, 9)", "macd_signal(12, 26, 9)", "atr(14)")
CLIENTS = 32
ROUNDS = 3
SECONDS = 4.0
STEADY_S = 8.0
STEADY_RATE = 100.0
BARS = 500
BAR_S = 0.02
_PATH = "/api/signals/generate"
_SAYS = '"close_price":%(price)s,"rsi":35.5,"macd":-2.3,"macd_signal":-1.8,"atr":12.5'
_MINUTES_A_ROUND = 100_000


def measure(*, delivery_alone: bool = False) -> list[Figure]:
    """The figures; the ratio compares what took turns in this very run."""
    figures: list[Figure] = []

    def note(what: str, value: float, unit: str, target: float | None = None) -> None:
        better: Any = "less" if unit == "ms" else "more"
        figures.append(Figure("model signals", what, value, unit, target, better))

    with tempfile.TemporaryDirectory() as folder:
        model = write_lstm(Path(folder) / "model", FEATURES)
        settings = Settings(
            store=(Path(folder) / "store").as_uri(), port=free_port(), enhanced="",
            database_url=f"sqlite:///{folder}/none.db", inference={"model": str(model), "confidence": 0.4},
        )  # fmt: skip
        with (
            local_service(settings, log_path=str(Path(folder) / "log")),
            peer_app("benchmarks.model_signals_peer", str(model)) as plain,
        ):
            for name, port in (("ours", settings.http.port), ("peer", plain)):
                delays = asyncio.run(_delivery(port))
                note(f"{name}: p50 from the bar's close to the message", statistics.median(delays), "ms")
                target = 25.0 if name == "ours" else None
                note(f"{name}: p99 from the bar's close to the message", _p99(delays), "ms", target)
            if delivery_alone:
                return figures
            rates = _alternating({"ours": settings.http.port, "plain": plain})
            note(f"POST generate, LSTM, on record, {CLIENTS} clients", rates["ours"], "requests/s", 300.0)
            note("peer: FastAPI and ONNX Runtime, in memory", rates["plain"], "requests/s")
            note("ours / peer", rates["ours"] / rates["plain"], "x")
            for name, port in (("ours", settings.http.port), ("peer", plain)):
                steady = run(_plan(port, STEADY_S, ROUNDS + 1, STEADY_RATE))
                _all_taken(steady)
                note(f"{name}: p50 at {STEADY_RATE:g} requests/s", steady["p50_ms"], "ms")
                note(f"{name}: p99 at {STEADY_RATE:g} requests/s", steady["p99_ms"], "ms")
    return figures


async def _delivery(port: int) -> list[float]:
    """Milliseconds from the post of each closed bar to the message of its signal, one bar after another."""
    came: dict[str, float] = {}
    posted: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    async def listen(socket: Any) -> None:
        async for text in socket:
            now_s = loop.time()
            told = json.loads(text)
            if told["type"] == "signal":
                came[told["signal_id"]] = now_s
            if len(came) == BARS:
                return

    address = f"ws://127.0.0.1:{port}/ws/signals?types=signal"
    async with (
        connect(address, open_timeout=60.0, proxy=None) as socket,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as http,
    ):
        listening = asyncio.create_task(listen(socket))
        began = loop.time()
        for bar in range(BARS):
            await asyncio.sleep(began + bar * BAR_S - loop.time())
            body = f'{{"symbol":"BAR","timestamp":{1_600_000_000 + 60 * bar},{_SAYS % {"price": 100 + bar % 7}}}}'
            sent_s = loop.time()
            answer = await http.post(_PATH, content=body, headers={"content-type": "application/json"})
            posted[answer.raise_for_status().json()["signal_id"]] = sent_s
        await asyncio.wait_for(listening, 30.0)
    return [(came[name] - sent_s) * 1e3 for name, sent_s in posted.items()]


def _p99(delays: list[float]) -> float:
    return statistics.quantiles(delays, n=100)[98]


def _plan(port: int, seconds: float, turn: int, rate: float = 0.0) -> Plan:
    return Plan(port, _PATH, CLIENTS, seconds, rate=rate, first_minute=turn * _MINUTES_A_ROUND, says=_SAYS)


def _alternating(ports: dict[str, int]) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for turn in range(ROUNDS + 1):
        for name, port in ports.items():
            answer = run(_plan(port, SECONDS, turn))
            _all_taken(answer)
            if turn:  # the first round warms up
                rates[name].append(answer["requests_s"])
    return {name: statistics.median(values) for name, values in rates.items()}


def _all_taken(answer: dict[str, Any]) -> None:
    if set(answer["statuses"]) != {"200"}:
        raise RuntimeError(f"not every request was answered: {answer['statuses']}")


if __name__ == "__main__":
    for found in measure(delivery_alone="--delivery" in sys.argv[1:]):
        print(f"{found.what:<52} {found.shown:>20} {found.asked}")
