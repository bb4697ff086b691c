"""The core of a portfolio actor: a group of portfolios with one writer, as a plain class.

No Ray, no threads, no clock: whoever drives it (the actor, a simulation, a test) calls

    submission = shard.submit(...)       judged and applied in memory; its record waits to be written
    commit = shard.next_commit()         all that waits, as one commit
    shard.write(commit)                  blocking; may run on another thread
    shard.committed()                    from here on it is durable, and may be acknowledged

and, beside that, `checkpoint = shard.due_checkpoint()`, `shard.write_checkpoint(checkpoint)` (blocking; may run
on another thread), `shard.checkpointed(checkpoint)`, which put history and a snapshot beside the journal. The
journal is the truth: `Shard.open` rebuilds everything else from it.

When a write fails, the shard is of no more use: what it applied may not be durable. Open it anew.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, timezone
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from raysignal.engine import history
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int64Array, UInt64Array
from raysignal.engine.core.columns import SignalBatch, identity_key
from raysignal.engine.core.errors import (
    InvalidField,
    JournalDamaged,
    NotFound,
    PortfolioConflict,
    RowErrors,
    StoreUnavailable,
    shorten,
)
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy, check_portfolio_name
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.dedup import DedupIndex, RecentIds, portfolio_keys
from raysignal.engine.journal.frames import JournalPosition, JournalRecord
from raysignal.engine.journal.journal import Commit, Journal, JournalEnd, JournalStore
from raysignal.engine.journal.snapshots import Snapshot
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.admission import AdmissionCode, admit
from raysignal.engine.portfolio.consistency import compare, journal_behind
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.portfolio import Portfolio, RowSpan
from raysignal.engine.portfolio.receipt_lookup import (
    HistoryRecall,
    MemoryRecall,
    ReceiptLookup,
    history_chunk,
    rows_of_history,
    rows_of_stretch,
)
from raysignal.engine.portfolio.receipts import (
    FollowedRows,
    FoundSignal,
    PortfolioStatus,
    RecentRows,
    Submission,
    SymbolMark,
)
from raysignal.engine.portfolio.records import (
    CreationRecord,
    RenameRecord,
    creation_record,
    intake_record,
    read_record,
    renaming_record,
)
from raysignal.engine.portfolio.stream_rows import ShardTail, TailRows
from raysignal.engine.portfolio.trade_files import write_trades

_NO_ROWS = LedgerRows.empty(0)
_ROWS_A_FILE = 4096
_MOST_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """How much a shard keeps in memory, and what it believes.

    Attributes:
        max_price_jump: the largest believable factor between two prices of a symbol.
        checkpoint_rows: processed rows after which a checkpoint is due; more where they alternate between dates.
        checkpoint_bytes: bytes of journalled rows after which one is due.
        zone: that stamps without one were read in.
    """

    max_price_jump: float = 5.0
    checkpoint_rows: int = 65_536
    checkpoint_bytes: int = 32 * 1024 * 1024
    zone: ZoneInfo | timezone = UTC


@dataclass(slots=True)
class Checkpoint:
    """The state at one journal position, on its way beside the journal; `position` is known once it is durable."""

    stretches: list[tuple[Portfolio, RowSpan]]
    frozen: RecentIds
    portfolios: tuple[dict[str, Any], ...]
    position: JournalPosition | None = None


@dataclass(frozen=True, slots=True)
class PendingSubmission:
    """A submission that was judged and applied, and waits for its record.

    Attributes:
        sequence: once this record is durable, the submission may be acknowledged.
        accepted, replayed, executed: rows; `executed` are the fills among the accepted.
        refused: rows by the name of their error.
        blocks: `finish` reads the history, so it had better run on another thread.
        finish: makes the answer.
    """

    sequence: int
    accepted: int
    replayed: int
    executed: int
    refused: dict[str, int]
    blocks: bool
    finish: Callable[[], Submission]

    @property
    def rows(self) -> int:
        """All rows submitted."""
        return self.accepted + self.replayed + sum(self.refused.values())


class Shard:
    """A group of portfolios and the one journal that they are written to."""

    def __init__(
        self, journal: Journal, blobs: BlobStore, prefix: str, identities: DedupIndex, limits: ShardLimits
    ) -> None:
        self.journal = journal
        self.blobs = blobs
        self.prefix = prefix
        self.identities = identities
        self.limits = limits
        self.portfolios: dict[str, Portfolio] = {}
        self.sequence = journal.position.sequence
        self._waiting: list[list[bytes | memoryview]] = []
        self._written: Commit | None = None
        self._captured: Checkpoint | None = None
        self._checkpointing = False
        self.rows_kept = 0
        self._tail: list[TailRows] = []
        self._total = 0
        self.found = JournalEnd()
        """What the journal held when it was opened."""

    @classmethod
    def open(
        cls,
        store: JournalStore,
        blobs: BlobStore,
        *,
        prefix: str,
        cache_dir: Path,
        limits: ShardLimits,
        policies: Mapping[str, Policy],
        owns: Callable[[str], bool] = lambda _: True,
    ) -> "Shard":
        """Take the journal over and rebuild the state: from the latest snapshot, or from the first record.

        Portfolios in `policies` that the journal does not know are created; their records wait to be written.

        Args:
            store: where the journal lies.
            blobs: where snapshots, identity runs and history lie.
            prefix: the folder of this shard's snapshots and runs among the blobs.
            cache_dir: a local folder for copies of runs.
            limits: see `ShardLimits`.
            policies: the portfolios that are to exist.
            owns: whether a portfolio belongs to this shard, by its name.

        Raises:
            JournalBehind: history or snapshot hold records that the journal does not; nothing was changed.
            Fenced, StoreUnavailable, JournalDamaged: see `Journal.open`.
            PortfolioConflict: a portfolio exists with another policy.
        """
        snapshot = snapshots.latest(blobs, prefix)
        named = {name: history.extent(blobs, name) for name in history.portfolios(blobs) if owns(name)}
        # Before anything is taken over: a refusal changes nothing.
        comparison = compare(store, blobs, snapshot, owns)
        comparison.check()
        journal = Journal.open(store, after=snapshot.position if snapshot else None)
        shard = cls._rebuilt(journal, blobs, prefix, cache_dir, limits, snapshot)
        shard.found = comparison.end
        # Where the last file cannot be read, its name still tells how many rows there were.
        for name, rows in named.items():
            counted = shard.portfolios[name].count if name in shard.portfolios else 0
            if rows > counted:
                journal.close()
                what = f"the history of {name!r} holds {rows} signals, {rows - counted} more than the journal"
                raise journal_behind(what, comparison.end)
        shard.identities.sweep_orphans(blobs, f"{prefix}/identities/")
        for name, policy in policies.items():
            shard.create(name, policy)
        return shard

    @classmethod
    def view(
        cls,
        store: JournalStore,
        blobs: BlobStore,
        *,
        prefix: str,
        cache_dir: Path,
        limits: ShardLimits,
        last: int | None = None,
    ) -> "Shard":
        """The state as the journal tells it, to be read alone: nothing is taken over, and nothing is written.

        For as long as the store takes no writes. `last` is the sequence number of the last record that counts; None:
        all that is there. The rest is as in `open`.

        Raises:
            StoreUnavailable, JournalDamaged: see `Journal.view`.
        """
        snapshot = snapshots.latest(blobs, prefix)
        journal = Journal.view(store, after=snapshot.position if snapshot else None, last=last)
        limits = replace(limits, checkpoint_rows=sys.maxsize, checkpoint_bytes=sys.maxsize)
        return cls._rebuilt(journal, blobs, prefix, cache_dir, limits, snapshot)

    # Submitting

    def submit(
        self,
        name: str,
        encoded: bytes | memoryview,
        *,
        all_or_nothing: bool,
        accept_price_jump: bool,
        receipts: bool,
        positions: Int64Array | None = None,
        decisions: bytes | None = None,
    ) -> PendingSubmission:
        """Judge the rows of an encoded batch, apply those that are new and right, and queue their record.

        Args:
            name: the portfolio.
            encoded: `SignalBatch.encode` of rows in time order.
            all_or_nothing: refuse the whole batch when one row is refused.
            accept_price_jump: believe every price.
            receipts: the answer is to hold every row's ledger row and account.
            positions: int64[n], the rows' places in the caller's input, named in errors; None: do not name any.
            decisions: `Decisions.encode` of what is to be done with the rows; None: what they say.

        Raises:
            NotFound: no such portfolio.
            InputError, Conflict: with `all_or_nothing`, when a row is refused; nothing has changed.
        """
        portfolio = self.portfolio(name)
        batch = SignalBatch.decode(encoded, features=False)
        told = None if decisions is None else Decisions.decode(decisions)
        if told is not None and len(told) != len(batch):
            raise InvalidField("decisions", len(told), f"one for each of the {len(batch)} signals")
        keys = portfolio_keys(batch.key, name)
        judgement = admit(
            portfolio, batch, keys, self.identities, limit=self.limits.max_price_jump,
            accept_price_jump=accept_price_jump,
        )  # fmt: skip
        errors = judgement.errors(batch, positions, self.limits.zone)
        if all_or_nothing and errors:
            (first, *_), refused = errors.values(), sum(judgement.refused.values())
            raise first if len(batch) == 1 else RowErrors([*errors.values()], len(batch), refused)
        accepted, replayed = judgement.counts[AdmissionCode.NEW], judgement.counts[AdmissionCode.DUPLICATE]
        ordinal, all_fresh = judgement.ordinal, accepted == len(batch)
        rows, accounts = _NO_ROWS, np.empty((accepted if receipts else 0, ACCOUNT_SIZE))
        if accepted:
            if all_fresh:
                self.identities.add(keys, ordinal, batch.content)
                kept, codes = batch, judgement.codes
            else:
                fresh = judgement.rows(AdmissionCode.NEW)
                self.identities.add(keys[fresh], ordinal[fresh], batch.content[fresh])
                encoded = SignalBatch.decode(encoded).take(fresh).encode()
                kept, codes = SignalBatch.decode(encoded, features=False), None
                told = None if told is None else told.take(fresh)
            self._queue(intake_record(name, encoded, told))
            rows = portfolio.apply(kept, encoded, self.sequence, accounts if receipts else None, codes, told)
            self._note(portfolio)
        answer = Submission(
            judgement.taken, ordinal, errors, portfolio.standing(self.sequence),
            rows if receipts and all_fresh else None, accounts if receipts and all_fresh else None,
        )  # fmt: skip
        recalls: list[ReceiptLookup] = []
        finish: Callable[[], Submission] = lambda: answer  # noqa: E731
        if receipts and not all_fresh:
            again = judgement.rows(AdmissionCode.DUPLICATE)
            recalls = self._recalls(portfolio, ordinal[again]) if replayed else []
            finish = partial(
                _with_rows, answer, judgement.rows(AdmissionCode.NEW), rows, accounts, again, recalls
            )
        return PendingSubmission(
            sequence=self.sequence,
            accepted=accepted,
            replayed=replayed,
            executed=int(np.count_nonzero(rows.fill_quantity)),
            refused=judgement.refused,
            blocks=any(recall.blocks for recall in recalls),
            finish=finish,
        )

    def create(self, name: str, policy: Policy) -> tuple[PortfolioStatus, bool]:
        """Create a portfolio; its standing, and whether it is new. Its record waits to be written.

        Raises:
            InvalidField: a name that cannot be used.
            PortfolioConflict: it exists with another policy.
        """
        existing = self.portfolios.get(check_portfolio_name(name))
        if existing is not None:
            if existing.policy != policy:
                raise PortfolioConflict(
                    f"portfolio {name!r} exists with another policy: {existing.policy.as_dict()}",
                    field="policy", value=policy.as_dict(), expected=existing.policy.as_dict(),
                )  # fmt: skip
            return existing.standing(self.sequence), False
        self._queue(creation_record(name, policy))
        portfolio = self.portfolios[name] = Portfolio(name, policy)
        return portfolio.standing(self.sequence), True

    def rename_symbol(self, name: str, old: str, new: str) -> bool:
        """Let a portfolio's open position in a symbol go on under another name; see `Portfolio.rename`.

        The record of it waits to be written. False, and nothing changed, where there is nothing to rename.

        Raises:
            NotFound: no such portfolio.
        """
        if not self.portfolio(name).rename(old, new):
            return False
        self._queue(renaming_record(name, old, new))
        return True

    def portfolio(self, name: str) -> Portfolio:
        """The portfolio of that name; `NotFound` if there is none."""
        portfolio = self.portfolios.get(name)
        if portfolio is None:
            known = ", ".join(sorted(self.portfolios)) or "none"
            raise NotFound(
                f"there is no portfolio {shorten(name)}; there are: {known}",
                field="portfolio",
                value=shorten(name),
            )
        return portfolio

    # Writing

    @property
    def has_waiting(self) -> bool:
        """Whether records wait to be written."""
        return bool(self._waiting)

    @property
    def durable(self) -> int:
        """The sequence number of the last durable record."""
        return self.journal.position.sequence

    def next_commit(self) -> Commit | None:
        """All that waits, as one commit; None if nothing waits or one is being written."""
        if self._written is not None or not self._waiting:
            return None
        self._written = self.journal.prepare(self._waiting)
        self._waiting = []
        if self._checkpoint_is_due():
            # Everything applied so far is in this commit or before it: the state is the journal's at its end.
            self._captured = self._capture()
        return self._written

    def write(self, commit: Commit) -> None:
        """Make a commit durable; blocks. Raises `Fenced` or `StoreUnavailable`: then open the shard anew."""
        self.journal.write(commit)

    def committed(self) -> None:
        """Take note that the commit being written is durable."""
        self._written = None
        if self._captured is not None and self._captured.position is None:
            self._captured.position = self.journal.position

    # Checkpoints

    @property
    def alternates(self) -> bool:
        """Whether kept rows go back and forth between dates: written early, they make many small files."""
        return any(portfolio.open.alternates for portfolio in self.portfolios.values())

    @property
    def crowded(self) -> bool:
        """Whether so much waits for a checkpoint that new submissions had better wait, too."""
        return self._checkpointing and (
            self.rows_kept > 2 * self._checkpoint_rows
            or sum(portfolio.bytes_kept for portfolio in self.portfolios.values())
            > 2 * self.limits.checkpoint_bytes
        )

    def due_checkpoint(self, *, now: bool = False) -> Checkpoint | None:
        """A checkpoint that is ready to be written; None if none is, or one is being written.

        Args:
            now: do not wait for one to be due. Only while nothing waits and nothing is being written.
        """
        if now and not self._checkpointing and not self._waiting and self._written is None and self.rows_kept:
            self._captured = self._capture()
            self._captured.position = self.journal.position
        if self._captured is None or self._captured.position is None:
            return None
        checkpoint, self._captured = self._captured, None
        return checkpoint

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write history, identities and snapshot; blocks, and touches nothing that `submit` does."""
        assert checkpoint.position is not None
        self.journal.check_current()
        for portfolio, stretch in checkpoint.stretches:
            done = history.resume(self.blobs, portfolio.name)
            skip = max(done - stretch.first, 0)
            if stretch.first + skip < stretch.end:
                history.write_chunk(self.blobs, history_chunk(portfolio, stretch, skip))
            # They are derived: a history that cannot be read is told of where it is asked, and stops no signal.
            with suppress(JournalDamaged):
                write_trades(self.blobs, portfolio.name, portfolio.renamings())
        try:
            runs = self.identities.write(
                checkpoint.frozen, self.blobs, f"{self.prefix}/identities/", self.journal.epoch
            )
        except NotFound as error:
            # A run that was written a moment ago is gone: whoever takes over sweeps what no snapshot names.
            self.journal.check_current()
            raise StoreUnavailable(f"somebody removes what this writer writes: {error}") from error
        snapshot = Snapshot(checkpoint.position, tuple(runs), checkpoint.portfolios)
        snapshots.put(self.blobs, self.prefix, self.journal.epoch, snapshot)
        snapshots.drop_old(self.blobs, self.prefix)
        self.identities.drop_obsolete(self.blobs)

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Take note that a checkpoint was written: its rows are read from the history from now on."""
        for portfolio, _ in checkpoint.stretches:
            portfolio.writing = None
        self.identities.thaw(checkpoint.frozen)
        assert checkpoint.position is not None
        written = bisect_right(self._tail, checkpoint.position.sequence, key=lambda part: part.sequence)
        del self._tail[:written]
        self._checkpointing = False

    def _checkpoint_is_due(self) -> bool:
        return not self._checkpointing and (
            self.rows_kept >= self._checkpoint_rows
            or sum(portfolio.bytes_kept for portfolio in self.portfolios.values())
            >= self.limits.checkpoint_bytes
        )

    @property
    def _checkpoint_rows(self) -> int:
        """How many rows make a checkpoint due: more while signals alternate between dates, each a file."""
        wanted = max((len(p.open.dates) for p in self.portfolios.values() if p.open.alternates), default=0)
        return max(self.limits.checkpoint_rows, min(wanted * _ROWS_A_FILE, _MOST_ROWS))

    def _capture(self) -> Checkpoint:
        self._checkpointing = True
        self.rows_kept = 0
        stretches = [
            (portfolio, stretch)
            for portfolio in self.portfolios.values()
            if (stretch := portfolio.close_stretch()) is not None
        ]
        return Checkpoint(
            stretches,
            self.identities.freeze(),
            tuple(portfolio.dump() for portfolio in self.portfolios.values()),
        )

    # Reading

    def standing(self, name: str) -> PortfolioStatus:
        """The portfolio as it stands; durable once record `sequence` is."""
        return self.portfolio(name).standing(self.sequence)

    def find(self, name: str, signal_id: str) -> Callable[[], FoundSignal]:
        """How a signal of a portfolio is read, with its features and what was done with it; may block.

        Raises:
            NotFound: no such portfolio or signal.
        """
        portfolio = self.portfolio(name)
        key = portfolio_keys(identity_key(signal_id), name)
        ordinals, _ = self.identities.lookup(key)
        if ordinals[0] < 0:
            raise NotFound(
                f"portfolio {name!r} has no signal {shorten(signal_id)}",
                field="signal_id",
                value=shorten(signal_id),
            )
        (recall,) = self._recalls(portfolio, ordinals)
        return lambda: recall.found(int(ordinals[0]))

    def known(self, name: str, keys: UInt64Array) -> BoolArray:
        """Which of the identities a portfolio has taken in; `keys` are those of a batch, uint64[n, 2].

        Raises:
            NotFound: no such portfolio.
        """
        self.portfolio(name)
        ordinals, _ = self.identities.lookup(portfolio_keys(keys, name))
        found: BoolArray = ordinals >= 0
        return found

    def marks(self, name: str, symbols: Sequence[str]) -> dict[str, SymbolMark]:
        """See `Portfolio.marks_by_symbol`.

        Raises:
            NotFound: no such portfolio.
        """
        return self.portfolio(name).marks_by_symbol(symbols)

    def recent(self, name: str) -> Callable[[], RecentRows]:
        """How the rows that the history does not hold yet are collected, in the history's columns; may block."""
        portfolio = self.portfolio(name)
        stretches = [
            replace(stretch, kept=list(stretch.kept))
            for stretch in (portfolio.writing, portfolio.open)
            if stretch is not None and stretch.kept
        ]
        first = stretches[0].first if stretches else portfolio.count
        renamed = portfolio.renamings()
        return lambda: RecentRows(
            name, first, [history.chunk_table(history_chunk(portfolio, each)) for each in stretches], renamed
        )

    def rows(self, name: str, first: int, limit: int) -> Callable[[], FollowedRows] | None:
        """How rows from ordinal `first` on are read, at most `limit`; may block. None: there are none yet.

        Raises:
            NotFound: no such portfolio.
        """
        portfolio = self.portfolio(name)
        if first >= portfolio.count:
            return None
        later = [each.ordinal for each in portfolio.renamed if each.ordinal > first]
        renamed = tuple((each.old, each.new) for each in portfolio.renamed if each.ordinal == first)
        stop = min([first + limit, portfolio.count, *later])
        for stretch in (portfolio.writing, portfolio.open):
            if stretch is not None and stretch.first <= first < stretch.end:
                look = partial(rows_of_stretch, replace(stretch, kept=list(stretch.kept)), first, stop)
                break
        else:
            end = portfolio.open.first if portfolio.writing is None else portfolio.writing.first
            look = partial(rows_of_history, self.blobs, name, first, min(stop, end))
        return (lambda: replace(look(), renamed=renamed)) if renamed else look

    def tail(self, first: int, limit: int) -> ShardTail:
        """Rows of all portfolios in the order of the journal from row `first` of the shard on, at most `limit`.

        None of them where the history holds row `first`: see `ShardTail.begins`.
        """
        begins = self._tail[0].number if self._tail else self._total
        parts: list[TailRows] = []
        if begins <= first < self._total:
            stop = min(first + limit, self._total)
            start = bisect_right(self._tail, first, key=lambda part: part.number) - 1
            end = bisect_left(self._tail, stop, key=lambda part: part.number)
            parts = [part.cut(first, stop) for part in self._tail[start:end]]
        return ShardTail(begins, self._total, tuple(parts))

    # The parts

    def _note(self, portfolio: Portfolio) -> None:
        """Take note of the rows that were applied last."""
        kept = portfolio.open.kept[-1]
        self._tail.append(
            TailRows(
                self._total,
                portfolio.name,
                kept.first,
                kept.sequence,
                0,
                kept.encoded,
                kept.rows,
                kept.decisions,
            )
        )
        self._total += len(kept.rows)
        self.rows_kept += len(kept.rows)

    def _queue(self, payload: list[bytes | memoryview]) -> None:
        self._waiting.append(payload)
        self.sequence += 1

    def _recalls(self, portfolio: Portfolio, ordinals: Int64Array) -> list[ReceiptLookup]:
        """Where the rows at `ordinals` are read: in memory, or in the history."""
        recalls: list[ReceiptLookup] = []
        rest = np.arange(len(ordinals))
        for stretch in (portfolio.open, portfolio.writing):
            if stretch is None or not stretch.kept:
                continue
            here = ordinals[rest] >= stretch.first
            if here.any():
                frozen = replace(stretch, kept=list(stretch.kept))
                recalls.append(MemoryRecall(portfolio, frozen, rest[here], ordinals[rest[here]]))
                rest = rest[~here]
        if len(rest):
            recalls.append(HistoryRecall(portfolio, self.blobs, rest, ordinals[rest]))
        return recalls

    # Opening

    @classmethod
    def _rebuilt(
        cls,
        journal: Journal,
        blobs: BlobStore,
        prefix: str,
        cache_dir: Path,
        limits: ShardLimits,
        snapshot: Snapshot | None,
    ) -> "Shard":
        """The shard at the end of its journal."""
        shard = None
        if snapshot is not None:
            shard = cls._restored(journal, blobs, prefix, cache_dir, limits, snapshot)
        if shard is None:
            snapshot = None
            shard = cls(journal, blobs, prefix, DedupIndex.create(cache_dir), limits)
        for record in journal.replay(snapshot.position if snapshot else None):
            shard._replay(record)
        return shard

    @classmethod
    def _restored(
        cls,
        journal: Journal,
        blobs: BlobStore,
        prefix: str,
        cache_dir: Path,
        limits: ShardLimits,
        snapshot: Snapshot,
    ) -> "Shard | None":
        """The shard as a snapshot describes it; None if what it needs beside it is not there, or if a version wrote it
        that counted figures in another way: then they are counted anew, from the first record.
        """
        if not all(Ledger.is_current(dump["ledger"]) for dump in snapshot.portfolios):
            return None
        try:
            identities = DedupIndex.load(list(snapshot.runs), blobs, cache_dir)
        except JournalDamaged:
            return None
        shard = cls(journal, blobs, prefix, identities, limits)
        for dump in snapshot.portfolios:
            portfolio = Portfolio.load(dump)
            if history.written_up_to(blobs, portfolio.name) < portfolio.count:
                return None
            shard.portfolios[portfolio.name] = portfolio
            shard._total += portfolio.count
        return shard

    def _replay(self, record: JournalRecord) -> None:
        """Apply a durable record; with the checkpoints that keep a long replay within bounds."""
        content = read_record(record.payload)
        if isinstance(content, CreationRecord):
            self.portfolios[content.portfolio] = Portfolio(content.portfolio, content.policy)
        elif isinstance(content, RenameRecord):
            self.portfolios[content.portfolio].rename(content.old, content.new)
        else:
            portfolio = self.portfolios[content.portfolio]
            encoded = bytes(content.encoded)
            batch = SignalBatch.decode(encoded, features=False)
            ordinals = portfolio.count + np.arange(len(batch))
            self.identities.add(portfolio_keys(batch.key, portfolio.name), ordinals, batch.content)
            portfolio.apply(batch, encoded, record.sequence, decisions=content.decisions)
            self._note(portfolio)
        if self._checkpoint_is_due():
            checkpoint = self._capture()
            checkpoint.position = record.position
            self.write_checkpoint(checkpoint)
            self.checkpointed(checkpoint)


def _with_rows(
    answer: Submission,
    fresh: Int64Array,
    rows: LedgerRows,
    accounts: Float64Array,
    again: Int64Array,
    recalls: list[ReceiptLookup],
) -> Submission:
    """The answer with the ledger rows and accounts of the rows that were accepted or recalled."""
    n = len(answer.taken)
    all_rows, all_accounts = LedgerRows.empty(n), np.full((n, ACCOUNT_SIZE), np.nan)
    parts = [(fresh, rows, accounts)] + [(again[recall.places], *recall.rows()) for recall in recalls]
    for places, some_rows, some_accounts in parts:
        if len(places):
            all_rows.put(places, some_rows)
            all_accounts[places] = some_accounts
    return replace(answer, rows=all_rows, accounts=all_accounts)
