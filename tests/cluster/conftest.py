"""Real clusters: three nodes with the desk in this process, and whole services in processes of their own."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.bucket import s3_client
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings
from tests.cluster.hosting import Host
from tests.cluster.nodes import Nodes, three_nodes
from tests.support.servers import CREDENTIALS, Server, moto_server

_numbers = itertools.count()

BUCKET = "results"
KEY = "a-key-that-no-stranger-has"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="package")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="package")
def s3(moto: Server) -> Iterator[Any]:
    """A client straight to the server, past every gate; boto3 finds the server in the environment, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": moto.url}).items():
            patch.setenv(name, value)
        # The first request makes moto import what it needs.
        client: Any = s3_client(moto.url, read_timeout=60.0)
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()


@pytest.fixture(scope="package")
def cluster(moto: Server, s3: Any) -> Iterator[Nodes]:
    with three_nodes(moto.url) as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """Two nodes at least that live, with their gates open."""
    while len(cluster.all) < 2:
        cluster.add()
    for node in cluster.all:
        node.gate.plan()
        node.gate.open()
        node.gate.lead_to(cluster.server)
    return cluster


@pytest.fixture
def bucket_url(s3: Any) -> str:
    """A part of the bucket that no other test uses."""
    return f"s3://{BUCKET}/t{os.getpid()}-{next(_numbers)}"


Open = Callable[..., Awaitable[PortfolioClient]]


@pytest_asyncio.fixture
async def open_desk(nodes: Nodes) -> AsyncIterator[Open]:
    """Opens the desk of a store, with the portfolio `p`; its actors end with the test."""
    opened: list[PortfolioClient] = []

    async def open_desk(store: str, **more: Any) -> PortfolioClient:
        desk = PortfolioClient.connect(Settings(store=store, store_shared=True, **more))
        opened.append(desk)
        await desk.create("p", Policy())
        return desk

    yield open_desk
    for node in nodes.all:
        node.gate.plan()
        node.gate.open()
    for desk in opened:
        await desk.close()


@pytest.fixture(scope="package")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A service with two replicas on a cluster of its own, and with a key; whoever kills it starts it again."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "home").mkdir()
    settings = {
        "store": (folder / "store").as_uri(), "port": free_port(), "snapshot_rows": 200, "api_key": KEY,
        "gate_least": 10.0, "neighbours": 50, "breaker_limit_bps": -5.0,
        "agent_priority": "normal",  # other tests keep the processor busy
    }  # fmt: skip
    host = Host(settings, folder / "log", {"HOME": str(folder / "home")})
    host.start()
    try:
        yield host
    finally:
        host.stop()


@pytest_asyncio.fixture
async def http(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=host.url, headers=AUTHORIZED, timeout=30.0) as client:
        yield client


@pytest_asyncio.fixture
async def portfolio(http: httpx.AsyncClient) -> str:
    """A portfolio of the test's own."""
    name = f"p{next(_numbers)}"
    assert (await http.put(f"/portfolios/{name}", json={})).status_code == 201
    return name
