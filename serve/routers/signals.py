"""Signals in: `POST /signal` and `POST /signals`. Bodies are read by `raysignal.engine.intake`."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, TypeVar, get_type_hints

import orjson
from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField, RowErrors, error_entry
from raysignal.engine.core.signals import Signal
from raysignal.engine.intake import IntakeResult, read_batch, read_signal
from raysignal.engine.portfolio.receipts import RowResult, Submission, receipts
from raysignal.serve.parameters import BatchParameters, Parameters, SignalParameters, invalid_parameter
from raysignal.serve.problems import JSON, problem_responses
from raysignal.serve.replica import ReplicaState
from raysignal.serve.schemas.signals import (
    BATCH_CONTENT,
    IDEMPOTENCY_KEY,
    SIGNAL_CONTENT,
    BatchBody,
    ReceiptBody,
)

T = TypeVar("T")

MAX_RECEIPTS = 10_000
# Smaller bodies are read on the event loop: a thread would cost more than it spares the others.
ASIDE_BYTES = 32 * 1024
_PERFORMANCE_OF_BATCH = ("signals", "as_of", "sequence", "performance")


class SignalRoute(APIRoute):
    """A route whose endpoint gets the request and its query parameters, and nothing else.

    What FastAPI does for a request besides takes longer than a signal does, and a busy service spends its time here.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # which refuses it
            return
        response: Response = await self.endpoint(
            Request(scope, receive), self._parameters(scope["query_string"])
        )
        await response(scope, receive, send)

    @cached_property
    def _model(self) -> type[Parameters]:
        model: type[Parameters] = get_type_hints(self.endpoint)["parameters"]
        return model

    @cached_property
    def _default(self) -> Parameters:
        return self._model()

    def _parameters(self, query: bytes) -> Parameters:
        if not query:
            return self._default
        try:
            return self._model.model_validate(dict(QueryParams(query)))
        except ValidationError as error:
            first = error.errors()[0]
            raise invalid_parameter({**first, "loc": ("query", *first["loc"])}) from error


router = APIRouter(route_class=SignalRoute, responses=problem_responses(400, 404, 408, 409, 413, 415, 503))


@router.post(
    "/signal",
    summary="Take one signal in",
    response_model=ReceiptBody,
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], "requestBody": SIGNAL_CONTENT},
)
async def post_signal(request: Request, parameters: Annotated[SignalParameters, Query()]) -> Response:
    replica: ReplicaState = request.app.state.replica
    line, headers = request.state.line, request.headers
    portfolio = replica.target(parameters.portfolio)
    about = request.state.about
    about["portfolio"] = portfolio
    body = about["body"] = await replica.signed_body(request, replica.settings.intake.max_signal_bytes)
    signal = read_signal(
        body, replica.posted(parameters.template), content_type=headers.get("content-type"),
        idempotency_key=headers.get("idempotency-key"),
    )  # fmt: skip
    about["source"] = signal.source
    return await take_in(
        replica, portfolio, signal, line, max_age_s=replica.settings.intake.max_age_s,
        accept_price_jump=parameters.accept_price_jump,
    )  # fmt: skip


async def take_in(
    replica: ReplicaState,
    portfolio: str,
    signal: Signal,
    line: dict[str, Any],
    *,
    max_age_s: float | None,
    accept_price_jump: bool = False,
) -> Response:
    """The receipt of a signal, once it is durable; `line` is that of the log.

    Raises:
        StaleSignal: it is new and older than `max_age_s`.
    """
    line["portfolio"] = portfolio
    if max_age_s is not None:
        batch = SignalBatch.of_signals([signal])
        for error in (await replica.too_old(portfolio, batch, max_age_s, named=False)).values():
            raise error
    if signal.signal_id:
        line["signal_id"] = signal.signal_id
    receipt = await replica.batcher.post(portfolio, signal, accept_price_jump=accept_price_jump)
    line["signal_id"] = receipt["signal_id"]
    line["replayed"] = receipt["replayed"]
    return Response(orjson.dumps(receipt), media_type=JSON)


@router.post(
    "/signals",
    summary="Take a batch of signals in",
    response_model=BatchBody,
    openapi_extra={"requestBody": BATCH_CONTENT},
)
async def post_signals(request: Request, parameters: Annotated[BatchParameters, Query()]) -> Response:
    replica: ReplicaState = request.app.state.replica
    line, skip = request.state.line, parameters.on_error == "skip"
    portfolio = replica.target(parameters.portfolio)
    body = await replica.signed_body(request, replica.settings.intake.max_batch_bytes)
    line["portfolio"] = request.state.about["portfolio"] = portfolio

    def read() -> tuple[IntakeResult, bytes]:
        intake = read_batch(body, request.headers.get("content-type"), replica.posted(parameters.template))
        return intake, intake.batch.encode()

    intake, encoded = await _aside(len(body), read)
    line["rows"] = intake.rows
    if old := await replica.too_old(portfolio, intake.batch, replica.settings.intake.max_age_s):
        intake = intake.without(old)
        encoded = intake.batch.encode()
    if intake.refused and not skip:
        raise RowErrors(intake.errors, intake.rows, intake.refused)
    if parameters.receipts and len(intake.batch) > MAX_RECEIPTS:
        raise InvalidField("receipts", "true", f"a batch of at most {MAX_RECEIPTS} rows with it")
    submission = await replica.portfolios.submit(
        portfolio, encoded, all_or_nothing=not skip, accept_price_jump=parameters.accept_price_jump,
        receipts=parameters.receipts, positions=intake.batch.row,
    )  # fmt: skip
    told = _batch_answer(intake, submission)
    if told["refused"]:
        replica.refusals.note_rows("/signals", told["errors"], told["refused"], 200, request.state.about)
    answer = await _aside(len(body), lambda: orjson.dumps(told))
    return Response(answer, media_type=JSON)


def _batch_answer(intake: IntakeResult, submission: Submission) -> dict[str, Any]:
    errors = sorted(
        (error_entry(error) for error in (*intake.errors, *submission.errors.values())),
        key=lambda entry: entry["row"],
    )[: RowErrors.SHOWN]
    standing = submission.standing.as_dict()
    answer = {
        "portfolio": standing["portfolio"],
        "rows": intake.rows,
        "accepted": submission.counted(RowResult.ACCEPTED),
        "replayed": submission.counted(RowResult.REPLAYED),
        "refused": intake.refused + submission.counted(RowResult.REFUSED),
        "errors": errors,
    } | {name: standing[name] for name in _PERFORMANCE_OF_BATCH}
    if submission.rows is not None:
        answer["receipts"] = [made for made in receipts(intake.batch, submission) if made is not None]
    return answer


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Work on `size` bytes: on a thread if they are many, so that other requests go on."""
    return await asyncio.to_thread(work) if size > ASIDE_BYTES else work()
