"""The state of one replica, and how handlers get it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import Depends
from starlette.requests import Request

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import Conflict, NotFound, RaysignalError, StaleSignal, StoreUnavailable
from raysignal.engine.core.instants import format_instant, zone_named
from raysignal.engine.intake import Reading, read_batch
from raysignal.engine.portfolio import performance
from raysignal.runtime.agent_settings import why_off
from raysignal.runtime.hooks import KnownHooks
from raysignal.runtime.settings import Settings
from raysignal.serve.access import MOST_SIGNED_BYTES, Credentials
from raysignal.serve.micro_batcher import MicroBatcher
from raysignal.serve.model_signals import SignalGenerator
from raysignal.serve.parameters import read_body
from raysignal.serve.refusals import RefusalReporter

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.runtime.agent_actors import Agent
    from raysignal.runtime.feed_actors import Feeds
    from raysignal.runtime.model_signals import ModelSignals
    from raysignal.runtime.pipeline_actors import Pipelines
    from raysignal.runtime.portfolio_actors import PortfolioClient

_METRICS_PATIENCE_S = 1.0
_SAMPLES = (
    (
        b'{"timestamp": "2025-01-01T00:00:00Z", "price": 100, "signal": "BUY", "note": "one"}',
        "application/x-ndjson",
    ),
    (b"timestamp,price,signal,level\n2025-01-01T00:00:00Z,100.0,BUY,1.5\n", "text/csv"),
)


@dataclass(slots=True)
class ReplicaState:
    """What the handlers of one replica work with.

    Attributes:
        settings: the service's.
        portfolios: the client of the portfolio actors.
        blobs: where the portfolios' history lies.
        access: who may come in.
        agent: the client of the agent; None: there is none.
        feeds: the client of the live feeds; None: there are none.
        pipelines: the client of the live pipelines; None: there are none.
        models: the client of the model that generates signals; None: this replica generates none.
        name: of the replica, which `GET /healthz` tells in `X-Replica`.
        now_us: the present, UTC microseconds.
        batcher: where single signals are posted.
        hooks: the entrances for senders that can set no header.
        refusals: where what is refused is told.
        generator: the way from a body to a signal of the model.
    """

    settings: Settings
    portfolios: "PortfolioClient"
    blobs: "BlobStore"
    access: Credentials
    agent: "Agent | None" = None
    feeds: "Feeds | None" = None
    pipelines: "Pipelines | None" = None
    models: "ModelSignals | None" = None
    name: str = ""
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    batcher: MicroBatcher = field(init=False)
    hooks: KnownHooks = field(init=False)
    refusals: RefusalReporter = field(init=False)
    generator: SignalGenerator = field(init=False)
    _reading: Reading = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.batcher = MicroBatcher(self.portfolios.submit)
        self._reading = Reading(
            zone=zone_named(settings.intake.timezone), symbol=settings.intake.symbol, source=settings.intake.source,
            max_future_us=int(settings.intake.max_future_s * 1e6), symbols=settings.intake.symbols,
            day_first=settings.intake.day_first,
        )  # fmt: skip
        self.hooks = KnownHooks(self.blobs)
        self.refusals = RefusalReporter(self.portfolios, self.now_us)
        self.generator = SignalGenerator(settings, self.asked_models, self.portfolios, self.now_us)

    def reading(self) -> Reading:
        """As things are read now, give or take a millisecond: making one costs more than a signal can spare."""
        now_us, then_us = self.now_us(), self._reading.now_us
        if then_us is None or not 0 <= now_us - then_us < 1000:
            self._reading = replace(self._reading, now_us=now_us)
        return self._reading

    def posted(self, template: str | None) -> Reading:
        """How signals are read that are posted, by a template if one is named."""
        return self.reading() if template is None else replace(self.reading(), template=template)

    async def too_old(
        self, portfolio: str, batch: SignalBatch, max_age_s: float | None, *, named: bool = True
    ) -> dict[int, StaleSignal]:
        """The signals that are older than may be, with why, by their place in the batch.

        What the portfolio has taken in before is answered at any age, as a sender that tries again expects.

        Args:
            portfolio: what they are posted to.
            batch: the signals.
            max_age_s: how old they may be; None: any age.
            named: the sentences say the rows.
        """
        if max_age_s is None:
            return {}
        earliest_us = self.now_us() - int(max_age_s * 1e6)
        old = np.flatnonzero(batch.timestamp_us < earliest_us)
        if len(old):
            old = old[~await self.portfolios.known(portfolio, batch.key[old])]
        expected = (
            f"a time that is not before {format_instant(earliest_us)}: nothing older is taken here (--max-age of a "
            "hook, RAYSIGNAL_INTAKE__MAX_AGE_S). TradingView's {{time}} is when a bar opened, {{timenow}} is now"
        )
        return {
            at: StaleSignal(
                "timestamp",
                format_instant(int(batch.timestamp_us[at])),
                expected,
                int(batch.row[at]) if named else None,
            )
            for at in old.tolist()
        }

    async def signed_body(self, request: Request, limit: int) -> bytes:
        """The body of at most `limit` bytes, whose signature is right if it has one."""
        claim = request.state.claim
        # Until a signature is verified, anybody may have sent it.
        body = await read_body(request, limit if claim is None else min(limit, MOST_SIGNED_BYTES))
        if claim is not None:
            self.access.verify(claim, body)
        return body

    def named(self, portfolio: str | None) -> str:
        """The portfolio of that name; the primary one without."""
        return self.settings.primary if portfolio is None else portfolio

    def target(self, portfolio: str | None) -> str:
        """The portfolio that is to be changed; nobody but the agent changes the one that follows."""
        name, primary = self.named(portfolio), self.settings.primary
        if name == self.settings.agent.portfolio:
            raise Conflict(
                f"portfolio {name!r} follows {primary!r}: the agent takes in what is posted there, and nobody posts "
                "to it",
                field="portfolio", value=name, expected=primary,
            )  # fmt: skip
        if self.is_pipeline(name):
            raise Conflict(
                f"portfolio {name!r} is a pipeline's: its own strategies trade it, and nobody posts to it",
                field="portfolio", value=name, expected=primary,
            )  # fmt: skip
        return name

    def taking_signals(self, portfolio: str | None) -> str:
        """The portfolio of that name, which has a history of signals; the primary one without."""
        name = self.named(portfolio)
        if self.is_pipeline(name):
            raise NotFound(
                f"portfolio {name!r} is a pipeline's and takes in no signals; what it decided is at GET /v1/decisions",
                field="portfolio", value=name,
            )  # fmt: skip
        return name

    def is_pipeline(self, portfolio: str) -> bool:
        """Whether a portfolio is that of a pipeline."""
        return self.pipelines is not None and portfolio in self.pipelines.names

    async def standing(self, portfolio: str) -> dict[str, Any]:
        """The body of `GET /performance/{portfolio}`, of a pipeline's portfolio, too."""
        if self.pipelines is not None and self.is_pipeline(portfolio):
            found = await self.pipelines.ask(portfolio, "performance")
            del found["pipeline"]
            return found
        return (await self.portfolios.standing(portfolio)).as_dict()

    async def standings(self) -> list[dict[str, Any]]:
        """Those of all portfolios, by name; without those of pipelines that do not run."""
        found = [standing.as_dict() for standing in await self.portfolios.standings()]
        for name in () if self.pipelines is None else self.pipelines.names:
            with suppress(StoreUnavailable):
                found.append(await self.standing(name))
        return sorted(found, key=lambda each: str(each["portfolio"]))

    def asked_agent(self) -> "Agent":
        """The agent; `NotFound` where there is none."""
        if self.agent is None:
            raise NotFound(
                f"this service has no agent: {why_off(self.settings)}",
                field="enhanced", value=self.settings.agent.portfolio,
            )  # fmt: skip
        return self.agent

    def asked_pipelines(self) -> "Pipelines":
        """The pipelines; `NotFound` where there are none."""
        if self.pipelines is None:
            raise NotFound(
                "this service runs no pipeline: RAYSIGNAL_PIPELINE__FILES names no file",
                field="pipeline.files", value=[], expected="files of pipelines, such as pipeline.yaml",
            )  # fmt: skip
        return self.pipelines

    def asked_models(self) -> "ModelSignals":
        """What generates signals; `NotFound` where nothing does."""
        if self.models is None:
            raise NotFound("this service generates no signals: it was started without them")
        return self.models

    async def agent_status(self) -> dict[str, Any] | None:
        """The agent's state for the metrics; None if it is off, or does not answer at once."""
        if self.agent is not None:
            with suppress(RaysignalError, TimeoutError):
                async with asyncio.timeout(_METRICS_PATIENCE_S):
                    return await self.agent.status()
        return None

    async def agent_behind(self) -> int | None:
        """Signals that the agent has not decided yet, as the portfolios say it: a busy agent answers late.

        None: there is no agent, or they did not answer at once.
        """
        if self.agent is not None:
            with suppress(RaysignalError, TimeoutError):
                async with asyncio.timeout(_METRICS_PATIENCE_S):
                    primary, enhanced = await asyncio.gather(
                        self.portfolios.standing(self.settings.primary),
                        self.portfolios.standing(self.settings.agent.portfolio),
                    )
                    return max(0, primary.count - enhanced.count)
        return None

    async def standings_at_once(self) -> list[dict[str, Any]]:
        """The portfolios for the metrics; none where they do not answer at once."""
        with suppress(RaysignalError, TimeoutError):
            async with asyncio.timeout(_METRICS_PATIENCE_S):
                return await self.standings()
        return []

    async def feed_statuses(self) -> list[dict[str, Any]]:
        """What every feed says of itself; what does not answer says so."""
        return [] if self.feeds is None else await self.feeds.statuses()


def warm_requests() -> None:
    """Load the compiled code that requests need, so that none of them waits for it."""
    performance.warm()
    for body, content_type in _SAMPLES:
        read_batch(body, content_type, Reading()).batch.encode()


async def _replica_state(request: Request) -> ReplicaState:
    state: ReplicaState = request.app.state.replica
    return state


async def _request_line(request: Request) -> dict[str, Any]:
    line: dict[str, Any] = request.state.line
    return line


State = Annotated[ReplicaState, Depends(_replica_state)]
Line = Annotated[dict[str, Any], Depends(_request_line)]
"""What the log's line about the request says beside status and latency."""
