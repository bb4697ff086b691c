"""The one place where money moves: an order that is executed, what is counted of it, and what becomes of the others.

Compiled inline into `engine.portfolio.kernel`, `brackets`, the sweep and the agent's outcomes.
"""

from typing import Any

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Float64Array
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

# An equity above this opens nothing. Prices lie within a factor of 1e30 (engine.intake.terms), so neither what is held
# then nor a sum over all rows is too large for a double.
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
