"""Where the broadcast gets what it sends live."""

from typing import Any

from raysignal.serve.stream.hub import LiveState
from raysignal.serve.stream.source import ServiceSource


class Feeds:
    async def statuses(self) -> list[dict[str, Any]]:
        seen = {"bid": "1", "ask": "2", "last": None, "bar": None, "late": 3}
        running = {
            "name": "okx:BTC-USDT",
            "health": {"state": "ready"},
            "station": {"symbols": {"BTC-USDT": seen}},
        }
        return [running, {"name": "okx:ETH-USDT", "health": {"state": "dead"}, "trouble": "away"}]


async def test_feeds_are_told_as_they_stand() -> None:
    feeds: Any = Feeds()
    nothing: Any = None
    states = await ServiceSource("r1", nothing, nothing, 1, feeds).states()
    market = {
        "name": "okx:BTC-USDT", "symbol": "BTC-USDT", "health": "ready", "bid": "1", "ask": "2", "last": None,
        "bar": None,
    }  # fmt: skip
    assert states == [LiveState("market_update", "okx:BTC-USDT BTC-USDT", "BTC-USDT", market)]
    assert await ServiceSource("r1", nothing, nothing, 1).states() == []


class Portfolios:
    def __init__(self) -> None:
        self.noted: list[dict[str, int]] = []

    async def note_stream(self, _replica: str, counts: dict[str, int]) -> None:
        self.noted.append(counts)


async def test_counts_are_reported_when_a_client_comes_or_goes_and_not_with_each_message() -> None:
    portfolios = Portfolios()
    known: Any = portfolios
    nothing: Any = None
    source = ServiceSource("r1", known, nothing, 1)
    for counts in ({"clients": 1, "sent": 1}, {"clients": 1, "sent": 2}, {"clients": 2, "sent": 3}):
        await source.report(counts)
    assert portfolios.noted == [{"clients": 1, "sent": 1}, {"clients": 2, "sent": 3}]
