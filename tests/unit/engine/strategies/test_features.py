"""Named features are TA-Lib's, whatever pieces bars come in, and a text that names none is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.data.bars import random_walk, with_books, with_contracts
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.features import FEATURES, CandleFeature, parse_features
from raysignal.engine.strategies.strategy import Bars
from tests.support.effort import examples

BARS = with_books(random_walk(3, 300), 3)
CLOSE, HIGH, LOW, VOLUME = BARS.close, BARS.high, BARS.low, BARS.volume
LOGS = np.concatenate([[np.nan], np.diff(np.log(CLOSE))])
TYPICAL = talib.TYPPRICE(HIGH, LOW, CLOSE)


def of_returns(values: np.ndarray) -> np.ndarray:
    """Of what begins with the second bar."""
    return np.concatenate([[np.nan], values])


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        ("returns", talib.ROCP(CLOSE, 1)),
        ("returns(5)", talib.ROCP(CLOSE, 5)),
        ("log_return(3)", np.log(talib.ROCR(CLOSE, 3))),
        ("volatility(10)", of_returns(talib.STDDEV(LOGS[1:], 10) * np.sqrt(10 / 9))),
        ("realised_variance(10)", of_returns(talib.SUM(LOGS[1:] ** 2, 10))),
        ("ema(50)", talib.EMA(CLOSE, 50)),
        ("zscore(20)", (CLOSE - talib.SMA(CLOSE, 20)) / talib.STDDEV(CLOSE, 20)),
        ("rsi(14)", talib.RSI(CLOSE, 14)),
        ("macd(3, 10, 4)", talib.MACD(CLOSE, 3, 10, 4)[0]),
        ("macd_signal", talib.MACD(CLOSE, 12, 26, 9)[1]),
        ("bollinger_low(20, 2.5)", talib.BBANDS(CLOSE, 20, 2.5, 2.5)[2]),
        ("bollinger_mid(20)", talib.BBANDS(CLOSE, 20, 2.0, 2.0)[1]),
        ("bollinger_high", talib.BBANDS(CLOSE, 20, 2.0, 2.0)[0]),
        ("atr(14)", talib.ATR(HIGH, LOW, CLOSE, 14)),
        ("vwap(20)", talib.SUM(TYPICAL * VOLUME, 20) / talib.SUM(VOLUME, 20)),
    ],
)
def test_features_are_those_of_ta_lib_and_nan_as_long_as_its(text: str, oracle: np.ndarray) -> None:
    found = CandleFeature.parse(text).stream().advance(BARS)
    assert found.dtype == np.float64
    assert np.isnan(found).tolist() == np.isnan(oracle).tolist()
    assert np.allclose(found, oracle, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("kind", FEATURES)
@settings(max_examples=examples(30))
@given(seed=st.integers(0, 999), n=st.integers(1, 200), data=st.data())
def test_however_bars_are_cut_a_features_values_are_the_same_bytes(
    kind: str, seed: int, n: int, data
) -> None:
    bars = with_contracts(with_books(random_walk(seed, n), seed, unknown=0.2), seed, unknown=0.2)
    feature = CandleFeature.parse(kind)
    whole = feature.stream().advance(bars)
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=6))), n]
    stream = feature.stream()
    parts = [stream.advance(bars.slice(begin, end)) for begin, end in pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    singly = feature.stream()
    assert b"".join(singly.advance(bars.slice(at, at + 1)).tobytes() for at in range(n)) == whole.tobytes()
    seen = data.draw(st.integers(0, n))
    assert feature.stream().advance(bars.slice(0, seen)).tobytes() == whole[:seen].tobytes()


def test_features_of_a_contract_are_of_its_state_and_not_known_where_that_is_not() -> None:
    nan = np.nan
    contract = np.array(
        [
            [0.0001, 101.0, 100.0, 50.0, 1.0, 3.0],
            [nan, 99.0, 0.0, 75.0, 0.0, 0.0],
            [-0.0002, nan, 1.0, nan, nan, nan],
        ]
    )
    bars = replace(random_walk(1, 3), contract=contract)
    found = {kind: CandleFeature.parse(kind).stream().advance(bars) for kind in FEATURES}
    assert np.array_equal(found["funding_rate"], [0.0001, nan, -0.0002], equal_nan=True)
    assert np.allclose(found["basis"], [0.01, nan, nan], equal_nan=True)
    assert np.array_equal(found["open_interest_change"], [nan, 0.5, nan], equal_nan=True)
    assert np.array_equal(found["liquidations"], [4.0, 0.0, nan], equal_nan=True)
    assert np.array_equal(found["liquidation_skew"], [0.5, 0.0, nan], equal_nan=True)
    bare = CandleFeature.parse("basis").stream().advance(random_walk(1, 3))
    assert np.isnan(bare).all()


def test_a_market_that_does_not_move_has_figures_for_its_features() -> None:
    still = Bars(
        np.arange(1, 41, dtype=np.int64), *(np.full(40, 5.0) for _ in range(4)), volume=np.full(40, 2.0)
    )
    last = {kind: CandleFeature.parse(kind).stream().advance(still)[-1] for kind in FEATURES}
    assert last["zscore"] == last["rsi"] == last["volatility"] == last["returns"] == last["atr"] == 0.0
    assert last["vwap"] == last["ema"] == last["bollinger_low"] == 5.0


def test_a_mean_by_volume_is_not_known_where_volume_is_not() -> None:
    assert np.isnan(
        CandleFeature.parse("vwap(2)").stream().advance(Bars.of_closes(BARS.known_at_us, CLOSE))
    ).all()
    silent = Bars(BARS.known_at_us, BARS.open, HIGH, LOW, CLOSE, np.zeros(len(BARS)))
    assert np.isnan(CandleFeature.parse("vwap(2)").stream().advance(silent)).all()


def test_features_of_books_are_of_their_best_prices_and_sizes() -> None:
    nan = float("nan")
    book = np.array([(99.0, 1.0, 101.0, 3.0), (nan, nan, nan, nan), (99.0, 1.0, 0.0, 0.0)])
    bars = Bars(*(np.arange(1, 4, dtype=np.int64), *(np.full(3, 100.0) for _ in range(5))), book)
    texts = ("imbalance", "spread", "depth", "micro_price")
    found = {text: CandleFeature.parse(text).stream().advance(bars) for text in texts}
    assert {text: values[0] for text, values in found.items()} == {
        "imbalance": -0.5, "spread": 0.02, "depth": 4.0, "micro_price": 99.5
    }  # fmt: skip
    assert all(np.isnan(values[1:]).all() for values in found.values())
    assert np.isnan(CandleFeature.parse("depth").stream().advance(random_walk(1, 5))).all()
    assert [each.name for each in parse_features(texts)] == list(texts)


def test_a_name_has_all_parameters_however_it_was_written() -> None:
    texts = ("rsi", "ema( 50 )", "macd_signal(3,10)", "bollinger_low(20, 2.5)")
    names = [feature.name for feature in parse_features(texts)]
    assert names == ["rsi(14)", "ema(50)", "macd_signal(3, 10, 9)", "bollinger_low(20, 2.5)"]
    assert [CandleFeature.parse(name).name for name in names] == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("magic(3)", "feature is 'magic(3)'; expected one of returns, log_return"),
        ("rsi(14", "expected a name with parameters, such as rsi(14)"),
        ("rsi(ten)", "feature is 'rsi(ten)'; expected a number instead of 'ten'"),
        ("rsi(14,)", "expected a number instead of ''"),
        ("rsi(14, 3)", "expected at most 1 parameters: rsi(window)"),
        ("rsi(1)", "feature is 'rsi(1)'; expected for its window a whole number of bars from 2 to 100,000"),
        ("ema(2.5)", "expected for its window a whole number of bars"),
        ("macd(30, 26)", "expected for its fast fewer bars than slow, 26"),
        ("bollinger_high(20, nan)", "expected for its width a number above 0 and below 100"),
    ],
)
def test_a_text_that_names_no_feature_is_refused_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        CandleFeature.parse(text)
    assert said in str(refusal.value)


def test_a_feature_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"rsi\(14\) is there already"):
        parse_features(("rsi", "rsi(14)"))
