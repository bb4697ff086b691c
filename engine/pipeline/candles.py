"""Trades of the feeds to candles of several lengths at once. Late and missing trades by the rule of `BarBuilder`.

A builder does not take a pause of the market for granted, since a feed mends such bars by the venue's own. Here nothing
mends them: a candle is complete if its bar is, or if no trade was said to be lost since the candle before it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from raysignal.engine.core.events import Candle, PathRestarted
from raysignal.engine.core.market_events import Event, Instrument, TradesLost
from raysignal.engine.market.bars import Bar, BarBuilder


class CandleStage:
    """Market events to candles; those that one event ends come by their ends, shorter ones first.

    Args:
        symbols: the portfolios' name of each instrument.
        intervals_us: the lengths of the candles of each symbol.
        builder_of: makes the builder of an instrument and a length, which knows how its venue numbers trades.
    """

    def __init__(
        self,
        symbols: Mapping[Instrument, str],
        intervals_us: Mapping[str, Iterable[int]],
        builder_of: Callable[[Instrument, int], BarBuilder] = BarBuilder,
    ) -> None:
        self._symbols = {(each.venue, each.symbol): name for each, name in symbols.items()}
        self._lengths = [(each, sorted(intervals_us[name])) for each, name in symbols.items()]
        self._builder_of = builder_of
        self._builders: dict[tuple[str, str], list[BarBuilder]] = {}
        self._unbroken: set[tuple[str, int]] = (
            set()
        )  # symbols and lengths that nothing was lost of since their candle
        self._restart()

    def on(self, event: Event | PathRestarted) -> Sequence[Candle]:
        """See `engine.pipeline.path`."""
        if isinstance(event, PathRestarted):
            self._restart()
            return ()
        place = event.instrument.venue, event.instrument.symbol
        if isinstance(event, TradesLost):
            self._unbroken = {each for each in self._unbroken if each[0] != self._symbols.get(place)}
        ended: list[Bar] = []
        for builder in self._builders.get(place, ()):
            ended += builder.receive(event)
        if not ended:
            return ()
        ended.sort(key=lambda bar: (bar.end_us, bar.interval_us))
        return [self._candle(self._symbols[place], bar) for bar in ended]

    def _restart(self) -> None:
        self._unbroken.clear()
        self._builders = {
            (each.venue, each.symbol): [self._builder_of(each, interval_us) for interval_us in lengths]
            for each, lengths in self._lengths
        }

    def _candle(self, symbol: str, bar: Bar) -> Candle:
        price = bar.instrument.price
        complete = bar.complete or (symbol, bar.interval_us) in self._unbroken
        self._unbroken.add((symbol, bar.interval_us))
        return Candle(
            at_us=bar.end_us, symbol=symbol, interval_us=bar.interval_us,
            open=price(bar.open), high=price(bar.high), low=price(bar.low), close=price(bar.close),
            volume=bar.instrument.size(bar.volume), complete=complete,
        )  # fmt: skip
