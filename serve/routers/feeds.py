"""The live feeds: how each stands."""

from typing import Any

from fastapi import APIRouter

from raysignal.serve.parameters import NO_PARAMETERS
from raysignal.serve.replica import State
from raysignal.serve.schemas.feeds import FeedsBody

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
