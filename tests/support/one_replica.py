"""The edge of the service in one process: the application over a real shard on disk."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog
from starlette.types import ASGIApp

from raysignal.agents.inference.host import ModelHost
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.mailbox import Mailbox
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.runtime.model_signals import model_host
from raysignal.runtime.settings import Settings
from raysignal.serve.access import Credentials
from raysignal.serve.api import build_api
from raysignal.serve.logs import StoreLog
from raysignal.serve.replica import ReplicaState


class Desk:
    """The desk over one mailbox in this process; `broken` is raised in place of an answer."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.broken: Exception | None = None

    async def submit(self, *args: Any, **options: Any) -> Any:
        if self.broken is not None:
            raise self.broken
        return await self._mailbox.submit(*args, **options)

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool:
        return await self._mailbox.rename_symbol(portfolio, old, new)

    async def create(self, portfolio: str, policy: Policy) -> Any:
        return await self._mailbox.create(portfolio, policy)

    async def follow(self, portfolio: str | None, first: int, limit: int, wait_s: float) -> Any:
        return await self._mailbox.follow(portfolio or "baseline", first, limit, wait_s)

    async def count(self, portfolio: str | None) -> int:
        return int((await self.standing(portfolio or "baseline")).count)

    async def find(self, portfolio: str, signal_id: str) -> Any:
        return await self._mailbox.find(portfolio, signal_id)

    async def known(self, portfolio: str, keys: Any) -> Any:
        return await self._mailbox.known(portfolio, keys)

    async def marks(self, portfolio: str, symbols: Any) -> Any:
        return await self._mailbox.marks(portfolio, symbols)

    async def recent(self, portfolio: str) -> Any:
        return await self._mailbox.recent(portfolio)

    async def standings(self) -> Any:
        return await self._mailbox.standings()

    async def standing(self, portfolio: str) -> Any:
        return (await self._mailbox.standings(portfolio))[0]

    async def ready(self) -> list[int]:
        if self.broken is not None:
            raise self.broken
        return [await self._mailbox.ready()]

    async def note_refusals(self, entries: list[dict[str, Any]], counts: dict[str, int]) -> None:
        await self._mailbox.note_refusals(entries, counts)

    async def refusals(self, reason: str | None, source: str | None, limit: int) -> Any:
        return await self._mailbox.refusals(reason, source, limit)

    async def tail(self, _shard: int, first: int, limit: int, wait_s: float) -> Any:
        if self.broken is not None:
            raise self.broken
        return await self._mailbox.tail(first, limit, wait_s)

    async def flush(self) -> None:
        await self._mailbox.flush()

    async def note_stream(self, replica: str, counts: dict[str, int]) -> None:
        await self._mailbox.note_stream(replica, counts)

    async def observe(self) -> list[dict[str, Any]]:
        return [self._mailbox.observe()]


def present_us() -> int:
    return time.time_ns() // 1000


class ModelDesk:
    """The way to the model's host in this process, which begins at its first use."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host
        self._begun = False

    def __getattr__(self, method: str) -> Any:
        self._begun = True
        return getattr(self._host, method)

    async def standing(self) -> dict[str, Any] | None:
        return await self._host.info() if self._begun else None


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica is made of; `lines` is what it has logged."""

    front: ASGIApp
    desk: Desk
    lines: list[Any]
    models: ModelDesk


@asynccontextmanager
async def replica(
    folder: Path, *, pipelines: Any = None, now_us: Callable[[], int] | None = None, **settings: Any
) -> AsyncIterator[Replica]:
    """A replica over a store in the folder; `pipelines` and `now_us` as of `ReplicaState`."""
    chosen = Settings(store=(folder / "store").as_uri(), **settings)
    stores = open_stores(chosen.store)

    def open_shard(_durable: int) -> Shard:
        return Shard.open(
            stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000",
            cache_dir=folder / "cache", limits=ShardLimits(), policies={"baseline": Policy()},
        )  # fmt: skip

    def view_shard(last: int | None) -> Shard:
        return Shard.view(
            stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000", cache_dir=folder / "cache",
            limits=ShardLimits(), last=last,
        )  # fmt: skip

    mailbox = Mailbox(open_shard, view_shard, clock=time.perf_counter, flush_s=3600.0, on_fenced=lambda: None)
    desk = Desk(mailbox)
    host = model_host(chosen, desk, on_fenced=lambda: None)
    models = ModelDesk(host)
    captured = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[captured])
    state = ReplicaState(
        chosen,
        desk,  # type: ignore[arg-type]
        stores.blobs,
        Credentials.of(chosen),
        name="r1",
        pipelines=pipelines,
        models=models,  # type: ignore[arg-type]
        now_us=now_us or present_us,
    )
    yield Replica(build_api(state, log=log, store_log=StoreLog(log, "r1")), desk, captured.entries, models)
    await host.close()
    await mailbox.close()


def speaking_to(found: Replica) -> httpx.AsyncClient:
    """A client of a replica."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(found.front), base_url="http://localhost")
