"""A node is cut off: it and its actor freeze with a commit under way, the cluster goes on without them."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.core.errors import SettingsError
from raysignal.engine.journal.bucket import Bucket
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.s3 import S3Store
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings
from tests.cluster import processes
from tests.cluster.conftest import BUCKET, Open
from tests.cluster.load import a_signal, check_exactly_once, check_same_receipts, load, through_desk
from tests.cluster.nodes import Node, Nodes
from tests.cluster.waiting import until, until_async

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def seen(desk: PortfolioClient) -> dict[str, Any]:
    (answer,) = await desk.observe()
    return answer


async def away_from_us(desk: PortfolioClient, nodes: Nodes) -> tuple[Node, int]:
    """The node and process of the actor, once it is not on the node that this test is connected to."""

    async def is_away() -> bool:
        at = await seen(desk)
        if at["node"] != nodes.first.id:
            return True
        # Ray puts an actor anywhere: ask again until it is where the test can do without it.
        processes.send(at["pid"], signal.SIGKILL)
        return False

    await until_async(is_away, "the actor is on another node than the test")
    at = await seen(desk)
    return nodes.of(at["node"]), int(at["pid"])


def takeovers(client: Any, prefix: str) -> list[tuple[int, bool]]:
    """Epoch of every record of the journal in order, and whether it began that epoch."""
    store = S3Store(Bucket(client, BUCKET, f"{prefix}/journal/shard=0000/"), token=lambda: b"")
    return [(record.epoch, record.is_takeover) for block in store.read(1) for record in block.records]


async def test_a_node_that_is_cut_off_cannot_commit(
    open_desk: Open, nodes: Nodes, s3: Any, bucket_url: str
) -> None:
    prefix = bucket_url.removeprefix(f"s3://{BUCKET}/")
    desk = await open_desk(bucket_url)
    node, worker = await away_from_us(desk, nodes)
    send = through_desk(desk, "p")
    try:
        async with load(send, clients=4) as running:
            await running.more(20)
            # A commit of the old actor is on its way to the store when everything of its node freezes.
            node.gate.shut()
            await until(node.gate.waiting.is_set, "a commit is on its way")
            old = await asyncio.to_thread(takeovers, s3, prefix)
            processes.send(node.raylet, signal.SIGSTOP)
            processes.send(worker, signal.SIGSTOP)
            await until(lambda: node.id not in nodes.alive(), "the head gives the node up")
            # The actor is made anew elsewhere, and takes the journal over.
            await running.more(20)
            assert (await seen(desk))["node"] != node.id
            # Now the old one's commit arrives, and the old one goes on from where it froze.
            node.gate.answers.clear()
            node.gate.open()
            await until(lambda: bool(node.gate.answers), "the old commit has reached the store")
            processes.send(worker, signal.SIGCONT)
            await until(lambda: processes.ended(worker), "the old actor leaves")
            await running.more(20)
        # It was refused, looked whose record stands there, and left, with nobody there to end it.
        (refused, looked) = node.gate.answers
        assert (refused.method, refused.status) == ("PUT", 412)
        assert looked == ("GET", refused.key, 200)
    finally:
        processes.send(worker, signal.SIGKILL)
        nodes.drop(node)
    await check_same_receipts(send, running)
    epochs = takeovers(s3, prefix)
    assert epochs[: len(old)] == old, "a record was added to what the old epoch had written"
    assert epochs[len(old)][1], "the new writer's takeover is the next record"
    assert min(epoch for epoch, _ in epochs[len(old) :]) > max(epoch for epoch, _ in old)
    check_exactly_once(open_stores(bucket_url, client=s3).journal_store("shard=0000"), "p", running)


@pytest.mark.long
async def test_a_frozen_actor_that_wakes_up_beside_its_successor_doubles_and_loses_nothing(
    open_desk: Open, nodes: Nodes, tmp_path: Path
) -> None:
    desk = await open_desk(tmp_path.as_uri())
    node, worker = await away_from_us(desk, nodes)
    send = through_desk(desk, "p")
    try:
        async with load(send) as running:
            await running.more(50)
            processes.send(node.raylet, signal.SIGSTOP)
            processes.send(worker, signal.SIGSTOP)
            await running.more(50)
            processes.send(worker, signal.SIGCONT)
            await running.more(50)
    finally:
        processes.send(worker, signal.SIGKILL)
        nodes.drop(node)
    await check_same_receipts(send, running)
    store = open_stores(tmp_path.as_uri()).journal_store("shard=0000")
    epochs = [record.epoch for record in Journal.read(store)]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) > 1
    check_exactly_once(store, "p", running)


async def test_a_folder_as_the_store_of_several_nodes_is_refused_unless_it_is_shared(
    nodes: Nodes, tmp_path: Path
) -> None:
    count = len(nodes.alive())
    with pytest.raises(SettingsError, match=rf"cluster of {count} nodes.*RAYSIGNAL_JOURNAL__SHARED=true"):
        PortfolioClient.connect(Settings(store=tmp_path.as_uri()))
    desk = PortfolioClient.connect(Settings(store=tmp_path.as_uri(), store_shared=True))
    try:
        assert len(await desk.ready()) == 1
    finally:
        await desk.close()


async def test_a_signal_whose_commit_was_held_back_is_taken_in_once_by_the_successor(
    open_desk: Open, nodes: Nodes, s3: Any, bucket_url: str
) -> None:
    desk = await open_desk(bucket_url)
    node, worker = await away_from_us(desk, nodes)
    send = through_desk(desk, "p")
    node.gate.shut()
    asked = asyncio.create_task(send(a_signal("S", 1)))
    await until(node.gate.waiting.is_set, "its commit is on its way")
    # The process dies, its request does not: it reaches the store before the successor looks for the end.
    processes.send(worker, signal.SIGKILL)
    node.gate.answers.clear()
    node.gate.open()
    told = await asked
    assert told["ordinal"] == 0
    assert await send(a_signal("S", 1)) == told | {"replayed": True}
    assert (await desk.standing("p")).count == 1
