"""Feeds as Ray actors: one a venue and symbol, detached and restarting; and the way to them.

An actor asks the venue how its numbers are written, opens the database, and runs a feed with its station. Whatever
fails, it begins anew where the database says it was: bars that are missing come from the venue's klines, signals that
were not posted are posted, orders whose fate is not known are looked up.
"""

import asyncio
import os
import sys
from contextlib import suppress
from random import Random
from typing import Any

import ray
import structlog
from pydantic import SecretStr
from ray.exceptions import RayError
from structlog.typing import FilteringBoundLogger

from engine.actors import Desk
from engine.database.database import open_database
from engine.errors import InvalidField, RaysignalError
from engine.journal.stores import open_stores
from engine.local_cluster import NAMESPACE
from engine.market.clocks import SystemClock
from engine.market.following import Around, Followed, following
from engine.market.limits import VenueLimits
from engine.market.posting import post_from_thread
from engine.market.venues.catalogue import venue_named
from engine.settings import SECRETS, Settings
from engine.signals import Signal

_AGAIN_S = 1.0
_LATER_S = 30.0
_PATIENCE_S = 2.0


class FeedActor:
    """The mailbox of one feed, and the loop that keeps it going."""

    async def __init__(self, settings: dict[str, Any], database_url: SecretStr, name: str) -> None:  # type: ignore[misc]
        self._settings = Settings(**settings, database_url=database_url)
        self._name = name
        self._log = json_lines(name)
        self._limits: dict[str, VenueLimits] = {}
        self._followed: Followed | None = None
        self._trouble, self._lives = "starting", 0
        self._living = asyncio.create_task(self._live())

    async def status(self) -> dict[str, Any]:
        """See `GET /feed`."""
        found = {"name": self._name, "trouble": self._trouble or None}
        if self._followed is not None:
            found |= await asyncio.to_thread(self._followed.status)
        return found | {"lives": self._lives, "pid": os.getpid()}

    async def stop(self) -> None:
        """Put on record what was seen, and end."""
        self._living.cancel()
        await asyncio.gather(self._living, return_exceptions=True)

    async def _live(self) -> None:
        """Follow, whatever happens."""
        while True:
            again_s = _AGAIN_S
            try:
                await self._follow()
            except InvalidField as error:  # a symbol that is not traded, windows that cannot be
                self._trouble, again_s = str(error), _LATER_S
            except RaysignalError as error:
                self._trouble = str(error)
            except Exception as error:  # noqa: BLE001 - told by the status; the next life may do better
                self._trouble = repr(error)
            self._followed = None
            self._log.error("feed_begins_anew", reason=self._trouble)
            await asyncio.sleep(again_s)

    async def _follow(self) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        desk = Desk.connect(settings)

        async def submit(batch: bytes) -> object:
            return await desk.submit(
                settings.feed_portfolio or settings.primary, batch, all_or_nothing=True,
                accept_price_jump=False, receipts=False,
            )  # fmt: skip

        def post(signal: Signal) -> str:
            return post_from_thread(signal, submit, loop)

        address = settings.database_url.get_secret_value()
        database = await asyncio.to_thread(open_database, address)
        around = Around(
            database, post, self._log, SystemClock(), Random(), open_stores(settings.store).blobs,  # noqa: S311
            self._limits,
        )  # fmt: skip
        try:
            async with following(self._name, settings, around) as followed:
                self._followed, self._trouble = followed, ""
                self._lives += 1
                await followed.run()
        finally:
            database.close()


class Feeds:
    """The way to the feeds of a service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actors: dict[str, Any] = {}

    @classmethod
    def connect(cls, settings: Settings) -> "Feeds":
        """The feeds that the settings name; their actors are made where there are none.

        Raises:
            InvalidField: a venue that is none.
        """
        feeds = cls(settings)
        for name in settings.feeds:
            venue_named(name.partition(":")[0])
        for name in settings.feeds:
            feeds._actor(name)
        return feeds

    async def statuses(self) -> list[dict[str, Any]]:
        """What each says of itself, in the order of the settings; one that does not answer says so."""
        return list(await asyncio.gather(*(self._status(name) for name in self._settings.feeds)))

    async def stop(self) -> None:
        """End every feed; what they have seen is on record, or can be had again."""
        for name in self._settings.feeds:
            actor = self._actor(name)
            with suppress(RayError, TimeoutError):
                async with asyncio.timeout(10.0):
                    await actor.stop.remote()
            ray.kill(actor)
        self._actors.clear()

    async def _status(self, name: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found: dict[str, Any] = await self._actor(name).status.remote()
        except RayError as error:
            self._actors.pop(name, None)
            return {"name": name, "trouble": f"its actor is away: {type(error).__name__}"}
        except TimeoutError:
            return {"name": name, "trouble": f"its actor did not answer within {_PATIENCE_S:g} s"}
        return found

    def _actor(self, name: str) -> Any:
        if name not in self._actors:
            secret = {*SECRETS, "host", "port"}
            self._actors[name] = (
                ray.remote(FeedActor)
                .options(
                    name=f"feed-{name}",
                    namespace=NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    num_cpus=0,
                    max_restarts=-1,
                    max_task_retries=0,
                    max_concurrency=1_000,
                )
                .remote(
                    self._settings.model_dump(mode="json", exclude=secret), self._settings.database_url, name
                )
            )
        return self._actors[name]


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
