"""How a portfolio's state lies in memory: one vector for the account, one row a symbol for the positions.

The kernel writes them, `engine.performance` reads the account, `Ledger.to_bytes` stores both. All is float64;
counts and instants (whole microseconds below 2**53) are exact in it.

The compiled code holds these numbers, and numba's cache looks at the date of the compiled file alone: whoever
changes them changes `Ledger`'s stored version and touches kernel.py, performance.py and lanes.py. The same holds
for what kernel.py takes from cachelines.py, and lanes.py from kernel.py and marching.py.
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
RETURN_ANCHOR = 15  # near the mean of returns: their mean as the number of signals last doubled
RETURN_SUM = 16  # of the distances of returns from the anchor
RETURN_SQUARES = 17  # and of their squares
DOWNSIDE = 18  # sum of squared returns below zero
PEAK = 19
TROUGH = 20  # the lowest share of its peak that equity fell to
FIRST_US = 21
LAST_US = 22
EXPOSED_US = 23  # time with a position open
OPEN = 24  # positions open
HOLD_VALUE = 25  # buy-and-hold, in units of the first symbol's price
HOLD_BASE = 26
HOLD_STAKE = 27  # what every symbol is bought for
HOLD_ANCHOR = 28
HOLD_SUM = 29
HOLD_SQUARES = 30
HOLD_DOWNSIDE = 31
HOLD_PEAK = 32
HOLD_TROUGH = 33
ACCOUNT_SIZE = 34

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
