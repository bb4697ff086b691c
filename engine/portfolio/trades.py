"""Trades: positions from their opening to their close, made of processed rows.

A trade is one position in one symbol. A reversal closes one and opens another at the same row. Trades are a pure
function of the rows that the kernel gave back: `TradeFold` takes them in batches, however they are cut, and gives the
trades that closed. What a row does to a position is read from the position before and after it; nothing is executed
here.

    P&L of all closed trades + that of the open ones = equity - initial cash
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio.ledger import Ledger

SIDES = ("long", "short")
REASONS = tuple(reason.name.lower() for reason in CloseReason)


_NAMED = pa.dictionary(pa.int32(), pa.string())
_INSTANT = pa.timestamp("us", "UTC")

TRADES = pa.schema(
    [
        pa.field("entry_ordinal", pa.int64(), nullable=False),
        pa.field("exit_ordinal", pa.int64()),
        pa.field("symbol", _NAMED, nullable=False),
        pa.field("side", _NAMED, nullable=False),
        pa.field("quantity", pa.float64(), nullable=False),
        pa.field("entry_time", _INSTANT, nullable=False),
        pa.field("entry_price", pa.float64(), nullable=False),
        pa.field("exit_time", _INSTANT),
        pa.field("exit_price", pa.float64()),
        pa.field("fees", pa.float64(), nullable=False),
        pa.field("pnl", pa.float64(), nullable=False),
        pa.field("return", pa.float64(), nullable=False),
        pa.field("bars", pa.int64(), nullable=False),
        pa.field("mfe", pa.float64(), nullable=False),
        pa.field("mae", pa.float64(), nullable=False),
        pa.field("entry_reason", _NAMED, nullable=False),
        pa.field("exit_reason", _NAMED),
        pa.field("entry_signal_id", pa.string()),
        pa.field("exit_signal_id", pa.string()),
    ]
)
"""One row a trade.

- `entry_ordinal`, `exit_ordinal`: the rows of the portfolio's history at which it was opened and closed; of an open
  trade the exit is null.
- `quantity`: opened in all, above 0; `entry_price`, `exit_price`: means of the fills, slippage included; of one
  fill its price.
- `pnl`: after all fees, in the quote currency; of an open trade at the symbol's last price. `return`: over
  quantity * entry price, a share.
- `bars`: rows of the symbol after the opening one, the closing one included.
- `mfe`, `mae`: best and worst excursion (Sweeney, Maximum Adverse Excursion, 1997): of the prices of rows and of the
  ranges of their bars while the position was held, and of the exit price, as a share of the entry price; at least and
  at most 0. Of the bar in which a bracket closed it the exit price alone: what came before that is not known.
- `entry_reason`, `exit_reason`: one of `REASONS`.
- `entry_signal_id`, `exit_signal_id`: the signal whose decision it was, which under fill `next` is that of the
  symbol's row before the one that was filled; null where it was no signal's.
