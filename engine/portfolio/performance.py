"""What a portfolio has earned, as a pure function of its account vector (`engine.portfolio.account`).

Every formula is written once, in `_figures`, and compiled: a receipt reads one account with it, a sweep a
table of them. Conventions, and where they come from:

- Returns are per period, the first against the initial cash. A period is an instant: all signals of one stamp count
  as one (`engine.portfolio.account` says which those are). Mean and variance from sums about a shift (Chan, Golub &
  LeVeque, American Statistician 37, 1983) that is moved to the mean whenever the number of periods has doubled, so
  that little cancels; variance with n - 1.
- Sharpe: mean / standard deviation, risk-free rate 0 (Sharpe, J. Portfolio Mgmt 21, 1994).
- Sortino: mean / downside deviation, target 0, the deviation over all returns and not only the negative ones
  (Sortino & Price, J. of Investing 3, 1994).
- Annual figures are those of a period times sqrt(periods a year). How many these are is the policy's: as many as came a
  year of 365 days (`observed`), of a calendar, or a number that was given; `periods_per_year` says which it was. Of
  `252-sessions` it is periods a session that the history covers, times 252; of `365x24` the nearest number of whole
  minutes' bars that divide a day, times 365.
- Drawdown: 1 - equity / highest equity so far, at the end of each instant, the initial cash included; at most 1.
  Calmar: annual compound return from the first signal to the last, in years of as many periods / largest drawdown
  (Young, Futures 20, 1991, over the whole period). Return over drawdown: total return / largest drawdown.
- Sharpe, Sortino and Calmar of a year are not defined for fewer than `FEWEST_RETURNS` returns or less than a week from
  the first signal to the last: a few days say nothing of a year. Nor is Calmar beyond `MOST_GROWTH`. Those of a
  period stand beside them.
- Ruined: equity was not above zero after some signal. That is for good, whatever a short brings back later: the largest
  drawdown is 1, and no ratio is defined.
- Profit factor: gross profit / gross loss; win rate: share of closed positions with a profit. A position's
  profit is after the fees of opening and of closing it.
- Exposure: share of the time from the first signal to the last with a position open.
- Turnover: notional of all fills / mean equity at the end of each instant.
- Buy-and-hold: the same stake in each symbol, from its first price on, no fee; a symbol that joins later is
  new money and no return (time-weighted return, as GIPS asks for).

A figure that is not defined (a Sharpe of fewer than 2 returns or without variance, a profit factor without a
loss, a win rate without a closed position, a return beyond what a double holds) is None, in tables NaN; never
infinite.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Float64Array
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.account import ACCOUNT_SIZE

NOISE = 1e-14  # deviations and drawdowns up to here are rounding: the figure over them is not defined
WEEK_US = 7 * 24 * 3600 * 1_000_000
YEAR_US = 365 * 24 * 3600 * 1_000_000

FEWEST_RETURNS = 30
"""Returns that an annual figure takes, and a week of them."""

MOST_GROWTH = 1000.0
"""Annual growth beyond which Calmar is not defined: a few good weeks to their fiftieth power are nobody's year."""

OBSERVED = Policy()
"""Of an account of which only figures of the observed calendar are wanted."""

_DAYS_OF_SESSIONS = 252.0
_DAYS = {"observed": 0.0, "365x24": 365.0, "252-sessions": _DAYS_OF_SESSIONS}
"""Days a year that a calendar has."""

_DAY_MINUTES = 1440.0
_MINUTE_US = 60_000_000.0


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """The same figures for buying every symbol at its first price and keeping it. Shares, not percent."""

    total_return: float
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    calmar: float | None
    sharpe_per_period: float | None
    sortino_per_period: float | None
    return_over_drawdown: float | None


