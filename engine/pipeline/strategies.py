"""Strategies on candles: several on one symbol, each with its own parameters and length of candle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.events import Alarm, Candle, StrategySignal
from raysignal.engine.strategies.strategy import Bars, Strategy, StrategyStream


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


class _Running:
    """A strategy on one symbol; `ahead` is what it says at instants that a replay has worked out already."""

    def __init__(self, spec: StrategySpec) -> None:
        self.spec = spec
        self.stream: StrategyStream = spec.strategy.stream()
        self.ahead: dict[int, int] = {}


class StrategyStage:
    """Candles to signals. A candle that is not complete begins a new warm-up, with an alarm.

    Args:
        gapless: so does one that does not begin where the last of its symbol and length ended. Not in a file of
            prices, which has nights and holidays.
    """

    def __init__(self, specs: Iterable[StrategySpec], *, gapless: bool = False) -> None:
        self._running: dict[tuple[str, int], list[_Running]] = {}
        for spec in specs:
            for symbol in spec.symbols:
                self._running.setdefault((symbol, spec.interval_us), []).append(_Running(spec))
        self._ahead_until: dict[tuple[str, int], int] = {}
        self._gapless = gapless
        self._ended_us: dict[tuple[str, int], int] = {}

    def prepare(self, symbol: str, interval_us: int, bars: Bars) -> None:
        """Work out what will be said at candles that come next: a strategy says the same however bars are cut.

        A replay that has the bars calls it for pieces of them; each candle's signals are still said at the candle.
        """
        for running in self._running.get((symbol, interval_us), ()):
            actions = running.stream.advance(bars)
            rows = np.flatnonzero(actions)
            running.ahead = dict(zip(bars.known_at_us[rows].tolist(), actions[rows].tolist(), strict=True))
        if len(bars):
            self._ahead_until[symbol, interval_us] = int(bars.known_at_us[-1])

    def on(self, candle: Candle) -> Sequence[StrategySignal | Alarm]:
        """See `engine.pipeline.path`."""
        place = candle.symbol, candle.interval_us
        running = self._running.get(place)
        if running is None:
            return ()
        if candle.at_us <= self._ahead_until.get(place, 0):
            sides = [each.ahead.get(candle.at_us, 0) for each in running]
            return _signals(running, candle, sides) if any(sides) else ()
        begins_us = candle.at_us - candle.interval_us
        follows = not self._gapless or self._ended_us.get(place, begins_us) == begins_us
        self._ended_us[place] = candle.at_us
        if not (candle.complete and follows):
            for each in running:
                each.stream = each.spec.strategy.stream()
            message = (
                f"candles of {candle.interval_us / 1e6:g} s are missing or incomplete: "
                f"{len(running)} strategies begin a new warm-up"
            )
            return (Alarm(at_us=candle.at_us, symbol=candle.symbol, code="candles_missing", message=message),)
        bars = _bars(candle)
        return _signals(running, candle, [int(each.stream.advance(bars)[0]) for each in running])


def _signals(running: Sequence[_Running], candle: Candle, sides: Sequence[int]) -> list[StrategySignal]:
    said = [(each.spec.name, side) for each, side in zip(running, sides, strict=True) if side]
    return [
        StrategySignal(
            at_us=candle.at_us, symbol=candle.symbol, strategy=name, side=side, price=candle.close,
            interval_us=candle.interval_us, more=place < len(said),
        )
        for place, (name, side) in enumerate(said, 1)
    ]  # fmt: skip


def _bars(candle: Candle) -> Bars:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return Bars(np.array([candle.at_us], np.int64), *(np.array([value]) for value in values))
