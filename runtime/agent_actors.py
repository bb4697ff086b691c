"""The agent as an actor: one for the enhanced portfolio, detached and restarting; and the way to it."""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from ray.exceptions import RayError

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.budget import Period
from raysignal.agents.llm.caller import ModelCaller
from raysignal.agents.llm.cassette import Cassette
from raysignal.agents.llm.embeddings import EmbeddedTexts, EmbeddingModel, EmbeddingRequest
from raysignal.agents.llm.models import ChatModel, ModelSettings, why_not_asked
from raysignal.agents.override import views
from raysignal.agents.override.follower import PULL, Follower, PortfolioMismatch
from raysignal.agents.override.live_embeddings import LiveEmbeddings
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
from raysignal.engine.core.private_files import cache_folder, restrict_new_files
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.agent_settings import embeddings_of, model_of, terms_of, why_off
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.model_budget_actor import ClusterAllowance, ModelQuota
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

T = TypeVar("T")
EmbeddingCaller = ModelCaller[EmbeddingRequest, EmbeddedTexts]

PAUSE_S = 0.02
"""Between two pulls, so that a burst is decided together: this, and more for each row of the last one."""
_PAUSE_A_ROW_S = 0.01
_LONGEST_PAUSE_S = 0.25
_LONGEST_REST_S = 0.02
WAIT_S = 2.0
RECORD_S = 10.0
_NAME = "override-agent"
_PATIENCE_S = 5.0
_SEARCH_S = 25.0  # twice what Chroma has for a question, and some
_REBUILD_S = 90.0
_AGAIN_S = 1.0
_LATER_S = 30.0
_BURST = 8


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


