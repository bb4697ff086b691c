"""The agent without Ray: the loop that keeps it going, and its answers."""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from raysignal.agents.override import views
from raysignal.agents.override.follower import PULL, Follower, PortfolioMismatch
from raysignal.agents.override.log import OutcomeLog
from raysignal.agents.override.outcome_vectors import Feeder, SettledRows, collection_of, outcomes_parquet
from raysignal.agents.override.similar import SimilarQuery, find_similar
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    AgentUnavailable,
    Fenced,
    JournalDamaged,
    PortfolioConflict,
    RaysignalError,
    SettingsError,
)
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.agent_models import AgentModels
from raysignal.runtime.agent_settings import chroma_place, terms_of
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

T = TypeVar("T")

PAUSE_S = 0.02
"""Between two pulls, so that a burst is decided together: this, and more for each row of the last one."""
_PAUSE_A_ROW_S = 0.01
_LONGEST_PAUSE_S = 0.25
_LONGEST_REST_S = 0.02
WAIT_S = 2.0
RECORD_S = 10.0
_PATIENCE_S = 5.0
_AGAIN_S = 1.0
_LATER_S = 30.0


class IdlePacer:
    """Rests as long as there was work since the last rest, within a limit.

    Other processes answer receipts meanwhile, on the same cores: the lowest priority gives way to them, but what is
    shared (caches, the two threads of a core) is slower for as long as the agent works.
    """

    def __init__(self, longest_s: float = _LONGEST_REST_S) -> None:
        self._longest_s = longest_s
        self._since = time.monotonic()

    async def __call__(self) -> None:
        """Rest."""
        await asyncio.sleep(min(time.monotonic() - self._since, self._longest_s))
        self._since = time.monotonic()


