"""The compiled loop behind `engine.portfolio.ledger`: what signals do to an account and its positions.

Strict IEEE double precision, no fastmath, one order of operations: the bytes at the end do not depend on how a
stream was cut into calls, nor into the blocks that a call is cut into here. A block is taken in four passes,
each of them a short loop that the processor can fill its lanes with, or at least need not guess in:

1. plan: which rows trade. For one symbol that follows from the actions alone, without a branch: where trades
   come is what a processor cannot predict, and a wrong guess costs more than the trade. Where an order turns
   out to open nothing, the block ends with that row, and the next one visits every row, as several symbols do.
2. trades: the rows that trade, one after the other. Money moves here and nowhere else (`execute`).
3. marks: cash and position at every row's price, for the account and for buy-and-hold.
4. figures: returns, sums and peaks, added up instant by instant in their order. Mostly every row is an instant of its
   own; where it is not, the levels of the block are first cut down to the last of each instant (`merge`).

Importing this module imports numba, so `engine.portfolio.ledger` does it at the first use. Compiled without numba's
reference counting (`_nrt`): nothing is allocated here, and counting costs more than a row.
"""

from typing import Any

import numpy as np
from numba import njit, types

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import CONFIDENCE, EXPIRES, ROUNDING, SIZE, STOP_LOSS, TAKE_PROFIT, TRAILING
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.account import LATEST_US
from raysignal.engine.portfolio.simd.cache_lines import LINE, fetch, splat

# The policy as the loop reads it.
(
    _FEE, _GROSS, _ABOVE, _BELOW, _WEIGHT, _SHORTS, _NEXT, _MIN_CONFIDENCE, _STOP, _TAKE, _TRAIL,
) = range(11)  # fmt: skip
POLICY_SIZE = 11

# The outcomes as plain integers: an enum would be looked up (engine.core.ledger_rows.Outcome; a test holds them
# together).
(
    HOLD, OPENED, CLOSED_ALL, FLIPPED, HELD, PENDING, NOTHING, NO_CASH, INSOLVENT, CLOSED_ONLY, TOO_LARGE,
    NOTHING_TO_CLOSE, LOW_CONFIDENCE, EXPIRED,
) = range(14)  # fmt: skip

CLOSE = 2  # the action
BY_STOP, BY_TARGET, BY_TRAILING, BY_EXPIRY = (
    int(CloseReason.STOP), int(CloseReason.TARGET), int(CloseReason.TRAILING), int(CloseReason.EXPIRY),
)  # fmt: skip

DUST = 1e-9  # a budget of less than this share of equity opens nothing

# An equity above this opens nothing. Prices lie within a factor of 1e30 (engine.intake.fields), so neither what is held
# then nor a sum over all rows is too large for a double.
MOST_EQUITY = 1e250

BLOCK = 192  # rows; what their passes need fits into the first-level cache
AHEAD = 96  # rows between the end of a block and those that are asked for while it is worked on
CHECKED = 4096  # rows that are looked at before they are taken in; few enough to be still at hand then

# The workspace of a block: what every row needs, then what every visit needs. The last three hold integers.
(
    _LEVEL, _HELD, _CHANGE, _DISTANCE, _SQUARE, _LOSS, _HELD_DISTANCE, _HELD_SQUARE, _HELD_LOSS, _NUMBER,
    _CASH, _QUANTITY, _REALISED, _TIME, _VISIT,
) = range(15)  # fmt: skip
_SPACES = 15
_RUN = 2 * LINE  # rows that are set at once
_APART = 24  # more than a block's rows, so that the spaces do not lie a power of two apart

_JIT: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def workspace(rows: int) -> Float64Array:
    """Room for the passes of `advance` over blocks of so many rows or some more; what it holds means nothing.

    Its rows begin with a line of the cache: vectors that lie across two take twice as long.
    """
    width = (rows + _APART + LINE - 1) // LINE * LINE
    room = np.empty(_SPACES * width + LINE)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + _SPACES * width].reshape(_SPACES, width)


def policy_vector(policy: Policy) -> Float64Array:
    """The policy as `float64[POLICY_SIZE]`, rates as fractions."""
    fee = policy.fee_bps / 10_000.0
    slippage = policy.slippage_bps / 10_000.0
    shorts = policy.side == "long-short"
    at_next = policy.fill == "next"
    levels = policy.stop_bps / 10_000.0, policy.take_bps / 10_000.0, policy.trail_bps / 10_000.0
    return np.array(
        [
            fee, 1.0 + fee, 1.0 + slippage, 1.0 - slippage, policy.weight, shorts, at_next, policy.min_confidence,
            *levels,
        ]
    )  # fmt: skip