"""

_STATE = np.dtype(
    [
        ("position", "<f8"), ("last_price", "<f8"), ("last_us", "<i8"), ("side", "<i8"), ("entry_ordinal", "<i8"),
        ("entry_us", "<i8"), ("entry_quantity", "<f8"), ("entry_value", "<f8"), ("exit_quantity", "<f8"),
        ("exit_value", "<f8"), ("fees", "<f8"), ("bars", "<i8"), ("highest", "<f8"), ("lowest", "<f8"),
        ("opened_at", "<f8"),
    ]
)  # fmt: skip
"""A symbol: what is held and its last price, and the trade that is open, if one is; `opened_at` is the price of the
fill that opened it.
"""
_STATE_1 = np.dtype(_STATE.descr[:-1])  # of format 1


@dataclass(frozen=True, slots=True)
class TradeRows:
    """n processed rows of one portfolio, consecutive: what trades are made of.

    Attributes:
        first: the ordinal of the first row.
        timestamp_us: int64[n].
        symbol, symbols: int32[n] into names.
        price: float64[n].
        high, low: float64[n], how far the price went in the row's bar; `price` where not known.
        signal_id: n texts; empty: it has none.
        own: bool[n], a fill of the row is what its own signal asked for; else it is that of the symbol's row before.
        closed_by: int8[n], a `CloseReason`: why a position was closed at the row, if one was.
        exit_price: float64[n], at which it was closed: the fill's price, or that of a bracket, whose fill comes before
            that of the row's order.
        fill_quantity, fill_price, fee, position: float64[n], as in `LedgerRows`.
    """

    first: int
    timestamp_us: Int64Array
    symbol: Int32Array
    symbols: Sequence[str]
    price: Float64Array
    high: Float64Array
    low: Float64Array
    signal_id: TextColumn
    own: BoolArray
    closed_by: Int8Array
    exit_price: Float64Array
    fill_quantity: Float64Array
    fill_price: Float64Array
    fee: Float64Array
    position: Float64Array

    @classmethod
    def of(
        cls,
        first: int,
        timestamp_us: Int64Array,
        symbol: Int32Array,
        symbols: Sequence[str],
        price: Float64Array,
        signal_id: TextColumn,
        rows: LedgerRows,
        terms: SignalTerms | None = None,
    ) -> Self:
        """Signals, and what the kernel made of them, told these terms."""
        high, low = (price, price) if terms is None else terms.reach(price)
        own = rows.outcome == rows.executed
        exit_price = np.where(rows.exit_price != 0.0, rows.exit_price, rows.fill_price)
        return cls(
            first, timestamp_us, symbol, symbols, price, high, low, signal_id, own, rows.closed_by, exit_price,
            rows.fill_quantity, rows.fill_price, rows.fee, rows.position,
        )  # fmt: skip

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """Rows of the history, at least one, in its columns `COLUMNS`."""
        table = table.unify_dictionaries().combine_chunks()
        symbol = table["symbol"].chunk(0)
        executed = [table[name].cast(pa.string()) for name in ("outcome", "executed")]
        fill_price = table["fill_price"].fill_null(np.nan).to_numpy()
        exit_price = table["exit_price"].fill_null(0.0).to_numpy()
        high, low = (
            pc.coalesce(table[name], table["price"]).to_numpy() for name in ("range_high", "range_low")
        )
        return cls(
            table["ordinal"][0].as_py(),
            table["timestamp"].cast(pa.int64()).to_numpy(),
            symbol.indices.to_numpy(),
            symbol.dictionary.to_pylist(),
            table["price"].to_numpy(),
            high,
            low,
            TextColumn.of_arrow(table["signal_id"]),
            pc.equal(*executed).to_numpy(zero_copy_only=False),
            _close_reasons(table["closed_by"]),
            np.where(exit_price != 0.0, exit_price, fill_price),
            table["fill_quantity"].to_numpy(),
            fill_price,
            table["fee"].to_numpy(),
            table["position"].to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.price)

    def slice(self, start: int, stop: int) -> "TradeRows":
        """Rows `start` to `stop`."""
        part, signal_id = slice(start, stop), _texts(self.signal_id, start, stop)
        return TradeRows(
            self.first + start, self.timestamp_us[part], self.symbol[part], self.symbols, self.price[part],
            self.high[part], self.low[part], signal_id, self.own[part], self.closed_by[part], self.exit_price[part],
            self.fill_quantity[part], self.fill_price[part], self.fee[part], self.position[part],
        )  # fmt: skip


COLUMNS = (
    "ordinal", "timestamp", "symbol", "price", "signal_id", "outcome", "executed", "fill_quantity", "fill_price",
    "fee", "position", "closed_by", "exit_price", "range_high", "range_low",
)  # fmt: skip
"""Of the history, what `TradeRows.of_table` reads."""


class TradeFold:
    """The open trades of a portfolio, and what they still need to close. Not for use from two threads at once."""

    __slots__ = ("_code", "_entry_id", "_last_id", "_state", "_symbols", "count")

    def __init__(self) -> None:
        self.count = 0
        """Rows taken in: the ordinal of the next one."""
        self._symbols: list[str] = []
        self._code: dict[str, int] = {}
        self._state = np.zeros(0, _STATE)
        self._last_id: list[str] = []
        self._entry_id: list[str] = []

    def run(self, rows: TradeRows, renamed: Iterable[tuple[int, str, str]] = ()) -> pa.Table:
        """Take the next rows in; the trades that they closed, in their order, in the columns of `TRADES`.

        Args:
            rows: those from ordinal `count` on.
            renamed: symbols that got another name, as (ordinal of the first row under it, old, new), rising.

        Raises:
            ValueError: other rows than the next ones.
        """
        if rows.first != self.count:
            raise ValueError(f"rows from {rows.first} on; expected those from {self.count} on")
        closed = [TRADES.empty_table()]
        begin = 0
        for ordinal, old, new in renamed:
            if self.count <= ordinal < rows.first + len(rows):
                closed.append(self._advance(rows.slice(begin, ordinal - rows.first)))
                begin = ordinal - rows.first
                self._rename(old, new)
        closed.append(self._advance(rows.slice(begin, len(rows)) if begin else rows))
        return pa.concat_tables(closed).unify_dictionaries()

    def open(self, *, at_end: bool = False) -> pa.Table:
        """The trades that are open, in the order in which they were opened, valued at their symbols' last prices.

        Args:
            at_end: the rows were all there will ever be: each ends there, at that price and without a fee for it.
        """
        held = np.flatnonzero(self._state["position"])
        held = held[np.argsort(self._state["entry_ordinal"][held], kind="stable")]
        trades = self._state[held]
        entry_id = TextColumn.of(self._entry_id[code] for code in held)
        return _table(
            trades, self._symbols, held, entry_id, _Exits.at_last_prices(trades) if at_end else None
        )

    def dump(self) -> bytes:
        """All of it, for `load`."""
        return msgspec.msgpack.encode(
            [_FORMAT, self.count, self._symbols, self._state.tobytes(), self._last_id, self._entry_id]
        )

    @classmethod
    def load(cls, data: bytes) -> Self:
        """What `dump` wrote; `JournalDamaged` where it is none of this version."""
        try:
            told: Any = msgspec.msgpack.decode(data)
        except msgspec.DecodeError as error:
            raise JournalDamaged(f"the state of trades cannot be read: {error}") from error
        if not isinstance(told, list) or told[:1] not in ([1], [_FORMAT]):
            raise JournalDamaged(
                f"the state of trades is of another version; this program reads 1 and {_FORMAT}"
            )
        fold = cls()
        version, fold.count, fold._symbols, state, fold._last_id, fold._entry_id = told
        held = np.frombuffer(state, _STATE_1 if version == 1 else _STATE)
        fold._state = np.zeros(len(held), _STATE)
        for name in held.dtype.names or ():
            fold._state[name] = held[name]
        fold._code = {symbol: code for code, symbol in enumerate(fold._symbols)}
        return fold

    # The parts

    def _rename(self, old: str, new: str) -> None:
        code = self._code.pop(old, None)
        if code is not None:
            self._symbols[code] = new
            self._code[new] = code

    def _codes(self, rows: TradeRows) -> Int32Array:
        """The code of every row's symbol; new ones are added."""
        occur = np.bincount(rows.symbol, minlength=len(rows.symbols)) > 0
        table = np.zeros(len(rows.symbols), np.int32)
        for place in np.flatnonzero(occur).tolist():
            name = rows.symbols[place]
            if name not in self._code:
                self._code[name] = len(self._symbols)
                self._symbols.append(name)
                self._last_id.append("")
                self._entry_id.append("")
            table[place] = self._code[name]
        missing = len(self._symbols) - len(self._state)
        if missing:
            self._state = np.concatenate([self._state, np.zeros(missing, _STATE)])
        return table[rows.symbol]

    def _keep(
        self, codes: Int32Array, state: npt.NDArray[Any], last_id: TextColumn, entry_id: TextColumn
    ) -> None:
        """Note of each of these symbols its last row and its open trade."""
        self._state[codes] = state
        for code, one, other in zip(codes.tolist(), last_id.to_list(), entry_id.to_list(), strict=True):
            self._last_id[code], self._entry_id[code] = one, other

    def _advance(self, rows: TradeRows) -> pa.Table:
        n = len(rows)
        if n == 0:
            return TRADES.empty_table()
        # Symbol by symbol, each in the order of its rows.
        code = self._codes(rows)
        order = np.argsort(code, kind="stable") if len(self._symbols) > 1 else np.arange(n)
        code, position, price = code[order], rows.position[order], rows.price[order]
        fill_price, exit_price = rows.fill_price[order], rows.exit_price[order]
        first = np.diff(code, prepend=-1) != 0
        before = np.concatenate([[0.0], position[:-1]])
        before[first] = self._state["position"][code[first]]

        # Which trade each row found open, and which it left open: places in `trades`.
        side, side_before = np.sign(position), np.sign(before)
        closes = (side_before != 0.0) & (
            (side != side_before) | (rows.closed_by[order] != CloseReason.SIGNAL)
        )
        opens = (side != 0.0) & (closes | (side_before == 0.0))
        carried = first & (side_before != 0.0)
        begun = np.cumsum(carried.astype(np.int64) + opens)
        left, found = begun - 1, begun - opens - 1
        trades = np.zeros(int(begun[-1]), _STATE)
        trades[found[carried]] = self._state[code[carried]]
        # Ids: those of the rows, of the symbols' last rows before, of what opened the trades before, and none.
        count = len(self._symbols)
        texts = TextColumn.concat([rows.signal_id, TextColumn.of([*self._last_id, *self._entry_id, ""])])
        last_id, own = np.where(first, n + code, np.concatenate([[0], order[:-1]])), rows.own[order]
        decider = np.where(own, order, last_id)
        entry_id = np.full(len(trades), n + 2 * count)
        entry_id[found[carried]] = n + count + code[carried]

        # Openings.
        opened = left[opens]
        trades["side"][opened] = side[opens]
        trades["entry_ordinal"][opened] = rows.first + order[opens]
        trades["entry_us"][opened] = rows.timestamp_us[order[opens]]
        for bound in ("highest", "lowest", "opened_at"):
            trades[bound][opened] = fill_price[opens]
        entry_id[opened] = decider[opens]

        # Fills: what closes and what opens, each with its share of the fee.
        fills = np.flatnonzero(closes | opens | (position != before))
        size, size_before = np.abs(position[fills]), np.abs(before[fills])
        outwards = np.where(closes[fills], size_before, np.maximum(size_before - size, 0.0))
        inwards = np.where(opens[fills], size, np.maximum(size - size_before, 0.0))
        _add_fills(
            trades, rows.fee[order[fills]], ("exit", found[fills], outwards, exit_price[fills]),
            ("entry", left[fills], inwards, fill_price[fills]),
        )  # fmt: skip

        open_before = np.flatnonzero(side_before)
        _add_bars(trades, found[open_before], rows, order[open_before], closes[open_before])

        # Of each symbol its last row, and its open trade, for later rows.
        last = np.flatnonzero(np.diff(code, append=-1))
        held, state = side[last] != 0.0, np.zeros(len(last), _STATE)
        state[held] = trades[left[last[held]]]
        state["position"], state["last_price"] = position[last], price[last]
        state["last_us"] = rows.timestamp_us[order[last]]
        kept = np.where(held, entry_id[left[last]] if len(trades) else 0, n + 2 * count)
        self._keep(code[last], state, texts.take(order[last]), texts.take(kept))
        self.count = rows.first + n

        closing = np.flatnonzero(closes)
        closing = closing[np.argsort(order[closing])]
        row, trade = order[closing], found[closing]
        reason = rows.closed_by[row]
        exit_id = np.where(reason == CloseReason.SIGNAL, decider[closing], n + 2 * count)
        exits = _Exits(
            rows.first + row, rows.timestamp_us[row], texts.take(exit_id), reason, exit_price[closing]
        )
        return _table(trades[trade], self._symbols, code[closing], texts.take(entry_id[trade]), exits)


