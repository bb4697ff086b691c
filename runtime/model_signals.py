"""The model of a service as a Ray actor, detached and restarting; and the way to it.

The actor is made at the first use, or when the service starts where `RAYSIGNAL_INFERENCE__MODEL` names a model: without
either nothing of it runs.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from ray.exceptions import RayError

from raysignal.agents.inference.bar_database import BarDatabase
from raysignal.agents.inference.host import ModelHost
from raysignal.agents.inference.placeholder import PlaceholderModel
from raysignal.agents.inference.portfolio_rows import PortfolioPrices
from raysignal.agents.inference.signals import SignalRules
from raysignal.agents.inference.step_journal import StepJournal
from raysignal.agents.inference.values import ModelSignal, SignalRequest
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    ModelUnavailable,
    NotFound,
    PortfolioConflict,
    RaysignalError,
    StoreUnavailable,
)
from raysignal.engine.core.instants import parse_bar
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.private_files import restrict_new_files
from raysignal.engine.core.signals import Signal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.receipts import SymbolMark
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings
from raysignal.runtime.venue_feeds import json_lines

_NAME = "model-signals"
_PATIENCE_S = 30.0
_ANSWER_S = 30.0
_LOADING_S = 25.0
_RETRY_AFTER_S = 5
_CHANGE_S = 120.0
"""A model is fetched, loaded and tried in this time."""
_STOP_S = 5.0
_FOLLOW_S = 1.0
"""Between two looks for bars of what is held."""


class ModelPortfolio:
    """`inference.portfolio` as a `SignalPortfolio`; it is made at the first signal, long-short unless configured."""

    def __init__(self, portfolios: PortfolioClient, settings: Settings) -> None:
        self._portfolios, self._name = portfolios, settings.inference.portfolio
        self._policy = settings.policies().get(self._name, Policy(side="long-short"))
        self._made = False

    async def submit(self, signals: Sequence[Signal]) -> list[RaysignalError | None]:
        """See `SignalPortfolio`; the prices have been checked, and are believed."""
        if not self._made:
            with suppress(PortfolioConflict):  # it is there, with a policy of somebody's choice
                await self._portfolios.create(self._name, self._policy)
            self._made = True
        order = np.argsort([each.timestamp_us for each in signals], kind="stable").tolist()
        batch = SignalBatch.of_signals([signals[place] for place in order])
        answer = await self._portfolios.submit(
            self._name, batch.encode(), all_or_nothing=False, accept_price_jump=True, receipts=False,
        )  # fmt: skip
        told: dict[int, RaysignalError] = {order[row]: error for row, error in answer.errors.items()}
        return [told.get(place) for place in range(len(signals))]

    async def marks(self, symbols: Sequence[str]) -> Mapping[str, SymbolMark]:
        """See `SignalPortfolio`."""
        try:
            return await self._portfolios.marks(self._name, symbols)
        except NotFound:
            return {}


def model_host(
    settings: Settings, portfolios: PortfolioClient, *, on_fenced: Callable[[], None]
) -> ModelHost:
    """The host of a configured store; nothing is opened before its first call."""
    inference = settings.inference
    stores = open_stores(settings.store)
    name = f"model={inference.portfolio}"

    def open_journal() -> StepJournal:
        return StepJournal.open(stores.journal_store(name), stores.blobs, f"state/{name}")

    portfolio = ModelPortfolio(portfolios, settings)
    database = BarDatabase(settings.database_url.get_secret_value()) if settings.feed.post_bars else None
    prices = PortfolioPrices(
        portfolio,
        settings.intake.max_price_jump,
        database,
        parse_bar(settings.feed.bar),
        settings.feed.instruments,
    )
    rules = SignalRules(
        confidence=inference.confidence, position_size=inference.position_size, stop_atr=inference.stop_atr,
        target_atr=inference.target_atr,
    )  # fmt: skip
    return ModelHost(
        open_journal, stores.blobs, portfolio, prices, rules=rules, placeholder=PlaceholderModel(),
        configured=inference.model, on_fenced=on_fenced,
    )  # fmt: skip


class ModelActor:
    """The mailbox of the host. Methods answer a `RaysignalError` with it, and raise none."""

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]
        restrict_new_files()
        configured = Settings(**settings)
        self._host = model_host(configured, PortfolioClient.connect(configured, direct=True), on_fenced=_die)
        self._work = asyncio.create_task(self._follow_bars())

    async def _follow_bars(self) -> None:
        """Begin, and bring the bars of what is held as they end."""
        log, told = json_lines("model-signals"), ""
        while True:
            try:
                trouble = await self.ask("follow_bars", time.time_ns() // 1000)
            except Exception as error:  # noqa: BLE001 - a defect is told and tried again, as by pipelines
                trouble = error
            said = str(trouble) if isinstance(trouble, Exception) else ""
            if said and said != told:
                log.warning("bars_not_followed", reason=said)
            told = said
            await asyncio.sleep(_FOLLOW_S)

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What that method of `ModelHost` answers."""
        try:
            return await getattr(self._host, method)(*arguments)
        except RaysignalError as error:
            return error