def _execute(
    order: int,
    price: float,
    cash: float,
    quantity: float,
    basis: float,
    rest: float,
    cover: float,
    weight: float,
    opens: bool,
    policy: Float64Array,
) -> tuple[float, float, float, int, float, float, float, float]:
    """Trade one order that changes the side held.

    `rest` is the marked value of the other symbols' positions, `cover` the part of cash that their shorts
    lock up, `weight` the share of equity that is to be held then, if anything is to
    be opened. Gives cash, quantity, basis, outcome, fill price, fee, notional, and the profit of what was
    closed.
    """
    fill_price = price * (policy[_ABOVE] if order > 0 else policy[_BELOW])
    fee = 0.0
    notional = 0.0
    profit = 0.0
    closed = quantity != 0.0
    if closed:
        value = quantity * fill_price
        notional = abs(value)
        fee = notional * policy[_FEE]
        proceeds = value - fee
        profit = proceeds - basis
        cash += proceeds
        quantity = 0.0
        basis = 0.0
    outcome = CLOSED_ALL
    if opens:
        equity = cash + rest
        budget = min(weight * equity, cash - cover)
        if equity <= 0.0:
            outcome = CLOSED_ONLY if closed else INSOLVENT
        elif equity > MOST_EQUITY:
            outcome = TOO_LARGE
        elif budget <= DUST * equity:
            outcome = CLOSED_ONLY if closed else NO_CASH
        else:
            size = budget / (fill_price * policy[_GROSS])
            value = size * fill_price
            charge = value * policy[_FEE]
            fee += charge
            notional += value
            if order > 0:
                quantity = size
                basis = budget
            else:
                quantity = -size
                basis = charge - value
            cash -= basis
            outcome = FLIPPED if closed else OPENED
    return cash, quantity, basis, outcome, fill_price, fee, notional, profit


execute = njit(**_JIT, forceinline=True)(_execute)


def _book(
    account: Float64Array, before: float, after: float, fee: float, notional: float, profit: float
) -> None:
    """Count a fill that changed a position's quantity."""
    account[at.TRADES] += 1.0
    account[at.FEES] += fee
    account[at.NOTIONAL] += notional
    account[at.OPEN] += np.float64(after != 0.0) - np.float64(before != 0.0)
    if before != 0.0:
        account[at.CLOSED] += 1.0
        account[at.REALISED] += profit
        account[at.WINS] += np.float64(profit > 0.0)
        account[at.GROSS_PROFIT] += max(profit, 0.0)
        account[at.GROSS_LOSS] -= min(profit, 0.0)


book = njit(**_JIT, forceinline=True)(_book)


def _crossed(
    quantity: float, price: float, high: float, low: float, stamp: float, bracket: Float64Array
) -> tuple[int, float]:
    """Why a row closes what was held before it, 0 if it does not, and at which price.

    `high` and `low` are the ends of what was traded up to the row, `price` among them. A level is met where they
    enclose it, the stop's first; where all of them lie beyond it, the row's price is. What is trailed is the best
    price of the rows before.
    """
    stop, target, trail = bracket[at.STOP], bracket[at.TARGET], bracket[at.TRAIL]
    reason = BY_STOP
    if quantity > 0.0:
        if trail > 0.0 and bracket[at.BEST] * (1.0 - trail) > stop:
            stop, reason = bracket[at.BEST] * (1.0 - trail), BY_TRAILING
        if low <= stop:
            return reason, stop if stop <= high else price
        if high >= target > 0.0:
            return BY_TARGET, target if target >= low else price
    else:
        if trail > 0.0 and (stop == 0.0 or bracket[at.BEST] * (1.0 + trail) < stop):
            stop, reason = bracket[at.BEST] * (1.0 + trail), BY_TRAILING
        if high >= stop > 0.0:
            return reason, stop if stop >= low else price
        if low <= target:
            return BY_TARGET, target if target <= high else price
    if stamp >= bracket[at.EXPIRES] > 0.0:
        return BY_EXPIRY, price
    return 0, price


crossed = njit(**_JIT, forceinline=True)(_crossed)


def _guard(
    quantity: float, price: float, stop: float, target: float, trail: float, expires: float, policy: Float64Array,
    bracket: Float64Array,
) -> None:  # fmt: skip
    """Set the bracket of a position that a row at `price` opened: the order's own levels, else the policy's."""
    side = 1.0 if quantity > 0.0 else -1.0
    if stop == 0.0 and policy[_STOP] > 0.0:
        stop = price * (1.0 - side * policy[_STOP])
    if target == 0.0 and policy[_TAKE] > 0.0:
        target = price * (1.0 + side * policy[_TAKE])
    if trail == 0.0:
        trail = policy[_TRAIL]
    bracket[at.STOP] = stop
    bracket[at.TARGET] = target
    bracket[at.TRAIL] = trail
    bracket[at.BEST] = price if trail > 0.0 else 0.0
    bracket[at.EXPIRES] = expires


guard = njit(**_JIT, forceinline=True)(_guard)


def _follow(quantity: float, high: float, low: float, bracket: Float64Array) -> None:
    """Take a row's prices into the best price of a position that was held before it."""
    if bracket[at.TRAIL] > 0.0:
        best = bracket[at.BEST]
        bracket[at.BEST] = max(best, high) if quantity > 0.0 else min(best, low)


follow = njit(**_JIT, forceinline=True)(_follow)


def _is_trade(action: int, quantity: float, lowest: int) -> bool:
    """Whether the action changes the side held; `lowest` is 0 where nothing may go short, else -2.

    Without a branch: on signals that nobody can predict, the processor cannot either.
    """
    side = int(quantity > 0.0) - int(quantity < 0.0)
    return (action != 0) & (action != side) & (action + side >= lowest)


is_trade = njit(**_JIT, forceinline=True)(_is_trade)


