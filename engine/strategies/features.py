"""Named features of candles: `rsi(14)`, `ema(50)`, `macd(12, 26, 9)`; of the order book at their ends: `imbalance`.

A feature is given bars in pieces, and however they are cut, its values are the same bytes; all bars at once are one
piece. A value rests on its bar and those before it, and is NaN until there are enough of them.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.indicators import (
    Atr,
    Bands,
    Ema,
    MacdIndicator,
    MeanAndDeviation,
    PriceRatio,
    RealisedVariance,
    RsiIndicator,
    Volatility,
    Vwap,
    ZScore,
)
from raysignal.engine.strategies.strategy import Bars


@dataclass(frozen=True, slots=True)
class CandleFeature:
    """A feature with its parameters.

    Attributes:
        kind: its name in the registry.
        parameters: all of them, in order.
    """

    kind: str
    parameters: tuple[int | float, ...]

    @classmethod
    def parse(cls, text: str) -> "CandleFeature":
        """The feature that a text such as `rsi(14)` names; parameters that it leaves out have their defaults.

        Raises:
            InvalidField: no such feature, too many parameters, or a value that cannot be.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidField("feature", text, "a name with parameters, such as rsi(14)")
        kind, said = match["kind"], match["parameters"]
        if kind not in _KINDS:
            raise InvalidField("feature", text, f"one of {', '.join(_KINDS)}")
        defaults = _KINDS[kind].defaults
        given = [_number(text, each.strip()) for each in said.split(",")] if said else []
        if len(given) > len(defaults):
            names = ", ".join(defaults)
            raise InvalidField("feature", text, f"at most {len(defaults)} parameters: {kind}({names})")
        feature = cls(kind, (*given, *list(defaults.values())[len(given) :]))
        try:
            feature.stream()
        except InvalidField as error:
            expected = f"for its {error.fields['field']} {error.fields['expected']}"
            raise InvalidField("feature", text, expected) from error
        return feature

    @property
    def name(self) -> str:
        """With all its parameters, such as `bollinger_low(20, 2)`; without parentheses where it has none."""
        said = ", ".join(repr(float(each)).removesuffix(".0") for each in self.parameters)
        return f"{self.kind}({said})" if said else self.kind

    @property
    def reads_contract(self) -> bool:
        """Whether it is of what a venue says of a contract."""
        return self.kind in _CONTRACT_KINDS

    @property
    def reads_book(self) -> bool:
        """Whether it is of the order book."""
        return self.kind in _BOOK_KINDS

    def stream(self) -> "FeatureStream":
        """The feature from the first bar on."""
        return FeatureStream(_KINDS[self.kind], self.parameters)


class FeatureStream:
    """A feature on its way through the bars."""

    def __init__(self, kind: "_FeatureKind", parameters: Iterable[int | float]) -> None:
        self._indicator = kind.indicator(*parameters)
        self._values = kind.values

    def advance(self, bars: Bars) -> Float64Array:
        """Its values at the next bars, float64[n]; NaN where it is not known."""
        return self._values(self._indicator, bars)


def parse_features(texts: Iterable[str]) -> tuple[CandleFeature, ...]:
    """The feature of each text; `InvalidField` as `CandleFeature.parse`, and for one that is there twice."""
    features: list[CandleFeature] = []
    for text in texts:
        feature = CandleFeature.parse(text)
        if feature in features:
            raise InvalidField("feature", text, f"each once; {feature.name} is there already")
        features.append(feature)
    return tuple(features)


