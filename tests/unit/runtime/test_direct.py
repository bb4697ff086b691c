"""A direct line over a real socket: answers, silence, and a line that breaks."""

import asyncio
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from raysignal.runtime.direct import ConnectionBroken, DirectLine, DirectLines, DirectServer
from tests.cluster.waiting import until
from tests.support.strangers import Stranger, as_root


@asynccontextmanager
async def line_to(
    answer: Callable[[bytes], Awaitable[bytes]],
) -> AsyncIterator[tuple[DirectServer, DirectLine]]:
    server = await DirectServer.open(answer)
    line = await DirectLine.connect(server.path)
    await line.ask(b"\1")  # now the other side has taken the call
    yield server, line
    line.close()
    await server.close()
    await asyncio.sleep(0)


async def itself(question: bytes) -> bytes:
    return question


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
async def test_a_question_of_any_size_is_answered(size: int) -> None:
    async with line_to(itself) as (_, line):
        assert len(await line.ask(b"x" * size)) == size


async def test_answers_find_who_asked_whatever_their_order() -> None:
    gates = [asyncio.Event() for _ in range(20)]
    gates[1].set()

    async def later(question: bytes) -> bytes:
        await gates[question[0]].wait()
        return question * 10

    async with line_to(later) as (_, line):
        asked = [asyncio.ensure_future(line.ask(bytes([number]))) for number in range(20)]
        for gate in reversed(gates):
            gate.set()
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [bytes([number]) * 10 for number in range(20)]


async def test_what_the_other_side_cannot_answer_breaks_that_question_only() -> None:
    async def some(question: bytes) -> bytes:
        return bytes([10 // question[0]])

    async with line_to(some) as (_, line):
        with pytest.raises(ConnectionBroken):
            await line.ask(b"\0")
        assert line.usable
        assert await line.ask(b"\2") == b"\5"


async def test_a_line_that_breaks_tells_everyone_who_waits() -> None:
    arrived = asyncio.Event()

    async def never(_question: bytes) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return b""

    server = await DirectServer.open(never)
    line = await DirectLine.connect(server.path)
    asked = [asyncio.ensure_future(line.ask(b"?")) for _ in range(3)]
    await arrived.wait()
    await server.close()
    for each in asked:
        with pytest.raises(ConnectionBroken):
            await each
    assert not line.usable
    with pytest.raises(ConnectionBroken):
        await line.ask(b"\1")


async def test_who_stops_waiting_disturbs_nobody() -> None:
    gate = asyncio.Event()

    async def gated(question: bytes) -> bytes:
        if question > b"\1":
            await gate.wait()
        return question

    async with line_to(gated) as (_, line):
        first, second = asyncio.ensure_future(line.ask(b"\2")), asyncio.ensure_future(line.ask(b"\3"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await second == b"\3"
        assert first.cancelled()


async def test_nobody_at_the_socket_is_a_broken_line(tmp_path: Path) -> None:
    with pytest.raises(ConnectionBroken):
        await DirectLine.connect(str(tmp_path / "nothing"))


async def test_only_the_owner_can_come_near_the_socket_and_nothing_of_it_stays() -> None:
    async with line_to(itself) as (server, _):
        folder = Path(server.path).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@as_root
async def test_another_users_process_is_told_nothing_even_where_it_reaches_the_socket() -> None:
    asked = []

    async def told(question: bytes) -> bytes:
        asked.append(question)
        return question

    async with line_to(told) as (server, _):
        await asyncio.to_thread(opened_to_all, server.path)

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(server.path)
                line.sendall(struct.pack("<II", 1, 0) + b"?")
                return line.recv(100)

        said = await asyncio.to_thread(Stranger(ask).said)
    assert said in {"b''", "ConnectionResetError", "BrokenPipeError"}
    assert asked == [b"\1"]


@as_root
async def test_a_socket_at_which_another_users_process_listens_is_told_nothing() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as door:
        await asyncio.to_thread(opened_to_all, f"{folder}/s")

        def listen() -> bytes:
            door.bind(f"{folder}/s")
            door.listen()
            line, _ = door.accept()
            return line.recv(100)

        stranger = Stranger(listen)
        await until(lambda: listens(f"{folder}/s"), "somebody listens")
        with pytest.raises(ConnectionBroken, match="is another user's"):
            await DirectLine.connect(f"{folder}/s")
        assert await asyncio.to_thread(stranger.said) in {"b''", "ConnectionResetError"}


def opened_to_all(path: str) -> None:
    """Let every user reach a socket, and make one in its folder."""
    Path(path).parent.chmod(0o777)
    if Path(path).exists():
        Path(path).chmod(0o777)


def listens(path: str) -> bool:
    return "00010000" in next(
        (line for line in Path("/proc/net/unix").read_text().splitlines() if path in line), ""
    )


async def test_a_line_is_not_usable_on_another_loop() -> None:
    async with line_to(itself) as (_, line):
        assert line.usable

        async def usable() -> bool:
            return line.usable

        assert not await asyncio.to_thread(lambda: asyncio.run(usable()))


async def to_be_had(lines: DirectLines, shard: int) -> DirectLine:
    await until(lambda: lines.to(shard) is not None, "there is a line")
    line = lines.to(shard)
    assert line is not None
    return line


async def test_a_line_is_called_in_the_background_and_again_after_it_broke() -> None:
    servers = [await DirectServer.open(itself)]
    lines = DirectLines(lambda _shard: DirectLine.connect(servers[-1].path), retry_s=0.0)
    assert lines.to(0) is None
    line = await to_be_had(lines, 0)
    assert await line.ask(b"a") == b"a"
    assert lines.to(0) is line
    await servers[0].close()
    await until(lambda: not line.usable, "the line broke")
    assert lines.to(0) is None  # nobody is there yet
    servers.append(await DirectServer.open(itself))
    again = await to_be_had(lines, 0)
    assert await again.ask(b"b") == b"b"
    lines.close()
    assert not again.usable
    await servers[1].close()


async def test_where_no_line_is_to_be_had_it_is_not_asked_for_at_every_turn() -> None:
    called = []

    async def none(shard: int) -> None:
        called.append(shard)

    lines = DirectLines(none, retry_s=3600.0)
    for _ in range(10):
        assert lines.to(7) is None
        await asyncio.sleep(0)
    assert called == [7]


def test_it_is_the_same_on_the_loop_that_actors_and_replicas_run_on(tmp_path: Path) -> None:
    async def all_of_it() -> None:
        await test_a_question_of_any_size_is_answered(3_000_000)
        await test_answers_find_who_asked_whatever_their_order()
        await test_a_line_that_breaks_tells_everyone_who_waits()
        await test_nobody_at_the_socket_is_a_broken_line(tmp_path)
        await test_a_line_is_called_in_the_background_and_again_after_it_broke()

    uvloop.run(all_of_it())
