"""Long batches, gathered off a connection: what comes of them is what comes of them the ordinary way."""

import asyncio
import hashlib
import hmac
from pathlib import Path

import orjson
import pytest
from starlette.requests import Request
from starlette.types import Message

from raysignal.engine.core.errors import InputTooSlow
from raysignal.serve.bodies import PartialBody, read_body
from tests.unit.serve.test_lane import comparable, connected, request

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
LONG = request(BATCH, LINES, target="/signals")
assert 65_536 < len(BATCH) < 1 << 20


@pytest.mark.parametrize("piece", [1000, 65_536, 1 << 20])
async def test_a_long_batch_is_taken_in_however_it_is_cut(tmp_path: Path, piece: int) -> None:
    answers = []
    for lane in (True, False):
        async with connected(tmp_path / str(lane)) as (_, connect):
            wire = connect(lane=lane)
            wire.send(*(LONG[start : start + piece] for start in range(0, len(LONG), piece)))
            answers.append(comparable(await wire.answer()))
            assert wire.reading
            wire.send(request())
            assert (await wire.answer())[0] == 200  # the connection goes on
    assert answers[0] == answers[1]
    status, _, answer = answers[0]
    assert (status, answer["accepted"]) == (200, ROWS)


async def test_batches_sent_ahead_keep_their_bodies_apart(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect()
        wire.send(LONG + request(b"{}", target="/signals") + LONG)
        answers = [await wire.answer() for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 422, 200]
    assert [answer["replayed"] for _, _, answer in answers[::2]] == [0, ROWS]


async def test_half_a_batch_is_nothing_but_a_line(tmp_path: Path) -> None:
    async with connected(tmp_path) as (found, connect):
        wire = connect()
        wire.send(LONG[:-1])
        wire.close()
        assert (await found.desk.standing("baseline")).count == 0
    assert [line["problem"] for line in found.lines] == ["urn:raysignal:problem:unreadable-input"]


async def test_who_may_not_come_in_is_told_so_before_the_end_of_the_body(tmp_path: Path) -> None:
    async with connected(tmp_path, api_key="key-1") as (_, connect):
        wire = connect()
        wire.send(LONG[:1000])
        assert (await wire.answer())[0] == 401
        wire.send(LONG[1000:])


@pytest.mark.parametrize(("right", "status"), [(True, 200), (False, 401)])
async def test_a_signature_is_checked_over_the_whole_body(tmp_path: Path, right: bool, status: int) -> None:
    signature = "sha256=" + hmac.new(b"secret-1", BATCH if right else BATCH[:-1], hashlib.sha256).hexdigest()
    async with connected(tmp_path, webhook_secret="secret-1") as (_, connect):
        wire = connect()
        wire.send(request(BATCH, LINES | {"X-Signature": signature}, target="/signals"))
        assert (await wire.answer())[0] == status


def test_a_body_is_whole_when_all_of_it_has_come() -> None:
    body = PartialBody(5)
    for piece in (b"ab", b"", b"cde"):
        body.add(piece)
    assert bytes(body.whole()) == b"abcde"


async def test_a_body_that_stops_coming_is_given_up() -> None:
    parts: list[Message] = [{"type": "http.request", "body": b"a", "more_body": True}]

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    scope = {"type": "http", "method": "POST", "path": "/signals", "headers": [(b"content-length", b"2")]}
    with pytest.raises(InputTooSlow, match="expected its 2 bytes"):
        await read_body(Request(scope, receive), 100, base_s=0.01)
