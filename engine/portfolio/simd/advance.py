"""The compiled loop behind `engine.portfolio.sweep`: many policies and actions over the prices of one symbol.

Groups of eight configurations go through the rows together (`engine.portfolio.simd.marching`). Where one of them
trades, the rest wait: its money moves by the kernel's own `execute`, one after the other, and then all eight go on to
the next trade of any of them. Trades are found by words of eight actions, since most say nothing.

What every configuration shares (checks, clock, buy-and-hold) is not done here.
"""

from typing import Any

import numpy as np
from numba import njit, types

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.simd import ACTIONS, LANES, lowest_bit, told
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio import policy_columns as by
from raysignal.engine.portfolio.fills import book, crossed, execute, follow, is_trade, reach, step
from raysignal.engine.portfolio.simd import marching as to
from raysignal.engine.portfolio.simd.marching import march

# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): 86aaa62d.

BLOCK = 512  # rows that are gone through at once; as many trades as a configuration can have in them

QUANTITY, BASIS, WAITING, SINCE = at.QUANTITY, at.BASIS, at.WAITING, at.UNITS
"""The columns of what is held, float64[configurations, HELD]: a position as in `engine.portfolio.account`, and its
bracket behind it. Buy-and-hold is shared, so the place of its units says when the account was last looked at."""

HELD = at.POSITION_SIZE + at.BRACKET_SIZE
SPAN = 16  # rows of which the highest and the lowest price are known together
_SILENT, _ONE = np.uint64(0), np.uint64(1)
_JIT: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def _trade(
    order: int, place: int, price: float, stamp: int, policy: Float64Array, account: Float64Array, held: Float64Array,
    lowest: int, rows: Int64Array, cash: Float64Array, quantity: Float64Array, count: int,
) -> int:  # fmt: skip
    """Execute an order if it changes a side, and note it; how many have been noted."""
    before = held[QUANTITY]
    if not is_trade(order, before, lowest):
        return count
    cash_after, quantity_after, basis, _, _, fee, notional, profit = execute(
        order, price, account[at.CASH], before, held[BASIS], 0.0, 0.0, policy[by.WEIGHT],
        order > 0 or policy[by.SHORTS] != 0.0, policy,
    )  # fmt: skip
    if quantity_after != before:
        if account[at.OPEN] != 0.0:
            account[at.EXPOSED_US] += stamp - held[SINCE]
        held[SINCE] = stamp
        book(account, before, quantity_after, fee, notional, profit)
    account[at.CASH] = cash_after
    held[QUANTITY] = quantity_after
    held[BASIS] = basis
    rows[count] = place
    cash[count] = cash_after
    quantity[count] = quantity_after
    return count + 1


trade = njit(**_JIT)(_trade)


def _trades(
    begin: int, end: int, policy: Float64Array, account: Float64Array, held: Float64Array, stamps: Int64Array,
    actions: Any, prices: Float64Array, rows: Int64Array, cash: Float64Array, quantity: Float64Array,
) -> int:  # fmt: skip
    """The trades of one configuration in rows `begin` to `end`: row, cash and quantity after it; their number."""
    lowest = -2 if policy[by.SHORTS] != 0.0 else 0
    at_next = policy[by.NEXT] != 0.0
    count = 0
    if at_next and held[WAITING] != 0.0:
        order = np.int64(held[WAITING])
        held[WAITING] = 0.0
        count = trade(
            order,
            begin,
            prices[begin],
            stamps[begin],
            policy,
            account,
            held,
            lowest,
            rows,
            cash,
            quantity,
            count,
        )
    row = begin
    while row < end:
        if row + ACTIONS <= end:
            bits = told(actions, row)
        else:
            bits = _SILENT
            for place in range(row, end):
                bits |= np.uint64(actions[place] != 0) << np.uint64(place - row)
        while bits != _SILENT:
            place = row + lowest_bit(bits)
            bits &= bits - _ONE
            order = np.int64(actions[place])
            if not at_next:
                count = trade(
                    order, place, prices[place], stamps[place], policy, account, held, lowest, rows, cash, quantity,
                    count,
                )  # fmt: skip
            elif place + 1 < end:
                count = trade(
                    order, place + 1, prices[place + 1], stamps[place + 1], policy, account, held, lowest, rows, cash,
                    quantity, count,
                )  # fmt: skip
            elif is_trade(order, held[QUANTITY], lowest):
                held[WAITING] = np.float64(order)
        row += ACTIONS
    return count


