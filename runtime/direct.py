"""A direct line to a portfolio actor on the same machine: a Unix socket, for questions that are many and small.

A Ray call costs about half a millisecond on either side, a question on a line a tenth of that. The line promises
less: it may break at any time, whether a question was answered or not. Who asks then asks again the ordinary
way, by a Ray call, which the identity of signals makes safe.

A frame is a length and a number (both unsigned, 4 bytes, little-endian) and a message of that length: a question, or
the answer to the question of that number, which is empty where there is none. The socket lies in a folder that only
its owner enters, and both sides hang up on another user's process.

A question is a submission, in MessagePack. Whoever reads one runs no code of its sender: arrays travel as bytes of a
known type, errors as the name of a class of `engine.core.errors` with a sentence and plain fields.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from itertools import count
from typing import Any

import msgspec
import numpy as np

from raysignal.engine.core import errors
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.receipts import PortfolioStatus, Submission
from raysignal.runtime.local_cluster import private_folder

_HEAD = struct.Struct("<II")
_PEER = struct.Struct("3i")  # of a socket's other side: process, user, group


class ConnectionBroken(Exception):
    """The line cannot be used; whether a question on its way was answered is not known."""


class DirectServer:
    """Answers questions at a socket, several at a time.

    Attributes:
        path: of the socket.
    """

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], owned: ExitStack) -> None:
        self.path = str(owned.enter_context(private_folder()) / "s")
        self._answer = answer
        self._owned = owned
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[_Frames] = set()
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, answer: Callable[[bytes], Awaitable[bytes]]) -> "DirectServer":
        """A server on the running loop, at a socket in a folder of its own.

        Args:
            answer: makes the answer to a question, which is not empty. When it raises, the one who asked is told to
                ask elsewhere.
        """
        server = cls(answer, ExitStack())
        loop = asyncio.get_running_loop()
        server._server = await loop.create_unix_server(server._connected, server.path)
        return server

    async def close(self) -> None:
        """Answer nothing more, and remove the socket."""
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.close()
        for task in self._running:
            task.cancel()
        self._owned.close()

    def _connected(self) -> "_Frames":
        connection = _Frames(self._asked, self._connections.discard)
        self._connections.add(connection)
        return connection

    def _asked(self, connection: "_Frames", number: int, payload: bytes) -> None:
        # The loop keeps only a weak reference to a task.
        task = asyncio.get_running_loop().create_task(self._reply(connection, number, payload))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reply(self, connection: "_Frames", number: int, payload: bytes) -> None:
        try:
            answer = await self._answer(payload)
        except Exception:  # noqa: BLE001 - asked elsewhere, it is raised where it can be told
            answer = b""
        connection.send(number, answer)


class DirectLine:
    """A connection to a `DirectServer`; for the loop that made it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._frames = _Frames(self._answered, self._lost)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = count()
        self._open = True

    @classmethod
    async def connect(cls, path: str) -> "DirectLine":
        """A line to the server at that socket; `ConnectionBroken` if nobody answers there."""
        line = cls()
        try:
            await line.loop.create_unix_connection(lambda: line._frames, path)
        except OSError as error:
            raise ConnectionBroken(f"nobody listens at {path}: {error}") from error
        if not line._frames.trusted:
            raise ConnectionBroken(f"the process that listens at {path} is another user's")
        return line

    @property
    def usable(self) -> bool:
        """Whether it is open, and of the running loop."""
        return self._open and asyncio.get_running_loop() is self.loop

    async def ask(self, question: bytes) -> bytes:
        """The answer to a question; `ConnectionBroken` if there is none."""
        if not self._open:
            raise ConnectionBroken("the line is closed")
        number = next(self._numbers) & 0xFFFFFFFF
        waiting: asyncio.Future[bytes] = self.loop.create_future()
        self._waiting[number] = waiting
        try:
            self._frames.send(number, question)
            return await waiting
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Hang up; questions that are on their way are not answered."""
        if self._open and not self.loop.is_closed():
            self._frames.close()
            self._lost(self._frames)

    def _answered(self, _frames: "_Frames", number: int, payload: bytes) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return  # nobody waits for it any more
        if payload:
            waiting.set_result(payload)
        else:
            waiting.set_exception(ConnectionBroken("the other side has no answer to this"))

    def _lost(self, _frames: "_Frames") -> None:
        self._open = False
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionBroken("the line broke while an answer was waited for"))


class DirectLines:
    """The lines of one caller, by shard: called in the background, and again after they broke.

    Args:
        call: makes a line; None where there is none to be had.
        retry_s: how long to wait with the next call.
    """

    def __init__(self, call: Callable[[int], Awaitable[DirectLine | None]], *, retry_s: float = 1.0) -> None:
        self._call = call
        self._retry_s = retry_s
        self._lines: dict[int, DirectLine] = {}
        self._calling: dict[int, asyncio.Task[None]] = {}
        self._not_before: dict[int, float] = {}

    def to(self, shard: int) -> DirectLine | None:
        """The line to a shard; None while there is none."""
        line = self._lines.get(shard)
        if line is not None and line.usable:
            return line
        loop = asyncio.get_running_loop()
        if shard not in self._calling and loop.time() >= self._not_before.get(shard, 0.0):
            self._calling[shard] = loop.create_task(self._connect(shard, loop))
        return None

    def close(self) -> None:
        """Hang up all of them."""
        for task in self._calling.values():
            task.cancel()
        for line in self._lines.values():
            line.close()

    async def _connect(self, shard: int, loop: asyncio.AbstractEventLoop) -> None:
        try:
            line = await self._call(shard)
            if line is not None:
                self._lines[shard] = line
        except (ConnectionBroken, OSError):
            pass  # whoever asks goes the ordinary way
        finally:
            self._not_before[shard] = loop.time() + self._retry_s
            del self._calling[shard]


class _Frames(asyncio.Protocol):
    """Frames out of a stream of bytes, and into one."""

    def __init__(
        self, received: Callable[["_Frames", int, bytes], None], lost: Callable[["_Frames"], None]
    ) -> None:
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self.trusted = False

    def send(self, number: int, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_HEAD.pack(len(payload), number) + payload)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.trusted = _user_of(transport.get_extra_info("socket")) in {None, os.geteuid()}
        if self._closed or not self.trusted:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.trusted:
            return
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) >= at + _HEAD.size:
            length, number = _HEAD.unpack_from(buffer, at)
            end = at + _HEAD.size + length
            if len(buffer) < end:
                break
            payload = bytes(buffer[at + _HEAD.size : end])
            at = end
            self._received(self, number, payload)
        del buffer[:at]

    def connection_lost(self, _error: Exception | None) -> None:
        self._lost(self)


def _user_of(connection: socket.socket) -> int | None:
    """The user whose process is at the other side; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return int(user)


