"""Pipelines as Ray actors: one a pipeline.yaml, detached and restarting; and the way to them.

An actor runs its path on live markets and keeps its session in a folder. Whenever it begins, also after a kill, it
plays what is there and goes on; what can heal is begun anew after a while.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import ray
from pydantic import SecretStr
from ray.exceptions import RayError

from raysignal.engine.core.errors import NotFound, RaysignalError, SettingsError, StoreUnavailable
from raysignal.engine.core.events import Command, CommandKind
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.private_files import restrict_new_files
from raysignal.engine.market.backoff import Backoff
from raysignal.engine.market.clocks import SystemClock
from raysignal.engine.pipeline.portfolio import VenuePortfolio
from raysignal.engine.pipeline.recent import RecentEvents
from raysignal.engine.pipeline.session_messages import SessionMessages, SessionTail
from raysignal.engine.portfolio.receipts import FollowedRows
from raysignal.engine.portfolio.trade_summary import trade_rows
from raysignal.runtime.advisers import own_adviser
from raysignal.runtime.agent_models import AgentModels
from raysignal.runtime.agent_settings import model_of
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.feeds import hosts_of
from raysignal.runtime.model_asker import Advise
from raysignal.runtime.pipeline_file import config_of, read_config
from raysignal.runtime.pipeline_live import LivePipeline, Portfolios, live_pipeline
from raysignal.runtime.pipeline_session import Both
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings
from raysignal.runtime.venue_feeds import json_lines

T = TypeVar("T")

_PATIENCE_S = 10.0
_ANSWER_S = 10.0


class ServicePortfolios:
    """The service's portfolios, for a pipeline that follows what is posted to them."""

    def __init__(self, settings: Settings) -> None:
        self._client = PortfolioClient.connect(settings)
        self._primary = settings.primary

    async def follow(
        self, portfolio: str | None, first: int, limit: int, wait_s: float
    ) -> FollowedRows | None:
        """See `runtime.pipeline_live.Portfolios`."""
        return await self._client.follow(portfolio or self._primary, first, limit, wait_s)

    async def count(self, portfolio: str | None) -> int:
        """See `runtime.pipeline_live.Portfolios`."""
        return (await self._client.standing(portfolio or self._primary)).count


