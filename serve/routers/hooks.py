"""Signals from senders that can set no header: `POST /hooks/<token>`, see `raysignal.runtime.hooks`."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from raysignal.engine.core.secrets import HIDDEN
from raysignal.engine.intake.fields import signal_of
from raysignal.engine.intake.single import load_alert
from raysignal.serve.parameters import NO_PARAMETERS, read_body
from raysignal.serve.problems import problem_responses
from raysignal.serve.replica import ReplicaState
from raysignal.serve.routers.signals import take_in
from raysignal.serve.schemas.signals import HOOK_CONTENT, IDEMPOTENCY_KEY, ReceiptBody

router = APIRouter(
    dependencies=[NO_PARAMETERS], responses=problem_responses(400, 401, 404, 408, 409, 413, 415, 503)
)


@router.post(
    "/hooks/{token}",
    summary="Take one signal in, from a sender that can set no header",
    response_model=ReceiptBody,
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], "requestBody": HOOK_CONTENT},
)
async def post_hook(
    token: Annotated[
        str,
        Path(
            min_length=1,
            description="as raysignal hooks has shown it",
            openapi_examples={"one": {"value": "the-token-of-the-hook"}},
        ),
    ],
    request: Request,
) -> Response:
    replica: ReplicaState = request.app.state.replica
    line, headers = request.state.line, request.headers
    now_us = replica.now_us()
    hook = await replica.hooks.opened_by(token, now_us)
    line["hook"] = hook.name
    portfolio = replica.target(hook.portfolio)
    about = request.state.about
    about |= {"hook": hook.name, "source": hook.name, "portfolio": portfolio}
    body = about["body"] = await read_body(request, replica.settings.intake.max_signal_bytes)
    reading = hook.reading(replica.reading())
    values = load_alert(body, reading, headers.get("content-type"))
    if secret := hook.take_secret(values):
        about["body"] = body.replace(secret.encode("utf-8", "surrogatepass"), HIDDEN.encode())
    signal = signal_of(values, reading, idempotency_key=headers.get("idempotency-key"))
    return await take_in(replica, portfolio, signal, line, max_age_s=hook.max_age_s)
