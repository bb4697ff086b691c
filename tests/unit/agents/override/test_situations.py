"""Situations: what was known when a signal came."""

import numpy as np
import pytest

from raysignal.agents.override.situations import (
    LONGEST_LABEL,
    MOST_LABELS,
    REGIMES,
    RETURN_WINDOWS,
    VOLATILITY_WINDOWS,
    Encoder,
)
from raysignal.engine.core.columns import SignalBatch, TextColumn
from tests.support.override_streams import MINUTE_US, Shape, as_sent, cut


def batch_of(n, *, price=None, numbers=None, texts=None, symbol=None, source=None):
    symbol = np.zeros(n, np.int32) if symbol is None else np.array(symbol, np.int32)
    source = np.zeros(n, np.int32) if source is None else np.array(source, np.int32)
    return SignalBatch.of(
        timestamp_us=MINUTE_US * np.arange(1, n + 1), action=np.ones(n, np.int8),
        price=np.full(n, 100.0) if price is None else np.asarray(price, np.float64),
        symbol=symbol, symbols=[f"S{code}" for code in range(symbol.max(initial=0) + 1)],
        source=source, sources=[f"from {code}" for code in range(source.max(initial=0) + 1)],
        numbers={name: np.asarray(values, np.float64) for name, values in (numbers or {}).items()},
        texts={name: TextColumn.of(values) for name, values in (texts or {}).items()},
    )  # fmt: skip


def number(situations, name):
    return situations.numbers[situations.number_names.index(name)]


def scale(situations, name):
    return situations.scale[:, situations.number_names.index(name)]


def labels(situations, name):
    return situations.labels[situations.label_names.index(name)].tolist()


def wandering(n, seed=1, size=0.01):
    return 100.0 * np.exp(np.cumsum(size * np.random.default_rng(seed).standard_normal(n)))


def test_a_number_is_less_its_first_value_and_scaled_by_its_deviation_so_far():
    values = np.random.default_rng(3).standard_normal(40) * 7.0 + 1e6
    values[[0, 1, 9]] = np.nan

    found = Encoder().encode(batch_of(40, numbers={"level": values}))

    np.testing.assert_array_equal(number(found, "level"), (values - values[2]).astype(np.float32))
    for row in range(40):
        so_far = values[: row + 1][~np.isnan(values[: row + 1])]
        expected = 1.0 / so_far.std(ddof=1) if len(so_far) >= 8 else 0.0
        assert scale(found, "level")[row] == pytest.approx(expected, rel=1e-6)
        if expected and not np.isnan(values[row]):
            standard = found.standard[found.number_names.index("level"), row]
            assert standard == pytest.approx((values[row] - so_far.mean()) * expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        np.full(40, 7.25),
        np.arange(40.0),
        np.random.default_rng(1).standard_normal(40) * 1e-40,
        np.where(np.arange(40) % 2, 1.7e308, -1.7e308),
        np.full(40, np.nan),
    ],
    ids=["constant", "a counter", "too small", "too large", "nothing"],
)
def test_a_number_that_tells_nothing_or_cannot_be_measured_is_not_compared(values):
    found = Encoder().encode(batch_of(40, numbers={"level": values, "other": np.zeros(40)}))

    if "level" in found.number_names:
        assert not scale(found, "level").any()
        assert not found.standard[found.number_names.index("level")].any()


def test_a_number_that_is_gone_keeps_the_scale_it_had_and_one_that_comes_late_begins_then():
    values = np.random.default_rng(3).standard_normal(20)
    encoder = Encoder()
    before = encoder.encode(batch_of(20, numbers={"old": values}))
    after = encoder.encode(batch_of(20, numbers={"new": values}))

    assert "new" not in before.number_names
    assert np.isnan(number(after, "old")).all()
    assert set(scale(after, "old").tolist()) == {scale(before, "old")[-1]}
    np.testing.assert_array_equal(scale(after, "new"), scale(before, "old"))


def test_returns_and_volatilities_are_those_of_the_signals_own_symbol():
    price, symbol = wandering(240), np.arange(240) % 2
    price[1::2] = wandering(120, seed=9, size=0.05)

    found = Encoder().encode(batch_of(240, price=price, symbol=symbol))

    for code in (0, 1):
        own = np.log(price[code::2])
        for window in RETURN_WINDOWS:
            returned = number(found, f"\0return_{window:02d}")[code::2]
            first = own[window] - own[0]
            assert np.isnan(returned[:window]).all()
            expected = own[window:] - own[:-window]
            differences = returned[window:] - returned[window]
            np.testing.assert_allclose(differences, expected - first, atol=1e-6)
        for window in VOLATILITY_WINDOWS:
            wild = number(found, f"\0volatility_{window:02d}")[code::2]
            steps = np.diff(own)
            usual = [np.log(steps[at - window : at].std(ddof=1)) for at in range(window, 120)]
            np.testing.assert_allclose(wild[window:] - wild[window], np.array(usual) - usual[0], atol=1e-4)


def test_a_regime_is_named_once_there_are_returns_enough_to_tell():
    calm, wild = wandering(300, size=0.001), wandering(100, seed=2, size=0.02)
    price = np.concatenate([calm, wild * calm[-1] / wild[0]])

    regime = Encoder().encode(batch_of(400, price=price)).regime

    assert {REGIMES[code] for code in regime[:72].tolist()} == {"unknown"}
    assert REGIMES[regime[299]] in {"quiet", "normal"}
    assert REGIMES[regime[330]] == "wild"


