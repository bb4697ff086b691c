"""The middleware of the service: who may come in, one log line a request, and no exception gets out."""

import re
import time
from collections.abc import Callable
from http import HTTPStatus
from secrets import token_hex
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import RaysignalError, StoreError
from raysignal.engine.core.secrets import HIDDEN
from raysignal.serve.access import HOOKS, Credentials, headers_by_name
from raysignal.serve.logs import StoreLog
from raysignal.serve.parameters import refuse_repeated
from raysignal.serve.problems import Problem, problem_of, problem_unexpected
from raysignal.serve.refusals import RefusalReporter

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
    """An ASGI middleware. A request's state has its `line` of the log, the `claim` to have signed its body, and `about`
    for what is to be told of it where it is refused.

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
        state = {**scope.get("state", {}), "line": line, "claim": claim, "about": about}
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