def _number(text: str, said: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(said)
        except ValueError:
            pass
    raise InvalidField("feature", text, f"a number instead of {said!r}")


@dataclass(frozen=True, slots=True)
class _FeatureKind:
    """How values are come by: `values(indicator(*parameters), bars)`."""

    indicator: Callable[..., Any]
    defaults: Mapping[str, int | float]
    values: Callable[[Any, Bars], Float64Array] = lambda indicator, bars: indicator.advance(bars.close)


def _book_of(bars: Bars) -> tuple[Float64Array, ...]:
    """Best bid, its size, best ask, its size at each bar; NaN where a side is empty or the book is not known."""
    if bars.book is None:
        return tuple(np.full((4, len(bars)), np.nan))
    return tuple(np.where((bars.book > 0.0).all(axis=1), bars.book.T, np.nan))


def _of_book(value: Callable[..., Float64Array]) -> "_FeatureKind":
    """A feature that rests on the book at its bar alone."""
    return _FeatureKind(lambda: None, {}, lambda _, bars: value(*_book_of(bars)))


_BOOK_KINDS = {
    "imbalance": _of_book(lambda _bid, bids, _ask, asks: (bids - asks) / (bids + asks)),
    "spread": _of_book(lambda bid, _bids, ask, _asks: (ask - bid) / ((ask + bid) / 2.0)),
    "depth": _of_book(lambda _bid, bids, _ask, asks: bids + asks),
    "micro_price": _of_book(lambda bid, bids, ask, asks: (bid * asks + ask * bids) / (bids + asks)),
}


def _contract_of(bars: Bars) -> tuple[Float64Array, ...]:
    """Funding rate, mark, index, open interest, liquidated longs and shorts at each bar; NaN where not known."""
    return tuple(np.full((6, len(bars)), np.nan) if bars.contract is None else bars.contract.T)


def _basis(bars: Bars) -> Float64Array:
    _, mark, index, *_ = _contract_of(bars)
    return np.where(index > 0.0, mark, np.nan) / np.where(index > 0.0, index, np.nan) - 1.0


def _open_interest(bars: Bars) -> Float64Array:
    interest = _contract_of(bars)[3]
    return np.where(interest > 0.0, interest, np.nan)


def _liquidations(bars: Bars) -> Float64Array:
    *_, longs, shorts = _contract_of(bars)
    return longs + shorts


def _liquidation_skew(bars: Bars) -> Float64Array:
    *_, longs, shorts = _contract_of(bars)
    both = longs + shorts
    return np.where(both == 0.0, 0.0, (shorts - longs) / np.where(both == 0.0, 1.0, both))


def _of_contract(value: Callable[[Bars], Float64Array]) -> "_FeatureKind":
    """A feature that rests on the state of the contract at its bar alone."""
    return _FeatureKind(lambda: None, {}, lambda _, bars: value(bars))


_CONTRACT_KINDS = {
    "funding_rate": _of_contract(lambda bars: _contract_of(bars)[0]),
    "basis": _of_contract(_basis),
    "open_interest_change": _FeatureKind(
        PriceRatio, {"window": 1}, lambda change, bars: change.advance(_open_interest(bars)) - 1.0
    ),
    "liquidations": _of_contract(_liquidations),
    "liquidation_skew": _of_contract(_liquidation_skew),
}
_MACD = {"fast": 12, "slow": 26, "signal": 9}
_KINDS: dict[str, _FeatureKind] = {
    "returns": _FeatureKind(PriceRatio, {"window": 1}, lambda ratio, bars: ratio.advance(bars.close) - 1.0),
    "log_return": _FeatureKind(
        PriceRatio, {"window": 1}, lambda ratio, bars: np.log(ratio.advance(bars.close))
    ),
    "volatility": _FeatureKind(Volatility, {"window": 20}),
    "realised_variance": _FeatureKind(RealisedVariance, {"window": 20}),
    "ema": _FeatureKind(Ema, {"window": 20}),
    "zscore": _FeatureKind(ZScore, {"window": 20}),
    "rsi": _FeatureKind(RsiIndicator, {"window": 14}),
    "macd": _FeatureKind(MacdIndicator, _MACD, lambda macd, bars: macd.advance(bars.close)[0]),
    "macd_signal": _FeatureKind(MacdIndicator, _MACD, lambda macd, bars: macd.advance(bars.close)[1]),
    "bollinger_low": _FeatureKind(
        Bands, {"window": 20, "width": 2}, lambda bands, bars: bands.advance(bars.close)[0]
    ),
    "bollinger_mid": _FeatureKind(
        MeanAndDeviation, {"window": 20}, lambda mean, bars: mean.advance(bars.close)[0]
    ),
    "bollinger_high": _FeatureKind(
        Bands, {"window": 20, "width": 2}, lambda bands, bars: bands.advance(bars.close)[2]
    ),
    "atr": _FeatureKind(Atr, {"window": 14}, lambda atr, bars: atr.advance(bars.high, bars.low, bars.close)),
    "vwap": _FeatureKind(
        Vwap, {"window": 20}, lambda vwap, bars: vwap.advance(bars.high, bars.low, bars.close, bars.volume)
    ),
    **_BOOK_KINDS,
    **_CONTRACT_KINDS,
}
_TEXT = re.compile(r"(?P<kind>[a-z_]+)(?:\((?P<parameters>[^()]*)\))?")

FEATURES = tuple(_KINDS)
"""The names of the features."""
