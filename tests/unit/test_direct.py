"""A direct line over a real socket: answers, silence, and a line that breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from engine.direct import DirectLine, DirectLines, DirectServer, LineBroken
from engine.errors import LateSignal
from tests.cluster.waiting import until


@asynccontextmanager
async def line_to(
    answer: Callable[[Any], Awaitable[Any]], folder: Path
) -> AsyncIterator[tuple[DirectServer, DirectLine]]:
    server = await DirectServer.open(answer, folder)
    line = await DirectLine.connect(server.path)
    await line.ask(1)  # now the other side has taken the call
    yield server, line
    line.close()
    await server.close()
    await asyncio.sleep(0)


async def itself(question: Any) -> Any:
    return question


async def test_arrays_and_errors_come_back_as_they_are(tmp_path: Path) -> None:
    async with line_to(itself, tmp_path) as (_, line):
        array = np.arange(5.0)
        assert (await line.ask(array)).tolist() == array.tolist()
        error = await line.ask(LateSignal("BTC", "then", "now"))
        assert isinstance(error, LateSignal)
        assert error.fields["symbol"] == "BTC"


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_a_question_of_any_size_is_answered(tmp_path: Path, size: int) -> None:
    async with line_to(itself, tmp_path) as (_, line):
        assert len(await line.ask(b"x" * size)) == size


async def test_answers_find_who_asked_whatever_their_order(tmp_path: Path) -> None:
    gates = [asyncio.Event() for _ in range(20)]
    gates[1].set()

    async def later(number: int) -> int:
        await gates[number].wait()
        return number * 10

    async with line_to(later, tmp_path) as (_, line):
        asked = [asyncio.ensure_future(line.ask(number)) for number in range(20)]
        for gate in reversed(gates):
            gate.set()
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [number * 10 for number in range(20)]


async def test_what_the_other_side_cannot_answer_breaks_that_question_only(tmp_path: Path) -> None:
    async def some(question: int) -> int:
        return 10 // question

    async with line_to(some, tmp_path) as (_, line):
        with pytest.raises(LineBroken):
            await line.ask(0)
        assert line.usable
        assert await line.ask(2) == 5


async def test_a_line_that_breaks_tells_everyone_who_waits(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def never(_question: Any) -> None:
        arrived.set()
        await asyncio.Event().wait()

    server = await DirectServer.open(never, tmp_path)
    line = await DirectLine.connect(server.path)
    asked = [asyncio.ensure_future(line.ask(number)) for number in range(3)]
    await arrived.wait()
    await server.close()
    for each in asked:
        with pytest.raises(LineBroken):
            await each
    assert not line.usable
    with pytest.raises(LineBroken):
        await line.ask(1)


async def test_who_stops_waiting_disturbs_nobody(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def gated(question: int) -> int:
        if question > 1:
            await gate.wait()
        return question

    async with line_to(gated, tmp_path) as (_, line):
        first, second = asyncio.ensure_future(line.ask(2)), asyncio.ensure_future(line.ask(3))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await second == 3
        assert first.cancelled()


async def test_nobody_at_the_socket_is_a_broken_line(tmp_path: Path) -> None:
    with pytest.raises(LineBroken):
        await DirectLine.connect(str(tmp_path / "nothing"))


async def test_only_the_owner_can_come_near_the_socket_and_nothing_of_it_stays(tmp_path: Path) -> None:
    async with line_to(itself, tmp_path) as (server, _):
        folder = Path(server.path).parent
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


async def test_a_socket_whose_path_would_be_too_long_lies_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with line_to(itself, deep) as (server, line):
        assert not server.path.startswith(str(deep))
        assert await line.ask(1) == 1
        assert list(deep.iterdir()) == []


async def test_a_folder_that_is_not_there_is_no_obstacle(tmp_path: Path) -> None:
    async with line_to(itself, tmp_path / "gone") as (_, line):
        assert await line.ask(1) == 1


async def test_a_line_is_not_usable_on_another_loop(tmp_path: Path) -> None:
    async with line_to(itself, tmp_path) as (_, line):
        assert line.usable

        async def usable() -> bool:
            return line.usable

        assert not await asyncio.to_thread(lambda: asyncio.run(usable()))


async def to_be_had(lines: DirectLines, shard: int) -> DirectLine:
    await until(lambda: lines.to(shard) is not None, "there is a line")
    line = lines.to(shard)
    assert line is not None
    return line


async def test_a_line_is_called_in_the_background_and_again_after_it_broke(tmp_path: Path) -> None:
    servers = [await DirectServer.open(itself, tmp_path)]
    lines = DirectLines(lambda _shard: DirectLine.connect(servers[-1].path), retry_s=0.0)
    assert lines.to(0) is None
    line = await to_be_had(lines, 0)
    assert await line.ask("a") == "a"
    assert lines.to(0) is line
    await servers[0].close()
    await until(lambda: not line.usable, "the line broke")
    assert lines.to(0) is None  # nobody is there yet
    servers.append(await DirectServer.open(itself, tmp_path))
    again = await to_be_had(lines, 0)
    assert await again.ask("b") == "b"
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
        await test_arrays_and_errors_come_back_as_they_are(tmp_path)
        await test_a_question_of_any_size_is_answered(tmp_path, 3_000_000)
        await test_answers_find_who_asked_whatever_their_order(tmp_path)
        await test_a_line_that_breaks_tells_everyone_who_waits(tmp_path)
        await test_nobody_at_the_socket_is_a_broken_line(tmp_path)
        await test_a_line_is_called_in_the_background_and_again_after_it_broke(tmp_path)

    uvloop.run(all_of_it())
