"""The live pipelines: what they decided, did and hold; and a person's orders to risk."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake.field_rules import is_unicode
from raysignal.serve.parameters import NO_PARAMETERS, PipelineParameters, read_object
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, State
from raysignal.serve.schemas.pipelines import (
    AggregationBody,
    AttributionBody,
    CommandBody,
    DecisionsBody,
    FillsBody,
    HaltBody,
    OrdersBody,
    PipelinesBody,
    PositionsBody,
    RiskBody,
)
from raysignal.serve.schemas.shared import object_content

router = APIRouter(prefix="/v1", responses=problem_responses(404, 503))
CHANGES = problem_responses(400, 408, 413, 415)
Parameters = Annotated[PipelineParameters, Query()]


@router.get(
    "/pipelines", summary="How the live pipelines stand", response_model=PipelinesBody,
    dependencies=[NO_PARAMETERS],
)  # fmt: skip
async def get_pipelines(replica: State) -> Any:
    return {"pipelines": [] if replica.pipelines is None else await replica.pipelines.statuses()}


def _add_reader(part: str, summary: str, model: type[BaseModel]) -> None:
    async def read(replica: State, parameters: Parameters) -> Any:
        return await replica.asked_pipelines().ask(parameters.pipeline, part)

    router.add_api_route(f"/{part}", read, name=f"get_{part}", summary=summary, response_model=model)


_add_reader("aggregation", "How strategies are weighed, and why", AggregationBody)
_add_reader("attribution", "What each strategy earned", AttributionBody)
_add_reader("decisions", "The last 1 000 decisions: what, by whom and why", DecisionsBody)
_add_reader("orders", "The last 1 000 orders", OrdersBody)
_add_reader("fills", "The last 1 000 fills", FillsBody)
_add_reader("positions", "What is held, at the last prices", PositionsBody)
_add_reader("risk", "Breaker, limits, and what was reduced or refused", RiskBody)


@router.post(
    "/risk/halt",
    summary="Allow nothing but what makes positions smaller; with flatten, close them",
    response_model=RiskBody,
    responses=CHANGES,
    openapi_extra={
        "requestBody": object_content(HaltBody, who="kim", reason="the venue is odd", flatten=True)
    },
)
async def post_halt(replica: State, parameters: Parameters, line: Line, request: Request) -> Any:
    body = await _command(request, {"who", "reason", "flatten"})
    flatten = body.get("flatten", False)
    if not isinstance(flatten, bool):
        raise InvalidField("flatten", flatten, "true or false")
    return await _told(replica, parameters, line, "flatten" if flatten else "halt", body)


@router.post(
    "/risk/reset",
    summary="Trade again; losses are counted from the equity of now",
    response_model=RiskBody,
    responses=CHANGES,
    openapi_extra={"requestBody": object_content(CommandBody, who="kim", reason="looked at it")},
)
async def post_reset(replica: State, parameters: Parameters, line: Line, request: Request) -> Any:
    return await _told(replica, parameters, line, "reset", await _command(request, {"who", "reason"}))


async def _command(request: Request, known: set[str]) -> dict[str, Any]:
    body = await read_object(request)
    for field in body.keys() - known:
        raise InvalidField(field, body[field], f"nothing but {', '.join(sorted(known))}")
    for field in ("who", "reason"):
        text = body.get(field)
        if not isinstance(text, str) or not is_unicode(text):
            raise InvalidField(field, text, "a text without half surrogates: who says so, and why")
    return body


async def _told(
    replica: State, parameters: PipelineParameters, line: Line, kind: str, body: dict[str, Any]
) -> dict[str, Any]:
    line["command"], line["who"] = kind, body["who"]
    return await replica.asked_pipelines().command(parameters.pipeline, kind, body["who"], body["reason"])
