"""Where the broadcast gets its rows and figures from: the actors of the service, and the history in the store."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raysignal.engine.core.errors import RaysignalError, StoreUnavailable
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.layout import owner, store_epoch
from raysignal.engine.pipeline.session_messages import SessionTail
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
        self.pipelines: Sequence[str] = () if pipelines is None else pipelines.names
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

    async def session(self, pipeline: str, first: int | None, limit: int, wait_s: float) -> SessionTail:
        """See `runtime.pipeline_actors.PipelineRun.tail`."""
        if self._pipelines is None:
            raise StoreUnavailable(f"there is no pipeline {pipeline}")
        return await self._pipelines.tail(pipeline, first, limit, wait_s)

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
        """What every feed says of each of its symbols."""
        found: list[LiveState] = []
        if self._feeds is not None:
            for status in await self._feeds.statuses():
                for symbol, seen in status.get("station", {}).get("symbols", {}).items():
                    values = {
                        "name": status["name"], "symbol": symbol, "health": status["health"]["state"],
                        **{name: seen[name] for name in _OF_A_MARKET},
                    }  # fmt: skip
                    found.append(LiveState("market_update", f"{status['name']} {symbol}", symbol, values))
        return found
