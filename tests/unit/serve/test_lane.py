"""The short way in, driven with bytes: what it takes, what it leaves to the ordinary way, and that both agree."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.serve.access import signed_text
from raysignal.serve.lane import Lane, SignalProtocol, open_lane
from tests.support.one_replica import Replica, replica

SIGNAL = {"timestamp": "2025-02-24T00:00:00Z", "signal": 1, "price": 100.0}
BODY = orjson.dumps(SIGNAL)
KEY, SECRET = "key-1", "secret-1"
JSON_TYPE = {"Content-Type": "application/json"}


class Wire(asyncio.Transport):
    """The other end of a connection: keeps what is written to it, tells when something was."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self.closed = False
        self.written_to_when_closed = False
        self.reading = True
        self._out = b""
        self._more = asyncio.Event()
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        self.written_to_when_closed |= self.closed
        self._out += data
        self._more.set()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.reading = False
            self.protocol.connection_lost(None)
        self._more.set()

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.protocol.data_received(part)

    async def head(self) -> int:
        """The status of the next answer, which has no body."""
        while b"\r\n\r\n" not in self._out:
            assert not self.closed, self._out
            self._more.clear()
            await self._more.wait()
        head, _, self._out = self._out.partition(b"\r\n\r\n")
        assert not self._out
        return int(head.split()[1])

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of the next answer, `100 Continue` left out."""
        while True:
            head, found, rest = self._out.partition(b"\r\n\r\n")
            if found and head.startswith(b"HTTP/1.1 100"):
                self._out = rest
                continue
            if found:
                status, *lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                length = int(headers.get("content-length", 0))
                if len(rest) >= length:
                    self._out = rest[length:]
                    body = rest[:length]
                    return int(status.split()[1]), headers, orjson.loads(body) if body else None
            assert not self.closed, self._out
            self._more.clear()
            await self._more.wait()


Connect = Callable[..., Wire]


@asynccontextmanager
async def connected(folder: Path, **settings: Any) -> AsyncIterator[tuple[Replica, Connect]]:
    """A replica, and how connections to it are made: on the lane unless told `lane=False`."""
    async with replica(folder, **settings) as found:
        config = uvicorn.Config(found.front, lifespan="off", log_config=None, access_log=False)
        config.load()
        state, loop = ServerState(), asyncio.get_running_loop()

        def connect(*, lane: bool = True, max_under_way: int = 8, of_loop: Any = loop) -> Wire:
            options: dict[str, Any] = {
                "config": config,
                "server_state": state,
                "app_state": {},
                "_loop": loop,
            }
            if not lane:
                return Wire(HttpToolsProtocol(**options))
            return Wire(lane_of(found, max_under_way, of_loop).protocol(**options))

        yield found, connect
        await asyncio.gather(*state.tasks)


def lane_of(found: Replica, max_under_way: int = 8, loop: Any = None) -> Lane:
    return Lane(
        found.routes, access=found.access, log=found.log, store_log=found.store_log, name="r1", max_body=4096,
        max_batch=1 << 20, max_under_way=max_under_way, loop=loop or asyncio.get_running_loop(),
    )  # fmt: skip


def request(
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
    *,
    target: str = "/signal",
    method: str = "POST",
    version: str = "1.1",
    length: bool = True,
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}"]
    named = {"Host": "localhost"} | JSON_TYPE | (headers or {})
    lines += [f"{name}: {value}" for name, value in named.items()]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def comparable(answer: tuple[int, dict[str, str], Any]) -> tuple[int, dict[str, str], Any]:
    """Without what differs from request to request."""
    status, headers, body = answer
    own = {name: value for name, value in headers.items() if name not in {"date", "x-request-id"}}
    return status, own, body


async def test_a_signal_is_answered_with_its_receipt_on_a_connection_that_stays(tmp_path: Path) -> None:
    async with connected(tmp_path) as (found, connect):
        wire = connect()
        for minute in range(3):
            wire.send(request(orjson.dumps(SIGNAL | {"timestamp": f"2025-02-24T00:0{minute}:00Z"})))
            status, headers, receipt = await wire.answer()
            assert (status, headers["content-type"]) == (200, "application/json")
            assert receipt["ordinal"] == minute
        assert not wire.closed
        assert (await found.desk.standing("baseline")).count == 3


async def test_wherever_the_bytes_are_cut_the_answer_is_the_same(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire, whole = connect(), request()
        wire.send(whole)
        _, _, first = await wire.answer()
        for cut in range(1, len(whole)):
            wire.send(whole[:cut], whole[cut:])
            status, _, again = await wire.answer()
            assert (status, again | {"replayed": False}) == (200, first)
        wire.send(*(whole[at : at + 1] for at in range(len(whole))))
        assert (await wire.answer())[0] == 200


async def test_the_lane_is_what_answers_a_plain_signal(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect(max_under_way=0)
        wire.send(request())
        assert (await wire.answer())[0] == 503  # only the lane is that narrow


REQUESTS = [
    request(),
    request(headers={"Content-Type": "text/plain; charset=utf-8"}),
    request(headers={"Idempotency-Key": "key-7"}),
    request(target="/signal?portfolio=baseline&accept_price_jump=true"),
    request(b"{"),
    request(b""),
    request(b"[1]"),
    request(orjson.dumps(SIGNAL | {"price": -1})),
    request(orjson.dumps(SIGNAL | {"signal_id": "before"})),
    request(orjson.dumps(SIGNAL | {"signal_id": "late", "timestamp": "2025-02-01T00:00:00Z"})),
    request(orjson.dumps(SIGNAL | {"timestamp": "2025-02-25T00:00:00Z", "price": 100_000.0})),
    request(headers={"Content-Type": "image/png"}),
    request(headers={"Content-Type": "application/json; charset=latin-1"}),
    request(target="/signal?portfolio=nobody"),
    request(target="/signal?portfolio=A%20B"),
    request(target="/signal?accept_price_jump=yes"),
    request(target="/signal?portfoli=x"),
    request(target="/signal?portfolio=a&portfolio=b"),
    request(headers={"Host": "evil.example"}),
    request(headers={"Origin": "https://evil.example", "Content-Type": "text/plain"}),
    request(headers={"Origin": "http://localhost"}),
]


@pytest.mark.parametrize("asked", REQUESTS)
async def test_both_ways_answer_the_same_and_log_the_same(tmp_path: Path, asked: bytes) -> None:
    answers, lines = [], []
    for lane in (True, False):
        async with connected(tmp_path / str(lane)) as (found, connect):
            wire = connect(lane=lane)
            wire.send(request(orjson.dumps(SIGNAL | {"symbol": "ETH", "signal_id": "before"})))
            await wire.answer()
            wire.send(request(orjson.dumps(SIGNAL | {"timestamp": "2025-02-23T00:00:00Z"})))
            await wire.answer()
            wire.send(asked)
            answers.append(comparable(await wire.answer()))
        lines.append([{k: v for k, v in line.items() if k != "latency_ms"} for line in found.lines])
    assert answers[0] == answers[1]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(headers={"Transfer-Encoding": "chunked"}, length=False, body=b"").replace(
            b"\r\n\r\n", b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)), 200),
        (request(headers={"Expect": "100-continue"}), 200),
        (request(headers={"Content-Encoding": "identity"}), 200),
        (request(headers={"Content-Encoding": "gzip"}), 415),
        (request(headers={"Connection": "close"}), 200),
        (request(headers={"X-Request-Timeout-Seconds": "5"}), 200),
        (request(headers={"content-type": "application/json"}), 400),  # a second one
        (request(version="1.0"), 200),
        (request(version="1.0", headers={"Connection": "keep-alive"}), 200),
        (request(BODY + b" " * 4096), 200),
        (request(method="PUT"), 405),
        (request(target="/signals"), 200),
        (request(target="/signal/"), 404),
        (request(target="/healthz", method="GET", body=b""), 200),
    ],
)  # fmt: skip
async def test_what_is_not_plain_goes_the_ordinary_way(tmp_path: Path, asked: bytes, status: int) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect(max_under_way=0)
        wire.send(asked)
        assert (await wire.answer())[0] == status


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path, max_signal_bytes=4096) as (_, connect):
        wire = connect()
        wire.send(request(BODY + b" " * 4096))
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert wire.closed


async def test_connections_of_another_loop_go_the_ordinary_way(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        other = asyncio.new_event_loop()
        try:
            wire = connect(max_under_way=0, of_loop=other)
            wire.send(request())
            assert (await wire.answer())[0] == 200
        finally:
            other.close()


async def test_only_who_has_the_key_or_signs_comes_in(tmp_path: Path) -> None:
    async with connected(tmp_path, api_key=KEY, webhook_secret=SECRET) as (found, connect):
        wire = connect()
        refused = [
            {},
            {"Authorization": "Bearer key-2"},
            {"Authorization": "Basic key-1"},
            {"X-Signature": signature(BODY, "other")},
            {"X-Signature": signature(BODY + b" ", SECRET)},
        ]
        for headers in refused:
            wire.send(request(headers=headers))
            status, answered, problem = await wire.answer()
            assert status == 401
            assert answered["content-type"] == "application/problem+json"
            assert answered["www-authenticate"].startswith("bearer")
            assert problem["type"] == "urn:raysignal:problem:unauthorized"
        assert (await found.desk.standing("baseline")).count == 0
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-Signature": signature(BODY, SECRET)}):
            wire.send(request(headers=headers))
            assert (await wire.answer())[0] == 200
        now_s = int(time.time())
        signed = signed_text(now_s, "POST", "/signal", b"portfolio=baseline", b"key-7") + BODY
        headers = {"X-Signature-V2": f"t={now_s},{signature(signed, SECRET)}", "Idempotency-Key": "key-7"}
        for target, status in (
            ("/signal?portfolio=baseline", 409),
            ("/signal?portfolio=other", 401),
            ("/signal", 401),
        ):
            wire.send(request(headers=headers, target=target))
            assert (await wire.answer())[0] == status  # 409: the signal itself is late under another identity
        assert (await found.desk.standing("baseline")).count == 1


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def test_requests_sent_ahead_are_answered_in_their_order(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect()
        wire.send(
            request(orjson.dumps(SIGNAL | {"signal_id": "a"}))
            + request(method="GET", target="/healthz", body=b"")
            + request(orjson.dumps(SIGNAL | {"signal_id": "b", "timestamp": "2025-02-24T00:01:00Z"}))
        )
        assert (await wire.answer())[2]["signal_id"] == "a"
        assert (await wire.answer())[2] == {"status": "ok"}
        assert (await wire.answer())[2]["signal_id"] == "b"


async def test_more_than_may_be_under_way_are_told_to_come_again(tmp_path: Path) -> None:
    async with connected(tmp_path) as (found, connect):
        lane = lane_of(found, max_under_way=2)
        wires = [connect() for _ in range(3)]
        for wire in wires:
            wire.protocol = _on(lane, wire)
            wire.send(request(orjson.dumps(SIGNAL | {"symbol": f"S{id(wire)}"})))
        answers = [await wire.answer() for wire in wires]
        assert [status for status, _, _ in answers] == [200, 200, 503]
        assert answers[2][1]["retry-after"] == "1"
        wires[2].send(request())
        assert (await wires[2].answer())[0] == 200


def _on(lane: Lane, wire: Wire) -> SignalProtocol:
    """A protocol of that lane on the same wire."""
    before = wire.protocol
    protocol = lane.protocol(
        config=before.config, server_state=before.server_state, app_state={}, _loop=before.loop
    )
    protocol.connection_made(wire)
    return protocol


async def test_a_request_under_way_is_answered_before_its_connection_is_shut_down(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        busy, idle = connect(), connect()
        busy.send(request())
        for wire in (busy, idle):
            wire.protocol.shutdown()
        assert idle.closed
        assert not busy.closed
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert busy.closed


async def test_a_signal_whose_sender_hangs_up_is_taken_in_all_the_same(tmp_path: Path) -> None:
    async with connected(tmp_path) as (found, connect):
        wire = connect()
        wire.send(request())
        wire.close()
        other = connect()
        other.send(request())
        assert (await other.answer())[2]["replayed"]
        assert not wire.written_to_when_closed
        assert (await found.desk.standing("baseline")).count == 1
    assert [line["status"] for line in found.lines] == [200, 200]


async def test_half_a_signal_is_nothing_but_a_line(tmp_path: Path) -> None:
    async with connected(tmp_path) as (found, connect):
        wire = connect()
        wire.send(request()[:-1])
        wire.close()
        assert (await found.desk.standing("baseline")).count == 0
    assert [(line["status"], line["problem"]) for line in found.lines] == [
        (400, "urn:raysignal:problem:unreadable-input")
    ]


async def test_a_store_that_does_not_answer_is_503_and_a_surprise_500_with_its_id_in_the_log(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (found, connect):
        wire = connect()
        found.desk.broken = StoreUnavailable("the bucket does not answer")
        wire.send(request())
        status, headers, problem = await wire.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert problem["detail"] == "the bucket does not answer"
        found.desk.broken = ZeroDivisionError("a secret of the inside")
        wire.send(request())
        status, _, problem = await wire.answer()
        assert status == 500
        assert b"secret" not in orjson.dumps(problem)
        found.desk.broken = None
        wire.send(request())
        assert (await wire.answer())[0] == 200
    assert [line["error_id"] for line in found.lines if "error_id" in line] == [problem["error_id"]] * 2


async def test_who_does_not_read_the_answers_is_not_sent_more_of_them(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect(max_under_way=0)
        wire.protocol.pause_writing()
        wire.send(request())
        wire.protocol.resume_writing()
        assert (await wire.answer())[0] == 200  # by the ordinary way, which waits for the reader


async def test_the_request_id_comes_back_or_is_made(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect()
        wire.send(request(headers={"X-Request-ID": "mine"}))
        assert (await wire.answer())[1]["x-request-id"] == "mine"
        wire.send(request())
        assert len((await wire.answer())[1]["x-request-id"]) == 32


async def test_a_server_started_after_the_lane_was_opened_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", HttpToolsProtocol)
    async with replica(tmp_path) as found:
        assert open_lane(lane_of(found))
        config = uvicorn.Config(found.front, lifespan="off", log_config=None)
        config.load()
        protocol: Any = config.http_protocol_class
        made = protocol(config=config, server_state=ServerState(), app_state={})
        assert isinstance(made, SignalProtocol)


async def test_a_server_of_another_kind_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", asyncio.Protocol)
    async with replica(tmp_path) as found:
        assert not open_lane(lane_of(found))
        assert auto.AutoHTTPProtocol is asyncio.Protocol


async def test_head_works_where_get_does_and_has_no_body(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, connect):
        wire = connect()
        for path, status in (
            ("/performance", 200), ("/healthz", 200), ("/readyz", 200), ("/docs", 200), ("/openapi.json", 200),
            ("/", 307), ("/nothing", 404), ("/signal", 405),
        ):  # fmt: skip
            wire.send(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert await wire.head() == status, path
