"""Columns of cells to a batch: what every format comes down to.

A format finds cells and hands them over as `RowBlock`s of some thousand rows. Here each column is judged at once;
rows in which every cell was clear become the batch as they are, each other row is read again, alone, by
`signal_of`, which either understands it or says in a sentence why not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, InputTooLarge, InvalidField, WrongDateOrder, shorten
from raysignal.engine.core.instants import (
    DAY_US,
    is_naive,
    is_stamp,
    repeated_after_us,
    second_times,
)
from raysignal.engine.core.secrets import HIDDEN, is_secret_name
from raysignal.engine.core.terms import EXPIRES, TERMS
from raysignal.engine.intake.field_rules import (
    ALIASES,
    BOUNDS,
    LEVELS,
    NAMES_FIELDS,
    NamedFields,
    check_feature_name,
    fields_in,
    number_in,
)
from raysignal.engine.intake.fields import MAX_FEATURES, check_order, signal_of, stamps_in
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.scanner import MAX_COLUMNS
from raysignal.engine.intake.templates import STRATEGY_NAMES
from raysignal.engine.intake.values import (
    FeatureColumn,
    clock_rows,
    dates_and_times,
    in_plain_digits,
    is_text,
    may_repeat,
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
_NO = pa.scalar(value=False)
# Columns are dense: rows that share few of their features would take far more room than they came in.
MAX_EMPTY_CELLS = 32_000_000


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Some rows of the input.

    Attributes:
        rows: how many.
        first_row: the position of the first among all data rows.
        columns: name as the caller wrote it, to its cells: Arrow texts, float64, int64, booleans or nulls.
        plain: bool[rows], false where the cells do not say all of the row.
        reread: the names and values of one row of the block, for the reference; may raise `InputError`.
        by_place: cells have their names by where they stand, as in CSV: a row that lacks one and has one too many says
            a cell under its neighbour's name.
    """

    rows: int
    first_row: int
    columns: Mapping[str, pa.Array]
    plain: BoolArray
    reread: Callable[[int], Mapping[str, object]]
    by_place: bool = False


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

    def without(self, refused: Mapping[int, InputError]) -> "IntakeResult":
        """The same without some rows of its batch, which are refused too: why, by their place in it."""
        taken = np.setdiff1d(np.arange(len(self.batch)), list(refused))
        errors = sorted([*self.errors, *refused.values()], key=lambda error: error.fields["row"])
        return IntakeResult(
            self.batch.take(taken), errors[:MAX_ERRORS], self.rows, self.refused + len(refused)
        )


def take_in(blocks: Iterable[RowBlock], reading: Reading) -> IntakeResult:
    """Everything in `blocks` as one intake.

    Raises:
        WrongDateOrder: a row's date cannot be in the order in which all are read.
        InputTooLarge: more rows than `reading.max_rows`, or more feature names than columns can be made for.
        InputError: what a format raises when it cannot go on.
    """
    batches: list[SignalBatch] = []
    errors: list[InputError] = []
    repeated: set[int] = set()
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
            repeated |= _shown_twice(batch, block, reading)
    joined = _joined(batches)
    if repeated:
        joined = _by_the_order_of_rows(joined, repeated, reading)
    return IntakeResult(joined.in_time(), errors, rows, refused)


def read_block(block: RowBlock, reading: Reading, errors: list[InputError]) -> tuple[SignalBatch, int]:
    """The valid rows of a block, in their order, and how many are not; `errors` is added to up to its limit."""
    clear = block.plain.copy()
    if reading.template or not STRATEGY_NAMES.isdisjoint(block.columns):
        clear[:] = False
    batch = _read_columns(block, reading, clear)
    if bool(clear.all()):
        return batch, 0
    refused = 0
    signals, places = [], []
    names = {*batch.numbers, *batch.texts}
    hides = block.by_place and any(map(is_secret_name, block.columns))
    for row in np.flatnonzero(~clear).tolist():
        position = block.first_row + row
        try:
            signal = signal_of(_reread(block, row, reading), reading, row=position)
        except WrongDateOrder:
            raise  # the other dates may be wrong as well, though they look right
        except InputError as error:
            refused += 1
            if len(errors) < MAX_ERRORS:
                # Without the traceback, which would keep alive all that was read here.
                shown = _without_value(error, position) if hides else _placed(error, position)
                errors.append(shown.with_traceback(None))
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


