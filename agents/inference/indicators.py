"""Indicators by name: what a caller gives, what a model asks for, and what each says of the price.

A name is that of `engine.strategies.features` (`rsi(14)`); callers may leave its parameters out, where they are the
usual ones (`rsi`), or write them behind underscores (`rsi_14`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.features import CandleFeature
from raysignal.engine.strategies.strategy import Bars

ATR = "atr(14)"
"""Wilder's average true range, which stops and targets are measured in."""
USUAL = (
    "rsi(14)", "macd(12, 26, 9)", "macd_signal(12, 26, 9)", "bollinger_low(20, 2)", "bollinger_high(20, 2)", "ema(20)",
    ATR,
)  # fmt: skip
"""What is taken from stored bars beside what a model asks for: reasons are given by them, and stops measured."""
_FEWEST_BARS, _MOST_BARS, _BARS_A_WINDOW = 500, 10_000, 40
_UNDERSCORES = re.compile(r"([a-z_]*[a-z])((?:_[0-9]+)+)")
_LIMITS = {"rsi": (0.0, 100.0), "atr": (0.0, float("inf"))}
_EXPECTED = {"rsi": "a number from 0 to 100", "atr": "a number from 0 on"}


@lru_cache(maxsize=4096)
def indicator_named(name: str) -> CandleFeature | None:
    """The indicator of a name, in any case; None: it is none of the project's own."""
    text = name.strip().lower()
    if (match := _UNDERSCORES.fullmatch(text)) is not None:
        text = f"{match[1]}({', '.join(match[2][1:].split('_'))})"
    try:
        return CandleFeature.parse(text)
    except InvalidField:
        return None


@lru_cache(maxsize=4096)
def full_name(name: str) -> str:
    """The name with all parameters; that of no indicator as it is."""
    indicator = indicator_named(name)
    return name if indicator is None else indicator.name


def check_value(name: str, value: float) -> float:
    """The value itself, if the indicator of that name can have it; else `InvalidField`."""
    indicator = indicator_named(name)
    kind = "" if indicator is None else indicator.kind
    low, high = _LIMITS.get(kind, (-np.inf, np.inf))
    if not (np.isfinite(value) and low <= value <= high):
        raise InvalidField(name, value, _EXPECTED.get(kind, "a finite number"))
    return value


def bars_needed(names: Iterable[str]) -> int:
    """How many bars make these indicators what they are with all bars before, to the last digits of a float."""
    indicators = [found for name in names if (found := indicator_named(name)) is not None]
    longest = max((int(each) for found in indicators for each in found.parameters), default=0)
    return min(max(_FEWEST_BARS, _BARS_A_WINDOW * longest), _MOST_BARS)


def last_values(bars: Bars, names: Iterable[str]) -> dict[str, float]:
    """Of each indicator its value at the last bar; left out where it is not known, or the name is that of none."""
    values: dict[str, float] = {}
    for name in names:
        indicator = indicator_named(name)
        if indicator is not None and len(bars):
            value = float(indicator.stream().advance(bars)[-1])
            if np.isfinite(value):
                values[name] = value
    return values


@dataclass(frozen=True, slots=True)
class IndicatorFact:
    """What indicators say, as a sentence that is true of their numbers.

    Attributes:
        side: 1 where such a rule would buy, -1 where it would sell, 0 where it would do neither.
        sentence: with the numbers that it is about.
    """

    side: int
    sentence: str


def facts_of(close: float, features: Mapping[str, float]) -> list[IndicatorFact]:
    """What RSI, MACD, Bollinger's bands and exponential means among the features say, in the order of the features."""
    facts: list[IndicatorFact] = []
    for name, value in features.items():
        indicator = indicator_named(name)
        if indicator is None:
            continue
        parameters = indicator.name.removeprefix(indicator.kind)
        match indicator.kind:
            case "rsi":
                facts.append(_rsi_fact(parameters, value))
            case "macd":
                facts.append(_macd_fact(parameters, value, _of_kind(features, f"macd_signal{parameters}")))
            case "bollinger_low":
                high = _of_kind(features, f"bollinger_high{parameters}")
                facts.append(_bands_fact(parameters, close, value, high))
            case "bollinger_high" if _of_kind(features, f"bollinger_low{parameters}") is None:
                facts.append(_bands_fact(parameters, close, None, value))
            case "ema":
                facts.append(_ema_fact(parameters, close, value))
    return facts


def shown_apart(*values: float) -> tuple[str, ...]:
    """Numbers with as few digits as still say which is greater than which, and at least six."""
    signs = [_sign(one - other) for one, other in combinations(values, 2)]
    for digits in range(6, 17):
        shown = tuple(f"{value:.{digits}g}" for value in values)
        if [_sign(float(one) - float(other)) for one, other in combinations(shown, 2)] == signs:
            return shown
    return tuple(map(repr, values))


def _sign(difference: float) -> int:
    return (difference > 0.0) - (difference < 0.0)


_ABOVE = {1: "above", 0: "at", -1: "below"}


def _of_kind(features: Mapping[str, float], wanted: str) -> float | None:
    """The value of an indicator, under whichever name it is there."""
    return next((value for name, value in features.items() if full_name(name) == wanted), None)


def _rsi_fact(parameters: str, value: float) -> IndicatorFact:
    if value < 30.0:
        shown, _ = shown_apart(value, 30.0)
        return IndicatorFact(1, f"RSI{parameters} of {shown} is below 30: oversold.")
    if value > 70.0:
        shown, _ = shown_apart(value, 70.0)
        return IndicatorFact(-1, f"RSI{parameters} of {shown} is above 70: overbought.")
    return IndicatorFact(
        0, f"RSI{parameters} of {value:.6g} is from 30 to 70: neither oversold nor overbought."
    )


def _macd_fact(parameters: str, value: float, signal: float | None) -> IndicatorFact:
    line = 0.0 if signal is None else signal
    side, (shown, against) = _sign(value - line), shown_apart(value, line)
    name = "zero" if signal is None else f"its signal of {against}"
    return IndicatorFact(side, f"MACD{parameters} of {shown} is {_ABOVE[side]} {name}.")


def _bands_fact(parameters: str, close: float, low: float | None, high: float | None) -> IndicatorFact:
    name = f"Bollinger band{parameters}"
    if low is not None and close < low:
        price, band = shown_apart(close, low)
        return IndicatorFact(1, f"The price of {price} is below the lower {name} of {band}.")
    if high is not None and close > high:
        price, band = shown_apart(close, high)
        return IndicatorFact(-1, f"The price of {price} is above the upper {name} of {band}.")
    if low is not None and high is not None:
        price, lower, upper = shown_apart(close, low, high)
        words = f"The price of {price} is within the {name}s of {lower} and {upper}."
    elif low is not None:
        price, lower = shown_apart(close, low)
        words = f"The price of {price} is not below the lower {name} of {lower}."
    else:
        assert high is not None
        price, upper = shown_apart(close, high)
        words = f"The price of {price} is not above the upper {name} of {upper}."
    return IndicatorFact(0, words)


def _ema_fact(parameters: str, close: float, value: float) -> IndicatorFact:
    side, (price, mean) = _sign(close - value), shown_apart(close, value)
    return IndicatorFact(side, f"The price of {price} is {_ABOVE[side]} the EMA{parameters} of {mean}.")