def _left_alone(action: int, quantity: float) -> int:
    side = int(quantity > 0.0) - int(quantity < 0.0)
    stayed = HELD if action == side else NOTHING
    return HOLD if action == 0 else stayed


left_alone = njit(**_JIT, forceinline=True)(_left_alone)


def _refused(
    stamps: Int64Array, symbols: Int32Array, actions: Int8Array, prices: Float64Array, count: int
) -> int:
    """The first row that cannot be taken in, or -1."""
    good = True
    for row in range(len(stamps)):
        good &= (prices[row] > 0.0) & (prices[row] < np.inf)
        good &= (stamps[row] > -LATEST_US) & (stamps[row] < LATEST_US)
    # Columns of smaller numbers by themselves: more of them are compared at once.
    lowest, highest = np.int32(0), np.int32(0)
    for row in range(len(symbols)):
        lowest = min(lowest, symbols[row])
        highest = max(highest, symbols[row])
    least, most = np.int8(0), np.int8(0)
    for row in range(len(actions)):
        least = min(least, actions[row])
        most = max(most, actions[row])
    if good & (lowest >= 0) & (highest < count) & (least >= -1) & (most <= CLOSE):
        return -1
    for row in range(len(stamps)):
        priced = (prices[row] > 0.0) & (prices[row] < np.inf)
        timed = (stamps[row] > -LATEST_US) & (stamps[row] < LATEST_US)
        known = (symbols[row] >= 0) & (symbols[row] < count)
        if not (priced & timed & known & (actions[row] >= -1) & (actions[row] <= CLOSE)):
            return row
    return -1


refused = njit(**_JIT)(_refused)


def _join(account: Float64Array, positions: Float64Array, symbol: int, stamp: int, price: float) -> None:
    """Buy-and-hold takes a new symbol in for the same stake as the first.

    The levels it is measured against are linked over (as an index divisor does), so that new money is no
    return.
    """
    hold = account[at.HOLD_VALUE]
    if hold == 0.0:
        account[at.HOLD_STAKE] = price
        account[at.HOLD_BASE] = price
        account[at.HOLD_PEAK] = price
        account[at.HOLD_VALUE] = price
        account[at.HOLD_BEFORE] = price
        account[at.FIRST_US] = stamp
        account[at.LAST_US] = stamp
        positions[symbol, at.UNITS] = 1.0
        return
    units = account[at.HOLD_STAKE] / price
    others = 0.0
    for other in range(len(positions)):
        if other != symbol:
            others += positions[other, at.UNITS] * positions[other, at.PRICE]
    joined = others + units * price
    link = joined / hold
    account[at.HOLD_BASE] *= link
    account[at.HOLD_PEAK] *= link
    account[at.HOLD_BEFORE] *= link
    account[at.HOLD_VALUE] = joined
    positions[symbol, at.UNITS] = units


join = njit(**_JIT)(_join)


def _clock(stamps: Int64Array, latest: int, times: Int64Array) -> bool:
    """The latest instant as of each row: `times`. Gives whether every row begins an instant."""
    apart = stamps[0] > latest
    for row in range(1, len(stamps)):
        apart &= stamps[row] > stamps[row - 1]
    for row in range(len(stamps)):
        times[row] = stamps[row]
    if not apart:
        for row in range(len(stamps)):
            latest = max(latest, stamps[row])
            times[row] = latest
    return bool(apart)


clock = njit(**_JIT)(_clock)


def _plan(orders: Int8Array, first: int, side: Any, floor: int, count: int, visits: Int64Array) -> int:
    """Which rows trade, if every order that can open does: `visits`; gives their number.

    `orders` are those of the rows from `first` on, before which `count` rows traded and left the position on
    `side`; `floor` is -1 where it can be short, else 0.
    """
    for place in range(len(orders)):
        order: Any = np.int64(orders[place])
        after = max(order, floor) if order != 0 else side
        visits[count] = first + place
        count += int(after != side)
        side = after
    return count


plan = njit(**_JIT)(_plan)


def _stretch(column: Float64Array, begin: int, end: int, value: float) -> None:
    """Set rows `begin` to `end`, and some more. A processor can guess that they are few, but not how few."""
    for row in range(begin, end, _RUN):
        splat(column, row, value)
        splat(column, row + LINE, value)


stretch = njit(**_JIT)(_stretch)


def _mark(prices: Float64Array, units: float, work: Float64Array) -> None:
    """The levels of a block of one symbol: cash and position after each row, marked at its price."""
    level, held, cash, quantity = work[_LEVEL], work[_HELD], work[_CASH], work[_QUANTITY]
    for row in range(len(prices)):
        level[row + 2] = cash[row] + quantity[row] * prices[row]
    for row in range(len(prices)):
        held[row + 2] = units * prices[row]


mark = njit(**_JIT)(_mark)


def _change(level: float, before: float) -> float:
    """The return; 0 where there was nothing to earn it on."""
    return level / before - 1.0 if before > 0.0 else 0.0


change_of = njit(**_JIT, forceinline=True)(_change)


def _changes(level: Float64Array, row_return: Float64Array) -> None:
    """The return of each row, from the levels of a block that is not merged."""
    for row in range(len(row_return)):
        row_return[row] = change_of(level[row + 2], level[row + 1])