def _add_bars(
    trades: npt.NDArray[Any], at: Int64Array, rows: TradeRows, taken: Int64Array, closes: BoolArray
) -> None:
    """Add to trades, at these places, the rows that found them open, of which some closed them."""
    high, low, price, exit_price = (
        each[taken] for each in (rows.high, rows.low, rows.price, rows.exit_price)
    )
    by_order = closes & (rows.closed_by[taken] == CloseReason.SIGNAL)  # at the end of the row's bar
    above, below = by_order & (high > price), by_order & (low < price)
    high = np.where(closes, np.where(above, np.maximum(high, exit_price), exit_price), high)
    low = np.where(closes, np.where(below, np.minimum(low, exit_price), exit_price), low)
    np.add.at(trades["bars"], at, 1)
    np.maximum.at(trades["highest"], at, high)
    np.minimum.at(trades["lowest"], at, low)


def _add_fills(
    trades: npt.NDArray[Any], fee: Float64Array, *parts: tuple[str, Int64Array, Float64Array, Float64Array]
) -> None:
    """Add fills to trades, with their share of the fee: which part, the trades' places, quantities and prices."""
    values = [np.where(quantity > 0.0, quantity * price, 0.0) for _, _, quantity, price in parts]
    fee_rate = fee / np.sum(values, axis=0)
    for (kind, at, quantity, _), value in zip(parts, values, strict=True):
        some = quantity > 0.0
        np.add.at(trades[f"{kind}_quantity"], at[some], quantity[some])
        np.add.at(trades[f"{kind}_value"], at[some], value[some])
        np.add.at(trades["fees"], at[some], (fee_rate * value)[some])