trades = njit(**_JIT)(_trades)


def _next_action(actions: Any, row: int, end: int) -> int:
    """The first row from `row` on that is not HOLD, or `end`."""
    while row + ACTIONS <= end:
        bits = told(actions, row)
        if bits != _SILENT:
            return int(row + lowest_bit(bits))
        row += ACTIONS
    while row < end and actions[row] == 0:
        row += 1
    return row


next_action = njit(**_JIT)(_next_action)


def _quiet(
    position: Float64Array, bracket: Float64Array, stamps: Int64Array, prices: Float64Array, high: Float64Array,
    low: Float64Array, tops: Float64Array, bottoms: Float64Array, row: int, until: int,
) -> int:  # fmt: skip
    """The first row from `row` on that meets the bracket of what is held, or `until`; the best price goes along.

    Whole spans are passed where even their extremes, taken as one row after a new best price, meet nothing.
    """
    quantity = position[QUANTITY]
    if quantity == 0.0:
        return until
    while row < until:
        if row % SPAN == 0 and row + SPAN <= until:
            span = row // SPAN
            top, bottom, best = tops[span], bottoms[span], bracket[at.BEST]
            follow(quantity, top, bottom, bracket)
            met, _ = crossed(quantity, prices[row], top, bottom, np.float64(stamps[row + SPAN - 1]), bracket)
            if met == 0:
                row += SPAN
                continue
            bracket[at.BEST] = best
            for place in range(row, row + SPAN):
                met, _ = crossed(
                    quantity, prices[place], high[place], low[place], np.float64(stamps[place]), bracket
                )
                if met != 0:
                    return place
                follow(quantity, high[place], low[place], bracket)
            row += SPAN
            continue
        met, _ = crossed(quantity, prices[row], high[row], low[row], np.float64(stamps[row]), bracket)
        if met != 0:
            return row
        follow(quantity, high[row], low[row], bracket)
        row += 1
    return until


quiet = njit(**_JIT)(_quiet)


def _guarded_trades(
    begin: int, end: int, policy: Float64Array, account: Float64Array, held: Float64Array, stamps: Int64Array,
    actions: Any, named: Any, prices: Float64Array, terms: Float64Array, high: Float64Array, low: Float64Array,
    tops: Float64Array, bottoms: Float64Array, rows: Int64Array, cash: Float64Array, quantity: Float64Array,
) -> int:  # fmt: skip
    """As `_trades`, where positions have brackets or signals say more than their side: the kernel's own `step`."""
    position, bracket = held[: at.POSITION_SIZE], held[at.POSITION_SIZE :]
    count = 0
    row = begin
    while row < end:
        if actions[row] == 0 and position[WAITING] == 0.0:
            until = next_action(actions, row, end)
            row = quiet(position, bracket, stamps, prices, high, low, tops, bottoms, row, until)
            if row == end:
                break
        before = position[QUANTITY]
        action = np.int64(actions[row])
        since = position[SINCE]
        _, _, closed_by, _, _, _, after = step(
            policy, account, position, bracket, terms, row, action, len(named) == 0 or action == named[row],
            prices[row], high[row], low[row], stamps[row], 0.0, 0.0, stamps[row], np.int64(since),
        )  # fmt: skip
        position[SINCE] = np.float64(after)
        if closed_by != 0 or position[QUANTITY] != before:
            rows[count] = row
            cash[count] = account[at.CASH]
            quantity[count] = position[QUANTITY]
            count += 1
        row += 1
    return count


guarded_trades = njit(**_JIT)(_guarded_trades)


def _go(
    state: Any,
    prices: Float64Array,
    begin: int,
    end: int,
    counts: Any,
    rows: Any,
    cash: Any,
    quantity: Any,
    done: Any,
) -> None:
    """Eight accounts through rows `begin` to `end`, with the trades that were noted for each."""
    for lane in range(LANES):
        done[lane] = 0
    row = begin
    while row < end:
        until = end
        for lane in range(LANES):
            place = done[lane]
            if place < counts[lane]:
                if rows[lane, place] == row:
                    state[to.CASH, lane] = cash[lane, place]
                    state[to.QUANTITY, lane] = quantity[lane, place]
                    place += 1
                    done[lane] = place
                    if place < counts[lane]:
                        until = min(until, rows[lane, place])
                else:
                    until = min(until, rows[lane, place])
        march(state, prices, row, until)
        row = until


