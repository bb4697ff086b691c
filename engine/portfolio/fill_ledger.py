"""Figures and trades of a portfolio whose fills are made elsewhere, such as at a venue.

The same as of the portfolios that the kernel fills itself, by the same code: prices go through `Ledger` as rows without
an action, positions through `TradeFold`. What stands here is what a fill does in between, which may be a part of an
order only. Every price and every fill is a row; they are looked at together, and end on the same figures however
often somebody asks.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array, Int32Array, Int64Array
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.ledger_rows import CloseReason
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import PortfolioStatus
from raysignal.engine.portfolio.trade_files import fitting, joined
from raysignal.engine.portfolio.trade_summary import trade_summary
from raysignal.engine.portfolio.trades import TRADES, TradeFold, TradeRows

KEPT_TRADES = 100_000
"""Closed trades that can be listed, the last ones; figures are of all."""

_MOST_ROWS = 4096  # that wait to be looked at
_SLIPPAGE = pa.field("slippage", pa.float64(), nullable=False)
_FUNDING = pa.field("funding", pa.float64(), nullable=False)


@dataclass(frozen=True, slots=True)
class BookedFill:
    """An executed change of a position, as the portfolio booked it.

    Attributes:
        quantity: bought, or below 0 sold.
        price, fee: the venue's.
        position, cash: the portfolio's after it.
        slippage: what it cost against the price that was decided at, in money.
        order: whose fill it is; empty: nobody's order.
        closed_by: why a position was closed, if one was.
    """

    quantity: float
    price: float
    fee: float
    position: float
    cash: float
    slippage: float
    order: str
    closed_by: CloseReason = CloseReason.SIGNAL


class _Row(NamedTuple):
    at_us: int
    code: int
    price: float
    high: float
    low: float
    position: float
    fill: BookedFill | None


class FillLedger:
    """See the module. Not for use from two threads at once.

    Args:
        policy: of the portfolio: its cash and its calendar count here.
        symbols: of which prices and fills come.

    Attributes:
        slippage: what all fills cost against the prices that were decided at, in money.
        funding: what positions paid as funding; below 0: it was received.
    """

    def __init__(self, policy: Policy, symbols: tuple[str, ...]) -> None:
        self.slippage = self.funding = 0.0
        self._policy = policy
        self._symbols = symbols
        self._code = {symbol: code for code, symbol in enumerate(symbols)}
        # No row asks for anything here, so nothing may happen by itself either.
        self._ledger = Ledger(replace(policy, fill="signal", stop_bps=0.0, take_bps=0.0, trail_bps=0.0))
        self._ledger.ensure_symbols(len(symbols))
        self._fold = TradeFold()
        self._closed: deque[pa.Table] = deque()
        self._count = 0  # of closed trades that are kept
        self._rows: list[_Row] = []
        self._price: dict[str, float] = {}
        self._position = dict.fromkeys(symbols, 0.0)
        self._earned = [0.0] * len(symbols)  # by what was closed of a position that is open still
        self._slipped = [0.0] * len(symbols)  # of the trade that is open
        self._paid = [0.0] * len(symbols)  # as funding, of the trade that is open
        self._order = [""] * len(symbols)  # of the last fill

    def mark(self, at_us: int, symbol: str, price: float, high: float, low: float) -> None:
        """A symbol's price, and how far it went in the bar that ends with it."""
        self._price[symbol] = price
        self._add(_Row(at_us, self._code[symbol], price, high, low, self._position[symbol], None))

    def fill(self, at_us: int, symbol: str, fill: BookedFill) -> None:
        """A fill; the symbol's price stays what it was, if it had one."""
        price = self._price.setdefault(symbol, fill.price)
        self._position[symbol] = fill.position
        self.slippage += fill.slippage
        self._add(_Row(at_us, self._code[symbol], price, price, price, fill.position, fill))

    def pay(self, symbol: str, amount: float, cash: float) -> None:
        """Funding that an open position paid, and the portfolio's cash after it: out of the trade's profit."""
        self._settle()
        code = self._code[symbol]
        self.funding += amount
        self._paid[code] += amount
        self._earned[code] -= amount
        account = self._ledger.account
        account[at.REALISED] -= amount
        account[at.EQUITY] -= amount
        account[at.CASH] = cash

    def status(self, name: str) -> PortfolioStatus:
        """How the portfolio stands; its sequence is the number of its rows."""
        self._settle()
        account = self._ledger.account.copy()
        seen = tuple(symbol for symbol in self._symbols if symbol in self._price)
        last_us = int(account[at.LAST_US]) if seen else None
        return PortfolioStatus(name, self._policy, seen, self._fold.count, last_us, self._fold.count, account)

    def closed(self, *, symbol: str | None = None, after: int = -1, limit: int | None = None) -> pa.Table:
        """As `TradeReader.closed`, with the slippage and funding of each; of the last `KEPT_TRADES`."""
        self._settle()
        return fitting(joined([_EMPTY, *self._closed]), "exit_ordinal", symbol, after).slice(0, limit)

    def open(self, *, symbol: str | None = None, after: int = -1, limit: int | None = None) -> pa.Table:
        """As `TradeReader.open`, with the slippage and funding of each."""
        self._settle()
        trades = self._fold.open()
        codes = [self._code[name] for name in trades["symbol"].to_pylist()]
        trades = _with_costs(trades, [(self._slipped[code], self._paid[code]) for code in codes])
        return fitting(trades, "entry_ordinal", symbol, after).slice(0, limit)

    def summary(self, symbol: str | None = None) -> dict[str, Any]:
        """As `TradeReader.summary`, of the last `KEPT_TRADES`."""
        return trade_summary(self.closed(symbol=symbol), self.open(symbol=symbol))

    def _add(self, row: _Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _MOST_ROWS:
            self._settle()

    def _settle(self) -> None:
        """Look at the rows that wait."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        stamps = np.array([row.at_us for row in rows], np.int64)
        codes = np.array([row.code for row in rows], np.int32)
        prices = np.array([row.price for row in rows])
        costs: list[tuple[float, float]] = []
        begin = 0
        for place, row in enumerate(rows):
            if row.fill is not None:
                self._mark(stamps[begin:place], codes[begin:place], prices[begin:place])
                costs += self._book(row, row.fill)
                begin = place
        self._mark(stamps[begin:], codes[begin:], prices[begin:])
        closed = self._fold.run(self._trade_rows(rows, stamps, codes, prices))
        if len(closed):
            self._closed.append(_with_costs(closed, costs))
            self._count += len(closed)
            while self._count - len(self._closed[0]) >= KEPT_TRADES:
                self._count -= len(self._closed.popleft())

    def _mark(self, stamps: Int64Array, codes: Int32Array, prices: Float64Array) -> None:
        self._ledger.run(stamps, codes, np.zeros(len(stamps), np.int8), prices)

    def _book(self, row: _Row, fill: BookedFill) -> list[tuple[float, float]]:
        """Count a fill, whose row comes next; slippage and funding of the trade that it closed, if it closed one.

        Money as the kernel counts it (`engine.portfolio.fills`), and beyond that parts: what a part earned is realised
        at once, and whether its position won or lost is known at the position's end.
        """
        account, position, code = self._ledger.account, self._ledger.positions[row.code], row.code
        before, after = float(position[at.QUANTITY]), fill.position
        turned = before * after < 0.0
        outwards = abs(before) if turned else max(abs(before) - abs(after), 0.0)
        inwards = abs(after) if turned else max(abs(after) - abs(before), 0.0)
        over = before != 0.0 and (turned or after == 0.0)
        part = outwards / (outwards + inwards) if outwards + inwards else 0.0

        # The row counts the time up to it with what is held by then; what was held before is what counts.
        was_open = account[at.OPEN] > 0.0
        account[at.OPEN] += float(after != 0.0) - float(before != 0.0)
        account[at.EXPOSED_US] += _since(account, row.at_us) * (
            float(was_open) - float(account[at.OPEN] > 0.0)
        )
        account[at.TRADES] += float(fill.order == "" or fill.order != self._order[code])
        account[at.FEES] += fill.fee
        account[at.NOTIONAL] += abs(fill.quantity) * fill.price
        if outwards:
            basis = float(position[at.BASIS]) * (1.0 if over else outwards / abs(before))
            profit = (outwards if before > 0.0 else -outwards) * fill.price - fill.fee * part - basis
            account[at.REALISED] += profit
            position[at.BASIS] = 0.0 if over else position[at.BASIS] - basis
            self._earned[code] += profit
        if over:
            whole, self._earned[code] = self._earned[code], 0.0
            account[at.CLOSED] += 1.0
            account[at.WINS] += float(whole > 0.0)
            account[at.GROSS_PROFIT] += max(whole, 0.0)
            account[at.GROSS_LOSS] -= min(whole, 0.0)
        position[at.BASIS] += (inwards if after > 0.0 else -inwards) * fill.price + fill.fee * (1.0 - part)
        position[at.QUANTITY] = after
        account[at.CASH] = fill.cash
        self._order[code] = fill.order
        self._slipped[code] += fill.slippage * part
        closed = [(self._slipped[code], self._paid[code])] if over else []
        self._slipped[code] = (0.0 if over else self._slipped[code]) + fill.slippage * (1.0 - part)
        self._paid[code] = 0.0 if over else self._paid[code]
        return closed

    def _trade_rows(
        self, rows: list[_Row], stamps: Int64Array, codes: Int32Array, prices: Float64Array
    ) -> TradeRows:
        n = len(rows)
        quantity, price, fee = np.zeros(n), np.full(n, np.nan), np.zeros(n)
        closed_by, orders = np.zeros(n, np.int8), [""] * n
        for place, row in enumerate(rows):
            if row.fill is not None:
                quantity[place], price[place], fee[place] = row.fill.quantity, row.fill.price, row.fill.fee
                closed_by[place], orders[place] = row.fill.closed_by, row.fill.order
        return TradeRows(
            self._fold.count, stamps, codes, self._symbols, prices, np.array([row.high for row in rows]),
            np.array([row.low for row in rows]), TextColumn.of(orders), np.ones(n, np.bool_), closed_by, price,
            quantity, price, fee, np.array([row.position for row in rows]),
        )  # fmt: skip


def _since(account: Float64Array, at_us: int) -> float:
    """Time since the last instant."""
    return max(float(at_us) - float(account[at.LAST_US]), 0.0) if account[at.SIGNALS] else 0.0


def _with_costs(trades: pa.Table, costs: list[tuple[float, float]]) -> pa.Table:
    """With what the fills and the funding of each cost; the funding comes out of its P&L."""
    slippage, funding = np.array(costs, np.float64).reshape(-1, 2).T
    value = trades["quantity"].to_numpy() * trades["entry_price"].to_numpy()
    for name, paid in (("pnl", funding), ("return", funding / value)):
        at_column = trades.schema.get_field_index(name)
        left = pa.array(trades[name].to_numpy() - paid, pa.float64())
        trades = trades.set_column(at_column, trades.schema.field(name), left)
    trades = trades.append_column(_SLIPPAGE, pa.array(slippage, pa.float64()))
    return trades.append_column(_FUNDING, pa.array(funding, pa.float64()))


_EMPTY = _with_costs(TRADES.empty_table(), [])
