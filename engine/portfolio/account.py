"""How a portfolio's state lies in memory: one vector for the account, one row a symbol for the positions.

Beside the positions lie the brackets, also one row a symbol: what closes an open position by itself, and what the order
that waits for the symbol's next price says of its own. 0 stands for nothing; most portfolios have nothing else there.

The kernel writes them, `engine.portfolio.performance` reads the account, `Ledger.to_bytes` stores all. All is float64;
counts and instants (whole microseconds below 2**53) are exact in it.

Returns are of instants: all signals of one stamp are one period. A new instant begins with a stamp that is later than
every one before; a signal whose stamp is not (those of several symbols may go back and forth) belongs to the last
instant. Only when the next one begins is the last one over and added to the sums.

Whoever changes these numbers changes `Ledger`'s stored version.
"""

import numpy as np

from raysignal.engine.core.arrays import Float64Array

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
PERIODS = 13  # instants that are over; the last one is not, and counts when figures are read
BEFORE = 14  # equity before the last instant
EQUITY_SUM = 15  # over the instants that are over, for the mean equity
LAST_RETURN = 16  # of the last signal
RETURN_ANCHOR = 17  # near the mean of returns: their mean as the number of periods last doubled
RETURN_SUM = 18  # of the distances of returns from the anchor, over the instants that are over
RETURN_SQUARES = 19  # and of their squares
DOWNSIDE = 20  # sum of squared returns below zero
PEAK = 21  # the highest equity at the end of an instant that is over
TROUGH = 22  # the lowest share of its peak that equity fell to by then; not above 0 once equity was not
FIRST_US = 23
LAST_US = 24  # the latest stamp, which is that of the last instant
EXPOSED_US = 25  # time with a position open
OPEN = 26  # positions open
HOLD_VALUE = 27  # buy-and-hold, in units of the first symbol's price
HOLD_BEFORE = 28
HOLD_BASE = 29
HOLD_STAKE = 30  # what every symbol is bought for
HOLD_ANCHOR = 31
HOLD_SUM = 32
HOLD_SQUARES = 33
HOLD_DOWNSIDE = 34
HOLD_PEAK = 35
HOLD_TROUGH = 36
ACCOUNT_SIZE = 37

QUANTITY = 0  # below zero when short
BASIS = 1  # what opening it took out of cash, fee included; below zero when it brought cash in
PRICE = 2  # the symbol's last price, 0 before the first
STAMP = 3  # and its instant
WAITING = 4  # the action that the symbol's next price will execute
UNITS = 5  # held by buy-and-hold
POSITION_SIZE = 6

STOP = 0  # price
TARGET = 1  # price
TRAIL = 2  # how far behind the best price, as a fraction
BEST = 3  # the best price since the position was opened, where it trails one
EXPIRES = 4  # instant
NEXT_SIZE = 5  # share of equity of the waiting order; the rest is its bracket
NEXT_STOP = 6
NEXT_TARGET = 7
NEXT_TRAIL = 8
NEXT_EXPIRES = 9
BRACKET_SIZE = 10

LATEST_US = 2**53


def new_account(initial_cash: float) -> Float64Array:
    """The account of a portfolio that has seen nothing: `float64[ACCOUNT_SIZE]`."""
    account = np.zeros(ACCOUNT_SIZE)
    account[[CASH, EQUITY, INITIAL_CASH, BEFORE, PEAK]] = initial_cash
    account[[TROUGH, HOLD_TROUGH]] = 1.0
    return account
