"""The one place where money moves: an order that is executed, what is counted of it, and what becomes of the others;
and a row by itself, with the bracket of what is held, its order with size, levels and confidence, and what then waits.

Compiled into `engine.portfolio.kernel`, which goes row by row only where signals or the policy say such things, the
sweep and the agent's outcomes.
"""

from typing import Any

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.terms import (
    CONFIDENCE,
    EXPIRES,
    ROUNDING,
    SIZE,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING,
    WIDEST_RANGE,
)
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio import policy_columns as by

# The outcomes as plain integers: an enum would be looked up (engine.core.ledger_rows.Outcome; a test holds them
# together).
(
    HOLD, OPENED, CLOSED_ALL, FLIPPED, HELD, PENDING, NOTHING, NO_CASH, INSOLVENT, CLOSED_ONLY, TOO_LARGE,
    NOTHING_TO_CLOSE, LOW_CONFIDENCE, EXPIRED,
) = range(14)  # fmt: skip

CLOSE = 2  # the action
DUST = 1e-9  # a budget of less than this share of equity opens nothing

# An equity above this opens nothing. Prices lie within a factor of 1e30 (engine.intake.field_rules), so neither what is
# held then nor a sum over all rows is too large for a double.
MOST_EQUITY = 1e250

JIT: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
"""How the kernel is compiled: nothing is allocated there, and counting references costs more than a row."""


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
    fill_price = price * (policy[by.ABOVE] if order > 0 else policy[by.BELOW])
    fee = 0.0
    notional = 0.0
    profit = 0.0
    closed = quantity != 0.0
    if closed:
        value = quantity * fill_price
        notional = abs(value)
        fee = notional * policy[by.FEE]
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
            size = budget / (fill_price * policy[by.GROSS])
            value = size * fill_price
            charge = value * policy[by.FEE]
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


execute = njit(**JIT, forceinline=True)(_execute)


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


book = njit(**JIT, forceinline=True)(_book)


def _is_trade(action: int, quantity: float, lowest: int) -> bool:
    """Whether the action changes the side held; `lowest` is 0 where nothing may go short, else -2.

    Without a branch: on signals that nobody can predict, the processor cannot either.
    """
    side = int(quantity > 0.0) - int(quantity < 0.0)
    return (action != 0) & (action != side) & (action + side >= lowest)


is_trade = njit(**JIT, forceinline=True)(_is_trade)


def _left_alone(action: int, quantity: float) -> int:
    side = int(quantity > 0.0) - int(quantity < 0.0)
    stayed = HELD if action == side else NOTHING
    return HOLD if action == 0 else stayed


left_alone = njit(**JIT, forceinline=True)(_left_alone)


# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): b32e2b8d.

BY_STOP, BY_TARGET, BY_TRAILING, BY_EXPIRY = (
    int(CloseReason.STOP), int(CloseReason.TARGET), int(CloseReason.TRAILING), int(CloseReason.EXPIRY),
)  # fmt: skip


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


crossed = njit(**JIT, forceinline=True)(_crossed)


def _guard(
    quantity: float, price: float, stop: float, target: float, trail: float, expires: float, policy: Float64Array,
    bracket: Float64Array,
) -> None:  # fmt: skip
    """Set the bracket of a position that a row at `price` opened: the order's own levels, else the policy's.

    A level that the price has passed already, as it can between a signal and its fill, is drawn in to the price: a
    stop never earns.
    """
    side = 1.0 if quantity > 0.0 else -1.0
    if stop == 0.0 and policy[by.STOP] > 0.0:
        stop = price * (1.0 - side * policy[by.STOP])
    if target == 0.0 and policy[by.TAKE] > 0.0:
        target = price * (1.0 + side * policy[by.TAKE])
    if trail == 0.0:
        trail = policy[by.TRAIL]
    if stop > 0.0 and side * (stop - price) > 0.0:
        stop = price
    if target > 0.0 and side * (target - price) < 0.0:
        target = price
    bracket[at.STOP] = stop
    bracket[at.TARGET] = target
    bracket[at.TRAIL] = trail
    bracket[at.BEST] = price if trail > 0.0 else 0.0
    bracket[at.EXPIRES] = expires


guard = njit(**JIT, forceinline=True)(_guard)


def _follow(quantity: float, high: float, low: float, bracket: Float64Array) -> None:
    """Take a row's prices into the best price of a position that was held before it."""
    if bracket[at.TRAIL] > 0.0:
        best = bracket[at.BEST]
        bracket[at.BEST] = max(best, high) if quantity > 0.0 else min(best, low)


follow = njit(**JIT, forceinline=True)(_follow)


def _waits_for_more(positions: Float64Array, brackets: Float64Array) -> bool:
    """Whether a position has a bracket, or an order that waits says more than its side."""
    found = False
    for symbol in range(len(brackets)):
        found |= positions[symbol, at.WAITING] > 1.0
        for place in range(at.BRACKET_SIZE):
            found |= brackets[symbol, place] != 0.0
    return found


waits_for_more = njit(**JIT)(_waits_for_more)


def _asks_to_close(actions: Int8Array) -> bool:
    highest = np.int8(0)
    for row in range(len(actions)):
        highest = max(highest, actions[row])
    return bool(highest == CLOSE)


asks_to_close = njit(**JIT)(_asks_to_close)


def _said(terms: Float64Array, row: int, column: int) -> float:
    """What a signal says, 0 where it says nothing."""
    value = terms[row, column]
    return value if value > 0.0 else 0.0  # noqa: FURB136 - NaN is nothing, too


said = njit(**JIT, forceinline=True)(_said)


def _reach(price: float, highs: Float64Array, lows: Float64Array, row: int) -> tuple[float, float]:
    """How far the price went up and down to the row's price.

    That alone, where nothing more is known, or where it lies outside of what both say: they are of another price then,
    such as one that is not adjusted. An end too far away to be one of a bar is no price at all.
    """
    high, low = price, price
    if len(highs) > 0 and len(lows) > 0 and (price > highs[row] * ROUNDING or price * ROUNDING < lows[row]):
        return high, low
    if len(highs) > 0 and price < highs[row] <= price * WIDEST_RANGE:
        high = highs[row]
    if len(lows) > 0 and price > lows[row] >= price / WIDEST_RANGE:
        low = lows[row]
    return high, low


reach = njit(**JIT, forceinline=True)(_reach)


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
    at_next = policy[by.NEXT] != 0.0
    shorts = policy[by.SHORTS] != 0.0
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
    doubted = action != 0 and len(terms) > 0 and terms[row, CONFIDENCE] < policy[by.MIN_CONFIDENCE]
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
            order, price, cash, quantity, basis, rest, cover, size if size > 0.0 else policy[by.WEIGHT],
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


step = njit(**JIT)(_step)


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


passes = njit(**JIT, forceinline=True)(_passes)
