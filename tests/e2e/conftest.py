"""A real service for all tests of this folder: Ray, HAProxy, replicas, actors, a journal on disk.

It runs in a process of its own, so that it starts and ends as it does for its users. Tests do not share
portfolios: each asks for one of its own.
"""

import itertools
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import open_database
from raysignal.engine.market.bar_rows import store_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.experiments.cluster import ray_session
from raysignal.runtime.ports import free_port
from tests.support.chroma_server import Server, serving
from tests.support.starting import one_start_at_a_time

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 200.0
FIRST_BAR_US, MINUTE_US = 1_740_355_200_000_000, 60_000_000

_numbers = itertools.count()


def started(
    log: Path, settings: dict[str, Any], environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """A host process and the URL of its service; its environment is this one's and what is given."""
    with one_start_at_a_time():
        return _started(log, settings, dict(environment or {}))


def _started(
    log: Path, settings: dict[str, Any], environment: dict[str, str]
) -> tuple[subprocess.Popen[str], str]:
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.host", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("RAYSIGNAL_")}
            | environment,
        )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    url = process.stdout.readline().strip() if ready else ""
    if not url:
        process.terminate()
        process.wait(60)
        pytest.fail(f"the service did not start: {log.read_text()[-4000:]}")
    return process, url


def ended(process: subprocess.Popen[str]) -> int:
    """The host's exit status after its stdin was closed."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        return process.wait(60)
    finally:
        process.kill()
        process.stdout.close()


@pytest.fixture(scope="package")
def shared_ray() -> Iterator[None]:
    """A Ray that this process is connected to, in the folder where `data/sample.csv` is."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).chdir(ROOT)
        with one_start_at_a_time():
            stack.enter_context(ray_session(None, cpus=3))
        yield


@pytest.fixture(scope="package")
def service_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "log.jsonl"


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="package")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where the shared service keeps its vectors; whoever ends it starts it again."""
    with serving(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture(scope="package")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with two hours of bars of `binance-usdm:BTCUSDT`, and of `fx:USDMXN`."""
    closes = [9_500_000 + 700 * (minute % 11) - 90 * minute for minute in range(120)]
    bars = []
    for instrument in (Instrument("binance-usdm", "BTCUSDT", 2, 3), Instrument("fx", "USDMXN", 2, 3)):
        for minute, close in enumerate(closes):
            open_us = FIRST_BAR_US + minute * MINUTE_US
            prices = (close, close + 900, close - 800, close)
            bars.append(Bar(instrument, Basis.TRADES, MINUTE_US, open_us, *prices, 5_000, 40))
    address = f"sqlite:///{tmp_path_factory.mktemp('database') / 'market.db'}"
    database = open_database(address)
    with database.writing() as connection:
        store_bars(database, connection, bars)
    database.close()
    return address


@pytest.fixture(scope="package")
def url(store: Path, service_log: Path, chroma: Server, database_url: str) -> Iterator[str]:
    process, url = started(
        service_log,
        {
            "store": store.as_uri(),
            "database_url": database_url,
            "port": free_port(),
            "max_batch_bytes": 64 * 1024 * 1024,
            "snapshot_rows": 500,
            "agent_priority": "normal",  # other tests keep the processor busy
            "chroma": chroma.url,
        },
    )
    yield url
    ended(process)


@pytest.fixture(scope="package")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60.0) as client:
        yield client


@pytest.fixture
def portfolio(http: httpx.Client) -> str:
    """A portfolio of the test's own: 10 000, 10 bp."""
    name = f"p{os.getpid()}-{next(_numbers)}"
    assert http.put(f"/portfolios/{name}", json={}).status_code == 201
    return name


@pytest.fixture
def post(http: httpx.Client, portfolio: str) -> Callable[..., httpx.Response]:
    """Posts one signal to the test's portfolio."""

    def post(body: Any, path: str = "/signal", **query: str) -> httpx.Response:
        return http.post(path, json=body, params={"portfolio": portfolio, **query})

    return post