changes = njit(**_JIT)(_changes)


def _merge(times: Int64Array, since: int, rows: int, level: Float64Array, held: Float64Array) -> int:
    """Keep the last level of each instant: the levels from 1 on. Gives how many instants are over by the last row."""
    place = 1
    for row in range(rows):
        place += int(times[row] > since)
        since = times[row]
        level[place] = level[row + 2]
        held[place] = held[row + 2]
    return place - 1


merge = njit(**_JIT)(_merge)


def _lowest(level: Float64Array, rows: int) -> float:
    """The lowest level before each row; an equity that is not above zero counts within an instant, too."""
    found = level[1]
    for row in range(2, rows + 1):
        found = min(found, level[row])
    return found


lowest_of = njit(**_JIT)(_lowest)


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


spread = njit(**_JIT)(_spread)


def _extremes(
    space: int, work: Float64Array, bits: Int64Array, rows: int, peak: float, trough: float
) -> tuple[float, float]:
    """Peak and trough (the lowest share of its peak that a level fell to) after the levels 1 to `rows`.

    Doubles above zero are in the order of their bits, and whole numbers are compared many at once. Row by row
    only where a block holds a new peak and may hold a new trough.
    """
    if rows == 0:
        return peak, trough
    level, bit, number = work[space], bits[space], work[_NUMBER]
    highest = bit[1]
    lowest = bit[1]
    for row in range(1, rows + 1):
        highest = max(highest, bit[row])
        lowest = min(lowest, bit[row])
    if lowest >= 0:
        bits[_NUMBER, 0] = highest
        bits[_NUMBER, 1] = lowest
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


extremes = njit(**_JIT)(_extremes)


def _figures(
    account: Float64Array, work: Float64Array, bits: Int64Array, rows: int, change: Float64Array, hold: bool
) -> None:
    """Take the instants that are over into the account's figures; those of buy-and-hold, too, if asked to.

    Their levels are 1 to `rows`; level 0 is the one before them, the last one that of the instant that is not over.
    `change` is filled with the returns.
    """
    level, held = work[_LEVEL], work[_HELD]
    distance, square, loss = work[_DISTANCE], work[_SQUARE], work[_LOSS]
    equity_sum = account[at.EQUITY_SUM]
    total, squares, losses = account[at.RETURN_SUM], account[at.RETURN_SQUARES], account[at.DOWNSIDE]
    if hold:
        held_distance, held_square, held_loss = work[_HELD_DISTANCE], work[_HELD_SQUARE], work[_HELD_LOSS]
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
            _HELD, work, bits, rows, account[at.HOLD_PEAK], account[at.HOLD_TROUGH]
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
        _LEVEL, work, bits, rows, account[at.PEAK], account[at.TROUGH]
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


figures = njit(**_JIT)(_figures)


def _fill(column: Any, value: Any) -> None:
    for row in range(len(column)):
        column[row] = value


fill = njit(**_JIT)(_fill)


def _copy(values: Float64Array, column: Float64Array) -> None:
    for row in range(len(column)):
        column[row] = values[row]


copy = njit(**_JIT)(_copy)


def _outcomes(
    actions: Int8Array,
    positions: Float64Array,
    at_next: bool,
    lowest: int,
    row_executed: Int8Array,
    row_outcome: Int8Array,
) -> None:
    """What became of a block's decisions; `row_executed` says it of those that were executed already."""
    for row in range(len(actions)):
        executed = np.int64(row_executed[row])
        idle = HOLD if at_next else left_alone(np.int64(actions[row]), positions[row])
        row_executed[row] = idle if executed == PENDING else executed
    for row in range(len(actions)):
        action = np.int64(actions[row])
        waits = is_trade(action, positions[row], lowest)
        later = PENDING if waits else left_alone(action, positions[row])
        row_outcome[row] = later if at_next else np.int64(row_executed[row])


outcomes = njit(**_JIT)(_outcomes)


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


drawdowns = njit(**_JIT)(_drawdowns)


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


merged_drawdowns = njit(**_JIT)(_merged_drawdowns)


def _waits_for_more(positions: Float64Array, brackets: Float64Array) -> bool:
    """Whether a position has a bracket, or an order that waits says more than its side."""
    found = False
    for symbol in range(len(brackets)):
        found |= positions[symbol, at.WAITING] > 1.0
        for place in range(at.BRACKET_SIZE):
            found |= brackets[symbol, place] != 0.0
    return found


waits_for_more = njit(**_JIT)(_waits_for_more)


def _asks_to_close(actions: Int8Array) -> bool:
    highest = np.int8(0)
    for row in range(len(actions)):
        highest = max(highest, actions[row])
    return bool(highest == CLOSE)


asks_to_close = njit(**_JIT)(_asks_to_close)


def _said(terms: Float64Array, row: int, column: int) -> float:
    """What a signal says, 0 where it says nothing."""
    value = terms[row, column]
    return value if value > 0.0 else 0.0  # noqa: FURB136 - NaN is nothing, too


said = njit(**_JIT, forceinline=True)(_said)


