"""The slow, obvious reference of trades: a dictionary of open positions, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raysignal.engine.core.ledger_rows import LedgerRows


@dataclass(slots=True)
class _Open:
    row: int
    stamp: int
    side: int
    quantity: float
    price: float
    fee: float
    signal_id: str
    bars: int = 0
    seen: list[float] = field(default_factory=list)


def reference_trades(
    stamps: Sequence[int],
    symbols: Sequence[int],
    prices: Sequence[float],
    ids: Sequence[str],
    rows: LedgerRows,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The closed and the open trades, as rows of `TRADES`; symbols are numbers, stamps microseconds."""
    held: dict[int, _Open] = {}
    last: dict[int, tuple[float, str]] = {}
    closed = []
    for row, (stamp, symbol, price, own_id) in enumerate(zip(stamps, symbols, prices, ids, strict=True)):
        trade = held.get(symbol)
        after = float(rows.position[row])
        side = (after > 0) - (after < 0)
        decider = own_id if rows.outcome[row] == rows.executed[row] else last.get(symbol, (0.0, ""))[1]
        fill, fee = float(rows.fill_price[row]), float(rows.fee[row])
        closing = 0.0
        if trade is not None:
            trade.bars += 1
            if side == trade.side:
                trade.seen.append(price)
            else:
                share = trade.quantity / (trade.quantity + abs(after))
                closing = fee * share
                trade.seen.append(fill)
                closed.append(_shown(symbol, trade, fill, trade.fee + closing, row, stamp, decider))
                del held[symbol]
                trade = None
        if trade is None and side:
            held[symbol] = _Open(row, stamp, side, abs(after), fill, fee - closing, decider, seen=[fill])
        last[symbol] = (price, own_id)
    left = [_shown(symbol, trade, last[symbol][0], trade.fee) for symbol, trade in held.items()]
    return closed, sorted(left, key=lambda trade: trade["entry_ordinal"])


def _shown(
    symbol: int, trade: _Open, price: float, fees: float, row: int | None = None, stamp: int | None = None,
    decider: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    pnl = trade.side * trade.quantity * (price - trade.price) - fees
    moves = [trade.side * (seen / trade.price - 1.0) for seen in trade.seen]
    return {
        "entry_ordinal": trade.row,
        "exit_ordinal": row,
        "symbol": symbol,
        "side": "long" if trade.side > 0 else "short",
        "quantity": trade.quantity,
        "entry_time": trade.stamp,
        "entry_price": trade.price,
        "exit_time": stamp,
        "exit_price": None if row is None else price,
        "fees": fees,
        "pnl": pnl,
        "return": pnl / (trade.quantity * trade.price),
        "bars": trade.bars,
        "mfe": max(0.0, *moves),
        "mae": min(0.0, *moves),
        "entry_reason": "signal",
        "exit_reason": None if row is None else "signal",
        "entry_signal_id": trade.signal_id,
        "exit_signal_id": decider,
    }
