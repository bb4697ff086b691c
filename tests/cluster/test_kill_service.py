"""Parts of a running service are killed while clients post: the actor, an ingress replica, everything."""

import asyncio
import os
import signal

import httpx
import pytest

from raysignal.engine.journal.stores import open_stores
from tests.cluster.hosting import Host
from tests.cluster.load import (
    Load,
    check_exactly_once,
    check_same_receipts,
    load,
    through_http,
)
from tests.cluster.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def check(host: Host, http: httpx.AsyncClient, portfolio: str, done: Load) -> None:
    await check_same_receipts(through_http(http, portfolio), done)
    performance = (await http.get(f"/performance/{portfolio}")).raise_for_status().json()
    journal = open_stores(host.store).journal_store("shard=0000")
    ledger = check_exactly_once(journal, portfolio, done)
    assert performance["signals"] == len(done.receipts)
    assert performance["performance"]["equity"] == pytest.approx(ledger.equity, rel=1e-12)
    assert performance["performance"]["trades"] == ledger.trades


async def test_the_deaths_of_a_replica_and_of_the_actor_lose_nothing_that_was_acknowledged(
    host: Host, http: httpx.AsyncClient, portfolio: str
) -> None:
    await until(lambda: len(host.replicas()) == 2, "there are two replicas")
    replica, actor = host.replicas()[0], await host.actor()
    async with load(through_http(http, portfolio)) as running:
        for victim in (replica, actor):
            await running.more(100)
            os.kill(victim, signal.SIGKILL)
        await running.more(100)
    assert await host.actor() != actor
    await check(host, http, portfolio, running)


@pytest.mark.long
async def test_the_death_of_the_whole_cluster_loses_nothing_that_was_acknowledged(
    host: Host, http: httpx.AsyncClient, portfolio: str
) -> None:
    async with load(through_http(http, portfolio)) as running:
        await running.more(200)
        host.kill()
        await asyncio.to_thread(host.start)
        await running.more(200)
    await check(host, http, portfolio, running)
