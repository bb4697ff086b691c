"""What a list of trades comes to: statistics, the distribution of returns, the last, best and worst of them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.instants import format_instant

SHOWN = 10
"""Trades of each list of a summary."""
_INSTANTS = ("entry_time", "exit_time")
_BINS = 20
_RANGE = (0.01, 0.99)  # quantiles of the returns between which the bins lie; the outer ones hold the rest


@dataclass(frozen=True, slots=True)
class TradeStatistics:
    """Figures of closed trades; money in the quote currency, shares and not percent, None where not defined.

    Attributes:
        trades: how many.
        pnl, fees: their sums.
        win_rate: share with a profit after all fees.
        profit_factor: gross profit / gross loss.
        expectancy: mean P&L of a trade.
        mean_return: of a trade, on its quantity * entry price.
        mean_bars: rows of the symbol that a trade was held for.
        longest_losing_streak: most trades with a loss that closed one after the other.
    """

    trades: int
    pnl: float
    fees: float
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    mean_return: float | None
    mean_bars: float | None
    longest_losing_streak: int


def trade_statistics(closed: pa.Table) -> TradeStatistics:
    """Of closed trades in the order in which they closed, in the columns of `trades.TRADES`."""
    n, pnl = len(closed), closed["pnl"].to_numpy()
    gain, loss = float(pnl[pnl > 0.0].sum()), float(-pnl[pnl < 0.0].sum())
    ends = np.concatenate([[-1], np.flatnonzero(pnl >= 0.0), [n]])
    return TradeStatistics(
        trades=n,
        pnl=float(pnl.sum()),
        fees=float(closed["fees"].to_numpy().sum()),
        win_rate=float(np.mean(pnl > 0.0)) if n else None,
        profit_factor=gain / loss if loss > 0.0 else None,
        expectancy=float(pnl.mean()) if n else None,
        mean_return=float(closed["return"].to_numpy().mean()) if n else None,
        mean_bars=float(closed["bars"].to_numpy().mean()) if n else None,
        longest_losing_streak=int(np.diff(ends).max()) - 1,
    )


def trade_summary(closed: pa.Table, open_trades: pa.Table, shown: int = SHOWN) -> dict[str, Any]:
    """All that a report says of trades, as plain JSON values.

    Args:
        closed: in the order in which they closed.
        open_trades: those that are open, or ended with the file.
        shown: at most so many in each list.

    Returns:
        The members of `TradeStatistics`; `open` and `unrealised_pnl` of the open ones; `distribution` of the returns
        (`edges`, one more than `counts`; the outer bins hold what lies beyond), None without a trade; and the lists
        `last` (the latest first), `best`, `worst` (by P&L) and `held`.
    """
    order = pc.sort_indices(closed["pnl"])
    return asdict(trade_statistics(closed)) | {
        "open": len(open_trades),
        "unrealised_pnl": float(open_trades["pnl"].to_numpy().sum()),
        "distribution": _distribution(closed["return"].to_numpy()),
        "last": trade_rows(closed.slice(max(len(closed) - shown, 0)))[::-1],
        "best": trade_rows(closed.take(order[len(order) - min(shown, len(order)) :]))[::-1],
        "worst": trade_rows(closed.take(order[:shown])),
        "held": trade_rows(open_trades.slice(0, shown)),
    }


def only_symbol(trades: pa.Table, symbol: str | None) -> pa.Table:
    """The trades of one symbol; None: all of them."""
    return trades if symbol is None else trades.filter(pc.equal(trades["symbol"].cast(pa.string()), symbol))


def trade_rows(trades: pa.Table) -> list[dict[str, Any]]:
    """Trades as plain JSON values: instants as texts, `status` is `open` or `closed`."""
    columns = {
        name: trades[name].cast(pa.int64()) if name in _INSTANTS else trades[name]
        for name in trades.column_names
    }
    rows = []
    for values in zip(*(column.to_pylist() for column in columns.values()), strict=True):
        row = dict(zip(columns, values, strict=True))
        for name in _INSTANTS:
            row[name] = None if row[name] is None else format_instant(row[name])
        rows.append({"status": "open" if row["exit_ordinal"] is None else "closed"} | row)
    return rows


def _distribution(returns: Float64Array) -> dict[str, list[float]] | None:
    if not len(returns):
        return None
    low, high = np.quantile(returns, _RANGE)
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low, low])
    bins = np.clip(np.searchsorted(edges[1:-1], returns, side="right"), 0, max(len(edges) - 2, 0))
    return {"edges": edges.tolist(), "counts": np.bincount(bins, minlength=len(edges) - 1).tolist()}