go = njit(**_JIT)(_go)


def _anchor(state: Any, periods: float) -> None:
    """The number of rows that are over has doubled: from here on, distances are measured from the mean so far."""
    for lane in range(LANES):
        mean = state[to.TOTAL, lane] / periods
        state[to.SQUARES, lane] -= state[to.TOTAL, lane] * mean
        state[to.ANCHOR, lane] += mean
        state[to.TOTAL, lane] = 0.0


anchor = njit(**_JIT)(_anchor)


def _advance(
    policies: Float64Array, accounts: Float64Array, held: Float64Array, states: Any, stamps: Int64Array, actions: Any,
    prices: Float64Array, named: Any, terms: Float64Array, highs: Float64Array, lows: Float64Array, signals: int,
) -> None:  # fmt: skip
    """Take rows in, before which there were `signals` of them. All of them but the last are over.

    Args: `policies` float64[k, POLICY_SIZE], `accounts` float64[k, ACCOUNT_SIZE], `held` float64[k, HELD], `states`
    float64[groups, ROWS, LANES], `actions` int8[k, n]. `named` int8[n] are the signals where actions come from them
    and they may say more than their side, `terms` what they say; `highs` and `lows` the ranges of the rows. Each of
    these four has n rows, or none.
    """
    counts, done = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    rows = np.zeros((LANES, BLOCK + 1), np.int64)
    cash, quantity = np.zeros((LANES, BLOCK + 1)), np.zeros((LANES, BLOCK + 1))
    n, k = len(prices), len(policies)
    bracketed = np.zeros(k, np.bool_)
    for one in range(k):
        levels = policies[one, by.STOP] > 0.0 or policies[one, by.TAKE] > 0.0 or policies[one, by.TRAIL] > 0.0
        bracketed[one] = levels or len(named) > 0
    some = bracketed.any()
    high, low = np.empty(n if some else 0), np.empty(n if some else 0)
    tops, bottoms = np.empty(len(high) // SPAN), np.empty(len(high) // SPAN)
    for row in range(len(high)):
        high[row], low[row] = reach(prices[row], highs, lows, row)
    for span in range(len(tops)):
        tops[span] = high[span * SPAN : span * SPAN + SPAN].max()
        bottoms[span] = low[span * SPAN : span * SPAN + SPAN].min()
    for group in range(len(states)):
        state = states[group]
        first = group * LANES
        begin = 0
        over = signals - 1
        doubled = 1
        while doubled <= over:
            doubled *= 2
        while begin < n:
            end = min(begin + BLOCK, n, doubled - over)
            for lane in range(min(LANES, k - first)):
                one = first + lane
                if bracketed[one]:
                    counts[lane] = guarded_trades(
                        begin, end, policies[one], accounts[one], held[one], stamps, actions[one], named, prices, terms,
                        high, low, tops, bottoms, rows[lane], cash[lane], quantity[lane],
                    )  # fmt: skip
                else:
                    counts[lane] = trades(
                        begin, end, policies[one], accounts[one], held[one], stamps, actions[one], prices, rows[lane],
                        cash[lane], quantity[lane],
                    )  # fmt: skip
            go(state, prices, begin, end, counts, rows, cash, quantity, done)
            if over + end == doubled:
                anchor(state, np.float64(doubled))
                doubled *= 2
            begin = end


def _input(kind: Any, dimensions: int = 1) -> Any:
    return types.Array(kind, dimensions, "C", readonly=True)


_TABLE = types.Array(types.float64, 2, "C")
advance = njit(**_JIT)(_advance)
advance.compile(
    (
        _TABLE, _TABLE, _TABLE, types.Array(types.float64, 3, "C"), _input(types.int64),
        types.Array(types.int8, 2, "C"), _input(types.float64), _input(types.int8), _input(types.float64, 2),
        _input(types.float64), _input(types.float64), types.int64,
    )
)  # fmt: skip
advance.disable_compile()
