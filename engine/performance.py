"""What a portfolio has earned, as a pure function of its account vector (`engine.account`).

Every formula is written once, in `_figures`, and compiled: a receipt reads one account with it, a sweep a
table of them. Conventions, and where they come from:

- Returns are per signal, the first against the initial cash. Mean and variance from sums about a shift
  (Chan, Golub & LeVeque, American Statistician 37, 1983) that is moved to the mean whenever the number of
  signals has doubled, so that little cancels; variance with n - 1.
- Annualised by the observed mean spacing of signals, in years of 365 days (these markets do not close).
- Sharpe: mean / standard deviation * sqrt(signals a year), risk-free rate 0 (Sharpe, J. Portfolio Mgmt 21,
  1994).
- Sortino: mean / downside deviation * sqrt(signals a year), target 0, the deviation over all returns and not
  only the negative ones (Sortino & Price, J. of Investing 3, 1994).
- Drawdown: 1 - equity / highest equity so far, the initial cash included. Calmar: annual compound return over
  the time from the first signal to the last / largest drawdown (Young, Futures 20, 1991, over the whole
  period).
- Profit factor: gross profit / gross loss; win rate: share of closed positions with a profit. A position's
  profit is after the fees of opening and of closing it.
- Exposure: share of the time from the first signal to the last with a position open.
- Turnover: notional of all fills / mean equity.
- Buy-and-hold: the same stake in each symbol, from its first price on, no fee; a symbol that joins later is
  new money and no return (time-weighted return, as GIPS asks for).

A figure that is not defined (a Sharpe of fewer than 2 returns or without variance, a profit factor without a
loss, a win rate without a closed position, a return beyond what a double holds) is None, in tables NaN; never
infinite.
"""

from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from engine import account as at
from engine.account import ACCOUNT_SIZE, Floats

NOISE = 1e-14  # deviations and drawdowns up to here are rounding: the figure over them is not defined
YEAR_US = 365 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """The same figures for buying every symbol at its first price and keeping it. Shares, not percent."""

    total_return: float
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    calmar: float | None


@dataclass(frozen=True, slots=True)
class Performance:
    """The cumulative performance of one account. Money in the quote currency, shares and not percent.

    Attributes:
        signals: signals taken in, HOLD included.
        signal_return: the return of the last signal alone.
        realised_pnl, unrealised_pnl: `equity = initial_cash + realised_pnl + unrealised_pnl`.
        trades: executed decisions; a flip is one.
        closed_trades: positions closed, which `win_rate` and `profit_factor` are about.
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
    buy_and_hold: BuyAndHold

    @classmethod
    def of(cls, account: Floats) -> "Performance":
        """The performance of one account vector, `float64[ACCOUNT_SIZE]`."""
        figures = _table(account.reshape(1, ACCOUNT_SIZE))[:, 0].tolist()
        plain = dict(zip(_NAMES, figures, strict=True))
        values: dict[str, Any] = {name: _defined(value) for name, value in plain.items()}
        for name in _COUNTS:
            values[name] = int(plain[name])
        held = BuyAndHold(**{name: values.pop(_HOLD + name) for name in _HOLD_NAMES})
        return cls(**values, buy_and_hold=held)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, buy-and-hold as a dict inside; None where a figure is not defined."""
        return asdict(self)


_HOLD = "buy_and_hold_"
_HOLD_NAMES = [field.name for field in fields(BuyAndHold)]
_NAMES = [field.name for field in fields(Performance)][:-1] + [_HOLD + name for name in _HOLD_NAMES]
_OWN = tuple(_NAMES.index(name) for name in _HOLD_NAMES)
_HELD = tuple(_NAMES.index(_HOLD + name) for name in _HOLD_NAMES)
_COUNTS = ("signals", "trades", "closed_trades")


def performance_table(accounts: Floats) -> dict[str, Floats]:
    """The figures of many accounts, `float64[n, ACCOUNT_SIZE]`: an array of length n each, NaN if undefined.

    Named as in `Performance`, those of buy-and-hold with `buy_and_hold_` before.
    """
    return dict(zip(_NAMES, _table(accounts), strict=True))


