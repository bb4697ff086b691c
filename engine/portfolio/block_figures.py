"""What a block of rows adds to an account's figures: levels, returns, sums, peaks and drawdowns.

Short loops that the processor can fill its lanes with; the third and fourth pass of `engine.portfolio.kernel`.
"""

from typing import Any

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.fills import JIT
from raysignal.engine.portfolio.simd.cache_lines import LINE, splat

# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): 28b36863.

# The workspace of a block: what every row needs, then what every visit needs. The last three hold integers.
(
    LEVEL, HELD, CHANGE, DISTANCE, SQUARE, LOSS, HELD_DISTANCE, HELD_SQUARE, HELD_LOSS, NUMBER,
    CASH, QUANTITY, REALISED, TIME, VISIT,
) = range(15)  # fmt: skip
_SPACES = 15
_RUN = 2 * LINE  # rows that are set at once
APART = 24  # more than a block's rows, so that the spaces do not lie a power of two apart


def workspace(rows: int) -> Float64Array:
    """Room for the kernel's passes over blocks of so many rows or some more; what it holds means nothing.

    Its rows begin with a line of the cache: vectors that lie across two take twice as long.
    """
    width = (rows + APART + LINE - 1) // LINE * LINE
    room = np.empty(_SPACES * width + LINE)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + _SPACES * width].reshape(_SPACES, width)


def _stretch(column: Float64Array, begin: int, end: int, value: float) -> None:
    """Set rows `begin` to `end`, and some more. A processor can guess that they are few, but not how few."""
    for row in range(begin, end, _RUN):
        splat(column, row, value)
        splat(column, row + LINE, value)


stretch = njit(**JIT)(_stretch)


def _mark(prices: Float64Array, units: float, work: Float64Array) -> None:
    """The levels of a block of one symbol: cash and position after each row, marked at its price."""
    level, held, cash, quantity = work[LEVEL], work[HELD], work[CASH], work[QUANTITY]
    for row in range(len(prices)):
        level[row + 2] = cash[row] + quantity[row] * prices[row]
    for row in range(len(prices)):
        held[row + 2] = units * prices[row]


mark = njit(**JIT)(_mark)


def _change(level: float, before: float) -> float:
    """The return; 0 where there was nothing to earn it on."""
    return level / before - 1.0 if before > 0.0 else 0.0


change_of = njit(**JIT, forceinline=True)(_change)


def _changes(level: Float64Array, row_return: Float64Array) -> None:
    """The return of each row, from the levels of a block that is not merged."""
    for row in range(len(row_return)):
        row_return[row] = change_of(level[row + 2], level[row + 1])


changes = njit(**JIT)(_changes)


def _merge(times: Int64Array, since: int, rows: int, level: Float64Array, held: Float64Array) -> int:
    """Keep the last level of each instant: the levels from 1 on. Gives how many instants are over by the last row."""
    place = 1
    for row in range(rows):
        place += int(times[row] > since)
        since = times[row]
        level[place] = level[row + 2]
        held[place] = held[row + 2]
    return place - 1


merge = njit(**JIT)(_merge)


def _lowest(level: Float64Array, rows: int) -> float:
    """The lowest level before each row; an equity that is not above zero counts within an instant, too."""
    found = level[1]
    for row in range(2, rows + 1):
        found = min(found, level[row])
    return found


lowest_of = njit(**JIT)(_lowest)


def _spread(
    level: Float64Array,
    rows: int,
    anchor: float,
    change: Float64Array,
    distance: Float64Array,
    square: Float64Array,
    loss: Float64Array,
) -> None:
    """What periods add to the sums: the return's distance from the anchor, its square, a loss's square."""
    for row in range(rows):
        before = level[row]
        one = level[row + 1] / before - 1.0 if before > 0.0 else 0.0
        change[row] = one
        away = one - anchor
        distance[row] = away
        square[row] = away * away
        below = min(one, 0.0)
        loss[row] = below * below


spread = njit(**JIT)(_spread)


def _extremes(
    space: int, work: Float64Array, bits: Int64Array, rows: int, peak: float, trough: float
) -> tuple[float, float]:
    """Peak and trough (the lowest share of its peak that a level fell to) after the levels 1 to `rows`.

    Doubles above zero are in the order of their bits, and whole numbers are compared many at once. Row by row
    only where a block holds a new peak and may hold a new trough.
    """
    if rows == 0:
        return peak, trough
    level, bit, number = work[space], bits[space], work[NUMBER]
    highest = bit[1]
    lowest = bit[1]
    for row in range(1, rows + 1):
        highest = max(highest, bit[row])
        lowest = min(lowest, bit[row])
    if lowest >= 0:
        bits[NUMBER, 0] = highest
        bits[NUMBER, 1] = lowest
        top = max(peak, number[0])
        share = number[1] / top
        if top == peak:
            return peak, min(trough, share)
        if share >= trough:
            return top, trough
    for row in range(1, rows + 1):
        peak = max(peak, level[row])
        trough = min(trough, level[row] / peak)
    return peak, trough


