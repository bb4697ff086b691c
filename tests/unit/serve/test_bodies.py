"""Bodies of requests: in pieces, signed, too long, too slow, cut off."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from starlette.requests import Request
from starlette.types import Message

from raysignal.engine.core.errors import InputTooSlow
from raysignal.serve.parameters import read_body
from tests.support.one_replica import replica, speaking_to

LINES = {"Content-Type": "application/x-ndjson"}
ROWS = 1500
BATCH = b"\n".join(
    orjson.dumps(
        {
            "timestamp": f"2025-02-{1 + n // 1440:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z",
            "signal": 1,
            "price": 100.0 + n / 100,
        }
    )
    for n in range(ROWS)
)


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1000, 65_536, 1 << 20])
async def test_a_long_batch_is_taken_in_however_it_is_cut(tmp_path: Path, size: int) -> None:
    async with replica(tmp_path) as found, speaking_to(found) as http:
        answer = await http.post("/signals", content=pieces(BATCH, size), headers=LINES)
        assert (answer.status_code, answer.json()["accepted"]) == (200, ROWS)


async def test_a_body_over_the_limit_is_refused_though_it_does_not_say_its_length(tmp_path: Path) -> None:
    async with replica(tmp_path, max_batch_bytes=4096) as found, speaking_to(found) as http:
        answer = await http.post("/signals", content=pieces(BATCH, 1000), headers=LINES)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("method_and_path", ["PUT /portfolios/x", "POST /portfolios/baseline/symbols"])
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}" + b" " * 16_384, "application/json", 413),
        (b'{"symbol": "A", "symbol": "B"}', "application/json", 422),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
    ],
)
async def test_an_object_that_is_none_or_too_long_is_refused(
    tmp_path: Path, method_and_path: str, body: bytes, kind: str, status: int
) -> None:
    method, path = method_and_path.split()
    async with replica(tmp_path) as found, speaking_to(found) as http:
        answer = await http.request(method, path, content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("path", ["/signal", "/signals"])
async def test_half_a_body_is_nothing_but_a_line(tmp_path: Path, path: str) -> None:
    said: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b'{"signal"', "more_body": True},
    ]

    async def receive() -> Message:
        return said.pop()

    async def send(_: Message) -> None:
        pass

    async with replica(tmp_path) as found:
        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")],
        }  # fmt: skip
        await found.front(scope, receive, send)
        assert (await found.desk.standing("baseline")).count == 0
    assert [line["problem"] for line in found.lines] == ["urn:raysignal:problem:unreadable-input"]


@pytest.mark.parametrize(("right", "status"), [(True, 200), (False, 401)])
async def test_a_signature_is_checked_over_the_whole_body(tmp_path: Path, right: bool, status: int) -> None:
    signature = "sha256=" + hmac.new(b"secret-1", BATCH if right else BATCH[:-1], hashlib.sha256).hexdigest()
    async with replica(tmp_path, webhook_secret="secret-1") as found, speaking_to(found) as http:
        headers = LINES | {"X-Signature": signature}
        assert (
            await http.post("/signals", content=pieces(BATCH, 9999), headers=headers)
        ).status_code == status


async def test_a_body_that_stops_coming_is_given_up() -> None:
    parts: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}]

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    scope = {"type": "http", "method": "POST", "path": "/signals", "headers": [(b"content-length", b"2")]}
    with pytest.raises(InputTooSlow, match="expected its 2 bytes"):
        await read_body(Request(scope, receive), 100, base_s=0.01)
