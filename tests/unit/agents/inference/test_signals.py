"""From probabilities to signals: every sentence is true of the numbers, and a portfolio's row gives the signal back."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.agents.inference.indicators import (
    ATR,
    USUAL,
    bars_needed,
    check_value,
    full_name,
    last_values,
)
from raysignal.agents.inference.placeholder import PlaceholderModel, probabilities_of_votes
from raysignal.agents.inference.signals import (
    SignalRules,
    generated_signal,
    is_generated,
    numbers_of,
    portfolio_signal,
)
from raysignal.agents.inference.values import Probabilities, SignalRequest
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.signals import Action
from raysignal.engine.strategies.strategy import Bars

AT_US = 1_740_355_800_000_000
PRICES = st.floats(1e-6, 1e9)
NEAR = st.floats(-1e-9, 1e-9) | st.floats(-0.1, 0.1)
SHARES = st.floats(0.0, 1.0)
NO_ATR = (
    "There is no ATR(14), since none was given and no bars tell it: stop_loss, take_profit and risk_reward_ratio are "
    "null."
)


class Model:
    """Has a name, and says nothing."""

    name, version, placeholder = "ppo", "3", False
    features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()

    def step(self, request: SignalRequest, state: bytes | None) -> tuple[Probabilities, bytes | None]:
        raise NotImplementedError


def asked(close: float = 100.0, **features: float) -> SignalRequest:
    return SignalRequest(
        "USDCOP", AT_US, close, {full_name(name): value for name, value in features.items()}, "id-1"
    )


@st.composite
def requests(draw: st.DrawFn) -> SignalRequest:
    close = draw(PRICES)
    near = {name: close * (1.0 + draw(NEAR)) for name in ("bollinger_low", "bollinger_high", "ema")}
    macd = draw(st.floats(-50.0, 50.0))
    some = near | {
        "rsi": draw(st.floats(0.0, 100.0) | st.sampled_from([30.0, 70.0, 29.9999999, 70.0000001])),
        "macd": macd,
        "macd_signal": macd + draw(NEAR),
        "atr": draw(st.floats(0.0, 1.0)) * close,
    }
    kept = draw(st.sets(st.sampled_from(sorted(some))))
    return asked(close, **{name: some[name] for name in some if name in kept})


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1].rstrip("."))


N = r"([-+0-9.e]+)"


def check_sentence(sentence: str, request: SignalRequest) -> None:
    """That a sentence about an indicator follows from the numbers of the request, and from those it shows."""
    held, close = request.features, request.close
    if "Bollinger" in sentence:
        check_bands(sentence, close, held.get("bollinger_low(20, 2)"), held.get("bollinger_high(20, 2)"))
    elif sentence.startswith("RSI"):
        for each in (number(sentence, f"of {N} is"), held["rsi(14)"]):
            assert ("oversold" if each < 30 else "overbought" if each > 70 else "neither") in sentence
    else:
        if sentence.startswith("MACD"):
            against = held.get("macd_signal(12, 26, 9)", 0.0)
            shown = "zero" not in sentence and number(sentence, f"signal of {N}")
            pairs = [(number(sentence, f"of {N} is"), float(shown)), (held["macd(12, 26, 9)"], against)]
        else:
            shown_ema = number(sentence, rf"EMA\(20\) of {N}")
            pairs = [(number(sentence, f"price of {N} is"), shown_ema), (close, held["ema(20)"])]
        for one, other in pairs:
            assert f"is {'above' if one > other else 'below' if one < other else 'at'} " in sentence


def check_bands(sentence: str, close: float, low: float | None, high: float | None) -> None:
    below, above = low is not None and close < low, high is not None and close > high
    assert ("is below the lower" in sentence) == below
    assert ("is above the upper" in sentence) == (above and not below)
    price = number(sentence, f"price of {N} is")
    if " within " in sentence:
        lower, upper = (float(each) for each in re.findall(rf"s of {N} and {N}\.$", sentence)[0])
        assert lower <= price <= upper
    else:
        band = number(sentence, rf"\) of {N}")
        assert (price < band) == ("is below" in sentence or ("not above" in sentence and price != band))
        assert (price > band) == ("is above" in sentence or ("not below" in sentence and price != band))


@given(requests(), SHARES, SHARES)
def test_every_sentence_is_true_of_the_numbers_and_every_indicator_has_one(
    request: SignalRequest, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    probabilities = Probabilities(low, high - low, 1.0 - high)
    signal = SignalRules()(request, probabilities, Model())
    first, *facts, bracket = signal.reasoning
    for sentence in facts:
        check_sentence(sentence, request)
    names = {name.partition("(")[0] for name in request.features}
    expected = len(names & {"rsi", "ema", "macd"}) + bool(names & {"bollinger_low", "bollinger_high"})
    assert len(facts) == expected
    likeliest, confidence = probabilities.best
    assert signal.confidence == confidence
    assert (signal.action is likeliest) or (signal.action is Action.HOLD and confidence < 0.65)
    assert likeliest.name in first
    if likeliest is not Action.HOLD:
        assert ("not below" in first) == (confidence >= 0.65) == (signal.action is likeliest)
        shown, threshold = number(first, f"probability of {N},"), number(first, f"threshold of {N}")
        assert (shown >= threshold) == (confidence >= 0.65)
    if signal.stop_loss is None:
        assert (signal.take_profit, signal.risk_reward_ratio) == (None, None)
        assert "null" in bracket
        assert ("There is no" in bracket) == (ATR not in request.features)
    else:
        assert signal.take_profit is not None
        side, atr = int(signal.action), request.features[ATR]
        assert side * (request.close - signal.stop_loss) > 0 < side * (signal.take_profit - request.close)
        assert signal.stop_loss == request.close - side * 2.0 * atr
        assert signal.take_profit == request.close + side * 3.0 * atr
        assert signal.risk_reward_ratio == pytest.approx(1.5, rel=1e-3)
        below, above = number(bracket, f"Stop loss {N} "), number(bracket, f"take profit {N} ")
        price = number(bracket, f"price of {N}")
        assert side * (price - below) > 0 < side * (above - price)


@pytest.mark.parametrize(
    ("probabilities", "action"),
    [
        (Probabilities(0.2, 0.65, 0.15), Action.BUY),
        (Probabilities(0.2, 0.6499999, 0.1500001), Action.HOLD),
        (Probabilities(0.1, 0.1, 0.8), Action.SELL),
        (Probabilities(0.8, 0.1, 0.1), Action.HOLD),
    ],
)
def test_below_the_threshold_the_signal_is_hold(probabilities: Probabilities, action: Action) -> None:
    signal = SignalRules()(asked(atr=2.0), probabilities, Model())
    assert signal.action is action
    levels = {Action.BUY: (96.0, 106.0), Action.SELL: (104.0, 94.0), Action.HOLD: (None, None)}
    assert (signal.stop_loss, signal.take_profit) == levels[action]
    assert signal.position_size == (0.0 if action is Action.HOLD else 0.02)
    assert (signal.model_version, signal.placeholder) == ("ppo 3", False)


def test_settings_move_threshold_stop_target_and_size() -> None:
    rules = SignalRules(confidence=0.5, position_size=0.1, stop_atr=1.0, target_atr=4.0)
    signal = rules(asked(atr=2.0), Probabilities(0.4, 0.5, 0.1), Model())
    assert (signal.action, signal.position_size, signal.risk_reward_ratio) == (Action.BUY, 0.1, 4.0)
    assert (signal.stop_loss, signal.take_profit) == (98.0, 108.0)


@pytest.mark.parametrize("atr", [0.0, 1e-18, 34.0, 1e300])
def test_a_range_that_leaves_no_level_gives_none(atr: float) -> None:
    signal = SignalRules()(asked(atr=atr), Probabilities(0.0, 0.0, 1.0), Model())
    assert (signal.action, signal.stop_loss, signal.take_profit) == (Action.SELL, None, None)
    assert "leaves no stop and target" in signal.reasoning[-1]


def test_placeholder_says_so_and_is_a_function_of_the_indicators() -> None:
    model = PlaceholderModel()
    request = asked(4250.5, rsi=35.5, macd=-2.3, macd_signal=-1.8)
    probabilities, state = model.step(request, None)
    assert (probabilities, state) == (Probabilities(0.4, 0.2, 0.4), None)
    signal = SignalRules()(request, probabilities, model)
    assert (signal.model_version, signal.placeholder, signal.action) == ("PLACEHOLDER", True, Action.HOLD)
    assert signal.reasoning[0].startswith("PLACEHOLDER: no model is configured")
    assert signal.reasoning[1:] == (
        "RSI(14) of 35.5 is from 30 to 70: neither oversold nor overbought.",
        "MACD(12, 26, 9) of -2.3 is below its signal of -1.8.",
        NO_ATR,
    )


def test_placeholder_acts_only_where_indicators_agree() -> None:
    buys = asked(rsi=20.0, macd=1.0, macd_signal=0.5, bollinger_low=101.0, ema=99.0).features
    assert probabilities_of_votes(100.0, buys).best[0] is Action.BUY
    assert probabilities_of_votes(100.0, {}) == Probabilities(1 / 3, 1 / 3, 1 / 3)
    assert probabilities_of_votes(100.0, {}).best[0] is Action.HOLD
    assert probabilities_of_votes(100.0, {"my_own": 5.0}) == probabilities_of_votes(100.0, {})


@given(requests(), SHARES, SHARES)
def test_what_a_portfolio_has_taken_in_gives_the_signal_back(
    request: SignalRequest, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    signal = SignalRules()(request, Probabilities(low, high - low, 1.0 - high), PlaceholderModel())
    signal = replace(signal, latency_ms=1.5)
    taken = portfolio_signal(signal, request.features)
    assert is_generated(taken)
    assert generated_signal(taken) == signal
    assert numbers_of(taken) == dict(request.features)
    assert not is_generated(replace(taken, source="desk"))
    batch = SignalBatch.decode(SignalBatch.of_signals([taken]).encode())
    assert generated_signal(batch.signal(0)) == signal


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("rsi", "rsi(14)"),
        ("RSI", "rsi(14)"),
        ("rsi_7", "rsi(7)"),
        ("macd_signal", "macd_signal(12, 26, 9)"),
        ("macd_12_26_9", "macd(12, 26, 9)"),
        ("ema(50)", "ema(50)"),
        ("my_own", "my_own"),
        ("rsi(0)", "rsi(0)"),
        ("", ""),
    ],
)
def test_indicators_are_known_under_short_names(given: str, full: str) -> None:
    assert full_name(given) == full


@pytest.mark.parametrize(
    ("name", "value"),
    [("rsi", 100.5), ("rsi_7", -1.0), ("atr", -0.1), ("ema", float("nan")), ("my_own", float("inf"))],
)
def test_a_value_that_an_indicator_cannot_have_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidField, match=re.escape(name)):
        check_value(name, value)


def test_values_of_bars_are_those_of_all_bars_before_and_unknown_ones_are_left_out() -> None:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.01, 3_000)))
    ends = np.arange(3_000, dtype=np.int64)
    bars = Bars(ends, closes, closes * 1.01, closes * 0.99, closes, np.ones(3_000))
    recent = bars.slice(3_000 - bars_needed(USUAL), 3_000)
    whole, some = last_values(bars, USUAL), last_values(recent, USUAL)
    assert set(whole) == set(USUAL)
    assert some == pytest.approx(whole, rel=1e-12)
    assert set(last_values(bars.slice(0, 21), (*USUAL, "nothing"))) == {
        "rsi(14)", "bollinger_low(20, 2)", "bollinger_high(20, 2)", "ema(20)", ATR,
    }  # fmt: skip
    assert last_values(bars.slice(0, 0), USUAL) == {}
    assert [bars_needed(["ema(50)"]), bars_needed(["ema(400)"])] == [2_000, 10_000]
