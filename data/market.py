"""A market of bars whose regime shows in what is known at the time, and nothing else shows what comes next.

Two regimes, calm and stormy, follow each other as a hidden Markov chain. The regime sets the size of the
moves, the volume and the mood. The direction of a move depends on nothing: up and down are equally likely
over any horizon, in either regime, whatever came before, unless a drift is asked for. Only a signal can know it
(`data.signals`).
"""

from dataclasses import dataclass

import numpy as np

from raysignal.data.draws import Draws, running
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.engine.core.instants import DAY_US, MICROSECONDS

REGIMES = ("calm", "stormy")

SPELLS = (150, 100)
"""Bars that a spell of each regime lasts on average, unless others are asked for."""
_VOLATILITY = (0.0012, 0.0035)  # of a 10-minute bar
_REFERENCE_BAR_US = 600 * MICROSECONDS
_CUT = {4.0: 8.0, 2.5: 20.0}  # by degrees of freedom, no move beyond so many standard deviations
_MOOD_CUT = 8.0
_YEAR_US = 365 * DAY_US
_FIRST_PRICE = 60_000.0

_VOLUME_OF_A_DAY = (6.0e9, 12.0e9)  # quote currency
_MOOD = (62.0, 30.0)  # the mean of the fear and greed index
_MOOD_MEMORY = 0.9
_MOOD_NOISE = 4.0
_MOOD_JUMP = 5.0
_FAST, _SLOW = 2 / 37, 2 / 289  # exponential averages over 36 and 288 bars

_LONGER_GAP = 0.15  # of the gaps lack more than one bar: two to six


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedBars:
    """Bars in time order, gaps taken out.

    Attributes:
        opened_us: int64[n], the instant at which the bar opens; strictly rising.
        price: float64[n], its close, 5 decimals.
        regime: int8[n], position in `REGIMES`: hidden, and shown by the three columns below.
        momentum: float64[n], the fast average of the price against the slow one.
        volume: int64[n], traded in the last 24 hours, in the quote currency.
        mood: int64[n], fear (0) to greed (100).
    """

    opened_us: Int64Array
    price: Float64Array
    regime: Int8Array
    momentum: Float64Array
    volume: Int64Array
    mood: Int64Array


def make_market(
    rows: int,
    *,
    start_us: int,
    bar_us: int,
    gaps: float,
    seed: int,
    symbol: int,
    drift: float = 0.0,
    degrees: float = 4.0,
    spells: tuple[int, ...] = SPELLS,
    volatility: float = 1.0,
) -> GeneratedBars:
    """A market of `rows` bars.

    Args:
        rows: of the file.
        start_us: when the first one opens.
        bar_us: spacing.
        gaps: the probability that bars are missing before a row.
        seed: of the whole file.
        symbol: position of the symbol in it.
        drift: the logarithmic growth of the typical price a year, added to the returns bar by bar: 0.2 is +22 %, -1
            is -63 %.
        degrees: of freedom of the moves' Student t, one of `DEGREES`.
        spells: bars that a spell of each regime lasts on average, at least 2.
        volatility: how many times as large as usual moves are.
    """
    day = max(1, DAY_US // bar_us)
    kept = day + _bars_kept(Draws(seed, symbol, 0), rows, gaps)
    bars = int(kept[-1]) + 1  # the first day only warms the averages up
    regime = _regimes(Draws(seed, symbol, 1), bars, spells)
    move = Draws(seed, symbol, 2).fat_tailed(bars, _CUT[degrees], degrees)
    price = _prices(move, regime, bar_us, drift, volatility)
    volume = _volumes(Draws(seed, symbol, 3), move, regime, day)
    slow = running(price, _SLOW, float(price[0]))
    momentum = (running(price, _FAST, float(price[0])) - slow) / slow
    mood = _moods(Draws(seed, symbol, 4), regime)
    return GeneratedBars(
        opened_us=start_us + (kept - day) * bar_us,
        price=np.round(price[kept], 5),
        regime=regime[kept].astype(np.int8),
        momentum=momentum[kept],
        volume=volume[kept],
        mood=mood[kept],
    )


def _bars_kept(draws: Draws, rows: int, gaps: float) -> Int64Array:
    opens, longer, length = draws.uniform(rows), draws.uniform(rows), draws.below(5, rows)
    missing = np.where(opens < gaps, np.where(longer < _LONGER_GAP, 2 + length, 1), 0)
    missing[0] = 0
    bars: Int64Array = np.cumsum(1 + missing) - 1
    return bars


def _regimes(draws: Draws, bars: int, spells: tuple[int, ...]) -> Int64Array:
    stay = [(spell - 1) / spell for spell in spells]
    state, states = 0, []
    for u in draws.uniform(bars).tolist():
        if u >= stay[state]:
            state = 1 - state
        states.append(state)
    return np.array(states, np.int64)


def _prices(
    move: Float64Array, regime: Int64Array, bar_us: int, drift: float, volatility: float
) -> Float64Array:
    scale = np.array(_VOLATILITY)[regime] * np.sqrt(np.float64(bar_us / _REFERENCE_BAR_US)) * volatility
    # The move into a bar is as large as the regime before it says: what a row shows is about what follows.
    scale[1:] = scale[:-1].copy()
    # Half the variance on top keeps the typical price where it is, so that up is as likely as down.
    prices: Float64Array = _FIRST_PRICE * np.cumprod(
        1.0 + move * scale + scale * scale / 2.0 + drift * (bar_us / _YEAR_US)
    )
    return prices


def _volumes(draws: Draws, move: Float64Array, regime: Int64Array, day: int) -> Int64Array:
    mean = np.array(_VOLUME_OF_A_DAY)[regime] / day
    of_bar = mean * (0.7 + 0.3 * np.abs(move)) * (0.8 + 0.4 * draws.uniform(len(move)))
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_bar.astype(np.int64))])
    day_before = np.maximum(np.arange(1, len(total)) - day, 0)
    volumes: Int64Array = total[1:] - total[day_before]
    return volumes


def _moods(draws: Draws, regime: Int64Array) -> Int64Array:
    mean = np.array(_MOOD)[regime]
    lasting = running(mean + draws.fat_tailed(len(mean), _MOOD_CUT) * _MOOD_NOISE / (1 - _MOOD_MEMORY),
                      1 - _MOOD_MEMORY, float(mean[0]))  # fmt: skip
    at_once = draws.fat_tailed(len(mean), _MOOD_CUT) * _MOOD_JUMP
    return np.rint(lasting + at_once).clip(5, 95).astype(np.int64)
