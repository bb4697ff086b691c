"""Indicators are TA-Lib's, strategies say what they say they do, and nonsense is refused."""

import numpy as np
import pytest
import talib

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies import indicators, registry
from raysignal.engine.strategies.rules import Bollinger, Breakout, Rsi, VolatilityTarget
from raysignal.engine.strategies.sma import SmaCrossover, unit_digits
from raysignal.engine.strategies.strategy import Bars
from tests.property.test_strategies import bars

MARKET = bars(3, 400, step=0.02)
CLOSE, HIGH, LOW = MARKET.close, MARKET.high, MARKET.low


def near(found, expected) -> None:
    assert np.isnan(found).tolist() == np.isnan(expected).tolist()
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("window", [2, 5, 14, 50])
def test_indicators_are_those_of_ta_lib(window: int) -> None:
    near(indicators.Ema(window).advance(CLOSE), talib.EMA(CLOSE, window))
    near(indicators.RsiIndicator(window).advance(CLOSE), talib.RSI(CLOSE, window))
    near(indicators.Highest(window).advance(HIGH), talib.MAX(HIGH, window))
    near(-indicators.Highest(window).advance(-LOW), talib.MIN(LOW, window))
    near(indicators.Atr(window).advance(HIGH, LOW, CLOSE), talib.ATR(HIGH, LOW, CLOSE, window))
    for ours, theirs in zip(
        indicators.Bands(window, 2.0).advance(CLOSE),
        reversed(talib.BBANDS(CLOSE, window, 2.0, 2.0)),
        strict=True,
    ):
        near(ours, theirs)


@pytest.mark.parametrize(("fast", "slow", "signal"), [(12, 26, 9), (3, 10, 4)])
def test_macd_is_that_of_ta_lib(fast: int, slow: int, signal: int) -> None:
    ours = indicators.MacdIndicator(fast, slow, signal).advance(CLOSE)
    for mine, theirs in zip(ours, talib.MACD(CLOSE, fast, slow, signal)[:2], strict=True):
        near(mine, theirs)


def test_volatility_is_the_deviation_of_log_returns() -> None:
    returns = np.diff(np.log(CLOSE))
    found = indicators.Volatility(10).advance(CLOSE)
    assert np.isnan(found[:10]).all()
    assert found[10:] == pytest.approx([np.std(returns[k : k + 10], ddof=1) for k in range(len(returns) - 9)])


def closes(*values: float) -> Bars:
    return Bars.of_closes(np.arange(1, len(values) + 1, dtype=np.int64), np.array(values, float))


def test_means_that_touch_and_turn_back_do_not_cross() -> None:
    touched = SmaCrossover(1, 2).actions(closes(1, 2, 2, 3, 3, 2, 2, 3))
    assert touched.tolist() == [0, 0, 0, 0, 0, -1, 0, 1]


def test_a_breakout_is_of_the_bars_before() -> None:
    assert Breakout(2).actions(closes(5, 6, 6, 7, 8, 3, 2, 9)).tolist() == [0, 0, 0, 1, 0, -1, 0, 1]


def test_bands_ask_for_the_way_back() -> None:
    actions = Bollinger(5, 1.0).actions(closes(10, 10, 10, 10, 8, 10, 10, 10, 12, 10))
    assert actions.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, -1, 0]


def test_an_index_that_comes_back_is_bought_and_sold() -> None:
    down_up_down = [*range(30, 10, -1), *range(10, 40), *range(40, 10, -1)]
    actions = Rsi(5, 30.0, 70.0).actions(closes(*down_up_down))
    assert actions[actions != 0].tolist() == [1, -1]


def test_a_target_is_left_while_the_market_is_wild() -> None:
    calm, wild = [100.0, 100.1] * 10, [100.0, 120.0] * 5
    actions = VolatilityTarget(5, 0.02).actions(closes(*calm, *wild, *calm))
    assert actions[actions != 0].tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("sma", {"fast": 50, "slow": 20}, "fast"),
        ("sma", {"fast": 20, "slow": 20}, "fast"),
        ("sma", {"fast": 0}, "fast"),
        ("sma", {"fast": 2.5}, "fast"),
        ("sma", {"fast": True}, "fast"),
        ("sma", {"slow": 10**6}, "slow"),
        ("sma", {"length": 3}, "sma parameter"),
        ("rsi", {"window": 1}, "window"),
        ("rsi", {"low": 80.0, "high": 70.0}, "low"),
        ("rsi", {"low": float("nan")}, "low"),
        ("macd", {"fast": 30}, "fast"),
        ("bollinger", {"width": 0.0}, "width"),
        ("breakout", {"window": "x"}, "window"),
        ("volatility", {"target": -1.0}, "target"),
        ("magic", {}, "strategy"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        registry.make(name, values)
    assert refusal.value.fields["field"] == field


def test_every_strategy_can_be_made_with_its_defaults() -> None:
    for name in registry.NAMES:
        strategy = registry.make(name, {})
        assert set(registry.parameters(name)) == set(type(strategy).__dataclass_fields__)
        assert len(strategy.actions(closes(1.0, 2.0))) == 2


def test_a_close_too_large_for_exact_sums_is_refused_with_its_row() -> None:
    assert [unit_digits(price) for price in (1e-9, 0.001, 100.0, 61_000.0, 1e9, 1e15)] == [
        18,
        15,
        10,
        7,
        3,
        -3,
    ]
    with pytest.raises(InvalidField, match="close") as refusal:
        SmaCrossover(10, 90_000).actions(closes(1e4, 1e4, 1e13))
    assert refusal.value.fields["row"] == 2


def test_tiny_prices_cross_like_others() -> None:
    price = np.array([3.0, 2.0, 1.0, 2.0, 4.0, 5.0, 3.0, 1.0])
    large, tiny = (SmaCrossover(1, 3).actions(closes(*(price * unit))) for unit in (1.0, 1e-9))
    assert tiny.tolist() == large.tolist()
    assert large.any()


def test_a_macd_that_touches_its_signal_and_goes_on_says_nothing() -> None:
    flat = [100.0] * 60
    assert not registry.make("macd", {"fast": 2, "slow": 4, "signal": 2}).actions(closes(*flat)).any()


def test_bars_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidField, match="volume"):
        Bars(np.array([1, 2]), *[np.ones(2)] * 4, np.ones(3))
