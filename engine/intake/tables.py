"""Columns of cells to a batch: what every format comes down to.

A format finds cells and hands them over as `RowBlock`s of some thousand rows. Here each column is judged at once;
rows in which every cell was clear become the batch as they are, each other row is read again, alone, by
`signal_of`, which either understands it or says in a sentence why not.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import InputError, InputTooLarge, InvalidField, shorten
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.intake.fields import (
    ALIASES,
    FIELD_OF,
    MAX_FEATURES,
    MAX_ID,
    MAX_NAME,
    MAX_PRICE,
    MAX_TEXT_BYTES,
    MIN_PRICE,
    REQUIRED,
    Reading,
    check_feature_name,
    signal_of,
)
from raysignal.engine.intake.parsing import (
    NUMERIC,
    PENDING,
    TEXTUAL,
    UNCLEAR,
    decimal_spans,
    gather_spans,
    read_actions,
    read_feature,
    read_numbers,
    trim_names,
)
from raysignal.engine.intake.scanning import ABSENT, MAX_COLUMNS
from raysignal.engine.intake.stamps import read_stamps, to_instants

MAX_ERRORS = 1000
# Columns are dense: rows that share few of their features would take far more room than they came in.
MAX_EMPTY_CELLS = 32_000_000

_NO_VALUES = np.empty(0, np.float64)


def _no_values() -> Float64Array:
    return _NO_VALUES


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One column of n cells.

    Attributes:
        data: the bytes that the spans lie in.
        start, end: int32[n], where each cell's text or number stands in `data`.
        kind: uint8[n], as in `engine.intake.scanning`.
        values: float64[n] for cells of kind VALUE, else empty.
    """

    data: UInt8Array
    start: Int32Array
    end: Int32Array
    kind: UInt8Array
    values: Float64Array = field(default_factory=_no_values)


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Some rows of the input.

    Attributes:
        rows: how many.
        first_row: the position of the first among all data rows.
        columns: name as the caller wrote it, to cells.
        plain: bool[rows], false where the cells do not say all of the row.
        reread: the names and values of one row of the block, for the reference; may raise `InputError`.
    """

    rows: int
    first_row: int
    columns: Mapping[str, Cells]
    plain: BoolArray
    reread: Callable[[int], Mapping[str, object]]


@dataclass(frozen=True, slots=True, eq=False)
class IntakeResult:
    """What came in.

    Attributes:
        batch: the valid rows, in time; `batch.row` says where each stood.
        errors: the first 1000 rows that cannot be used, each with its row.
        rows: how many data rows there were.
        refused: how many of them cannot be used.
    """

    batch: SignalBatch
    errors: list[InputError]
    rows: int
    refused: int


def take_in(blocks: Iterable[RowBlock], reading: Reading) -> IntakeResult:
    """Everything in `blocks` as one intake.

    Raises:
        InputTooLarge: more rows than `reading.max_rows`, or more feature names than columns can be made for.
        InputError: what a format raises when it cannot go on.
    """
    batches: list[SignalBatch] = []
    errors: list[InputError] = []
    rows = refused = 0
    for block in blocks:
        rows += block.rows
        if reading.max_rows is not None and rows > reading.max_rows:
            raise InputTooLarge(
                f"more than {reading.max_rows} rows; expected at most that many at once",
                limit=reading.max_rows,
            )
        batch, wrong = read_block(block, reading, errors)
        refused += wrong
        if len(batch):
            batches.append(batch)
    return IntakeResult(_joined(batches).in_time(), errors, rows, refused)


def read_block(block: RowBlock, reading: Reading, errors: list[InputError]) -> tuple[SignalBatch, int]:
    """The valid rows of a block, in their order, and how many are not; `errors` is added to up to its limit."""
    clear = block.plain.copy()
    batch = _read_columns(block, reading, clear)
    if bool(clear.all()):
        return batch, 0
    refused = 0
    signals, places = [], []
    names = {*batch.numbers, *batch.texts}
    for row in np.flatnonzero(~clear).tolist():
        position = block.first_row + row
        try:
            signal = signal_of(block.reread(row), reading, row=position)
        except InputError as error:
            refused += 1
            if len(errors) < MAX_ERRORS:
                # Without the traceback, which would keep alive all that was read here.
                errors.append(_placed(error, position).with_traceback(None))
            continue
        signals.append(signal)
        places.append(position)
        names.update(signal.features)
        _check_names(len(names))
    if signals:
        again = replace(SignalBatch.of_signals(signals), row=np.array(places, np.int64))
        batch = SignalBatch.concat([batch, again])
        batch = batch.take(np.argsort(batch.row, kind="stable"))
    return batch, refused


def _placed(error: InputError, row: int) -> InputError:
    """The error with its row, if it does not say it yet."""
    if error.fields.get("row") == row:
        return error
    placed_error = type(error).__new__(type(error))
    Exception.__init__(placed_error, f"row {row}: {error}")
    placed_error.fields = {**error.fields, "row": row}
    return placed_error


def require_columns(names: Iterable[str], fields: Iterable[str] = REQUIRED) -> None:
    """Refuse a table that lacks a required column once, and not row by row."""
    present = {FIELD_OF.get(name) for name in names}
    for required in fields:
        if required not in present:
            there = shorten(", ".join(names))
            expected = f"a column named {' or '.join(ALIASES[required])} among {there}"
            raise InvalidField(required, None, expected)


def _read_columns(block: RowBlock, reading: Reading, clear: BoolArray) -> SignalBatch:
    """Judge every column, narrowing `clear`; the batch of the rows that stay clear."""
    n = block.rows
    fields = {name: _field_cells(block, names, clear) for name, names in ALIASES.items()}
    timestamp_us = _stamps(fields["timestamp"], reading, clear)
    action = np.zeros(n, np.int8)
    price = np.ones(n, np.float64)
    if (cells := fields["signal"]) is None:
        clear &= reading.prices_only
    else:
        read_actions(cells.data, cells.start, cells.end, cells.kind, cells.values, action, clear)
    if (cells := fields["price"]) is None:
        clear[:] = False
    else:
        price = _prices(cells, clear)
    symbols = _names(fields["symbol"], MAX_NAME, n, clear)
    sources = _names(fields["source"], MAX_NAME, n, clear)
    ids = _names(fields["signal_id"], MAX_ID, n, clear)
    features = _features(block, clear)

    rows = np.flatnonzero(clear)
    symbol_names, symbol = _coded(symbols, rows, reading.symbol)
    source_names, source = _coded(sources, rows, reading.source)
    numbers: dict[str, Float64Array] = {}
    whole = len(rows) == n
    for name, feature in features.items():
        numbers[name] = feature.numbers if whole else feature.numbers[rows]
    # In the order in which they are stored.
    textual = sorted((name, feature) for name, feature in features.items() if feature.texts)
    gathered = gather_spans([feature.spans for _, feature in textual], rows)
    texts = {name: TextColumn(*text) for (name, _), text in zip(textual, gathered, strict=True)}
    return SignalBatch.of(
        timestamp_us=timestamp_us[rows], action=action[rows], price=price[rows],
        symbol=symbol, symbols=symbol_names, source=source, sources=source_names,
        signal_id=None if ids is None else TextColumn(*ids.gather(rows)),
        numbers=numbers, texts=texts, row=rows + block.first_row,
    )  # fmt: skip


def _field_cells(block: RowBlock, names: tuple[str, ...], clear: BoolArray) -> Cells | None:
    """The cells of a field, which may stand under different names in different rows."""
    found = [block.columns[name] for name in names if name in block.columns]
    if len(found) < 2:
        return found[0] if found else None
    present = sum((cells.kind != ABSENT).astype(np.int8) for cells in found)
    clear &= present < 2
    merged = found[0]
    for cells in found[1:]:
        if cells.data is not merged.data or len(cells.values) or len(merged.values):
            clear[:] = False
            return merged
        there = cells.kind != ABSENT
        merged = Cells(
            merged.data,
            np.where(there, cells.start, merged.start),
            np.where(there, cells.end, merged.end),
            np.where(there, cells.kind, merged.kind),
        )
    return merged


def _stamps(cells: Cells | None, reading: Reading, clear: BoolArray) -> Int64Array:
    n = len(clear)
    local_us, offset_us = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if cells is None:
        clear[:] = False
        return local_us
    read_stamps(cells.data, cells.start, cells.end, cells.kind, local_us, offset_us, clear)
    instants = to_instants(local_us, offset_us, reading.zone, clear) + reading.shift_us
    if reading.latest_us is not None:
        clear &= instants <= reading.latest_us
    return instants


def _prices(cells: Cells, clear: BoolArray) -> Float64Array:
    price, verdict = np.empty(len(clear), np.float64), np.empty(len(clear), np.uint8)
    if read_numbers(cells.data, cells.start, cells.end, cells.kind, cells.values, price, verdict):
        _settle(cells, price, verdict)
    clear &= (verdict == NUMERIC) & (price >= MIN_PRICE) & (price <= MAX_PRICE)
    return price


def _settle(cells: Cells, out: Float64Array, verdict: UInt8Array) -> None:
    """Convert the numbers of many digits, exactly rounded."""
    rows = np.flatnonzero(verdict == PENDING)
    first, last = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    decimal_spans(cells.data, cells.start, cells.end, rows, first, last)
    every = np.ones(len(rows), np.bool_)
    ((data, offsets),) = gather_spans([(cells.data, first, last, every)], np.arange(len(rows)))
    out[rows] = TextColumn(data, offsets).to_arrow().cast(pa.float64()).to_numpy(zero_copy_only=False)
    verdict[rows] = NUMERIC


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    data: UInt8Array
    first: Int32Array
    last: Int32Array

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array]:
        every = np.ones(len(self.first), np.bool_)
        (gathered,) = gather_spans([(self.data, self.first, self.last, every)], rows)
        return gathered


def _names(cells: Cells | None, limit: int, n: int, clear: BoolArray) -> _Names | None:
    if cells is None:
        return None
    names = _Names(cells.data, np.empty(n, np.int32), np.empty(n, np.int32))
    trim_names(cells.data, cells.start, cells.end, cells.kind, limit, names.first, names.last, clear)
    return names


def _coded(names: _Names | None, rows: Int64Array, default: str) -> tuple[list[str], Int32Array]:
    """The distinct names of `rows`, and for each row which it is."""
    if names is None:
        return [default], np.zeros(len(rows), np.int32)
    coded = TextColumn(*names.gather(rows)).to_arrow().dictionary_encode()
    distinct = [name or default for name in coded.dictionary.to_pylist()]
    position = {name: code for code, name in enumerate(dict.fromkeys(distinct))}
    codes = np.array([position[name] for name in distinct], np.int32)
    return list(position), codes[coded.indices.to_numpy(zero_copy_only=False)]


@dataclass(frozen=True, slots=True, eq=False)
class _Feature:
    cells: Cells
    numbers: Float64Array
    verdict: UInt8Array
    texts: int

    @property
    def spans(self) -> tuple[UInt8Array, Int32Array, Int32Array, BoolArray]:
        """What `gather_spans` wants of its texts."""
        return self.cells.data, self.cells.start, self.cells.end, self.verdict == TEXTUAL


def _features(block: RowBlock, clear: BoolArray) -> dict[str, _Feature]:
    features: dict[str, _Feature] = {}
    valued = np.zeros(block.rows, np.int32)
    for name, cells in block.columns.items():
        if name in FIELD_OF or is_secret_name(name):
            continue
        try:
            kept_as = check_feature_name(name, None)
        except InvalidField:
            clear &= cells.kind == ABSENT
            continue
        if kept_as in features:
            clear &= cells.kind == ABSENT
            continue
        numbers, verdict = np.empty(block.rows, np.float64), np.empty(block.rows, np.uint8)
        texts, pending = read_feature(
            cells.data, cells.start, cells.end, cells.kind, cells.values, MAX_TEXT_BYTES, numbers, verdict
        )
        if pending:
            _settle(cells, numbers, verdict)
        clear &= verdict != UNCLEAR
        valued += verdict != 0
        features[kept_as] = _Feature(cells, numbers, verdict, texts)
    if len(features) > MAX_FEATURES:
        clear &= valued <= MAX_FEATURES
    return features


def _joined(batches: list[SignalBatch]) -> SignalBatch:
    if not batches:
        return SignalBatch.of_signals([])
    _check_width(batches)
    return SignalBatch.concat(batches)


def _check_width(batches: list[SignalBatch]) -> None:
    names = {name for batch in batches for name in (*batch.numbers, *batch.texts)}
    _check_names(len(names))
    rows = sum(len(batch) for batch in batches)
    filled = sum(len(batch) * (len(batch.numbers) + len(batch.texts)) for batch in batches)
    if len(names) * rows > max(MAX_EMPTY_CELLS, 4 * filled):
        raise InputTooLarge(
            f"{rows} rows share few of their {len(names)} features; expected fewer rows at once"
        )


def _check_names(count: int) -> None:
    """Columns are as long as the input, so there may not be any number of them."""
    if count > MAX_COLUMNS:
        raise InputTooLarge(f"more than {MAX_COLUMNS} different features; expected at most that many at once")


def instants_of(block: RowBlock, reading: Reading) -> Int64Array:
    """When the valid rows of a block were known, without reading the rest of them where that can be helped."""
    clear = block.plain.copy()
    instants = _stamps(_field_cells(block, ALIASES["timestamp"], clear), reading, clear)
    return instants if bool(clear.all()) else read_block(block, reading, [])[0].timestamp_us
