"""Strategies on candles: several on one symbol, each with its own parameters and length of candle.

Beside what a strategy says stand the features that are known then, of the same candles: of those that have ended.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.events import Alarm, Candle, StrategySignal
from raysignal.engine.strategies.features import CandleFeature
from raysignal.engine.strategies.strategy import Bars, ConfidentStream, Strategy, StrategyStream


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """One strategy of a pipeline.

    Attributes:
        name: unique in the pipeline; whose votes and profits these are.
        interval_us: length of the candles that it sees.
        symbols: of which symbols.
    """

    name: str
    strategy: Strategy
    interval_us: int
    symbols: tuple[str, ...]


_Said = tuple[int, float]
"""A side, and how far it is to count."""
_NOTHING: _Said = (0, 1.0)


class _Running:
    """A strategy on one symbol; `ahead` is what it says at instants that a replay has worked out already."""

    def __init__(self, spec: StrategySpec) -> None:
        self.spec = spec
        self.ahead: dict[int, _Said] = {}
        self.restart()

    def restart(self) -> None:
        """Begin with the first bar."""
        self._stream: StrategyStream = self.spec.strategy.stream()
        self._confident = self._stream if isinstance(self._stream, ConfidentStream) else None

    def advance(self, bars: Bars) -> tuple[Int8Array, Float64Array]:
        """What it says at the next bars: sides, and how far they are to count."""
        if self._confident is not None:
            return self._confident.advance_with_confidence(bars)
        return self._stream.advance(bars), np.ones(len(bars))


class _Place:
    """Strategies and features on one symbol's candles of one length.

    `ahead` are the features at instants until `ahead_until_us`, where a strategy speaks.
    """

    def __init__(self, features: Sequence[CandleFeature]) -> None:
        self.strategies: list[_Running] = []
        self._features = features
        self._streams = [(each.name, each.stream()) for each in features]
        self.ahead: dict[int, dict[str, float]] = {}
        self.ahead_until_us = 0
        self.ended_us: int | None = None

    def restart(self) -> None:
        """Begin a new warm-up."""
        self._streams = [(each.name, each.stream()) for each in self._features]
        for running in self.strategies:
            running.restart()

    def features(self, bars: Bars) -> list[tuple[str, Float64Array]]:
        """Names and values at the next bars."""
        return [(name, stream.advance(bars)) for name, stream in self._streams]


class StrategyStage:
    """Candles to signals. A candle that is not complete begins a new warm-up, with an alarm.

    Args:
        specs: who speaks.
        features: what each signal says beside its side, where it is known.
        gapless: so does one that does not begin where the last of its symbol and length ended. Not in a file of
            prices, which has nights and holidays.
    """

    def __init__(
        self, specs: Iterable[StrategySpec], features: Sequence[CandleFeature] = (), *, gapless: bool = False
    ) -> None:
        self._gapless = gapless
        self._places: dict[tuple[str, int], _Place] = {}
        for spec in specs:
            for symbol in spec.symbols:
                place = self._places.setdefault((symbol, spec.interval_us), _Place(features))
                place.strategies.append(_Running(spec))

    def prepare(self, symbol: str, interval_us: int, bars: Bars) -> None:
        """Work out what will be said at candles that come next: a strategy says the same however bars are cut.

        A replay that has the bars calls it for pieces of them; each candle's signals are still said at the candle.
        """
        place = self._places.get((symbol, interval_us))
        if place is None or not len(bars):
            return
        speaks = np.zeros(len(bars), np.bool_)
        for running in place.strategies:
            sides, confidences = running.advance(bars)
            rows = np.flatnonzero(sides)
            speaks[rows] = True
            said = zip(sides[rows].tolist(), confidences[rows].tolist(), strict=True)
            running.ahead = dict(zip(bars.known_at_us[rows].tolist(), said, strict=True))
        values = place.features(bars)
        place.ahead = {
            int(bars.known_at_us[row]): _known(values, row) for row in np.flatnonzero(speaks).tolist()
        }
        place.ahead_until_us = int(bars.known_at_us[-1])

    def on(self, candle: Candle) -> Sequence[StrategySignal | Alarm]:
        """See `engine.pipeline.path`."""
        place = self._places.get((candle.symbol, candle.interval_us))
        if place is None:
            return ()
        if candle.at_us <= place.ahead_until_us:
            said = [each.ahead.get(candle.at_us, _NOTHING) for each in place.strategies]
            if not any(side for side, _ in said):
                return ()
            return _signals(place.strategies, candle, said, place.ahead[candle.at_us])
        begins_us = candle.at_us - candle.interval_us
        follows = not self._gapless or place.ended_us in {None, begins_us}
        place.ended_us = candle.at_us
        if not (candle.complete and follows):
            place.restart()
            message = (
                f"candles of {candle.interval_us / 1e6:g} s are missing or incomplete: "
                f"{len(place.strategies)} strategies begin a new warm-up"
            )
            return (Alarm(at_us=candle.at_us, symbol=candle.symbol, code="candles_missing", message=message),)
        bars = _bars(candle)
        columns = [each.advance(bars) for each in place.strategies]
        said = [(int(sides[0]), float(confidences[0])) for sides, confidences in columns]
        values = place.features(bars)
        speaks = any(side for side, _ in said)
        return _signals(place.strategies, candle, said, _known(values, 0)) if speaks else []


def _known(values: Sequence[tuple[str, Float64Array]], row: int) -> dict[str, float]:
    """The features that are known at a row."""
    found = ((name, float(column[row])) for name, column in values)
    return {name: value for name, value in found if math.isfinite(value)}


def _signals(
    running: Sequence[_Running], candle: Candle, sides: Sequence[_Said], features: dict[str, float]
) -> list[StrategySignal]:
    said = [
        (each.spec.name, side, confidence)
        for each, (side, confidence) in zip(running, sides, strict=True)
        if side
    ]
    return [
        StrategySignal(
            at_us=candle.at_us, symbol=candle.symbol, strategy=name, side=side, price=candle.close,
            interval_us=candle.interval_us, confidence=confidence, features=features, more=place < len(said),
        )
        for place, (name, side, confidence) in enumerate(said, 1)
    ]  # fmt: skip


def _bars(candle: Candle) -> Bars:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return Bars(np.array([candle.at_us], np.int64), *(np.array([value]) for value in values))