def _reach(price: float, highs: Float64Array, lows: Float64Array, row: int) -> tuple[float, float]:
    """How far the price went up and down to the row's price.

    That alone, where nothing more is known, or where it lies outside of what both say: they are of another price then,
    such as one that is not adjusted. `SignalTerms.reach` says the same of columns.
    """
    high, low = price, price
    if len(highs) > 0 and len(lows) > 0 and (price > highs[row] * ROUNDING or price * ROUNDING < lows[row]):
        return high, low
    if len(highs) > 0 and highs[row] > price:
        high = highs[row]
    if len(lows) > 0 and 0.0 < lows[row] < price:
        low = lows[row]
    return high, low


reach = njit(**_JIT, forceinline=True)(_reach)


def _step(  # noqa: C901, PLR0912, PLR0915 - a row's events in their order
    policy: Float64Array,
    account: Float64Array,
    position: Float64Array,
    bracket: Float64Array,
    terms: Float64Array,
    row: int,
    action: int,
    named: bool,
    price: float,
    high: float,
    low: float,
    stamp: int,
    rest: float,
    cover: float,
    now: int,
    since: int,
) -> tuple[int, int, int, float, float, float, int]:
    """One row: it meets the bracket of what is held, executes its order, then sets or follows the bracket.

    `named` says whether the signal named this action itself, so that its stop and target belong to it; `now` is the
    latest instant, `since` when exposure was last counted. Gives outcome, what was executed, what the bracket closed
    and at which price, the price of the last fill (NaN without one), all fees, and when exposure was counted.
    """
    at_next = policy[_NEXT] != 0.0
    shorts = policy[_SHORTS] != 0.0
    lowest = -2 if shorts else 0
    cash, quantity, basis = account[at.CASH], position[at.QUANTITY], position[at.BASIS]

    # The bracket.
    fees = 0.0
    last_price = np.nan
    exit_price = 0.0
    closed_by = 0
    if quantity != 0.0:
        closed_by, at_price = crossed(quantity, price, high, low, np.float64(stamp), bracket)
        if closed_by != 0:
            before = quantity
            out = -1 if before > 0.0 else 1
            cash, quantity, basis, _, exit_price, fee, notional, profit = execute(
                out, at_price, cash, quantity, basis, rest, cover, 0.0, False, policy
            )
            account[at.EXPOSED_US] += now - since
            since = now
            book(account, before, quantity, fee, notional, profit)
            bracket[: at.NEXT_SIZE] = 0.0
            last_price = exit_price
            fees = fee

    # The order.
    doubted = action != 0 and len(terms) > 0 and terms[row, CONFIDENCE] < policy[_MIN_CONFIDENCE]
    if doubted:
        action = 0
    size, stop, target, trail, expires = 0.0, 0.0, 0.0, 0.0, 0.0
    if len(terms) > 0:
        size, trail, expires = (
            said(terms, row, SIZE),
            said(terms, row, TRAILING) / 10_000.0,
            said(terms, row, EXPIRES),
        )
        if named:
            stop, target = said(terms, row, STOP_LOSS), said(terms, row, TAKE_PROFIT)
    order = action
    next_size, next_stop, next_target, next_trail, next_expires = size, stop, target, trail, expires
    if at_next:
        order = np.int64(position[at.WAITING])
        size, stop, target = bracket[at.NEXT_SIZE], bracket[at.NEXT_STOP], bracket[at.NEXT_TARGET]
        trail, expires = bracket[at.NEXT_TRAIL], bracket[at.NEXT_EXPIRES]
    side = np.int64(quantity > 0.0) - np.int64(quantity < 0.0)
    closing = order == CLOSE
    if closing:
        order = -side
    opened = False
    if at_next and stamp >= expires > 0.0:
        executed = EXPIRED
    elif closing and side == 0:
        executed = NOTHING_TO_CLOSE
    elif is_trade(order, quantity, lowest):
        before = quantity
        cash, quantity, basis, executed, fill_price, fee, notional, profit = execute(
            order, price, cash, quantity, basis, rest, cover, size if size > 0.0 else policy[_WEIGHT],
            (order > 0 or shorts) and not closing, policy,
        )  # fmt: skip
        if quantity != before:
            if account[at.OPEN] != 0.0:
                account[at.EXPOSED_US] += now - since
            since = now
            book(account, before, quantity, fee, notional, profit)
            last_price = fill_price
            fees += fee
            opened = quantity != 0.0
            bracket[: at.NEXT_SIZE] = 0.0
    else:
        executed = left_alone(order, quantity)
    if opened:
        guard(quantity, price, stop, target, trail, expires, policy, bracket)
    elif quantity != 0.0:
        follow(quantity, high, low, bracket)

    # What waits for the next row.
    outcome = executed
    if at_next:
        side = np.int64(quantity > 0.0) - np.int64(quantity < 0.0)
        waits = side != 0 if action == CLOSE else is_trade(action, quantity, lowest)
        if waits:
            outcome = PENDING
        elif action == CLOSE:
            outcome = NOTHING_TO_CLOSE
        else:
            outcome = left_alone(action, quantity)
        position[at.WAITING] = np.float64(action) if waits else 0.0
        bracket[at.NEXT_SIZE :] = 0.0
        if waits:
            bracket[at.NEXT_SIZE], bracket[at.NEXT_STOP], bracket[at.NEXT_TARGET] = (
                next_size,
                next_stop,
                next_target,
            )
            bracket[at.NEXT_TRAIL], bracket[at.NEXT_EXPIRES] = next_trail, next_expires
    if doubted:
        outcome = LOW_CONFIDENCE
        if not at_next:
            executed = LOW_CONFIDENCE

    account[at.CASH] = cash
    position[at.QUANTITY] = quantity
    position[at.BASIS] = basis
    position[at.PRICE] = price
    position[at.STAMP] = np.float64(stamp)
    return outcome, executed, closed_by, exit_price, last_price, fees, since