def _reread(block: RowBlock, row: int, reading: Reading) -> Mapping[str, object]:
    """One row's names and values.

    Raises:
        WrongDateOrder: it cannot be read, but its cells show a date of the other order.
        InputError: as `RowBlock.reread` does.
    """
    try:
        return block.reread(row)
    except InputError:
        cells = {name: column[row].as_py() for name, column in block.columns.items()}
        check_order(cells, reading, block.first_row + row)
        raise


def _without_value(error: InputError, row: int) -> InputError:
    """The error of a row in which a secret may stand under the name of another field."""
    if not isinstance(error, InvalidField) or error.fields["field"] == "cells":  # their number
        return _placed(error, row)
    return InvalidField(error.fields["field"], HIDDEN, error.fields["expected"], row)


def _placed(error: InputError, row: int) -> InputError:
    """The error with its row, if it does not say it yet."""
    if error.fields.get("row") == row:
        return error
    placed_error = type(error).__new__(type(error))
    Exception.__init__(placed_error, f"row {row}: {error}")
    placed_error.fields = {**error.fields, "row": row}
    return placed_error


def require_columns(names: Sequence[str], reading: Reading) -> None:
    """Refuse a table that lacks a required column, or one that the reading names, once, and not row by row."""
    present = set(fields_in(names, reading.names).fields.values())
    # By a template, names mean fields by what stands under them: its rows say what they lack.
    templated = reading.template_of(dict.fromkeys(names)) is not None
    missing = [
        required
        for required in (*(() if templated else reading.required), *reading.names)
        if required not in present and not (required == "signal" and "price_only" in present)
    ]
    data = sum(is_stamp(name) or number_in(name) is not None for name in names)
    headerless = 2 * data >= len(names) or (data and not present)
    there = shorten(", ".join(names))
    for required in missing:
        if required in reading.names and not headerless:
            raise InvalidField(
                required, None, f"a column named {reading.names[required]}, as the map says, among {there}"
            )
        expected = f"a column named {' or '.join(ALIASES[required])}"
        if headerless:  # what stands there may be a secret
            expected += (
                "; the first line is no header but data, and not a bar as MetaTrader (date, time, open, high, low, "
                "close, volume) or Binance (12 columns) writes it: write the columns' names above it"
            )
            raise InvalidField(required, None, expected)
        expected += f" among {there}"
        if len(names) > 1:
            maps = " ".join(f"--map {each}=NAME" for each in missing if each not in reading.names)
            expected += f"; if one of them is, say so: {maps}"
            if missing == ["signal"]:
                expected += "; prices alone are for raysignal sweep, luck and check-strategy"
        raise InvalidField(required, None, expected)


def _read_columns(block: RowBlock, reading: Reading, clear: BoolArray) -> SignalBatch:
    """Judge every column, narrowing `clear`; the batch of the rows that stay clear."""
    named = fields_in(block.columns, reading.names)
    columns = block.columns
    if reading.decimal != "." or reading.thousands:
        columns = _plain_columns(columns, named, reading, clear)
    stamps, joined = _stamp_cells(block, named, clear)
    cells = {field: _field_cells(columns, block.rows, field, named, clear) for field in ALIASES}
    timestamp_us = _instants(stamps, reading, clear)
    action = _actions(cells, reading, clear)
    price, judged = read_prices(cells["price"])
    clear &= judged
    terms = _terms(cells, timestamp_us, action, price, reading, clear)
    ids, judged = read_ids(cells["signal_id"])
    clear &= judged
    left_out = named.not_features.union(named.clock or () if joined else ())
    features = _features({name: column for name, column in columns.items() if name not in left_out}, clear)
    for field in ("symbol", "source"):
        clear &= read_names(cells[field], field, "")[2]

    whole = bool(clear.all())
    rows = np.flatnonzero(clear)
    coded = {}
    for field, default in (("symbol", reading.symbol), ("source", reading.source)):
        named = cells[field] if whole else cells[field].take(pa.array(rows))
        coded[field] = read_names(named, field, default, reading.symbols if field == "symbol" else {})
    numbers, texts = {}, {}
    for name, feature in features.items():
        if feature.numbers is not None:
            numbers[name] = feature.numbers if whole else feature.numbers[rows]
        if feature.texts is not None:
            texts[name] = feature.texts if whole else feature.texts.take(rows)
    batch = SignalBatch.of(
        timestamp_us=timestamp_us[rows], action=action[rows], price=price[rows],
        symbols=coded["symbol"][0], symbol=coded["symbol"][1],
        sources=coded["source"][0], source=coded["source"][1],
        signal_id=ids if whole else ids.take(rows),
        numbers=numbers, texts=texts,
    )  # fmt: skip
    return replace(batch.with_terms(None if terms is None else terms[rows]), row=rows + block.first_row)