class ModelSignals:
    """The way to the model of a service. Methods raise `RaysignalError`s only."""

    def __init__(self, settings: Settings, actor: DetachedActor | None = None) -> None:
        self._settings = settings
        self._actor = actor or DetachedActor(
            f"{_NAME}-{settings.inference.portfolio}", ModelActor, settings.for_actors()
        )
        self._loaded = False

    @classmethod
    def connect(cls, settings: Settings) -> "ModelSignals":
        """The model of a service; its actor is made where the settings name a model, else at the first use."""
        models = cls(settings)
        if settings.inference.model is not None:
            models._actor.handle()
        return models

    async def warm(self) -> None:
        """Wait until the model that the settings name is loaded, or cannot be, if they name one."""
        if self._settings.inference.model is not None:
            with suppress(RaysignalError):
                await self._load(_CHANGE_S)

    async def generate(self, requests: Sequence[SignalRequest]) -> list[ModelSignal | RaysignalError]:
        """See `ModelHost.generate`; what is repeated while the actor restarts counts once."""
        answers: list[ModelSignal | RaysignalError] = await self._ask("generate", list(requests))
        return answers

    async def info(self) -> dict[str, Any]:
        """See `ModelHost.info`."""
        return await self._told("info")

    async def statistics(self) -> dict[str, Any]:
        """See `ModelHost.statistics`."""
        return await self._told("statistics")

    async def standing(self) -> dict[str, Any] | None:
        """`info` of the actor that there is; None: it has not been needed yet, and is not made for this."""
        return await self.info() if self._actor.exists() else None

    async def load(self, location: str) -> dict[str, Any]:
        """See `ModelHost.load`."""
        return await self._told("load", location, answer_s=_CHANGE_S)

    async def shadow(self, location: str | None) -> dict[str, Any]:
        """See `ModelHost.shadow`."""
        return await self._told("shadow", location, answer_s=_CHANGE_S)

    async def promote(self, digest: str) -> dict[str, Any]:
        """See `ModelHost.promote`."""
        return await self._told("promote", digest, answer_s=_CHANGE_S)

    async def roll_back(self, digest: str) -> dict[str, Any]:
        """See `ModelHost.roll_back`."""
        return await self._told("roll_back", digest, answer_s=_CHANGE_S)

    async def stop(self) -> None:
        """Answer what waits, and end the actor, if there is one."""
        if self._actor.exists():
            with suppress(RayError, TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._actor.handle().ask.remote("close")
            self._actor.kill()

    async def _told(self, method: str, *arguments: Any, answer_s: float = _ANSWER_S) -> dict[str, Any]:
        answer: dict[str, Any] = await self._ask(method, *arguments, answer_s=answer_s)
        return answer

    async def _ask(self, method: str, *arguments: Any, answer_s: float = _ANSWER_S) -> Any:
        if not self._loaded:
            await self._load(_LOADING_S)
        return await self._actor.ask(
            lambda actor: actor.ask.remote(method, *arguments),
            patience_s=_PATIENCE_S, unavailable=StoreUnavailable, answer_s=answer_s,
        )  # fmt: skip

    async def _load(self, within_s: float) -> None:
        """Wait for the actor's first answer; what is asked before it could be done later, when nobody waits for it.

        Raises:
            ModelUnavailable: there is none in that time.
        """
        try:
            await self._actor.ask(
                lambda actor: actor.ask.remote("info"), patience_s=within_s, unavailable=ModelUnavailable,
                answer_s=within_s,
            )  # fmt: skip
        except ModelUnavailable as error:
            raise ModelUnavailable(
                f"the model is still being loaded, for over {within_s:g} s; nothing was generated, ask again",
                retry_after_s=_RETRY_AFTER_S,
            ) from error
        self._loaded = True


def _die() -> None:
    """Another actor generates signals now; if this is still the one, Ray starts it anew."""
    os._exit(1)