class PipelineRun:
    """A pipeline that is begun anew until it is told to end, and what it says of itself.

    Args:
        text: the configuration, as it was written.
        folder: of its session.
        portfolios: whose posted signals count; None: nobody's.
        advise: makes who asks a model; None: by the settings, with a budget of this process.
    """

    def __init__(
        self, settings: Settings, text: str, folder: Path, portfolios: Portfolios | None = None,
        advise: Advise | None = None,
    ) -> None:  # fmt: skip
        self._portfolios = portfolios
        self._advise = advise or partial(own_adviser, settings)
        self._settings = settings
        self._text = text
        self._folder = folder
        self.config = config_of(text, str(folder))
        self._live: LivePipeline | None = None
        self._trouble = "it has not begun yet"
        self._recent = RecentEvents()
        self._messages: SessionMessages | None = None
        self._kept = 0
        self._news = asyncio.Event()
        self._log = json_lines(f"pipeline:{self.config.name}")

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(Random(), first_s=1.0, most_s=60.0, lasting_s=60.0)  # noqa: S311 - jitter
        while True:
            began = time.monotonic()
            try:
                with SessionMessages(
                    self.config.name, self._folder, self._portfolio(), self._news.set
                ) as self._messages:
                    await self._run_once(self._messages)
            except (RaysignalError, OSError) as error:
                self._trouble = str(error)
                self._log.warning("pipeline_ended", reason=self._trouble)
            except Exception as error:  # noqa: BLE001 - a defect is told and tried again, as by the supervisor of feeds
                # A defect: whoever looks at the pipeline reads of it, and the session is whole up to here.
                self._trouble = f"{type(error).__name__}: {error}"
                self._log.exception("pipeline_failed")
            finally:
                self._live = None
            await asyncio.sleep(backoff.failed(time.monotonic() - began))

    async def _run_once(self, messages: SessionMessages) -> None:
        self._recent = RecentEvents(messages.tell)
        async with live_pipeline(
            self.config, self._text, self._folder, log=Both(self._recent, messages),
            hosts_of=partial(hosts_of, self._settings), clock=SystemClock(), random=Random(),  # noqa: S311
            advise=self._advise, portfolios=self._portfolios, raw=self._settings.pipeline.raw,
        ) as live:  # fmt: skip
            self._live, self._trouble, self._kept = live, "", 0
            self._news.set()
            self._log.info("pipeline_began", resumed=live.resumed)
            await live.run()

    async def tail(self, first: int | None, limit: int, wait_s: float) -> SessionTail:
        """Messages of its session from a place on, waited for; none: where it stands.

        They are in the session, whatever becomes of this machine, before anybody is told.

        Raises:
            StoreUnavailable: it does not run.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._live is None or (first is not None and first >= self._told().end):
                    self._news.clear()
                    await self._news.wait()
        live, told = self._running(), self._told()
        if self._kept < told.end:
            live.keep()
            self._kept = told.end
        return SessionTail(told.shard, told.end, () if first is None else told.read(first, limit))

    def _told(self) -> SessionMessages:
        assert self._messages is not None
        return self._messages

    def _portfolio(self) -> VenuePortfolio:
        """That of the path as it begins, for what is told of it."""
        marks = {symbol: self.config.intervals_us(symbol)[0] for symbol in self.config.symbols}
        return VenuePortfolio(self.config.policy, mark_us=marks)

    def status(self) -> dict[str, Any]:
        """How it stands."""
        live = self._live
        return {
            "name": self.config.name, "trouble": self._trouble or None,
            "venues": [] if live is None else live.healths(), "session": str(self._folder), "pid": os.getpid(),
        }  # fmt: skip

    def answer(self, what: str, **asked: Any) -> dict[str, Any]:
        """One of `ANSWERS`, of what is asked there; `StoreUnavailable` while it does not run."""
        return ANSWERS[what](self._running(), self._recent, **asked)

    def command(self, kind: str, who: str, reason: str) -> dict[str, Any]:
        """A person's order to risk; risk as it stands then. `InvalidField` without a name or a reason."""
        live = self._running()
        live.command(
            Command(
                at_us=time.time_ns() // 1000, symbol="", command=CommandKind(kind), who=who, reason=reason
            )
        )
        return _risk(live, self._recent)

    def _running(self) -> LivePipeline:
        if self._live is None:
            raise StoreUnavailable(f"pipeline {self.config.name} does not run: {self._trouble}")
        return self._live


def _aggregation(live: LivePipeline, _: RecentEvents) -> dict[str, Any]:
    return {"symbols": live.pipeline.weights()}


def _attribution(live: LivePipeline, _: RecentEvents) -> dict[str, Any]:
    return {"strategies": live.pipeline.earnings()}


def _risk(live: LivePipeline, recent: RecentEvents) -> dict[str, Any]:
    breaker = live.pipeline.risk.stage.breaker.state
    return {
        "state": breaker.trading.value, "flatten": breaker.flatten, "who": breaker.who, "reason": breaker.reason,
        "since": format_instant(breaker.since_us) if breaker.since_us else None, "equity": breaker.equity,
        "day_open_equity": breaker.day_open_equity, "peak_equity": breaker.peak_equity,
        "limits": dict(live.pipeline.config.risk), "verdicts": list(recent.verdicts), "alarms": list(recent.alarms),
    }  # fmt: skip


