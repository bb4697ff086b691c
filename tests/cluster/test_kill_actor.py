"""The portfolio actor is killed while clients wait for its answers."""

import os
import signal
from pathlib import Path

import pytest

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.portfolio_actors import PortfolioClient
from tests.cluster.conftest import Open
from tests.cluster.load import check_exactly_once, check_same_receipts, load, through_desk

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def pid_of(desk: PortfolioClient) -> int:
    (seen,) = await desk.observe()
    return int(seen["pid"])


@pytest.mark.long
async def test_what_was_acknowledged_survives_two_deaths_of_the_actor_once(
    open_desk: Open, tmp_path: Path
) -> None:
    desk = await open_desk(tmp_path.as_uri(), snapshot_rows=50)
    send = through_desk(desk, "p")
    killed = []
    async with load(send) as running:
        for _ in range(2):
            await running.more(100)
            killed.append(await pid_of(desk))
            os.kill(killed[-1], signal.SIGKILL)
        await running.more(100)
    assert await pid_of(desk) not in killed
    assert killed[0] != killed[1]
    await check_same_receipts(send, running)
    standing = await desk.standing("p")
    await desk.close()
    journal = open_stores(tmp_path.as_uri()).journal_store("shard=0000")
    ledger = check_exactly_once(journal, "p", running)
    assert standing.count == len(running.receipts)
    assert standing.as_dict()["performance"]["equity"] == pytest.approx(ledger.equity, rel=1e-12)


async def test_a_read_that_is_not_answered_ends_with_a_sentence(open_desk: Open, tmp_path: Path) -> None:
    desk = await open_desk(tmp_path.as_uri())
    pid = await pid_of(desk)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=r"portfolios-0 did not answer within 0\.5 s"):
            await desk.ready(within_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(await desk.ready()) == 1
    await desk.close()
