"""The FastAPI application: the routers, the middleware, the OpenAPI document and `/docs`."""

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from raysignal.serve.access import SIGNATURE_FORM, SIGNATURE_HEADER, SIGNATURE_V2_HEADER, Credentials
from raysignal.serve.logs import StoreLog
from raysignal.serve.middleware import ErrorMiddleware
from raysignal.serve.parameters import invalid_parameter
from raysignal.serve.problems import problem_of_http, problem_responses
from raysignal.serve.replica import ReplicaState
from raysignal.serve.routers import (
    agent,
    feeds,
    history,
    hooks,
    memory,
    model,
    model_signals,
    operations,
    pipelines,
    portfolios,
    refusals,
    signals,
    trades,
)
from raysignal.serve.schemas.memory import TextBody
from raysignal.serve.schemas.model import DigestBody, LoadBody, ShadowBody
from raysignal.serve.schemas.model_signals import GenerateBody, GenerateFromBarsBody
from raysignal.serve.schemas.pipelines import CommandBody, HaltBody
from raysignal.serve.schemas.portfolios import PolicyBody, SymbolBody
from raysignal.serve.schemas.shared import ProblemBody
from raysignal.serve.schemas.signals import SignalBody

_DOCS = Path(__file__).with_name("docs.html")
_READ_BY_HAND = (
    SignalBody, PolicyBody, SymbolBody, TextBody, CommandBody, HaltBody, LoadBody, ShadowBody, DigestBody,
    GenerateBody, GenerateFromBarsBody, ProblemBody,
)  # fmt: skip
"""The models of bodies that handlers do not declare, so that FastAPI does not know of them."""


def build_api(replica: ReplicaState, *, log: FilteringBoundLogger, store_log: StoreLog) -> ASGIApp:
    """The application of a replica.

    Args:
        replica: what its handlers work with.
        log: where the lines of requests go.
        store_log: where those about the store go.
    """
    access = replica.access
    api = FastAPI(
        title="raysignal",
        version=version("raysignal"),
        description="Trading signals in exactly once, portfolios on a Ray cluster, performance out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.replica = replica
    guarded: dict[str, Any] = {
        "access": access, "log": log, "store_log": store_log, "refusals": replica.refusals, "name": replica.name,
    }  # fmt: skip
    api.add_middleware(ErrorMiddleware, **guarded)
    api.add_exception_handler(HTTPException, _refuse_route)
    api.add_exception_handler(RequestValidationError, _refuse_parameter)
    always = problem_responses(422, 500)
    refused = problem_responses(403 if access.open else 401)
    key, signatures = _security(access)
    api.include_router(signals.router, responses={**refused, **always}, dependencies=[*key, *signatures])
    api.include_router(hooks.router, responses=always)
    areas = (
        portfolios, history, trades, refusals, agent, memory, feeds, pipelines, model, model_signals, operations,
    )  # fmt: skip
    api.include_router(model_signals.quick_router, responses={**refused, **always}, dependencies=key)
    for area in areas:
        api.include_router(area.router, responses={**refused, **always}, dependencies=key)
    for open_area in (operations, model_signals):
        api.include_router(open_area.open_router, responses={**(refused if access.open else {}), **always})
    described = api.openapi

    @cache
    def document() -> dict[str, Any]:
        found = described()
        _, schemas = models_json_schema(
            [(model, "validation") for model in _READ_BY_HAND], ref_template="#/components/schemas/{model}"
        )
        found["components"]["schemas"] |= schemas["$defs"]
        return found

    async def get_docs(_request: Request) -> Response:
        shown = orjson.dumps(document()).decode().replace("<", "\\u003c")
        return HTMLResponse(_DOCS.read_text().replace("{{openapi}}", shown))

    api.openapi = document  # type: ignore[method-assign]
    api.add_route("/docs", get_docs)
    quick = [
        route
        for route in (*signals.router.routes, *model_signals.quick_router.routes)
        if isinstance(route, APIRoute)
    ]
    return _RoutesFirst(
        {
            (method, route.path): ErrorMiddleware(route.handle, **guarded)
            for route in quick
            for method in route.methods or ()
        },
        api,
    )


class _RoutesFirst:
    """Hands requests to some routes at once, and all others to the application, whose layers those do without."""

    def __init__(self, routes: dict[tuple[str, str], ASGIApp], api: FastAPI) -> None:
        self._routes = routes
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answers: ASGIApp = self._api
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            answers = self._routes.get((scope["method"], path), answers)
        scope["app"] = self._api
        await answers(scope, receive, send)


def _security(access: Credentials) -> tuple[list[Any], list[Any]]:
    """The key and the signatures that are taken, for the document: `ErrorMiddleware` looks at them before routing."""
    key: list[Any] = []
    if access.api_key is not None:
        key = [Depends(HTTPBearer(scheme_name="key", auto_error=False))]
    headers = {"signature_v2": SIGNATURE_V2_HEADER}
    if not access.webhook_strict:
        headers["signature"] = SIGNATURE_HEADER
    signatures: list[Any] = []
    if access.webhook_secret is not None:
        signatures = [
            Depends(
                APIKeyHeader(
                    name=header, scheme_name=name, description=SIGNATURE_FORM[header], auto_error=False
                )
            )
            for name, header in headers.items()
        ]
    return key, signatures


async def _refuse_route(request: Request, error: Exception) -> Response:
    """No such path, no such method."""
    assert isinstance(error, HTTPException)
    problem = problem_of_http(error)
    request.state.line["problem"] = problem.body["type"]
    return problem.response()


async def _refuse_parameter(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    raise invalid_parameter(error.errors()[0]) from error
