"""The core of a portfolio actor, without faults: on real files, restarted where it matters."""

import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from raysignal.engine import history
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    Fenced,
    IdentityConflict,
    InvalidField,
    JournalDamaged,
    LateSignal,
    NotFound,
    PortfolioConflict,
    PriceJump,
    RaysignalError,
    RowErrors,
)
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.portfolio.receipts import RowResult, Submission, receipt
from raysignal.engine.portfolio.shard import Shard, ShardLimits

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
PREFIX = "state/shard=0000"
POLICIES = {"baseline": Policy(), "short": Policy(side="long-short", fee_bps=5.0)}


def a_signal(
    minute: int, price: float = 100.0, action: int = 1, name: str = "", symbol: str = "BTC", **features: Any
) -> Signal:
    return Signal(
        symbol, START_US + minute * MINUTE_US, Action(action), price, signal_id=name, features=features
    )


def some(count: int, first: int = 0) -> list[Signal]:
    """Signals that trade, some with a name and features, a minute apart."""
    return [
        a_signal(
            minute, 100.0 + 7 * np.sin(minute), (minute % 3) - 1, name=f"s{minute}" if minute % 2 else "",
            rsi=float(minute), **({"mood": "日本"} if minute % 4 == 0 else {}),
        )
        for minute in range(first, first + count)
    ]  # fmt: skip


class Place:
    """A store in a folder, and the shard in it that is open."""

    def __init__(self, folder: Path, limits: ShardLimits, policies: dict[str, Policy] = POLICIES) -> None:
        self.root = folder / "store"
        self.stores = open_stores(self.root.as_uri())
        self.cache = folder / "cache"
        self.limits = limits
        self.policies = policies
        self.shard = self.open()

    def open(self) -> Shard:
        shard = Shard.open(
            self.stores.journal_store("shard=0000"), self.stores.blobs, prefix=PREFIX, cache_dir=self.cache,
            limits=self.limits, policies=self.policies,
        )  # fmt: skip
        commit(shard)
        return shard

    def restart(self) -> Shard:
        self.shard.journal.close()
        self.stores = open_stores(self.root.as_uri())
        self.shard = self.open()
        return self.shard

    def send(
        self,
        signals: Sequence[Signal],
        portfolio: str = "baseline",
        *,
        all_or_nothing: bool = True,
        accept_price_jump: bool = False,
        receipts: bool = True,
        positions: np.ndarray | None = None,
    ) -> Submission:
        pending = self.shard.submit(
            portfolio, SignalBatch.of_signals(signals).in_time().encode(), all_or_nothing=all_or_nothing,
            accept_price_jump=accept_price_jump, receipts=receipts, positions=positions,
        )  # fmt: skip
        commit(self.shard)
        assert self.shard.durable >= pending.sequence
        return pending.finish()

    def receipts(self, signals: Sequence[Signal], portfolio: str = "baseline") -> list[dict[str, Any]]:
        """What is answered to signals, without the mark of a replay."""
        batch = SignalBatch.of_signals(signals).in_time()
        submission = self.send(signals, portfolio)
        answers = [receipt(batch, submission, row) for row in range(len(batch))]
        return [{name: value for name, value in each.items() if name != "replayed"} for each in answers]

    def checkpoint(self) -> None:
        checkpoint = self.shard.due_checkpoint(now=True)
        assert checkpoint is not None
        self.shard.write_checkpoint(checkpoint)
        self.shard.checkpointed(checkpoint)

    def state(self) -> list[dict[str, Any]]:
        return [portfolio.dump() for portfolio in self.shard.portfolios.values()]

    def files(self, kind: str) -> list[Path]:
        folder = self.root / PREFIX / kind
        if kind == "history":
            folder = self.root / "history" / "portfolio=baseline"
        return sorted(path for path in folder.rglob("*") if path.is_file())


def commit(shard: Shard) -> None:
    """Write all that waits, and what becomes due."""
    while (waiting := shard.next_commit()) is not None:
        shard.write(waiting)
        shard.committed()
        if (checkpoint := shard.due_checkpoint()) is not None:
            shard.write_checkpoint(checkpoint)
            shard.checkpointed(checkpoint)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, ShardLimits())


@pytest.fixture
def busy(tmp_path: Path) -> Place:
    """One that makes a checkpoint every seven rows."""
    return Place(tmp_path, ShardLimits(checkpoint_rows=7))


