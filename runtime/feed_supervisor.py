"""One feed kept going: what can heal is begun anew, ever more seldom, and what cannot ends as failed.

supervisor = Supervisor(name, lambda: following(name, settings, around), clock=…, random=…, log=…)
await supervisor.run()              # until it is refused for good, or cancelled
supervisor.status()                 # at any time, from the first second on
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import (
    DatabaseTooNew,
    InvalidField,
    RaysignalError,
    SettingsError,
    UnsafeStore,
)
from raysignal.engine.market.backoff import Backoff
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.monitoring.health import FeedState, Health
from raysignal.runtime.feeds import FollowedInstrument

FOR_GOOD = (InvalidField, SettingsError, DatabaseTooNew, UnsafeStore)
"""What no repetition mends: a symbol that is not traded, windows that cannot be, a database of a later version."""

START_WITHIN_S = 120.0
FIRST_DELAY_S, MOST_DELAY_S, LASTING_S = 1.0, 60.0, 30.0


class Supervisor:
    """See the module.

    Args:
        follow: one life of the feed, from its venue to its orders.
        begun: told that a life has begun; gives its number, over restarts of the process.
        start_within_s: a feed that has not been ready by then has failed; it is tried again all the same.
    """

    def __init__(
        self,
        name: str,
        follow: Callable[[], AbstractAsyncContextManager[FollowedInstrument]],
        *,
        clock: Clock,
        random: Random,
        log: FilteringBoundLogger,
        begun: Callable[[], int] | None = None,
        start_within_s: float = START_WITHIN_S,
    ) -> None:
        self.name = name
        self.lives = 0
        self._follow, self._clock, self._log = follow, clock, log
        self._begun, self._start_within_s = begun, start_within_s
        self._backoff = Backoff(random, first_s=FIRST_DELAY_S, most_s=MOST_DELAY_S, lasting_s=LASTING_S)
        self._followed: FollowedInstrument | None = None
        self._since_s = clock.monotonic()
        self._trouble = ""  # why there is no life just now
        self._refused = self._was_ready = False

    async def run(self) -> None:
        """Follow, whatever happens, until it is refused for good."""
        while not self._refused:
            began_s = self._clock.monotonic()
            trouble = await self._live()
            if trouble != self._trouble or self._refused:
                self._log.error("feed_failed" if self._refused else "feed_begins_anew", reason=trouble)
            self._trouble = trouble
            if not self._refused:
                await self._clock.sleep(self._backoff.failed(self._clock.monotonic() - began_s))

    def health(self) -> Health:
        """How it stands, over all its lives."""
        followed, since_s = self._followed, self._since_s
        if self._refused:
            return Health(FeedState.FAILED, self._trouble, since_s)
        health = Health(FeedState.DEAD if self._was_ready else FeedState.STARTING, self._trouble, since_s)
        if followed is not None:
            health = followed.health()
            self._was_ready |= health.ready
        waited_s = self._clock.monotonic() - since_s
        if self._was_ready or health.state is FeedState.FAILED or waited_s <= self._start_within_s:
            return health
        reason = health.reason or self._trouble or "it does not say why"
        return Health(FeedState.FAILED, f"not ready within {self._start_within_s:g} s: {reason}", since_s)

    def status(self) -> dict[str, Any]:
        """As in `GET /feed`; without figures while there is no life."""
        followed, health = self._followed, self.health()
        found = {} if followed is None else followed.status()
        trouble = found.get("trouble") or (None if health.ready else health.reason or None)
        return {
            **found, "name": self.name, "health": health.as_dict(), "trouble": trouble, "lives": self.lives,
        }  # fmt: skip

    async def _live(self) -> str:
        """One life; why it ended."""
        try:
            async with self._follow() as followed:
                self._followed = followed
                try:
                    self.lives = (
                        self.lives + 1 if self._begun is None else await asyncio.to_thread(self._begun)
                    )
                    await followed.run()
                finally:
                    self._was_ready |= followed.feed.was_ready
                    self._followed = None
        except FOR_GOOD as error:
            self._refused = True
            return str(error)
        except RaysignalError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - told by the status; the next life may do better
            return repr(error)
        return "it ended"
