"""What holds for every batch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.signals import Action, Signal

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
features = st.dictionaries(
    st.sampled_from(["rsi", "mood", "índice", "x" * 40]),
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), texts.filter(bool)),
)
signals = st.builds(
    Signal,
    symbol=st.sampled_from(["BTC", "ETH", "ñ"]),
    timestamp_us=st.integers(-(2**50), 2**52),
    action=st.sampled_from(Action),
    price=st.floats(5e-324, 1e15),
    source=st.sampled_from(["default", "desk"]),
    signal_id=st.one_of(st.just(""), texts),
    features=features,
)


def rows(batch: SignalBatch) -> list[Signal]:
    return [batch.signal(place) for place in range(len(batch))]


@settings(deadline=None)
@given(st.lists(signals, max_size=12))
def test_what_is_encoded_is_decoded(many: list[Signal]) -> None:
    batch = SignalBatch.of_signals(many)
    again = SignalBatch.decode(batch.encode())
    assert rows(again) == rows(batch)
    assert again.key.tolist() == batch.key.tolist()
    assert again.content.tolist() == batch.content.tolist()
    assert again.derived.tolist() == batch.derived.tolist()
    assert again.encode() == batch.encode()


@settings(deadline=None)
@given(st.lists(signals, min_size=1, max_size=12))
def test_a_signal_has_the_same_digests_alone_and_in_company(many: list[Signal]) -> None:
    batch = SignalBatch.of_signals(many)
    for place, signal in enumerate(many):
        alone = SignalBatch.of_signals([signal])
        assert alone.content[0] == batch.content[place]
        assert alone.key[0].tolist() == batch.key[place].tolist()
        assert alone.signal_id[0] == batch.signal_id[place]


@settings(deadline=None)
@given(st.lists(signals, max_size=12), st.data())
def test_taking_rows_takes_everything_of_them(many: list[Signal], data: st.DataObject) -> None:
    batch = SignalBatch.of_signals(many)
    places = data.draw(st.lists(st.integers(0, len(many) - 1), max_size=15)) if many else []
    taken = batch.take(np.array(places, np.int64))
    assert rows(taken) == [batch.signal(place) for place in places]
    assert taken.content.tolist() == [batch.content[place] for place in places]
    assert taken.row.tolist() == places


@settings(deadline=None)
@given(st.lists(signals, max_size=12))
def test_in_time_is_a_stable_sort(many: list[Signal]) -> None:
    expected = sorted(range(len(many)), key=lambda place: many[place].timestamp_us)
    assert SignalBatch.of_signals(many).in_time().row.tolist() == expected


@settings(deadline=None)
@given(st.lists(st.lists(signals, max_size=5), min_size=1, max_size=4))
def test_joined_batches_are_the_batch_of_all(parts: list[list[Signal]]) -> None:
    joined = SignalBatch.concat([SignalBatch.of_signals(part) for part in parts])
    whole = SignalBatch.of_signals([signal for part in parts for signal in part])
    assert rows(joined) == rows(whole)
    assert joined.content.tolist() == whole.content.tolist()
    assert joined.key.tolist() == whole.key.tolist()


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), texts), max_size=20), st.data())
def test_a_text_column_holds_its_texts(many: list[str | None], data: st.DataObject) -> None:
    column = TextColumn.of(many)
    assert column.to_list() == [text or "" for text in many]
    assert [column[place] for place in range(len(column))] == column.to_list()
    if many:
        places = data.draw(st.lists(st.integers(0, len(many) - 1)))
        assert column.take(np.array(places, np.int64)).to_list() == [many[place] or "" for place in places]
