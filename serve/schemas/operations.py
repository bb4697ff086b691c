"""Whether the service is alive and ready."""

from typing import Annotated, Literal

from pydantic import Field

from raysignal.serve.schemas.shared import Shown


class StatusBody(Shown):
    """Alive, or ready."""

    status: Literal["ok"]
    sequence: Annotated[list[int] | None, Field(description="last durable record of every shard")] = None
    agent_behind: Annotated[
        int | None,
        Field(description="signals that the agent has not decided yet; null: no agent, or not known"),
    ] = None
