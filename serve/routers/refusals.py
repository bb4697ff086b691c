"""What was refused lately: `GET /refusals`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from raysignal.serve.parameters import RefusalParameters
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import State
from raysignal.serve.schemas.refusals import RefusalsBody

router = APIRouter(responses=problem_responses(503))


@router.get("/refusals", summary="Signals that were refused lately, and why", response_model=RefusalsBody)
async def get_refusals(replica: State, parameters: Annotated[RefusalParameters, Query()]) -> Any:
    await replica.refusals.told()
    return await replica.portfolios.refusals(parameters.reason, parameters.source, parameters.limit)
