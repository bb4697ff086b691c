"""The broadcast over HTTP: a WebSocket at `/ws/signals`, Server-Sent Events at `/v1/stream` with the same content."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from raysignal.engine.core.errors import (
    InputError,
    InputTooLarge,
    InvalidField,
    NotFound,
    RaysignalError,
    StoreError,
    Unauthorized,
    UnreadableInput,
)
from raysignal.engine.portfolio.stream_messages import StreamMessage
from raysignal.serve.access import Credentials, headers_by_name
from raysignal.serve.problems import problem_of
from raysignal.serve.stream.hub import StreamHub
from raysignal.serve.stream.session import StreamSession, error_fields
from raysignal.serve.stream.subscription import Cursor, StreamSubscription, shown_cursor

SOCKET_PATH = "/ws/signals"
EVENTS_PATH = "/v1/stream"
PROTOCOL = "raysignal"
"""The subprotocol that is chosen where it is offered."""
UNREADABLE, UNKNOWN, UNAVAILABLE = 4400, 4401, 1013
AUTH_S = 10.0
MOST_MESSAGE_BYTES = 64 * 1024
"""Of what a client sends."""
_EVENT_HEADERS = [
    (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"),
]  # fmt: skip


class StreamApp:
    """The ASGI application; errors before a WebSocket is accepted are answered as problems.

    Args:
        hub: the broadcast.
        access: who may listen.
    """

    def __init__(self, hub: StreamHub, access: Credentials) -> None:
        self._hub = hub
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client to its end."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        path = scope["path"]
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif path == EVENTS_PATH and scope["method"] == "GET":
            await self._events(scope, receive, send)
        else:
            raise NotFound(
                f"there is no {scope['method']} {path}; expected GET {EVENTS_PATH}, or a WebSocket at {SOCKET_PATH}"
            )

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            if scope["path"] != SOCKET_PATH:
                raise NotFound(f"there is no WebSocket {scope['path']}; expected {SOCKET_PATH}")
            offered = scope.get("subprotocols", [])
            known = self._access.admit_listener(headers_by_name(scope["headers"]), offered)
            subscription = StreamSubscription.of_query(scope["query_string"])
        except RaysignalError as error:
            await _refuse_socket(scope, send, error)
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in offered else None})
        code, why = 1000, ""
        try:
            if not known:
                await self._key(receive)
            async with self._hub.session() as session:
                await session.subscribe(subscription)
                code, why = await _served(
                    session, _socket_sender(session, send), self._read(session, receive)
                )
        except _Gone:
            return
        except RaysignalError as error:
            code, why = _close_code(error), str(error)
            told = self._hub.live_message("error", **error_fields(error)) if code != UNKNOWN else None
            with suppress(OSError):
                if told is not None:
                    await send({"type": "websocket.send", "text": told.text})
        with suppress(OSError, RuntimeError):
            await send({"type": "websocket.close", "code": code, "reason": _short(why)})

    async def _key(self, receive: Receive) -> None:
        """Wait for the message that says the key."""
        try:
            async with asyncio.timeout(AUTH_S):
                told = _fields(await receive())
        except TimeoutError:
            raise Unauthorized(f"no key came within {AUTH_S:g} s") from None
        except InputError as error:
            raise Unauthorized(str(error)) from None
        if told.get("type") != "auth" or not isinstance(told.get("key"), str):
            raise Unauthorized('the first message is not {"type": "auth", "key": "…"}')
        self._access.check_key(told["key"])

    async def _read(self, session: StreamSession, receive: Receive) -> None:
        """Do what a client says, until it goes."""
        while True:
            try:
                told = _fields(await receive())
                await _obey(session, told)
            except StoreError:
                raise
            except RaysignalError as error:
                session.reply("error", **error_fields(error))
            if session.closing is not None:
                return

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_by_name(scope["headers"])
        if not self._access.admit_listener(headers):
            raise Unauthorized("no credentials; expected the header Authorization: Bearer with the API key")
        subscription = StreamSubscription.of_query(scope["query_string"])
        if (last := headers.get(b"last-event-id")) is not None:
            subscription = _resumed(subscription, last.decode("latin-1"))
        if subscription.lines:
            raise InvalidField("lines", True, "it for a WebSocket alone")
        if scope.get("state", {}).get("method") == "HEAD":
            # It has no events: whoever passed it on would send another request behind an answer that does not end.
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        async with self._hub.session() as session:
            await session.subscribe(subscription)
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
            with suppress(_Gone):
                await _served(session, _event_sender(self._hub, session, send), _until_gone(receive))
        with suppress(OSError, RuntimeError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server as it begins and ends."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _served(session: StreamSession, sender: Any, reader: Any) -> tuple[int, str]:
    """Serve a client until it goes or is closed: with which code, and why.

    Raises:
        _Gone: it went.
        StoreError: the store does not answer.
    """
    tasks = [asyncio.ensure_future(each) for each in (session.run(sender), reader, session.closed.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return session.closing or (1000, "")


async def _obey(session: StreamSession, told: Mapping[str, Any]) -> None:
    kind = told.get("type")
    rest = {name: value for name, value in told.items() if name != "type"}
    if kind == "ping":
        if extra := rest.keys() - {"id"}:
            raise InvalidField(min(extra), rest[min(extra)], "none but id")
        session.reply("heartbeat", **({"id": rest["id"]} if "id" in rest else {}))
    elif kind == "subscribe":
        await session.subscribe(StreamSubscription.of_fields(rest))
    elif kind != "auth":  # a key where none is needed, or once more
        raise InvalidField("type", kind, "ping, subscribe or auth")


def _fields(message: Any) -> dict[str, Any]:
    """What a client sent, as an object."""
    if message["type"] == "websocket.disconnect":
        raise _Gone
    data = message.get("text") or message.get("bytes") or ""
    if len(data) > MOST_MESSAGE_BYTES:
        raise InputTooLarge(f"a message of {len(data)} characters; expected at most {MOST_MESSAGE_BYTES}")
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UnreadableInput(f"the message is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise UnreadableInput('the message is no object; expected one such as {"type": "ping"}')
    return told


def _socket_sender(session: StreamSession, send: Send) -> Any:
    async def sender(messages: Sequence[StreamMessage]) -> None:
        texts = [message.text for message in messages]
        if session.subscription.lines:
            texts = ["\n".join(texts)]
        for text in texts:
            session.progressed()
            await send({"type": "websocket.send", "text": text})

    return sender


def _event_sender(hub: StreamHub, session: StreamSession, send: Send) -> Any:
    """Events have an id that says epoch and cursor, so that a browser resumes by itself."""
    cursor: Cursor = dict(session.cursor)

    async def sender(messages: Sequence[StreamMessage]) -> None:
        told = []
        for message in messages:
            line = ""
            if message.sequence is not None:
                cursor[message.shard] = message.sequence
                line = f"id: {hub.epoch}:{orjson.dumps(shown_cursor(cursor)).decode()}\n"
            told.append(f"{line}event: {message.kind}\ndata: {message.text}\n\n")
        session.progressed()
        await send({"type": "http.response.body", "body": "".join(told).encode(), "more_body": True})

    return sender


def _resumed(subscription: StreamSubscription, last: str) -> StreamSubscription:
    """A subscription that goes on behind the event of that id."""
    epoch, _, cursor = last.partition(":")
    try:
        since = orjson.loads(cursor)
    except orjson.JSONDecodeError:
        raise InvalidField("Last-Event-ID", last, "the id of an event of this stream") from None
    known = StreamSubscription.of_fields({"since": since, "epoch": epoch})
    return StreamSubscription(
        subscription.types, subscription.symbols, subscription.portfolios, known.since, known.epoch
    )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Gone


async def _refuse_socket(scope: Scope, send: Send, error: RaysignalError) -> None:
    """Answer the request for a WebSocket with the problem, where the server can; else with 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _close_code(error), "reason": _short(str(error))})
        return
    problem = problem_of(error)
    answer = problem.response()
    await send(
        {"type": "websocket.http.response.start", "status": problem.status, "headers": answer.raw_headers}
    )
    await send({"type": "websocket.http.response.body", "body": answer.body})


def _close_code(error: RaysignalError) -> int:
    if isinstance(error, Unauthorized):
        return UNKNOWN
    return UNAVAILABLE if isinstance(error, StoreError) else UNREADABLE


def _short(why: str) -> str:
    """A reason for a close frame, which has room for 123 bytes."""
    return why.encode()[:120].decode(errors="ignore")


class _Gone(Exception):
    """The client went."""
