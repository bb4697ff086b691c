"""The service itself: alive, ready, and what Prometheus reads."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from raysignal.engine.portfolio.mailbox import COMMIT_BUCKETS_S
from raysignal.serve.metrics import CONTENT_TYPE, metrics_page
from raysignal.serve.parameters import NO_PARAMETERS
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import State
from raysignal.serve.schemas.shared import Shown
from raysignal.serve.service import REPLICA_HEADER


class StatusBody(Shown):
    """Alive, or ready."""

    status: Literal["ok"]
    sequence: Annotated[list[int] | None, Field(description="last durable record of every shard")] = None
    agent_behind: Annotated[
        int | None,
        Field(description="signals that the agent has not decided yet; null: no agent, or not known"),
    ] = None


router = APIRouter(dependencies=[NO_PARAMETERS], responses=problem_responses(503))
open_router = APIRouter(dependencies=[NO_PARAMETERS])
"""What nobody is asked for credentials for."""


@open_router.get(
    "/healthz",
    summary="Alive",
    response_model=StatusBody,
    response_model_exclude_unset=True,
)
async def get_healthz(replica: State, response: Response) -> Any:
    response.headers[REPLICA_HEADER] = replica.name
    return {"status": "ok"}


@router.get("/readyz", summary="Able to commit", response_model=StatusBody)
async def get_readyz(replica: State) -> Any:
    sequence, behind = await asyncio.gather(replica.portfolios.ready(), replica.agent_behind())
    return {"status": "ok", "sequence": sequence, "agent_behind": behind}


@router.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
async def get_metrics(replica: State) -> Response:
    shards, agent, feeds, portfolios = await asyncio.gather(
        replica.portfolios.observe(),
        replica.agent_status(),
        replica.feed_statuses(),
        replica.standings_at_once(),
    )
    page = metrics_page(shards, COMMIT_BUCKETS_S, agent, feeds, portfolios)
    return Response(page, media_type=CONTENT_TYPE)
