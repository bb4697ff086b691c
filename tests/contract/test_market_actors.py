"""The actor of a venue's feeds, without Ray: what it follows, what it says, and what it knows after it was killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime import feed_actors
from raysignal.runtime.feed_actors import FeedActor
from tests.support.market_following import Refusing, settings_of

NAMES = ["binance:BTCUSDT", "binance:ETHUSDT", "binance:NOSUCH"]


class Portfolios:
    """Takes whatever is posted."""

    @classmethod
    def connect(cls, _: object) -> "Portfolios":
        return cls()

    async def submit(self, *_: object, **__: object) -> None:
        return None


@asynccontextmanager
async def actor_of(loopback: ExchangeServer, folder: Path, names: list[str]) -> AsyncIterator[FeedActor]:
    settings = settings_of(loopback, folder, *(name.partition(":")[2] for name in names))
    actor = object.__new__(FeedActor)
    await actor.__init__(settings.for_actors(), settings.database_url, names)  # type: ignore[misc]
    try:
        yield actor
    finally:
        await actor.stop()


async def stand(actor: FeedActor, states: list[str]) -> list[dict[str, Any]]:
    """What the feeds say once they stand so."""
    async with asyncio.timeout(60):
        while True:
            statuses = await actor.statuses()
            if [status["health"]["state"] for status in statuses] == states:
                return statuses
            await asyncio.sleep(0.05)


async def test_one_actor_follows_a_venues_symbols_and_counts_their_lives_over_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_actors, "PortfolioClient", Portfolios)
    async with ExchangeServer(Refusing("binance")) as loopback:
        async with actor_of(loopback, tmp_path, NAMES) as actor:
            statuses = await stand(actor, ["ready", "ready", "failed"])
            assert [status["name"] for status in statuses] == NAMES
            assert [status["lives"] for status in statuses] == [1, 1, 0]
            assert len({status["pid"] for status in statuses}) == 1
            assert "Invalid symbol" in statuses[2]["trouble"]
            assert [status["trouble"] for status in statuses[:2]] == [None, None]
            await actor.follow(NAMES[1:])
            assert [status["name"] for status in await actor.statuses()] == NAMES[1:]
            await actor.follow(NAMES[:2])
            statuses = await stand(actor, ["ready", "ready"])
            assert {status["name"]: status["lives"] for status in statuses} == {NAMES[0]: 2, NAMES[1]: 1}
        async with actor_of(loopback, tmp_path, NAMES[:2]) as actor:
            statuses = await stand(actor, ["ready", "ready"])
            assert [status["lives"] for status in statuses] == [3, 2]


async def test_a_further_symbol_takes_less_than_sixty_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_actors, "PortfolioClient", Portfolios)
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    names = [f"binance:{symbol}" for symbol in symbols]
    async with (
        ExchangeServer(Refusing("binance", symbols=symbols)) as loopback,
        actor_of(loopback, tmp_path, names[:1]) as actor,
    ):
        (alone,) = await stand(actor, ["ready"])
        await actor.follow(names)
        together = await stand(actor, ["ready"] * 4)
    grown = together[0]["process"]["memory_bytes"] - alone["process"]["memory_bytes"]
    assert grown / 3 < 60e6
