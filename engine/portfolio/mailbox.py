"""The mailbox around a shard: many callers, one writer, group commit. asyncio and two threads, no Ray.

Records that arrive while a commit is being written wait and join the next one. A caller gets its answer only
after its record is durable. When a write fails, every waiting caller is told, the shard is thrown away (what it
applied may not be durable) and opened anew at the next call.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt64Array
from raysignal.engine.core.errors import (
    Fenced,
    RaysignalError,
    StoreError,
    StoreUnavailable,
    store_failure_reason,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.receipts import (
    FollowedRows,
    FoundSignal,
    PortfolioStatus,
    RecentRows,
    Submission,
    SymbolMark,
)
from raysignal.engine.portfolio.refusal_log import RefusalLog, read_refusals, write_refusals
from raysignal.engine.portfolio.shard import Checkpoint, PendingSubmission, Shard
from raysignal.engine.portfolio.stream_rows import ShardTail

T = TypeVar("T")

COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_REFUSALS_EVERY_S = 5.0
"""Refusals are stored at once, and then so seldom: senders repeat their mistakes."""

_STREAM_TELLS_S = 15.0
"""A replica of the broadcast that has clients tells of them more often."""

_VIEW_S = 1.0
_ALTERNATING_FLUSHES = 10
"""How many times `flush_s` rows wait that alternate between dates: a file a date would be written each time."""


@dataclass(slots=True)
class Counts:
    """What this mailbox has seen since it began; exact, because there is one.

    Attributes:
        received, accepted, replayed, executed: rows; `executed` are fills.
        refused: rows by the name of their error.
        commits, records: written and durable.
        commit_s: seconds spent in commits; `commit_buckets` counts them by `COMMIT_BUCKETS_S` and above.
        checkpoints: written.
        decided: rows that were taken in with somebody's decisions.
        store_failures: commits, checkpoints and openings that failed, by `store_failure_reason`.
        refusals: signals that were refused at the entrances of the service, by the name of their error, since this
            process began; those that are listed, and their counts, outlive it.
    """

    received: int = 0
    accepted: int = 0
    replayed: int = 0
    executed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    records: int = 0
    commit_s: float = 0.0
    commit_buckets: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BUCKETS_S) + 1))
    checkpoints: int = 0
    decided: int = 0
    store_failures: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def take(self, pending: PendingSubmission) -> None:
        """Count what was submitted."""
        self.received += pending.rows
        self.accepted += pending.accepted
        self.replayed += pending.replayed
        self.executed += pending.executed
        self.refused.update(pending.refused)

    def time_commit(self, seconds: float, records: int) -> None:
        """Count one commit."""
        self.commits += 1
        self.records += records
        self.commit_s += seconds
        self.commit_buckets[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1


class Mailbox:
    """Serves one shard to many callers on one event loop.

    Args:
        open_shard: opens the shard; blocking; called again after a failure, with the sequence number of the last
            record that is known to be durable (0: none), which the journal must hold.
        view_shard: the shard to be read alone, up to a record (None: all there is), for as long as it cannot be
            opened; blocking.
        clock: seconds, monotonic; only measures.
        flush_s: how long processed rows wait for a checkpoint when nothing else makes one due.
        on_fenced: called once another writer has taken over; this mailbox answers nothing from then on.
    """

    def __init__(
        self,
        open_shard: Callable[[int], Shard],
        view_shard: Callable[[int | None], Shard],
        *,
        clock: Callable[[], float],
        flush_s: float,
        on_fenced: Callable[[], None],
    ) -> None:
        self._open_shard = open_shard
        self._view_shard = view_shard
        self._clock = clock
        self._flush_s = flush_s
        self._on_fenced = on_fenced
        self._shard: Shard | None = None
        self._view: Shard | None = None
        self._view_until = 0.0
        self._durable_before: int | None = None
        self._opening = asyncio.Lock()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._checkpointing: asyncio.Task[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushes_put_off = 0
        self._writer = ThreadPoolExecutor(1, "commit")
        self._background = ThreadPoolExecutor(1, "checkpoint")
        self._news_now: asyncio.Future[None] | None = None
        self.counts = Counts()
        self._streams: dict[str, tuple[float, dict[str, int]]] = {}
        self._refusals = RefusalLog()
        self._storing_refusals: asyncio.Task[None] | None = None

    async def submit(
        self,
        portfolio: str,
        encoded: bytes,
        *,
        all_or_nothing: bool,
        accept_price_jump: bool,
        receipts: bool,
        positions: Int64Array | None = None,
        decisions: bytes | None = None,
    ) -> Submission:
        """See `Shard.submit`; all that the answer accepts is durable.

        What comes with decisions came in before, for another portfolio: it is counted as decided, nowhere else.
        """
        shard = await self._opened()
        while shard.crowded and (task := self._checkpointing) is not None:
            await asyncio.shield(task)
        try:
            pending = shard.submit(
                portfolio, encoded, all_or_nothing=all_or_nothing, accept_price_jump=accept_price_jump,
                receipts=receipts, positions=positions, decisions=decisions,
            )  # fmt: skip
        except RaysignalError as error:
            rows = error.fields.get("rows", 1)
            self.counts.received += rows
            self.counts.refused[type(error).__name__] += rows
            raise
        if decisions is None:
            self.counts.take(pending)
        else:
            self.counts.decided += pending.accepted
        await self._durable(shard, pending.sequence)
        return await self._aside(pending.finish) if pending.blocks else pending.finish()

    async def create(self, portfolio: str, policy: Policy) -> tuple[PortfolioStatus, bool]:
        """See `Shard.create`; the portfolio is durable."""
        shard = await self._opened()
        standing, new = shard.create(portfolio, policy)
        await self._durable(shard, standing.sequence)
        return standing, new

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool:
        """See `Shard.rename_symbol`; what it answers is durable."""
        shard = await self._opened()
        renamed = shard.rename_symbol(portfolio, old, new)
        await self._durable(shard, shard.sequence)
        return renamed

    async def standings(self, portfolio: str | None = None) -> list[PortfolioStatus]:
        """Every portfolio as it stands, or the one named; what they tell is durable."""
        return await self._read(
            lambda shard: [
                shard.standing(name)
                for name in (sorted(shard.portfolios) if portfolio is None else [portfolio])
            ]
        )

    async def find(self, portfolio: str, signal_id: str) -> FoundSignal:
        """See `Shard.find`."""
        return await self._aside(await self._read(lambda shard: shard.find(portfolio, signal_id)))

    async def known(self, portfolio: str, keys: UInt64Array) -> BoolArray:
        """See `Shard.known`."""
        return await self._read(lambda shard: shard.known(portfolio, keys))

    async def marks(self, portfolio: str, symbols: Sequence[str]) -> dict[str, SymbolMark]:
        """See `Shard.marks`."""
        return await self._read(lambda shard: shard.marks(portfolio, symbols))

    async def recent(self, portfolio: str) -> RecentRows:
        """See `Shard.recent`."""
        return await self._aside(await self._read(lambda shard: shard.recent(portfolio)))

    async def follow(self, portfolio: str, first: int, limit: int, wait_s: float) -> FollowedRows | None:
        """Rows of a portfolio from ordinal `first` on, at most `limit`, all durable; waits for some.

        Returns:
            None: there were none within `wait_s` seconds.
        """
        shard = await self._opened()
        look = shard.rows(portfolio, first, limit)
        if look is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while look is None:
                        await asyncio.shield(self._news)
                        shard = await self._opened()
                        look = shard.rows(portfolio, first, limit)
        if look is None:
            return None
        await self._durable(shard, shard.sequence)
        return await self._aside(look)

    async def tail(self, first: int, limit: int, wait_s: float) -> ShardTail:
        """See `Shard.tail`; all of it is durable. Waits so many seconds for a row `first`, if there is none yet."""
        shard = await self._opened()
        tail = shard.tail(first, limit)
        if first >= tail.end:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while first >= tail.end:
                        await asyncio.shield(self._news)
                        shard = await self._opened()
                        tail = shard.tail(first, limit)
        await self._durable(shard, shard.sequence)
        return tail

    async def ready(self) -> int:
        """The sequence number of the last durable record, once the shard is open and can commit."""
        shard = await self._opened()
        await self._aside(shard.journal.check_current)
        return shard.durable

    async def flush(self) -> None:
        """Write a checkpoint of all that is durable, and wait for it."""
        shard = await self._opened()
        await self._durable(shard, shard.sequence)
        await self._checkpoint_written()
        self._checkpoint(shard, now=True)
        await self._checkpoint_written()
        if shard is not self._shard:
            raise StoreUnavailable("the journal was opened anew while its checkpoint was written")

    async def close(self) -> None:
        """Flush, and let go of the journal."""
        if self._storing_refusals is not None:
            self._storing_refusals.cancel()
        if self._shard is not None:
            with suppress(StoreError):
                await self._store_refusals(self._shard)
            await self.flush()
            self._shard.journal.close()
            self._shard = None
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self._writer.shutdown()
        self._background.shutdown()

    async def note_stream(self, replica: str, counts: dict[str, int]) -> None:
        """Keep what a replica of the broadcast has counted since it began; `clients` are those it has now."""
        self._streams[replica] = self._clock(), counts

    async def note_refusals(self, entries: list[dict[str, Any]], counts: dict[str, int]) -> None:
        """Keep what was refused at the entrances: the last ones with their sentences, and how many by reason."""
        self._refusals.note(entries, counts)
        self.counts.refusals.update(counts)
        if self._storing_refusals is None:
            self._storing_refusals = asyncio.get_running_loop().create_task(self._store_refusals_behind())

    async def refusals(self, reason: str | None, source: str | None, limit: int) -> dict[str, Any]:
        """See `RefusalLog.shown`; those from before a restart are missing while the store cannot be read."""
        with suppress(StoreError):
            await self._load_refusals(await self._readable())
        return self._refusals.shown(reason, source, limit)

    def observe(self) -> dict[str, Any]:
        """Counts and present depths, as plain values."""
        shard = self._shard
        return asdict(self.counts) | {
            "refused": dict(self.counts.refused),
            "store_failures": dict(self.counts.store_failures),
            "refusals": dict(self.counts.refusals),
            "stream": self._stream_counts(),
            "queue_depth": len(self._waiters),
            "rows_kept": 0 if shard is None else shard.rows_kept,
            "durable_sequence": 0 if shard is None else shard.durable,
            "epoch": 0 if shard is None else shard.journal.epoch,
        }

    def _stream_counts(self) -> dict[str, int]:
        """Of all replicas of the broadcast; one that says nothing any more has no clients."""
        found: Counter[str] = Counter()
        for told_at, counts in self._streams.values():
            found.update(counts)
            if self._clock() - told_at > _STREAM_TELLS_S:
                found["clients"] -= counts["clients"]
        return dict(found)

    async def _load_refusals(self, shard: Shard) -> None:
        if not self._refusals.loaded:
            self._refusals.load(await self._aside(lambda: read_refusals(shard.blobs)))

    async def _store_refusals(self, shard: Shard) -> None:
        if self._refusals.unwritten:
            await self._load_refusals(shard)
            content = self._refusals.content()
            await self._aside(lambda: write_refusals(shard.blobs, content))

    async def _store_refusals_behind(self) -> None:
        """Until nothing came; what cannot be stored now is, with the next one."""
        try:
            while self._refusals.unwritten:
                await self._store_refusals(await self._opened())
                await asyncio.sleep(_REFUSALS_EVERY_S)
        except StoreError:
            return
        finally:
            self._storing_refusals = None

    async def _opened(self) -> Shard:
        if self._shard is None:
            async with self._opening:
                if self._shard is None:
                    try:
                        durable = self._durable_before or 0
                        self._shard = await self._aside(lambda: self._open_shard(durable))
                    except StoreError as error:
                        self.counts.store_failures[store_failure_reason(error)] += 1
                        raise
                    self._view = None
                    self._commit_soon(self._shard)
        return self._shard

    async def _readable(self) -> Shard:
        """The shard, or while the store takes no writes what its journal tells; looked at again after a second."""
        now_s = asyncio.get_running_loop().time()
        if self._shard is None and self._view is not None and now_s < self._view_until:
            return self._view
        try:
            return await self._opened()
        except StoreUnavailable as error:
            if self._view is None:
                try:
                    self._view = await self._aside(lambda: self._view_shard(self._durable_before))
                except StoreError:
                    raise error from None
            self._view_until = now_s + _VIEW_S
            return self._view

    async def _read(self, look: Callable[[Shard], T]) -> T:
        """What a shard says, once all that it rests on is durable; if that fails, what was durable before."""
        shard = await self._readable()
        said = look(shard)
        try:
            await self._durable(shard, shard.sequence)
        except StoreUnavailable:
            shard = await self._readable()
            said = look(shard)
            await self._durable(shard, shard.sequence)
        return said

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._background, work)

    async def _durable(self, shard: Shard, sequence: int) -> None:
        if shard is self._view:
            return
        if shard is not self._shard:
            raise StoreUnavailable("the journal was opened anew while this call waited; send it again")
        if sequence <= shard.durable:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, waiter))
        self._commit_soon(shard)
        await waiter

    def _commit_soon(self, shard: Shard) -> None:
        if self._committing is None and shard.has_waiting:
            self._committing = asyncio.get_running_loop().create_task(self._commit_all(shard))

    async def _commit_all(self, shard: Shard) -> None:
        """Write commit after commit until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while (commit := shard.next_commit()) is not None:
                began = self._clock()
                await loop.run_in_executor(self._writer, shard.write, commit)
                if shard is not self._shard:
                    return  # given up meanwhile: nobody waits for it any more
                shard.committed()
                self.counts.time_commit(self._clock() - began, len(commit.payloads))
                self._tell_followers()
                while self._waiters and self._waiters[0][0] <= shard.durable:
                    _, waiter = self._waiters.popleft()
                    if not waiter.done():
                        waiter.set_result(None)
                self._checkpoint(shard)
                self._flush_later(shard)
        except StoreError as error:
            self._give_up(shard, error)
        except BaseException as error:
            self._give_up(shard, StoreUnavailable(f"the commit could not be written: {error!r}"))
            raise
        finally:
            self._committing = None
            if self._shard is not None and self._shard is not shard:
                self._commit_soon(self._shard)  # it was opened while this task stood in its way

    @property
    def _news(self) -> "asyncio.Future[None]":
        """Done at the next commit."""
        if self._news_now is None:
            self._news_now = asyncio.get_running_loop().create_future()
        return self._news_now

    def _tell_followers(self) -> None:
        news, self._news_now = self._news_now, None
        if news is not None:
            news.set_result(None)

    async def _checkpoint_written(self) -> None:
        if (task := self._checkpointing) is not None:
            await asyncio.shield(task)

    def _checkpoint(self, shard: Shard, *, now: bool = False) -> None:
        if self._checkpointing is None and (checkpoint := shard.due_checkpoint(now=now)) is not None:
            self._checkpointing = asyncio.get_running_loop().create_task(
                self._write_checkpoint(shard, checkpoint)
            )

    async def _write_checkpoint(self, shard: Shard, checkpoint: Checkpoint) -> None:
        try:
            await self._aside(lambda: shard.write_checkpoint(checkpoint))
            shard.checkpointed(checkpoint)
            self.counts.checkpoints += 1
        except StoreError as error:
            self._give_up(shard, error)
        except BaseException as error:
            self._give_up(shard, StoreUnavailable(f"the checkpoint could not be written: {error!r}"))
            raise
        finally:
            self._checkpointing = None

    def _flush_later(self, shard: Shard) -> None:
        if self._flush_timer is None and shard.rows_kept:
            self._flush_timer = asyncio.get_running_loop().call_later(self._flush_s, self._flush_if_idle)

    def _flush_if_idle(self) -> None:
        self._flush_timer = None
        shard = self._shard
        if shard is None:
            return
        self._flushes_put_off += 1
        if not shard.alternates or self._flushes_put_off >= _ALTERNATING_FLUSHES:
            self._flushes_put_off = 0
            self._checkpoint(shard, now=True)
        self._flush_later(shard)

    def _give_up(self, shard: Shard, error: StoreError) -> None:
        """Tell everyone who waits, and forget what may not be durable."""
        if shard is not self._shard:
            return  # given up before; if it was fenced, then by the one that was opened in its place
        self._shard, self._durable_before = None, shard.durable
        self.counts.store_failures[store_failure_reason(error)] += 1
        # Behind a commit that is still being written, on the thread that writes it.
        asyncio.get_running_loop().run_in_executor(self._writer, shard.journal.close)
        waiters, self._waiters = self._waiters, deque()
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        if isinstance(error, Fenced):
            self._on_fenced()