extremes = njit(**JIT)(_extremes)


def _figures(
    account: Float64Array, work: Float64Array, bits: Int64Array, rows: int, change: Float64Array, hold: bool
) -> None:
    """Take the instants that are over into the account's figures; those of buy-and-hold, too, if asked to.

    Their levels are 1 to `rows`; level 0 is the one before them, the last one that of the instant that is not over.
    `change` is filled with the returns.
    """
    level, held = work[LEVEL], work[HELD]
    distance, square, loss = work[DISTANCE], work[SQUARE], work[LOSS]
    equity_sum = account[at.EQUITY_SUM]
    total, squares, losses = account[at.RETURN_SUM], account[at.RETURN_SQUARES], account[at.DOWNSIDE]
    if hold:
        held_distance, held_square, held_loss = work[HELD_DISTANCE], work[HELD_SQUARE], work[HELD_LOSS]
        held_total, held_squares, held_losses = (
            account[at.HOLD_SUM], account[at.HOLD_SQUARES], account[at.HOLD_DOWNSIDE],
        )  # fmt: skip
        # Nobody asks for the single returns of buy-and-hold: those of the account take their place.
        spread(held, rows, account[at.HOLD_ANCHOR], change, held_distance, held_square, held_loss)
        spread(level, rows, account[at.RETURN_ANCHOR], change, distance, square, loss)
        for row in range(rows):
            equity_sum += level[row + 1]
            total += distance[row]
            squares += square[row]
            losses += loss[row]
            held_total += held_distance[row]
            held_squares += held_square[row]
            held_losses += held_loss[row]
        account[at.HOLD_BEFORE] = held[rows]
        account[at.HOLD_VALUE] = held[rows + 1]
        account[at.HOLD_SUM] = held_total
        account[at.HOLD_SQUARES] = held_squares
        account[at.HOLD_DOWNSIDE] = held_losses
        account[at.HOLD_PEAK], account[at.HOLD_TROUGH] = extremes(
            HELD, work, bits, rows, account[at.HOLD_PEAK], account[at.HOLD_TROUGH]
        )
    else:
        spread(level, rows, account[at.RETURN_ANCHOR], change, distance, square, loss)
        for row in range(rows):
            equity_sum += level[row + 1]
            total += distance[row]
            squares += square[row]
            losses += loss[row]
    periods = account[at.PERIODS] + rows
    account[at.PERIODS] = periods
    account[at.BEFORE] = level[rows]
    account[at.EQUITY] = level[rows + 1]
    account[at.EQUITY_SUM] = equity_sum
    account[at.RETURN_SUM] = total
    account[at.RETURN_SQUARES] = squares
    account[at.DOWNSIDE] = losses
    account[at.PEAK], account[at.TROUGH] = extremes(
        LEVEL, work, bits, rows, account[at.PEAK], account[at.TROUGH]
    )

    # The number of periods has doubled: from here on, distances are measured from the mean so far.
    counted = np.int64(periods)
    if rows > 0 and counted & (counted - 1) == 0:
        for anchor, distances, squared in (
            (at.RETURN_ANCHOR, at.RETURN_SUM, at.RETURN_SQUARES),
            (at.HOLD_ANCHOR, at.HOLD_SUM, at.HOLD_SQUARES),
        ):
            mean = account[distances] / periods
            account[squared] -= account[distances] * mean
            account[anchor] += mean
            account[distances] = 0.0


figures = njit(**JIT)(_figures)


def _fill(column: Any, value: Any) -> None:
    for row in range(len(column)):
        column[row] = value


fill = njit(**JIT)(_fill)


def _copy(values: Float64Array, column: Float64Array) -> None:
    for row in range(len(column)):
        column[row] = values[row]


copy = njit(**JIT)(_copy)


def _drawdowns(
    equity: Float64Array, before: float, after: float, peaks: Float64Array, row_drawdown: Float64Array
) -> None:
    """Each row's distance from the peak, which was `before` and is `after` the block. Not more than all is lost."""
    if before == after:
        for row in range(len(row_drawdown)):
            row_drawdown[row] = min(1.0 - equity[row] / after, 1.0)
        return
    for row in range(len(row_drawdown)):
        before = max(before, equity[row])
        peaks[row] = before
    for row in range(len(row_drawdown)):
        row_drawdown[row] = min(1.0 - equity[row] / peaks[row], 1.0)


drawdowns = njit(**JIT)(_drawdowns)


def _merged_drawdowns(
    equity: Float64Array, times: Int64Array, since: int, last: float, peak: float, row_drawdown: Float64Array
) -> None:
    """The same where rows share instants: a level within one makes no peak, as other prices of it are yet to come.

    `last` is the equity before the first row, `peak` the highest at the end of an instant before that.
    """
    for row in range(len(row_drawdown)):
        if times[row] > since:
            peak = max(peak, last)
            since = times[row]
        last = equity[row]
        row_drawdown[row] = min(1.0 - last / max(peak, last), 1.0)


merged_drawdowns = njit(**JIT)(_merged_drawdowns)
