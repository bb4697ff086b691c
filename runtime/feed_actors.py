"""Feeds as Ray actors: one a venue, for all of its symbols, detached and restarting; and the way to them."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic import SecretStr
from ray.exceptions import RayError

from raysignal.engine.core.private_files import restrict_new_files
from raysignal.engine.market.monitoring.health import HealthWatch
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.feed_supervisor import START_WITHIN_S
from raysignal.runtime.settings import Settings
from raysignal.runtime.venue_feeds import VenueFeeds

_PATIENCE_S = 2.0


class FeedActor:
    """The feeds of one venue as a Ray actor."""

    async def __init__(  # type: ignore[misc]
        self, settings: dict[str, Any], database_url: SecretStr, names: Sequence[str]
    ) -> None:
        restrict_new_files()
        self._feeds = VenueFeeds(Settings(**settings, database_url=database_url))
        await self.follow(names)  # here, because Ray makes a killed actor anew by this alone

    async def follow(self, names: Sequence[str]) -> None:
        """See `VenueFeeds.follow`."""
        await self._feeds.follow(names)

    async def statuses(self) -> list[dict[str, Any]]:
        """See `VenueFeeds.statuses`."""
        return await self._feeds.statuses()

    async def stop(self) -> None:
        """See `VenueFeeds.stop`."""
        await self._feeds.stop()


class Feeds:
    """The way to the feeds of a service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._venues: dict[str, list[str]] = {}
        for name in settings.feed.instruments:
            self._venues.setdefault(name.partition(":")[0], []).append(name)
        plain, database = settings.for_actors(), settings.database_url
        self._actors = {
            venue: DetachedActor(f"feeds-{venue}", FeedActor, plain, database, names)
            for venue, names in self._venues.items()
        }
        self._health = {
            name: HealthWatch(time.monotonic(), start_within_s=START_WITHIN_S)
            for name in settings.feed.instruments
        }

    @classmethod
    def connect(cls, settings: Settings) -> "Feeds":
        """The feeds that the settings name; their actors are made where there are none.

        Raises:
            InvalidField: a venue that is none.
        """
        feeds = cls(settings)
        for venue in feeds._venues:
            venue_named(venue)
        for venue in feeds._venues:
            feeds._follow(venue)
        return feeds

    async def statuses(self) -> list[dict[str, Any]]:
        """What each says of itself, in the order of the settings; one that does not answer has a state and a reason."""
        answers = await asyncio.gather(*(self._answer(venue) for venue in self._venues))
        found = {status["name"]: status for answer in answers for status in answer}
        return [found[name] for name in self._settings.feed.instruments]

    async def stop(self) -> None:
        """End every feed; what they have seen is on record, or can be had again."""
        for actor in self._actors.values():
            with suppress(RayError, TimeoutError):
                async with asyncio.timeout(10.0):
                    await actor.handle().stop.remote()
            actor.kill()

    async def _answer(self, venue: str) -> list[dict[str, Any]]:
        """What an actor says, of all of its feeds."""
        found: dict[str, dict[str, Any]] = {}
        trouble = "its actor has not begun with it yet"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found = {
                    status["name"]: status for status in await self._actors[venue].handle().statuses.remote()
                }
        except RayError as error:
            self._actors[venue].forget()
            self._follow(venue)
            trouble = f"its actor is away: {type(error).__name__}"
        except TimeoutError:
            trouble = f"its actor did not answer within {_PATIENCE_S:g} s"
        names, now_s = self._venues[venue], time.monotonic()
        for name in names:
            health = self._health[name].judge("" if name in found else trouble, now_s)
            if name not in found:
                found[name] = {"name": name, "health": health.as_dict(), "trouble": trouble}
        return [found[name] for name in names]

    def _follow(self, venue: str) -> None:
        """See to it that there is an actor, and that one which is there already follows what is to be followed."""
        self._actors[venue].handle().follow.remote(self._venues[venue])
