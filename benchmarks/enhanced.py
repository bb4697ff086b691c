"""What the agent costs whoever posts: `python -m benchmarks.enhanced`.

One service with its agent. Posts to the primary portfolio, which the agent follows, take turns with posts to
one that nobody follows: same replicas, same actor, same journal. Each round has both, in turns the one and the
other first, and gives a ratio; what is told of latencies and of ratios is the median of the rounds.
"""

import asyncio
import json
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.load import Plan, run
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from raysignal.serve.service import Service, local_service

CLIENTS = 64
RATES = (200.0, 500.0)
ROUNDS = 6
SECONDS = 3.0
_FEATURES = ', "mvrv": 0.31, "intensity": 6, "sentiment": "Fear"'
_ALONE = "alone"


def measure() -> list[Figure]:
    """Latencies at two rates with and without a follower behind, and how far behind it is."""
    figures: list[Figure] = []

    def note(what: str, value: float, unit: str, target: float | None = None) -> None:
        figures.append(Figure("enhanced", what, value, unit, target, "less"))

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            store=(Path(folder) / "store").as_uri(), port=free_port(),
            portfolios={"baseline": {}, _ALONE: {}},
        )  # fmt: skip
        with local_service(settings, log_path=str(Path(folder) / "log")) as service:
            minute = 0
            for rate in RATES:
                found: dict[str, list[dict[str, Any]]] = defaultdict(list)
                for turn in range(ROUNDS + 1):
                    for name in (_ALONE, "baseline")[:: 1 if turn % 2 else -1]:
                        path = f"/signal?portfolio={name}"
                        plan = Plan(
                            settings.http.port,
                            path,
                            CLIENTS,
                            SECONDS,
                            rate=rate,
                            first_minute=minute,
                            features=_FEATURES,
                        )
                        answer = run(plan)
                        # In the first round HAProxy may take over its second replica, and close connections.
                        if turn and set(answer["statuses"]) != {"200"}:
                            raise RuntimeError(f"not every request was taken: {answer['statuses']}")
                        if name == "baseline":
                            behind = _caught_up(service)
                        if turn:
                            found[name].append(answer)
                        minute = answer["next_minute"]
                shown = f"{rate:g} signals/s"
                for figure in ("p50_ms", "p99_ms"):
                    alone, followed = (
                        [answer[figure] for answer in found[name]] for name in (_ALONE, "baseline")
                    )
                    ratios = [one / other for one, other in zip(followed, alone, strict=True)]
                    short = figure[:3]
                    note(f"{short} at {shown}, nobody follows", statistics.median(alone), "ms")
                    note(f"{short} at {shown}, the agent follows", statistics.median(followed), "ms")
                    note(f"{short} at {shown}, followed / not", statistics.median(ratios), "x", 1.1)
                note(f"until the agent had caught up after {shown}", behind, "s")
    return figures


def _caught_up(service: Service) -> float:
    """Seconds until everything is decided; it waits for Chroma as well, which would share the next round."""
    began = time.perf_counter()
    decided = None
    while True:
        with urllib.request.urlopen(f"{service.url}/agent") as answer:
            state = json.load(answer)
        if state["behind"] == 0 and decided is None:
            decided = time.perf_counter() - began
        if decided is not None and state["chroma"]["behind"] == 0:
            return decided
        asyncio.run(asyncio.sleep(0.05))


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.what:<52} {figure.shown:>20} {figure.asked}")
