"""The store is a bucket: exactly once through faults and restarts, results that others read, a store to refuse."""

import os
import signal
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import StoreUnavailable, UnsafeStore
from raysignal.engine.history.query import query
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.receipts import RowResult
from raysignal.runtime.portfolio_actors import PortfolioClient
from tests.cluster import processes
from tests.cluster.conftest import Open
from tests.cluster.load import (
    a_signal,
    check_exactly_once,
    check_same_receipts,
    journalled,
    load,
    through_desk,
)
from tests.cluster.nodes import Gate, Nodes
from tests.cluster.waiting import until
from tests.support.servers import CREDENTIALS, Fate, forgetful_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SHARD = "shard=0000"


async def seen(desk: PortfolioClient) -> dict[str, Any]:
    (answer,) = await desk.observe()
    return answer


async def gate_of(desk: PortfolioClient, nodes: Nodes) -> Gate:
    """The gate of the node that the actor is on."""
    return nodes.of((await seen(desk))["node"]).gate


async def test_signals_are_taken_in_once_and_stay_through_the_death_of_the_actor(
    open_desk: Open, bucket_url: str, s3: Any
) -> None:
    desk = await open_desk(bucket_url, snapshot_rows=30)
    send = through_desk(desk, "p")
    async with load(send) as running:
        await running.more(40)
        os.kill((await seen(desk))["pid"], signal.SIGKILL)
        await running.more(40)
    await check_same_receipts(send, running)
    stores = open_stores(bucket_url, client=s3)
    ledger = check_exactly_once(stores.journal_store(SHARD), "p", running)
    standing = await desk.standing("p")
    assert standing.as_dict()["performance"]["equity"] == pytest.approx(ledger.equity, rel=1e-12)
    assert [name for name in stores.blobs.list("state/") if "snapshot" in name]


async def test_the_history_in_the_bucket_is_parquet_that_anybody_reads(
    open_desk: Open, bucket_url: str, s3: Any
) -> None:
    desk = await open_desk(bucket_url)
    rows = 500
    batch = SignalBatch.of_signals([a_signal("S", minute) for minute in range(1, rows + 1)])
    answer = await desk.submit(
        "p", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=False
    )
    assert answer.counted(RowResult.ACCEPTED) == rows
    await desk.flush()
    equity = (await desk.standing("p")).as_dict()["performance"]["equity"]
    by_duckdb = query(bucket_url, "SELECT count(*) AS n, max_by(equity, ordinal) AS last FROM history")
    assert by_duckdb.to_pylist() == [{"n": rows, "last": equity}]
    address = bucket_url.removeprefix("s3://") + "/history"
    files = pafs.S3FileSystem(
        access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region=CREDENTIALS["AWS_REGION"],
        endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"],
    )
    by_arrow = ds.dataset(address, filesystem=files, format="parquet", partitioning="hive").to_table()
    by_pandas = pd.read_parquet(address, filesystem=files)
    assert sorted(by_arrow["signal_id"].to_pylist()) == sorted(batch.signal_id.to_list())
    assert by_pandas.sort_values("ordinal")["equity"].iloc[-1] == equity


async def test_errors_and_lost_answers_of_the_store_are_outlasted_and_a_commit_without_one_is_found_again(
    open_desk: Open, nodes: Nodes, bucket_url: str, s3: Any
) -> None:
    desk = await open_desk(bucket_url)
    send = through_desk(desk, "p")
    gate = await gate_of(desk, nodes)
    told = []
    plans: list[tuple[Fate, ...]] = [
        ("refuse", "refuse-after", "lose", "lose-after"),
        ("hang-after",),
        ("pass",),
    ]
    for minute, fates in enumerate(plans, 1):
        gate.plan(*fates)
        told.append(await send(a_signal("S", minute)))
    assert [each["ordinal"] for each in told] == [0, 1, 2]
    assert not any(each["replayed"] for each in told)
    assert (await seen(desk))["epoch"] == 1
    # A commit that is made and never confirmed, in five tries, is found again.
    unconfirmed: list[Fate] = ["refuse-after"] * 5
    gate.plan(*unconfirmed)
    batch = SignalBatch.of_signals([a_signal("S", 4)])
    with pytest.raises(StoreUnavailable):
        await desk.submit("p", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=True)
    again = await send(a_signal("S", 4))
    assert again["replayed"]
    assert again["ordinal"] == 3
    assert len(journalled(open_stores(bucket_url, client=s3).journal_store(SHARD), "p")) == 4


async def test_the_actors_end_even_when_the_store_is_down(
    open_desk: Open, nodes: Nodes, bucket_url: str, s3: Any
) -> None:
    desk = await open_desk(bucket_url)
    send = through_desk(desk, "p")
    told = await send(a_signal("S", 1))
    actor, gate = (await seen(desk))["pid"], await gate_of(desk, nodes)
    gate.break_down()
    with pytest.raises(StoreUnavailable):
        await desk.close()
    await until(lambda: processes.ended(actor), "the actor has ended")
    gate.plan()
    assert await send(a_signal("S", 1)) == told | {"replayed": True}


async def test_a_store_that_ignores_conditional_writes_is_refused_with_a_sentence(
    nodes: Nodes, open_desk: Open, bucket_url: str
) -> None:
    desk = await open_desk(bucket_url)
    with forgetful_server() as server:
        for node in nodes.all:
            node.gate.lead_to(server.url)
        os.kill((await seen(desk))["pid"], signal.SIGKILL)
        with pytest.raises(UnsafeStore, match=r"does not enforce conditional writes.*two writers"):
            await desk.ready()
        for node in nodes.all:
            node.gate.lead_to(nodes.server)
    assert await desk.ready()
