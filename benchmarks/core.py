"""What a small submission costs on its way: `python -m benchmarks.core`.

Under load an actor gets batches of some ten signals, each of another symbol, and answers with receipts. Here a
real shard takes such batches in one process, and the time that is counted is the processor's. Its files are
real ones that are not synced: what a sync costs is the disk's affair.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake import Reading, read_signal
from raysignal.engine.journal.disk import AppendFile, RealDisk
from raysignal.engine.journal.frames import Bytes
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.shard import Shard, ShardLimits

SIZES = (1, 8, 32, 64)
SYMBOLS = 64
_SIGNALS = 6_400
_ROUNDS = 7
_BEGIN_US = 1_700_000_000_000_000
_MINUTE_US = 60_000_000
_LIMITS = ShardLimits(checkpoint_rows=1 << 40, checkpoint_bytes=1 << 60)


def measure(signals: int = _SIGNALS, rounds: int = _ROUNDS) -> list[Figure]:
    """Microseconds of the processor's time a signal, for each step and each size of a submission."""
    figures = [_reading(signals, rounds)]
    for size in SIZES:
        endless = _signals()
        batches = [[next(endless) for _ in range(size)] for _ in range(signals // size)]
        encoded = [_encoded(batch) for batch in batches]
        least = _least(partial(_each, _encoded, batches), rounds) / signals
        figures.append(
            _figure(f"of_signals, in_time, encode, {size} rows", least, 15.0 if size == 32 else None)
        )
        least = _least(partial(_each, SignalBatch.decode, encoded), rounds) / signals
        figures.append(_figure(f"decode, {size} rows", least))
        spent = [_through_a_shard(encoded) for _ in range(rounds)]
        for name, column in zip(("submit", "commit", "finish"), zip(*spent, strict=True), strict=True):
            figures.append(_figure(f"{name}, {size} rows", min(column) / signals))
        whole = min(map(sum, spent)) / signals
        figures.append(
            _figure(f"submit, commit and finish, {size} rows", whole, 40.0 if size == 32 else None)
        )
    return figures


def _reading(signals: int, rounds: int) -> Figure:
    bodies = [
        json.dumps({
            "symbol": signal.symbol, "timestamp": format_instant(signal.timestamp_us),
            "signal": int(signal.action), "price": signal.price,
        }).encode()
        for signal, _ in zip(_signals(), range(signals), strict=False)
    ]  # fmt: skip
    reading = Reading(now_us=_BEGIN_US + 10**15)
    least = _least(
        lambda: [read_signal(body, reading, content_type="application/json") for body in bodies], rounds
    )
    return _figure("read_signal, one JSON object", least / signals, 25.0)


def _through_a_shard(batches: Sequence[bytes]) -> tuple[float, float, float]:
    """Seconds spent in `submit`, in the commit, and in making the answers."""
    with tempfile.TemporaryDirectory(prefix="raysignal-core-") as folder:
        shard = Shard.open(
            LocalStore(Path(folder) / "journal", _Unsynced()), open_stores(Path(folder).as_uri()).blobs,
            prefix="state/core", cache_dir=Path(folder) / "cache", limits=_LIMITS, policies={"core": Policy()},
        )  # fmt: skip
        submitting = committing = finishing = 0.0
        for batch in batches:
            began = time.process_time()
            pending = shard.submit(
                "core", batch, all_or_nothing=False, accept_price_jump=False, receipts=True
            )
            submitted = time.process_time()
            commit = shard.next_commit()
            assert commit is not None
            shard.write(commit)
            shard.committed()
            committed = time.process_time()
            answer = pending.finish()
            finished = time.process_time()
            assert not answer.errors
            submitting += submitted - began
            committing += committed - submitted
            finishing += finished - committed
        shard.journal.close()
    return submitting, committing, finishing


class _Unsynced(RealDisk):
    """Real files, nothing waits for the disk."""

    def open_append(self, path: Path) -> AppendFile:
        return _UnsyncedFile(super().open_append(path))

    def sync_dir(self, path: Path) -> None:
        pass


class _UnsyncedFile:
    def __init__(self, file: AppendFile) -> None:
        self.append: Callable[[Sequence[Bytes]], None] = file.append
        self.close: Callable[[], None] = file.close

    def sync(self) -> None:
        pass


def _signals() -> Iterator[Signal]:
    """Minute after minute, each symbol once in every minute."""
    for n in count():
        minute, symbol = divmod(n, SYMBOLS)
        yield Signal(
            f"S{symbol:03d}", _BEGIN_US + minute * _MINUTE_US, Action(n % 2 * 2 - 1), 95_000.0 + n % 977
        )


def _encoded(signals: Sequence[Signal]) -> bytes:
    return SignalBatch.of_signals(signals).in_time().encode()


def _each(step: Callable[[Any], object], inputs: Sequence[Any]) -> None:
    for one in inputs:
        step(one)


def _least(run: Callable[[], object], rounds: int) -> float:
    """Seconds of the processor's time, the least of `rounds`."""
    run()
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return min(spent)


def _figure(what: str, seconds: float, target_us: float | None = None) -> Figure:
    return Figure("core", f"{what}: CPU a signal", seconds * 1e6, "µs", target_us, "less")


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<70} {found.shown:>12} {found.asked}")
