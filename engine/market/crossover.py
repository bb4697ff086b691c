"""The crossover of two moving averages, bar by bar.

    crossover = Crossover(interval_us, fast=50, slow=200)
    for bar in history: crossover.take(bar)
    step = crossover.take(bar)          # Crossing, Gap or None

*Exact.* What counts is the sign of fast mean less slow mean, which is the sign of
`sum(last fast closes) * slow - sum(last slow closes) * fast`. Closes are integers (of 1e-18, whatever the instrument's
decimals), so sums do not depend on how they were come by: the streaming sign is the vectorised one at every bar,
bit for bit. Sums of floats that are kept up to date would not be: near a touch they have either sign.

*A crossing* is a bar at which the sign is the opposite of the last one that was not 0. Means that are equal are on
no side: to touch and turn back is no crossing, and one that passes through equality crosses at the first bar beyond.
The first sign after the warm-up is where it stands, and no crossing.

*Warm-up.* The first `slow` bars in a row have no sign but the last of them.

*Gaps.* A bar that does not begin where the last one ended is not taken: `Gap` says which are missing. Whoever has
them gives them, and then the bar again; who has not starts anew with `restart`, and a new warm-up. So does a bar
whose close is not known. A bar that was taken before is counted (`repeated`) and changes nothing.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import check_interval
from raysignal.engine.core.market_events import MOST_DECIMALS
from raysignal.engine.core.signals import Action
from raysignal.engine.market.bars import Bar

UNIT = 10**MOST_DECIMALS
MOST_BARS = 100_000


@dataclass(frozen=True, slots=True)
class Crossing:
    """The means have changed sides.

    Attributes:
        bar: the bar with whose close they did.
        action: BUY if the fast mean is now above the slow one, SELL if below.
        fast, slow: the means, in the quote currency, rounded once.
    """

    bar: Bar
    action: Action
    fast: float
    slow: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars are missing: those that open from `from_us` on and before `to_us`."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class CrossoverState:
    """How far a crossover has come. With the closes of these bars it can be built again.

    Attributes:
        first_us, last_us: the opens of the first and the last bar that count, both included.
        side: sign of fast less slow, the last that was not 0; 0 before there was one.
    """

    first_us: int
    last_us: int
    side: int


class Crossover:
    """The state of one symbol.

    Args:
        interval_us: length of the bars.
        fast, slow: how many closes each mean is of; `InvalidField` unless 1 <= fast < slow <= `MOST_BARS`.

    Attributes:
        repeated: bars that were taken before.
    """

    def __init__(self, interval_us: int, fast: int = 50, slow: int = 200) -> None:
        if not 1 <= fast < slow:
            raise InvalidField("fast", fast, f"a number of bars from 1 on, less than slow, {slow}")
        if slow > MOST_BARS:
            raise InvalidField("slow", slow, f"at most {MOST_BARS} bars")
        self.interval_us = check_interval(interval_us)
        self.fast = fast
        self.slow = slow
        self.repeated = 0
        self._closes: deque[int] = deque(maxlen=slow)
        self._fast_sum = self._slow_sum = 0
        self._last_us: int | None = None
        self._side = 0

    @property
    def progress(self) -> CrossoverState | None:
        """How far it is; None before the first bar."""
        if self._last_us is None:
            return None
        oldest_us = self._last_us - (len(self._closes) - 1) * self.interval_us
        return CrossoverState(oldest_us, self._last_us, self._side)

    @property
    def missing(self) -> int:
        """Bars until the warm-up is over."""
        return self.slow - len(self._closes)

    def take(self, bar: Bar) -> Crossing | Gap | None:
        """One bar; see the module.

        A gap is returned as often as the bar is given, and changes nothing. `InvalidField` for a bar of another
        length.
        """
        if bar.interval_us != self.interval_us:
            raise InvalidField("interval_us", bar.interval_us, f"bars of {self.interval_us} us")
        if self._last_us is not None:
            if bar.open_us <= self._last_us:
                self.repeated += 1
                return None
            next_us = self._last_us + self.interval_us
            if bar.open_us > next_us or not bar.close_known:
                return Gap(next_us, bar.open_us if bar.close_known else bar.end_us)
        elif not bar.close_known:
            return Gap(bar.open_us, bar.end_us)
        return self._add(bar)

    def restart(self) -> None:
        """Forget every bar, and where the means stood: the next bar is the first of a new warm-up."""
        self._closes.clear()
        self._fast_sum = self._slow_sum = self._side = 0
        self._last_us = None

    def resume(self, progress: CrossoverState, bars: Sequence[Bar]) -> None:
        """Be as far as `progress`, with the stored bars that it names.

        Raises:
            InvalidField: they are not these bars, in order and without a gap; the state is that of `restart`.
        """
        self.restart()
        for bar in bars:
            if isinstance(self.take(bar), Gap):
                break
        if self._last_us != progress.last_us or not bars or bars[0].open_us != progress.first_us:
            self.restart()
            raise InvalidField(
                "bars",
                len(bars),
                f"every bar from {progress.first_us} to {progress.last_us}, of {self.interval_us} us",
            )
        # An older sign than these bars can tell: the means may have been equal since.
        self._side = progress.side

    def _add(self, bar: Bar) -> Crossing | None:
        close = bar.close * 10 ** (MOST_DECIMALS - bar.instrument.price_decimals)
        closes = self._closes
        if len(closes) >= self.fast:
            self._fast_sum -= closes[-self.fast]
        if len(closes) == self.slow:
            self._slow_sum -= closes[0]
        closes.append(close)
        self._fast_sum += close
        self._slow_sum += close
        self._last_us = bar.open_us
        if len(closes) < self.slow:
            return None
        before, difference = self._side, self._fast_sum * self.slow - self._slow_sum * self.fast
        if difference:
            self._side = 1 if difference > 0 else -1
        if not before or before == self._side:
            return None
        return Crossing(
            bar,
            Action(self._side),
            # One division of integers, which Python rounds once.
            self._fast_sum / (self.fast * UNIT),
            self._slow_sum / (self.slow * UNIT),
        )
