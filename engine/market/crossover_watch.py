"""A crossover that makes signals: bars in, signals and prices out, nothing else.

The signal of a crossing is made by strategy, symbol, bar and action alone: whoever sees the same bars, as often as he
likes, makes the same signal with the same id, and it counts once.
"""

from dataclasses import dataclass
from decimal import Decimal

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.fields import MAX_ID, MAX_NAME
from raysignal.engine.market.bars import Bar, Basis, bar_name
from raysignal.engine.market.crossover import Crossing, Crossover, Gap


@dataclass(frozen=True, slots=True)
class MarketSignal:
    """A signal, or a price without one, and the bar that it was made of.

    Attributes:
        signal: as it is posted; it is known at the end of the bar, and its price is the bar's close.
        price: the same price, exactly.
    """

    signal: Signal
    venue: str
    bar_open_us: int
    interval_us: int
    price: Decimal

    @property
    def is_price(self) -> bool:
        """Whether it says nothing but what the price was."""
        return self.signal.action is Action.HOLD


class Watch:
    """A crossover on the bars of one instrument.

    Args:
        instrument: whose bars.
        symbol: the portfolios' name of it; None: `venue:symbol`.
        strategy: the source of its signals; None: `sma-<fast>-<slow>`.

    Raises:
        InvalidField: windows, lengths or names that cannot be.
    """

    def __init__(
        self,
        instrument: Instrument,
        interval_us: int,
        *,
        fast: int = 50,
        slow: int = 200,
        basis: Basis = Basis.TRADES,
        symbol: str | None = None,
        strategy: str | None = None,
    ) -> None:
        self.instrument = instrument
        self.interval_us = interval_us
        self.basis = basis
        self.symbol = instrument.name if symbol is None else symbol
        self.strategy = f"sma-{fast}-{slow}" if strategy is None else strategy
        self.crossover = Crossover(interval_us, fast, slow)
        for field, value in (("symbol", self.symbol), ("strategy", self.strategy)):
            if not 1 <= len(value) <= MAX_NAME:
                raise InvalidField(field, value, f"a text of 1 to {MAX_NAME} characters")
        longest = self._identity(0, "PRICE")
        if len(longest) > MAX_ID:
            raise InvalidField(
                "strategy", self.strategy, f"one that leaves ids of {MAX_ID} characters, not {longest}"
            )

    def take(self, bar: Bar) -> MarketSignal | Gap | None:
        """One bar: the signal that it makes, or what is missing before it."""
        step = self.crossover.take(bar)
        return self._signal(step) if isinstance(step, Crossing) else step

    def price_of(self, bar: Bar) -> MarketSignal:
        """A bar's close with its high and low, without a signal: what moves brackets. It comes before the bar's signal,
        which is for what comes after the bar.
        """
        close, high, low = (bar.instrument.exact_price(ticks) for ticks in (bar.close, bar.high, bar.low))
        signal = Signal(
            symbol=self.symbol,
            timestamp_us=bar.end_us,
            action=Action.HOLD,
            price=float(close),
            source=self.strategy,
            signal_id=self._identity(bar.open_us, "PRICE"),
            features={"high": float(high), "low": float(low)},
        )
        return MarketSignal(signal, bar.instrument.venue, bar.open_us, bar.interval_us, close)

    def is_about(self, bar: Bar) -> bool:
        """Whether a bar is one of its own."""
        held = bar.instrument
        return (
            held.symbol == self.instrument.symbol
            and held.venue == self.instrument.venue
            and bar.interval_us == self.interval_us
            and bar.basis is self.basis
        )

    @property
    def identity(self) -> str:
        """What the ids of its signals begin with: strategy, venue, symbol and bars, so no other watch's do."""
        place = f"{self.strategy}:{self.instrument.name}:{self.basis.value}"
        return f"{place}:{bar_name(self.interval_us)}:"

    def _signal(self, crossing: Crossing) -> MarketSignal:
        bar, action = crossing.bar, crossing.action
        price = bar.instrument.exact_price(bar.close)
        signal = Signal(
            symbol=self.symbol,
            timestamp_us=bar.end_us,
            action=action,
            price=float(price),
            source=self.strategy,
            signal_id=self._identity(bar.open_us, action.name),
            features={"sma_fast": crossing.fast, "sma_slow": crossing.slow},
        )
        return MarketSignal(signal, bar.instrument.venue, bar.open_us, bar.interval_us, price)

    def _identity(self, open_us: int, action: str) -> str:
        return f"{self.identity}{format_instant(open_us)}:{action}"
