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
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio import block_figures as block
from raysignal.engine.portfolio import policy_columns as by
from raysignal.engine.portfolio.account import LATEST_US
from raysignal.engine.portfolio.fills import (
    CLOSE,
    HOLD,
    JIT,
    PENDING,
    asks_to_close,
    book,
    execute,
    is_trade,
    left_alone,
    passes,
    reach,
    step,
    waits_for_more,
)
from raysignal.engine.portfolio.simd.cache_lines import fetch

# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): 76f6d91a.

BLOCK = 192  # rows; what their passes need fits into the first-level cache
AHEAD = 96  # rows between the end of a block and those that are asked for while it is worked on
CHECKED = 4096  # rows that are looked at before they are taken in; few enough to be still at hand then


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


refused = njit(**JIT)(_refused)


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


join = njit(**JIT)(_join)


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


clock = njit(**JIT)(_clock)


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


plan = njit(**JIT)(_plan)


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


outcomes = njit(**JIT)(_outcomes)


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
    level, held = work[block.LEVEL], work[block.HELD]
    cash_after, quantity_after, realised_after = work[block.CASH], work[block.QUANTITY], work[block.REALISED]
    times = work.view(np.int64)[block.TIME]
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


orders = njit(**JIT)(_orders)


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
    at_next = policy[by.NEXT] != 0.0
    shorts = policy[by.SHORTS] != 0.0
    lowest = -2 if shorts else 0
    floor = -1 if shorts else 0

    bits = work.view(np.int64)
    level, held, change = work[block.LEVEL], work[block.HELD], work[block.CHANGE]
    cash_after, quantity_after, realised_after = work[block.CASH], work[block.QUANTITY], work[block.REALISED]
    times, visits = bits[block.TIME], bits[block.VISIT]
    size = 1 if record else work.shape[1] - block.APART
    doubled: Any = np.int64(1)
    checked: Any = np.int64(0)
    sure = True
    bracketed = len(terms) > 0 or policy[by.STOP] > 0.0 or policy[by.TAKE] > 0.0 or policy[by.TRAIL] > 0.0
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
            block.stretch(cash_after, 0, visits[0], cash)
            block.stretch(quantity_after, 0, visits[0], quantity)
            if shown:
                block.stretch(realised_after, 0, visits[0], account[at.REALISED])

        if shown and not careful:
            block.fill(row_executed[begin:end], PENDING)
            block.fill(row_quantity[begin:end], 0.0)
            block.fill(row_price[begin:end], np.nan)
            block.fill(row_fee[begin:end], 0.0)
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
                    policy[by.WEIGHT],
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
                block.stretch(cash_after, place, after, cash)
                block.stretch(quantity_after, place, after, quantity)
                if shown:
                    block.stretch(realised_after, place, after, account[at.REALISED])
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
            block.mark(prices[begin:end], positions[0, at.UNITS], work)
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
        account[at.LAST_RETURN] = block.change_of(level[taken + 1], level[taken])
        peak = account[at.PEAK]
        equity = account[at.EQUITY]
        if shown:
            fetch(row_return, end + AHEAD, BLOCK)
            fetch(row_drawdown, end + AHEAD, BLOCK)
            block.copy(level[2 : taken + 2], row_equity[begin:end])
        over: Any = taken
        if not apart:
            if shown:
                block.changes(level, row_return[begin:end])
                block.merged_drawdowns(
                    row_equity[begin:end], times, latest, equity, peak, row_drawdown[begin:end]
                )
            if block.lowest_of(level, taken) <= 0.0:
                account[at.TROUGH] = min(account[at.TROUGH], 0.0)
            over = block.merge(times, latest, taken, level, held)
        block.figures(account, work, bits, over, change, hold)

        if shown:
            fetch(row_quantity, end + AHEAD, BLOCK)
            fetch(row_price, end + AHEAD, BLOCK)
            fetch(row_fee, end + AHEAD, BLOCK)
            block.copy(cash_after, row_cash[begin:end])
            block.copy(quantity_after, row_position[begin:end])
            block.copy(realised_after, row_realised[begin:end])
            if not careful:
                outcomes(
                    actions[begin:end], row_position[begin:end], at_next, lowest,
                    row_executed[begin:end], row_outcome[begin:end],
                )  # fmt: skip
            if apart:
                block.copy(change[1:taken], row_return[begin : end - 1])
                row_return[end - 1] = account[at.LAST_RETURN]
                block.drawdowns(
                    row_equity[begin:end], max(peak, equity), max(account[at.PEAK], account[at.EQUITY]),
                    work[block.DISTANCE], row_drawdown[begin:end],
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

advance = njit(**JIT)(_advance)
advance.compile(_SIGNATURE)
advance.disable_compile()
