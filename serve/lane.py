"""The short way in for single signals: from the bytes of a connection to the gatherer, with nothing between.

A busy service spends its time on `POST /signal`, and most of a request's cost there is Ray Serve's wrapper,
ASGI and the routing. `SignalProtocol` is uvicorn's own HTTP protocol, with one difference: a plain
`POST /signal` is handed to the `Lane` once its body is there, and the answer is written to the connection.
Everything else about a connection (keep-alive, pipelining, draining) stays uvicorn's, and every other request
goes the ordinary way; so does a `POST /signal` that is chunked, compressed, too long, expects `100 Continue`,
sets a time-out for Ray Serve, or comes while the request before it is under way.

Both ways promise the same: the access check, the same problems, one log line, `X-Request-ID`.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import Any

import orjson
from structlog.typing import FilteringBoundLogger
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from raysignal.engine.core.errors import RaysignalError, StoreUnavailable, UnreadableInput
from raysignal.serve.access import Credentials
from raysignal.serve.bodies import GATHERED, PartialBody
from raysignal.serve.logs import StoreLog
from raysignal.serve.micro_batcher import PendingReceipt
from raysignal.serve.middleware import noted_problem, write_line
from raysignal.serve.operations import JSON
from raysignal.serve.problems import PROBLEM_JSON, Problem, problem_unexpected
from raysignal.serve.routes import Routes

PATH = "/signal"
_TARGET = PATH.encode()
_BATCHES = b"/signals"
# With one of these a request is not plain: somebody else on the ordinary way has to look at it.
_NOT_PLAIN = (b"transfer-encoding", b"content-encoding", b"upgrade", b"x-request-timeout-seconds")


class Passage:
    """A request on the lane. uvicorn's protocol takes it for the request-response cycle under way.

    Attributes:
        protocol: the connection it came on.
        headers: by name, in lower case; each was given once.
        query: what stands behind the `?`.
        body: as far as it has come.
        line: what the log says about it.
        started: when it was taken; 0 while its body is not complete.
    """

    __slots__ = (
        "body", "disconnected", "headers", "keep_alive", "line", "message_event", "more_body", "protocol",
        "query", "response_complete", "started",
    )  # fmt: skip

    def __init__(self, protocol: "SignalProtocol", headers: dict[bytes, bytes], query: bytes) -> None:
        self.protocol = protocol
        self.headers = headers
        self.query = query
        self.body = bytearray()
        self.line: dict[str, Any] = {}
        self.started = 0.0
        # What uvicorn's protocol reads and sets of a cycle.
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.more_body = True
        self.message_event = _NOBODY_WAITS

    def text(self, name: bytes) -> str | None:
        """A header's value."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def answer(self, status: int, media_type: str, body: bytes, headers: dict[str, str]) -> None:
        """Write the answer, and let the connection go on to its next request."""
        self.response_complete = True
        transport = self.protocol.transport
        if not transport.is_closing():
            if headers.get("connection") == "close":
                self.keep_alive = False
            elif not self.keep_alive:
                headers = headers | {"connection": "close"}
            own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            request_id = self.headers.get(b"x-request-id") or token_hex(16).encode()
            transport.write(
                b"%s%scontent-length: %d\r\ncontent-type: %s\r\n%sx-request-id: %s\r\n\r\n%s"
                % (STATUS_LINE[status], self.protocol.default_headers, len(body), media_type.encode(),
                   own.encode("latin-1"), request_id, body)
            )  # fmt: skip
            if not self.keep_alive:
                transport.close()
        self.protocol.on_response_complete()