@dataclass(frozen=True, slots=True)
class Performance:
    """The cumulative performance of one account. Money in the quote currency, shares and not percent.

    Attributes:
        signals: signals taken in, HOLD included.
        signal_return: the return of the last signal alone.
        realised_pnl, unrealised_pnl: `equity = initial_cash + realised_pnl + unrealised_pnl`.
        trades: executed decisions; a flip is one.
        closed_trades: positions closed, which `win_rate` and `profit_factor` are about.
        sharpe, sortino, calmar: of a year; None where the history is too short to say so.
        sharpe_per_period, sortino_per_period, return_over_drawdown: the same without a year in them.
        periods: instants, of which each has a return.
        period_s: their mean spacing in seconds; None before the second.
        periods_per_year: what annual figures rest on; None before the second period, unless it was given.
        calendar: where that is from: the policy's calendar, or `given`.
        ruined: equity was not above zero at some time.
    """

    signals: int
    initial_cash: float
    cash: float
    equity: float
    total_return: float
    signal_return: float
    realised_pnl: float
    unrealised_pnl: float
    fees: float
    trades: int
    closed_trades: int
    win_rate: float | None
    profit_factor: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    drawdown: float
    calmar: float | None
    exposure: float | None
    turnover: float | None
    sharpe_per_period: float | None
    sortino_per_period: float | None
    return_over_drawdown: float | None
    periods: int
    period_s: float | None
    ruined: bool
    periods_per_year: float | None
    calendar: str
    buy_and_hold: BuyAndHold

    @classmethod
    def of(cls, account: Float64Array, policy: Policy = OBSERVED) -> "Performance":
        """The performance of one account vector, `float64[ACCOUNT_SIZE]`, by the calendar of its policy."""
        figures = _table(account.reshape(1, ACCOUNT_SIZE), (policy,))[:, 0].tolist()
        plain = dict(zip(_NAMES, figures, strict=True))
        values: dict[str, Any] = {name: _defined(value) for name, value in plain.items()}
        for name, kind in _WHOLE.items():
            values[name] = kind(plain[name])
        held = BuyAndHold(**{name: values.pop(_HOLD + name) for name in _HOLD_NAMES})
        return cls(**values, calendar=calendar_of(policy), buy_and_hold=held)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, buy-and-hold as a dict inside; None where a figure is not defined."""
        return asdict(self)


_HOLD = "buy_and_hold_"
_HOLD_NAMES = [field.name for field in fields(BuyAndHold)]
_NAMES = [field.name for field in fields(Performance)][:-2] + [_HOLD + name for name in _HOLD_NAMES]
_OWN = tuple(_NAMES.index(name) for name in _HOLD_NAMES)
_HELD = tuple(_NAMES.index(_HOLD + name) for name in _HOLD_NAMES)
(
    _SIGNALS, _INITIAL_CASH, _CASH, _EQUITY, _TOTAL_RETURN, _SIGNAL_RETURN, _REALISED, _UNREALISED, _FEES, _TRADES,
    _CLOSED, _WIN_RATE, _PROFIT_FACTOR, _SHARPE, _SORTINO, _MAX_DRAWDOWN, _DRAWDOWN, _CALMAR, _EXPOSURE, _TURNOVER,
    _SHARPE_PER_PERIOD, _SORTINO_PER_PERIOD, _RETURN_OVER_DRAWDOWN, _PERIODS, _PERIOD_S, _RUINED,
    _PERIODS_PER_YEAR,
) = range(len(_NAMES) - len(_HOLD_NAMES))  # fmt: skip
_WHOLE: dict[str, Any] = {"signals": int, "trades": int, "closed_trades": int, "periods": int, "ruined": bool}
"""The figures that are not floats."""


def return_sums(accounts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Sum and sum of squares of all returns, the last instant's included: float64[n] each.

    Args:
        accounts: float64[n, ACCOUNT_SIZE].
    """
    over, anchor, before = accounts[:, at.PERIODS], accounts[:, at.RETURN_ANCHOR], accounts[:, at.BEFORE]
    total, squares = accounts[:, at.RETURN_SUM], accounts[:, at.RETURN_SQUARES]
    last = np.divide(accounts[:, at.EQUITY], before, out=np.ones(len(accounts)), where=before > 0.0) - 1.0
    return (
        over * anchor + total + last,
        squares + 2.0 * anchor * total + over * anchor * anchor + last * last,
    )


def calendar_of(policy: Policy) -> str:
    """What says how many periods a year has: a calendar, or `given` for a number."""
    return policy.calendar if policy.periods_per_year is None else "given"


def is_ruined(accounts: Float64Array) -> BoolArray:
    """Whether equity was not above zero at some time, bool[n], of float64[n, ACCOUNT_SIZE]."""
    return (accounts[:, at.TROUGH] <= 0.0) | (accounts[:, at.EQUITY] <= 0.0)


def performance_table(
    accounts: Float64Array, policies: Sequence[Policy] = (OBSERVED,)
) -> dict[str, Float64Array]:
    """The figures of many accounts, `float64[n, ACCOUNT_SIZE]`: an array of length n each, NaN if undefined.

    Named as in `Performance`, those of buy-and-hold with `buy_and_hold_` before; the calendar is not among them.
    `policies` is one for each, or one for all.
    """
    return dict(zip(_NAMES, _table(accounts, policies), strict=True))