# Taking in


def test_a_new_signal_is_accepted_and_moves_the_account(place: Place) -> None:
    submission = place.send([a_signal(0)])

    assert submission.taken.tolist() == [RowResult.ACCEPTED]
    assert submission.ordinal.tolist() == [0]
    assert submission.standing.count == 1
    assert submission.rows is not None
    assert submission.rows.fill_quantity[0] > 0


def test_the_account_is_that_of_the_bare_ledger(place: Place) -> None:
    batch = SignalBatch.of_signals(some(40))
    ledger, rows = Ledger(Policy()), LedgerRows.empty(40)
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price, rows)

    for signal in some(17):
        place.send([signal])
    submission = place.send(some(23, first=17))

    assert place.shard.portfolio("baseline").ledger.to_bytes() == ledger.to_bytes()
    np.testing.assert_array_equal(submission.rows.equity, rows.equity[17:])


def test_the_same_signal_again_gets_its_first_receipt_and_writes_nothing(place: Place) -> None:
    first = place.receipts([a_signal(0, name="a", rsi=3.0)])
    place.send(some(5, first=1))
    before, sequence = place.state(), place.shard.sequence

    again = place.send([a_signal(0, name="a", rsi=3.0)])

    assert again.taken.tolist() == [RowResult.REPLAYED]
    assert place.receipts([a_signal(0, name="a", rsi=3.0)]) == first
    assert (place.state(), place.shard.sequence) == (before, sequence)


