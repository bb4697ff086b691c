"""The agent is killed while signals come in, its index is destroyed, and its decisions are those of a quiet run."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from raysignal.agents.override.decider import Decider
from raysignal.agents.override.terms import AgentTerms
from raysignal.agents.verdicts import decided
from raysignal.runtime.agent_settings import terms_of
from raysignal.runtime.settings import Settings
from tests.cluster.hosting import Host
from tests.cluster.waiting import until, until_async
from tests.support.enhanced_world import bodies, stream

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROWS, RESET = 1_200, 900
BATCH = stream(ROWS, 1, turn=600, bars=6, volatility=0.01)
DEADLINE_S = 120.0


def undisturbed(own: AgentTerms) -> tuple[list[int], Any]:
    """What is decided when nothing happens but a reset of the breaker, and why it tripped before."""
    decider, found = Decider(own.policy, own.rules, breaker=own.breaker), []
    assert decider.breaker is not None
    trip = None
    for part in (BATCH.take(range(RESET)), BATCH.take(range(RESET, ROWS))):
        judged = decider.finish(decider.begin(part))
        found += decided(part.action, judged.verdict).tolist()
        trip = trip or decider.breaker.trip
        decider.breaker.reset()
    return found, trip


async def send(http: httpx.AsyncClient, start: int, stop: int) -> None:
    """Post rows, again and again until they are acknowledged."""
    rows = bodies(BATCH.take(range(start, stop)))

    async def taken() -> bool:
        try:
            answer = await http.post("/signals", json=rows)
        except httpx.TransportError:
            return False
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    await until_async(taken, "the rows are acknowledged")


async def agent_when(http: httpx.AsyncClient, what: str, **wanted: Any) -> dict[str, Any]:
    """The state of the agent once these members have these values; `chroma.count` is one in another."""
    seen: dict[str, Any] = {}

    async def fits() -> bool:
        answer = await http.get("/agent")
        if answer.status_code != 200:
            return False
        seen.clear()
        seen.update(answer.json())
        return all(_member(seen, name) == value for name, value in wanted.items())

    try:
        await until_async(fits, what, deadline_s=DEADLINE_S)
    except AssertionError as late:
        raise AssertionError(f"{late}; the last answer: {seen}") from late
    return seen


def _member(state: dict[str, Any], name: str) -> Any:
    outer, _, inner = name.partition("__")
    value = state.get(outer)
    return value.get(inner) if inner and value is not None else value


async def whole_index(http: httpx.AsyncClient) -> dict[str, Any]:
    state = await agent_when(http, "Chroma is whole", behind=0, chroma__state="ready", chroma__behind=0)
    assert state["chroma"]["count"] == state["settled"] > 0
    return state


async def decisions(http: httpx.AsyncClient) -> list[int]:
    actions = {"BUY": 1, "HOLD": 0, "SELL": -1}
    page = (await http.get("/history", params={"portfolio": "enhanced", "limit": ROWS})).raise_for_status()
    return [actions[row["decision"]] for row in page.json()["rows"]]


async def kill(pids: Callable[[], list[int]]) -> None:
    """End the one process there is; after the death before this one it may not be back yet."""
    await until(lambda: len(pids()) == 1, "one process to be there", deadline_s=DEADLINE_S)
    (pid,) = pids()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: pid not in pids(), "the process to be gone", deadline_s=DEADLINE_S)


def damage(folder: Path) -> None:
    """Cut the largest file of an index in half."""
    largest = max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    os.truncate(largest, largest.stat().st_size // 2)


async def test_whatever_is_killed_the_decisions_are_those_of_an_undisturbed_run(
    host: Host, http: httpx.AsyncClient
) -> None:
    own = terms_of(Settings(**host.settings))
    expected, trip = undisturbed(own)
    assert trip is not None
    for start in range(0, RESET, 100):
        await send(http, start, start + 100)
        if start == 200:
            await kill(host.agents)
        if start == 400:
            await kill(host.actors)
    state = await whole_index(http)
    assert await decisions(http) == expected[:RESET]
    assert state["breaker"]["open"]
    assert state["breaker"]["trip"]["ordinal"] == trip.ordinal

    folder = Path(urlsplit(f"{host.store}-chroma").path)
    await kill(host.agents)
    shutil.rmtree(folder)
    state = await whole_index(http)
    assert state["chroma"]["rebuilt"]
    assert state["breaker"]["trip"]["ordinal"] == trip.ordinal

    assert (await http.post("/agent/reset")).json() == {"was_open": True}
    await kill(host.agents)
    damage(folder)
    await send(http, RESET, ROWS)
    state = await whole_index(http)
    assert state["chroma"]["rebuilt"]
    assert not state["breaker"]["open"] or state["breaker"]["trip"]["ordinal"] > RESET
    assert await decisions(http) == expected
    compared = (await http.get("/performance/compare")).json()
    assert (compared["signals"], compared["behind"]) == (ROWS, 0)
