"""Calls on record."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raysignal.agents.llm.calls import Failure, ModelAnswer, ModelRequest, Usage, VerdictIn
from raysignal.agents.llm.cassette import Cassette, CassetteEntry
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import CassetteMiss, SettingsError, UnreadableInput
from tests.support.advising import context, request_of

ANSWER = CassetteEntry(
    ModelAnswer(
        VerdictIn(verdict="hold", confidence=0.5, evidence=["E1"], rationale="so"),
        {"text": "...", "finish_reason": "STOP"},
        Usage(100, 20),
    ),
    0.01,
    0.5,
)
TIMEOUT = CassetteEntry(Failure(Reason.MODEL_TIMEOUT, "no whole answer within 8 s"), None, 8.0)
PROSE = CassetteEntry(Failure(Reason.MODEL_UNREADABLE, "no JSON", {"text": "hm"}, Usage(1, 2)), 0.0, 0.1)
REQUESTS = [request_of(context(numbers={"rsi": float(n)})) for n in range(4)]


def giving(take: CassetteEntry) -> Callable[[], Awaitable[CassetteEntry]]:
    async def call() -> CassetteEntry:
        return take

    return call


async def never() -> CassetteEntry:
    raise AssertionError("nobody may be asked")


async def recorded(path: Path, *takes: tuple[ModelRequest, CassetteEntry]) -> None:
    with Cassette.record(path) as cassette:
        for request, take in takes:
            await cassette.take(request, giving(take))


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.ndjson"


@pytest.mark.parametrize("take", [ANSWER, TIMEOUT, PROSE])
async def test_what_was_recorded_is_replayed(path: Path, take: CassetteEntry) -> None:
    await recorded(path, (REQUESTS[0], take))
    assert Cassette.replay(path).find(REQUESTS[0]) == take


async def test_an_answer_is_asked_for_once_and_then_taken_from_the_record(path: Path) -> None:
    await recorded(path, (REQUESTS[0], ANSWER), (REQUESTS[1], PROSE))
    with Cassette.record(path) as cassette:
        assert cassette.find(REQUESTS[0]) == ANSWER
        assert cassette.find(REQUESTS[1]) == PROSE
        assert cassette.find(REQUESTS[2]) is None


async def test_a_call_that_failed_for_want_of_a_server_is_made_again_in_the_next_session_only(
    path: Path,
) -> None:
    with Cassette.record(path) as cassette:
        await cassette.take(REQUESTS[0], giving(TIMEOUT))
        assert cassette.find(REQUESTS[0]) == TIMEOUT
    with Cassette.record(path) as cassette:
        assert cassette.find(REQUESTS[0]) is None
        await cassette.take(REQUESTS[0], giving(ANSWER))
    assert Cassette.replay(path).find(REQUESTS[0]) == ANSWER


async def test_a_record_is_whole_on_disk_before_it_is_used(path: Path) -> None:
    with Cassette.record(path) as cassette:
        await cassette.take(REQUESTS[0], giving(ANSWER))
        assert Cassette.replay(path).find(REQUESTS[0]) == ANSWER


async def test_what_requests_share_is_written_once(path: Path) -> None:
    await recorded(path, *((request, ANSWER) for request in REQUESTS))
    kinds = ["call" in json.loads(line) for line in content_of(path).splitlines()]
    assert kinds == [False, True, True, True, True]


async def test_equal_questions_at_the_same_time_are_one_call() -> None:
    cassette, calls, under_way, go = Cassette.live(), [], asyncio.Event(), asyncio.Event()

    async def call() -> CassetteEntry:
        calls.append(1)
        if len(calls) == 2:
            under_way.set()
        await go.wait()
        return ANSWER

    askers = [asyncio.create_task(cassette.take(REQUESTS[0], call)) for _ in range(5)]
    other = asyncio.create_task(cassette.take(REQUESTS[1], call))
    await under_way.wait()
    go.set()
    assert await asyncio.gather(*askers, other) == [ANSWER] * 6
    assert len(calls) == 2
    assert cassette.find(REQUESTS[0]) is None


async def test_a_call_goes_on_and_is_recorded_when_whoever_asked_goes_away(path: Path) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def call() -> CassetteEntry:
        started.set()
        await go.wait()
        return ANSWER

    with Cassette.record(path) as cassette:
        asker = asyncio.create_task(cassette.take(REQUESTS[0], call))
        await started.wait()
        asker.cancel()
        await asyncio.gather(asker, return_exceptions=True)
        go.set()
        await cassette.settle()
        assert cassette.find(REQUESTS[0]) == ANSWER


async def test_a_call_that_raises_is_not_recorded(path: Path) -> None:
    with Cassette.record(path) as cassette:
        with pytest.raises(AssertionError):
            await cassette.take(REQUESTS[0], never)
        assert cassette.count == 0
    assert content_of(path) == b""


async def test_a_replay_of_another_question_raises_and_shows_what_differs(path: Path) -> None:
    await recorded(path, *((request, ANSWER) for request in REQUESTS[:3]))
    asked = request_of(context(numbers={"rsi": 2.5, "volume": 7.0}))
    with pytest.raises(CassetteMiss) as miss:
        Cassette.replay(path).find(asked)
    difference = miss.value.fields["difference"].splitlines()
    assert '-  "rsi": 2.0' in difference or '-  "rsi": 0.0' in difference
    assert '+  "rsi": 2.5,' in difference
    assert '+  "volume": 7.0' in difference
    assert miss.value.fields["nearest"] in {request.hash for request in REQUESTS[:3]}
    assert miss.value.fields["difference"] in str(miss.value)


async def test_a_replay_with_another_setting_shows_the_setting(path: Path) -> None:
    await recorded(path, (REQUESTS[0], ANSWER))
    settings = dict(REQUESTS[0].settings) | {"temperature": 0.5}
    with pytest.raises(CassetteMiss, match=r"\+settings.temperature: 0.5"):
        Cassette.replay(path).find(replace(REQUESTS[0], settings=settings))


def test_an_empty_cassette_has_nothing_to_compare_with(path: Path) -> None:
    path.touch()
    with pytest.raises(CassetteMiss, match="empty") as miss:
        Cassette.replay(path).find(REQUESTS[0])
    assert miss.value.fields["nearest"] is None


def test_a_cassette_that_is_not_there_cannot_be_replayed(path: Path) -> None:
    with pytest.raises(SettingsError, match="a file that was recorded"):
        Cassette.replay(path)


async def test_the_hash_does_not_depend_on_order_or_time_but_on_what_was_answered(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in "abc")
    await recorded(one, (REQUESTS[0], ANSWER), (REQUESTS[1], PROSE))
    await recorded(two, (REQUESTS[1], replace(PROSE, latency_s=9.0)), (REQUESTS[0], ANSWER))
    await recorded(three, (REQUESTS[0], ANSWER), (REQUESTS[1], ANSWER))
    hashes = [Cassette.replay(path).content_hash() for path in (one, two, three)]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


async def test_the_hash_while_recording_is_the_one_of_the_replay(path: Path) -> None:
    with Cassette.record(path) as cassette:
        await cassette.take(REQUESTS[0], giving(TIMEOUT))
        await cassette.take(REQUESTS[1], giving(ANSWER))
        assert cassette.content_hash() == Cassette.replay(path).content_hash()


async def test_a_torn_tail_of_any_length_is_cut_and_recording_goes_on(path: Path) -> None:
    await recorded(path, (REQUESTS[0], ANSWER), (REQUESTS[1], ANSWER))
    whole = content_of(path)
    last = whole[:-1].rindex(b"\n") + 1
    for length in (last, last + 1, (last + len(whole)) // 2, len(whole) - 1):
        overwrite(path, whole[:length])
        assert Cassette.replay(path).count == 1
        await recorded(path, (REQUESTS[1], ANSWER))
        assert content_of(path) == whole


async def test_a_last_line_with_its_end_but_torn_inside_is_cut_too(path: Path) -> None:
    await recorded(path, (REQUESTS[0], ANSWER), (REQUESTS[1], ANSWER))
    whole = content_of(path)
    overwrite(path, whole[:-200] + b"\0" * 199 + b"\n")
    await recorded(path, (REQUESTS[1], ANSWER))
    assert content_of(path) == whole


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'\\"rsi\\": 0.0', b'\\"rsi\\": 9.0'),
        (b"You review", b"You judge"),
        (b'{"call"', b'{"cull"'),
        (b'"usd"', b'"usx"'),
    ],
)
async def test_damage_before_the_last_line_raises_and_names_the_line(
    path: Path, old: bytes, new: bytes
) -> None:
    await recorded(path, (REQUESTS[0], ANSWER), (REQUESTS[1], ANSWER))
    content = content_of(path)
    assert old in content
    overwrite(path, content.replace(old, new, 1))
    with pytest.raises(UnreadableInput, match=r"line [12] is damaged"):
        Cassette.replay(path)


def test_two_cannot_record_on_one_cassette(path: Path) -> None:
    with Cassette.record(path), pytest.raises(SettingsError, match="another"):
        Cassette.record(path)
    Cassette.record(path).close()


async def test_nothing_is_recorded_on_a_cassette_that_was_closed(path: Path) -> None:
    cassette = Cassette.record(path)
    cassette.close()
    with pytest.raises(SettingsError, match="closed"):
        await cassette.take(REQUESTS[0], giving(ANSWER))
