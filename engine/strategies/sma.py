"""The crossover of two moving averages, for one pair of windows and for a grid of them.

As `engine.market.crossover` has it: BUY at the bar at which the fast mean comes above the slow one, SELL below; means
that are equal are on no side, and the first side after the warm-up is where it stands, and no crossing.

*Exact.* Closes are whole numbers of a unit that the first bar decides (`unit_digits`), sums of them are whole numbers,
so the side does not depend on how sums were come by: all bars at once, one by one, or in a family. Prices with more
digits than the unit are rounded to it once, when they come in.

*A family* has each window's means once, however many pairs use it, and keeps no more than the last `slow` closes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.simd import ACTIONS, lowest_bit, not_above
from raysignal.engine.strategies.compiled import compiled
from raysignal.engine.strategies.strategy import Bars

MOST_BARS = 100_000
_BLOCK = 512  # bars that means are worked out of at once: those of a hundred windows stay near the core
_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_DIGITS = 18
_LARGEST = 10.0**12  # of the first close, in units
_MOST_SUM = 9.0e18
_NEAR = 1e-14  # means that differ by less, relatively, may differ by rounding alone


@dataclass(frozen=True, slots=True)
class SmaCrossover:
    """Buy when the mean of the last `fast` closes comes above that of the last `slow`, sell when it falls below.

    Raises:
        InvalidField: unless 1 <= fast < slow <= `MOST_BARS`.
    """

    fast: int = 50
    slow: int = 200

    def __post_init__(self) -> None:
        for name in ("fast", "slow"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_BARS:
                raise InvalidField(name, value, f"a whole number of bars from 1 to {MOST_BARS:,d}")
        if self.fast >= self.slow:
            raise InvalidField("fast", self.fast, f"fewer bars than slow, {self.slow}")

    @property
    def warm_up(self) -> int:
        """The first side is known with bar `slow`, so the first crossing comes at the next one at the soonest."""
        return self.slow

    def actions(self, bars: Bars) -> Int8Array:
        """See `Strategy`."""
        return self.stream().advance(bars)

    def stream(self) -> "SmaStream":
        """See `Strategy`."""
        return SmaStream(self)

    @classmethod
    def family(cls, strategies: Sequence["SmaCrossover"]) -> "SmaFamily":
        """All of them together."""
        return SmaFamily(strategies)


class SmaFamily:
    """See the module."""

    def __init__(self, strategies: Sequence[SmaCrossover]) -> None:
        windows = sorted({window for one in strategies for window in (one.fast, one.slow)})
        places = {window: place for place, window in enumerate(windows)}
        self._windows = np.array(windows, np.int64)
        self._pairs = np.array([[places[one.fast], places[one.slow]] for one in strategies], np.int64)
        self._side = np.zeros(len(strategies), np.int8)
        self._past = np.zeros(windows[-1], np.int64)  # the last closes, the newest at the end
        self._seen = 0
        self._scale = 0.0

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        """See `Family`; `InvalidField` for a close that is so large that sums of it have no exact form."""
        if not len(bars):
            return
        if not self._seen:
            self._scale = 10.0 ** unit_digits(float(bars.close[0]))
        most = _MOST_SUM / float(self._windows[-1])
        scaled = bars.close * self._scale
        large = ~(scaled < most)
        if large.any():
            row = int(np.argmax(large))
            raise InvalidField(
                "close", float(bars.close[row]), f"less than {most / self._scale:.6g}", row=row
            )
        closes = np.rint(scaled).astype(np.int64)
        _crossings(closes, self._past, self._seen, self._windows, self._pairs, self._side, actions)
        self._seen += len(bars)


class SmaStream:
    """A family of one."""

    def __init__(self, strategy: SmaCrossover) -> None:
        self._family = SmaFamily([strategy])

    def advance(self, bars: Bars) -> Int8Array:
        """See `StrategyStream`."""
        actions = np.zeros((1, len(bars)), np.int8)
        self._family.advance(bars, actions)
        own: Int8Array = actions[0]
        return own


def unit_digits(first: float) -> int:
    """Digits after the point of the unit: so many that the first close is about 10**12 units, at most 18."""
    return min(_DIGITS, math.floor(math.log10(_LARGEST / first))) if 0.0 < first < math.inf else 0


@compiled
def _crossings(
    closes: Int64Array,
    past: Int64Array,
    seen: int,
    windows: Int64Array,
    pairs: Int64Array,
    sides: Any,
    actions: Any,
) -> None:
    """Fill `actions`, int8[pairs, n]; `past` and `sides` go along."""
    n, longest = len(closes), len(past)
    sums = np.empty(longest + _BLOCK + 1, np.int64)
    means: Float64Array = np.zeros((len(windows), _BLOCK))
    for begin in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - begin)
        sums[0] = 0
        for place in range(longest):
            sums[place + 1] = sums[place] + past[place]
        for row in range(rows):
            sums[longest + row + 1] = sums[longest + row] + closes[begin + row]
        for place in range(len(windows)):
            window, mean = windows[place], means[place]
            upper, lower = sums[longest + 1 :], sums[longest + 1 - window :]
            for row in range(rows):
                mean[row] = (upper[row] - lower[row]) / window
        for pair in range(len(pairs)):
            fast, slow = pairs[pair, 0], pairs[pair, 1]
            warm = max(0, windows[slow] - seen - begin - 1)
            sides[pair] = _scan(
                means[fast], means[slow], sums, longest, windows[fast], windows[slow], min(warm, rows), rows,
                sides[pair], actions[pair], begin,
            )  # fmt: skip
        _keep(past, closes, begin, rows)


@compiled
def _scan(  # noqa: C901 - the two ways of looking are worked out once each
    fast: Any, slow: Any, sums: Any, longest: int, fast_window: int, slow_window: int, warm: int, rows: int,
    side: int, actions: Any, begin: int,
) -> int:  # fmt: skip
    """One pair over one block; the side that it ends on. The means are as long as whole groups."""
    said = actions[begin : begin + rows]
    for row in range(rows):
        said[row] = 0
    for group in range(warm // ACTIONS * ACTIONS, rows, ACTIONS):
        left = _ALL
        if group < warm:
            left &= _ALL << np.uint64(warm - group)
        if rows - group < ACTIONS:
            left &= (_ONE << np.uint64(rows - group)) - _ONE
        # Bars that are surely on the side already say nothing; each way is looked at once.
        not_up = not_above(fast, slow, group, _NEAR) if side >= 0 else _ALL
        not_down = not_above(slow, fast, group, _NEAR) if side <= 0 else _ALL
        both = side == 0
        while left != _NONE:
            open_ = left & (not_up if side > 0 else not_down if side < 0 else _ALL)
            if open_ == _NONE:
                break
            place = lowest_bit(open_)
            left &= _ALL << np.uint64(place)
            left &= left - _ONE
            sign = _sign(sums, longest + group + place + 1, fast_window, slow_window)
            if sign not in (0, side):
                if side != 0:
                    actions[begin + group + place] = sign
                side = sign
                if not both:
                    both = True
                    if side > 0:
                        not_up = not_above(fast, slow, group, _NEAR)
                    else:
                        not_down = not_above(slow, fast, group, _NEAR)
    return side


@compiled
def _sign(sums: Any, at: int, fast_window: int, slow_window: int) -> int:
    """Of fast mean less slow mean, exactly: whole parts first, then what is left over."""
    fast_sum, slow_sum = sums[at] - sums[at - fast_window], sums[at] - sums[at - slow_window]
    whole = fast_sum // fast_window - slow_sum // slow_window
    if whole != 0:
        return 1 if whole > 0 else -1
    rest = (fast_sum % fast_window) * slow_window - (slow_sum % slow_window) * fast_window
    return int(rest > 0) - int(rest < 0)


@compiled
def _keep(past: Int64Array, closes: Int64Array, begin: int, rows: int) -> None:
    """The last closes after a block."""
    longest = len(past)
    if rows < longest:
        for place in range(longest - rows):
            past[place] = past[place + rows]
    for place in range(max(0, longest - rows), longest):
        past[place] = closes[begin + rows - longest + place]
