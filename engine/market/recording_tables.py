"""Trades, order books, and what was said of contracts, of recordings as Parquet, for pandas.

    <folder>/<venue>/<symbol>/trades.parquet    timestamp, exchange_time, symbol, trade_id, price, size, side
    <folder>/<venue>/<symbol>/books.parquet     timestamp, exchange_time, symbol, update_id, bid_price_1, bid_size_1, …
    <folder>/<venue>/<symbol>/contracts.parquet     … mark, index, funding_rate, next_funding, open_interest
    <folder>/<venue>/<symbol>/liquidations.parquet  … price, size, side

`timestamp` is when a message came, `exchange_time` the venue's own stamp. Rows are in the order of their messages, a
book's row whenever it changed. Where a book or a contract's state is lost, or trades may have been missed, is a row
without prices.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractLost,
    ContractState,
    Event,
    Instrument,
    Liquidation,
    Trade,
    TradesLost,
)
from raysignal.engine.market.books import ASK, BID
from raysignal.engine.market.download import folder_of
from raysignal.engine.market.replay import MergedReplay, Series

_ROWS = 50_000
_STAMP = pa.timestamp("us", "UTC")
_HEAD = [("timestamp", _STAMP), ("exchange_time", _STAMP), ("symbol", pa.string())]
_TRADES = pa.schema(
    [*_HEAD, ("trade_id", pa.string()), ("price", pa.float64()), ("size", pa.float64()), ("side", pa.int8())]
)
_CONTRACTS = pa.schema(
    [
        *_HEAD, *((name, pa.float64()) for name in ("mark", "index", "funding_rate")),
        ("next_funding", _STAMP), ("open_interest", pa.float64()),
    ]
)  # fmt: skip
_LIQUIDATIONS = pa.schema([*_HEAD, ("price", pa.float64()), ("size", pa.float64()), ("side", pa.int8())])


def _books(levels: int) -> pa.Schema:
    columns = [
        (f"{side}_{what}_{level}", pa.float64())
        for side in ("bid", "ask")
        for level in range(1, levels + 1)
        for what in ("price", "size")
    ]
    return pa.schema([*_HEAD, ("update_id", pa.int64()), *columns])


class _Table:
    """One file; it has its name once it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        if path.exists():
            raise InvalidField("out", str(path), "a file that is not there yet: nothing is written over")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._path, self._unfinished = path, path.with_name(f".{path.name}.tmp")
        self._schema, self._kept = schema, list[Sequence[Any]]()
        self._writer = pq.ParquetWriter(self._unfinished, schema, compression="zstd")

    def add(self, row: Sequence[Any]) -> None:
        """One more row; what it is too short for is null."""
        self._kept.append((*row, *[None] * (len(self._schema) - len(row))))
        self.rows += 1
        if len(self._kept) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._kept, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=False)]
        if arrays:
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._kept.clear()

    def finish(self) -> None:
        """The file is whole."""
        self._flush()
        self._writer.close()
        self._unfinished.replace(self._path)

    def abandon(self) -> None:
        """Nothing of an unfinished file stays."""
        self._writer.close()
        self._unfinished.unlink(missing_ok=True)


class _Tables:
    """The files of all instruments, made when their first row comes."""

    def __init__(self, folder: Path, levels: int) -> None:
        self._folder, self._levels = folder, levels
        self.tables: dict[tuple[Instrument, str], _Table] = {}

    def take(self, event: Event, replay: MergedReplay) -> None:
        """The row of an event, if it has one."""
        match event:
            case Trade():
                self._table(event.instrument, "trades").add(_trade_row(event))
            case TradesLost():
                self._table(event.instrument, "trades").add(_lost_row(event))
            case BookChange():
                book = replay.tracker(event.instrument).book(event.instrument)
                sides = [book.levels(side, self._levels) for side in (BID, ASK)]
                self._table(event.instrument, "books").add(_book_row(event, sides, self._levels))
            case BookLost():
                self._table(event.instrument, "books").add(_lost_row(event))
            case ContractState():
                self._table(event.instrument, "contracts").add(_contract_row(event))
            case Liquidation():
                self._table(event.instrument, "liquidations").add(_liquidation_row(event))
            case ContractLost():
                self._table(event.instrument, "contracts").add(_lost_row(event))

    def _table(self, instrument: Instrument, kind: str) -> _Table:
        key = instrument, kind
        if key not in self.tables:
            path = folder_of(self._folder, instrument) / f"{kind}.parquet"
            schemas = {"trades": _TRADES, "contracts": _CONTRACTS, "liquidations": _LIQUIDATIONS}
            self.tables[key] = _Table(path, schemas.get(kind) or _books(self._levels))
        return self.tables[key]


def export_recordings(series: Sequence[Series], folder: Path, levels: int) -> dict[str, dict[str, int]]:
    """Write what was recorded, of books the best `levels` prices; rows by instrument's name and file.

    Raises:
        InvalidField: a file is there already; nothing is written.
        UnreadableInput: a recording is damaged; nothing is written.
    """
    made = _Tables(folder, levels)

    def take(events: Sequence[Event]) -> None:
        for event in events:
            made.take(event, replay)

    replay = MergedReplay(series, lambda _venue: take)
    try:
        for due in replay.lines():
            replay.take(due)
        for each in made.tables.values():
            each.finish()
    except BaseException:
        for each in made.tables.values():
            each.abandon()
        raise
    found: dict[str, dict[str, int]] = {each.name: {} for each in replay.instruments}
    for (instrument, kind), table in made.tables.items():
        found[instrument.name][kind] = table.rows
    return found


def _trade_row(trade: Trade) -> Sequence[Any]:
    one = trade.instrument
    price, size = one.price(trade.price), one.size(trade.size)
    return trade.received_us, trade.exchange_us or None, one.name, trade.trade_id, price, size, trade.side


def _contract_row(state: ContractState) -> Sequence[Any]:
    one = state.instrument
    said = [None if each is None else float(each) for each in (state.mark, state.index, state.funding_rate)]
    interest = None if state.open_interest is None else float(state.open_interest)
    head = state.received_us, state.exchange_us or None, one.name
    return *head, *said, state.next_funding_us or None, interest


def _liquidation_row(forced: Liquidation) -> Sequence[Any]:
    one = forced.instrument
    head = forced.received_us, forced.exchange_us or None, one.name
    return *head, float(forced.price), one.size(forced.size), forced.side


def _lost_row(lost: BookLost | TradesLost | ContractLost) -> Sequence[Any]:
    return lost.received_us, None, lost.instrument.name


def _book_row(change: BookChange, sides: Sequence[tuple[Any, Any]], levels: int) -> Sequence[Any]:
    one = change.instrument
    row: list[Any] = [change.received_us, change.exchange_us or None, one.name, change.update_id]
    for prices, sizes in sides:
        for price, size in zip(prices.tolist(), sizes.tolist(), strict=True):
            row += [one.price(price), one.size(size)]
        row += [None, None] * (levels - len(prices))
    return row
