"""What was refused lately: `GET /refusals`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from raysignal.serve.parameters import RefusalParameters
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import State
from raysignal.serve.schemas.shared import Instant, Shown


class RefusalBody(Shown):
    """A signal that was refused."""

    at: Instant
    reason: Annotated[str, Field(description="the name of the error", examples=["LateSignal"])]
    status: Annotated[int, Field(description="of the answer; 200 where the other rows of a batch were taken")]
    entrance: Annotated[str, Field(examples=["/signal", "/signals", "/hooks"])]
    hook: str | None
    source: str | None
    portfolio: str | None
    row: Annotated[int | None, Field(description="its place in a batch")]
    field: str | None
    value: str | None
    expected: str | None
    detail: Annotated[str, Field(description="the sentence that the sender got")]
    sample: Annotated[
        str | None, Field(description="the beginning of the body, without secrets and long words")
    ]


class RefusalsBody(Shown):
    """What was refused lately, the latest first."""

    counts: Annotated[
        dict[str, int], Field(description="by reason, since the actor that keeps them has started")
    ]
    kept: Annotated[int, Field(description="refusals that are kept, at most 1000")]
    refusals: list[RefusalBody]


router = APIRouter(responses=problem_responses(503))


@router.get("/refusals", summary="Signals that were refused lately, and why", response_model=RefusalsBody)
async def get_refusals(replica: State, parameters: Annotated[RefusalParameters, Query()]) -> Any:
    await replica.refusals.told()
    return await replica.portfolios.refusals(parameters.reason, parameters.source, parameters.limit)