@pytest.mark.parametrize(
    "change",
    [
        {"price": 101.0},
        {"action": Action.SELL},
        {"symbol": "ETH"},
        {"features": {"rsi": 4.0}},
        {"source": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(
    place: Place, change: dict[str, Any]
) -> None:
    signal = a_signal(0, name="a", rsi=3.0)
    place.send([signal])
    before, sequence = place.state(), place.shard.sequence

    with pytest.raises(IdentityConflict, match="'a'"):
        place.send([replace(signal, **change)])

    assert (place.state(), place.shard.sequence) == (before, sequence)


def test_a_signal_without_an_id_is_known_by_what_it_says(place: Place) -> None:
    place.send([a_signal(0)])

    assert place.send([a_signal(0)]).taken.tolist() == [RowResult.REPLAYED]
    with pytest.raises(IdentityConflict):
        place.send([a_signal(0, price=101.0)])


@pytest.mark.parametrize("minute", [4, 0])
def test_a_late_signal_is_refused_with_the_mark_it_met_and_changes_nothing(place: Place, minute: int) -> None:
    place.send([a_signal(5, name="first")])
    before = place.state()

    with pytest.raises(LateSignal) as raised:
        place.send([a_signal(minute, name="late")])

    assert raised.value.fields["high_water_mark"] == "2023-11-14T22:18:20Z"
    assert place.state() == before
    with pytest.raises(NotFound):
        place.shard.find("baseline", "late")


def test_two_signals_of_one_instant_are_taken_in_the_order_of_arrival_alone_and_in_a_batch(
    tmp_path: Path,
) -> None:
    first, second = a_signal(5, 100.0, 1, name="opens"), a_signal(5, 101.0, -1, name="closes")
    alone, together = (Place(tmp_path / name, ShardLimits()) for name in ("alone", "together"))
    opened, closed = alone.send([first]), alone.send([second])
    batch = together.send([first, second])

    assert opened.rows is not None
    assert closed.rows is not None
    assert batch.rows is not None
    assert [opened.rows.fill_quantity[0], closed.rows.fill_quantity[0]] == batch.rows.fill_quantity.tolist()
    assert closed.standing.account.tobytes() == batch.standing.account.tobytes()
    assert together.shard.portfolio("baseline").ledger.account[at.OPEN] == 0
    state = together.state()
    together.restart()
    assert together.state() == state
    assert together.send([second]).taken.tolist() == [RowResult.REPLAYED]
    with pytest.raises(LateSignal):
        together.send([a_signal(4, name="earlier")])


def test_a_refusal_in_autumns_double_hour_names_the_clock_change(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits(zone=ZoneInfo("America/New_York")))
    half_past_one = parse_instant("2025-11-02 01:30", place.limits.zone)
    first = Signal("BTC", half_past_one, Action.BUY, 100.0)
    place.send([first])

    with pytest.raises(IdentityConflict, match="clocks of America/New_York went back"):
        place.send([replace(first, price=101.0)])
    with pytest.raises(LateSignal, match=r"showed 2025-11-02 01:29:00 twice: .*2025-11-02T01:29:00-05:00"):
        place.send([replace(first, action=Action.SELL, timestamp_us=half_past_one - 60_000_000)])

    place.send([replace(first, timestamp_us=half_past_one + 2 * 3_600_000_000)])
    with pytest.raises(LateSignal) as late_for_another_reason:
        place.send([replace(first, action=Action.SELL)])
    assert "clocks" not in str(late_for_another_reason.value)


def test_another_symbol_and_another_portfolio_have_marks_of_their_own(place: Place) -> None:
    place.send([a_signal(5, name="a")])

    assert place.send([a_signal(1, symbol="ETH", name="b")]).taken.tolist() == [RowResult.ACCEPTED]
    assert place.send([a_signal(1, name="a")], "short").taken.tolist() == [RowResult.ACCEPTED]
    assert place.shard.standing("baseline").symbols == ("BTC", "ETH")
    assert place.shard.standing("short").count == 1


def test_a_price_too_far_from_the_last_one_is_refused_unless_it_is_meant(place: Place) -> None:
    place.send([a_signal(0)])
    before = place.state()

    with pytest.raises(PriceJump):
        place.send([a_signal(1, price=100_000.0)])
    assert place.state() == before

    assert place.send([a_signal(1, price=100_000.0)], accept_price_jump=True).taken.tolist() == [
        RowResult.ACCEPTED
    ]
    assert place.send([a_signal(2, price=99_000.0)]).taken.tolist() == [RowResult.ACCEPTED]


def test_twins_within_a_batch_are_processed_once(place: Place) -> None:
    submission = place.send([a_signal(0, name="a"), a_signal(0, name="a"), a_signal(1), a_signal(1)])

    assert submission.taken.tolist() == [
        RowResult.ACCEPTED,
        RowResult.REPLAYED,
        RowResult.ACCEPTED,
        RowResult.REPLAYED,
    ]
    assert submission.ordinal.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(submission.accounts[0], submission.accounts[1])
    assert place.shard.standing("baseline").count == 2


def test_one_id_with_two_contents_within_a_batch_is_a_conflict(place: Place) -> None:
    submission = place.send([a_signal(0, name="a"), a_signal(1, name="a"), a_signal(2)], all_or_nothing=False)

    assert submission.taken.tolist() == [RowResult.ACCEPTED, RowResult.REFUSED, RowResult.ACCEPTED]
    assert submission.ordinal.tolist() == [0, -1, 1]
    assert isinstance(submission.errors[1], IdentityConflict)


def test_the_twin_of_a_refused_row_is_refused_as_it_is(place: Place) -> None:
    place.send([a_signal(5)])

    submission = place.send([a_signal(0, name="late"), a_signal(0, name="late")], all_or_nothing=False)

    assert [type(error) for error in submission.errors.values()] == [LateSignal, LateSignal]


def test_a_batch_with_one_bad_row_is_refused_whole_and_changes_nothing(place: Place) -> None:
    place.send([a_signal(5)])
    before, sequence = place.state(), place.shard.sequence

    with pytest.raises(RowErrors) as raised:
        place.send([a_signal(0, name="late"), *some(3, first=6)], positions=np.array([7, 8, 9, 10]))

    assert raised.value.fields["refused"] == 1
    assert raised.value.fields["rows"] == 4
    assert raised.value.fields["errors"][0]["row"] == 7
    assert (place.state(), place.shard.sequence) == (before, sequence)
    assert place.send(some(3, first=6)).taken.tolist() == [RowResult.ACCEPTED] * 3


def test_bad_rows_can_be_skipped_and_the_others_count(place: Place) -> None:
    place.send([a_signal(5)])

    submission = place.send(
        [a_signal(0, name="late"), a_signal(5), a_signal(6), a_signal(7, price=1e7), a_signal(8)],
        all_or_nothing=False,
    )

    assert submission.taken.tolist() == [
        RowResult.REFUSED, RowResult.REPLAYED, RowResult.ACCEPTED, RowResult.REFUSED, RowResult.ACCEPTED,
    ]  # fmt: skip
    assert submission.ordinal.tolist() == [-1, 0, 1, -1, 2]
    assert {row: type(error) for row, error in submission.errors.items()} == {0: LateSignal, 3: PriceJump}
    assert np.isnan(submission.accounts[0]).all()
    assert place.shard.standing("baseline").count == 3


def test_a_symbol_of_which_every_row_is_refused_stays_unknown(place: Place) -> None:
    place.send([a_signal(0, name="a")])

    place.send([a_signal(0, name="a", symbol="DOGE"), a_signal(1)], all_or_nothing=False)

    assert place.shard.standing("baseline").symbols == ("BTC",)


def test_what_waits_is_not_durable_and_joins_one_commit(place: Place) -> None:
    shard = place.shard
    pendings = [
        shard.submit(
            "baseline", SignalBatch.of_signals([signal]).encode(), all_or_nothing=True,
            accept_price_jump=False, receipts=False,
        )
        for signal in some(3)
    ]  # fmt: skip
    assert shard.durable < pendings[0].sequence

    waiting = shard.next_commit()
    assert shard.next_commit() is None
    shard.write(waiting)
    shard.committed()

    assert len(waiting.payloads) == 3
    assert shard.durable == pendings[-1].sequence
    assert pendings[0].finish().rows is None


# Portfolios


def test_a_portfolio_is_created_once_and_another_policy_is_a_conflict(place: Place) -> None:
    policy = Policy(fee_bps=1.0)

    standing, new = place.shard.create("third", policy)
    commit(place.shard)
    assert new
    assert standing.policy == policy
    assert place.shard.create("third", policy)[1] is False
    with pytest.raises(PortfolioConflict):
        place.shard.create("third", Policy(fee_bps=2.0))
    place.restart()
    assert place.shard.standing("third").policy == policy


def test_a_name_that_cannot_be_a_folder_is_refused(place: Place) -> None:
    with pytest.raises(InvalidField):
        place.shard.create("../up", Policy())
    assert not place.shard.has_waiting


def test_signals_of_an_unknown_portfolio_are_refused_by_name(place: Place) -> None:
    with pytest.raises(NotFound, match="there are: baseline, short"):
        place.send(some(1), "nobody")


def test_settings_that_contradict_the_journal_are_refused_at_opening(place: Place) -> None:
    place.policies = {"baseline": Policy(fee_bps=99.0)}

    with pytest.raises(PortfolioConflict):
        place.restart()


# Restart


def test_a_restart_ends_in_the_same_state(busy: Place) -> None:
    for first in range(0, 30, 3):
        busy.send(some(3, first))
        busy.send(some(3, first), "short")
    before = busy.state()

    busy.restart()

    assert busy.state() == before


@pytest.mark.parametrize("checkpoint", [False, True], ids=["from memory", "from the history"])
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_a_receipt_is_the_same_for_ever(place: Place, checkpoint: bool, restart: bool) -> None:
    signals = [a_signal(minute * 300, 100 + minute, 1 - minute % 3) for minute in range(12)]  # four days
    first = [answer for start in range(0, 12, 4) for answer in place.receipts(signals[start : start + 4])]
    if checkpoint:
        place.checkpoint()
        assert len(place.files("history")) == 4
    if restart:
        place.restart()

    assert place.receipts(signals) == first
    assert [place.receipts([signal])[0] for signal in signals] == first


def test_rows_in_memory_and_in_the_history_are_recalled_together(place: Place) -> None:
    first = place.receipts(some(4))
    place.checkpoint()
    second = place.receipts(some(4, first=4))

    assert place.receipts([*some(4), *some(4, first=4)]) == first + second


def test_rows_whose_checkpoint_is_being_written_are_recalled(place: Place) -> None:
    first = place.receipts(some(4))
    checkpoint = place.shard.due_checkpoint(now=True)
    second = place.receipts(some(4, first=4))

    assert place.receipts(some(8)) == first + second
    place.shard.write_checkpoint(checkpoint)
    assert place.receipts(some(8)) == first + second
    place.shard.checkpointed(checkpoint)
    assert place.receipts(some(8)) == first + second


def lose_snapshots(place: Place) -> None:
    for path in place.files("snapshots"):
        path.unlink()


def damage_the_last_snapshot(place: Place) -> None:
    flip(place.files("snapshots")[-1])


def as_the_second_version(data: bytes) -> bytes:
    """A stored ledger as version 2 laid it out; its sums are not what that would have had."""
    *_, symbols = struct.unpack_from("<4sHHHI", data)
    numbers = np.frombuffer(data[:-4], "<f8", offset=14)
    rest = np.delete(numbers, [at.PERIODS, at.BEFORE, at.HOLD_BEFORE])
    body = struct.pack("<4sHHHI", b"RSLG", 2, 34, 6, symbols) + rest.tobytes()
    return body + struct.pack("<I", zlib.crc32(body))


def test_a_snapshot_of_a_version_that_counted_in_another_way_is_counted_anew(place: Place) -> None:
    names = ("BTC", "ETH")
    place.send([a_signal(minute, 100.0 + minute, symbol=name) for minute in range(20) for name in names])
    state = place.state()
    assert Performance.of(place.shard.portfolio("baseline").ledger.account).periods == 20
    place.checkpoint()
    (path,) = place.files("snapshots")
    kept = snapshots.latest(place.stores.blobs, PREFIX)
    assert kept is not None
    dumps = tuple(dump | {"ledger": as_the_second_version(dump["ledger"])} for dump in kept.portfolios)
    path.unlink()
    snapshots.put(place.stores.blobs, PREFIX, 1, replace(kept, portfolios=dumps))

    place.restart()
    assert place.state() == state
    place.send([a_signal(20, 90.0)])
    place.checkpoint()
    place.restart()
    assert place.shard.portfolio("baseline").count == 41


def damage_all_snapshots(place: Place) -> None:
    for path in place.files("snapshots"):
        flip(path)


def lose_a_run(place: Place) -> None:
    place.files("identities")[0].unlink()


def damage_a_run(place: Place) -> None:
    flip(place.files("identities")[-1])


def lose_the_history(place: Place) -> None:
    shutil.rmtree(place.root / "history")


def lose_a_file_in_the_middle_of_the_history(place: Place) -> None:
    place.files("history")[1].unlink()


def lose_all_but_the_journal(place: Place) -> None:
    lose_the_history(place)
    shutil.rmtree(place.root / PREFIX)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lose_snapshots, damage_the_last_snapshot, damage_all_snapshots, lose_a_run, damage_a_run, lose_the_history,
        lose_a_file_in_the_middle_of_the_history, lose_all_but_the_journal,
    ],
    ids=lambda harm: harm.__name__.replace("_", " "),
)  # fmt: skip
def test_what_is_lost_beside_the_journal_is_rebuilt_from_it(
    busy: Place, harm: Callable[[Place], None]
) -> None:
    first = [busy.receipts(some(3, start)) for start in range(0, 33, 3)]
    before = busy.state()
    assert len(busy.files("history")) > 2

    harm(busy)
    busy.restart()

    assert busy.state() == before
    assert [busy.receipts(some(3, start)) for start in range(0, 33, 3)] == first
    assert busy.state() == before
    assert all_rows(busy) == list(range(33))


def all_rows(place: Place, portfolio: str = "baseline") -> list[int]:
    recent = place.shard.recent(portfolio)()
    written = history.read_range(place.stores.blobs, portfolio, 0, 10**9)["ordinal"].to_pylist()
    kept = [ordinal for table in recent.tables for ordinal in table["ordinal"].to_pylist()]
    assert recent.first == (kept[0] if kept else place.shard.standing(portfolio).count)
    return [ordinal for ordinal in written if ordinal < recent.first] + kept


def test_damage_in_the_journal_is_refused_and_named(place: Place) -> None:
    place.send(some(3))
    place.send(some(3, first=3))
    segment = max((place.root / "journal" / "shard=0000").glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"baseline")] ^= 1  # the creation: record 2, behind the takeover
    segment.write_bytes(data)

    with pytest.raises(JournalDamaged) as raised:
        place.restart()
    assert raised.value.fields["sequence"] == 2


