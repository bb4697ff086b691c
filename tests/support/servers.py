"""S3 servers for the tests, as processes on free loopback ports that end with whoever started them.

    with moto_server() as server:           # enforces conditional writes
    with forgetful_server() as server:      # takes If-None-Match and ignores it
    with faulty_proxy(server.url) as proxy: # in front of one: loses requests and answers as told

A process reads its standard input and ends when that does, so that it cannot outlive the tests however they end.
"""

import http.client
import http.server
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
"""What a client must find in its environment; any values do."""

Fate = Literal["pass", "refuse", "lose", "refuse-after", "lose-after", "hang", "hang-after"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: its address, without a path.
        pid: its process.
    """

    url: str
    pid: int


@contextmanager
def moto_server() -> Iterator[Server]:
    """An S3 server that enforces conditional writes; buckets are made by whoever needs them."""
    yield from _process("moto")


@contextmanager
def forgetful_server() -> Iterator[Server]:
    """An S3 server that writes over an object whatever `If-None-Match` says."""
    yield from _process("forgetful")


def _process(kind: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | CREDENTIALS,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().decode().strip()
        assert url, f"the {kind} server did not start"
        yield Server(url, process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class FaultyProxy:
    """What happens to the next requests; `pass` when nothing is planned.

    `refuse` answers 500 and `lose` closes the connection, both without passing the request on; with `-after`
    the server has done what it was asked. `hang` gives no answer until the proxy is closed.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.seen: list[str] = []
        self.closing = threading.Event()
        self._plan: deque[Fate] = deque()
        self._only: frozenset[str] = frozenset()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, *fates: Fate, methods: tuple[str, ...] = ("PUT",)) -> None:
        """What happens to the next requests of these methods, one after another; forgets an earlier plan."""
        self._plan, self._only = deque(fates), frozenset(methods)
        self.seen.clear()

    def next_fate(self, method: str) -> Fate:
        self.seen.append(method)
        return self._plan.popleft() if self._plan and method in self._only else "pass"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(proxy) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 - the class inside is `self`
        class Handler(_Quiet):
            def answer(self) -> None:
                body = self.body()
                fate = proxy.next_fate(self.command)
                status, headers, answer = 500, [("Content-Type", "application/xml")], b""
                if fate == "pass" or fate.endswith("-after"):
                    status, headers, answer = self.passed_on(body)
                if fate.startswith("hang"):
                    proxy.closing.wait(30)
                if fate.startswith(("hang", "lose")):
                    self.close_connection = True
                    return
                if fate.startswith("refuse"):
                    status, answer = 500, b"<Error><Code>InternalError</Code></Error>"
                self.reply(status, headers, answer)

            def passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                connection = http.client.HTTPConnection(proxy.target, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers.items()))
                    response = connection.getresponse()
                    return response.status, response.getheaders(), response.read()
                finally:
                    connection.close()

            do_GET = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - names that http.server asks for

        return Handler


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """A proxy in front of a server; it runs in threads of this process."""
    with FaultyProxy(target) as proxy:
        yield proxy


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        kept = {"connection", "transfer-encoding", "date", "server"}
        sized = any(name.lower() == "content-length" for name, _ in headers)
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in kept and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if not (sized and self.command == "HEAD"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@dataclass(slots=True)
class _Objects:
    held: dict[str, bytes] = field(default_factory=dict)


def _forgetful(objects: _Objects) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(_Quiet):
        @property
        def key(self) -> str:
            return unquote(urlsplit(self.path).path)

        def do_PUT(self) -> None:
            objects.held[self.key] = self.body()
            self.reply(200, [("ETag", '"0"')], b"")

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            if "list-type" in query:
                self.reply(200, [("Content-Type", "application/xml")], self.listing(query))
            elif self.key in objects.held:
                self.reply(200, [("ETag", '"0"')], objects.held[self.key])
            else:
                self.reply(404, [], b"<Error><Code>NoSuchKey</Code></Error>")

        def do_HEAD(self) -> None:
            held = objects.held.get(self.key)
            self.reply(404 if held is None else 200, [("Content-Length", str(len(held or b"")))], b"")

        def do_DELETE(self) -> None:
            objects.held.pop(self.key, None)
            self.reply(204, [], b"")

        def listing(self, query: dict[str, list[str]]) -> bytes:
            base = self.key.rstrip("/") + "/"
            prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
            keys = sorted(key.removeprefix(base) for key in objects.held if key.startswith(base + prefix))
            rows = "".join(
                f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(objects.held[base + key])}</Size></Contents>"
                for key in keys
                if key > after
            )
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

    return Handler


def _serve(kind: str) -> None:
    if kind == "moto":
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        app = _one_put_at_a_time(DomainDispatcherApplication(create_backend_app))
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
        host, port = "127.0.0.1", server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _forgetful(_Objects()))
        host, port = "127.0.0.1", plain.server_address[1]
        threading.Thread(target=plain.serve_forever, daemon=True).start()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


def _one_put_at_a_time(app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """The same application; moto looks whether an object is there, and then makes it, as two steps."""
    putting = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return app(environ, start_response)
        with putting:
            return list(app(environ, start_response))

    return serve


if __name__ == "__main__":
    _serve(sys.argv[1])
