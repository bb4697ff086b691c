"""Portfolios that somebody else decides for: the signal stays, the ledger does what was decided."""

import json

import msgspec
import numpy as np
import pytest

from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.shard import Shard, ShardLimits

DAY = 86_400_000_000
POLICY = Policy(fee_bps=0.0, side="long-short")


def signals(n: int) -> SignalBatch:
    return SignalBatch.of_signals(
        [
            Signal("BTC", DAY + i * 60_000_000, Action.BUY if i % 3 else Action.SELL, 100.0 + i % 7)
            for i in range(n)
        ]
    )


def decisions(batch: SignalBatch) -> Decisions:
    n = len(batch)
    action = np.where(np.arange(n) % 4 == 0, 0, batch.action).astype(np.int8)
    return Decisions(
        action,
        (action != batch.action).astype(np.int8),
        ("signal", "gate"),
        TextColumn.of([json.dumps({"row": i}) if i % 4 == 0 else "" for i in range(n)]),
    )


def opened(folder, *, checkpoint_rows: int = 65_536) -> Shard:
    stores = open_stores(folder.as_uri())
    return Shard.open(
        stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000", cache_dir=folder / "cache",
        limits=ShardLimits(checkpoint_rows=checkpoint_rows), policies={"enhanced": POLICY},
    )  # fmt: skip


def written(shard: Shard) -> None:
    while (commit := shard.next_commit()) is not None:
        shard.write(commit)
        shard.committed()


def taken(shard: Shard, batch: SignalBatch, told: Decisions) -> None:
    shard.submit(
        "enhanced", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=False,
        decisions=told.encode(),
    ).finish()  # fmt: skip
    written(shard)


def test_decisions_come_back_from_their_bytes():
    told = decisions(signals(9))
    again = Decisions.decode(told.encode())
    assert (again.action.tolist(), again.deciders) == (told.action.tolist(), told.deciders)
    assert again.explanation.to_list() == told.explanation.to_list()


def test_the_ledger_does_what_was_decided_and_not_what_the_signals_say(tmp_path):
    batch = signals(40)
    told = decisions(batch)
    shard = opened(tmp_path)
    taken(shard, batch, told)

    ledger = Ledger(POLICY)
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us, batch.symbol, told.action, batch.price)
    assert shard.standing("enhanced").account.tobytes() == ledger.account.tobytes()


@pytest.mark.parametrize("flushed", [False, True])
def test_after_a_restart_a_decided_signal_is_found_with_its_decision(tmp_path, flushed):
    batch = signals(40)
    told = decisions(batch)
    shard = opened(tmp_path)
    taken(shard, batch, told)
    before = shard.standing("enhanced").account.tobytes()
    if flushed:
        checkpoint = shard.due_checkpoint(now=True)
        assert checkpoint is not None
        shard.write_checkpoint(checkpoint)
        shard.checkpointed(checkpoint)
    shard.journal.close()

    again = opened(tmp_path)
    assert again.standing("enhanced").account.tobytes() == before
    for row in (0, 1, 4, 39):
        found = again.find("enhanced", batch.signal_id[row])()
        assert found.decided.action == told.action[row]
        assert found.decided.by == ("gate" if row % 4 == 0 else "signal")
        assert found.decided.explanation == (json.dumps({"row": row}) if row % 4 == 0 else "")
        assert found.receipt()["signal"] == Action(int(batch.action[row])).name
        assert found.receipt()["decision"]["action"] == Action(int(told.action[row])).name
    again.journal.close()


def test_a_decided_signal_that_comes_again_counts_once_and_keeps_its_first_decision(tmp_path):
    batch = signals(12)
    shard = opened(tmp_path)
    taken(shard, batch, decisions(batch))
    before = shard.standing("enhanced").account.tobytes()
    other = Decisions(batch.action, np.zeros(12, np.int8), ("signal",), TextColumn.empty(12))
    taken(shard, batch, other)
    assert shard.standing("enhanced").account.tobytes() == before
    assert shard.standing("enhanced").count == 12
    assert shard.find("enhanced", batch.signal_id[0])().decided.by == "gate"