def performance_dicts(accounts: Floats) -> list[dict[str, Any]]:
    """`Performance.of(account).as_dict()` of many accounts, `float64[n, ACCOUNT_SIZE]`."""
    own = len(_NAMES) - len(_HOLD_NAMES)
    names = _NAMES[:own]
    dicts = []
    for figures in _table(accounts).T.tolist():
        values = [value if value == value else None for value in figures]  # noqa: PLR0124 - NaN alone is not
        plain: dict[str, Any] = dict(zip(names, values, strict=False))
        for name in _COUNTS:
            plain[name] = int(plain[name])
        plain["buy_and_hold"] = dict(zip(_HOLD_NAMES, values[own:], strict=True))
        dicts.append(plain)
    return dicts


def warm() -> None:
    """Load the compiled formulas, compiling them where no cache holds them yet."""
    _table(np.zeros((1, ACCOUNT_SIZE)))


def _table(accounts: Floats) -> Floats:
    table = np.empty((len(_NAMES), len(accounts)))
    _compiled()(np.ascontiguousarray(accounts, dtype=np.float64), table)
    return table


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _figures(accounts: Floats, table: Floats) -> None:
    """One column of `table` an account, in the order of `_NAMES`. Compiled; plain Python can run it too."""
    for row in range(len(accounts)):
        account = accounts[row]
        signals = account[at.SIGNALS]
        elapsed_us = account[at.LAST_US] - account[at.FIRST_US]
        a_year = (signals - 1.0) * YEAR_US / elapsed_us if elapsed_us > 0.0 else np.nan

        table[0, row] = signals
        table[1, row] = account[at.INITIAL_CASH]
        table[2, row] = account[at.CASH]
        table[3, row] = account[at.EQUITY]
        table[5, row] = account[at.LAST_RETURN]
        table[6, row] = account[at.REALISED]
        table[7, row] = account[at.UNREALISED]
        table[8, row] = account[at.FEES]
        table[9, row] = account[at.TRADES]
        table[10, row] = account[at.CLOSED]
        table[11, row] = account[at.WINS] / account[at.CLOSED] if account[at.CLOSED] > 0.0 else np.nan
        table[12, row] = (
            account[at.GROSS_PROFIT] / account[at.GROSS_LOSS] if account[at.GROSS_LOSS] > 0.0 else np.nan
        )
        table[16, row] = 1.0 - account[at.EQUITY] / account[at.PEAK]
        table[18, row] = account[at.EXPOSED_US] / elapsed_us if elapsed_us > 0.0 else np.nan
        table[19, row] = (
            account[at.NOTIONAL] / (account[at.EQUITY_SUM] / signals)
            if account[at.EQUITY_SUM] > 0.0
            else np.nan
        )

        for held in (False, True):
            if held:
                level = account[at.HOLD_VALUE] / account[at.HOLD_BASE] if signals > 0.0 else 1.0
                first, downside = at.HOLD_ANCHOR, account[at.HOLD_DOWNSIDE]
                worst = 1.0 - account[at.HOLD_TROUGH]
                place = _HELD
            else:
                level = account[at.EQUITY] / account[at.INITIAL_CASH]
                first, downside = at.RETURN_ANCHOR, account[at.DOWNSIDE]
                worst = 1.0 - account[at.TROUGH]
                place = _OWN
            anchor, total, squares = account[first], account[first + 1], account[first + 2]
            mean = anchor + total / signals if signals >= 2.0 else 0.0
            apart = max(squares - total * (total / signals), 0.0) if signals >= 2.0 else 0.0
            deviation = np.sqrt(apart / (signals - 1.0)) if signals >= 2.0 else 0.0
            below = np.sqrt(downside / signals) if signals >= 2.0 else 0.0
            growth = max(level, 0.0) ** (YEAR_US / elapsed_us) - 1.0 if elapsed_us > 0.0 else np.nan
            table[place[0], row] = level - 1.0
            table[place[1], row] = mean / deviation * np.sqrt(a_year) if deviation > NOISE else np.nan
            table[place[2], row] = mean / below * np.sqrt(a_year) if below > NOISE else np.nan
            table[place[3], row] = worst
            table[place[4], row] = growth / worst if worst > NOISE else np.nan

        for index in range(len(table)):
            if not np.isfinite(table[index, row]):
                table[index, row] = np.nan


@cache
def _compiled() -> Any:
    from numba import njit, types  # noqa: PLC0415 - takes half a second to import; paid at first use

    compiled = njit(cache=True, nogil=True, error_model="numpy")(_figures)
    grid = types.Array(types.float64, 2, "C")
    compiled.compile((types.Array(types.float64, 2, "C", readonly=True), grid))
    compiled.disable_compile()
    return compiled
