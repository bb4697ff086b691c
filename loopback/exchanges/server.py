"""An exchange on this machine that a feed connects to as to the real one: WebSocket and REST on one loopback port.

    python -m raysignal.loopback.exchanges --venue binance-usdm --port 8920 [--speed 60] [--symbols BTCUSDT,ETHUSDT]
                                     [--recording FILE …]

    async with Loopback(GeneratedExchange("okx", seed=1, start_us=…), speed=50) as loopback:
        feed = Feed(venue, subscriptions, sink, hosts=loopback.hosts, clock=loopback.clock, …)

The exchange's time runs `speed` times as fast as the wall's; `clock` runs along with it. What goes wrong is ordered by
`exchange.orders`, or of a running server by `GET /loopback/disturb?what=drop&count=3`; `GET /loopback` says what it
does. A client that does not read is cut off, as venues do.
"""

import asyncio
import contextlib
import http
import socket as sockets
import struct
from typing import Self
from urllib.parse import parse_qsl

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.market.clocks import FastClock
from raysignal.engine.market.venues.protocol import Hosts
from raysignal.loopback.exchanges.disturbance import Disturbance
from raysignal.loopback.exchanges.exchange import ClientConnection, LoopbackExchange
from raysignal.loopback.exchanges.speech import Message, RestAnswer, dumps

_MOST_WAITING = 20_000  # messages that a client may lag behind
_STEPS_AT_ONCE = 8
_LOOK_S = 0.002


class ExchangeServer:
    """A running server; an async context manager.

    Args:
        speed: exchange's seconds a second.
        port: 0 takes any that is free.
    """

    def __init__(self, exchange: LoopbackExchange, *, speed: float = 1.0, port: int = 0) -> None:
        self.exchange, self.speed = exchange, speed
        self._port = port
        self._clients: dict[ServerConnection, tuple[ClientConnection, asyncio.Queue[Message]]] = {}
        self._server: Server | None = None
        self._running: asyncio.Task[None] | None = None
        self._going = asyncio.Event()
        self._going.set()
        self.clock = FastClock(exchange.now_us, speed)
        self._behind_us = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def hosts(self) -> Hosts:
        """The addresses, for `Feed`."""
        return Hosts(f"ws://127.0.0.1:{self._port}", f"http://127.0.0.1:{self._port}")

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._talk, "127.0.0.1", self._port, process_request=self._answer, compression=None,
            ping_interval=None, close_timeout=0.2, server_header=None,
        )  # fmt: skip
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self.clock = FastClock(self.exchange.now_us, self.speed)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        for connection in list(self._clients):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def serve(self) -> None:
        """Serve until cancelled."""
        assert self._running is not None
        await asyncio.shield(self._running)

    def pause(self) -> None:
        """The markets stand still; connections and requests go on. The clock goes on, too."""
        self._going.clear()

    def resume(self) -> None:
        """They move again, from where they are: the time of the pause is left out of the exchange's."""
        self._behind_us = self.clock.now_ns() // 1000 - self.exchange.now_us
        self._going.set()

    async def _run(self) -> None:
        exchange = self.exchange
        while True:
            await self._going.wait()
            if exchange.waiting:
                self._behind_us = self.clock.now_ns() // 1000 - exchange.now_us
            due_us = self.clock.now_ns() // 1000 - self._behind_us
            for _ in range(_STEPS_AT_ONCE):
                if not exchange.advance(due_us):
                    break
                self._send()
            # A machine that cannot keep up lets the exchange's time fall behind rather than starve its clients.
            await asyncio.sleep(_LOOK_S if exchange.now_us + 100_000 > due_us else 0)

    def _send(self) -> None:
        for connection, (client, outgoing) in list(self._clients.items()):
            for message in client.take():
                outgoing.put_nowait(message)
            if client.disturber.cut or outgoing.qsize() > _MOST_WAITING:
                _reset(connection)
            elif client.disturber.mute:
                connection.transport.pause_reading()

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        client = self.exchange.connect(connection.request.path)
        assert client is not None, "paths without streams are answered before"
        outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self._clients[connection] = client, outgoing
        writing = asyncio.create_task(_write(connection, outgoing))
        try:
            self._send()
            async for text in connection:
                client.hear(text if isinstance(text, str) else text.decode())
                self._send()
        except ConnectionClosed:
            pass
        finally:
            writing.cancel()
            del self._clients[connection]
            self.exchange.disconnect(client)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG002
        if "Upgrade" not in request.headers:
            path, _, query = request.path.partition("?")
            if path.startswith("/loopback"):
                return _response(self._control(path, dict(parse_qsl(query))))
            return _response(self.exchange.get(request.path))
        refused = self.exchange.orders.for_request(Disturbance.REFUSED)
        if refused is not None:
            headers = (("Retry-After", str(self.exchange.retry_after_s)),)
            return _response(RestAnswer(503, b"Service Unavailable", headers))
        if self.exchange.speech.opened(request.path.partition("?")[0], {}, frozenset()) is None:
            return _response(RestAnswer(404, b"Not Found"))
        return None

    def _control(self, path: str, query: dict[str, str]) -> RestAnswer:
        orders = self.exchange.orders
        if path == "/loopback/disturb":
            given = query.get("count", "1")
            try:
                orders.place(
                    query.get("what", ""), channel=query.get("channel", "depth"), symbol=query.get("symbol"),
                    count=int(given) if given.isdecimal() else 0,
                )  # fmt: skip
            except RaysignalError as error:
                return RestAnswer(400, dumps({"detail": str(error)}))
        status = {
            "venue": self.exchange.venue,
            "now_us": self.exchange.now_us,
            "connections": len(self._clients),
            "waiting": orders.waiting(),
            "done": {str(what): count for what, count in orders.done.items()},
        }
        return RestAnswer(200, dumps(status))


async def _write(connection: ServerConnection, outgoing: asyncio.Queue[Message]) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = await outgoing.get()
            await connection.send(message.raw, text=True)


def _reset(connection: ServerConnection) -> None:
    """End a connection as a broken line does, without a closing handshake."""
    socket = connection.transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def _response(answer: RestAnswer) -> Response:
    headers = Headers([("Content-Type", "application/json"), ("Content-Length", str(len(answer.body)))])
    for name, value in (*answer.headers, ("Connection", "close")):
        headers[name] = value
    body = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
    return Response(answer.status, http.HTTPStatus(answer.status).phrase, headers, body)
