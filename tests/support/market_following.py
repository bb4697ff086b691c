"""An instrument followed on a loopback exchange, from its venue to its orders on paper."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from raysignal.engine.database.database import open_database
from raysignal.engine.market.clocks import Clock
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.loopback.exchanges.speech import RestAnswer
from raysignal.runtime.feeds import FeedContext
from raysignal.runtime.settings import Settings
from raysignal.serve.logs import json_logger

START_US = 1_700_000_000_000_000


class WrongClock:
    """A clock that is ahead of another by so much, below 0: behind it."""

    def __init__(self, clock: Clock, ahead_s: float) -> None:
        self._clock, self._ahead_ns = clock, round(ahead_s * 1e9)
        self.monotonic, self.real, self.sleep = clock.monotonic, clock.real, clock.sleep

    def now_ns(self) -> int:
        return self._clock.now_ns() + self._ahead_ns


class Refusing(GeneratedExchange):
    """An exchange that answers requests for some paths otherwise; `answers` by what the path has in it."""

    def __init__(self, venue: str, **values: Any) -> None:
        super().__init__(venue, seed=5, start_us=START_US, **values)
        self.answers: dict[str, RestAnswer] = {}
        self.asked: list[str] = []

    def get(self, target: str) -> RestAnswer:
        self.asked.append(target)
        return next((answer for part, answer in self.answers.items() if part in target), super().get(target))


def settings_of(loopback: ExchangeServer, folder: Path, *symbols: str, **values: Any) -> Settings:
    venue = loopback.exchange.venue
    hosts = {venue: {"stream": loopback.hosts.stream, "rest": loopback.hosts.rest}}
    given = {
        "feeds": tuple(f"{venue}:{symbol}" for symbol in symbols), "feed_hosts": hosts, "feed_bar": "1s",
        "feed_fast": 2, "feed_slow": 4, "store": (folder / "store").as_uri(),
    }  # fmt: skip
    return Settings(database_url=f"sqlite:///{folder}/market.db", **given | values)


@asynccontextmanager
async def around_of(
    loopback: ExchangeServer,
    folder: Path,
    clock: Clock | None = None,
    log: FilteringBoundLogger | None = None,
) -> AsyncIterator[FeedContext]:
    database = open_database(f"sqlite:///{folder}/market.db")
    try:
        yield FeedContext(
            database, lambda signal: signal.signal_id, log or json_logger(BytesIO()),
            clock or loopback.clock, Random(5), None, {},
        )  # fmt: skip
    finally:
        database.close()
