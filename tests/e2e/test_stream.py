"""The broadcast through the whole service: HAProxy, a replica that starts at the first client, kills."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import raysignal
from tests.cluster.processes import titled
from tests.e2e.test_http_signals import a_signal
from tests.support.browser import CHROMIUM, page

pytestmark = [pytest.mark.cluster]

Post = Callable[..., httpx.Response]
SIGNALS = 12
WITHIN_S = 120.0


async def next_of(messages: AsyncIterator[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The next message of a type."""
    async with asyncio.timeout(WITHIN_S):
        async for message in messages:
            if message["type"] == kind:
                return message
    raise AssertionError("the stream ended")


async def there(url: str) -> None:
    """Wait for a replica, which may take longer to start on a busy machine than a single request waits."""
    messages = aiter(raysignal.Stream(url, patience_s=WITHIN_S))
    await next_of(messages, "subscribed")
    await messages.aclose()  # type: ignore[attr-defined]


async def test_a_client_misses_nothing_and_gets_nothing_twice_while_the_replica_is_killed(
    url: str, portfolio: str, post: Post
) -> None:
    stream = raysignal.Stream(url, portfolios=[portfolio], types=["signal"], patience_s=WITHIN_S)
    messages = aiter(stream)
    epoch = (await next_of(messages, "subscribed"))["epoch"]
    got = []
    for minute in range(SIGNALS):
        answer = await asyncio.to_thread(post, a_signal(minute, signal_id=f"s{minute}"))
        assert answer.status_code == 200
        if minute == SIGNALS // 3:
            got.append(await next_of(messages, "signal"))
            (replica,) = titled(os.getpid(), "ray::ServeReplica:raysignal-ws")
            os.kill(replica, signal.SIGKILL)
    while len(got) < SIGNALS:
        got.append(await next_of(messages, "signal"))
    assert [message["signal_id"] for message in got] == [f"s{minute}" for minute in range(SIGNALS)]
    assert stream.epoch == epoch
    again = raysignal.Stream(url, portfolios=[portfolio], types=["signal"], since=0, epoch=epoch)
    past = aiter(again)
    assert [await next_of(past, "signal") for _ in range(SIGNALS)] == got
    rest = aiter(raysignal.Stream(url, portfolios=[portfolio], types=["signal"], since=got[-3]["sequence"]))
    assert [await next_of(rest, "signal") for _ in range(2)] == got[-2:]
    for each in (messages, past, rest):
        await each.aclose()  # type: ignore[attr-defined]


async def test_a_socket_answers_a_ping_and_a_page_of_another_program_gets_none(url: str) -> None:
    await there(url)
    address = f"ws{url.removeprefix('http')}/ws/signals"
    async with connect(address, open_timeout=WITHIN_S) as socket, asyncio.timeout(WITHIN_S):
        assert json.loads(await socket.recv())["type"] == "subscribed"
        await socket.send('{"type": "ping", "id": "a"}')
        while (told := json.loads(await socket.recv())).get("id") != "a":
            pass
        assert told["type"] == "heartbeat"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address, origin="https://elsewhere.example", open_timeout=WITHIN_S)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["field"] == "Origin"


def test_events_have_the_same_content(url: str, portfolio: str, post: Post) -> None:
    post(a_signal(0, signal_id="e0"))
    events: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    asked = {"portfolios": portfolio, "since": "0"}
    with httpx.stream("GET", f"{url}/v1/stream", params=asked, timeout=WITHIN_S) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if fields.get("event") != "heartbeat":  # which comes whenever it is time
                events.append(fields)
            fields = {}
            if len(events) == 5:
                break
    told = [json.loads(event["data"]) for event in events]
    assert [each["type"] for each in told] == ["resumed", "signal", "decision", "fill", "position_update"]
    assert told[1]["signal_id"] == "e0"
    assert events[4]["id"] == f"{told[0]['epoch']}:{told[4]['sequence']}"
    for _ in range(8):  # of the connections of HAProxy, none is left with an answer that does not end
        assert httpx.head(f"{url}/v1/stream", timeout=WITHIN_S).status_code == 200
        refused = httpx.get(f"{url}/v1/stream", params={"colour": "red"}, timeout=WITHIN_S)
        assert refused.json()["field"] == "colour"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_a_socket_of_node_gets_heartbeat_and_signals(
    url: str, portfolio: str, post: Post, tmp_path: Path
) -> None:
    post(a_signal(0, signal_id="n0"))
    script = tmp_path / "listen.mjs"
    script.write_text(
        f"""const socket = new WebSocket('ws{url.removeprefix("http")}/ws/signals?portfolios={portfolio}&since=0')
const seen = new Set()
socket.onopen = () => socket.send(JSON.stringify({{type: 'ping'}}))
socket.onmessage = (event) => {{
  seen.add(JSON.parse(event.data).type)
  if (seen.has('heartbeat') && seen.has('signal')) process.exit(0)
}}
socket.onclose = () => process.exit(1)
"""
    )
    assert (
        subprocess.run(
            ["node", "--experimental-websocket", str(script)], timeout=WITHIN_S, check=False
        ).returncode
        == 0
    )


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_a_page_in_a_browser_gets_heartbeat_and_signal(
    url: str, portfolio: str, post: Post, tmp_path: Path
) -> None:
    await there(url)
    async with page(tmp_path / "profile") as browser:
        await browser.open(f"{url}/healthz")
        await browser.run(
            f"""
            const socket = new WebSocket('ws{url.removeprefix("http")}/ws/signals'), seen = {{}}, waiting = {{}}
            const next = (type) => seen[type] ?? new Promise((done) => waiting[type] = done)
            socket.onopen = () => socket.send(JSON.stringify({{"type": "ping"}}))
            socket.onmessage = (event) => {{
              const message = JSON.parse(event.data)
              seen[message.type] = message
              waiting[message.type]?.(message)
            }}
            null"""
        )
        assert (await browser.run("next('heartbeat')"))["type"] == "heartbeat"
        await asyncio.to_thread(post, a_signal(0, signal_id="b0"))
        told = await browser.run("next('signal')")
        assert (told["signal_id"], told["portfolio"]) == ("b0", portfolio)
