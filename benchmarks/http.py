"""The service against its peers, in one run: `python -m benchmarks.http`.

Every figure is of this machine, with the load generator on it. Peers take turns with the service, a few rounds
of each; what is compared is the median of the rounds.
"""

import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.load import Plan, peer_app, run
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import local_service

CLIENTS = 64
ROUNDS = 3
SECONDS = 4.0
BATCH = 10_000
BATCHES = 15
_MINUTES_A_ROUND = 100_000

# About what a row of a real signal file carries.
_TEXTS = {
    "summary": "The market debates whether it can become a refuge of value; analysts point at its volatility. "
    * 3,
    "next_news_prediction": " It struggles for stability as uncertainty grows and volatility stays high. "
    * 18,
    "key_factors": "It fails to break the psychological barrier, which shows that the market is unsure. " * 4,
    "psychology_explanation": "The retail investor is likely to feel uncertain and overwhelmed by mixed news. "
    * 5,
    "sentiment": "Fear",
    "dominant_emotions": "Caution, Uncertainty, Skepticism",
    "dominant_sentiment": "CONFUSION",
}
_NUMBERS = {
    "mvrv_btc_momentum": -0.003825082,
    "spot_volume_daily_sum": 4592772971,
    "index": 40,
    "intensity": 6,
}


def measure() -> list[Figure]:
    """The figures; ratios compare what took turns in this very run."""
    figures: list[Figure] = []

    def note(what: str, value: float, unit: str, target: float | None = None) -> None:
        figures.append(Figure("http", what, value, unit, target, "less" if unit in {"s", "ms"} else "more"))

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        # Without the agent, whose share is measured by `enhanced`.
        settings = Settings(store=(Path(folder) / "store").as_uri(), port=free_port(), enhanced="")
        with local_service(settings, log_path=str(Path(folder) / "log")) as service:
            note("cold start to ready", time.perf_counter() - began, "s")
            database = str(Path(folder) / "peer.db")
            with (
                peer_app("benchmarks.http_peers") as plain,
                peer_app("benchmarks.http_peers", "--sqlite", database) as durable,
            ):
                rates = _alternating({"ours": settings.http.port, "memory": plain, "sqlite": durable})
            note("POST /signal, durable, 64 clients", rates["ours"], "requests/s")
            note("peer: FastAPI and pydantic, in memory", rates["memory"], "requests/s")
            note("peer: the same, each committed to SQLite", rates["sqlite"], "requests/s")
            note("ours / in memory", rates["ours"] / rates["memory"], "x", 0.55)
            note("ours / SQLite", rates["ours"] / rates["sqlite"], "x", 1.3)
            steady = run(
                Plan(
                    settings.http.port,
                    "/signal",
                    CLIENTS,
                    8.0,
                    rate=500.0,
                    first_minute=10 * _MINUTES_A_ROUND,
                )
            )
            _all_taken(steady)
            note("p50 at 500 requests/s, open loop", steady["p50_ms"], "ms")
            note("p99 at 500 requests/s, open loop", steady["p99_ms"], "ms", 50.0)
            note(
                "POST /signals, NDJSON of 10 000, plain",
                _batches(service.url, {}, BATCHES),
                "signals/s",
                200_000.0,
            )
            note(
                "POST /signals, NDJSON of 10 000, with features",
                _batches(service.url, _TEXTS | _NUMBERS, BATCHES), "signals/s", 80_000.0,
            )  # fmt: skip
            began = time.perf_counter()
        note("shut down", time.perf_counter() - began, "s")
    return figures


def _alternating(ports: dict[str, int]) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for turn in range(ROUNDS + 1):
        for name, port in ports.items():
            answer = run(Plan(port, "/signal", CLIENTS, SECONDS, first_minute=turn * _MINUTES_A_ROUND))
            _all_taken(answer)
            if turn:  # the first round warms up
                rates[name].append(answer["requests_s"])
    return {name: statistics.median(values) for name, values in rates.items()}


def _all_taken(answer: dict[str, Any]) -> None:
    if set(answer["statuses"]) != {"200"}:
        raise RuntimeError(f"not every request was taken: {answer['statuses']}")


def _batches(url: str, features: dict[str, Any], rounds: int) -> float:
    """Signals a second over the median batch; each into a portfolio that goes on, the first one warms up."""
    name = "plain" if not features else "features"
    request = urllib.request.Request(
        f"{url}/portfolios/{name}", b"{}", {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request).close()
    tail = "".join(f', "{key}": {json.dumps(value)}' for key, value in features.items())
    seconds = []
    for turn in range(rounds + 1):
        lines = []
        for row in range(BATCH):
            n = turn * BATCH + row
            # Texts that differ by the row, so that compression has the work it has with real ones.
            own = tail.replace("market", f"market {n}") if features else ""
            lines.append(
                f'{{"timestamp": "{2000 + n // 336 // 1440:04d}-{1 + n // 28 // 1440 % 12:02d}-'
                f'{1 + n // 1440 % 28:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z", '
                f'"signal": {(n % 3) - 1}, "price": {95_000 + n % 977}{own}}}'
            )
        body = "\n".join(lines).encode()
        request = urllib.request.Request(
            f"{url}/signals?portfolio={name}", body, {"Content-Type": "application/x-ndjson"}
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            taken = json.load(answer)
        took = time.perf_counter() - began
        if taken["accepted"] != BATCH:
            raise RuntimeError(f"not every row was taken: {taken}")
        if turn:
            seconds.append(took)
    return BATCH / statistics.median(seconds)


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<52} {found.shown:>20} {found.asked}")
