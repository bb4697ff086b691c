"""How a portfolio's state lies in memory: one vector for the account, one row a symbol for the positions.

The kernel writes them, `engine.performance` reads the account, `Ledger.to_bytes` stores both. All is float64;
counts and instants (whole microseconds below 2**53) are exact in it.

The compiled code holds these numbers, and numba's cache looks at the date of the compiled file alone: whoever
changes them changes `Ledger`'s stored version and touches kernel.py and performance.py.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CASH = 0
EQUITY = 1  # cash and every position at its symbol's last price
INITIAL_CASH = 2
SIGNALS = 3
TRADES = 4  # executed decisions: a flip is one
CLOSED = 5  # positions closed
WINS = 6  # of these, with a profit after both fees
GROSS_PROFIT = 7
GROSS_LOSS = 8
FEES = 9
REALISED = 10  # profit of closed positions, after the fees of opening and of closing
UNREALISED = 11  # equity = initial cash + realised + unrealised
NOTIONAL = 12  # quantity times price of every fill, added up
EQUITY_SUM = 13  # over the signals, for the mean equity
LAST_RETURN = 14
RETURN_MEAN = 15  # Welford: the mean of returns, and the sum of squared distances from it
RETURN_M2 = 16
DOWNSIDE = 17  # sum of squared returns below zero
PEAK = 18
TROUGH = 19  # the lowest share of its peak that equity fell to
FIRST_US = 20
LAST_US = 21
EXPOSED_US = 22  # time with a position open
OPEN = 23  # positions open
HOLD_VALUE = 24  # buy-and-hold, in units of the first symbol's price
HOLD_BASE = 25
HOLD_STAKE = 26  # what every symbol is bought for
HOLD_MEAN = 27
HOLD_M2 = 28
HOLD_DOWNSIDE = 29
HOLD_PEAK = 30
HOLD_TROUGH = 31
ACCOUNT_SIZE = 32

QUANTITY = 0  # below zero when short
BASIS = 1  # what opening it took out of cash, fee included; below zero when it brought cash in
PRICE = 2  # the symbol's last price, 0 before the first
STAMP = 3  # and its instant
WAITING = 4  # the action that the symbol's next price will execute
UNITS = 5  # held by buy-and-hold
POSITION_SIZE = 6

LATEST_US = 2**53


def new_account(initial_cash: float) -> Floats:
    """The account of a portfolio that has seen nothing: `float64[ACCOUNT_SIZE]`."""
    account = np.zeros(ACCOUNT_SIZE)
    account[[CASH, EQUITY, INITIAL_CASH, PEAK]] = initial_cash
    account[[TROUGH, HOLD_TROUGH]] = 1.0
    return account