def _decisions(live: LivePipeline, recent: RecentEvents) -> dict[str, Any]:
    answers = live.pipeline.answers
    return {
        "decide": live.pipeline.config.decide, "reasons": dict(sorted(recent.reasons.items())),
        "memory": None if answers is None else answers.status(), "decisions": list(recent.decisions),
    }  # fmt: skip


def _orders(_: LivePipeline, recent: RecentEvents) -> dict[str, Any]:
    return {"orders": recent.orders}


def _fills(_: LivePipeline, recent: RecentEvents) -> dict[str, Any]:
    return {"fills": list(recent.fills)}


def _positions(live: LivePipeline, recent: RecentEvents) -> dict[str, Any]:
    portfolio = live.pipeline.portfolio
    return {
        "cash": portfolio.cash, "equity": portfolio.equity,
        "positions": [
            {
                "symbol": symbol, "quantity": quantity, "price": portfolio.prices[symbol][0],
                "at": format_instant(portfolio.prices[symbol][1]), "value": quantity * portfolio.prices[symbol][0],
            }
            for symbol, quantity in sorted(portfolio.positions.items())
        ],
        "funding": list(recent.funding),
    }  # fmt: skip


def _performance(live: LivePipeline, _: RecentEvents) -> dict[str, Any]:
    return live.pipeline.status().as_dict()


def _trades(
    live: LivePipeline, _: RecentEvents, *, status: str, symbol: str | None, after: int, limit: int
) -> dict[str, Any]:
    record = live.pipeline.portfolio.record
    read = record.closed if status == "closed" else record.open
    return {"trades": trade_rows(read(symbol=symbol, after=after, limit=limit))}


def _trade_summary(live: LivePipeline, _: RecentEvents, *, symbol: str | None) -> dict[str, Any]:
    return live.pipeline.portfolio.record.summary(symbol)


ANSWERS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "aggregation": _aggregation, "attribution": _attribution, "risk": _risk, "orders": _orders, "fills": _fills,
    "positions": _positions, "decisions": _decisions, "performance": _performance, "trades": _trades,
    "trade_summary": _trade_summary,
}  # fmt: skip
"""What a pipeline can be asked."""