def trades_of(
    policy: Policy,
    timestamp_us: Int64Array,
    symbol: Int32Array,
    symbols: Sequence[str],
    action: Int8Array,
    price: Float64Array,
    signal_id: TextColumn | None = None,
    terms: SignalTerms | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The trades of a portfolio that sees n signals and nothing after them: those closed, and those that end there.

    Args:
        policy: of the portfolio.
        timestamp_us: int64[n], and so on, as `Ledger.run` takes them; memory grows with the trades alone.
        symbol: int32[n] into `symbols`.
        symbols: names.
        action: int8[n], what is done.
        price: float64[n].
        signal_id: n texts; None: they have none.
        terms: what the signals say beside their action; None: nothing.
    """
    ledger, fold = Ledger(policy), TradeFold()
    ledger.ensure_symbols(len(symbols))
    closed = [TRADES.empty_table()]
    for start in range(0, len(price), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = LedgerRows.empty(len(price[part]))
        own = None if terms is None else terms.slice(start, start + len(rows))
        ledger.run(timestamp_us[part], symbol[part], action[part], price[part], rows, terms=own)
        ids = (
            TextColumn.empty(len(rows)) if signal_id is None else _texts(signal_id, start, start + len(rows))
        )
        closed.append(
            fold.run(
                TradeRows.of(start, timestamp_us[part], symbol[part], symbols, price[part], ids, rows, own)
            )
        )
    return pa.concat_tables(closed).unify_dictionaries(), fold.open(at_end=True)


_BLOCK = 131_072
_NOISE = 1e-14
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class _Exits:
    """When, by which signals, why and at which last price trades were closed; without ordinals no row did it."""

    ordinal: Int64Array | None
    timestamp_us: Int64Array
    signal_id: TextColumn
    reason: Int8Array
    price: Float64Array

    @classmethod
    def at_last_prices(cls, trades: Any) -> "_Exits":
        n = len(trades)
        return cls(None, trades["last_us"], TextColumn.empty(n), np.full(n, CloseReason.END_OF_FILE, np.int8),
                   trades["last_price"])  # fmt: skip


def _table(
    trades: Any,
    symbols: Sequence[str],
    code: Int32Array | Int64Array,
    entry_id: TextColumn,
    exits: _Exits | None,
) -> pa.Table:
    """Trades in the columns of `TRADES`; without exits they are open."""
    n = len(trades)
    side = trades["side"]
    price = _mean_price(trades["entry_value"], trades["entry_quantity"], trades["opened_at"])
    last = trades["last_price"]
    if exits is None or exits.ordinal is None:
        pnl = (
            trades["position"] * last + side * (trades["exit_value"] - trades["entry_value"]) - trades["fees"]
        )
    else:
        pnl = side * (trades["exit_value"] - trades["entry_value"]) - trades["fees"]
        last = _mean_price(trades["exit_value"], trades["exit_quantity"], exits.price)
    best = np.where(side > 0, trades["highest"], trades["lowest"])
    worst = np.where(side > 0, trades["lowest"], trades["highest"])
    none = [None] * n
    columns: dict[str, Any] = {
        "entry_ordinal": pa.array(trades["entry_ordinal"]),
        "exit_ordinal": none if exits is None or exits.ordinal is None else pa.array(exits.ordinal),
        "symbol": pa.DictionaryArray.from_arrays(code.astype(np.int32), pa.array(symbols, pa.string())),
        "side": pa.DictionaryArray.from_arrays((side < 0).astype(np.int32), pa.array(SIDES)),
        "quantity": trades["entry_quantity"],
        "entry_time": pa.array(trades["entry_us"]).view(_INSTANT),
        "entry_price": price,
        "exit_time": none if exits is None else pa.array(exits.timestamp_us).view(_INSTANT),
        "exit_price": none if exits is None else last,
        "fees": trades["fees"],
        "pnl": pnl,
        "return": pnl / trades["entry_value"],
        "bars": trades["bars"],
        "mfe": np.maximum(side * (best / price - 1.0), 0.0),
        "mae": np.minimum(side * (worst / price - 1.0), 0.0),
        "entry_reason": _reasons(np.full(n, CloseReason.SIGNAL)),
        "exit_reason": none if exits is None else _reasons(exits.reason),
        "entry_signal_id": _ids(entry_id),
        "exit_signal_id": none if exits is None else _ids(exits.signal_id),
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field, column in zip(TRADES, columns.values(), strict=True)
    ]
    return pa.table(arrays, schema=TRADES)


def _mean_price(value: Float64Array, quantity: Float64Array, one: Float64Array) -> Float64Array:
    """Of fills, float64[n]; `one` of their prices where no other differs from it by more than rounding."""
    mean = value / quantity
    return np.where(np.abs(mean - one) <= _NOISE * mean, one, mean)


def _close_reasons(column: pa.ChunkedArray) -> Int8Array:
    """The history's `closed_by`, int8[n]; a null is no bracket's doing."""
    names = column.cast(pa.string()).fill_null(CloseReason.SIGNAL.name)
    known = pa.array([reason.name for reason in CloseReason])
    codes: Int8Array = pc.index_in(names, known).to_numpy().astype(np.int8)
    return codes


def _reasons(codes: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(REASONS))


def _texts(texts: TextColumn, start: int, stop: int) -> TextColumn:
    offsets = texts.offsets[start : stop + 1]
    return TextColumn(texts.data[offsets[0] : offsets[-1]], offsets - offsets[0])


def _ids(texts: TextColumn) -> pa.Array:
    """As Arrow strings; empty ones are null."""
    there = pa.array(np.diff(texts.offsets) > 0)
    return pc.if_else(there, texts.to_arrow().cast(pa.string()), pa.scalar(None, pa.string()))
