"""The live feeds: how each stands."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from raysignal.serve.parameters import NO_PARAMETERS
from raysignal.serve.replica import State
from raysignal.serve.schemas.shared import Shown


class FeedHealthBody(BaseModel):
    """`starting`: wait. `failed`: see why. `ready`: act on it. `stale`: being mended. `dead`: begun anew."""

    model_config = ConfigDict(extra="allow")

    state: Literal["starting", "failed", "ready", "stale", "dead"]
    reason: str


class FeedBody(BaseModel):
    """One feed: its health, books, clock, latencies by stage, and what its crossover and its paper account did."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(description="venue:symbol")]
    health: FeedHealthBody
    trouble: Annotated[str | None, Field(description="why it is not running; null: it is")]


class FeedsBody(Shown):
    """Every live feed of the service."""

    feeds: list[FeedBody]


router = APIRouter(dependencies=[NO_PARAMETERS])


@router.get("/feed", summary="How the live feeds stand", response_model=FeedsBody)
async def get_feed(replica: State) -> Any:
    return {"feeds": [_shown(feed) for feed in await replica.feed_statuses()]}


def _shown(status: dict[str, Any]) -> dict[str, Any]:
    """Without the buckets, which are for Prometheus."""
    latency = {
        stage: {name: value for name, value in figures.items() if name not in {"buckets", "total_s"}}
        for stage, figures in status.get("latency", {}).items()
    }
    return status | ({"latency": latency} if latency else {})
