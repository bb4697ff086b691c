"""A batch from one body: every format, every content type, errors with their rows."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    InputError,
    InputTooLarge,
    InvalidField,
    UnreadableInput,
    UnsupportedMedia,
)
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.intake import IntakeResult, Reading, read_batch, read_signal
from raysignal.engine.intake.csv_rows import record_blocks
from raysignal.engine.intake.json_rows import line_blocks
from raysignal.engine.intake.source import BLOCK_ROWS, as_bytes
from raysignal.engine.intake.tables import RowBlock, take_in

READING = Reading()
ROWS: list[dict[str, object]] = [
    {
        "timestamp": "2025-02-24T00:10:00Z",
        "price": 101.5,
        "signal": 1,
        "mood": 'calm, then\n"loud" ñ 😀',
        "rsi": 30.5,
    },
    {
        "timestamp": "2025-02-24T00:00:00Z",
        "price": 100.25,
        "signal": "SELL",
        "mood": None,
        "rsi": 0.1234567890123456789,
    },
    {"timestamp": "2025-02-24T00:20:00Z", "price": "99", "signal": 0, "mood": "=1+1", "rsi": None},
]


def as_lines(rows: list[dict[str, object]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def as_csv(rows: list[dict[str, object]]) -> bytes:
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text

    names = list(rows[0])
    lines = [names, *([cell(row[name]) for name in names] for row in rows)]
    return ("\r\n".join(",".join(line) for line in lines) + "\r\n").encode()


def as_parquet(columns: Mapping[str, object]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), out)
    return out.getvalue()


BODIES = {
    "application/json": json.dumps(ROWS).encode(),
    "application/x-ndjson": as_lines(ROWS),
    "text/csv": as_csv(ROWS),
    "application/vnd.apache.parquet": as_parquet(
        {
            "timestamp": [row["timestamp"] for row in ROWS],
            "price": [101.5, 100.25, 99.0],
            "signal": ["1", "SELL", "0"],
            "mood": [row["mood"] for row in ROWS],
            "rsi": [row["rsi"] for row in ROWS],
        }
    ),
}


def assert_same(one: IntakeResult, other: IntakeResult) -> None:
    assert one.batch.content.tolist() == other.batch.content.tolist()
    assert one.batch.key.tolist() == other.batch.key.tolist()
    assert one.batch.row.tolist() == other.batch.row.tolist()
    assert (one.rows, one.refused) == (other.rows, other.refused)


@pytest.mark.parametrize("content_type", BODIES)
def test_every_format_gives_the_same_batch_in_time(content_type: str) -> None:
    intake = read_batch(BODIES[content_type], content_type, READING)
    assert (intake.rows, intake.refused, intake.errors) == (3, 0, [])
    assert intake.batch.row.tolist() == [1, 0, 2]
    assert intake.batch.signal(1).features == {"mood": ROWS[0]["mood"], "rsi": 30.5}
    assert intake.batch.signal(2).features == {"mood": "=1+1"}
    assert_same(intake, read_batch(BODIES["application/json"], "application/json", READING))


@pytest.mark.parametrize("content_type", BODIES)
@pytest.mark.parametrize("said", [None, "", "text/plain"])
def test_without_a_content_type_the_first_bytes_decide(content_type: str, said: str | None) -> None:
    body = BODIES[content_type]
    assert_same(read_batch(body, said, READING), read_batch(body, content_type, READING))


@pytest.mark.parametrize("words", ["Alert on BTC, 1h: ", "Cross; BTC, 1h:\n"])
@pytest.mark.parametrize("said", [None, "text/plain"])
def test_words_with_commas_before_an_object_are_an_alert_as_in_a_single_request(
    words: str, said: str | None
) -> None:
    body = f"{words}{json.dumps(ROWS[0])}\n".encode()
    single = SignalBatch.of_signals([read_signal(body, READING, content_type=said)])
    batch = read_batch(body, said, READING).batch
    assert (batch.key.tolist(), batch.content.tolist()) == (single.key.tolist(), single.content.tolist())


def test_a_brace_in_a_last_cell_makes_no_alert_of_csv() -> None:
    body = b"timestamp,price,signal,note\n2025-02-24,1,BUY,{a}\n"
    assert read_batch(body, "text/plain", READING).batch.signal(0).features == {"note": "{a}"}


def test_parquet_is_known_by_its_magic_among_plain_bytes() -> None:
    body = BODIES["application/vnd.apache.parquet"]
    assert read_batch(body, "application/octet-stream", READING).rows == 3
    with pytest.raises(UnsupportedMedia):
        read_batch(BODIES["text/csv"], "application/octet-stream", READING)


@pytest.mark.parametrize("content_type", ["application/xml", "image/png", "multipart/form-data"])
def test_another_content_type_is_refused_and_says_what_is_taken(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match="text/csv"):
        read_batch(BODIES["text/csv"], content_type, READING)


@pytest.mark.parametrize(
    "kind", ["application/ndjson", "application/jsonl", "application/x-jsonlines; charset=utf-8"]
)
def test_ndjson_goes_by_many_names(kind: str) -> None:
    assert read_batch(BODIES["application/x-ndjson"], kind, READING).rows == 3


def test_one_object_and_lines_of_objects_are_taken_as_json_too() -> None:
    one = json.dumps(ROWS[0], indent=2).encode()
    assert read_batch(one, "application/json", READING).rows == 1
    assert_same(
        read_batch(as_lines(ROWS), "application/json", READING),
        read_batch(as_lines(ROWS), "application/jsonl", READING),
    )


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "text/csv"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"PK\x03\x04" + b"\0" * 40, "ZIP"),
        (b"a,b\0c\n", "binary"),
        (b"\xff\xfe[\0", "UTF-16"),
    ],
)
def test_what_is_no_text_is_refused_with_a_sentence(content_type: str, body: bytes, said: str) -> None:
    with pytest.raises(UnreadableInput, match=said):
        read_batch(body, content_type, READING)


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[]x",
        b"[{}",
        b"[{},]",
        b"[{}{}]",
        b"1",
        b'"x"',
        b"[{]",
        b"[[" * 50_000,
        b'[{"a":' * 50_000,
        b'[{"a":1e}]',
        b"[{}]]",
    ],
)
def test_an_array_that_does_not_parse_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(UnreadableInput):
        read_batch(body, "application/json", READING)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "text/csv"])
def test_bytes_that_are_not_unicode_are_refused_and_named(content_type: str) -> None:
    body = BODIES[content_type].replace(b"calm", b"c\xe9lm")
    with pytest.raises(UnreadableInput, match="not UTF-8"):
        read_batch(body, content_type, READING)


def test_parquet_that_is_none_or_is_cut_is_refused() -> None:
    body = BODIES["application/vnd.apache.parquet"]
    for damaged in (b"PAR1", body[:-10], b"x" * 100, b"PAR1" + b"\0" * 100 + b"PAR1"):
        with pytest.raises(UnreadableInput):
            read_batch(damaged, "application/vnd.apache.parquet", READING)


def test_nothing_in_a_batch_is_a_batch_of_nothing() -> None:
    for body, kind in (
        (b"[]", "application/json"),
        (b" [ ] ", "application/json"),
        (b"timestamp,price,signal\n", "text/csv"),
    ):
        intake = read_batch(body, kind, READING)
        assert (len(intake.batch), intake.rows, intake.refused) == (0, 0, 0)


def test_a_bad_row_is_named_and_the_others_stand() -> None:
    rows = [dict(row) for row in ROWS]
    rows[1]["price"] = "95,439.81"
    for body, kind in (
        (json.dumps(rows).encode(), "application/json"),
        (as_lines(rows), "application/jsonl"),
        (as_csv(rows), "text/csv"),
    ):
        intake = read_batch(body, kind, READING)
        assert (intake.rows, intake.refused, intake.batch.row.tolist()) == (3, 1, [0, 2])
        (error,) = intake.errors
        assert (error.fields["row"], error.fields["field"], error.fields["value"]) == (
            1,
            "price",
            "'95,439.81'",
        )
        assert str(error).startswith("row 1: price is '95,439.81'; expected a number above 0")


def test_a_line_that_is_no_json_is_the_error_of_its_row() -> None:
    body = as_lines(ROWS[:1]) + b"\n\n{broken\n" + as_lines(ROWS[1:])
    intake = read_batch(body, "application/x-ndjson", READING)
    assert (intake.rows, intake.refused) == (4, 1)
    assert isinstance(intake.errors[0], UnreadableInput)
    assert intake.errors[0].fields["row"] == 1


def test_an_element_that_is_no_object_is_the_error_of_its_row() -> None:
    intake = read_batch(b"[1," + json.dumps(ROWS[0]).encode() + b", null]", "application/json", READING)
    assert [error.fields["row"] for error in intake.errors] == [0, 2]
    assert intake.batch.row.tolist() == [1]


def test_one_bad_row_among_a_hundred_thousand_is_found() -> None:
    lines = [
        f'{{"timestamp":"2025-02-{1 + i // 86_400:02d}T00:00:00Z","price":1.5,"signal":1,"n":{i}}}'
        for i in range(100_000)
    ]
    lines[77_777] = lines[77_777].replace('"signal":1', '"signal":2')
    for body, kind in (
        ("\n".join(lines), "application/x-ndjson"),
        ("[" + ",\n".join(lines) + "]", "application/json"),
    ):
        intake = read_batch(body.encode(), kind, READING)
        assert (intake.rows, intake.refused, len(intake.batch)) == (100_000, 1, 99_999)
        assert intake.errors[0].fields["row"] == 77_777
        assert intake.batch.numbers["n"].tolist() == [i for i in range(100_000) if i != 77_777]


def test_all_errors_are_counted_and_a_thousand_kept() -> None:
    intake = read_batch(b"{}\n" * 2_500, "application/x-ndjson", READING)
    assert (intake.rows, intake.refused, len(intake.errors)) == (2_500, 2_500, 1_000)


@pytest.mark.parametrize("content_type", BODIES)
def test_more_rows_than_allowed_are_refused(content_type: str) -> None:
    assert read_batch(BODIES[content_type], content_type, Reading(max_rows=3)).rows == 3
    with pytest.raises(InputTooLarge):
        read_batch(BODIES[content_type], content_type, Reading(max_rows=2))


def test_clean_rows_are_never_read_one_by_one() -> None:
    def refuse(row: int) -> Mapping[str, object]:
        raise AssertionError(row)

    blocks = [
        RowBlock(block.rows, block.first_row, block.columns, block.plain, refuse)
        for block in line_blocks(
            as_bytes(as_lines([row | {"price": 1.5, "signal": "BUY"} for row in ROWS] * 100))
        )
    ]
    assert len(take_in(blocks, READING).batch) == 300


def test_rows_that_differ_in_kind_or_in_names_are_read_as_one_by_one_wherever_they_stand() -> None:
    rows = [ROWS[0] | {"n": float(i)} for i in range(3_000)]
    for place in (5, 63, 64, 1_000, 2_999):
        rows[place] = rows[place] | {"signal": "BUY", "n": "5", f"late{place}": place}
    rows[1_500] = {**rows[1_500], "mood": {"a": 1}}
    intake = read_batch(as_lines(rows), "application/jsonl", READING)
    assert [error.fields["row"] for error in intake.errors] == [1_500]
    assert intake.batch.row.tolist() == [i for i in range(3_000) if i != 1_500]
    assert intake.batch.numbers["n"].tolist() == [
        5.0 if i in {5, 63, 64, 1_000, 2_999} else float(i) for i in range(3_000) if i != 1_500
    ]
    assert intake.batch.signal(1_000).features["late1000"] == 1_000.0


def test_several_objects_on_a_line_are_refused_although_as_many_lines_hold_them() -> None:
    line = json.dumps(ROWS[0])
    body = f'{line}{line[:-1]}, "x":\n1}}'.encode()
    intake = read_batch(body, "application/jsonl", READING)
    assert (intake.rows, intake.refused) == (2, 2)


def test_rows_of_equal_time_stay_in_their_order_whichever_way_they_are_read() -> None:
    odd = [json.dumps(ROWS[0] | {"n": i, "big": "1" * (400 if i % 3 == 0 else 2)}) for i in range(9)]
    clean = [json.dumps(ROWS[0] | {"n": i, "time": None if i % 2 else ""}) for i in range(9)]
    assert read_batch("\n".join(clean).encode(), "application/jsonl", READING).batch.row.tolist() == list(
        range(9)
    )
    assert read_batch("\n".join(odd).encode(), "application/jsonl", READING).batch.row.tolist() == [
        1,
        2,
        4,
        5,
        7,
        8,
    ]


def test_rows_may_differ_in_their_fields_and_kinds() -> None:
    rows = [
        ROWS[0] | {"x": 1},
        ROWS[1] | {"x": "one", "y": "2"},
        {"datetime": "2025-02-24 01:00", "close": 5, "Signal": "HOLD", "ticker": "ETH", "x": True},
    ]
    batch = read_batch(as_lines(rows), "application/jsonl", READING).batch
    assert batch.numbers["x"].tolist()[1:] == [1.0, 1.0]
    assert batch.texts["x"].to_list() == ["one", "", ""]
    assert batch.signal(2).symbol == "ETH"


def test_more_feature_names_than_columns_are_refused() -> None:
    rows = [ROWS[0] | {f"f{i}_{k}": 1 for k in range(100)} for i in range(6)]
    with pytest.raises(InputTooLarge, match="different features"):
        read_batch(as_lines(rows), "application/jsonl", READING)


def test_names_after_the_columns_ran_out_are_still_read() -> None:
    rows = [ROWS[0] | {f"f{i}_{k}": 1 for k in range(100)} | {"price": "x"} for i in range(6)]
    last = {"time": "2025-02-24", "close": 1, "action": 1, "seen": "last"}
    intake = read_batch(as_lines([*rows, last]), "application/jsonl", READING)
    assert intake.refused == 6
    assert intake.batch.signal(0).features == {"seen": "last"}


def test_a_table_without_a_required_column_is_refused_once() -> None:
    with pytest.raises(InvalidField, match="price or close") as caught:
        read_batch(b"timestamp,signal\n" + b"2025-02-24,1\n" * 5, "text/csv", READING)
    assert caught.value.fields["row"] is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"timestamp,price,signal\n2025-02-24,1,1\n2025-02-24,\x001,1\n", "binary"),
        (b"timestamp,price,signal\n" + b"2025-02-24,1,1\n" * 500 + b"2025-02-24,\x001,1\n", "NUL"),
        ("timestamp,price,signal\n".encode("utf-16"), "UTF-16"),
        (b"timestamp,price,signal,mood,mood\n", "once"),
        (b'timestamp,price,signal\n2025-02-24,1,"1\n', "quoted"),
        (b'timestamp,price,signal\n2025-02-24,1,"1"x\n', "quoted"),
        (b"\n\n", "empty"),
    ],
)
def test_csv_that_does_not_hold_together_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_batch(body, "text/csv", READING)


def test_a_record_with_too_few_or_too_many_cells_is_the_error_of_its_row() -> None:
    body = b"timestamp,price,signal\n2025-02-24,1,1\n2025-02-25,1\n\n2025-02-26,1,1,1\n"
    intake = read_batch(body, "text/csv", READING)
    assert (intake.rows, [error.fields["row"] for error in intake.errors]) == (3, [1, 2])


@pytest.mark.parametrize("block_rows", [1, 6, 100, 101])
def test_records_of_another_length_keep_their_place_whichever_block_they_are_in(block_rows: int) -> None:
    records = ["2025-02-24,1" if i % 7 in {0, 6} else f"2025-02-24,{i + 1},1" for i in range(100)]
    body = "\n".join(["timestamp,price,signal", *records]).encode()
    intake = take_in(record_blocks(as_bytes(body), block_rows=block_rows), READING)
    assert [error.fields["row"] for error in intake.errors] == [i for i in range(100) if i % 7 in {0, 6}]
    assert intake.batch.price.tolist() == [i + 1.0 for i in range(100) if i % 7 not in {0, 6}]


def test_a_quote_within_a_cell_that_begins_with_none_is_a_character() -> None:
    body = b'timestamp,price,signal,mood\n2025-02-24,1,1,5" pipe\n2025-02-24,1,0,"a, ""b"""\n'
    assert read_batch(body, "text/csv", READING).batch.texts["mood"].to_list() == ['5" pipe', 'a, "b"']