step = njit(**_JIT)(_step)


def _passes(
    position: Float64Array, bracket: Float64Array, price: float, high: float, low: float, stamp: int
) -> bool:
    """Whether a row without an action leaves all as it is; the best price goes along then. What `step` would do."""
    if position[at.WAITING] != 0.0:
        return False
    quantity = position[at.QUANTITY]
    if quantity != 0.0:
        met, _ = crossed(quantity, price, high, low, np.float64(stamp), bracket)
        if met != 0:
            return False
        follow(quantity, high, low, bracket)
    return True


passes = njit(**_JIT, forceinline=True)(_passes)


def _orders(
    policy: Float64Array,
    account: Float64Array,
    positions: Float64Array,
    brackets: Float64Array,
    stamps: Int64Array,
    symbols: Int32Array,
    actions: Int8Array,
    prices: Float64Array,
    terms: Float64Array,
    highs: Float64Array,
    lows: Float64Array,
    row_outcome: Int8Array,
    row_executed: Int8Array,
    row_closed: Int8Array,
    row_quantity: Float64Array,
    row_price: Float64Array,
    row_fee: Float64Array,
    row_exit: Float64Array,
    begin: int,
    end: int,
    since: int,
    work: Float64Array,
) -> tuple[int, int]:
    """The trades of a block in which brackets, sizes, confidences or CLOSE count: row by row.

    Gives where the block ends (before the first row of a symbol that is new), and when exposure was last counted.
    """
    count = len(positions)
    shown = len(row_outcome) > 0
    level, held = work[_LEVEL], work[_HELD]
    cash_after, quantity_after, realised_after = work[_CASH], work[_QUANTITY], work[_REALISED]
    times = work.view(np.int64)[_TIME]
    for row in range(begin, end):
        place = row - begin
        symbol = np.int64(symbols[row])
        position, bracket = positions[symbol], brackets[symbol]
        if place > 0 and position[at.PRICE] == 0.0:
            end = row
            break
        price = prices[row]
        high, low = reach(price, highs, lows, row)
        rest = 0.0
        cover = 0.0
        hold_rest = 0.0
        for other in range(count):
            if other != symbol:
                value = positions[other, at.QUANTITY] * positions[other, at.PRICE]
                rest += value
                cover -= min(value, 0.0)
                hold_rest += positions[other, at.UNITS] * positions[other, at.PRICE]
        cover *= 2.0

        first = position[at.QUANTITY]
        outcome, executed, closed_by = HOLD, HOLD, 0
        exit_price, last_price, fees = 0.0, np.nan, 0.0
        if actions[row] == 0 and passes(position, bracket, price, high, low, stamps[row]):
            position[at.PRICE] = price
            position[at.STAMP] = np.float64(stamps[row])
        else:
            outcome, executed, closed_by, exit_price, last_price, fees, since = step(
                policy, account, position, bracket, terms, row, np.int64(actions[row]), True, price, high, low,
                stamps[row], rest, cover, times[place], since,
            )  # fmt: skip
        cash, quantity = account[at.CASH], position[at.QUANTITY]
        cash_after[place] = cash
        quantity_after[place] = quantity
        realised_after[place] = account[at.REALISED]
        if count > 1:
            level[place + 2] = cash + (rest + quantity * price)
            held[place + 2] = hold_rest + position[at.UNITS] * price
        if shown:
            row_outcome[row] = outcome
            row_executed[row] = executed
            row_closed[row] = closed_by
            row_quantity[row] = quantity - first
            row_price[row] = last_price
            row_fee[row] = fees
            row_exit[row] = exit_price
    return end, since


orders = njit(**_JIT)(_orders)