def _stamp_cells(block: RowBlock, named: NamedFields, clear: BoolArray) -> tuple[pa.Array, bool]:
    """The cells of stamps, and whether they were in two columns, of dates and of times of day."""
    if named.clock is not None:
        date, time = (block.columns[name] for name in named.clock)
        of_day = clock_rows(time)
        if of_day.any():
            clear &= of_day
            return dates_and_times(date, time), True
    return _field_cells(block.columns, block.rows, "timestamp", named, clear), False


def _field_cells(
    columns: Mapping[str, pa.Array], rows: int, field: str, named: NamedFields, clear: BoolArray
) -> pa.Array:
    """The cells of a field, which may stand under different names in different rows; nulls if it has no column."""
    names = [name for name, known in named.fields.items() if known == field]
    found = [columns[name] for name in names if columns[name].null_count < rows]
    if len({array.type for array in found}) > 1:
        clear[:] = False
        cells = pa.nulls(rows)
    elif len(found) > 1:
        clear &= sum(array.is_valid().to_numpy(zero_copy_only=False).astype(np.int8) for array in found) < 2
        cells = pc.coalesce(*found)
    else:
        cells = found[0] if found else pa.nulls(rows)
    for name, known in named.beside:
        # A row that lacks the field's own name means this one by the field.
        if known == field and cells.null_count:
            clear &= (pc.is_valid(cells).to_numpy(zero_copy_only=False)) | (
                pc.is_null(columns[name]).to_numpy(zero_copy_only=False)
            )
    return cells


def _plain_columns(
    columns: Mapping[str, pa.Array], named: NamedFields, reading: Reading, clear: BoolArray
) -> Mapping[str, pa.Array]:
    """Columns with the numbers in texts as programs write them."""
    plain = dict(columns)
    for name, column in columns.items():
        if name in named.unread or named.fields.get(name) in NAMES_FIELDS or not is_text(column):
            continue
        plain[name], judged = in_plain_digits(column, reading)
        clear &= judged | is_secret_name(name)
    return plain


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
                values, judged = read_expiries(cells[field], reading.zone, day_first=reading.day_first)
                right = values > timestamp_us
            else:
                values, judged = read_numbers(cells[field], *BOUNDS[field])
                right = (
                    (values - price) * LEVELS[field] * action > 0 if field in LEVELS else ~np.isnan(values)
                )
            clear &= judged
            clear &= np.isnan(values) | (right if field == "confidence" else right & opens)
            terms[:, place] = values
    return terms


def _instants(cells: pa.Array, reading: Reading, clear: BoolArray) -> Int64Array:
    instants, judged = read_instants(cells, reading.zone, day_first=reading.day_first)
    if reading.by_days:
        for row in np.flatnonzero(judged).tolist():
            instants[row] = reading.known_us(int(instants[row]), cells[row].as_py())
    else:
        instants += reading.shift_us
    clear &= judged
    if reading.latest_us is not None:
        clear &= instants <= reading.latest_us
    return instants


