"""The Python client of the broadcast, against a WebSocket server that is made up here."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import Request, ServerConnection, serve
from websockets.http11 import Response

from raysignal.engine.core.errors import InvalidField
from raysignal.runtime.service_client import ServiceError
from raysignal.runtime.stream_client import Stream

Answer = Callable[[ServerConnection, dict[str, str]], Coroutine[Any, Any, None]]


def about_row(sequence: int) -> dict[str, Any]:
    return {"type": "signal", "sequence": sequence, "shard": 0}


def answered(kind: str, since: int) -> dict[str, Any]:
    return {"type": kind, "sequence": since, "since": since, "epoch": "e"}


@asynccontextmanager
async def service(
    *answers: Answer, refusal: tuple[int, bytes] | None = None
) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server that answers each connection in turn; gives its URL, and the queries that it was asked."""
    asked: list[Any] = []
    left = list(answers)

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        query = {name: values[0] for name, values in parse_qs(urlsplit(socket.request.path).query).items()}
        asked.append(query)
        await left.pop(0)(socket, query)

    def process(_socket: ServerConnection, request: Request) -> Response | None:
        if refusal is None:
            return None
        asked.append(request.headers.get("Sec-WebSocket-Protocol"))
        status = HTTPStatus(refusal[0])
        response = _socket.respond(status, refusal[1].decode())
        assert isinstance(response, Response)
        return response

    def chosen(_socket: ServerConnection, offered: Any) -> Any:
        return offered[0] if offered else None

    async with serve(handle, "127.0.0.1", 0, process_request=process, select_subprotocol=chosen) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked


async def first_life(socket: ServerConnection, _query: dict[str, str]) -> None:
    await socket.send(json.dumps(answered("subscribed", 0)))
    await socket.send(json.dumps(about_row(1)) + "\n" + json.dumps(about_row(2)))
    socket.transport.abort()


async def second_life(socket: ServerConnection, query: dict[str, str]) -> None:
    await socket.send(json.dumps(answered("resumed", int(query["since"]))))
    for sequence in (1, 2, 3):  # what came before is left out, should it ever come twice
        await socket.send(json.dumps(about_row(sequence)))
    await socket.send(json.dumps({"type": "heartbeat", "sequence": 8, "epoch": "e"}))
    await socket.wait_closed()


async def taken(stream: Stream, count: int) -> list[dict[str, Any]]:
    found = []
    async with asyncio.timeout(30):
        async for message in stream:
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_a_reader_that_takes_longer_than_a_service_is_tried_comes_back() -> None:
    async with service(first_life, second_life) as (url, _):
        found = []
        async with asyncio.timeout(30):
            async for message in Stream(url, patience_s=0.5):
                found.append((message["type"], message["sequence"]))
                if len(found) == 3:
                    await asyncio.sleep(1.0)  # the connection has ended, and was not looked at for longer
                elif len(found) == 5:
                    break
    assert found[3:] == [("resumed", 2), ("signal", 3)]


@pytest.mark.parametrize(
    "frame",
    [
        "{nope", "[1]", "5", "null", "", b"{}", '{"epoch": "e", "sequence": 1}', '{"type": "signal", "sequence": 2}',
        '{"type": "signal", "shard": 0, "sequence": "2"}', '{"type": "subscribed", "sequence": 1, "epoch": "e"}',
        '{"type": "signal", "shard": 0, "sequence": null}', "[" * 100_000,
    ],
)  # fmt: skip
async def test_what_is_no_message_of_a_stream_is_said(frame: str | bytes) -> None:
    async def answer(socket: ServerConnection, _query: dict[str, str]) -> None:
        await socket.send(frame)
        await socket.wait_closed()

    async with service(answer) as (url, _):
        with pytest.raises(ServiceError, match=r"ws/signals sends .*; expected messages of a stream"):
            await taken(Stream(url), 1)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "127.0.0.1:5", "http://", "ftp://x", "http://h:99999", "http://[x"]
)
def test_an_address_of_no_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidField, match="expected the address of a service, such as"):
        Stream(url)