def test_a_second_writer_fences_the_first(place: Place) -> None:
    old = place.shard
    place.send(some(2))
    successor = place.open()

    old.submit(
        "baseline", SignalBatch.of_signals(some(1, first=2)).encode(), all_or_nothing=True,
        accept_price_jump=False, receipts=False,
    )  # fmt: skip
    with pytest.raises(Fenced):
        old.write(old.next_commit())

    place.shard = successor
    assert place.send(some(3)).taken.tolist() == [RowResult.REPLAYED, RowResult.REPLAYED, RowResult.ACCEPTED]


# Checkpoints


def test_a_checkpoint_is_due_after_so_many_rows_and_bounds_the_memory(busy: Place) -> None:
    busy.send(some(6))
    assert busy.files("snapshots") == []

    busy.send(some(1, first=6))

    assert len(busy.files("snapshots")) == 1
    assert busy.shard.rows_kept == 0
    assert busy.shard.portfolio("baseline").bytes_kept == 0
    assert history.written_up_to(busy.stores.blobs, "baseline") == 7


def alternating(count: int, days: int) -> list[Signal]:
    """Signals of a symbol a day, each of the day after that of the one before."""
    return [
        a_signal(
            row % days * 1440 + row // days,
            100.0 + row % 7,
            row % 3 - 1,
            symbol=f"S{row % days}",
            rsi=float(row),
        )
        for row in range(count)
    ]


