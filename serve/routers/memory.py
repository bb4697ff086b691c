"""The memory of past outcomes, to be searched, read as a whole, and built anew in Chroma."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from raysignal.agents.override.similar import OutcomeFilter, SimilarQuery, words_of
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.intake.fields import signal_of
from raysignal.runtime.signal_bodies import PARQUET
from raysignal.serve.logs import ids_shown
from raysignal.serve.parameters import (
    NO_PARAMETERS,
    ExportParameters,
    OutcomeParameters,
    SimilarParameters,
    read_object,
)
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import Line, ReplicaState, State
from raysignal.serve.schemas.memory import SIMILAR_CONTENT, ChromaBody, SimilarBody

router = APIRouter(responses=problem_responses(404, 503))


@router.get(
    "/memory/similar",
    summary="Past outcomes like a signal that was decided",
    response_model=SimilarBody,
)
async def get_similar(asked: Annotated[SimilarParameters, Query()], replica: State, line: Line) -> Any:
    line |= ids_shown([asked.signal_id])
    query = _query(asked, replica, signal_id=asked.signal_id)
    return await replica.asked_agent().similar(query)


@router.post(
    "/memory/similar",
    summary="Past outcomes like a signal that is not taken in, or by the words of their texts",
    response_model=SimilarBody,
    responses=problem_responses(400, 408, 413, 415),
    openapi_extra={"requestBody": SIMILAR_CONTENT},
)
async def post_similar(asked: Annotated[OutcomeParameters, Query()], replica: State, request: Request) -> Any:
    body = await read_object(request, replica.settings.intake.max_signal_bytes)
    if body.keys() == {"text"}:
        text = body["text"]
        if not isinstance(text, str):
            raise InvalidField("text", text, "a text")
        words_of(text)
        return await replica.asked_agent().similar(
            _query(asked, replica, text=text, as_of_us=replica.now_us())
        )
    signal = signal_of(body, replica.reading())
    batch = SignalBatch.of_signals([signal])
    query = _query(asked, replica, signal_id=batch.signal_id[0], as_of_us=signal.timestamp_us)
    return await replica.asked_agent().similar(query, batch.encode())


@router.get(
    "/memory/outcomes",
    summary="Settled outcomes with their vectors, as Parquet",
    response_class=Response,
    responses={200: {"content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def get_outcomes(asked: Annotated[ExportParameters, Query()], replica: State) -> Response:
    return Response(await replica.asked_agent().outcomes(asked.first, asked.limit), media_type=PARQUET)


@router.post(
    "/memory/rebuild",
    summary="Empty Chroma's collection and fill it again from the memory",
    response_model=ChromaBody,
    dependencies=[NO_PARAMETERS],
)
async def post_rebuild(replica: State) -> Any:
    return await replica.asked_agent().rebuild()


def _query(
    asked: OutcomeParameters,
    replica: ReplicaState,
    *,
    signal_id: str = "",
    text: str | None = None,
    as_of_us: int | None = None,
) -> SimilarQuery:
    """What is asked for; `as_of_us` unless the parameters name another instant."""
    zone = replica.reading().zone

    def instant(name: str, value: str | None) -> int | None:
        return None if value is None else parse_instant(value, zone, field=name)

    fits = OutcomeFilter(
        symbol=asked.symbol,
        side=asked.side,
        regime=asked.regime,
        right=None if asked.outcome is None else asked.outcome == "right",
        start_us=instant("from", asked.start),
        end_us=instant("to", asked.end),
    )
    named_us = instant("as_of", asked.as_of)
    return SimilarQuery(
        signal_id=signal_id, text=text, as_of_us=as_of_us if named_us is None else named_us, fits=fits, k=asked.k
    )  # fmt: skip
