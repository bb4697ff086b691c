"""What the service is measured against: one uvicorn process, FastAPI, pydantic, and a portfolio in memory.

It reads the same body, keeps the same kind of portfolio (long/flat, a fee, several symbols) and answers with the
figures that a plain implementation keeps along. With `--sqlite FILE` each signal is committed before it is
answered (WAL, synchronous=FULL). Nothing is idempotent, late signals are not looked for.

    python -m benchmarks.http_peers PORT [--sqlite FILE]
"""

import math
import sqlite3
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

FEE = 0.001
_NAMES: dict[int | str, str] = {-1: "SELL", 0: "HOLD", 1: "BUY"}


class SignalIn(BaseModel):
    """The body."""

    model_config = ConfigDict(extra="allow")

    timestamp: datetime
    signal: Literal[-1, 0, 1, "SELL", "HOLD", "BUY"]
    price: Annotated[float, Field(ge=1e-15, le=1e15, allow_inf_nan=False)]
    symbol: Annotated[str, Field(min_length=1, max_length=64)] = "BTC"
    signal_id: Annotated[str, Field(max_length=128)] = ""


class FillOut(BaseModel):
    """A fill."""

    side: str
    quantity: float
    price: float
    notional: float
    fee: float


class PerformanceOut(BaseModel):
    """What is kept along."""

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
    max_drawdown: float
    drawdown: float


class ReceiptOut(BaseModel):
    """The answer."""

    signal_id: str
    portfolio: str
    ordinal: int
    symbol: str
    timestamp: datetime
    signal: str
    price: float
    fill: FillOut | None
    signal_return: float
    performance: PerformanceOut


@dataclass
class PlainPosition:
    """One symbol's."""

    quantity: float = 0.0
    cost: float = 0.0
    price: float = 0.0


@dataclass
class PlainPortfolio:
    """All of it, as one would write it first."""

    cash: float = 10_000.0
    equity: float = 10_000.0
    peak: float = 10_000.0
    worst: float = 0.0
    realised: float = 0.0
    fees: float = 0.0
    gains: float = 0.0
    losses: float = 0.0
    wins: int = 0
    trades: int = 0
    closed: int = 0
    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    positions: dict[str, PlainPosition] = field(default_factory=dict)

    def take(self, signal: SignalIn) -> ReceiptOut:
        """One signal in, its receipt out."""
        position = self.positions.setdefault(signal.symbol, PlainPosition())
        fill = self._trade(signal, position)
        position.price = signal.price
        before = self.equity
        held = sum(each.quantity * each.price for each in self.positions.values())
        self.equity = self.cash + held
        gained = self.equity / before - 1.0
        self.peak = max(self.peak, self.equity)
        drawdown = 1.0 - self.equity / self.peak
        self.worst = max(self.worst, drawdown)
        self.count += 1
        delta = gained - self.mean
        self.mean += delta / self.count
        self.m2 += delta * (gained - self.mean)
        deviation = math.sqrt(self.m2 / (self.count - 1)) if self.count > 1 else 0.0
        name = _NAMES.get(signal.signal, str(signal.signal))
        return ReceiptOut(
            signal_id=signal.signal_id, portfolio="baseline", ordinal=self.count - 1, symbol=signal.symbol,
            timestamp=signal.timestamp, signal=name, price=signal.price, fill=fill, signal_return=gained,
            performance=PerformanceOut(
                signals=self.count, initial_cash=10_000.0, cash=self.cash, equity=self.equity,
                total_return=self.equity / 10_000.0 - 1.0, signal_return=gained, realised_pnl=self.realised,
                unrealised_pnl=held - sum(each.cost for each in self.positions.values()), fees=self.fees,
                trades=self.trades, closed_trades=self.closed,
                win_rate=self.wins / self.closed if self.closed else None,
                profit_factor=self.gains / self.losses if self.losses else None,
                sharpe=self.mean / deviation * math.sqrt(365.0) if deviation else None,
                max_drawdown=self.worst, drawdown=drawdown,
            ),
        )  # fmt: skip

    def _trade(self, signal: SignalIn, position: PlainPosition) -> FillOut | None:
        price = signal.price
        if signal.signal in {1, "BUY"} and not position.quantity and self.cash > 0.0:
            quantity = self.cash / (price * (1.0 + FEE))
            fee = quantity * price * FEE
            position.quantity, position.cost = quantity, self.cash
            self.cash = 0.0
            side = "BUY"
        elif signal.signal in {-1, "SELL"} and position.quantity:
            quantity = position.quantity
            fee = quantity * price * FEE
            profit = quantity * price - fee - position.cost
            self.cash += quantity * price - fee
            self.realised += profit
            self.closed += 1
            self.wins += profit > 0.0
            self.gains += max(profit, 0.0)
            self.losses += max(-profit, 0.0)
            position.quantity = position.cost = 0.0
            side = "SELL"
        else:
            return None
        self.fees += fee
        self.trades += 1
        return FillOut(side=side, quantity=quantity, price=price, notional=quantity * price, fee=fee)


def peer(database: str | None) -> FastAPI:
    """The application; with a database, every signal is committed to it first."""
    app = FastAPI()
    portfolio = PlainPortfolio()
    connection = None
    if database is not None:
        connection = sqlite3.connect(database, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE signals (id INTEGER PRIMARY KEY, body TEXT)")

    @app.post("/signal")
    async def post_signal(signal: SignalIn) -> ReceiptOut:
        if connection is not None:
            connection.execute("INSERT INTO signals (body) VALUES (?)", (signal.model_dump_json(),))
        return portfolio.take(signal)

    return app


if __name__ == "__main__":
    uvicorn.run(
        peer(sys.argv[3] if len(sys.argv) > 3 else None),
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False,
    )  # fmt: skip