class PipelineActor:
    """One pipeline, and the way to ask it."""

    async def __init__(  # type: ignore[misc]
        self, settings: dict[str, Any], text: str, folder: str, api_key: SecretStr | None
    ) -> None:
        restrict_new_files()
        configured = Settings(**settings)
        advise = AgentModels(configured, api_key, None).advise
        self._run = PipelineRun(configured, text, Path(folder), ServicePortfolios(configured), advise)
        self._task = asyncio.create_task(self._run.run())

    async def status(self) -> dict[str, Any]:
        """See `PipelineRun.status`; and the node."""
        return self._run.status() | {"node": ray.get_runtime_context().get_node_id()}

    async def answer(self, what: str, asked: dict[str, Any]) -> dict[str, Any] | RaysignalError:
        """See `PipelineRun.answer`."""
        try:
            return self._run.answer(what, **asked)
        except RaysignalError as error:
            return error

    async def tail(self, first: int | None, limit: int, wait_s: float) -> SessionTail | RaysignalError:
        """See `PipelineRun.tail`."""
        try:
            return await self._run.tail(first, limit, wait_s)
        except RaysignalError as error:
            return error

    async def command(self, kind: str, who: str, reason: str) -> dict[str, Any] | RaysignalError:
        """See `PipelineRun.command`."""
        try:
            return self._run.command(kind, who, reason)
        except RaysignalError as error:
            return error

    async def stop(self) -> None:
        """The session is on disk, and nothing runs any more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Pipelines:
    """The way to the pipelines of a service."""

    def __init__(self, settings: Settings, taken: Collection[str] = ()) -> None:
        self._actors: dict[str, DetachedActor] = {}
        folder = Path(settings.pipeline.folder)
        key = model_of(settings).key_in(os.environ)
        api_key = None if key is None else SecretStr(key)
        for number, file in enumerate(settings.pipeline.files):
            config, text = read_config(Path(file)), Path(file).read_text(encoding="utf-8")
            if config.name in self._actors:
                raise SettingsError(
                    f"pipeline.files has two pipelines of the name {config.name!r}; expected each once"
                )
            if config.name in settings.reserved_names or config.name in taken:
                raise SettingsError(
                    f"name in {file} is {config.name!r}, which a portfolio of the service has; expected another: each "
                    "name is one portfolio, at GET /performance/NAME"
                )
            self._actors[config.name] = DetachedActor(
                f"pipeline-{config.name}", PipelineActor, settings.for_actors(), text,
                str((folder / config.name).resolve()), api_key if config.decide == "review" else None,
                number=number,
            )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pipelines, and so of their portfolios."""
        return tuple(self._actors)

    @classmethod
    def connect(cls, settings: Settings, taken: Collection[str] = ()) -> "Pipelines":
        """The pipelines that the settings name; their actors are made where there are none.

        Raises:
            SettingsError: a file that is no pipeline, or one with a name that is taken.
            NotFound: a file that is not there.
        """
        pipelines = cls(settings, taken)
        for actor in pipelines._actors.values():
            actor.handle()
        return pipelines

    async def statuses(self) -> list[dict[str, Any]]:
        """How each stands; one that does not answer says so."""
        return list(await asyncio.gather(*(self._status(name) for name in self._actors)))

    async def ask(self, name: str | None, what: str, **asked: Any) -> dict[str, Any]:
        """One of `ANSWERS` of a pipeline, of what is asked there; of the only pipeline without a name.

        Raises:
            NotFound: no such pipeline, or no name where there are several.
            StoreUnavailable: it does not run, or does not answer.
        """
        name, actor = self._named(name)
        told: dict[str, Any] = await self._asked(actor, lambda handle: handle.answer.remote(what, asked))
        return {"pipeline": name} | told

    async def command(self, name: str | None, kind: str, who: str, reason: str) -> dict[str, Any]:
        """A person's order to the risk of a pipeline; raises as `ask`."""
        name, actor = self._named(name)
        told: dict[str, Any] = await self._asked(
            actor, lambda handle: handle.command.remote(kind, who, reason)
        )
        return {"pipeline": name} | told

    async def tail(self, name: str, first: int | None, limit: int, wait_s: float) -> SessionTail:
        """See `PipelineRun.tail`; raises as `ask`."""
        _, actor = self._named(name)
        return await self._asked(actor, lambda handle: handle.tail.remote(first, limit, wait_s), wait_s)

    async def stop(self) -> None:
        """End every pipeline; sessions are on disk."""
        for actor in self._actors.values():
            with suppress(RayError, TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await actor.handle().stop.remote()
            actor.kill()

    async def _status(self, name: str) -> dict[str, Any]:
        try:
            return await self._asked(self._actors[name], lambda handle: handle.status.remote())
        except RaysignalError as error:
            return {
                "name": name, "trouble": str(error), "venues": [], "session": None, "pid": None, "node": None,
            }  # fmt: skip

    def _named(self, name: str | None) -> tuple[str, DetachedActor]:
        known = ", ".join(self._actors) or "none: RAYSIGNAL_PIPELINE__FILES names no file"
        if name is None and len(self._actors) == 1:
            return next(iter(self._actors.items()))
        if name is None or name not in self._actors:
            raise NotFound(
                f"pipeline is {name!r}; expected one of {known}", field="pipeline", value=name, expected=known
            )
        return name, self._actors[name]

    @staticmethod
    async def _asked(
        actor: DetachedActor, call: Callable[[Any], Awaitable[T | RaysignalError]], wait_s: float = 0.0
    ) -> T:
        return await actor.ask(
            call, patience_s=_PATIENCE_S, unavailable=StoreUnavailable, answer_s=_ANSWER_S + wait_s
        )