class OverrideActor:
    """The mailbox of the agent, and the loop that keeps it going.

    Args:
        settings: the service's, as plain values.
        api_key: of the model, empty where it needs none; None: as this process's environment has it.
        embeddings_key: the same of the model that embeds texts.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: dict[str, Any], api_key: SecretStr | None, embeddings_key: SecretStr | None
    ) -> None:
        restrict_new_files()
        self._settings = Settings(**settings)
        if self._settings.agent.priority == "idle":
            _stand_back()
        self._terms = terms_of(self._settings)
        found = model_of(self._settings).key_in(os.environ)
        self._api_key = api_key.get_secret_value() if api_key is not None else found
        self._embeddings_key = None if embeddings_key is None else embeddings_key.get_secret_value()
        self._desk = PortfolioClient.connect(self._settings, direct=True)
        self._rows = SettledRows()
        self._feeder = Feeder(
            chroma_place(self._settings), self._rows, name=collection_of(self._terms.portfolio)
        )
        self._feeder.start()
        self._follower: Follower | None = None
        self._log: OutcomeLog | None = None
        self._trouble = "starting"
        self._allowance: ClusterAllowance | None = None
        self._model_off = ""
        self._adviser: Adviser | None = None
        self._embeddings_off = ""
        self._embedding_caller: EmbeddingCaller | None = None
        self._embeddings: LiveEmbeddings | None = None
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
            "mode": self._mode_now(),
            "model": await self._model_status(),
            "embeddings": self._embeddings_status(),
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
        """`compare`, `accuracy` or `patterns`; a `RaysignalError` is returned, not raised."""
        follower = self._follower
        if follower is None:
            return AgentUnavailable(f"the agent is not ready: {self._trouble}")
        if what == "compare":
            return await self._once("compare", follower, lambda: views.compared(follower))
        found = await self._once("accuracy", follower, lambda: views.accuracy_of(follower))
        if what == "accuracy":
            return found.as_dict()
        return {"n": found.n, "patterns": [cohort.as_dict() for cohort in found.patterns()]}

    async def similar(self, query: SimilarQuery, signal: bytes | None) -> Any:
        """Past outcomes, see `agents.override.similar`; a `RaysignalError` is returned, not raised.

        Args:
            query: what is asked for.
            signal: one signal that was not decided, as `SignalBatch.encode` writes it: outcomes like it.
        """
        follower = self._follower
        if follower is None:
            return AgentUnavailable(f"the agent is not ready: {self._trouble}")
        try:
            if signal is not None:
                query = replace(query, vector=await follower.preview(SignalBatch.decode(signal)))
            index = self._feeder.index() if self._rows.ready else None
            found = await asyncio.to_thread(find_similar, self._rows, index, query)
        except RaysignalError as error:
            return error
        return found | {"behind": self._feeder.status()["behind"]}

    async def outcomes(self, first: int, limit: int) -> Any:
        """At most so many outcomes from an ordinal on, as Parquet; a `RaysignalError` is returned, not raised."""
        if self._follower is None:
            return AgentUnavailable(f"the agent is not ready: {self._trouble}")
        try:
            stop = self._rows.count()
            rows = self._rows.read(min(first, stop), min(first + limit, stop))
            return await asyncio.to_thread(outcomes_parquet, rows)
        except RaysignalError as error:
            return error

    async def rebuild(self) -> Any:
        """Empty Chroma's collection, which is then filled again; how it stands. A `RaysignalError` is returned."""
        try:
            if self._rows.ready:
                await asyncio.to_thread(self._feeder.index().rebuild, "it was asked for")
        except RaysignalError as error:
            return error
        return self._feeder.status()

    async def reset(self) -> Any:
        """Close the breaker; whether it was open. A `RaysignalError` is returned, not raised."""
        follower = self._follower
        if follower is None:
            return AgentUnavailable(f"the agent is not ready: {self._trouble}")
        try:
            return await follower.reset(time.time_ns() // 1000)
        except RaysignalError as error:
            return error

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
        if self._allowance is not None:
            self._allowance.end()

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
        self._adviser = await self._made_adviser()
        store = open_stores(self._settings.store).journal_store(f"agent={self._terms.portfolio}")
        self._log = await asyncio.to_thread(
            OutcomeLog.open, store, self._terms.outcomes(), self._settings.agent.embeddings or ""
        )
        self._embeddings = await self._made_embeddings(self._log)
        follower = Follower(
            self._desk, self._terms, self._log,
            adviser=self._adviser, embeddings=self._embeddings, rest=IdlePacer(),
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

    async def _made_adviser(self) -> Adviser | None:
        """Who asks the model; None, with the reason kept, if nobody can."""
        settings = self._settings
        if (why := why_not_asked(model_of(settings), self._api_key)) is not None:
            self._model_off = why
            return None
        if self._adviser is not None:
            return self._adviser
        try:
            model = ChatModel(model_of(settings), self._api_key)
            await model.warm()
            allowance = await self._made_allowance()
        except (ImportError, RaysignalError) as error:
            self._model_off = str(error)
            return None
        return Adviser(
            model, Cassette.live(), allowance, deadline_s=settings.llm.deadline_s, concurrency=_BURST
        )

    async def _made_embeddings(self, log: OutcomeLog) -> LiveEmbeddings | None:
        """The vectors of texts, on record and to come; None: texts are hashed."""
        if (settings := embeddings_of(self._settings)) is None:
            return None
        recorded, log.texts = log.texts, []
        return LiveEmbeddings(recorded, log.append_texts, await self._made_embedding_caller(settings))

    async def _made_embedding_caller(self, settings: ModelSettings) -> EmbeddingCaller | None:
        """Who embeds texts; None, with the reason kept, if nobody can."""
        if self._embedding_caller is not None:
            return self._embedding_caller
        try:
            model = EmbeddingModel(settings, self._embeddings_key or settings.key_in(os.environ))
            await model.warm()
            allowance = await self._made_allowance()
        except (ImportError, RaysignalError) as error:
            self._embeddings_off = str(error)
            return None
        self._embeddings_off = ""
        self._embedding_caller = ModelCaller(
            model, allowance, deadline_s=self._settings.llm.deadline_s, concurrency=_BURST
        )
        return self._embedding_caller

    async def _made_allowance(self) -> ClusterAllowance:
        """How many calls may be made, of whatever model."""
        if self._allowance is None:
            llm = self._settings.llm
            quota = ModelQuota(llm.budget, Period.DAY, llm.per_minute, _BURST, budget_file(self._settings))
            self._allowance = await asyncio.to_thread(
                ClusterAllowance.connect, quota, name=f"model-budget-{self._terms.portfolio}"
            )
        return self._allowance

    def _mode_now(self) -> str:
        if self._adviser is None:
            return "gate"
        return "gate and reviewer" if self._settings.agent.policy == "review" else "gate and model"

    async def _model_status(self) -> dict[str, Any]:
        settings, adviser = self._settings, self._adviser
        trouble = (adviser.trouble if adviser is not None else "") or None
        return {
            "name": settings.llm.model,
            "why_off": self._model_off or None,
            "trouble": trouble,
            "budget": settings.llm.budget,
            "left": None if self._allowance is None else await self._allowance.left(),
            "opinions": {} if adviser is None else {
                reason.value: count for reason, count in sorted(adviser.counts.items())
            },
        }  # fmt: skip

    def _embeddings_status(self) -> dict[str, Any] | None:
        if not self._settings.agent.embeddings:
            return None
        made = self._embeddings
        return {
            "name": self._settings.agent.embeddings,
            "why_off": self._embeddings_off or None,
            "trouble": (made.trouble if made is not None else "") or None,
            "texts": {} if made is None else dict(sorted(made.counts.items())),
        }

    async def _behind(self, follower: Follower | None) -> tuple[int | None, int | None]:
        """Signals of the primary portfolio, and how many of them are not decided yet."""
        try:
            async with asyncio.timeout(_PATIENCE_S / 2):
                primary = (await self._desk.standing(self._terms.primary)).count
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


class Agent:
    """The way to the agent of a service. Methods raise `RaysignalError`s only."""

    def __init__(self, settings: Settings, api_key: str | None, embeddings_key: str | None) -> None:
        keys = (None if key is None else SecretStr(key) for key in (api_key, embeddings_key))
        self._actor = DetachedActor(
            f"{_NAME}-{settings.agent.portfolio}", OverrideActor, settings.for_actors(), *keys
        )

    @classmethod
    def connect(cls, settings: Settings, environ: Mapping[str, str]) -> "Agent | None":
        """The agent, whose actor is made where there is none; None: there is none (`agent_settings.why_off`).

        Raises:
            SettingsError: a setting of the agent cannot be used.
        """
        if why_off(settings) is not None:
            return None
        terms_of(settings)
        embeddings = embeddings_of(settings)
        agent = cls(
            settings, model_of(settings).key_in(environ),
            None if embeddings is None else embeddings.key_in(environ),
        )  # fmt: skip
        agent._actor.handle()
        return agent

    async def status(self) -> dict[str, Any]:
        """See `OverrideActor.status`."""
        answer: dict[str, Any] = await self._ask(lambda actor: actor.status.remote())
        return answer

    async def read(self, what: str) -> Any:
        """See `OverrideActor.read`."""
        return await self._ask(lambda actor: actor.read.remote(what))

    async def similar(self, query: SimilarQuery, signal: bytes | None = None) -> dict[str, Any]:
        """See `OverrideActor.similar`."""
        answer: dict[str, Any] = await self._ask(
            lambda actor: actor.similar.remote(query, signal), answer_s=_SEARCH_S
        )
        return answer

    async def outcomes(self, first: int, limit: int) -> bytes:
        """See `OverrideActor.outcomes`."""
        answer: bytes = await self._ask(lambda actor: actor.outcomes.remote(first, limit), answer_s=_SEARCH_S)
        return answer

    async def rebuild(self) -> dict[str, Any]:
        """See `OverrideActor.rebuild`."""
        answer: dict[str, Any] = await self._ask(lambda actor: actor.rebuild.remote(), answer_s=_REBUILD_S)
        return answer

    async def reset(self) -> bool:
        """See `OverrideActor.reset`."""
        was_open: bool = await self._ask(lambda actor: actor.reset.remote())
        return was_open

    async def stop(self, patience_s: float) -> None:
        """Put the agent away; it is ended even if it does not answer."""
        with suppress(RayError, TimeoutError):
            async with asyncio.timeout(patience_s + 3.0):
                await self._actor.handle().stop.remote(patience_s)
        self._actor.kill()

    async def _ask(self, call: Callable[[Any], Awaitable[Any]], *, answer_s: float = _PATIENCE_S) -> Any:
        return await self._actor.ask(
            call, patience_s=_PATIENCE_S, unavailable=AgentUnavailable, answer_s=answer_s
        )


def _stand_back() -> None:
    """Leave the processor to whoever makes receipts: for this thread, and threads and children that it makes.

    Ray's workers are all made nice alike, so being a little nicer would change little. Where others keep the processor
    busy, nothing is left.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def chroma_place(settings: Settings) -> str:
    """Where the vectors lie."""
    if settings.agent.chroma:
        return settings.agent.chroma
    if (folder := _store_folder(settings.store)) is not None:
        return str(folder.with_name(f"{folder.name}-chroma"))
    return str(cache_folder("vectors", settings.store))


def budget_file(settings: Settings) -> str | None:
    """Where the calls of the day are counted over restarts; None: nowhere, and a restart allows none that day."""
    folder = _store_folder(settings.store)
    return None if folder is None else str(folder / "state" / "model-budget.json")


def _store_folder(store: str) -> Path | None:
    parts = urlsplit(store)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