def _features(columns: Mapping[str, pa.Array], clear: BoolArray) -> dict[str, FeatureColumn]:
    features: dict[str, FeatureColumn] = {}
    filled = np.zeros(len(clear), np.int32)
    for name, cells in columns.items():
        if is_secret_name(name):
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
        if feature.texts is not None:
            # What a sender may have left to be replaced is looked at by the rules.
            clear &= ~pc.match_substring(cells, "{{").fill_null(_NO).to_numpy(zero_copy_only=False)
        filled += feature.filled
    if len(features) > MAX_FEATURES:
        clear &= filled <= MAX_FEATURES
    return features


def _shown_twice(batch: SignalBatch, block: RowBlock, reading: Reading) -> set[int]:
    """The positions of rows whose local time the clocks show again later, and which do not say which they mean."""
    known_us = batch.timestamp_us - reading.shift_us
    maybe = np.flatnonzero(may_repeat(known_us, reading.zone)).tolist()
    found = [at for at in maybe if repeated_after_us(int(known_us[at]), reading.zone)]
    rows = [int(batch.row[at]) for at in found]
    return {
        row
        for row in rows
        if any(map(is_naive, stamps_in(block.reread(row - block.first_row), reading).values()))
    }


def _by_the_order_of_rows(batch: SignalBatch, repeated: set[int], reading: Reading) -> SignalBatch:
    """The batch, its rows in the order of the input, with those later that are of the second time of an hour."""
    timestamp_us = batch.timestamp_us.copy()
    terms = None if batch.terms is None else batch.terms.copy()
    unsure = np.isin(batch.row, list(repeated))
    keys = batch.symbol.astype(np.int64) * len(batch.sources) + batch.source
    for key in np.unique(keys[unsure]).tolist():
        rows = np.flatnonzero(keys == key)
        known_us = timestamp_us[rows] - reading.shift_us
        steps = np.diff(known_us)
        # Between two rows outside of the hour a step of nothing tells that such are usual.
        ties = bool((steps[~(unsure[rows][1:] & unsure[rows][:-1])] == 0).any())
        newest_first = bool(np.count_nonzero(steps < 0) > np.count_nonzero(steps > 0))
        # How far apart rows are; not from the hour on, which may be one or two of it.
        from_hour = unsure[rows][1:] if newest_first else unsure[rows][:-1]
        apart_us = np.sort(np.abs(steps[(steps != 0) & ~from_hour]))
        usual_us = apart_us[(len(apart_us) - 1) // 2] if len(apart_us) else 0
        for day in np.unique(known_us[unsure[rows]] // DAY_US).tolist():
            of_hour = rows[unsure[rows] & (known_us // DAY_US == day)]
            local_us = (timestamp_us[of_hour] - reading.shift_us).tolist()
            repeated_us = repeated_after_us(local_us[0], reading.zone)
            later = second_times(local_us, newest_first=newest_first, ties=ties or usual_us > repeated_us)
            timestamp_us[of_hour[later]] += repeated_us
            if terms is not None:  # what expires within the hour does so within the second one, too
                expires_us = terms[:, EXPIRES]
                before = of_hour[later][expires_us[of_hour[later]] <= timestamp_us[of_hour[later]]]
                expires_us[before] += repeated_us
    return replace(batch, terms=terms).at_instants(timestamp_us)


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
    named = fields_in(block.columns, reading.names)
    instants = _instants(_stamp_cells(block, named, clear)[0], reading, clear)
    return instants if bool(clear.all()) else read_block(block, reading, [])[0].timestamp_us


def stamp_texts(block: RowBlock, reading: Reading) -> pa.Array:
    """What stands in a block for stamps, where it is texts; nulls where it is none."""
    if not block.columns:
        return pa.array([_stamp_text(block, row, reading) for row in range(block.rows)], pa.large_string())
    cells, _ = _stamp_cells(block, fields_in(block.columns, reading.names), block.plain.copy())
    return cells if is_text(cells) else pa.nulls(block.rows, pa.large_string())


def _stamp_text(block: RowBlock, row: int, reading: Reading) -> str | None:
    try:
        stamps = stamps_in(block.reread(row), reading).values()
    except InputError:
        return None
    return next((stamp for stamp in stamps if isinstance(stamp, str)), None)