@pytest.mark.slow
def test_signals_that_alternate_between_days_make_few_files(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits(checkpoint_rows=100))
    signals = alternating(4_000, 8)
    for first in range(0, 4_000, 50):
        for signal in signals[first : first + 50]:
            place.shard.submit(
                "baseline", SignalBatch.of_signals([signal]).encode(), all_or_nothing=True, accept_price_jump=False,
                receipts=False,
            )  # fmt: skip
        commit(place.shard)
    place.checkpoint()

    assert len(place.files("history")) <= 40
    assert all_rows(place) == list(range(4_000))


def test_receipts_of_signals_that_alternate_between_days_are_the_first_ones(busy: Place) -> None:
    signals = alternating(60, 3)
    first = [busy.receipts([signal])[0] for signal in signals]
    busy.checkpoint()
    busy.restart()

    assert len(busy.files("history")) == 3
    assert [busy.receipts([signal])[0] for signal in signals] == first
    assert busy.receipts(sorted(signals, key=lambda each: each.timestamp_us)) == sorted(
        first, key=lambda each: each["timestamp"]
    )


def test_a_checkpoint_is_due_after_so_many_bytes(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits(checkpoint_bytes=2000))
    place.send([a_signal(0, note="x" * 3000)])

    assert len(place.files("snapshots")) == 1


