"""What is sent over HTTP is read by the service as what was read here, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake import Reading, read_batch, read_signal
from raysignal.runtime.signal_bodies import PARQUET, batch_parquet, signal_json

# Texts that are no numbers and not blank: others are read as numbers or as missing, and never are in a batch.
_WORDS = st.text("abcé=,\"' \n", min_size=1, max_size=12).map(lambda text: f"x{text}")
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def _speaking(signal: Signal, size: float | None, expires: int | None, *, guarded: bool) -> Signal:
    """The same with what it may say: only what takes a side has levels."""
    if signal.action not in {Action.BUY, Action.SELL}:
        return replace(signal, confidence=size)
    stop, target = (signal.price / 2.0, signal.price * 2.0)[:: int(signal.action)]
    within = guarded and 1e-14 < signal.price < 1e14
    return replace(
        signal, size=size, stop_loss=stop if within else None, take_profit=target if within else None,
        trailing_stop_bps=12.5 if guarded else None,
        expires_us=None if expires is None else signal.timestamp_us + expires,
    )  # fmt: skip


_SIGNALS = st.lists(
    st.builds(
        _speaking,
        st.builds(
            Signal,
            symbol=st.sampled_from(["BTC", "ETH"]),
            timestamp_us=st.integers(0, 7_000_000_000_000_000),
            action=st.sampled_from(Action),
            price=st.floats(min_value=1e-15, max_value=1e15, allow_subnormal=False),
            source=st.sampled_from(["default", "desk"]),
            signal_id=st.sampled_from(["", "", "alert-1", "alert-2"]),
            features=st.dictionaries(
                st.sampled_from(["index", "mood", "unnamed"]), _NUMBERS | _WORDS, max_size=3
            ),
        ),
        st.none() | st.floats(1e-9, 1.0),
        st.none() | st.integers(1, 10**12),
        guarded=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
ELSEWHERE = Reading(symbol="OTHER", source="other")


def assert_same(left: SignalBatch, right: SignalBatch) -> None:
    assert left.signal_id.to_list() == right.signal_id.to_list()
    assert np.array_equal(left.key, right.key)
    assert np.array_equal(left.content, right.content)
    assert np.array_equal(left.derived, right.derived)
    assert [left.signal(i) for i in range(len(left))] == [right.signal(i) for i in range(len(right))]


@given(_SIGNALS)
def test_a_batch_as_parquet_is_read_as_the_batch_it_was(signals):
    batch = SignalBatch.of_signals(signals).in_time()
    intake = read_batch(batch_parquet(batch), PARQUET, ELSEWHERE)
    assert intake.errors == []
    assert_same(batch, intake.batch)


@given(_SIGNALS)
def test_a_row_as_json_is_read_as_the_row_it_was(signals):
    batch = SignalBatch.of_signals(signals)
    for index in range(len(batch)):
        read = read_signal(signal_json(batch, index), ELSEWHERE, content_type="application/json")
        assert_same(batch.take(np.array([index])), SignalBatch.of_signals([read]))


@pytest.mark.parametrize("digits", [0.1 + 0.2, 5e-324, -0.0, 1e308])
def test_a_number_among_texts_keeps_every_bit(digits):
    signals = [
        Signal("BTC", 0, Action.BUY, 1.0, features={"mixed": digits}),
        Signal("BTC", 1, Action.SELL, 1.0, features={"mixed": "word"}),
    ]
    intake = read_batch(batch_parquet(SignalBatch.of_signals(signals)), PARQUET, ELSEWHERE)
    assert repr(intake.batch.signal(0).features["mixed"]) == repr(digits)
    assert intake.batch.signal(1).features["mixed"] == "word"
