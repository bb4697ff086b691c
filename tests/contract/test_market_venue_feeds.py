"""The feeds of a venue: what it follows, what it says, and what it knows after it was killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime import venue_feeds
from raysignal.runtime.venue_feeds import VenueFeeds
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
async def feeds_of(loopback: ExchangeServer, folder: Path, names: list[str]) -> AsyncIterator[VenueFeeds]:
    settings = settings_of(loopback, folder, *(name.partition(":")[2] for name in names))
    feeds = VenueFeeds(settings)
    await feeds.follow(names)
    try:
        yield feeds
    finally:
        await feeds.stop()


async def stand(feeds: VenueFeeds, states: list[str]) -> list[dict[str, Any]]:
    """What the feeds say once they stand so."""
    async with asyncio.timeout(60):
        while True:
            statuses = await feeds.statuses()
            if [status["health"]["state"] for status in statuses] == states:
                return statuses
            await asyncio.sleep(0.05)


async def test_one_process_follows_a_venues_symbols_and_counts_their_lives_over_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue_feeds, "PortfolioClient", Portfolios)
    async with ExchangeServer(Refusing("binance")) as loopback:
        async with feeds_of(loopback, tmp_path, NAMES) as feeds:
            statuses = await stand(feeds, ["ready", "ready", "failed"])
            assert [status["name"] for status in statuses] == NAMES
            assert [status["lives"] for status in statuses] == [1, 1, 0]
            assert len({status["pid"] for status in statuses}) == 1
            assert "Invalid symbol" in statuses[2]["trouble"]
            assert [status["trouble"] for status in statuses[:2]] == [None, None]
            await feeds.follow(NAMES[1:])
            assert [status["name"] for status in await feeds.statuses()] == NAMES[1:]
            await feeds.follow(NAMES[:2])
            statuses = await stand(feeds, ["ready", "ready"])
            assert {status["name"]: status["lives"] for status in statuses} == {NAMES[0]: 2, NAMES[1]: 1}
        async with feeds_of(loopback, tmp_path, NAMES[:2]) as feeds:
            statuses = await stand(feeds, ["ready", "ready"])
            assert [status["lives"] for status in statuses] == [3, 2]


async def test_a_further_symbol_takes_less_than_sixty_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue_feeds, "PortfolioClient", Portfolios)
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    names = [f"binance:{symbol}" for symbol in symbols]
    async with (
        ExchangeServer(Refusing("binance", symbols=symbols)) as loopback,
        feeds_of(loopback, tmp_path, names[:1]) as feeds,
    ):
        (alone,) = await stand(feeds, ["ready"])
        await feeds.follow(names)
        together = await stand(feeds, ["ready"] * 4)
    grown = together[0]["process"]["memory_bytes"] - alone["process"]["memory_bytes"]
    assert grown / 3 < 60e6
