"""Whether the history and the snapshot beside a journal were written from that very journal."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raysignal.engine import history
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import JournalBehind
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.frames import JournalRecord
from raysignal.engine.journal.journal import JournalEnd, JournalStore, records_at
from raysignal.engine.journal.snapshots import Snapshot
from raysignal.engine.portfolio.records import IntakeRecord, read_record


@dataclass(frozen=True, slots=True)
class ConsistencyReport:
    """What lies beside a journal, held against it.

    Attributes:
        end: where the journal ends.
        snapshot: what the snapshot holds that the journal does not, as the beginning of a sentence; None: nothing.
        history: the same of the history, by portfolio; without those of which the journal holds the last row.
    """

    end: JournalEnd
    snapshot: str | None = None
    history: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """All that the journal does not hold."""
        return [*self.history.values(), *([] if self.snapshot is None else [self.snapshot])]

    def check(self) -> None:
        """Raise `JournalBehind` for the first thing that the journal does not hold."""
        for what in self.missing:
            raise journal_behind(what, self.end)


def compare(
    store: JournalStore, blobs: BlobStore, snapshot: Snapshot | None, owns: Callable[[str], bool]
) -> ConsistencyReport:
    """Hold the snapshot, and the last row of each portfolio's history, against the journal; changes nothing.

    Args:
        store: where the journal lies.
        blobs: where the history lies.
        snapshot: the newest one.
        owns: whether a portfolio belongs to this journal, by its name.
    """
    # The history first, the end of the journal last: a writer that lives may go on.
    rows = {
        name: row
        for name in history.portfolios(blobs)
        if owns(name) and (row := history.last_row(blobs, name)) is not None
    }
    end = store.end(0 if snapshot is None else snapshot.position.sequence)
    wanted = {row.sequence for row in rows.values()} | ({snapshot.position.sequence} if snapshot else set())
    records = {record.sequence: record for record in records_at(store, wanted)}

    ahead = None
    if snapshot is not None:
        position = snapshot.position
        if position.sequence > end.last:
            ahead = f"a snapshot holds records up to {position.sequence}"
        elif (record := records.get(position.sequence)) is not None and record.position != position:
            ahead = f"a snapshot was made after another record {position.sequence} than the journal's"
    missing = {}
    for name, row in rows.items():
        if row.sequence > end.last:
            missing[name] = (
                f"the history of {name!r} holds records up to {row.sequence}, {row.sequence - end.last} more"
            )
        elif (record := records.get(row.sequence)) is not None and not _holds(record, name, row):
            missing[name] = (
                f"the history of {name!r} ends with signal {row.batch.signal_id[0]!r} of record {row.sequence}, "
                "which is another one in the journal"
            )
    return ConsistencyReport(end, ahead, missing)


def check_acknowledged(store: JournalStore, sequence: int) -> None:
    """Raise `JournalBehind` where a journal ends before a record that this process has acknowledged."""
    if sequence:
        end = store.end(sequence)
        if end.last < sequence:
            raise journal_behind(f"this process has acknowledged records up to {sequence}", end)


def journal_behind(what: str, end: JournalEnd) -> JournalBehind:
    """The error of a journal that lacks records which were acknowledged."""
    return JournalBehind(
        f"{what}, and the journal ends with record {end.last}: records that were acknowledged are lost from it. "
        "Expected the journal that this store was written with: put its files back from a backup. "
        "raysignal store rebuild --accept-loss sets aside what the journal does not hold, and goes on without it",
        reason="behind", last=end.last,
    )  # fmt: skip


def _holds(record: JournalRecord, portfolio: str, row: history.Row) -> bool:
    """Whether a record is the one that a row of the history was made of."""
    content = None if record.is_takeover else read_record(record.payload)
    if not isinstance(content, IntakeRecord) or content.portfolio != portfolio:
        return False
    batch = SignalBatch.decode(content.encoded, features=False)
    if row.record_row >= len(batch):
        return False
    actions = batch.action if content.decisions is None else content.decisions.action
    # Without features: those of older files come back in today's types.
    signal, own = (replace(each, features={}) for each in (row.batch.signal(0), batch.signal(row.record_row)))
    return own == signal and int(actions[row.record_row]) == row.decision
