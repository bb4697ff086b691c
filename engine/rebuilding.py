"""Stores that are read in full, and what lies beside their journals written anew: history, snapshots, identities."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine import history, snapshots
from engine.columns import SignalBatch
from engine.errors import JournalDamaged
from engine.history.schema import folder_of
from engine.journal.blobs import BlobStore
from engine.journal.journal import Journal, JournalStore
from engine.journal.stores import Stores
from engine.records import Intake, read_record
from engine.shard import Limits, Shard, behind

SET_ASIDE = "lost"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made of a shard.

    Attributes:
        records: of the journal.
        signals: by portfolio.
        lost: by portfolio the signals that only the history held; its files lie under `lost/` now.
    """

    records: int
    signals: dict[str, int]
    lost: dict[str, int]


def rebuild(
    store: JournalStore,
    blobs: BlobStore,
    *,
    prefix: str,
    cache_dir: Path,
    limits: Limits,
    owns: Callable[[str], bool],
    accept_loss: bool,
) -> Rebuilt:
    """Write what lies beside a journal anew. Nobody else may write the store meanwhile.

    The journal is read in full before anything is removed. When it is cut short, the next start goes on. Arguments are
    those of `Shard.open`; with `accept_loss` what the history holds and the journal does not is set aside, where it is
    refused else.

    Raises:
        JournalDamaged: a record cannot be read; nothing was changed.
        JournalBehind: the history holds what the journal does not; nothing was changed.
    """
    end = store.end(0)
    counts = signals_of_journal(store)
    held = {name: history.written_up_to(blobs, name) for name in history.portfolios(blobs) if owns(name)}
    lost = {name: rows - counts[name] for name, rows in held.items() if rows > counts[name]}
    snapshot = snapshots.latest(blobs, prefix)
    if not accept_loss:
        for name, rows in lost.items():
            raise behind(f"the history of {name!r} holds {rows} signals more than the journal", end)
        if snapshot is not None and snapshot.position.sequence > end.last:
            raise behind(f"a snapshot holds records up to {snapshot.position.sequence}", end)
    for name in blobs.list(f"{prefix}/"):
        blobs.delete(name)
    for portfolio in held:
        for name in blobs.list(folder_of(portfolio)):
            if portfolio in lost and (data := blobs.get(name)) is not None:
                blobs.put(f"{SET_ASIDE}/{name}", data)
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
    return Rebuilt(end.last, dict(counts), lost)


def signals_of_journal(store: JournalStore) -> Counter[str]:
    """How many signals a journal holds, by portfolio; every record is read and checked, nothing taken over.

    Raises:
        JournalDamaged: names the first record that cannot be read.
    """
    counts: Counter[str] = Counter()
    for record in Journal.read(store):
        content = read_record(record.payload)
        counts[content.portfolio] += (
            len(SignalBatch.decode(content.encoded, features=False)) if isinstance(content, Intake) else 0
        )
    return counts


def look_over(stores: Stores, shards: int) -> tuple[list[str], list[str]]:
    """Read every journal and every file of the history: what was found, and what is wrong, a sentence each."""
    found, wrong = [], []
    counts: Counter[str] = Counter()
    for number in range(shards):
        name = f"shard={number:04d}"
        store = stores.journal_store(name)
        try:
            end, signals = store.end(0), signals_of_journal(store)
        except JournalDamaged as error:
            wrong.append(f"{name}: {error}")
            continue
        files = "" if end.files is None else f" in {end.files} files"
        cut = f", {end.cut} bytes of a write that never finished behind them" if end.cut else ""
        found.append(f"{name}: {end.last} records{files}, {signals.total()} signals{cut}")
        counts.update(signals)
    for name in history.portfolios(stores.blobs):
        if not wrong and (more := history.written_up_to(stores.blobs, name) - counts[name]) > 0:
            wrong.append(f"the history of {name!r} holds {more} signals that the journal does not")
        wrong.extend(history.damage(stores.blobs, name))
    return found, wrong
