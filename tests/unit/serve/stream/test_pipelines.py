"""Sessions of pipelines in the broadcast: sent live and again as the same bytes, added, removed, begun anew."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from raysignal.engine.pipeline.session_messages import SessionMessages
from tests.support.stream_clients import PipelineSessions, SocketClient, world
from tests.unit.engine.portfolio.test_shard import some


@pytest.fixture
def sessions() -> Iterator[PipelineSessions]:
    """Of one pipeline, `spot`."""
    made = PipelineSessions("spot")
    yield made
    made.close()


AT = "2026-11-30T00:00:00Z"


def decide(session: SessionMessages, *reasons: str) -> None:
    """Have decisions told of."""
    for reason in reasons:
        session.tell("decision", {"at": AT, "symbol": "BTC", "reason": reason})


async def reasons(client: SocketClient, count: int) -> list[str]:
    """Of the decisions of pipelines, once there are so many."""
    await client.until(lambda each: len(_decided(each)) >= count)
    return [each["reason"] for each in _decided(client)]


def _decided(client: SocketClient) -> Sequence[dict[str, Any]]:
    return [each for each in client.messages if each["type"] == "decision" and "pipeline" in each]


def since(cursor: dict[str, int]) -> str:
    """A cursor as a query."""
    return f"since={quote(json.dumps(cursor))}"


async def test_what_a_pipeline_does_is_sent_live_and_again_as_the_same_bytes(
    tmp_path: Path, sessions: PipelineSessions
) -> None:
    spot = sessions.begin("spot", tmp_path / "spot")
    decide(spot, "a", "b")
    async with world(tmp_path, sessions) as made, made.socket() as live:
        assert (await live.message("subscribed"))["since"] == {"0": 0, spot.shard: 8}
        decide(spot, "c")
        spot.tell("verdict", {"at": AT, "symbol": "BTC", "outcome": "refuse", "reasons": []})
        risk = await live.message("risk")
        assert (risk["sequence"], risk["shard"], risk["pipeline"], risk["what"]) == (
            13,
            spot.shard,
            "spot",
            "verdict",
        )
        assert await reasons(live, 1) == ["c"]
        await made.post(some(1))
        await live.sequence(13)
        for query in ("since=0", "since=0&lines=true", since({})):
            async with made.socket(query) as again:
                assert await reasons(again, 3) == ["a", "b", "c"]
                await again.until(lambda each: len(each.texts) == 6)
                assert set(live.texts) < set(again.texts)
        async with made.socket(since({"0": 0, spot.shard: 5})) as rest:
            assert await reasons(rest, 1) == ["c"]
        async with (
            made.socket("since=0&portfolios=baseline") as own,
            made.socket("since=0&types=risk") as risks,
        ):
            await risks.message("risk")
            await own.sequence(2)
            assert {each["portfolio"] for each in own.messages if "portfolio" in each} == {"baseline"}
            assert {each["type"] for each in risks.messages} <= {"resumed", "risk", "heartbeat"}


async def test_a_long_session_is_read_by_pages(tmp_path: Path, sessions: PipelineSessions) -> None:
    spot = sessions.begin("spot", tmp_path / "spot")
    decide(spot, *(str(number) for number in range(2500)))
    async with world(tmp_path, sessions) as made, made.socket("since=0&lines=true") as client:
        assert await reasons(client, 2500) == [str(number) for number in range(2500)]
        assert made.hub.log.pages_read == 1


async def test_a_pipeline_that_was_added_is_sent_whole_to_whoever_resumes_without_it(
    tmp_path: Path, sessions: PipelineSessions
) -> None:
    async with world(tmp_path, sessions) as made:
        await made.post(some(1))
        async with (
            made.socket() as live,
            made.socket("since=2") as resumed,
            made.socket(since({"0": 4})) as named,
        ):
            assert (await live.message("subscribed"))["since"] == 4
            await resumed.message("resumed")
            await named.message("resumed")
            spot = sessions.begin("spot", tmp_path / "spot")
            decide(spot, "a")
            assert await reasons(resumed, 1) == await reasons(named, 1) == ["a"]
            decide(spot, "b")
            assert (await reasons(live, 1))[-1] == "b"
            beat = await live.message("heartbeat")
            assert beat["sequence"].keys() == {"0", spot.shard}


async def test_a_place_in_a_pipeline_that_does_not_run_is_kept_until_it_does(
    tmp_path: Path, sessions: PipelineSessions
) -> None:
    before = sessions.begin("spot", tmp_path / "spot")
    decide(before, "a", "b")
    sessions.end("spot")
    async with world(tmp_path, sessions) as made, made.socket(since({"0": 0, before.shard: 1})) as client:
        assert (await client.message("resumed"))["since"] == {"0": 0, before.shard: 1}
        begun = sessions.begin("spot", tmp_path / "spot")
        decide(begun, "a", "b")
        assert await reasons(client, 1) == ["b"]


@pytest.mark.parametrize("gone", ["away.1f", "spot.1f"])
async def test_a_pipeline_that_was_removed_or_has_another_session_is_too_old(
    tmp_path: Path, sessions: PipelineSessions, gone: str
) -> None:
    spot = sessions.begin("spot", tmp_path / "spot")
    decide(spot, "a")
    async with world(tmp_path, sessions) as made, made.socket(since({"0": 0, gone: 9})) as client:
        told = await client.message("too_old")
        assert (told["shard"], told["missed_from"], told["since"]) == (gone, 9, {"0": 0, spot.shard: 0})
        assert await reasons(client, 1) == ["a"]


async def test_a_session_that_is_begun_anew_while_clients_listen_is_followed(
    tmp_path: Path, sessions: PipelineSessions
) -> None:
    first = sessions.begin("spot", tmp_path / "first")
    async with world(tmp_path, sessions) as made, made.socket() as live, made.socket("since=0") as resumed:
        await live.message("subscribed")
        decide(first, "a")
        assert await reasons(live, 1) == await reasons(resumed, 1) == ["a"]
        sessions.end("spot")
        second = sessions.begin("spot", tmp_path / "second")
        decide(second, "b")
        assert (await live.message("too_old"))["shard"] == first.shard
        assert await reasons(resumed, 2) == ["a", "b"]
        decide(second, "c")
        assert (await reasons(live, 2))[-1] == "c"


async def test_a_sequence_ahead_of_a_session_is_refused_by_its_name(
    tmp_path: Path, sessions: PipelineSessions
) -> None:
    spot = sessions.begin("spot", tmp_path / "spot")
    async with world(tmp_path, sessions) as made, made.socket(since({spot.shard: 9})) as client:
        code, why = await client.ended()
        assert code == 4400
        assert f"at most 0, the last sequence of shard {spot.shard}" in why
    async with world(tmp_path, sessions) as made, made.socket(since({"Spot": 9})) as client:
        status, problem = await client.until(lambda each: each.refused)
        assert (status, problem["field"]) == (422, "since")
