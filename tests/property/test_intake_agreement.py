"""Whole columns and row by row: two ways to read, one result."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from statistics import median_low
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, RaysignalError, WrongDateOrder
from raysignal.engine.core.instants import repeated_after_us, second_times
from raysignal.engine.core.signals import Signal
from raysignal.engine.intake import IntakeResult, Reading, read_batch
from raysignal.engine.intake.csv_rows import record_blocks
from raysignal.engine.intake.fields import signal_of
from raysignal.engine.intake.json_rows import array_blocks, element_blocks, line_blocks
from raysignal.engine.intake.single import load_json, load_object
from raysignal.engine.intake.source import as_bytes
from raysignal.engine.intake.tables import take_in
from tests.support.effort import examples

READING = Reading(
    zone=ZoneInfo("America/New_York"), now_us=1_800_000_000_000_000, symbol="BTC", source="desk"
)

stamps = st.sampled_from(
    [
        "2025-02-24T00:00:00Z", "2025-02-24 00:00", "2/24/2025 0:00", "2025-02-24", "2025-02-24T05:00:00.123456+05:30",
        "2025-02-24T05:00:00.123456789", "2025-03-09 02:30", "2025-11-02 01:30", "2100-01-01", "1850-01-01",
        "2025-02-30", "", " ", "20250224", "soon", "2025-W09-1", "2025-02-24T05", " 2025-02-24 00:00 ",
        "2025-02-24T05:00:00,5", "2/24/2025", "02/24/2025 00:00:01", "2025-02-24T24:00", "2025-11-02 01:45",
        "2025-02-24 9:30", "2025.02.24", "24.02.2025 7:05", "1740355200", "1740355200123", "1740355200123456",
        "1740355200123456789", "9223372036854775808", "1740355200.5", " 1740355200", "9:30", "14:00:00",
        "3/4/2025 2:05 PM",
    ]
)  # fmt: skip
odd_texts = st.sampled_from(
    [
        "", " ", "\t", "NaN", "nan", "inf", "-inf", "Infinity", "1e999", "1e-999", "-0", "+5", "5.", ".5", "007",
        "1_000", "0x10", " 7 ", "95,439.81", "12345678901234567890", "0.1000000000000000055511151231257827",
        "1" * 400, "9007199254740993", "4.9e-324", "1e22", "1e23", "٣", "\u00a01", "=1+1", '"', '""', "\\", "a,b",
        "a\nb", "a\r\nb", "ñandú", "😀", "\x00", "\x7f", "a" * 200,
    ]
)  # fmt: skip
numbers = st.one_of(
    st.floats(),
    st.floats(1, 1e6),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 1.0, -0.0, 2, 1e15, 1e16]),
)
values = st.one_of(
    numbers, odd_texts, st.text(max_size=12), st.booleans(), st.none(), st.just([1]), st.just({"a": {"b": 1}})
)
names = st.sampled_from(
    [
        "timestamp", "datetime", "time", "price", "close", "signal", "Signal", "action", "symbol", "ticker",
        "Close", "TIME", "Date", "date", "Ticker", "Side", "Open time",
        "source", "signal_id", "size", "stop_loss", "confidence", "expires", "price_only", "mood",
        "índice", "", "unnamed", "Unnamed: 0", "n" * 129, 'q"',
    ]
)  # fmt: skip
good_rows = st.fixed_dictionaries(
    {
        "datetime": st.sampled_from(["2025-02-24T00:00:00Z", "2/24/2025 0:10", "2025-02-24 00:20:00"]),
        "close": st.floats(1, 1e6),
        "Signal": st.sampled_from([1, 0, -1, "BUY", "sell", " Hold ", "1", "-1.0"]),
    }
)
speaking_rows = st.builds(
    lambda good, more, without: {k: v for k, v in (good | more).items() if not (without and k == "Signal")},
    good_rows
    | st.fixed_dictionaries(
        {"datetime": stamps, "close": st.just(100.0), "Signal": st.sampled_from(["BUY", -1, "close"])}
    ),
    st.dictionaries(
        st.sampled_from(
            ["size", "stop_loss", "take_profit", "trailing_stop_bps", "confidence", "expires", "price_only", "high"]
        ),
        st.one_of(
            st.sampled_from(
                [
                    0.5, 1, "0.25", 99.0, 101.0, "99", " 101 ", 100.0, "NaN", "nan", "NAN", float("nan"), None, "", " ",
                    "2025-02-25", "2025-02-24T00:00:00Z", True, False, "true", "FALSE", "yes", "1.0", 0, 10_000, 9_999,
                ]
            ),
            values,
        ),
        max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
rows = st.one_of(
    good_rows,
    speaking_rows,
    st.builds(lambda good, more: good | more, good_rows, st.dictionaries(names, values, max_size=5)),
    st.builds(
        lambda good, name, value: good | {name: value},
        good_rows,
        st.sampled_from(["datetime", "close", "Signal", "symbol", "signal_id"]),
        st.one_of(values, stamps),
    ),
    st.dictionaries(names, st.one_of(values, stamps), max_size=6),
)


LOCALISED = replace(
    READING, decimal=",", thousands=".", day_first=True, names={"price": "Close", "symbol": "mood"}
)


def outcome(intake: IntakeResult) -> object:
    batch = intake.batch
    return (
        intake.rows, intake.refused, [(type(error), str(error), error.fields["row"]) for error in intake.errors],
        batch.row.tolist(), batch.key.tolist(), batch.content.tolist(), batch.timestamp_us.tolist(),
        batch.signal_id.to_list(), [batch.signal(i) for i in range(len(batch))],
    )  # fmt: skip


def by_row(sources: Iterable[object], reading: Reading = READING) -> object:
    """The reference: one row after the other; a source that is an error is one."""
    # Stamps of the hour that clocks showed twice say no zone here.
    signals, places, errors, count, twice = [], [], [], 0, {}
    for row, load in enumerate(sources):
        count += 1
        try:
            values = load(row)  # type: ignore[operator]
            signals.append(signal_of(values, reading, row=row))
            places.append(row)
        except WrongDateOrder:
            raise
        except InputError as error:
            errors.append((type(error), str(error), error.fields["row"]))
            continue
        twice[len(signals) - 1] = repeated_after_us(signals[-1].timestamp_us, reading.zone)
    _by_the_order_of_rows(signals, {place: later for place, later in twice.items() if later})
    batch = SignalBatch.of_signals(signals)
    order = sorted(range(len(signals)), key=lambda i: signals[i].timestamp_us)
    batch = batch.take(np.array(order, np.int64))
    return (
        count, len(errors), errors, [places[i] for i in order], batch.key.tolist(), batch.content.tolist(),
        batch.timestamp_us.tolist(), batch.signal_id.to_list(), [batch.signal(i) for i in range(len(batch))],
    )  # fmt: skip


def _by_the_order_of_rows(signals: list[Signal], twice: dict[int, int]) -> None:
    for key in {(signals[place].symbol, signals[place].source) for place in twice}:
        own = [place for place, signal in enumerate(signals) if (signal.symbol, signal.source) == key]
        steps = [(signals[b].timestamp_us - signals[a].timestamp_us, a, b) for a, b in pairwise(own)]
        ties = any(step == 0 and not (a in twice and b in twice) for step, a, b in steps)
        newest_first = sum(step < 0 for step, *_ in steps) > sum(step > 0 for step, *_ in steps)
        # Rows that are usually further apart than the clocks went back are not the two times.
        apart = [abs(step) for step, a, b in steps if step and (b if newest_first else a) not in twice]
        usual = median_low(apart) if apart else 0
        unsure = [place for place in own if place in twice]
        stamps = [signals[place].timestamp_us for place in unsure]
        ties |= any(usual > twice[place] for place in unsure)
        for place, later in zip(
            unsure, second_times(stamps, newest_first=newest_first, ties=ties), strict=True
        ):
            if later:
                moved = signals[place].timestamp_us + twice[place]
                signals[place] = replace(signals[place], timestamp_us=moved)


def result(read: object) -> object:
    try:
        return read()  # type: ignore[operator]
    except RaysignalError as error:
        return type(error)


@settings(max_examples=examples(300))
@given(
    st.lists(rows, max_size=6),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.sampled_from(["\n", "\r\n", "\n\n \n"]),
)
def test_ndjson_says_the_same_by_columns_as_by_rows(
    rows: list[dict[str, object]], ascii_only: bool, separators: tuple[str, str], line_end: str
) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in rows]
    body = line_end.join(lines).encode() or b"{}"
    _check_lines(body)


@settings(max_examples=examples(300))
@given(
    st.lists(good_rows, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.sampled_from([*'{}[]",:\\\n 0-+.eEuN\x00\x1f\x7f', "\\u00e9", "\\ud800", "\\n", "half"]),
        ),
        max_size=3,
    ),
    st.booleans(),
)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(0, "\ufeff")], False)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"close":2,')], False)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"a":{"b":1,"b":2},')], True)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"a":01,')], True)
@example(
    [{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"\\u0061":"\\ud83d\\ude00","a":1,')], True
)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"a":"\\ud83d","b":NaN,')], True)
@example([{"datetime": "2025-02-24", "close": 1.0, "Signal": 1}], [(1, '"a":-Infinity,')], True)
def test_damaged_json_says_the_same_by_columns_as_by_rows(
    rows: list[dict[str, object]], damage: list[tuple[int, str]], array: bool
) -> None:
    body = (json.dumps(rows) if array else "\n".join(map(json.dumps, rows))).encode()
    for place, piece in damage:
        at = place % (len(body) + 1)
        body = body[:at] + (b"\xe9" if piece == "half" else piece.encode()) + body[at:]
    if array:
        _check_array(body)
    else:
        _check_lines(body)


@settings(max_examples=examples(200))
@given(
    st.lists(st.one_of(rows, st.just(1), st.none()), max_size=5), st.booleans(), st.sampled_from([None, 1])
)
def test_an_array_says_the_same_by_columns_as_by_rows(
    rows: list[object], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(rows, ensure_ascii=ascii_only, indent=indent)
    _check_array(text.encode())


def _check_lines(body: bytes) -> None:
    def reference() -> object:
        load_json(json.dumps(body.decode()).encode()) if _is_unicode(body) else load_json(body)
        lines = [line.strip(b" \t\r") for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
        lines = [line for line in lines if line]
        return by_row([lambda row, line=line: load_object(line, row) for line in lines])

    if b"\x00" in body or not body.strip():
        return
    whole = result(lambda: outcome(read_batch(body, "application/x-ndjson", READING)))
    assert whole == result(reference)
    source = as_bytes(body)
    assert whole == result(lambda: outcome(take_in(line_blocks(source, window=40), READING)))


def _is_unicode(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_array(body: bytes) -> None:
    if b"\x00" in body or not body.removeprefix(b"\xef\xbb\xbf").strip().startswith(b"["):
        return
    expected = result(lambda: outcome(take_in(element_blocks(load_json(body)), READING)))
    assert result(lambda: outcome(read_batch(body, "application/json", READING))) == expected
    assert result(lambda: outcome(take_in(array_blocks(as_bytes(body)), READING))) == expected


@settings(max_examples=examples(300))
@given(
    st.lists(
        st.lists(
            st.one_of(stamps, odd_texts, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
            min_size=5,
            max_size=5,
        ),
        max_size=5,
    ),
    st.lists(st.sampled_from(["1", "BUY", "sell", "0", "2", ""]), min_size=5, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["datetime", "Date", "Open time"]),
    st.booleans(),
)
def test_csv_says_the_same_as_its_rows_posted_one_by_one(
    cells: list[list[str]],
    actions: list[str],
    line_end: str,
    quoting: int,
    stamp: str,
    localised_numbers: bool,
) -> None:
    header = ["", stamp, "Close" if localised_numbers else "close", "mood", "signal_id", "Signal"]
    reading = LOCALISED if localised_numbers else READING
    table = [[*row, action] for row, action in zip(cells, actions, strict=False)]
    for place, row in enumerate(table):
        row[1], row[2] = (
            (row[1], "95,5" if localised_numbers else "95.5") if place % 2 else ("2/24/2025 0:10", row[2])
        )
    out = io.StringIO()
    # The standard library's writer leaves half a line end unquoted when lines end otherwise.
    quoting = quoting if line_end == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(out, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([header, *table])
    body = out.getvalue().encode()
    if b"\x00" in body:
        return
    posted = [json.dumps(dict(zip(header, row, strict=True))).encode() for row in table]
    expected = result(
        lambda: by_row([lambda row, line=line: load_object(line, row) for line in posted], reading)
    )
    assert result(lambda: outcome(read_batch(body, "text/csv", reading))) == expected
    blocks = record_blocks(as_bytes(body), reading, block_rows=2)
    assert result(lambda: outcome(take_in(blocks, reading))) == expected


@settings(max_examples=examples(100))
@given(
    st.lists(
        st.tuples(
            stamps, st.one_of(st.none(), st.floats()), st.sampled_from(["BUY", "0", "-1", "x", None]),
            st.one_of(st.none(), odd_texts), st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_parquet_says_the_same_as_its_rows_posted_one_by_one(table: list[tuple[object, ...]]) -> None:
    header = ["datetime", "close", "Signal", "mood", "up", "volume"]
    kinds = [pa.string(), pa.float64(), pa.string(), pa.large_string(), pa.bool_(), pa.int64()]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*table, strict=True), kinds, strict=True)]
    out = io.BytesIO()
    pq.write_table(pa.table(columns, header), out)
    posted = [json.dumps(dict(zip(header, row, strict=True))).encode() for row in table]
    expected = result(lambda: by_row([lambda row, line=line: load_object(line, row) for line in posted]))
    assert (
        result(lambda: outcome(read_batch(out.getvalue(), "application/vnd.apache.parquet", READING)))
        == expected
    )