async def test_one_name_alone_is_a_name() -> None:
    async with service(first_life) as (url, asked):
        await taken(Stream(url, types="signal"), 1)
    assert asked[0]["types"] == "signal"


async def test_a_connection_that_breaks_is_resumed_behind_the_last_message() -> None:
    async with service(first_life, second_life) as (url, asked):
        stream = Stream(url, types=["signal", "fill"], symbols=["BTC"])
        found = await taken(stream, 6)
    assert [(each["type"], each["sequence"]) for each in found] == [
        ("subscribed", 0), ("signal", 1), ("signal", 2), ("resumed", 2), ("signal", 3), ("heartbeat", 8),
    ]  # fmt: skip
    assert asked == [
        {"types": "signal,fill", "symbols": "BTC", "lines": "true"},
        {"types": "signal,fill", "symbols": "BTC", "lines": "true", "since": "2", "epoch": "e"},
    ]
    assert (stream.position, stream.epoch) == (8, "e")


async def test_a_live_message_that_tells_of_less_than_has_come_does_not_send_the_position_back() -> None:
    async def caught_up(socket: ServerConnection, _query: dict[str, str]) -> None:
        begun = {"0": 0, "1": 0}
        since = {"type": "resumed", "sequence": begun, "since": begun, "epoch": "e"}
        beat = {"type": "heartbeat", "sequence": {"0": 8, "1": 12}, "epoch": "e"}
        for message in (since, about_row(41), beat):
            await socket.send(json.dumps(message))
        await socket.wait_closed()

    async with service(caught_up) as (url, _):
        stream = Stream(url, since={"0": 0, "1": 0})
        await taken(stream, 3)
    assert stream.position == {"0": 41, "1": 12}


async def test_a_pipeline_that_joins_becomes_a_part_of_the_position_and_stays_one() -> None:
    async def joins(socket: ServerConnection, _query: dict[str, str]) -> None:
        decided = {"type": "decision", "sequence": 5, "shard": "spot.1f"}
        beat = {"type": "heartbeat", "sequence": 8, "epoch": "e"}
        for message in (answered("resumed", 4), about_row(9), decided, decided, beat):
            await socket.send(json.dumps(message))
        await socket.wait_closed()

    async with service(joins) as (url, _):
        stream = Stream(url, since=4)
        found = await taken(stream, 4)
    assert [each["type"] for each in found] == ["resumed", "signal", "decision", "heartbeat"]
    assert stream.position == {"0": 9, "spot.1f": 5}


async def test_without_an_event_loop_messages_come_as_well() -> None:
    async with service(first_life) as (url, _):
        messages = iter(Stream(url))
        found = [(await asyncio.to_thread(next, messages))["type"] for _ in range(3)]
        await asyncio.to_thread(messages.close)  # type: ignore[attr-defined]
    assert found == ["subscribed", "signal", "signal"]


async def test_a_refusal_is_told_and_not_tried_again() -> None:
    async with service(refusal=(403, b'{"detail": "Origin is another"}')) as (url, asked):
        with pytest.raises(ServiceError, match="Origin is another"):
            await taken(Stream(url, key="secret"), 1)
    assert asked == ["raysignal, raysignal.key.c2VjcmV0"]


async def test_a_socket_that_is_closed_for_what_was_asked_is_not_tried_again() -> None:
    async def close(socket: ServerConnection, _query: dict[str, str]) -> None:
        await socket.close(4400, "since is 9; expected at most 4")

    async with service(close) as (url, asked):
        with pytest.raises(ServiceError, match="since is 9; expected at most 4"):
            await taken(Stream(url, since=9), 1)
    assert len(asked) == 1


async def test_a_service_that_is_not_there_is_told_after_a_while() -> None:
    with pytest.raises(ServiceError, match=r"does not answer for 0\.05 s"):
        await taken(Stream("http://127.0.0.1:9", patience_s=0.05), 1)