def test_csv_takes_a_byte_order_mark_any_line_end_and_no_last_one() -> None:
    lines = [
        "timestamp,price,signal,mood",
        "2025-02-24,1,1,a",
        '2025-02-25,2,0,"b ""c"""',
        "2025-02-26,3,-1,",
    ]
    expected = read_batch("\n".join(lines).encode(), "text/csv", READING)
    assert expected.batch.texts["mood"].to_list() == ["a", 'b "c"', ""]
    for end in ("\r\n", "\r", "\n\n"):
        assert_same(read_batch(("\ufeff" + end.join(lines) + end).encode(), "text/csv", READING), expected)


def test_parquet_columns_of_many_types_are_understood() -> None:
    moment = datetime(2025, 2, 24, tzinfo=UTC)
    body = as_parquet(
        {
            "timestamp": pa.array([moment, None], pa.timestamp("ns", "America/New_York")),
            "price": pa.array([Decimal("95439.81"), Decimal(1)], pa.decimal128(12, 2)),
            "signal": pa.array([-1, 1], pa.int8()),
            "symbol": pa.array(["ETH", "ETH"]).dictionary_encode(),
            "half": pa.array([0.5, None], pa.float16()),
            "up": [True, None],
            "day": [date(2025, 2, 24), None],
            "big": pa.array([2**64 - 1, None], pa.uint64()),
            "none": pa.nulls(2),
            "list": pa.array([None, [1]]),
        }
    )
    intake = read_batch(body, "application/vnd.apache.parquet", READING)
    assert [error.fields["field"] for error in intake.errors] == ["timestamp"]
    said = intake.batch.signal(0)
    assert (said.timestamp_us, said.price, said.action, said.symbol) == (
        parse_instant("2025-02-24"),
        95439.81,
        -1,
        "ETH",
    )
    assert said.features == {"half": 0.5, "up": 1.0, "day": "2025-02-24", "big": 2.0**64}


