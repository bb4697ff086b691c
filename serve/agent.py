"""The routes of the agent: how it stands, what it brought, what the memory knows, and its breaker."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from raysignal.engine.core.errors import NotFound, RaysignalError
from raysignal.runtime.agent_settings import why_off
from raysignal.runtime.settings import Settings
from raysignal.serve.operations import JSON
from raysignal.serve.query import Query

if TYPE_CHECKING:
    from raysignal.runtime.agent_actors import Agent
    from raysignal.runtime.portfolio_actors import PortfolioClient

_METRICS_PATIENCE_S = 1.0


class AgentRoutes:
    """Handlers about the agent.

    Args:
        settings: the service's.
        desk: the way to the portfolios.
        agent: the way to the agent; None: there is none.
    """

    def __init__(self, settings: Settings, desk: "PortfolioClient", agent: "Agent | None") -> None:
        self._settings = settings
        self._desk = desk
        self._agent = agent

    async def get_agent(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        if self._agent is None:
            return json_answer({"on": False, "why": why_off(self._settings)})
        return json_answer(await self._agent.status())

    async def post_agent_reset(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return json_answer({"was_open": await self._asked().reset()})

    async def get_compare(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        found = await self._asked().read("compare")
        baseline, enhanced = await asyncio.gather(
            self._desk.standing(self._settings.primary), self._desk.standing(self._settings.enhanced)
        )
        behind = max(0, baseline.count - enhanced.count)
        return json_answer(
            {"baseline": baseline.as_dict(), "enhanced": enhanced.as_dict(), "behind": behind} | found
        )

    async def get_accuracy(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return json_answer(await self._asked().read("accuracy"))

    async def get_patterns(self, request: Request) -> Response:
        Query(request.scope["query_string"], ())
        return json_answer(await self._asked().read("patterns"))

    async def _agent_now(self) -> dict[str, Any] | None:
        """The agent's state for the metrics; None if it is off, or does not answer at once."""
        if self._agent is not None:
            with suppress(RaysignalError, TimeoutError):
                async with asyncio.timeout(_METRICS_PATIENCE_S):
                    return await self._agent.status()
        return None

    async def _agent_behind(self) -> int | None:
        """Signals that the agent has not decided yet, as the portfolios say it: a busy agent answers late.

        None: there is no agent, or they did not answer at once.
        """
        if self._agent is not None:
            with suppress(RaysignalError, TimeoutError):
                async with asyncio.timeout(_METRICS_PATIENCE_S):
                    primary, enhanced = await asyncio.gather(
                        self._desk.standing(self._settings.primary),
                        self._desk.standing(self._settings.enhanced),
                    )
                    return max(0, primary.count - enhanced.count)
        return None

    def _asked(self) -> "Agent":
        if self._agent is None:
            raise NotFound(
                f"this service has no agent: {why_off(self._settings)}",
                field="enhanced", value=self._settings.enhanced,
            )  # fmt: skip
        return self._agent


def json_answer(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(value), status, media_type=JSON)
