"""The compiled loop behind `engine.ledger`: what one signal does to an account and its positions.

Strict IEEE double precision, no fastmath, one order of operations. What has to be kept a signal lives in
locals, so in registers, and is written back at the end (or each row, where accounts are asked for); what
changes with a trade only is updated in place. Importing this module imports numba, so `engine.ledger` does it
at the first use.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from engine import account as at
from engine.account import LATEST_US, Floats
from engine.policy import Policy

# The policy as the loop reads it.
_FEE, _GROSS, _ABOVE, _BELOW, _WEIGHT, _SHORTS, _NEXT = range(7)

# The outcomes as plain integers: an enum would be looked up (engine.ledger.Outcome; a test holds them
# together).
HOLD, OPENED, CLOSED_ALL, FLIPPED, HELD, PENDING, NOTHING, NO_CASH, INSOLVENT, CLOSED_ONLY = range(10)

DUST = 1e-9  # a budget of less than this share of equity opens nothing


def policy_vector(policy: Policy) -> Floats:
    """The policy as `float64[7]`, rates as fractions."""
    fee = policy.fee_bps / 10_000.0
    slippage = policy.slippage_bps / 10_000.0
    shorts = policy.side == "long-short"
    at_next = policy.fill == "next"
    return np.array([fee, 1.0 + fee, 1.0 + slippage, 1.0 - slippage, policy.weight, shorts, at_next])


def _execute(
    order: int,
    price: float,
    cash: float,
    quantity: float,
    basis: float,
    rest: float,
    cover: float,
    policy: Floats,
) -> tuple[float, float, float, int, float, float, float, float]:
    """Trade one order that changes the side held.

    `rest` is the marked value of the other symbols' positions, `cover` the part of cash that their shorts
    lock up. Gives cash, quantity, basis, outcome, fill price, fee, notional, and the profit of what was
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
    if order > 0 or policy[_SHORTS] != 0.0:
        equity = cash + rest
        budget = min(policy[_WEIGHT] * equity, cash - cover)
        if equity <= 0.0:
            outcome = CLOSED_ONLY if closed else INSOLVENT
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


execute = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(_execute)


def _takeable(stamp: int, symbol: int, action: int, price: float, count: int) -> bool:
    return (
        (price > 0.0)
        & (price < np.inf)
        & (symbol >= 0)
        & (symbol < count)
        & (action >= -1)
        & (action <= 1)
        & (stamp > -LATEST_US)
        & (stamp < LATEST_US)
    )


_can_be_taken = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(_takeable)


def _is_trade(action: int, quantity: float, lowest: int) -> bool:
    """Whether the action changes the side held; `lowest` is 0 where nothing may go short, else -2.

    Without a branch: on signals that nobody can predict, the processor cannot either.
    """
    side = int(quantity > 0.0) - int(quantity < 0.0)
    return (action != 0) & (action != side) & (action + side >= lowest)


is_trade = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(_is_trade)


def _left_alone(action: int, quantity: float) -> int:
    if action == 0:
        return HOLD
    held = (action > 0 and quantity > 0.0) or (action < 0 and quantity < 0.0)
    return HELD if held else NOTHING


left_alone = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(_left_alone)