def test_only_the_newest_snapshots_are_kept(busy: Place) -> None:
    for first in range(0, 70, 7):
        busy.send(some(7, first))

    assert len(busy.files("snapshots")) == 2


def test_while_one_checkpoint_is_written_no_other_is_due_and_too_much_is_crowded(busy: Place) -> None:
    busy.send(some(1))
    checkpoint = busy.shard.due_checkpoint(now=True)
    busy.send(some(14, first=1))
    assert not busy.shard.crowded

    busy.send(some(1, first=15))
    assert busy.shard.crowded
    assert busy.shard.due_checkpoint() is None
    assert busy.shard.due_checkpoint(now=True) is None

    busy.shard.write_checkpoint(checkpoint)
    busy.shard.checkpointed(checkpoint)
    assert not busy.shard.crowded
    busy.send(some(1, first=16))
    assert history.written_up_to(busy.stores.blobs, "baseline") == 17


def test_without_new_rows_no_checkpoint_is_made(place: Place) -> None:
    place.send(some(2))
    place.checkpoint()

    place.send(some(2))
    assert place.shard.due_checkpoint(now=True) is None


def test_history_and_recent_rows_are_all_rows_once(busy: Place) -> None:
    for first in range(0, 32, 4):
        busy.send(some(4, first))

    assert all_rows(busy) == list(range(32))
    busy.restart()
    assert all_rows(busy) == list(range(32))


def test_recent_rows_are_those_of_the_moment_they_were_asked_for(place: Place) -> None:
    place.send(some(2))
    collect = place.shard.recent("baseline")
    place.send(some(2, first=2))

    assert [table["ordinal"].to_pylist() for table in collect().tables] == [[0, 1]]


# Finding