def test_parquet_values_that_cannot_be_used_name_their_field() -> None:
    good = {"timestamp": ["2025-02-24"] * 2, "price": [1.0, 2.0], "signal": [1, 1]}
    for name, column in (
        ("timestamp", pa.array([20_250_224] * 2)), ("price", [np.nan, np.inf]), ("signal", [True, False]),
        ("mood", [[1], [2]]), ("mood", [np.inf, -np.inf]), ("symbol", [1, 2]),
    ):  # fmt: skip
        intake = read_batch(as_parquet(good | {name: column}), None, READING)
        assert [error.fields["field"] for error in intake.errors] == [name, name]


def test_blocks_meet_without_a_seam() -> None:
    n = 2 * BLOCK_ROWS + 5
    lines = [
        f'{{"timestamp":"2025-02-24","price":{i + 1},"signal":1,"symbol":"S{i % 3}","t":"x{i}"}}'
        for i in range(n)
    ]
    csv_lines = [
        "timestamp,price,signal,symbol,t",
        *(f"2025-02-24,{i + 1},1,S{i % 3},x{i}" for i in range(n)),
    ]
    first = read_batch("\n".join(lines).encode(), "application/jsonl", READING)
    assert first.batch.price.tolist() == [float(i + 1) for i in range(n)]
    assert first.batch.texts["t"].to_list() == [f"x{i}" for i in range(n)]
    assert_same(first, read_batch(("[" + ",".join(lines) + "]").encode(), "application/json", READING))
    assert_same(first, read_batch("\n".join(csv_lines).encode(), "text/csv", READING))


def test_parquet_that_is_damaged_anywhere_is_refused_in_a_sentence():
    out = io.BytesIO()
    rows = [
        {"timestamp": datetime(2025, 1, 1, tzinfo=UTC), "signal": "BUY", "price": 100.5 + n, "note": f"né {n}",
         "day": date(2025, 1, 1), "cost": Decimal("1.25"), "up": None, "list": ["ä"]}
        for n in range(8)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), out, compression="none")
    whole = out.getvalue()
    with pytest.raises(UnreadableInput, match="the input is not Parquet"):
        read_batch(whole.replace(b"timestamp", b"t\xcemestamp"), "application/vnd.apache.parquet", READING)
    random = np.random.default_rng(11)
    said: list[str] = []
    for at in random.integers(4, len(whole) - 8, 600).tolist():
        damaged = bytearray(whole)
        damaged[at] = random.integers(256)
        try:
            read_batch(bytes(damaged), "application/vnd.apache.parquet", READING)
        except InputError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all(said)
