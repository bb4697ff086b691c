"""The outermost layer of the service: who may come in, one log line a request, and no exception gets out."""

import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import RaysignalError, StoreError
from raysignal.serve.access import Credentials, headers_by_name
from raysignal.serve.logs import StoreLog
from raysignal.serve.problems import Problem, problem_of, problem_unexpected

# Where a handler puts what the line shall say, and where it finds a signature that is still to be verified.
LINE = "raysignal.line"
CLAIM = "raysignal.claim"

_STORE_ERROR = "store_error"
_DURABLE = frozenset({("POST", "/signal"), ("POST", "/signals")})

Handler = Callable[[Request], Awaitable[Response]]


class ErrorMiddleware:
    """An ASGI application around another.

    Args:
        app: what answers.
        hot: routes that do not go through it: method and path to a handler. Routing costs more than most of
            what a handler does, and a busy service spends its time on one route.
        access: who may come in.
        log: where the lines go.
        store_log: where those about the store go.
        name: of this replica, for the line.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hot: Mapping[tuple[str, str], Handler],
        access: Credentials,
        log: FilteringBoundLogger,
        store_log: StoreLog,
        name: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._hot = hot
        self._access = access
        self._log = log
        self._store_log = store_log
        self._name = name
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        line: dict[str, Any] = {}
        scope[LINE] = line
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noting)
        except RaysignalError as error:
            await self._refuse(noted_problem(error, line), line, status, scope, receive, noting)
        except Exception:  # noqa: BLE001 - the last one who can answer; it is logged with its traceback
            error_id = line.setdefault("error_id", token_hex(8))
            self._log.exception("unexpected", error_id=error_id)
            await self._refuse(problem_unexpected(error_id), line, status, scope, receive, noting)
        finally:
            write_line(
                self._log, self._store_log, method=scope["method"], path=scope["path"], status=status,
                replica=self._name, seconds=self._clock() - started, line=line,
            )  # fmt: skip

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        headers = headers_by_name(scope["headers"])
        scope[CLAIM] = self._access.admit(method, path, scope["query_string"], headers)
        handler = self._hot.get((method, path))
        if handler is None:
            await self._app(scope, receive, send)
        else:
            response = await handler(Request(scope, receive))
            await response(scope, receive, send)

    @staticmethod
    async def _refuse(
        problem: Problem, line: dict[str, Any], status: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        line["problem"] = problem.body["type"]
        if not status:  # else the answer is half out, and cannot be another one any more
            await problem.response()(scope, receive, send)


def noted_problem(error: RaysignalError, line: dict[str, Any]) -> Problem:
    """The problem that an error is; the line is told of it."""
    problem = problem_of(error)
    line["problem"] = problem.body["type"]
    if isinstance(error, StoreError):
        line[_STORE_ERROR] = error
    return problem


def write_line(
    log: FilteringBoundLogger,
    store_log: StoreLog,
    *,
    method: str,
    path: str,
    status: int,
    replica: str,
    seconds: float,
    line: dict[str, Any],
) -> None:
    """The one line of a request; `line` holds what its handler says about it. None where the store goes on failing."""
    error = line.pop(_STORE_ERROR, None)
    if error is not None and not store_log.failed(error):
        return
    if status == HTTPStatus.OK and (method, path) in _DURABLE:
        store_log.worked()
    log.info(
        "request", method=method, path=path, status=status, latency_ms=round(seconds * 1e3, 3),
        replica=replica, **line,
    )  # fmt: skip
