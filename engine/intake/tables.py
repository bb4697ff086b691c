"""Columns of cells to a batch: what every format comes down to.

A format finds cells and hands them over as `RowBlock`s of some thousand rows. Here each column is judged at once;
rows in which every cell was clear become the batch as they are, each other row is read again, alone, by
`signal_of`, which either understands it or says in a sentence why not.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, InputTooLarge, InvalidField, shorten
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.core.terms import TERMS
from raysignal.engine.intake.fields import (
    ALIASES,
    BOUNDS,
    FIELD_OF,
    LEVELS,
    MAX_FEATURES,
    REQUIRED,
    Reading,
    check_feature_name,
    signal_of,
)
from raysignal.engine.intake.scanner import MAX_COLUMNS
from raysignal.engine.intake.values import (
    FeatureColumn,
    read_actions,
    read_expiries,
    read_feature,
    read_flags,
    read_ids,
    read_instants,
    read_missing,
    read_names,
    read_numbers,
    read_prices,
)

MAX_ERRORS = 1000
# Columns are dense: rows that share few of their features would take far more room than they came in.
MAX_EMPTY_CELLS = 32_000_000


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Some rows of the input.

    Attributes:
        rows: how many.
        first_row: the position of the first among all data rows.
        columns: name as the caller wrote it, to its cells: Arrow texts, float64, booleans or nulls.
        plain: bool[rows], false where the cells do not say all of the row.
        reread: the names and values of one row of the block, for the reference; may raise `InputError`.
    """

    rows: int
    first_row: int
    columns: Mapping[str, pa.Array]
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
        if required not in present and not (required == "signal" and "price_only" in present):
            there = shorten(", ".join(names))
            expected = f"a column named {' or '.join(ALIASES[required])} among {there}"
            raise InvalidField(required, None, expected)


def _read_columns(block: RowBlock, reading: Reading, clear: BoolArray) -> SignalBatch:
    """Judge every column, narrowing `clear`; the batch of the rows that stay clear."""
    cells = {field: _field_cells(block, field, clear) for field in ALIASES}
    timestamp_us = _instants(cells["timestamp"], reading, clear)
    action = _actions(cells, reading, clear)
    price, judged = read_prices(cells["price"])
    clear &= judged
    terms = _terms(cells, timestamp_us, action, price, reading, clear)
    ids, judged = read_ids(cells["signal_id"])
    clear &= judged
    features = _features(block, clear)
    for field in ("symbol", "source"):
        clear &= read_names(cells[field], field, "")[2]

    whole = bool(clear.all())
    rows = np.flatnonzero(clear)
    coded = {}
    for field, default in (("symbol", reading.symbol), ("source", reading.source)):
        named = cells[field] if whole else cells[field].take(pa.array(rows))
        coded[field] = read_names(named, field, default)
    numbers, texts = {}, {}
    for name, feature in features.items():
        if feature.numbers is not None:
            numbers[name] = feature.numbers if whole else feature.numbers[rows]
        if feature.texts is not None:
            texts[name] = feature.texts if whole else feature.texts.take(rows)
    return SignalBatch.of(
        timestamp_us=timestamp_us[rows], action=action[rows], price=price[rows],
        symbols=coded["symbol"][0], symbol=coded["symbol"][1],
        sources=coded["source"][0], source=coded["source"][1],
        signal_id=ids if whole else ids.take(rows),
        numbers=numbers, texts=texts, row=rows + block.first_row,
        terms=None if terms is None else terms[rows],
    )  # fmt: skip


def _field_cells(block: RowBlock, field: str, clear: BoolArray) -> pa.Array:
    """The cells of a field, which may stand under different names in different rows; nulls if it has no column."""
    found = [block.columns[name] for name in ALIASES[field] if name in block.columns]
    found = [array for array in found if array.null_count < len(array)]
    if len({array.type for array in found}) > 1:
        clear[:] = False
    elif len(found) > 1:
        clear &= sum(array.is_valid().to_numpy(zero_copy_only=False).astype(np.int8) for array in found) < 2
        return pc.coalesce(*found)
    return found[0] if found else pa.nulls(block.rows)


def _actions(cells: Mapping[str, pa.Array], reading: Reading, clear: BoolArray) -> Int8Array:
    """Actions; a row that is only a price needs none, and may have none."""
    flags, judged = read_flags(cells["price_only"])
    clear &= judged
    some = bool(flags.any())
    actions, judged = read_actions(cells["signal"], prices_only=reading.prices_only or some)
    clear &= judged
    if some:
        missing = read_missing(cells["signal"])
        clear &= missing == flags if not reading.prices_only else missing | ~flags
    return actions


def _terms(
    cells: Mapping[str, pa.Array],
    timestamp_us: Int64Array,
    action: Int8Array,
    price: Float64Array,
    reading: Reading,
    clear: BoolArray,
) -> Float64Array | None:
    """What the rows say beside their actions, NaN where nothing; None where no row says any of it."""
    if all(cells[field].null_count == len(action) for field in TERMS):
        return None
    terms = np.full((len(action), len(TERMS)), np.nan)
    opens = np.abs(action) == 1
    with np.errstate(invalid="ignore"):  # what is infinite is refused by its bounds
        for place, field in enumerate(TERMS):
            if field == "expires":
                values, judged = read_expiries(cells[field], reading.zone)
                right = values > timestamp_us
            else:
                values, judged = read_numbers(cells[field], *BOUNDS[field])
                right = (values - price) * LEVELS[field] * action > 0 if field in LEVELS else np.True_
            clear &= judged
            clear &= np.isnan(values) | (right if field == "confidence" else right & opens)
            terms[:, place] = values
    return terms


def _instants(cells: pa.Array, reading: Reading, clear: BoolArray) -> Int64Array:
    instants, judged = read_instants(cells, reading.zone)
    instants += reading.shift_us
    clear &= judged
    if reading.latest_us is not None:
        clear &= instants <= reading.latest_us
    return instants


def _features(block: RowBlock, clear: BoolArray) -> dict[str, FeatureColumn]:
    features: dict[str, FeatureColumn] = {}
    filled = np.zeros(block.rows, np.int32)
    for name, cells in block.columns.items():
        if name in FIELD_OF or is_secret_name(name):
            continue
        try:
            kept_as = check_feature_name(name, None)
        except InvalidField:
            clear[:] = False
            continue
        if kept_as in features:
            clear &= cells.is_null().to_numpy(zero_copy_only=False)
            continue
        features[kept_as] = feature = read_feature(cells)
        clear &= feature.clear
        filled += feature.filled
    if len(features) > MAX_FEATURES:
        clear &= filled <= MAX_FEATURES
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
    instants = _instants(_field_cells(block, "timestamp", clear), reading, clear)
    return instants if bool(clear.all()) else read_block(block, reading, [])[0].timestamp_us
