"""The feeds of one venue, in one process: followed, supervised, asked how they are.

The venue is asked how its numbers are written, the database is opened, and each symbol has a feed with its station.
What can heal is begun anew (`runtime.feed_supervisor`) where the database says it was: bars that are missing come from
the venue's klines, signals that were not posted are posted, orders whose fate is not known are looked up.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.signals import Signal
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.market.clocks import SystemClock
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.signal_posts import answer_from_thread, post_from_thread
from raysignal.runtime.feed_supervisor import Supervisor
from raysignal.runtime.feeds import FeedContext, FollowedInstrument, following
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

_LIVES = "feeds/lives"


class VenueFeeds:
    """The feeds of one venue, each with what watches over it, and the database that they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits: dict[str, VenueLimits] = {}
        self._database: Database | None = None
        self._opening = asyncio.Lock()
        self._feeds: dict[str, tuple[Supervisor, asyncio.Task[None]]] = {}

    async def follow(self, names: Sequence[str]) -> None:
        """Follow these, each `venue:symbol`, and nothing else."""
        for name in [name for name in self._feeds if name not in names]:
            await _ended(self._feeds.pop(name)[1])
        for name in names:
            if name not in self._feeds:
                supervisor = Supervisor(
                    name, partial(self._following, name), clock=SystemClock(), random=Random(),  # noqa: S311 - jitter
                    log=json_lines(name), begun=partial(self._count_life, name),
                )  # fmt: skip
                self._feeds[name] = supervisor, asyncio.create_task(supervisor.run())

    async def statuses(self) -> list[dict[str, Any]]:
        """See `GET /feed`."""
        found = [await asyncio.to_thread(supervisor.status) for supervisor, _ in list(self._feeds.values())]
        return [status | {"pid": os.getpid()} for status in found]

    async def stop(self) -> None:
        """Put on record what was seen, and end."""
        await asyncio.gather(*(_ended(task) for _, task in self._feeds.values()))
        self._feeds.clear()
        if self._database is not None:
            self._database.close()

    @asynccontextmanager
    async def _following(self, name: str) -> AsyncIterator[FollowedInstrument]:
        settings, loop = self._settings, asyncio.get_running_loop()
        portfolios = PortfolioClient.connect(settings)

        async def submit(batch: bytes) -> object:
            return await portfolios.submit(
                portfolio, batch, all_or_nothing=True,
                accept_price_jump=False, receipts=False,
            )  # fmt: skip

        def post(signal: Signal) -> str:
            return post_from_thread(signal, submit, loop)

        portfolio = settings.feed.portfolio or settings.primary

        def rename(old: str, new: str) -> bool:
            return answer_from_thread(lambda: portfolios.rename_symbol(portfolio, old, new), loop)

        context = FeedContext(
            await self._opened(), post, json_lines(name), SystemClock(), Random(),  # noqa: S311 - jitter
            open_stores(settings.store).blobs, self._limits, rename,
        )  # fmt: skip
        async with following(name, settings, context) as followed:
            yield followed

    async def _opened(self) -> Database:
        """The database, which all feeds share."""
        async with self._opening:
            if self._database is None:
                address = self._settings.database_url.get_secret_value()
                self._database = await asyncio.to_thread(open_database, address)
        return self._database

    def _count_life(self, name: str) -> int:
        """The number of the life that begins, kept in the store so that a killed process goes on counting.

        A store that does not answer is no reason not to live: then it is 0.
        """
        try:
            blobs = open_stores(self._settings.store).blobs
            held = sorted(int(each.rpartition("/")[2]) for each in blobs.list(f"{_LIVES}/{name}/"))
            life = held[-1] + 1 if held else 1
            blobs.put(f"{_LIVES}/{name}/{life}", b"")
            for before in held:
                blobs.delete(f"{_LIVES}/{name}/{before}")
        except (RaysignalError, OSError, ValueError):
            return 0
        return life


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def json_lines(name: str) -> FilteringBoundLogger:
    """A logger that writes a line of JSON an event to stderr, which is this worker's log file."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    ).bind(feed=name)
    return logger
