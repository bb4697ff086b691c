"""Where the broadcast gets its rows and figures from: the actors of the service, and the history in the store."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.layout import owner, store_epoch
from raysignal.engine.portfolio.stream_history import ShardHistory
from raysignal.engine.portfolio.stream_rows import ShardTail, StreamRows
from raysignal.serve.stream.hub import LiveState

if TYPE_CHECKING:
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.pipeline_actors import Pipelines
    from raysignal.runtime.portfolio_actors import PortfolioClient

_REPORT_S = 5.0
_OF_A_MARKET = ("bid", "ask", "last", "bar")


class ServiceSource:
    """See `serve.stream.hub.LiveSource`.

    Args:
        name: of the replica.
        portfolios: the client of the portfolio actors.
        blobs: of the store.
        shards: of the store.
        feeds, pipelines: the clients of the live feeds and pipelines; None: there are none.
    """

    def __init__(
        self,
        name: str,
        portfolios: "PortfolioClient",
        blobs: BlobStore,
        shards: int,
        feeds: "Feeds | None" = None,
        pipelines: "Pipelines | None" = None,
    ) -> None:
        self.shards = shards
        self._name = name
        self._reported: tuple[float, Mapping[str, int]] = (0.0, {})
        self._portfolios = portfolios
        self._blobs = blobs
        self._feeds = feeds
        self._pipelines = pipelines
        self._histories = [ShardHistory(blobs, owner(shard, shards)) for shard in range(shards)]
        self._reading = asyncio.Lock()

    async def epoch(self) -> str:
        """See `store_epoch`; the actors have opened the store by then."""
        await self._portfolios.ready()
        return await asyncio.to_thread(store_epoch, self._blobs)

    async def tail(self, shard: int, first: int, limit: int, wait_s: float) -> ShardTail:
        """See `Mailbox.tail`."""
        return await self._portfolios.tail(shard, first, limit, wait_s)

    async def history(self, shard: int, first: int, limit: int, end: int) -> list[StreamRows]:
        """See `ShardHistory.read`."""
        async with self._reading:
            return await asyncio.to_thread(self._histories[shard].read, first, limit, end)

    async def policy(self, portfolio: str) -> Policy:
        """That of a portfolio."""
        return (await self._portfolios.standing(portfolio)).policy

    async def performance(self, portfolio: str) -> dict[str, Any]:
        """The body of `GET /performance/{portfolio}`."""
        return (await self._portfolios.standing(portfolio)).as_dict()

    async def report(self, counts: Mapping[str, int]) -> None:
        """See `Mailbox.note_stream`; now and then, and where something changed that is no message."""
        now_s, (before_s, before) = time.monotonic(), self._reported
        clients = {name: count for name, count in counts.items() if name != "sent"}
        if now_s - before_s >= _REPORT_S or clients != before:
            self._reported = now_s, clients
            with suppress(RaysignalError):
                await self._portfolios.note_stream(self._name, dict(counts))

    async def states(self) -> Sequence[LiveState]:
        """What every feed says of each of its symbols, and every pipeline of its risk."""
        found: list[LiveState] = []
        if self._feeds is not None:
            for status in await self._feeds.statuses():
                for symbol, seen in status.get("station", {}).get("symbols", {}).items():
                    values = {
                        "name": status["name"], "symbol": symbol, "health": status["health"]["state"],
                        **{name: seen[name] for name in _OF_A_MARKET},
                    }  # fmt: skip
                    found.append(LiveState("market_update", f"{status['name']} {symbol}", symbol, values))
        if self._pipelines is not None:
            for status in await self._pipelines.statuses():
                with suppress(RaysignalError):  # one that does not run says nothing new
                    risk = await self._pipelines.ask(status["name"], "risk")
                    found.append(LiveState("risk", status["name"], None, _risk(risk)))
        return found


def _risk(risk: Mapping[str, Any]) -> dict[str, Any]:
    """What of a pipeline's risk is told: not its equity, which changes all the time."""
    told = {name: risk[name] for name in ("pipeline", "state", "flatten", "who", "reason", "since")}
    return told | {
        "verdict": risk["verdicts"][-1] if risk["verdicts"] else None,
        "alarm": risk["alarms"][-1] if risk["alarms"] else None,
    }