@pytest.mark.parametrize("checkpoint", [False, True], ids=["in memory", "in the history"])
def test_a_signal_is_found_by_its_id_with_its_features_and_its_record(place: Place, checkpoint: bool) -> None:
    wanted = a_signal(3, 104.0, -1, name="wanted", rsi=61.5, mood="calm")
    place.send(some(3))
    first = place.send([wanted, a_signal(4)])
    if checkpoint:
        place.checkpoint()

    found = place.shard.find("baseline", "wanted")()

    assert found.batch.signal(0) == wanted
    assert (found.ordinal, found.record_row) == (3, 0)
    assert found.sequence == place.shard.durable
    assert found.account.tobytes() == first.accounts[0].tobytes()


def test_what_is_not_found_is_named_and_cut_short(place: Place) -> None:
    for look in (
        lambda: place.shard.find("baseline", "x" * 10_000),
        lambda: place.shard.find("y" * 10_000, "x"),
    ):
        with pytest.raises(NotFound) as raised:
            look()
        assert len(str(raised.value)) + len(str(raised.value.fields["value"])) < 300


def test_a_signal_of_another_portfolio_is_not_found(place: Place) -> None:
    place.send([a_signal(0, name="a")], "short")

    with pytest.raises(NotFound, match="'a'"):
        place.shard.find("baseline", "a")
    assert place.shard.find("short", "a")().ordinal == 0


def test_errors_name_no_rows_unless_positions_are_given(place: Place) -> None:
    place.send([a_signal(5)])

    with pytest.raises(RaysignalError) as raised:
        place.send([a_signal(0)])
    assert raised.value.fields["row"] is None


def test_a_derived_id_that_someone_gave_before_is_not_taken_twice(place: Place) -> None:
    later = a_signal(9)
    derived = SignalBatch.of_signals([later]).signal_id[0]
    place.send([a_signal(1, name=derived)])
    with pytest.raises(IdentityConflict):
        place.send([later])
    assert place.shard.portfolio("baseline").count == 1


def test_zeros_of_a_torn_write_do_not_excuse_damage_in_the_record_before(place: Place) -> None:
    place.send(some(3))
    place.shard.journal.close()
    (segment,) = (place.root / "journal").rglob("*.segment")
    data = bytearray(segment.read_bytes())
    data[data.rindex(b"baseline") + 20] ^= 1
    segment.write_bytes(bytes(data) + bytes(1024))
    with pytest.raises(JournalDamaged):
        place.open()


# Symbols that get another name


def test_an_open_position_goes_on_under_another_name_and_the_journal_says_so(tmp_path):
    place = Place(tmp_path, ShardLimits())
    place.send([a_signal(0, 100.0, 1), a_signal(1, 110.0, 1)])
    held = place.shard.portfolio("baseline").ledger.positions.copy()
    assert place.shard.rename_symbol("baseline", "BTC", "binance:BTC")
    assert not place.shard.rename_symbol("baseline", "BTC", "binance:BTC")  # once
    commit(place.shard)
    assert place.shard.portfolio("baseline").ledger.positions.tobytes() == held.tobytes()
    assert place.shard.standing("baseline").symbols == ("binance:BTC",)
    with pytest.raises(LateSignal):
        place.send([a_signal(0, 110.0, -1, symbol="binance:BTC")])
    place.send([a_signal(2, 120.0, -1, symbol="binance:BTC")])
    assert place.shard.portfolio("baseline").ledger.account[at.OPEN] == 0
    state = place.state()
    place.restart()
    assert place.state() == state


def test_what_is_not_held_or_has_the_new_name_already_is_not_renamed(tmp_path):
    place = Place(tmp_path, ShardLimits())
    place.send([a_signal(0, 100.0, 1), a_signal(1, 100.0, -1), a_signal(2, 5.0, 1, symbol="ETH")])
    place.send([a_signal(3, 5.0, 0, symbol="binance:ETH")])
    before = place.shard.sequence
    for old, new in (("BTC", "binance:BTC"), ("ETH", "binance:ETH"), ("XRP", "binance:XRP")):
        assert not place.shard.rename_symbol("baseline", old, new)
    assert place.shard.sequence == before
    with pytest.raises(NotFound):
        place.shard.rename_symbol("nobody", "BTC", "binance:BTC")


