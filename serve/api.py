"""The FastAPI application: the middleware (who may come in, one log line a request, no exception gets out), the
routers, the OpenAPI document and `/docs`.
"""

import re
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
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
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import RaysignalError, StoreError
from raysignal.engine.core.secrets import HIDDEN
from raysignal.serve.access import (
    HOOKS,
    SIGNATURE_FORM,
    SIGNATURE_HEADER,
    SIGNATURE_V2_HEADER,
    Credentials,
    headers_by_name,
)
from raysignal.serve.logs import StoreLog
from raysignal.serve.parameters import invalid_parameter, refuse_repeated
from raysignal.serve.problems import (
    Problem,
    problem_of,
    problem_of_http,
    problem_responses,
    problem_unexpected,
)
from raysignal.serve.refusals import RefusalReporter
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

_DURABLE = frozenset({("POST", "/signal"), ("POST", "/signals")})
_HOOK = re.compile(r"(?i)(hooks?/+).+", re.DOTALL)
# A hook's token has 43 signs; the identities of signals that are made here have 32, and may be logged.
_LIKE_TOKEN = re.compile(r"[A-Za-z0-9_-]{33,}")


def shown_path(path: str) -> str:
    """A path as it may be logged: a hook's token is none of the log's business, nor is one in a misspelt address."""
    return _LIKE_TOKEN.sub(HIDDEN, _HOOK.sub(rf"\1{HIDDEN}", path))


def _path(scope: Scope) -> str:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


class ErrorMiddleware:
    """An ASGI middleware. A request's state has its `method`, its `line` of the log, the `claim` to have signed its
    body, and `about` for what is to be told of it where it is refused.

    Args:
        app: what answers.
        access: who may come in.
        log: where the lines go.
        store_log: where those about the store go.
        refusals: what is told of refused signals.
        name: of this replica, for the line.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Credentials,
        log: FilteringBoundLogger,
        store_log: StoreLog,
        refusals: RefusalReporter,
        name: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._access = access
        self._log = log
        self._store_log = store_log
        self._refusals = refusals
        self._name = name
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        line: dict[str, Any] = {}
        about: dict[str, Any] = {}
        problem: Problem | None = None
        failed: StoreError | None = None
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                await self._app(self._admitted(scope, line, about), receive, noting)
            except RaysignalError as error:
                problem = problem_of(error)
                failed = error if isinstance(error, StoreError) else None
                self._refusals.note(scope["method"], _path(scope), error, problem.status, about)
            except Exception:  # noqa: BLE001 - the last one who can answer; it is logged with its traceback
                error_id = line["error_id"] = token_hex(8)
                self._log.exception("unexpected", error_id=error_id)
                problem = problem_unexpected(error_id)
            if problem is not None:
                line["problem"] = problem.body["type"]
                if not status:  # else the answer is half out, and cannot be another one any more
                    await problem.response()(scope, receive, noting)
        finally:
            self._write_line(scope, status, self._clock() - started, line, failed)

    def _admitted(self, scope: Scope, line: dict[str, Any], about: dict[str, Any]) -> Scope:
        """The scope of a request that may come in, for the application; else the error that says why not."""
        method, path = scope["method"], _path(scope)
        query = scope["query_string"]
        claim = self._access.admit(method, path, query, headers_by_name(scope["headers"]))
        refuse_repeated(query)
        state = {**scope.get("state", {}), "method": method, "line": line, "claim": claim, "about": about}
        # What GET answers, HEAD does; the server leaves the body out.
        return {**scope, "state": state, "method": "GET" if method == "HEAD" else method}

    def _write_line(
        self, scope: Scope, status: int, seconds: float, line: dict[str, Any], failed: StoreError | None
    ) -> None:
        """The one line of a request; none where the store goes on failing."""
        method, path = scope["method"], scope["path"]
        if failed is not None and not self._store_log.failed(failed):
            return
        if status == HTTPStatus.OK and ((method, path) in _DURABLE or path.startswith(HOOKS)):
            self._store_log.worked()
        self._log.info(
            "request", method=method, path=shown_path(path), status=status, latency_ms=round(seconds * 1e3, 3),
            replica=self._name, **line,
        )  # fmt: skip


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
