"""The broadcast without a cluster: clients that listen, resume, vanish, do not read, and ask for too much."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from raysignal.engine.core.errors import InvalidField, NotFound, StoreUnavailable, Unauthorized
from raysignal.serve.stream.hub import LiveState
from raysignal.serve.stream.log import PAGE_ROWS
from raysignal.serve.stream.subscription import StreamSubscription
from tests.support.stream_clients import HOST, SocketClient, World, two_shards, world
from tests.unit.engine.portfolio.test_shard import a_signal, some

KEY = {"http": {"api_key": "k" * 20}}


async def test_a_client_gets_each_message_once_in_order_and_the_same_bytes_when_it_resumes(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made, made.socket() as live:
        told = await live.message("subscribed")
        assert told["sequence"] == told["since"] == 0
        assert told["epoch"]
        for start in range(0, 60, 3):
            await made.post(some(3, start))
        await live.sequence(4 * 59 + 2)
        sequences = [each["sequence"] for each in live.messages if "epoch" not in each]
        assert sequences == sorted(set(sequences))
        assert sequences[:2] == [1, 2]
        await made.desk.flush()
        async with made.socket("since=0") as again, made.socket("since=0&lines=true") as lines:
            assert (await again.message("resumed"))["since"] == 0
            for client in (again, lines):
                await client.sequence(4 * 59 + 2)
                assert client.texts == live.texts
        after = live.messages[30]["sequence"]
        async with made.socket(f"since={after}&epoch={told['epoch']}") as rest:
            await rest.sequence(4 * 59 + 2)
            assert rest.texts == [text for text in live.texts if json.loads(text)["sequence"] > after]


async def test_hundreds_that_resume_at_once_read_each_page_once(tmp_path: Path) -> None:
    rows = PAGE_ROWS + 10
    async with world(tmp_path) as made:
        await made.post(some(rows))
        await made.desk.flush()
        clients = [made.socket("since=0&lines=true") for _ in range(300)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(_until_row(client, rows))
        # The last page is not full yet, so it is read again for those who come to it later.
        assert made.hub.log.pages_read < len(clients) // 5
        assert len({"".join(client.texts) for client in clients}) == 1
        assert made.hub.counts["resumed"] == 300


async def _until_row(client: SocketClient, rows: int) -> None:
    async with client:
        await client.until(lambda each: f'"sequence":{4 * (rows - 1) + 2},' in each.frames[-1])


async def test_a_client_that_does_not_read_is_closed_and_counted_and_others_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as made, made.socket() as healthy, made.socket() as stuck:
        await healthy.message("subscribed")
        await stuck.message("subscribed")
        stuck.reading.clear()
        await made.post(some(3))
        await healthy.sequence(10)
        made.now_s += 9.0
        await made.hub.tick()
        assert stuck.closed is None
        made.now_s += 2.0
        await made.hub.tick()
        code, why = await stuck.ended()
        assert code == 4408
        assert "nothing was read for 10 s" in why
        await made.post(some(3, 3))
        await healthy.sequence(22)
        assert made.hub.counts["slow_seconds"] == 1
        assert healthy.closed is None


async def test_a_client_that_falls_too_many_bytes_behind_is_closed(tmp_path: Path) -> None:
    async with world(tmp_path, stream={"slow_bytes": 4096}) as made, made.socket() as slow:
        await slow.message("subscribed")
        slow.reading.clear()
        await made.post(some(1))
        async with made.socket("since=0") as other:
            await made.post(some(50, 1))
            await other.sequence(4 * 50 + 2)
        await made.hub.tick()
        assert (await slow.ended())[0] == 4408
        assert made.hub.counts["slow_bytes"] == 1


async def test_messages_that_were_forgotten_before_a_client_came_to_them_are_read_again(
    tmp_path: Path,
) -> None:
    settings = {"recent_bytes": 65_536, "slow_bytes": 2**40}
    async with world(tmp_path, stream=settings) as made, made.socket() as slow, made.socket() as quick:
        await slow.message("subscribed")
        await quick.message("subscribed")
        slow.reading.clear()
        for start in range(0, 600, 50):
            await made.post(some(50, start))
        await quick.sequence(4 * 599 + 2)
        assert not made.hub.recent.holds(0, 1000)
        slow.reading.set()
        await slow.sequence(4 * 599 + 2)
        assert slow.texts == quick.texts


async def test_a_client_that_vanishes_leaves_nothing_and_without_clients_nothing_is_followed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made:
        for _ in range(3):
            async with made.socket() as client:
                await client.message("subscribed")
                assert len(made.hub.sessions) == 1
            assert not made.hub.sessions
        before = made.hub.recent.end
        await made.post(some(5))
        assert made.hub.recent.end == before
        async with made.socket() as late:
            assert (await late.message("subscribed"))["sequence"] == 20


async def test_a_client_that_asks_without_reading_the_answers_is_closed(tmp_path: Path) -> None:
    async with world(tmp_path) as made, made.socket() as greedy:
        await greedy.message("subscribed")
        greedy.reading.clear()
        for _ in range(100):
            greedy.say({"type": "ping"})
        code, why = await greedy.ended()
        assert (code, why) == (4429, "more than 64 answers wait; read them before asking on")


async def test_a_ping_is_answered_with_a_heartbeat_that_says_what_its_reader_has(tmp_path: Path) -> None:
    async with world(tmp_path) as made, made.socket() as client:
        await client.message("subscribed")
        await made.post(some(2))
        await client.sequence(6)
        client.say({"type": "ping", "id": 7})
        told = await client.message("heartbeat")
        assert told["id"] == 7
        assert told["sequence"] == max(each["sequence"] for each in client.messages if "epoch" not in each)
        made.now_s += 10.0
        await made.hub.tick()
        beats = await client.until(lambda each: [m for m in each.messages if m["type"] == "heartbeat"][1:])
        assert beats[0]["sequence"] == 8


async def test_who_is_sent_the_past_gets_heartbeats_as_well(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.post(some(3))
        async with made.hub.session() as session:
            await session.subscribe(StreamSubscription(since=2))
            assert session.catching_up
            made.now_s += 10.0
            await made.hub.tick()
            sent: list[Any] = []

            async def take(messages: Any) -> None:
                sent.extend(messages)
                session.close(1000, "that is enough")

            await session.run(take)
            assert [message.kind for message in sent] == ["resumed", "heartbeat"]
            assert json.loads(sent[1].text)["sequence"] == 2


@pytest.mark.parametrize(
    ("said", "field", "expected"),
    [
        ({"type": "dance"}, "type", "ping, subscribe or auth"),
        ({"no": "type"}, "type", "ping, subscribe or auth"),
        ({"type": "ping", "x": 1}, "x", "none but id"),
        ({"type": "subscribe", "types": ["fills"]}, "types", "some of signal, decision"),
        ({"type": "subscribe", "symbols": [""]}, "symbols", "a list of at most 1000 texts"),
        ({"type": "subscribe", "portfolios": 3}, "portfolios", "a list of at most 1000 texts"),
        ({"type": "subscribe", "colour": "red"}, "colour", "one of types, symbols"),
        ({"type": "subscribe", "since": -1}, "since", "a sequence from 0 on"),
        ({"type": "subscribe", "since": True}, "since", "a sequence from 0 on"),
        ({"type": "subscribe", "since": {"1": 0}}, "since", "shards from 0 to 0"),
        ({"type": "subscribe", "since": {"0": "x"}}, "since", "a sequence from 0 on"),
        ({"type": "subscribe", "since": 99}, "since", "at most 4, the last sequence"),
        ({"type": "subscribe", "epoch": 5}, "epoch", "the epoch that the stream has told"),
        ({"type": "subscribe", "lines": 1}, "lines", "true or false"),
        ("[1]", None, "is no object"),
        ("{", None, "is no JSON"),
        ("x" * 70_000, None, "expected at most 65536"),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_for_is_told_by_its_field_and_changes_nothing(
    tmp_path: Path, said: Any, field: str | None, expected: str
) -> None:
    async with world(tmp_path) as made, made.socket() as client:
        await client.message("subscribed")
        await made.post(some(1))
        client.say(said)
        told = await client.message("error")
        assert told.get("field") == field
        assert expected in told["detail"]
        await made.post(some(1, 1))
        await client.sequence(6)
        assert client.closed is None


@pytest.mark.parametrize(
    ("query", "status", "part"),
    [
        ("since=x", 422, "since"),
        ("types=signal,dance", 422, "types"),
        ("key=abc", 422, "key"),
        ("since=1&since=2", 422, "since"),
        ("lines=yes", 422, "lines"),
    ],
)
async def test_a_query_that_cannot_be_used_is_refused_before_the_socket_opens(
    tmp_path: Path, query: str, status: int, part: str
) -> None:
    async with world(tmp_path) as made, made.socket(query) as client:
        found, problem = await client.until(lambda each: each.refused)
        assert found == status
        assert problem["detail"].startswith(part)


async def test_a_sequence_ahead_of_the_store_closes_the_socket_with_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as made, made.socket("since=5") as client:
        code, why = await client.ended()
        assert code == 4400
        assert why.startswith("since is 5; expected at most 0, the last sequence of shard 0")
        assert (await client.message("error"))["field"] == "since"


async def test_a_client_of_another_store_is_told_and_sent_what_comes_from_now_on(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.post(some(2))
        async with made.socket("since=400&epoch=0123") as client:
            told = await client.message("other_epoch")
            assert told["since"] == 8
            await made.post(some(1, 2))
            await client.sequence(9)
            assert json.loads(client.texts[0])["sequence"] == 9


async def test_what_was_removed_from_the_store_is_told_and_the_rest_is_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.post(some(20))
        await made.desk.flush()
        for path in (made.root / "history").rglob("*-*.parquet"):
            path.unlink()
        await made.post(some(5, 20))
        async with made.socket("since=12") as client:
            told = await client.message("too_old")
            assert (told["shard"], told["missed_from"], told["since"]) == (0, 12, 80)
            await client.sequence(4 * 24 + 2)
            assert json.loads(client.texts[0])["sequence"] == 81


async def test_only_what_was_subscribed_to_is_sent_live_and_from_the_past(tmp_path: Path) -> None:
    signals = [
        a_signal(minute, 100.0, (-1) ** minute, symbol=["BTC", "ETH"][minute % 3 == 0])
        for minute in range(30)
    ]
    async with world(tmp_path) as made, made.socket("types=signal,fill&symbols=ETH") as live:
        await live.message("subscribed")
        await made.post(signals)
        await live.until(lambda each: '"ordinal":27' in "".join(each.texts))
        assert {(told["type"], told["symbol"]) for told in live.messages[1:]} <= {
            ("signal", "ETH"),
            ("fill", "ETH"),
        }
        assert [told["ordinal"] for told in live.messages[1:] if told["type"] == "signal"] == [
            *range(0, 30, 3)
        ]
        async with made.socket("types=signal,fill&symbols=ETH&since=0&lines=true") as again:
            await again.until(lambda each: len(each.texts) == len(live.texts))
            assert again.texts == live.texts
        async with made.socket("portfolios=enhanced&since=0") as none, made.socket("since=0") as all_of_it:
            await all_of_it.sequence(4 * 29 + 2)
            none.say({"type": "ping"})
            await none.message("heartbeat")
            assert not none.texts
            none.say({"type": "subscribe", "since": 0})
            await none.sequence(4 * 29 + 2)
            assert none.texts == all_of_it.texts


async def test_figures_and_market_are_sent_live_with_the_last_sequence(tmp_path: Path) -> None:
    async with world(tmp_path) as made, made.socket() as client, made.socket("symbols=ETH") as other:
        await client.message("subscribed")
        await other.message("subscribed")
        await made.post(some(2))
        await client.sequence(6)
        market = {"symbol": "BTC", "last": "100.5"}
        made.states = [LiveState("market_update", "okx:BTC-USDT", "BTC", market)]
        await made.hub.tick()
        await made.hub.tick()
        update = await client.message("market_update")
        figures = await client.message("performance")
        assert (update["symbol"], update["last"], update["sequence"]) == ("BTC", "100.5", 8)
        assert (figures["portfolio"], figures["signals"], figures["sequence"]) == ("baseline", 2, 8)
        assert len([each for each in client.messages if each["type"] == "market_update"]) == 1
        made.states = [LiveState("market_update", "okx:BTC-USDT", "BTC", {**market, "last": "101"})]
        await made.hub.tick()
        await client.until(lambda each: [told for told in each.messages if told.get("last") == "101"])
        await other.message("performance")
        assert "market_update" not in {each["type"] for each in other.messages}


async def test_each_shard_has_a_sequence_of_its_own_and_is_resumed_by_it(tmp_path: Path) -> None:
    async with two_shards(tmp_path) as (made, second), made.socket() as live:
        assert (await live.message("subscribed"))["since"] == {"0": 0, "1": 0}
        await made.post(some(6))
        await World(made.hub, made.app, second, tmp_path).post(some(4))
        await live.until(lambda each: len([text for text in each.texts if '"signal"' in text[:18]]) == 10)
        of_shards = [[text for text in live.texts if f'"shard":{shard},' in text] for shard in (0, 1)]
        since = json.loads(of_shards[0][5])["sequence"]
        query = quote(json.dumps({"0": since}))
        async with made.socket(f"since={query}") as again:
            await again.until(lambda each: len(each.texts) == len(live.texts) - 6)
            assert [text for text in again.texts if '"shard":0,' in text] == of_shards[0][6:]
            assert [text for text in again.texts if '"shard":1,' in text] == of_shards[1]
        async with made.socket("since=3") as refused:
            code, why = await refused.ended()
            assert code == 4400
            assert why.startswith("since is 3; expected a sequence for each of the 2 shards")
        # Of a store that had one shard.
        async with made.socket("since=3&epoch=0123") as other:
            told = await other.message("other_epoch")
            assert told["since"].keys() == {"0", "1"}


async def test_a_store_that_does_not_answer_closes_who_needs_it_and_is_followed_again(tmp_path: Path) -> None:
    async with world(tmp_path, stream={"recent_bytes": 65_536}) as made:
        await made.post(some(600))
        await _told_of_trouble(made)


async def test_a_defect_closes_the_clients_and_the_next_ones_are_sent_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_portfolio: str | None) -> Any:
        raise RuntimeError("nobody thought of it")

    async with world(tmp_path) as made:
        told = _defects()
        async with made.socket() as client:
            await client.message("subscribed")
            with monkeypatch.context() as broken:
                broken.setattr(made.desk, "standing", fails)
                await made.post(some(2))
                code, why = await client.ended()
            assert code == 1011
            assert "come back and resume" in why
        assert told == ["nobody thought of it"]
        async with made.socket("since=0") as again:
            await again.sequence(5)
            await made.post(some(1, 2))
            await again.sequence(9)


async def test_a_defect_in_what_is_only_live_leaves_the_rows_to_their_clients(tmp_path: Path) -> None:
    async with world(tmp_path, stream={"heartbeat_s": 0.1}) as made:
        told = _defects()
        made.states.append(cast("LiveState", None))
        async with made.socket() as client:
            await client.message("subscribed")
            made.now_s += 1.0
            await client.message("heartbeat")
            assert told
            await made.post(some(2))
            await client.sequence(5)


def _defects() -> list[str]:
    """What the loop is told of defects from now on."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(str(said["exception"])))
    return told


