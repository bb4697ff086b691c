"""A whole service on a bucket: what its callers are told while the store fails."""

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.ports import free_port
from tests.cluster.hosting import Host
from tests.cluster.load import check_exactly_once, check_same_receipts, load, through_http
from tests.cluster.nodes import Gate
from tests.cluster.waiting import until_async
from tests.support.servers import CREDENTIALS, Server, forgetful_server

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def gate(moto: Server) -> Any:
    with Gate(moto.url) as gate:
        yield gate


@pytest.fixture(scope="module")
def service(s3: Any, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = {"store": f"s3://results/service-{os.getpid()}", "port": free_port(), "ingress_replicas": 1}
    log = tmp_path_factory.mktemp("service") / "log"
    host = Host(settings, log, CREDENTIALS | {"AWS_ENDPOINT_URL_S3": gate.url})
    host.start()
    try:
        yield host
    finally:
        host.stop()


@pytest_asyncio.fixture
async def http(service: Host) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as client:
        yield client


async def test_a_store_that_is_down_is_a_503_and_nothing_is_lost_once_it_is_back(
    service: Host, gate: Gate, http: httpx.AsyncClient, s3: Any
) -> None:
    assert (await http.put("/portfolios/down", json={})).status_code == 201
    send = through_http(http, "down")
    actor = await service.actor()
    async with load(send, clients=4) as running:
        await running.more(20)
        gate.break_down()
        answers = [await http.put("/portfolios/other", json={}), await http.get("/readyz")]
        gate.plan()
        await running.more(20)
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"].endswith("store-unavailable")
    assert (await http.get("/readyz")).status_code == 200
    assert await service.actor() == actor, "the actor recovers by itself"
    assert running.failed
    await check_same_receipts(send, running)
    journal = open_stores(service.store, client=s3).journal_store("shard=0000")
    check_exactly_once(journal, "down", running)


async def test_readiness_says_why_a_store_without_conditional_writes_is_refused(
    service: Host, gate: Gate, moto: Server, http: httpx.AsyncClient
) -> None:
    async def is_ready() -> bool:
        return (await http.get("/readyz")).status_code == 200

    assert await is_ready()
    with forgetful_server() as server:
        gate.lead_to(server.url)
        os.kill(await service.actor(), signal.SIGKILL)
        refused = await http.get("/readyz")
        posted = await http.post("/signal", json={"timestamp": "2025-02-24", "signal": 1, "price": 1.0})
        gate.lead_to(moto.url)
    for answer in (refused, posted):
        assert answer.status_code == 500
        assert answer.json()["type"].endswith("unsafe-store")
        assert "does not enforce conditional writes" in answer.json()["detail"]
    await until_async(is_ready, "the service is ready on a store that enforces them")