class Lane:
    """Takes the signals in that come on the short way, and answers them.

    Args:
        routes: what single signals are posted to.
        access: who may come in.
        log: where the lines go.
        store_log: where those about the store go.
        name: of this replica, for the line.
        max_body: bytes; longer ones go the ordinary way, which refuses them.
        max_batch: bytes of a batch on the ordinary way, whose body is gathered; see `serve.bodies`.
        max_under_way: requests; more are told to come again.
        loop: the one that `routes` belong to; connections of another one do not use the lane.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        access: Credentials,
        log: FilteringBoundLogger,
        store_log: StoreLog,
        name: str,
        max_body: int,
        max_batch: int,
        max_under_way: int,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._access = access
        self._log = log
        self._store_log = store_log
        self._name = name
        self.max_body = max_body
        self.max_batch = max_batch
        self._max_under_way = max_under_way
        self._under_way = 0
        self.loop = loop
        self._clock = clock

    def protocol(self, **options: Any) -> "SignalProtocol":
        """A connection's protocol; the options are uvicorn's."""
        return SignalProtocol(self, **options)

    def take(self, passage: Passage) -> None:
        """Take in the signal of a request whose body is complete; it is answered when it is durable."""
        passage.started = self._clock()
        self._under_way += 1
        try:
            place = self._entered(passage)
        except Exception as error:  # noqa: BLE001 - told to the caller, and logged if nobody foresaw it
            self._refuse(passage, error)
        else:
            place.add_done_callback(partial(self._answer, passage))

    def abandon(self, passage: Passage) -> None:
        """Note that the client went away before the end of the body."""
        passage.started = self._clock()
        self._under_way += 1
        self._refuse(passage, UnreadableInput("the client went away before the end of the body"))

    def _entered(self, passage: Passage) -> "asyncio.Future[PendingReceipt]":
        if self._under_way > self._max_under_way:
            raise StoreUnavailable(
                f"{self._max_under_way} signals are under way at this replica, as many as it takes; "
                "the same request may be sent again, and cannot count twice"
            )
        claim = self._access.admit("POST", PATH, passage.query, passage.headers)
        portfolio, accept = self._routes.asked_of_signal(passage.query)
        body = bytes(passage.body)
        if claim is not None:
            self._access.verify(claim, body)
        return self._routes.enter_signal(
            body, portfolio, accept_price_jump=accept, line=passage.line,
            content_type=passage.text(b"content-type"), idempotency_key=passage.text(b"idempotency-key"),
        )  # fmt: skip

    def _answer(self, passage: Passage, place: "asyncio.Future[PendingReceipt]") -> None:
        try:
            body = orjson.dumps(self._routes.receipt_of(place.result(), passage.line))
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(passage, error)
        else:
            self._finish(passage, HTTPStatus.OK, JSON, body, {})

    def _refuse(self, passage: Passage, error: Exception) -> None:
        problem: Problem
        if isinstance(error, RaysignalError):
            problem = noted_problem(error, passage.line)
        else:
            error_id = passage.line["error_id"] = token_hex(8)
            self._log.error("unexpected", error_id=error_id, exc_info=error)
            problem = problem_unexpected(error_id)
            passage.line["problem"] = problem.body["type"]
        self._finish(passage, problem.status, PROBLEM_JSON, orjson.dumps(problem.body), problem.headers)

    def _finish(
        self, passage: Passage, status: int, media_type: str, body: bytes, headers: dict[str, str]
    ) -> None:
        self._under_way -= 1
        try:
            passage.answer(status, media_type, body, headers)
        finally:
            write_line(
                self._log, self._store_log, method="POST", path=PATH, status=status, replica=self._name,
                seconds=self._clock() - passage.started, line=passage.line,
            )  # fmt: skip


class SignalProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a lane beside it."""

    def __init__(self, lane: Lane, **options: Any) -> None:
        super().__init__(**options)
        self._lane: Lane | None = lane if lane.loop is self.loop and not self.root_path else None
        self._gathered: PartialBody | None = None
        self._defaults: tuple[object, bytes] = (None, b"")

    @property
    def default_headers(self) -> bytes:
        """The headers that uvicorn puts on every answer; it makes them anew each second."""
        headers = self.server_state.default_headers
        if self._defaults[0] is not headers:
            self._defaults = headers, b"".join(b"%s: %s\r\n" % each for each in headers)
        return self._defaults[1]

    def on_headers_complete(self) -> None:
        """Put a plain signal on the lane; leave everything else to uvicorn, but for the body of a batch."""
        passage = self._passage()
        if passage is None:
            super().on_headers_complete()
            self._gathered = self._batch()
            if self._gathered is not None:
                scope: Any = self.scope  # it may hold more than ASGI says
                scope[GATHERED] = self._gathered
        else:
            cycle: Any = passage  # it has what is asked of a cycle
            self.cycle = cycle

    def on_body(self, body: bytes) -> None:
        """Keep what has come of the body."""
        cycle: Any = self.cycle
        if type(cycle) is Passage:
            cycle.body += body
        elif self._gathered is not None:
            if not cycle.response_complete:
                self._gathered.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        cycle: Any = self.cycle
        if type(cycle) is Passage:
            assert self._lane is not None
            self._lane.take(cycle)
        else:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        super().connection_lost(exc)
        cycle: Any = self.cycle
        if type(cycle) is Passage and not cycle.started:
            assert self._lane is not None
            self._lane.abandon(cycle)

    def _batch(self) -> PartialBody | None:
        """Room for the body whose headers have come, if it is a batch that is long enough to gather."""
        if self._lane is None or self.url.partition(b"?")[0] != _BATCHES or self.parser.should_upgrade():
            return None
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if len(lengths) != 1 or not lengths[0].isdigit():
            return None
        length = int(lengths[0])
        return PartialBody(length) if HIGH_WATER_LIMIT < length <= self._lane.max_batch else None

    def _passage(self) -> Passage | None:
        """The request whose headers have come, if it is one for the lane."""
        if self._lane is None or not self.url.startswith(_TARGET) or self.parser.get_method() != b"POST":
            return None
        path, _, query = self.url.partition(b"?")
        if path != _TARGET or b"#" in query or self.expect_100_continue or self.flow.write_paused:
            return None
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        plain = (
            len(headers) == len(self.headers)
            and length.isdigit()
            and int(length) <= self._lane.max_body
            and not any(name in headers for name in _NOT_PLAIN)
        )
        return Passage(self, headers, query) if plain else None


def open_lane(lane: Lane) -> bool:
    """Have HTTP servers that this process starts from now on use the lane; whether there was a way to do so.

    Ray Serve starts uvicorn with the protocol that it chooses by itself. That choice is replaced here. Where it
    is another one than expected, nothing is changed, and all requests go the ordinary way.
    """
    if getattr(auto, "AutoHTTPProtocol", None) is not HttpToolsProtocol:
        return False
    protocol: Any = lane.protocol  # called like a class
    auto.AutoHTTPProtocol = protocol
    return True


class _NobodyWaits(asyncio.Event):
    """Set when something comes; nobody waits for it on the lane."""

    def set(self) -> None:
        """Nothing to do."""


_NOBODY_WAITS = _NobodyWaits()