def performance_dicts(accounts: Float64Array, policy: Policy = OBSERVED) -> list[dict[str, Any]]:
    """`Performance.of(account, policy).as_dict()` of many accounts, `float64[n, ACCOUNT_SIZE]`."""
    own = len(_NAMES) - len(_HOLD_NAMES)
    names = _NAMES[:own]
    dicts = []
    calendar = calendar_of(policy)
    for figures in _table(accounts, (policy,)).T.tolist():
        values = [value if value == value else None for value in figures]  # noqa: PLR0124 - NaN alone is not
        plain: dict[str, Any] = dict(zip(names, values, strict=False))
        for name, kind in _WHOLE.items():
            plain[name] = kind(plain[name])
        plain["calendar"] = calendar
        plain["buy_and_hold"] = dict(zip(_HOLD_NAMES, values[own:], strict=True))
        dicts.append(plain)
    return dicts


def warm() -> None:
    """Load the compiled formulas, compiling them where no cache holds them yet."""
    _table(np.zeros((1, ACCOUNT_SIZE)), (OBSERVED,))


def _table(accounts: Float64Array, policies: Sequence[Policy]) -> Float64Array:
    table = np.empty((len(_NAMES), len(accounts)))
    years = np.broadcast_to([_year(policy) for policy in policies], len(accounts))
    _compiled()(np.ascontiguousarray(accounts, dtype=np.float64), np.ascontiguousarray(years), table)
    return table