def _advance(  # noqa: C901, PLR0912, PLR0915 - the order of the passes, and the trades in between
    policy: Float64Array,
    account: Float64Array,
    positions: Float64Array,
    brackets: Float64Array,
    stamps: Int64Array,
    symbols: Int32Array,
    actions: Int8Array,
    prices: Float64Array,
    terms: Float64Array,
    highs: Float64Array,
    lows: Float64Array,
    row_outcome: Int8Array,
    row_executed: Int8Array,
    row_closed: Int8Array,
    row_quantity: Float64Array,
    row_price: Float64Array,
    row_fee: Float64Array,
    row_cash: Float64Array,
    row_position: Float64Array,
    row_equity: Float64Array,
    row_return: Float64Array,
    row_realised: Float64Array,
    row_drawdown: Float64Array,
    row_exit: Float64Array,
    accounts: Float64Array,
    work: Float64Array,
    hold: bool,
) -> int:
    """Take the rows in; the `row_*` and `accounts` are filled when they are not empty.

    `terms`, `highs` and `lows` have a row each, or none at all where nothing is known. `work` is a `workspace`; under
    `hold` the figures of buy-and-hold are kept, too. Gives -1, or the
    first row that cannot be taken in: nothing has changed then if it is one of the first `CHECKED`, else some
    rows before it have been taken in.
    """
    rows = len(stamps)
    count = len(positions)
    single = count == 1
    shown = len(row_outcome) > 0
    record = len(accounts) > 0
    at_next = policy[_NEXT] != 0.0
    shorts = policy[_SHORTS] != 0.0
    lowest = -2 if shorts else 0
    floor = -1 if shorts else 0

    bits = work.view(np.int64)
    level, held, change = work[_LEVEL], work[_HELD], work[_CHANGE]
    cash_after, quantity_after, realised_after = work[_CASH], work[_QUANTITY], work[_REALISED]
    times, visits = bits[_TIME], bits[_VISIT]
    size = 1 if record else work.shape[1] - _APART
    doubled: Any = np.int64(1)
    checked: Any = np.int64(0)
    sure = True
    bracketed = len(terms) > 0 or policy[_STOP] > 0.0 or policy[_TAKE] > 0.0 or policy[_TRAIL] > 0.0
    live = bracketed or waits_for_more(positions, brackets)
    begin: Any = np.int64(0)
    while begin < rows:
        if begin == checked:
            checked = min(begin + CHECKED, rows)
            bad = refused(
                stamps[begin:checked], symbols[begin:checked], actions[begin:checked],
                prices[begin:checked], count,
            )  # fmt: skip
            if bad >= 0:
                return int(begin + bad)
        # So few rows that the number of periods doubles with the last one, if it does.
        periods = np.int64(account[at.PERIODS])
        while doubled <= periods:
            doubled *= 2
        end = min(begin + size, checked, begin + doubled - periods)
        symbol = np.int64(symbols[begin])
        if positions[symbol, at.PRICE] == 0.0:
            join(account, positions, symbol, stamps[begin], prices[begin])
        level[0], level[1] = account[at.BEFORE], account[at.EQUITY]
        held[0], held[1] = account[at.HOLD_BEFORE], account[at.HOLD_VALUE]

        cash = account[at.CASH]
        quantity = positions[0, at.QUANTITY]
        basis = positions[0, at.BASIS]
        waiting: Any = np.int64(positions[0, at.WAITING])
        latest = np.int64(account[at.LAST_US])
        since = latest
        apart = clock(stamps[begin:end], latest, times)
        if shown:
            fetch(row_cash, end + AHEAD, BLOCK)
            fetch(row_position, end + AHEAD, BLOCK)

        careful = live or asks_to_close(actions[begin:end])
        every = not (single and sure)
        sure = True
        if careful:
            visited = np.int64(0)
            end, since = orders(
                policy, account, positions, brackets, stamps, symbols, actions, prices, terms, highs, lows,
                row_outcome, row_executed, row_closed, row_quantity, row_price, row_fee, row_exit, begin, end, since,
                work,
            )  # fmt: skip
            cash = account[at.CASH]
            live = bracketed or waits_for_more(positions, brackets)
        elif every:
            visited = end - begin
            for place in range(visited):
                visits[place] = place
        else:
            side = np.int64(quantity > 0.0) - np.int64(quantity < 0.0)
            if at_next:
                visited = np.int64(0)
                if is_trade(waiting, quantity, lowest):
                    side = max(waiting, floor)
                    visits[0] = 0
                    visited += 1
                visited = plan(actions[begin : end - 1], 1, side, floor, visited, visits)
            else:
                visited = plan(actions[begin:end], 0, side, floor, 0, visits)
            visits[visited] = end - begin
            stretch(cash_after, 0, visits[0], cash)
            stretch(quantity_after, 0, visits[0], quantity)
            if shown:
                stretch(realised_after, 0, visits[0], account[at.REALISED])

        if shown and not careful:
            fill(row_executed[begin:end], PENDING)
            fill(row_quantity[begin:end], 0.0)
            fill(row_price[begin:end], np.nan)
            fill(row_fee[begin:end], 0.0)
        rest = 0.0
        cover = 0.0
        for visit in range(visited):
            place = visits[visit]
            row = begin + place
            price = prices[row]
            action = np.int64(actions[row])
            if single:
                order = action
                if at_next:
                    order = np.int64(actions[row - 1]) if place > 0 else waiting
            else:
                symbol = np.int64(symbols[row])
                if place > 0 and positions[symbol, at.PRICE] == 0.0:
                    end = row
                    break
                quantity = positions[symbol, at.QUANTITY]
                basis = positions[symbol, at.BASIS]
                waiting = np.int64(positions[symbol, at.WAITING])
                order = waiting if at_next else action
                rest = 0.0
                cover = 0.0
                hold_rest = 0.0
                for other in range(count):
                    if other != symbol:
                        value = positions[other, at.QUANTITY] * positions[other, at.PRICE]
                        rest += value
                        cover -= min(value, 0.0)
                        hold_rest += positions[other, at.UNITS] * positions[other, at.PRICE]
                cover *= 2.0

            before = quantity
            if is_trade(order, before, lowest):
                cash, quantity, basis, executed, fill_price, fee, notional, profit = execute(
                    order,
                    price,
                    cash,
                    quantity,
                    basis,
                    rest,
                    cover,
                    policy[_WEIGHT],
                    order > 0 or shorts,
                    policy,
                )
                filled = quantity - before
                if filled != 0.0:
                    if account[at.OPEN] != 0.0:
                        account[at.EXPOSED_US] += times[place] - since
                    since = times[place]
                    book(account, before, quantity, fee, notional, profit)
                    if shown:
                        row_quantity[row] = filled
                        row_price[row] = fill_price
                        row_fee[row] = fee
                if shown:
                    row_executed[row] = executed

            if every:
                cash_after[place] = cash
                quantity_after[place] = quantity
                realised_after[place] = account[at.REALISED]
            else:
                after = visits[visit + 1]
                stretch(cash_after, place, after, cash)
                stretch(quantity_after, place, after, quantity)
                if shown:
                    stretch(realised_after, place, after, account[at.REALISED])
                planned = order > 0 or shorts
                if planned != (quantity != 0.0):
                    sure = False
                    end = row + 1
                    break
            if not single:
                if at_next:
                    waiting = action if is_trade(action, quantity, lowest) else np.int64(0)
                level[place + 2] = cash + (rest + quantity * price)
                held[place + 2] = hold_rest + positions[symbol, at.UNITS] * price
                positions[symbol, at.QUANTITY] = quantity
                positions[symbol, at.BASIS] = basis
                positions[symbol, at.PRICE] = price
                positions[symbol, at.STAMP] = stamps[row]
                positions[symbol, at.WAITING] = waiting

        taken = end - begin
        if shown:
            fetch(row_realised, end + AHEAD, BLOCK)
            fetch(row_equity, end + AHEAD, BLOCK)
        if single:
            mark(prices[begin:end], positions[0, at.UNITS], work)
        if single and not careful:
            if at_next:
                action = np.int64(actions[end - 1])
                waiting = action if is_trade(action, quantity, lowest) else np.int64(0)
            positions[0, at.QUANTITY] = quantity
            positions[0, at.BASIS] = basis
            positions[0, at.PRICE] = prices[end - 1]
            positions[0, at.STAMP] = stamps[end - 1]
            positions[0, at.WAITING] = waiting
        account[at.CASH] = cash
        if account[at.OPEN] != 0.0:
            account[at.EXPOSED_US] += times[taken - 1] - since
        account[at.LAST_US] = times[taken - 1]
        account[at.SIGNALS] += taken
        account[at.LAST_RETURN] = change_of(level[taken + 1], level[taken])
        peak = account[at.PEAK]
        equity = account[at.EQUITY]
        if shown:
            fetch(row_return, end + AHEAD, BLOCK)
            fetch(row_drawdown, end + AHEAD, BLOCK)
            copy(level[2 : taken + 2], row_equity[begin:end])
        over: Any = taken
        if not apart:
            if shown:
                changes(level, row_return[begin:end])
                merged_drawdowns(row_equity[begin:end], times, latest, equity, peak, row_drawdown[begin:end])
            if lowest_of(level, taken) <= 0.0:
                account[at.TROUGH] = min(account[at.TROUGH], 0.0)
            over = merge(times, latest, taken, level, held)
        figures(account, work, bits, over, change, hold)

        if shown:
            fetch(row_quantity, end + AHEAD, BLOCK)
            fetch(row_price, end + AHEAD, BLOCK)
            fetch(row_fee, end + AHEAD, BLOCK)
            copy(cash_after, row_cash[begin:end])
            copy(quantity_after, row_position[begin:end])
            copy(realised_after, row_realised[begin:end])
            if not careful:
                outcomes(
                    actions[begin:end], row_position[begin:end], at_next, lowest,
                    row_executed[begin:end], row_outcome[begin:end],
                )  # fmt: skip
            if apart:
                copy(change[1:taken], row_return[begin : end - 1])
                row_return[end - 1] = account[at.LAST_RETURN]
                drawdowns(
                    row_equity[begin:end], max(peak, equity), max(account[at.PEAK], account[at.EQUITY]),
                    work[_DISTANCE], row_drawdown[begin:end],
                )  # fmt: skip
        if record or end == rows:
            unrealised = 0.0
            for other in range(count):
                unrealised += (
                    positions[other, at.QUANTITY] * positions[other, at.PRICE] - positions[other, at.BASIS]
                )
            account[at.UNREALISED] = unrealised
        if record:
            for index in range(len(account)):
                accounts[begin, index] = account[index]
        begin = end
    return -1


# One signature, compiled once: inputs may be read-only (they often lie in a file or in Arrow's memory).
_FLOATS = types.Array(types.float64, 1, "C")
_TABLE = types.Array(types.float64, 2, "C")
_CODES = types.Array(types.int8, 1, "C")


def _input(kind: Any, dimensions: int = 1) -> Any:
    return types.Array(kind, dimensions, "C", readonly=True)


_SIGNATURE = (
    _FLOATS, _FLOATS, _TABLE, _TABLE, _input(types.int64), _input(types.int32), _input(types.int8),
    _input(types.float64), _input(types.float64, 2), _input(types.float64), _input(types.float64), _CODES, _CODES,
    _CODES, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _TABLE,
    _TABLE, types.boolean,
)  # fmt: skip

advance = njit(**_JIT)(_advance)
advance.compile(_SIGNATURE)
advance.disable_compile()