def test_of_a_batch_that_is_partly_known_the_new_rows_keep_their_own_decisions(tmp_path):
    batch = signals(20)
    told = decisions(batch)
    shard = opened(tmp_path)
    taken(shard, batch.take(np.arange(7)), told.take(np.arange(7)))
    taken(shard, batch, told)
    ledger = Ledger(POLICY)
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us, batch.symbol, told.action, batch.price)
    assert shard.standing("enhanced").account.tobytes() == ledger.account.tobytes()


def test_as_many_decisions_as_signals_are_asked_for_and_nothing_changes(tmp_path):
    batch = signals(5)
    shard = opened(tmp_path)
    with pytest.raises(InvalidField, match="decisions is 4; expected one for each of the 5 signals"):
        shard.submit(
            "enhanced", batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=False,
            decisions=decisions(batch).take(np.arange(4)).encode(),
        )  # fmt: skip
    assert shard.standing("enhanced").count == 0


@pytest.mark.parametrize(("action", "by"), [(3, 0), (0, 2), (0, -1)])
def test_a_decision_that_cannot_be_is_refused(action, by):
    with pytest.raises(InvalidField):
        Decisions(
            np.array([action], np.int8), np.array([by], np.int8), ("signal", "gate"), TextColumn.empty(1)
        )


def rows(shard: Shard, first: int, limit: int) -> tuple[list[str], list[int]]:
    look = shard.rows("enhanced", first, limit)
    assert look is not None
    found = look()
    assert found.first == first
    return found.batch().signal_id.to_list(), found.decision.tolist()


def test_followers_read_the_same_rows_from_memory_and_from_the_history(tmp_path):
    batch = signals(30)
    told = decisions(batch)
    shard = opened(tmp_path)
    for start in range(0, 30, 10):
        chosen = np.arange(start, start + 10)
        taken(shard, batch.take(chosen), told.take(chosen))
    asked = [(0, 100), (0, 10), (5, 10), (10, 10), (29, 1), (12, 100)]
    from_memory = [rows(shard, *each) for each in asked]
    assert from_memory[0] == (batch.signal_id.to_list(), told.action.tolist())
    assert from_memory[2] == (batch.signal_id.to_list()[5:15], told.action.tolist()[5:15])
    assert shard.rows("enhanced", 30, 10) is None
    checkpoint = shard.due_checkpoint(now=True)
    assert checkpoint is not None
    assert [rows(shard, *each) for each in asked] == from_memory  # while it is being written
    shard.write_checkpoint(checkpoint)
    shard.checkpointed(checkpoint)
    assert [rows(shard, *each) for each in asked] == from_memory


@pytest.mark.parametrize("n", [0, 1, 40])
def test_decisions_come_back_as_they_were_written(n):
    told = (
        decisions(signals(n)) if n else Decisions(*np.zeros((2, 0), np.int8), ("gate",), TextColumn.empty(0))
    )
    found = Decisions.decode(told.encode())
    assert (found.action.tolist(), found.deciders) == (told.action.tolist(), told.deciders)
    assert found.explanation.to_list() == told.explanation.to_list()


def test_decisions_of_the_version_before_are_read_and_later_ones_refused():
    texts = TextColumn.of(['{"why":1}', ""])
    columns = [b"\x01\xff", b"\x00\x01", ("signal", "gate"), texts.data.tobytes(), texts.offsets.tobytes()]
    found = Decisions.decode(msgspec.msgpack.encode((1, *columns)))
    assert (found.action.tolist(), found.deciders) == ([1, -1], ["signal", "gate"])
    assert found.explanation.to_list() == ['{"why":1}', ""]
    with pytest.raises(ValueError, match="format 3"):
        Decisions.decode(msgspec.msgpack.encode((3, *columns)))
