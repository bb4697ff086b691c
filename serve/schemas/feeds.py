"""The live feeds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
