"""Stores that are read in full, and what lies beside their journals written anew: history, snapshots, identities."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raysignal.engine import history
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.journal import Journal, JournalStore
from raysignal.engine.journal.layout import owner
from raysignal.engine.journal.stores import Stores
from raysignal.engine.portfolio import trade_files
from raysignal.engine.portfolio.consistency import ConsistencyReport, compare, journal_behind
from raysignal.engine.portfolio.records import IntakeRecord, read_record
from raysignal.engine.portfolio.shard import Shard, ShardLimits

SET_ASIDE = "lost"

_SET_ASIDE = re.compile(rf"{SET_ASIDE}/(\d{{4,}})/")


@dataclass(frozen=True, slots=True)
class RebuiltShard:
    """What was made of a shard.

    Attributes:
        records: of the journal.
        signals: by portfolio.
        lost: by portfolio how many signals at least only the history held.
        set_aside: the folder in which its files lie now; None: nothing was lost.
    """

    records: int
    signals: dict[str, int]
    lost: dict[str, int]
    set_aside: str | None


def rebuild(
    store: JournalStore,
    blobs: BlobStore,
    *,
    prefix: str,
    cache_dir: Path,
    limits: ShardLimits,
    owns: Callable[[str], bool],
    accept_loss: bool,
) -> RebuiltShard:
    """Write what lies beside a journal anew. Nobody else may write the store meanwhile.

    The journal is read in full before anything is removed. Where the history holds what the journal does not, it is
    refused; with `accept_loss`, the files are copied to a folder of this rebuild's own first. Files are removed from
    the last rows to the first, so that it can be cut short at any point: what is left are the first rows, and as long
    as some of these are not in the journal, a start refuses. Other arguments are those of `Shard.open`.

    Raises:
        JournalDamaged: a record cannot be read; nothing was changed.
        JournalBehind: the history holds what the journal does not; nothing was changed.
    """
    counts = signals_of_journal(store)
    comparison = compare(store, blobs, snapshots.latest(blobs, prefix), owns)
    held = [name for name in history.portfolios(blobs) if owns(name)]
    lost = lost_rows(blobs, held, comparison, counts)
    if not accept_loss:
        comparison.check()
        for name, rows in lost.items():
            raise journal_behind(f"the history of {name!r} holds {rows} signals more", comparison.end)
    set_aside = _set_aside(blobs, lost) if lost else None
    for portfolio in held:
        for name in (*trade_files.files(blobs, portfolio), *history.files(blobs, portfolio)):
            blobs.delete(name)
    for name in blobs.list(f"{prefix}/"):
        blobs.delete(name)
    shard = Shard.open(
        store, blobs, prefix=prefix, cache_dir=cache_dir, limits=limits, policies={}, owns=owns
    )
    try:
        if (checkpoint := shard.due_checkpoint(now=True)) is not None:
            shard.write_checkpoint(checkpoint)
            shard.checkpointed(checkpoint)
    finally:
        shard.journal.close()
    return RebuiltShard(comparison.end.last, dict(counts), lost, set_aside)


def lost_rows(
    blobs: BlobStore, portfolios: Iterable[str], comparison: ConsistencyReport, counts: Mapping[str, int]
) -> dict[str, int]:
    """By portfolio how many rows at least the history holds and the journal, of `counts` signals, does not."""
    lost = {}
    for name in portfolios:
        rows = history.extent(blobs, name)
        # As many rows as the journal has signals, and other ones: none of them need be the journal's.
        more = rows - counts.get(name, 0) if rows > counts.get(name, 0) else rows
        if rows > counts.get(name, 0) or name in comparison.history:
            lost[name] = more
    return lost


def _set_aside(blobs: BlobStore, portfolios: Iterable[str]) -> str:
    """Copy all history files of some portfolios to a folder that no rebuild before has used; its name."""
    used = [int(match[1]) for name in blobs.list(f"{SET_ASIDE}/") if (match := _SET_ASIDE.match(name))]
    folder = f"{SET_ASIDE}/{max(used, default=0) + 1:04d}"
    for portfolio in portfolios:
        for name in history.files(blobs, portfolio):
            if (data := blobs.get(name)) is not None:
                blobs.put(f"{folder}/{name}", data)
    return folder


def signals_of_journal(store: JournalStore) -> Counter[str]:
    """How many signals a journal holds, by portfolio; every record is read and checked, nothing taken over.

    Raises:
        JournalDamaged: names the first record that cannot be read.
    """
    counts: Counter[str] = Counter()
    for record in Journal.read(store):
        content = read_record(record.payload)
        counts[content.portfolio] += (
            len(SignalBatch.decode(content.encoded, features=False))
            if isinstance(content, IntakeRecord)
            else 0
        )
    return counts


def look_over(stores: Stores, shards: int) -> tuple[list[str], list[str]]:
    """Read every journal and every file of the history: what was found, and what is wrong, a sentence each."""
    found, wrong = [], []
    for number in range(shards):
        name, owns = f"shard={number:04d}", owner(number, shards)
        store = stores.journal_store(name)
        held = [portfolio for portfolio in history.portfolios(stores.blobs) if owns(portfolio)]
        try:
            # Before the journal: a writer that lives may go on.
            comparison = compare(store, stores.blobs, snapshots.latest(stores.blobs, f"state/{name}"), owns)
            rows = {portfolio: history.extent(stores.blobs, portfolio) for portfolio in held}
            signals = signals_of_journal(store)
        except JournalDamaged as error:
            wrong.append(f"{name}: {error}")
        else:
            end = comparison.end
            files = "" if end.files is None else f" in {end.files} files"
            cut = f", {end.cut} bytes of a write that never finished behind them" if end.cut else ""
            found.append(f"{name}: {end.last} records{files}, {signals.total()} signals{cut}")
            wrong.extend(f"{name}: {what}" for what in comparison.missing)
            for portfolio, count in rows.items():
                if (more := count - signals[portfolio]) > 0:
                    wrong.append(
                        f"the history of {portfolio!r} holds {more} signals that the journal does not"
                    )
        for portfolio in held:
            wrong.extend(history.damage(stores.blobs, portfolio))
            wrong.extend(trade_files.damage(stores.blobs, portfolio))
    return found, wrong