def _advance(  # noqa: C901, PLR0912, PLR0915 - one loop with its state in registers; split, it spills
    policy: Floats,
    account: Floats,
    positions: Floats,
    stamps: NDArray[np.int64],
    symbols: NDArray[np.int32],
    actions: NDArray[np.int8],
    prices: Floats,
    row_outcome: NDArray[np.int8],
    row_executed: NDArray[np.int8],
    row_quantity: Floats,
    row_price: Floats,
    row_fee: Floats,
    row_cash: Floats,
    row_position: Floats,
    row_equity: Floats,
    row_return: Floats,
    row_realised: Floats,
    row_drawdown: Floats,
    accounts: Floats,
) -> int:
    """Take the rows in; the `row_*` and `accounts` are filled when they are not empty.

    Gives -1, or the first row that cannot be taken in, and then nothing has changed.
    """
    rows = len(stamps)
    last = rows - 1
    count = len(positions)
    single = count == 1
    emit = len(row_outcome) > 0
    record = len(accounts) > 0
    at_next = policy[_NEXT] != 0.0
    lowest = -2 if policy[_SHORTS] != 0.0 else 0

    good = True
    for row in range(rows):
        good &= _can_be_taken(stamps[row], symbols[row], actions[row], prices[row], count)
    if not good:
        for row in range(rows):
            if not _can_be_taken(stamps[row], symbols[row], actions[row], prices[row], count):
                return row
    if rows == 0:
        return -1

    cash = account[at.CASH]
    equity = account[at.EQUITY]
    signals = account[at.SIGNALS]
    equity_sum = account[at.EQUITY_SUM]
    mean = account[at.RETURN_MEAN]
    m2 = account[at.RETURN_M2]
    downside = account[at.DOWNSIDE]
    peak = account[at.PEAK]
    trough = account[at.TROUGH]
    latest = np.int64(account[at.LAST_US])
    exposed = np.int64(account[at.EXPOSED_US])
    held = account[at.OPEN]
    hold = account[at.HOLD_VALUE]
    hold_mean = account[at.HOLD_MEAN]
    hold_m2 = account[at.HOLD_M2]
    hold_downside = account[at.HOLD_DOWNSIDE]
    hold_peak = account[at.HOLD_PEAK]
    hold_trough = account[at.HOLD_TROUGH]

    symbol = np.int64(0)
    quantity = positions[0, at.QUANTITY]
    basis = positions[0, at.BASIS]
    seen = positions[0, at.PRICE] != 0.0
    waiting = np.int64(positions[0, at.WAITING])
    units = positions[0, at.UNITS]
    rest = 0.0
    cover = 0.0
    hold_rest = 0.0

    for row in range(rows):
        price = prices[row]
        action = np.int64(actions[row])
        stamp = stamps[row]
        if not single:
            symbol = np.int64(symbols[row])
            quantity = positions[symbol, at.QUANTITY]
            basis = positions[symbol, at.BASIS]
            seen = positions[symbol, at.PRICE] != 0.0
            waiting = np.int64(positions[symbol, at.WAITING])
            units = positions[symbol, at.UNITS]
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

        # Buy-and-hold takes a new symbol in for the same stake as the first; the levels it is measured
        # against are linked over (as an index divisor does), so that new money is no return.
        if not seen:
            seen = True
            if hold == 0.0:
                account[at.HOLD_STAKE] = price
                account[at.HOLD_BASE] = price
                account[at.FIRST_US] = stamp
                latest = stamp
                hold_peak = price
                units = 1.0
                hold = price
            else:
                units = account[at.HOLD_STAKE] / price
                joined = hold_rest + units * price
                link = joined / hold
                account[at.HOLD_BASE] *= link
                hold_peak *= link
                hold = joined

        now = max(latest, stamp)
        if held != 0.0:
            exposed += now - latest
        latest = now

        order = waiting if at_next else action
        before = quantity
        executed = PENDING
        filled = 0.0
        fill_price = np.nan
        fee = 0.0
        if is_trade(order, before, lowest):
            cash, quantity, basis, executed, fill_price, fee, notional, profit = execute(
                order, price, cash, quantity, basis, rest, cover, policy
            )
            filled = quantity - before
            if filled != 0.0:
                account[at.TRADES] += 1.0
                account[at.FEES] += fee
                account[at.NOTIONAL] += notional
                held += np.float64(quantity != 0.0) - np.float64(before != 0.0)
                if before != 0.0:
                    account[at.CLOSED] += 1.0
                    account[at.REALISED] += profit
                    account[at.WINS] += np.float64(profit > 0.0)
                    account[at.GROSS_PROFIT] += max(profit, 0.0)
                    account[at.GROSS_LOSS] -= min(profit, 0.0)
            else:
                fill_price = np.nan

        before_row = equity
        equity = cash + (rest + quantity * price)
        change = equity / before_row - 1.0 if before_row > 0.0 else 0.0
        hold_before = hold
        hold = hold_rest + units * price
        hold_change = hold / hold_before - 1.0

        signals += 1.0
        share = 1.0 / signals
        distance = change - mean
        mean += distance * share
        m2 += distance * (change - mean)
        hold_distance = hold_change - hold_mean
        hold_mean += hold_distance * share
        hold_m2 += hold_distance * (hold_change - hold_mean)
        loss = min(change, 0.0)
        downside += loss * loss
        hold_loss = min(hold_change, 0.0)
        hold_downside += hold_loss * hold_loss
        equity_sum += equity

        peak = max(peak, equity)
        if equity < peak * trough:
            trough = min(trough, equity / peak)
        hold_peak = max(hold_peak, hold)
        if hold < hold_peak * hold_trough:
            hold_trough = min(hold_trough, hold / hold_peak)

        if at_next:
            waiting = action if is_trade(action, quantity, lowest) else np.int64(0)

        if not single:
            positions[symbol, at.QUANTITY] = quantity
            positions[symbol, at.BASIS] = basis
            positions[symbol, at.PRICE] = price
            positions[symbol, at.STAMP] = stamp
            positions[symbol, at.WAITING] = waiting
            positions[symbol, at.UNITS] = units
        if emit:
            if executed == PENDING:
                executed = left_alone(order, before)
            row_executed[row] = executed
            if not at_next:
                row_outcome[row] = executed
            elif waiting != 0:
                row_outcome[row] = PENDING
            else:
                row_outcome[row] = left_alone(action, quantity)
            row_quantity[row] = filled
            row_price[row] = fill_price
            row_fee[row] = fee
            row_cash[row] = cash
            row_position[row] = quantity
            row_equity[row] = equity
            row_return[row] = change
            row_realised[row] = account[at.REALISED]
            row_drawdown[row] = 1.0 - equity / peak
        if record or row == last:
            if single:
                positions[0, at.QUANTITY] = quantity
                positions[0, at.BASIS] = basis
                positions[0, at.PRICE] = price
                positions[0, at.STAMP] = stamp
                positions[0, at.WAITING] = waiting
                positions[0, at.UNITS] = units
            unrealised = 0.0
            for other in range(count):
                unrealised += (
                    positions[other, at.QUANTITY] * positions[other, at.PRICE] - positions[other, at.BASIS]
                )
            account[at.UNREALISED] = unrealised
            account[at.CASH] = cash
            account[at.EQUITY] = equity
            account[at.SIGNALS] = signals
            account[at.EQUITY_SUM] = equity_sum
            account[at.LAST_RETURN] = change
            account[at.RETURN_MEAN] = mean
            account[at.RETURN_M2] = m2
            account[at.DOWNSIDE] = downside
            account[at.PEAK] = peak
            account[at.TROUGH] = trough
            account[at.LAST_US] = latest
            account[at.EXPOSED_US] = exposed
            account[at.OPEN] = held
            account[at.HOLD_VALUE] = hold
            account[at.HOLD_MEAN] = hold_mean
            account[at.HOLD_M2] = hold_m2
            account[at.HOLD_DOWNSIDE] = hold_downside
            account[at.HOLD_PEAK] = hold_peak
            account[at.HOLD_TROUGH] = hold_trough
            if record:
                for index in range(len(account)):
                    accounts[row, index] = account[index]
    return -1


# One signature, compiled once: inputs may be read-only (they often lie in a file or in Arrow's memory).
_FLOATS = types.Array(types.float64, 1, "C")
_TABLE = types.Array(types.float64, 2, "C")
_CODES = types.Array(types.int8, 1, "C")


def _input(kind: Any) -> Any:
    return types.Array(kind, 1, "C", readonly=True)


_SIGNATURE = (
    _FLOATS, _FLOATS, _TABLE, _input(types.int64), _input(types.int32), _input(types.int8),
    _input(types.float64), _CODES, _CODES, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS,
    _FLOATS, _FLOATS, _TABLE,
)  # fmt: skip

advance = njit(cache=True, nogil=True, error_model="numpy")(_advance)
advance.compile(_SIGNATURE)
advance.disable_compile()