class SubmitRequest(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `Mailbox.submit`; `positions` are the bytes of an int64 array."""

    portfolio: str
    encoded: bytes
    all_or_nothing: bool
    accept_price_jump: bool
    receipts: bool
    positions: bytes | None
    decisions: bytes | None

    def options(self) -> dict[str, Any]:
        """What `Mailbox.submit` takes by name."""
        return {
            "all_or_nothing": self.all_or_nothing,
            "accept_price_jump": self.accept_price_jump,
            "receipts": self.receipts,
            "positions": None if self.positions is None else np.frombuffer(self.positions, np.int64),
            "decisions": self.decisions,
        }


class _Error(msgspec.Struct, array_like=True, tag="error"):
    kind: str
    message: str
    fields: dict[str, Any]


class _Standing(msgspec.Struct, array_like=True):
    portfolio: str
    policy: Policy
    symbols: list[str]
    count: int
    last_us: int | None
    sequence: int
    account: bytes


class _Submission(msgspec.Struct, array_like=True, tag="submission"):
    taken: bytes
    ordinal: bytes
    errors: dict[int, _Error]
    standing: _Standing
    rows: bytes | None
    accounts: bytes | None


_encode = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode
_decode_request = msgspec.msgpack.Decoder(SubmitRequest).decode
_decode_answer = msgspec.msgpack.Decoder(_Submission | _Error).decode


def encode_request(
    portfolio: str,
    encoded: bytes,
    *,
    all_or_nothing: bool,
    accept_price_jump: bool,
    receipts: bool,
    positions: Int64Array | None,
    decisions: bytes | None,
) -> bytes:
    """A submission as it is sent."""
    places = None if positions is None else positions.astype(np.int64, copy=False).tobytes()
    return _encode(
        SubmitRequest(portfolio, encoded, all_or_nothing, accept_price_jump, receipts, places, decisions)
    )


def decode_request(message: bytes) -> SubmitRequest:
    """What `encode_request` made; `msgspec.MsgspecError` for anything else."""
    return _decode_request(message)


def encode_answer(answer: Submission | RaysignalError) -> bytes:
    """What a mailbox answered, as it is sent."""
    if isinstance(answer, RaysignalError):
        return _encode(_plain_error(answer))
    standing = answer.standing
    return _encode(
        _Submission(
            answer.taken.tobytes(),
            answer.ordinal.tobytes(),
            {place: _plain_error(error) for place, error in answer.errors.items()},
            _Standing(
                standing.portfolio,
                standing.policy,
                list(standing.symbols),
                standing.count,
                standing.last_us,
                standing.sequence,
                standing.account.tobytes(),
            ),
            None if answer.rows is None else answer.rows.to_bytes(),
            None if answer.accounts is None else answer.accounts.tobytes(),
        )
    )


def decode_answer(message: bytes) -> Submission | RaysignalError:
    """What `encode_answer` was given, with read-only arrays; `msgspec.MsgspecError` for anything else."""
    found = _decode_answer(message)
    if isinstance(found, _Error):
        return _error(found)
    taken = np.frombuffer(found.taken, np.int8)
    standing = found.standing
    return Submission(
        taken=taken,
        ordinal=np.frombuffer(found.ordinal, np.int64),
        errors={place: _error(each) for place, each in found.errors.items()},
        standing=PortfolioStatus(
            portfolio=standing.portfolio,
            policy=standing.policy,
            symbols=tuple(standing.symbols),
            count=standing.count,
            last_us=standing.last_us,
            sequence=standing.sequence,
            account=np.frombuffer(standing.account),
        ),
        rows=None if found.rows is None else LedgerRows.from_bytes(len(taken), found.rows),
        accounts=None
        if found.accounts is None
        else np.frombuffer(found.accounts).reshape(len(taken), ACCOUNT_SIZE),
    )


def _plain_error(error: RaysignalError) -> _Error:
    return _Error(type(error).__name__, str(error), error.fields)


def _error(plain: _Error) -> RaysignalError:
    kind = getattr(errors, plain.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, RaysignalError)):
        kind = RaysignalError
    return errors.rebuild(kind, (plain.message,), plain.fields)