class OverrideAgent:
    """The agent of the enhanced portfolio: follows the primary one, decides, and answers. Methods raise.

    Args:
        settings: of the service.
        models: whom it asks.
        portfolios: the client of the portfolio actors.
    """

    def __init__(self, settings: Settings, models: AgentModels, portfolios: PortfolioClient) -> None:
        self._settings, self._models, self._portfolios = settings, models, portfolios
        self._terms = terms_of(settings)
        self._rows = SettledRows()
        self._feeder = Feeder(chroma_place(settings), self._rows, name=collection_of(self._terms.portfolio))
        self._feeder.start()
        self._follower: Follower | None = None
        self._log: OutcomeLog | None = None
        self._trouble = "starting"
        self._shown: dict[str, tuple[int, Any]] = {}
        self._living = asyncio.create_task(self._live())

    async def status(self) -> dict[str, Any]:
        """See `GET /agent`."""
        follower = self._follower
        breaker = None if follower is None else follower.decider.breaker
        primary, behind = await self._behind(follower)
        return {
            "on": True,
            "why": None,
            "trouble": self._trouble or None,
            "primary": self._terms.primary,
            "portfolio": self._terms.portfolio,
            "mode": self._models.mode,
            "model": await self._models.status(),
            "embeddings": self._models.embeddings_status(),
            "horizon": self._settings.agent.horizon,
            "signals": primary,
            "behind": behind,
            "settled": 0 if follower is None else follower.shown.settled,
            "evidence": None if follower is None else follower.readiness.as_dict(),
            "decisions": {} if follower is None else dict(sorted(follower.counts.items())),
            "breaker": None if breaker is None else breaker.status(),
            "chroma": self._feeder.status(),
            "pid": os.getpid(),
        }

    async def read(self, what: str) -> Any:
        """`compare`, `accuracy` or `patterns`."""
        follower = self._ready()
        if what == "compare":
            return await self._once("compare", follower, lambda: views.compared(follower))
        found = await self._once("accuracy", follower, lambda: views.accuracy_of(follower))
        if what == "accuracy":
            return found.as_dict()
        return {"n": found.n, "patterns": [cohort.as_dict() for cohort in found.patterns()]}

    async def similar(self, query: SimilarQuery, signal: bytes | None) -> dict[str, Any]:
        """Past outcomes, see `agents.override.similar`.

        Args:
            query: what is asked for.
            signal: one signal that was not decided, as `SignalBatch.encode` writes it: outcomes like it.
        """
        follower = self._ready()
        if signal is not None:
            query = replace(query, vector=await follower.preview(SignalBatch.decode(signal)))
        index = self._feeder.index() if self._rows.ready else None
        found = await asyncio.to_thread(find_similar, self._rows, index, query)
        return found | {"behind": self._feeder.status()["behind"]}

    async def outcomes(self, first: int, limit: int) -> bytes:
        """At most so many outcomes from an ordinal on, as Parquet."""
        self._ready()
        stop = self._rows.count()
        rows = self._rows.read(min(first, stop), min(first + limit, stop))
        return await asyncio.to_thread(outcomes_parquet, rows)

    async def rebuild(self) -> dict[str, Any]:
        """Empty Chroma's collection, which is then filled again; how it stands."""
        if self._rows.ready:
            await asyncio.to_thread(self._feeder.index().rebuild, "it was asked for")
        return self._feeder.status()

    async def reset(self) -> bool:
        """Close the breaker; whether it was open."""
        follower = self._ready()
        return await follower.reset(time.time_ns() // 1000)

    async def stop(self, patience_s: float) -> None:
        """Decide what is there, put everything on record, and end; what takes longer is left to the next start."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while loop.time() < deadline and await self._is_behind():  # noqa: ASYNC110 - asked of another actor
            await asyncio.sleep(PAUSE_S)
        self._living.cancel()
        await asyncio.gather(self._living, return_exceptions=True)
        with suppress(RaysignalError):
            if self._follower is not None:
                await self._follower.record()
        if self._log is not None:
            self._log.close()
        await asyncio.to_thread(self._feeder.close, max(0.5, deadline - loop.time()))
        self._models.end()

    async def _live(self) -> None:
        """Follow, whatever happens; after a failure a new follower goes on where the portfolios are."""
        while True:
            again_s = _AGAIN_S
            try:
                await self._follow()
            except Fenced:
                os._exit(1)  # another actor is the agent now; if this is still the one, Ray starts it anew
            except (PortfolioMismatch, PortfolioConflict, JournalDamaged, SettingsError) as error:
                self._trouble, again_s = str(error), _LATER_S
            except RaysignalError as error:
                self._trouble = str(error)
            except Exception as error:  # noqa: BLE001 - told by the status; the next life may do better
                self._trouble = repr(error)
            self._rows.follow(None)
            self._follower = None
            if self._log is not None:
                self._log.close()
            await asyncio.sleep(again_s)

    async def _follow(self) -> None:
        adviser = await self._models.adviser()
        store = open_stores(self._settings.store).journal_store(f"agent={self._terms.portfolio}")
        self._log = await asyncio.to_thread(
            OutcomeLog.open, store, self._terms.outcomes(), self._settings.agent.embeddings or ""
        )
        embeddings = await self._models.embeddings(self._log)
        follower = Follower(
            self._portfolios, self._terms, self._log,
            adviser=adviser, embeddings=embeddings, rest=IdlePacer(),
        )  # fmt: skip
        self._trouble = "learning what was decided before"
        await follower.recover()
        gc.freeze()  # what is there by now stays, and would be searched for garbage again and again
        self._rows.follow(follower)
        self._follower, self._trouble = follower, ""
        loop = asyncio.get_running_loop()
        due = loop.time() + RECORD_S
        while True:
            decided = await follower.step(WAIT_S)
            if 0 < decided < PULL:
                await asyncio.sleep(min(PAUSE_S + decided * _PAUSE_A_ROW_S, _LONGEST_PAUSE_S))
            if loop.time() >= due:
                await follower.record()
                due = loop.time() + RECORD_S

    def _ready(self) -> Follower:
        if self._follower is None:
            raise AgentUnavailable(f"the agent is not ready: {self._trouble}")
        return self._follower

    async def _behind(self, follower: Follower | None) -> tuple[int | None, int | None]:
        """Signals of the primary portfolio, and how many of them are not decided yet."""
        try:
            async with asyncio.timeout(_PATIENCE_S / 2):
                primary = (await self._portfolios.standing(self._terms.primary)).count
        except (TimeoutError, RaysignalError):
            return None, None
        return primary, None if follower is None else max(0, primary - follower.shown.rows)

    async def _is_behind(self) -> bool:
        """Whether there is something left to be decided; not if the store does not say so."""
        if self._follower is None:
            return False
        _, behind = await self._behind(self._follower)
        return bool(behind)

    async def _once(self, what: str, follower: Follower, work: Callable[[], T]) -> T:
        """A result that is kept until there is more to say; one thread works it out."""
        rows = follower.shown.rows
        kept = self._shown.get(what)
        if kept is None or kept[0] != rows:
            kept = rows, await asyncio.to_thread(work)
            self._shown[what] = kept
        found: T = kept[1]
        return found