async def _told_of_trouble(made: World) -> None:
    async with made.socket() as client:
        await client.message("subscribed")
        made.desk.broken = StoreUnavailable("the disk is away")
        async with made.socket("since=0") as refused:
            assert await refused.ended() == (1013, "the disk is away")
        made.desk.broken = None
        await made.post(some(2, 600))
        await client.sequence(4 * 601 + 2)


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ([HOST, (b"origin", b"https://elsewhere.example")], "Origin is 'https://elsewhere.example'"),
        ([(b"host", b"elsewhere.example")], "Host is 'elsewhere.example'"),
        ([HOST, HOST], "the header host comes 2 times"),
    ],
)
async def test_a_page_of_somebody_else_is_refused_where_nobody_needs_a_key(
    tmp_path: Path, headers: list[tuple[bytes, bytes]], part: str
) -> None:
    async with world(tmp_path) as made, made.socket(headers=headers) as client:
        status, problem = await client.until(lambda each: each.refused)
        assert status in {400, 403}
        assert problem["detail"].startswith(part)
    async with (
        world(tmp_path) as made,
        made.socket(headers=[HOST, (b"origin", b"http://localhost:8000")]) as own,
    ):
        await own.message("subscribed")


async def test_a_key_comes_by_header_by_subprotocol_or_by_the_first_message(tmp_path: Path) -> None:
    key = KEY["http"]["api_key"]
    offered = ["raysignal", f"raysignal.key.{base64.urlsafe_b64encode(key.encode()).decode().rstrip('=')}"]
    async with world(tmp_path, **KEY) as made:
        async with made.socket(headers=[HOST, (b"authorization", f"Bearer {key}".encode())]) as client:
            await client.message("subscribed")
        async with made.socket(protocols=offered) as client:
            await client.message("subscribed")
            assert client.protocol == "raysignal"
        async with made.socket() as client:
            client.say({"type": "auth", "key": key})
            await client.message("subscribed")
            client.say({"type": "ping"})
            await client.message("heartbeat")


