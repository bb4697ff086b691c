"""The mailbox around a shard: many callers, group commit, failures of the store. Real files, no cluster."""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    Fenced,
    JournalDamaged,
    LateSignal,
    NotFound,
    PortfolioConflict,
    StoreUnavailable,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.journal.disk import AppendFile, RealDisk
from raysignal.engine.journal.local import LocalStore
from raysignal.engine.portfolio.mailbox import Mailbox
from raysignal.engine.portfolio.receipts import RowResult, Submission
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.runtime.bootstrap import build_mailbox
from raysignal.runtime.settings import Settings

SEGMENT, PARQUET = ".segment", ".parquet"
START_US = 1_700_000_000_000_000


class GatedDisk(RealDisk):
    """The real disk; appends to files of a kind can be held up, or made to fail."""

    def __init__(self) -> None:
        self.gates: dict[str, threading.Event] = {}
        self.waiting: dict[str, threading.Semaphore] = {}
        self.failures: list[str] = []
        self.full = False

    def open_append(self, path: Path) -> AppendFile:
        return _GatedFile(self, path.name, super().open_append(path))

    def hold(self, kind: str) -> None:
        """Let appends to files of this kind wait."""
        self.waiting[kind] = threading.Semaphore(0)
        self.gates[kind] = threading.Event()

    def release(self, kind: str) -> None:
        """Let them go on."""
        self.gates[kind].set()

    def hold_no_more(self, kind: str) -> threading.Event:
        """Let new appends pass; what lets those go on that wait."""
        return self.gates.pop(kind)

    def enter(self, name: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", name)
        for kind, gate in list(self.gates.items()):
            if kind in name and not gate.is_set():
                self.waiting[kind].release()
                assert gate.wait(30)
        for failing in list(self.failures):
            if failing in name:
                self.failures.remove(failing)
                raise OSError(5, "the disk is broken", name)


class _GatedFile:
    def __init__(self, disk: GatedDisk, name: str, file: AppendFile) -> None:
        self._disk, self._name, self._file = disk, name, file

    def append(self, buffers: list[bytes]) -> None:
        self._disk.enter(self._name)
        self._file.append(buffers)

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class Bench:
    """A mailbox on files, and what one may do to it."""

    def __init__(self, folder: Path, limits: ShardLimits) -> None:
        self.folder = folder
        self.limits = limits
        self.disk = GatedDisk()
        self.opened = 0
        self.fenced = 0
        self.mailbox = Mailbox(self.open, self.view, clock=lambda: 0.0, flush_s=3600.0, on_fenced=self._count)

    def open(self, _durable: int) -> Shard:
        self.opened += 1
        return Shard.open(
            LocalStore(self.folder / "journal", self.disk), DiskBlobs(self.folder / "blobs", self.disk),
            prefix="state", cache_dir=self.folder / "cache", limits=self.limits, policies={"baseline": Policy()},
        )  # fmt: skip

    def view(self, last: int | None) -> Shard:
        return Shard.view(
            LocalStore(self.folder / "journal", self.disk), DiskBlobs(self.folder / "blobs", self.disk),
            prefix="state", cache_dir=self.folder / "cache", limits=self.limits, last=last,
        )  # fmt: skip

    def _count(self) -> None:
        self.fenced += 1

    async def send(self, *minutes: int, price: float = 100.0, receipts: bool = False) -> Submission:
        signals = [
            Signal("BTC", START_US + minute * 60_000_000, Action.BUY, price, signal_id=f"s{minute}")
            for minute in minutes
        ]
        return await self.mailbox.submit(
            "baseline", SignalBatch.of_signals(signals).encode(), all_or_nothing=True, accept_price_jump=False,
            receipts=receipts,
        )  # fmt: skip

    async def held_up(self, kind: str) -> None:
        """Until one more append to a file of this kind waits."""
        assert await asyncio.get_running_loop().run_in_executor(
            None, self.disk.waiting[kind].acquire, True, 30
        )


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def bench(**limits: int) -> Bench:
        made.append(Bench(tmp_path, ShardLimits(**limits)))
        return made[-1]

    yield bench
    for each in made:
        for kind in each.disk.gates:
            each.disk.release(kind)
        each.disk.failures.clear()
        await each.mailbox.close()


async def test_an_answer_comes_only_after_its_record_is_written(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.mailbox.ready()
    await bench.mailbox.standings()
    bench.disk.hold(SEGMENT)

    call = asyncio.ensure_future(bench.send(0))
    await bench.held_up(SEGMENT)
    assert not call.done()
    bench.disk.release(SEGMENT)

    assert (await call).taken.tolist() == [RowResult.ACCEPTED]


async def test_what_arrives_during_a_commit_shares_the_next_one(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.mailbox.standings()
    before = bench.mailbox.counts.commits
    bench.disk.hold(SEGMENT)

    calls = [asyncio.ensure_future(bench.send(0))]
    await bench.held_up(SEGMENT)
    calls += [asyncio.ensure_future(bench.send(minute)) for minute in range(1, 40)]
    await asyncio.sleep(0)
    bench.disk.release(SEGMENT)
    answers = await asyncio.gather(*calls)

    assert [answer.ordinal.tolist() for answer in answers] == [[minute] for minute in range(40)]
    assert bench.mailbox.counts.commits - before == 2
    assert bench.mailbox.counts.records - 1 == 40  # and the creation


async def test_sixty_four_callers_with_one_signal_make_one_record(make: Callable[..., Bench]) -> None:
    bench = make()

    answers = await asyncio.gather(*(bench.send(0, receipts=True) for _ in range(64)))

    taken = [RowResult(answer.taken[0]) for answer in answers]
    assert (taken.count(RowResult.ACCEPTED), taken.count(RowResult.REPLAYED)) == (1, 63)
    assert len({answer.accounts.tobytes() for answer in answers}) == 1
    assert bench.mailbox.counts.records == 2


async def test_a_replay_waits_until_the_first_is_durable(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.mailbox.standings()
    bench.disk.hold(SEGMENT)

    calls = [asyncio.ensure_future(bench.send(0)), asyncio.ensure_future(bench.send(0))]
    await bench.held_up(SEGMENT)
    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    bench.disk.release(SEGMENT)

    assert [answer.taken.tolist() for answer in await asyncio.gather(*calls)] == [
        [RowResult.ACCEPTED], [RowResult.REPLAYED],
    ]  # fmt: skip


async def test_refusals_are_raised_and_counted_by_their_name(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.send(5)

    with pytest.raises(LateSignal):
        await bench.send(1)
    with pytest.raises(NotFound):
        await bench.mailbox.find("baseline", "s1")

    assert bench.mailbox.counts.received == 2
    assert bench.mailbox.counts.accepted == 1
    assert bench.mailbox.counts.refused == {"LateSignal": 1}


async def test_a_failed_write_tells_everyone_who_waits_and_the_shard_is_opened_anew(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    await bench.send(0)
    bench.disk.hold(SEGMENT)
    calls = [asyncio.ensure_future(bench.send(1))]
    await bench.held_up(SEGMENT)
    calls += [asyncio.ensure_future(bench.send(minute)) for minute in (2, 3)]
    await asyncio.sleep(0)
    bench.disk.failures.append(SEGMENT)
    bench.disk.release(SEGMENT)

    told = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in told] == [StoreUnavailable] * 3
    assert bench.mailbox.observe()["store_failures"] == {"EIO": 1}
    assert (await bench.send(1, 2, 3)).taken.tolist() == [RowResult.ACCEPTED] * 3
    assert bench.opened == 2
    assert (await bench.send(0)).taken.tolist() == [RowResult.REPLAYED]
    assert bench.fenced == 0


async def test_a_shard_that_was_given_up_does_not_harm_the_one_opened_after_it(
    make: Callable[..., Bench],
) -> None:
    bench = make(checkpoint_rows=1)
    await bench.mailbox.standings()
    bench.disk.hold(PARQUET)
    await bench.send(0)
    await bench.held_up(PARQUET)  # the checkpoint of the first row
    bench.disk.hold(SEGMENT)
    call = asyncio.ensure_future(bench.send(1))
    await bench.held_up(SEGMENT)  # the commit of the second

    bench.disk.failures.append(PARQUET)
    bench.disk.release(PARQUET)
    with pytest.raises(StoreUnavailable):
        await call
    old_commit = bench.disk.hold_no_more(SEGMENT)
    again = asyncio.ensure_future(bench.send(0, 1, 2))
    while bench.mailbox.observe()["epoch"] != 2:  # noqa: ASYNC110 - opened anew while the old commit stands
        await asyncio.sleep(0)
    old_commit.set()

    async with asyncio.timeout(30):
        assert (await again).ordinal.tolist() == [0, 1, 2]
        assert (await bench.send(3)).ordinal.tolist() == [3]
    assert bench.opened == 2
    assert bench.fenced == 0


async def test_a_superseded_mailbox_says_so_once_and_acknowledges_nothing(make: Callable[..., Bench]) -> None:
    old, new = make(), make()
    await old.send(0)
    await new.send(1)

    with pytest.raises(Fenced):
        await old.send(2)

    assert old.fenced == 1
    assert (await new.mailbox.standings("baseline"))[0].count == 2


async def test_a_portfolio_that_is_answered_is_durable(make: Callable[..., Bench]) -> None:
    bench = make()

    standing, new = await bench.mailbox.create("third", Policy(fee_bps=1.0))
    assert new
    assert standing.portfolio == "third"
    with pytest.raises(PortfolioConflict):
        await bench.mailbox.create("third", Policy())

    again = make()
    assert {each.portfolio for each in await again.mailbox.standings()} == {"baseline", "third"}


async def test_a_flush_moves_everything_to_the_history_and_receipts_stay_the_same(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    first = await bench.send(0, 1, 2, receipts=True)
    assert (await bench.mailbox.recent("baseline")).first == 0

    await bench.mailbox.flush()

    recent = await bench.mailbox.recent("baseline")
    assert (recent.first, recent.tables) == (3, [])
    again = await bench.send(0, 1, 2, receipts=True)
    assert again.taken.tolist() == [RowResult.REPLAYED] * 3
    assert again.accounts.tobytes() == first.accounts.tobytes()
    assert (await bench.mailbox.find("baseline", "s1")).ordinal == 1
    assert bench.mailbox.counts.checkpoints == 1


async def test_rows_that_alternate_between_days_wait_for_ten_flushes(make: Callable[..., Bench]) -> None:
    bench = make()
    day = 24 * 60
    for number, minute in enumerate((0, day, 1, day + 1)):
        symbol = f"S{minute >= day}"
        signal = Signal(symbol, START_US + minute * 60_000_000, Action.BUY, 100.0, signal_id=f"s{number}")
        await bench.mailbox.submit(
            "baseline", SignalBatch.of_signals([signal]).encode(), all_or_nothing=True, accept_price_jump=False,
            receipts=False,
        )  # fmt: skip

    for _ in range(9):
        bench.mailbox._flush_if_idle()
    assert (await bench.mailbox.recent("baseline")).first == 0

    bench.mailbox._flush_if_idle()
    await bench.mailbox._checkpoint_written()
    assert (await bench.mailbox.recent("baseline")).first == 4
    await bench.send(2 * day)
    bench.mailbox._flush_if_idle()
    await bench.mailbox._checkpoint_written()
    assert (await bench.mailbox.recent("baseline")).first == 5


async def test_a_flush_whose_checkpoint_fails_says_so(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.send(0)
    bench.disk.failures.append(PARQUET)

    with pytest.raises(StoreUnavailable):
        await bench.mailbox.flush()

    await bench.send(1)
    await bench.mailbox.flush()
    assert (await bench.mailbox.recent("baseline")).first == 2


async def test_the_memory_stays_bounded_while_checkpoints_are_slow(make: Callable[..., Bench]) -> None:
    bench = make(checkpoint_rows=5)
    await bench.mailbox.standings()
    bench.disk.hold(PARQUET)
    await bench.send(*range(5))
    await bench.held_up(PARQUET)
    await bench.send(*range(5, 16))

    crowded = asyncio.ensure_future(bench.send(16))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not crowded.done()
    assert bench.mailbox.observe()["rows_kept"] == 11
    bench.disk.release(PARQUET)

    assert (await crowded).ordinal.tolist() == [16]


async def test_closing_keeps_everything_for_the_next_one(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.send(0, 1)
    await bench.mailbox.close()

    again = make()
    assert (await again.mailbox.standings("baseline"))[0].count == 2
    assert again.mailbox.observe()["rows_kept"] == 0


@pytest.mark.parametrize("checkpoint_rows", [2, 1_000])
async def test_while_the_disk_is_full_reads_tell_what_was_acknowledged_and_nothing_else(
    make: Callable[..., Bench], checkpoint_rows: int
) -> None:
    bench = make(checkpoint_rows=checkpoint_rows)
    await bench.send(0, 1, 2)
    await bench.mailbox.flush()
    await bench.send(3)
    bench.disk.full = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="No space"):
            await bench.send(4)
        (standing,) = await bench.mailbox.standings()
        assert standing.count == 4
        assert (await bench.mailbox.find("baseline", "s3")).ordinal == 3
        with pytest.raises(NotFound, match="s4"):
            await bench.mailbox.find("baseline", "s4")
        assert sum(len(table) for table in (await bench.mailbox.recent("baseline")).tables) == 1
        with pytest.raises(StoreUnavailable):
            await bench.mailbox.ready()
    bench.disk.full = False
    await bench.send(4)
    (standing,) = await bench.mailbox.standings()
    assert standing.count == 5


@pytest.mark.parametrize("full", [True, False])
async def test_a_read_that_waits_beside_a_commit_that_fails_tells_what_was_acknowledged(
    make: Callable[..., Bench], full: bool
) -> None:
    bench = make()
    await bench.send(0, 1, 2)
    bench.disk.hold(SEGMENT)
    post = asyncio.ensure_future(bench.send(3))
    await bench.held_up(SEGMENT)
    reads = [
        asyncio.ensure_future(each)
        for each in (
            bench.mailbox.standings(),
            bench.mailbox.find("baseline", "s1"),
            bench.mailbox.recent("baseline"),
        )
    ]
    unknown = asyncio.ensure_future(bench.mailbox.find("baseline", "s3"))
    await asyncio.wait([*reads, unknown], timeout=0)
    bench.disk.failures.append(SEGMENT)
    bench.disk.full = full
    bench.disk.release(SEGMENT)

    with pytest.raises(StoreUnavailable):
        await post
    with pytest.raises(NotFound, match="s3"):
        await unknown
    (standing,), found, recent = await asyncio.gather(*reads)
    assert (standing.count, found.ordinal, sum(len(table) for table in recent.tables)) == (3, 1, 3)
    bench.disk.full = False
    assert (await bench.send(3)).standing.count == 4


async def test_a_disk_that_is_full_at_the_start_is_read_all_the_same(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.send(0, 1)
    await bench.mailbox.close()
    again = make()
    again.disk.full = True
    (standing,) = await again.mailbox.standings("baseline")
    assert standing.count == 2
    with pytest.raises(StoreUnavailable):
        await again.send(2)
    again.disk.full = False
    await again.send(2)


async def test_a_store_that_cannot_be_read_either_says_why_it_cannot_be_written(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    await bench.send(0)
    await bench.mailbox.close()
    again = make()
    again.disk.full = True
    (segment,) = [each for each in (again.folder / "journal").iterdir() if SEGMENT in each.name]
    content = bytearray(segment.read_bytes())
    content[content.index(b"baseline")] ^= 1
    segment.write_bytes(content)
    with pytest.raises((StoreUnavailable, JournalDamaged)):
        await again.mailbox.standings()
    segment.unlink()
    again.disk.full = False


def move_store(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))


def empty_store(store: Path) -> None:
    """As a mount point looks whose disk is away."""
    move_store(store)
    store.mkdir()


def remove_journal(store: Path) -> None:
    shutil.rmtree(store / "journal")


def remove_segments(store: Path) -> None:
    for path in store.rglob("*.segment"):
        path.unlink()


def empty_segments(store: Path) -> None:
    for path in store.rglob("*.segment"):
        os.truncate(path, 0)


@pytest.mark.parametrize("harm", [move_store, empty_store, remove_journal, remove_segments, empty_segments])
async def test_nothing_is_acknowledged_or_told_once_the_journal_was_removed_under_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = tmp_path / "store"
    mailbox = build_mailbox(Settings(store=store.as_uri(), flush_s=3600.0), 0, on_fenced=lambda: None)

    async def send(minute: int) -> Submission:
        signal = Signal("BTC", START_US + minute * 60_000_000, Action.BUY, 100.0, signal_id=f"s{minute}")
        return await mailbox.submit(
            "baseline", SignalBatch.of_signals([signal]).encode(), all_or_nothing=True, accept_price_jump=False,
            receipts=False,
        )  # fmt: skip

    for minute in range(3):
        await send(minute)
    shutil.copytree(store, tmp_path / "copy")
    harm(store)

    with pytest.raises(StoreUnavailable):
        await send(3)
    left = sorted(path for path in store.rglob("*") if path.suffix != ".tmp")
    for call in (lambda: send(3), mailbox.standings, mailbox.ready):
        with pytest.raises(JournalDamaged):
            await call()
    if harm in {move_store, empty_store, remove_journal}:
        assert sorted(store.rglob("*")) == left

    shutil.rmtree(store, ignore_errors=True)
    (tmp_path / "copy").rename(store)
    assert (await send(3)).standing.count == 4
    await mailbox.close()


async def test_rows_are_handed_to_the_broadcast_once_they_are_durable(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.mailbox.ready()
    await bench.mailbox.standings()
    assert (await bench.mailbox.tail(0, 10, 0.0)).end == 0
    bench.disk.hold(SEGMENT)

    waiting = asyncio.ensure_future(bench.mailbox.tail(0, 10, 30.0))
    call = asyncio.ensure_future(bench.send(0, 1))
    await bench.held_up(SEGMENT)
    late = asyncio.ensure_future(bench.mailbox.tail(1, 10, 0.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not late.done()
    bench.disk.release(SEGMENT)

    await call
    assert [(part.number, len(part.rows)) for part in (await waiting).parts] == [(0, 2)]
    assert [(part.number, len(part.rows)) for part in (await late).parts] == [(1, 1)]


async def test_replicas_of_the_broadcast_are_counted_together(make: Callable[..., Bench]) -> None:
    bench = make()
    await bench.mailbox.note_stream("a", {"clients": 2, "sent": 5})
    await bench.mailbox.note_stream("b", {"clients": 1, "sent": 1})
    await bench.mailbox.note_stream("a", {"clients": 3, "sent": 9})
    assert bench.mailbox.observe()["stream"] == {"clients": 4, "sent": 10}