def _year(policy: Policy) -> float:
    """As the compiled formulas take it: periods a year; 0: as observed; below 0: a calendar of so many days."""
    return -_DAYS[policy.calendar] if policy.periods_per_year is None else policy.periods_per_year


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _figures(accounts: Float64Array, years: Float64Array, table: Float64Array) -> None:  # noqa: C901, PLR0912, PLR0915 - each formula once, in one compiled loop
    """One column of `table` an account, in the order of `_NAMES`, by its `_year`. Compiled; plain Python can run it
    too.
    """
    for row in range(len(accounts)):
        account = accounts[row]
        begun = account[at.SIGNALS] > 0.0
        periods = account[at.PERIODS] + 1.0 if begun else 0.0
        elapsed_us = account[at.LAST_US] - account[at.FIRST_US]
        a_year = (periods - 1.0) * YEAR_US / elapsed_us if elapsed_us > 0.0 else np.nan
        if years[row] > 0.0:
            a_year = years[row]
        elif years[row] < 0.0 and elapsed_us > 0.0:
            days = -years[row]
            if days == _DAYS_OF_SESSIONS:
                # Days from Monday to Friday (1970-01-01 was a Thursday) without the 9 holidays that are among a year's
                # 261: what lies outside of sessions, before the first and after the last as well, is no time.
                first = np.floor(account[at.FIRST_US] / DAY_US) + 3.0
                after = np.floor(account[at.LAST_US] / DAY_US) + 4.0
                weekdays = 5.0 * (np.floor(after / 7.0) - np.floor(first / 7.0))
                weekdays += min(after % 7.0, 5.0) - min(first % 7.0, 5.0)
                usual = max(weekdays - np.floor(9.0 * elapsed_us / YEAR_US), 1.0)
                # There may be no holidays, or more: so many days as have the same number of bars each, whole minutes
                # apart between the times of day of the first and the last; else all weekdays, if only those have it.
                minutes = elapsed_us % DAY_US / _MINUTE_US
                sessions = 0.0
                for count in (usual, weekdays, usual - 1.0, usual - 2.0):
                    bars = periods / max(count, 1.0)
                    even = bars >= 2.0 and bars % 1.0 == 0.0 and minutes > 0.0
                    if sessions == 0.0 and even and minutes % (bars - 1.0) == 0.0:
                        sessions = max(count, 1.0)
                if sessions == 0.0:
                    only = periods % max(weekdays, 1.0) == 0.0 and periods % usual != 0.0
                    sessions = max(weekdays, 1.0) if only else usual
                a_year = days * periods / sessions
            whole = np.floor(max(a_year / days, days / a_year) + 0.5)
            if days != _DAYS_OF_SESSIONS and 1.0 < whole <= _DAY_MINUTES and a_year > days:
                # Bars of a market that does not close are whole minutes that divide its day: so many as are nearest,
                # whatever is missing.
                below, above = whole, whole
                while _DAY_MINUTES % below != 0.0:
                    below -= 1.0
                while _DAY_MINUTES % above != 0.0:
                    above += 1.0
                whole = below if a_year / days - below < above - a_year / days else above
            a_year = days * whole if a_year >= days else days / whole
        is_long = periods >= FEWEST_RETURNS and elapsed_us >= WEEK_US
        equity_sum = account[at.EQUITY_SUM] + account[at.EQUITY]
        ruined = account[at.TROUGH] <= 0.0 or account[at.EQUITY] <= 0.0

        table[_SIGNALS, row] = account[at.SIGNALS]
        table[_INITIAL_CASH, row] = account[at.INITIAL_CASH]
        table[_CASH, row] = account[at.CASH]
        table[_EQUITY, row] = account[at.EQUITY]
        table[_SIGNAL_RETURN, row] = account[at.LAST_RETURN]
        table[_REALISED, row] = account[at.REALISED]
        table[_UNREALISED, row] = account[at.UNREALISED]
        table[_FEES, row] = account[at.FEES]
        table[_TRADES, row] = account[at.TRADES]
        table[_CLOSED, row] = account[at.CLOSED]
        table[_WIN_RATE, row] = account[at.WINS] / account[at.CLOSED] if account[at.CLOSED] > 0.0 else np.nan
        # Positions that were closed at their own price lose what rounding takes, and no more.
        lost = account[at.GROSS_LOSS] > NOISE * account[at.NOTIONAL]
        table[_PROFIT_FACTOR, row] = (
            account[at.GROSS_PROFIT] / account[at.GROSS_LOSS] if lost and not ruined else np.nan
        )
        table[_DRAWDOWN, row] = min(1.0 - account[at.EQUITY] / max(account[at.PEAK], account[at.EQUITY]), 1.0)
        table[_EXPOSURE, row] = account[at.EXPOSED_US] / elapsed_us if elapsed_us > 0.0 else np.nan
        table[_TURNOVER, row] = (
            account[at.NOTIONAL] / (equity_sum / periods) if begun and not ruined else np.nan
        )
        table[_PERIODS, row] = periods
        table[_PERIOD_S, row] = elapsed_us / (periods - 1.0) / 1e6 if periods > 1.0 else np.nan
        table[_RUINED, row] = 1.0 if ruined else 0.0
        table[_PERIODS_PER_YEAR, row] = a_year

        for held in (False, True):
            if held:
                value, before = account[at.HOLD_VALUE], account[at.HOLD_BEFORE]
                level = value / account[at.HOLD_BASE] if begun else 1.0
                first, downside = at.HOLD_ANCHOR, account[at.HOLD_DOWNSIDE]
                peak, trough = account[at.HOLD_PEAK], account[at.HOLD_TROUGH]
                place = _HELD
            else:
                value, before = account[at.EQUITY], account[at.BEFORE]
                level = value / account[at.INITIAL_CASH]
                first, downside = at.RETURN_ANCHOR, account[at.DOWNSIDE]
                peak, trough = account[at.PEAK], account[at.TROUGH]
                place = _OWN
            # The last instant is not in the sums yet.
            anchor, total, squares = account[first], account[first + 1], account[first + 2]
            last = value / before - 1.0 if before > 0.0 else 0.0
            total += last - anchor
            squares += (last - anchor) ** 2
            downside += min(last, 0.0) ** 2
            if begun:
                trough = min(trough, value / max(peak, value))
            worst = 1.0 - max(trough, 0.0)

            several = periods >= 2.0 and trough > 0.0
            mean = anchor + total / periods if several else 0.0
            apart = max(squares - total * (total / periods), 0.0) if several else 0.0
            deviation = np.sqrt(apart / (periods - 1.0)) if several else 0.0
            below = np.sqrt(downside / periods) if several else 0.0
            sharpe = mean / deviation if deviation > NOISE else np.nan
            sortino = mean / below if below > NOISE else np.nan
            falls = worst > NOISE and trough > 0.0
            growth = level ** (a_year / (periods - 1.0)) - 1.0 if is_long and trough > 0.0 else np.nan
            growth = growth if growth <= MOST_GROWTH else np.nan
            table[place[0], row] = level - 1.0
            table[place[1], row] = sharpe * np.sqrt(a_year) if is_long else np.nan
            table[place[2], row] = sortino * np.sqrt(a_year) if is_long else np.nan
            table[place[3], row] = worst
            table[place[4], row] = growth / worst if falls else np.nan
            table[place[5], row] = sharpe
            table[place[6], row] = sortino
            table[place[7], row] = (level - 1.0) / worst if falls else np.nan

        for index in range(len(table)):
            if not np.isfinite(table[index, row]):
                table[index, row] = np.nan


# numba caches by the date of this file alone, so what it is compiled from shows here (a test says what): 5b7ec37d.
@cache
def _compiled() -> Any:
    from numba import njit, types  # noqa: PLC0415 - takes half a second to import; paid at first use

    compiled = njit(cache=True, nogil=True, error_model="numpy")(_figures)
    grid = types.Array(types.float64, 2, "C")
    years = types.Array(types.float64, 1, "C", readonly=True)
    compiled.compile((types.Array(types.float64, 2, "C", readonly=True), years, grid))
    compiled.disable_compile()
    return compiled
