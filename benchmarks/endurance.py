"""What a long life costs: the actor's memory over millions of signals, and how soon it is back after an end.

    python -m benchmarks.endurance

A local Ray cluster, a local store, signals of one portfolio in batches of 10 000 straight to the actor. Half of
the ids are the caller's own, so the index of ids has to be asked for them; the other half is derived. At one and
at five million the actor's resident memory is read from the kernel, and the very first signals are sent again:
they must get their first answer. Then the actor is ended, three times, at one million signals: after a flush,
by kill -9 in full flight, and with all snapshots deleted; the time until it can commit again is measured.
"""

import asyncio
import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import ray

from benchmarks.figures import Figure
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.portfolio.receipts import RowResult, Submission
from raysignal.runtime.portfolio_actors import PortfolioClient
from raysignal.runtime.settings import Settings

MILLION = 1_000_000
BATCH = 10_000
START_US = 1_700_000_000_000_000
UNSAVED = 30_000


def measure(checkpoints: tuple[int, ...] = (MILLION, 5 * MILLION)) -> list[Figure]:
    """The figures: what, value, unit, and the target where there is one."""
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="raysignal-endurance-") as folder:
            return asyncio.run(_measure(Path(folder), checkpoints))
    finally:
        ray.shutdown()


async def _measure(folder: Path, checkpoints: tuple[int, ...]) -> list[Figure]:
    desk = PortfolioClient.connect(Settings(store=(folder / "store").as_uri()))
    await desk.ready()
    results = []
    sent, seconds = 0, 0.0
    first = batch_from(0)
    receipts: Submission | None = None
    for checkpoint in checkpoints:
        began = time.perf_counter()
        await _send(desk, range(sent, checkpoint, BATCH))
        seconds += time.perf_counter() - began
        sent = checkpoint
        again = await submit(desk, first, receipts=True)
        assert again.counted(RowResult.REPLAYED) == BATCH
        if receipts is not None:
            assert receipts.accounts is not None
            assert again.accounts is not None
            assert receipts.accounts.tobytes() == again.accounts.tobytes()
        receipts = again
        await desk.flush()
        results.append(
            figure(
                f"resident memory of the actor at {sent // MILLION} million signals",
                resident_mb((await desk.observe())[0]["pid"]),
                "MB",
            )
        )
        if checkpoint == MILLION:
            results += await _restarts(desk, folder)
            sent += UNSAVED
    results.append(
        figure("signals/s taken in, durable, straight to the actor", checkpoints[-1] / seconds, "1/s")
    )
    await desk.close()
    return results


async def _restarts(desk: PortfolioClient, folder: Path) -> list[Figure]:
    results = [
        figure(
            "restart to ready, 1 million signals in the journal, flushed before",
            await _restart(desk),
            "s",
            target=5.0,
        )
    ]
    # Half a snapshot's worth of rows that only the journal holds.
    await _send(desk, range(MILLION, MILLION + UNSAVED, BATCH))
    results.append(
        figure(
            "restart to ready, kill -9 with 30 000 signals since the snapshot",
            await _restart(desk),
            "s",
            target=5.0,
        )
    )
    for path in (folder / "store").glob("state/*/snapshots/*"):
        path.unlink()
    results.append(figure("restart to ready, every snapshot lost", await _restart(desk), "s", target=5.0))
    return results


async def _restart(desk: PortfolioClient) -> float:
    (before,) = await desk.observe()
    os.kill(before["pid"], signal.SIGKILL)
    began = time.perf_counter()
    await desk.ready()
    seconds = time.perf_counter() - began
    (after,) = await desk.observe()
    assert after["pid"] != before["pid"]
    return seconds


async def _send(desk: PortfolioClient, starts: range) -> None:
    for start in starts:
        answer = await submit(desk, batch_from(start), receipts=False)
        assert answer.counted(RowResult.ACCEPTED) == BATCH, answer.errors


async def submit(desk: PortfolioClient, batch: SignalBatch, *, receipts: bool) -> Submission:
    """Send a batch to the primary portfolio."""
    return await desk.submit(
        "baseline", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=receipts
    )


def batch_from(start: int) -> SignalBatch:
    """`BATCH` signals from number `start` on, a second apart; every other one with an id of its caller's."""
    number = np.arange(start, start + BATCH)
    ids = [f"order-{n}" if n % 2 else None for n in number.tolist()]
    return SignalBatch.of(
        timestamp_us=START_US + number * 1_000_000,
        action=((number * 2_654_435_761 >> 7) % 3 - 1).astype(np.int8),
        price=100.0 + 10.0 * np.sin(number / 5_000.0),
        symbol=np.zeros(BATCH, np.int32),
        symbols=["BTC"],
        source=np.zeros(BATCH, np.int32),
        sources=["endurance"],
        signal_id=TextColumn.of(ids),
    )


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB, file pages included."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    """One line of the result."""
    return Figure("endurance", what, value, unit, target, "less" if unit in {"s", "MB"} else "more")


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:75} {row.shown:>20} {row.asked}")
