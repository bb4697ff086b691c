"""The agent as an actor: one for the enhanced portfolio, detached and restarting; and the way to it."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import SecretStr
from ray.exceptions import RayError

from raysignal.agents.override.similar import SimilarQuery
from raysignal.engine.core.errors import (
    AgentUnavailable,
    RaysignalError,
)
from raysignal.engine.core.private_files import restrict_new_files
from raysignal.runtime.agent_models import AgentModels
from raysignal.runtime.agent_settings import embeddings_of, model_of, terms_of, why_off
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.override_agent import OverrideAgent
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

_NAME = "override-agent"
_PATIENCE_S = 5.0
_SEARCH_S = 25.0  # twice what Chroma has for a question, and some
_REBUILD_S = 90.0


class OverrideActor:
    """The mailbox of the agent. Methods answer a `RaysignalError` with it, and raise none.

    Args:
        settings: the service's, as plain values.
        api_key, embeddings_key: see `AgentModels`.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: dict[str, Any], api_key: SecretStr | None, embeddings_key: SecretStr | None
    ) -> None:
        restrict_new_files()
        configured = Settings(**settings)
        if configured.agent.priority == "idle":
            _stand_back()
        models = AgentModels(configured, api_key, embeddings_key)
        self._agent = OverrideAgent(configured, models, PortfolioClient.connect(configured, direct=True))

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What that method of `OverrideAgent` answers."""
        try:
            return await getattr(self._agent, method)(*arguments)
        except RaysignalError as error:
            return error


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
        """See `OverrideAgent.status`."""
        answer: dict[str, Any] = await self._ask("status")
        return answer

    async def read(self, what: str) -> Any:
        """See `OverrideAgent.read`."""
        return await self._ask("read", what)

    async def similar(self, query: SimilarQuery, signal: bytes | None = None) -> dict[str, Any]:
        """See `OverrideAgent.similar`."""
        answer: dict[str, Any] = await self._ask("similar", query, signal, answer_s=_SEARCH_S)
        return answer

    async def outcomes(self, first: int, limit: int) -> bytes:
        """See `OverrideAgent.outcomes`."""
        answer: bytes = await self._ask("outcomes", first, limit, answer_s=_SEARCH_S)
        return answer

    async def rebuild(self) -> dict[str, Any]:
        """See `OverrideAgent.rebuild`."""
        answer: dict[str, Any] = await self._ask("rebuild", answer_s=_REBUILD_S)
        return answer

    async def reset(self) -> bool:
        """See `OverrideAgent.reset`."""
        was_open: bool = await self._ask("reset")
        return was_open

    async def stop(self, patience_s: float) -> None:
        """Put the agent away; it is ended even if it does not answer."""
        with suppress(RayError, TimeoutError):
            async with asyncio.timeout(patience_s + 3.0):
                await self._actor.handle().ask.remote("stop", patience_s)
        self._actor.kill()

    async def _ask(self, method: str, *arguments: Any, answer_s: float = _PATIENCE_S) -> Any:
        return await self._actor.ask(
            lambda actor: actor.ask.remote(method, *arguments),
            patience_s=_PATIENCE_S, unavailable=AgentUnavailable, answer_s=answer_s,
        )  # fmt: skip


def _stand_back() -> None:
    """Leave the processor to whoever makes receipts: for this thread, and threads and children that it makes.

    Ray's workers are all made nice alike, so being a little nicer would change little. Where others keep the processor
    busy, nothing is left.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