def test_labels_are_told_apart_whatever_their_case_and_order():
    texts = ["Fear, Greed", "greed,FEAR", "fear", "", "calm , fear, ,", None]

    encoder = Encoder()
    found = encoder.encode(batch_of(6, texts={"mood": texts}))

    both, same, fear, nothing, calm, missing = labels(found, "mood")
    assert both == same != fear
    assert both & fear == fear
    assert nothing == missing == 0
    assert calm & fear == fear
    assert encoder.describe(found, 0) == {"mood": "fear, greed"}
    assert encoder.describe(found, 3) == {}


@pytest.mark.parametrize(
    "text", ["x" * (LONGEST_LABEL + 1), ",".join("abcdefghi"), "x" * 5000, "calm" + " " * 5000]
)
def test_a_field_that_held_a_long_text_is_free_text_from_then_on(text):
    found = Encoder().encode(batch_of(5, texts={"mood": ["calm", "fear", text, "calm", "fear"]}))

    assert [bool(label) for label in labels(found, "mood")] == [True, True, False, False, False]


@pytest.mark.parametrize("size", [1, 7, 60])
def test_which_texts_will_be_free_is_told_before_they_are_read_and_changes_nothing(size):
    tags = [f"tag {row}" if row % 3 else None for row in range(120)]
    news = ["calm"] * 50 + ["a story " * 20] * 20 + ["calm"] * 50
    batch = batch_of(120, texts={"tags": tags, "news": news, "mood": ["up", "down"] * 60})
    told, untold = Encoder(), Encoder()
    for part in cut(batch, range(0, 120, size)):
        coming = told.coming_free_texts(part)
        found, plain = told.encode(part), untold.encode(part)
        free = told.free_texts(part)
        assert [(name, column.to_list()) for name, column in coming.items()] == [
            (name, column.to_list()) for name, column in free.items()
        ]
        assert found.labels.tobytes() == plain.labels.tobytes()
    assert set(free) == {"tags", "news"}


def test_a_field_of_more_labels_than_there_are_bits_is_free_text_from_then_on():
    words = [f"word {at % (MOST_LABELS + 1)}" for at in range(2 * MOST_LABELS)]

    found = Encoder().encode(batch_of(len(words), texts={"mood": words}))

    assert len(set(labels(found, "mood")[:MOST_LABELS])) == MOST_LABELS
    assert not any(labels(found, "mood")[MOST_LABELS:])


def test_more_symbols_than_bits_still_have_one_label_each():
    found = Encoder().encode(batch_of(100, symbol=np.arange(100), source=np.arange(100) % 3))

    assert all(label.bit_count() == 1 for label in labels(found, "\0symbol"))
    assert len(set(labels(found, "\0symbol"))) == MOST_LABELS
    assert len(set(labels(found, "\0source"))) == 3


def test_a_feature_cannot_take_the_place_of_what_was_measured():
    price = wandering(50)
    plain = Encoder().encode(batch_of(50, price=price))

    hostile = Encoder().encode(
        batch_of(
            50, price=price, numbers={"\0return_01": np.ones(50), "": np.ones(50), "\0": np.ones(50)},
            texts={"\0action": ["calm"] * 50, "\0other": ["calm"] * 50},
        )
    )  # fmt: skip

    assert hostile.number_names == plain.number_names
    assert hostile.label_names == plain.label_names
    assert hostile.numbers.tobytes() == plain.numbers.tobytes()
    assert hostile.labels.tobytes() == plain.labels.tobytes()


def test_names_that_differ_in_a_last_zero_byte_are_two_numbers():
    values = np.random.default_rng(1).standard_normal((2, 20))

    found = Encoder().encode(batch_of(20, numbers={"a": values[0], "a\0": values[1]}))

    np.testing.assert_array_equal(number(found, "a\0"), (values[1] - values[1][0]).astype(np.float32))


def test_a_constant_price_has_no_wild_regime_and_breaks_nothing():
    found = Encoder().encode(batch_of(200))

    assert set(found.regime.tolist()) == {0, REGIMES.index("normal")}
    assert not found.scale.any()


@pytest.mark.parametrize("sent", [False, True])
def test_situations_are_the_same_however_the_stream_is_cut(sent):
    batch = Shape(seed=8, rows=300, symbols=3).batch()
    whole, encoder, at = Encoder().encode(batch), Encoder(), 0
    assert len(set(whole.regime.tolist())) > 2

    for piece in cut(batch, [1, 2, 40, 41, 260, 290]):
        found = encoder.encode(as_sent(piece) if sent else piece)
        here = slice(at, at + len(piece))
        for name in found.number_names:
            np.testing.assert_array_equal(number(found, name), number(whole, name)[here])
            np.testing.assert_array_equal(scale(found, name), scale(whole, name)[here])
        for name in found.label_names:
            assert labels(found, name) == labels(whole, name)[here]
        assert found.regime.tolist() == whole.regime[here].tolist()
        at += len(piece)


def test_no_signals_at_all_are_no_situations():
    found = Encoder().encode(Shape(seed=1, rows=1).batch().take(np.arange(0)))

    assert len(found) == 0
    assert found.numbers.shape == (len(found.number_names), 0)