async def test_without_the_key_nothing_is_sent(tmp_path: Path) -> None:
    async with world(tmp_path, **KEY) as made:
        for options in (
            {"protocols": ["raysignal.key.bm8"]}, {"protocols": ["raysignal.key.é"]},
            {"headers": [HOST, (b"authorization", b"Bearer no")]},
        ):  # fmt: skip
            async with made.socket(**options) as client:
                status, _ = await client.until(lambda each: each.refused)
                assert status == 401
        for said in ({"type": "auth", "key": "no"}, {"type": "ping"}, {"type": "auth"}, "x"):
            async with made.socket() as client:
                client.say(said)
                assert (await client.ended())[0] in {4400, 4401}
                assert not client.frames
        assert not made.hub.counts["connected"]


async def test_events_have_ids_by_which_a_browser_resumes(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.post(some(3))
        first = await _events(made, 5, {"since": "0"})
        assert [event["event"] for event in first][:3] == ["resumed", "signal", "decision"]
        assert "id" not in first[0]
        last = first[2]["id"]
        assert last == f"{made.hub.epoch}:2"
        second = await _events(made, 3, {}, [(b"last-event-id", last.encode())])
        assert [event.get("id") for event in second][1:] == [event["id"] for event in first[3:5]]


async def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        async with made.socket(path="/ws/other") as client:
            status, problem = await client.until(lambda each: each.refused)
            assert (status, problem["detail"]) == (
                404,
                "there is no WebSocket /ws/other; expected /ws/signals",
            )
        for method, path in (("POST", "/v1/stream"), ("GET", "/ws/signals")):
            with pytest.raises(NotFound, match=f"there is no {method} {path}; expected GET /v1/stream"):
                await made.app({"type": "http", "method": method, "path": path}, _nothing, _nothing)
        with pytest.raises(InvalidField, match="lines is True"):
            await _events(made, 1, {"lines": "true"})
        # The middleware hands HEAD on as GET; an answer without an end would keep the connection from the next request.
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http", "method": "GET", "path": "/v1/stream", "headers": [HOST], "query_string": b"",
            "state": {"method": "HEAD"},
        }  # fmt: skip

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(10):
            await made.app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
        assert [(each.get("status"), each.get("body")) for each in sent] == [(200, None), (None, b"")]
        assert not made.hub.sessions
        with pytest.raises(InvalidField, match="Last-Event-ID is 'x'"):
            await _events(made, 1, {}, [(b"last-event-id", b"x")])
    async with world(tmp_path, **KEY) as made:
        with pytest.raises(Unauthorized, match="no credentials"):
            await _events(made, 1, {})


async def _nothing(*_: Any) -> Any:
    raise AssertionError("nothing is read or sent")


async def _events(
    made: World, count: int, query: dict[str, str], headers: list[tuple[bytes, bytes]] | None = None
) -> list[dict[str, str]]:
    """The first events of a stream, whose reader then goes."""
    gone, body = asyncio.Event(), bytearray()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))
        if body.count(b"\n\n") >= count:
            gone.set()

    scope = {
        "type": "http", "method": "GET", "path": "/v1/stream", "headers": [HOST, *(headers or [])],
        "query_string": "&".join(f"{name}={value}" for name, value in query.items()).encode(),
    }  # fmt: skip
    async with asyncio.timeout(30):
        await made.app(scope, receive, send)
    events = body.decode().split("\n\n")[:count]
    return [dict(line.split(": ", 1) for line in event.split("\n")) for event in events]
