"""Rows of a shard in the order of its journal, and their messages: from memory, from the history, after a restart."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import NotFound
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.engine.portfolio.stream_history import ShardHistory
from raysignal.engine.portfolio.stream_messages import StreamMessage, messages_of, row_of, sequence_of
from raysignal.engine.portfolio.stream_rows import StreamRows
from tests.unit.engine.portfolio.test_shard import Place, a_signal, commit, some

BRACKETED = Policy(side="long-short", stop_bps=150.0, take_bps=150.0)
POLICIES = {
    "baseline": Policy(),
    "short": Policy(side="long-short", fee_bps=5.0, fill="next"),
    "stops": BRACKETED,
}


def everything(shard: Shard, history: ShardHistory, page: int, end: int | None = None) -> list[StreamMessage]:
    """All messages, page by page, each row read from where it lies."""
    found: list[StreamMessage] = []
    first, end = 0, shard.tail(0, 1).end if end is None else end
    while first < end:
        tail = shard.tail(first, page)
        if first < tail.begins:
            stop = min(first + page, tail.begins)
            parts = history.read(first, page, tail.begins)
        else:
            stop = min(first + page, tail.end)
            parts = [StreamRows.of_tail(part) for part in tail.parts]
        messages = [message for part in parts for message in messages_of(0, part, POLICIES[part.portfolio])]
        found += sorted(messages, key=lambda message: message.sequence or 0)
        first = stop
    return found


def decided(signals: list[Any]) -> bytes:
    n = len(signals)
    why = TextColumn.of(['{"similar": 3}' if row % 2 else None for row in range(n)])
    return Decisions(np.zeros(n, np.int8), np.zeros(n, np.int8), ("agent",), why).encode()


def trade(place: Place, random: Random, minutes: dict[str, int], times: int) -> None:
    """Send batches of different sizes to the portfolios in turns, some decided by an agent, some with terms."""
    for _ in range(times):
        name, count = random.choice([*POLICIES]), random.choice([1, 1, 1, 2, 9])
        signals = some(count, minutes[name])
        minutes[name] += count
        batch = SignalBatch.of_signals(signals).in_time().encode()
        place.shard.submit(
            name, batch, all_or_nothing=True, accept_price_jump=False, receipts=False,
            decisions=decided(signals) if random.random() < 0.3 else None,
        )  # fmt: skip
        if random.random() < 0.5:
            commit(place.shard)
    commit(place.shard)


@pytest.mark.parametrize("seed", range(4))
def test_messages_are_the_same_bytes_from_memory_from_the_history_and_after_a_restart(
    tmp_path: Path, seed: int
) -> None:
    random, minutes = Random(seed), dict.fromkeys(POLICIES, 0)
    place = Place(tmp_path, ShardLimits(), POLICIES)
    history = ShardHistory(place.stores.blobs, lambda _: True)
    trade(place, random, minutes, 40)
    live = everything(place.shard, history, 1000)
    assert [message.sequence for message in live] == sorted({message.sequence for message in live})
    assert len({message.sequence for message in live if message.kind == "signal"}) == sum(minutes.values())
    assert {message.kind for message in live} == {"signal", "decision", "fill", "position_update"}
    place.checkpoint()
    assert everything(place.shard, history, 7) == live
    trade(place, random, minutes, 40)
    place.checkpoint()
    trade(place, random, minutes, 40)
    both = everything(place.shard, history, 13)
    assert both[: len(live)] == live
    place.restart()
    assert everything(place.shard, ShardHistory(place.stores.blobs, lambda _: True), 5) == both
    rest = history.read(first := len(both) // 8, 3, place.shard.tail(0, 1).begins)
    assert sorted(number for part in rest for number in part.number) == [first, first + 1, first + 2]


def test_messages_of_a_signal_say_what_it_asked_for_and_what_was_done(place_of_one: Place) -> None:
    place_of_one.send([a_signal(0, 100.0, 1, "s0", rsi=30.0, mood="日本", api_key="k")])
    place_of_one.send([a_signal(1, 110.0, -1, "s1")])
    (buy, *_), (sell, *_) = (place_of_one.receipts([each]) for each in (
        a_signal(0, 100.0, 1, "s0", rsi=30.0, mood="日本", api_key="k"), a_signal(1, 110.0, -1, "s1")
    ))  # fmt: skip
    (rows,) = [StreamRows.of_tail(part) for part in place_of_one.shard.tail(0, 1).parts]
    signal, decision, fill, position = (json.loads(each.text) for each in messages_of(3, rows, Policy()))
    about = {
        "shard": 3, "portfolio": "baseline", "ordinal": 0, "signal_id": "s0", "symbol": "BTC",
        "timestamp": buy["timestamp"],
    }  # fmt: skip
    assert signal == {
        "type": "signal", "sequence": 1, **about, "source": "default", "signal": "BUY", "price": 100.0,
        "features": {"mood": "日本", "rsi": 30.0},
    }  # fmt: skip
    assert decision == {
        "type": "decision", "sequence": 2, **about, "action": "BUY", "by": "signal", "outcome": "opened",
        "reason": None, "explanation": None,
    }  # fmt: skip
    assert fill == {"type": "fill", "sequence": 3, **about, **buy["fill"]}
    assert position["type"] == "position_update"
    assert position["sequence"] == 4
    assert position["quantity"] == buy["fill"]["quantity"]
    (sold,) = [StreamRows.of_tail(part) for part in place_of_one.shard.tail(1, 9).parts]
    assert [json.loads(each.text)["sequence"] for each in messages_of(0, sold, Policy())] == [5, 6, 7, 8]
    assert json.loads(list(messages_of(0, sold, Policy()))[3].text)["equity"] == sell["performance"]["equity"]


def test_rows_of_a_large_record_are_handed_out_in_pieces(place_of_one: Place) -> None:
    place_of_one.send(some(50))
    tail = place_of_one.shard.tail(17, 5)
    (part,) = tail.parts
    assert (tail.begins, tail.end, part.number, part.ordinal, len(part.rows)) == (0, 50, 17, 17, 5)
    assert SignalBatch.decode(part.encoded).signal_id[0] == "s17"
    assert place_of_one.shard.tail(50, 5).parts == ()


def test_rows_that_were_removed_from_the_history_are_said_to_be_missing(tmp_path: Path) -> None:
    place = Place(tmp_path, ShardLimits())
    place.send(some(10))
    place.checkpoint()
    history = ShardHistory(place.stores.blobs, lambda _: True)
    for path in place.files("history"):
        path.unlink()
    with pytest.raises(NotFound, match="the history holds 0 of the first 10 rows of the stream"):
        history.read(0, 5, place.shard.tail(0, 1).begins)


def test_the_row_behind_a_sequence_is_that_of_its_next_message() -> None:
    assert [row_of(sequence_of(7, place)) for place in range(4)] == [7, 7, 7, 8]
    assert row_of(0) == 0


@pytest.fixture
def place_of_one(tmp_path: Path) -> Place:
    return Place(tmp_path, ShardLimits())