@pytest.mark.parametrize("where", ["memory", "history"])
def test_signals_from_before_a_renaming_have_their_receipts_although_the_old_name_is_used_again(
    tmp_path, where
):
    place = Place(tmp_path, ShardLimits())
    sent = [
        [a_signal(0, 100.0, 1), a_signal(1, 110.0, 1)],
        [a_signal(2, 120.0, -1, symbol="binance:BTC"), a_signal(3, 7.0, 1)],
        [a_signal(4, 130.0, 1, symbol="binance:BTC"), a_signal(5, 7.5, 0)],
    ]
    receipts = [place.receipts(sent[0])]
    assert place.shard.rename_symbol("baseline", "BTC", "binance:BTC")
    receipts.append(place.receipts(sent[1]))
    assert place.shard.rename_symbol("baseline", "BTC", "bybit:BTC")
    receipts.append(place.receipts(sent[2]))
    assert place.shard.standing("baseline").symbols == ("binance:BTC", "bybit:BTC", "BTC")
    if where == "history":
        place.checkpoint()
    place.restart()
    assert [place.receipts(each) for each in sent] == receipts
    assert place.receipts(sent[1] + sent[0] + sent[2]) == receipts[0] + receipts[1] + receipts[2]


def test_who_follows_is_told_of_a_renaming_between_rows_and_never_within_them(tmp_path):
    place = Place(tmp_path, ShardLimits())
    place.send([a_signal(0, 100.0, 1), a_signal(1, 110.0, 1)])
    place.shard.rename_symbol("baseline", "BTC", "binance:BTC")
    place.send([a_signal(2, 120.0, 0, symbol="binance:BTC")])
    for _ in range(2):
        first, second = (place.shard.rows("baseline", number, 100)() for number in (0, 2))
        assert (len(first.decision), first.renamed) == (2, ())
        assert (len(second.decision), second.renamed) == (1, (("BTC", "binance:BTC"),))
        if place.shard.rows_kept:
            place.checkpoint()


GUARDED = Policy(fee_bps=5.0, side="long-short", min_confidence=0.5, stop_bps=300.0, trail_bps=400.0)


def speaking(count: int, first: int = 0) -> list[Signal]:
    """Signals of two symbols with brackets, sizes and confidences; some are CLOSE, most are prices with a range."""
    made = []
    for minute in range(first, first + count):
        price = 100.0 + 6.0 * np.sin(minute / 3.0)
        signal = a_signal(
            minute, price, 0, f"s{minute}", ("BTC", "ETH")[minute % 2], high=price * 1.01, low=price * 0.99
        )
        if minute % 7 == 1:
            side = 1 if minute % 2 else -1
            signal = replace(
                signal, action=Action(side), size=0.4, stop_loss=price * (1.0 - 0.02 * side),
                take_profit=price * (1.0 + 0.04 * side), confidence=(minute % 10) / 10.0,
                expires_us=signal.timestamp_us + 9 * MINUTE_US,
            )  # fmt: skip
        elif minute % 19 == 0:
            signal = replace(signal, action=Action.CLOSE)
        made.append(signal)
    return made


@pytest.mark.parametrize("fill", ["signal", "next"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_brackets_end_on_the_same_bytes_live_restarted_and_replayed(
    tmp_path: Path, fill: str, checkpoint: bool
) -> None:
    policy = replace(GUARDED, fill=fill)  # type: ignore[arg-type]
    place = Place(tmp_path, ShardLimits(), {"baseline": policy})
    signals = speaking(120)
    place.send(signals[:40], accept_price_jump=True)
    first = [place.receipts([signal])[0] for signal in signals[40:60]]
    if checkpoint:
        place.checkpoint()
    place.restart()
    place.send(signals[60:])

    batch = SignalBatch.of_signals(signals)
    ledger, rows = Ledger(policy), LedgerRows.empty(len(batch))
    ledger.ensure_symbols(2)
    ledger.run(batch.timestamp_us, batch.symbol, batch.action, batch.price, rows, terms=batch.order_terms())
    assert place.shard.portfolios["baseline"].ledger.to_bytes() == ledger.to_bytes()
    assert len(set(rows.closed_by.tolist())) >= 3

    assert [place.receipts([signal])[0] for signal in signals[40:60]] == first
    assert any("closed" in made for made in first)
    found = place.shard.find("baseline", "s50")()
    assert found.batch.signal(0) == replace(signals[50], features=found.batch.signal(0).features)
