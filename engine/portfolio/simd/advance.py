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
from raysignal.engine.portfolio.kernel import execute, is_trade
from raysignal.engine.portfolio.simd import marching as to
from raysignal.engine.portfolio.simd.marching import march

# numba takes machine code from its cache until this very file changes, whatever happens to those that it imports. So
# count this up with every change to `execute` or `is_trade`: 2.

BLOCK = 512  # rows that are gone through at once; as many trades as a configuration can have in them

QUANTITY, BASIS, WAITING, SINCE = range(4)
"""The columns of what is held, float64[configurations, HELD]: `SINCE` is when the account was last looked at."""

HELD = 4
_FEE, _GROSS, _ABOVE, _BELOW, _WEIGHT, _SHORTS, _NEXT = range(7)
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
        order, price, account[at.CASH], before, held[BASIS], 0.0, 0.0, policy
    )
    if quantity_after != before:
        if account[at.OPEN] != 0.0:
            account[at.EXPOSED_US] += stamp - held[SINCE]
        held[SINCE] = stamp
        account[at.TRADES] += 1.0
        account[at.FEES] += fee
        account[at.NOTIONAL] += notional
        account[at.OPEN] += np.float64(quantity_after != 0.0) - np.float64(before != 0.0)
        if before != 0.0:
            account[at.CLOSED] += 1.0
            account[at.REALISED] += profit
            account[at.WINS] += np.float64(profit > 0.0)
            account[at.GROSS_PROFIT] += max(profit, 0.0)
            account[at.GROSS_LOSS] -= min(profit, 0.0)
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
    lowest = -2 if policy[_SHORTS] != 0.0 else 0
    at_next = policy[_NEXT] != 0.0
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
    prices: Float64Array, signals: int,
) -> None:  # fmt: skip
    """Take rows in, before which there were `signals` of them. All of them but the last are over.

    Args: `policies` float64[k, 7], `accounts` float64[k, ACCOUNT_SIZE], `held` float64[k, HELD], `states`
    float64[groups, ROWS, LANES], `actions` int8[k, n].
    """
    counts, done = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    rows = np.zeros((LANES, BLOCK + 1), np.int64)
    cash, quantity = np.zeros((LANES, BLOCK + 1)), np.zeros((LANES, BLOCK + 1))
    n, k = len(prices), len(policies)
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
        types.Array(types.int8, 2, "C"), _input(types.float64), types.int64,
    )
)  # fmt: skip
advance.disable_compile()
