import itertools
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysignal.engine import history
from raysignal.engine.core.errors import (
    InputError,
    InvalidField,
    JournalDamaged,
    NotFound,
    SettingsError,
    StoreUnavailable,
)
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.history.query import query
from raysignal.engine.history.schema import cover, file_name
from raysignal.engine.portfolio.ledger import Ledger
from tests.support.folder_blobs import FolderBlobs
from tests.support.history_chunks import HOUR_US, START_US, chunk_of, renamed, some_signals


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def ordinals(table: pa.Table) -> list[int]:
    return table["ordinal"].to_pylist()


def test_rows_come_back_as_they_were_written(blobs):
    chunk = chunk_of(some_signals(10))
    history.write_chunk(blobs, chunk)

    rows = history.read_range(blobs, "baseline", 0, 9).to_pylist()

    assert rows == history.chunk_table(chunk).to_pylist()
    first = rows[0]
    assert (first["ordinal"], first["signal_id"], first["symbol"], first["source"]) == (
        0,
        "id-0",
        "ETH",
        "model",
    )
    assert (first["signal"], first["decision"], first["decided_by"], first["outcome"]) == (
        1,
        1,
        "signal",
        "OPENED",
    )
    assert math.isclose(first["fill_quantity"] * first["fill_price"] * 1.001, 10_000.0)
    assert first["cash"] == 0.0
    assert first["timestamp"].isoformat() == "2025-02-24T00:00:00+00:00"
    assert first["feature_numbers"] == [("mood", 0.0), ("rsi", 30.0)]
    assert first["feature_texts"] == [("note", "row 0")]


def test_a_row_without_a_fill_says_null_and_one_without_a_feature_has_none_of_it(blobs):
    rows = history.chunk_table(chunk_of(some_signals(3))).to_pylist()

    assert (rows[1]["outcome"], rows[1]["fill_quantity"], rows[1]["fill_price"]) == ("HOLD", 0.0, None)
    assert rows[1]["feature_numbers"] == [("rsi", 31.0)]


def test_a_chunk_is_cut_at_midnight_utc_and_every_file_tells_its_date_and_rows(blobs):
    names = history.write_chunk(blobs, chunk_of(some_signals(50)))

    assert names == [
        "history/portfolio=baseline/date=2025-02-24/000000000000-000000000023.parquet",
        "history/portfolio=baseline/date=2025-02-25/000000000024-000000000047.parquet",
        "history/portfolio=baseline/date=2025-02-26/000000000048-000000000049.parquet",
    ]
    for name in names:
        days = {
            row.date().isoformat()
            for row in pq.read_table(blobs.folder / name, partitioning=None)["timestamp"].to_pylist()
        }
        assert days == {name.split("date=")[1][:10]}


def alternating(n: int, days: int) -> list[Signal]:
    """n signals, each about the day after that of the one before; after the last day comes the first again."""
    return [
        replace(each, timestamp_us=START_US + row % days * 24 * HOUR_US + row)
        for row, each in enumerate(some_signals(n))
    ]


def test_rows_that_alternate_between_days_make_a_file_a_day_and_come_back_in_order(blobs, tmp_path):
    signals = alternating(50, 3)
    chunk = chunk_of(signals)

    names = history.write_chunk(blobs, chunk)

    assert [name.split("date=")[1] for name in names] == [
        "2025-02-24/000000000000-000000000049.1-of-3.parquet",
        "2025-02-25/000000000000-000000000049.2-of-3.parquet",
        "2025-02-26/000000000000-000000000049.3-of-3.parquet",
    ]
    assert pq.read_table(blobs.folder / names[1], partitioning=None)["ordinal"].to_pylist() == [
        *range(1, 50, 3)
    ]
    whole = history.chunk_table(chunk).to_pylist()
    assert history.read_range(blobs, "baseline", 0, 99).to_pylist() == whole
    assert history.read_range(blobs, "baseline", 7, 20).to_pylist() == whole[7:21]
    assert history.read_page(blobs, "baseline", limit=9, after=10).table.to_pylist() == whole[11:20]
    day = {"start_us": START_US + 24 * HOUR_US, "end_us": START_US + 48 * HOUR_US}
    assert ordinals(history.read_page(blobs, "baseline", limit=99, **day).table) == [*range(1, 50, 3)]
    part = history.read_part(blobs, "baseline", 31)
    assert (part.first, part.end, part.state_before) == (0, 50, chunk.state_at(0))
    assert part.timestamp_us.tolist() == [signal.timestamp_us for signal in signals]
    assert [part.symbols[code] for code in part.symbol] == [signal.symbol for signal in signals]
    assert [part.row_at(row).batch.signal(0) for row in range(50)] == signals
    answer = query(
        tmp_path.as_uri(),
        "select date, count(*) as n, min(ordinal) as first from history group by 1 order by 1",
    )
    assert [(row["n"], row["first"]) for row in answer.to_pylist()] == [(17, 0), (17, 1), (16, 2)]


def test_days_that_follow_one_another_keep_files_that_need_no_other(blobs):
    signals = [*some_signals(30), *alternating(4, 2)[2:]]
    stamps = [signal.timestamp_us for signal in signals]
    chunk = chunk_of(some_signals(32))
    history.write_chunk(blobs, replace(chunk, batch=replace(chunk.batch, timestamp_us=np.array(stamps))))
    history.write_chunk(blobs, renamed(chunk_of(some_signals(30)), "ordered"))

    assert len(blobs.list("history/portfolio=baseline/")) == 2
    assert [name[-33:] for name in blobs.list("history/portfolio=ordered/")] == [
        "000000000000-000000000023.parquet", "000000000024-000000000029.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_rows_of_which_a_file_is_missing_do_not_count_and_are_written_anew(blobs, tmp_path, lost):
    ledger = Ledger(Policy())
    history.write_chunk(blobs, chunk_of(some_signals(5), ledger=ledger))
    chunk = chunk_of(alternating(30, 3), first=5, ledger=ledger)
    names = history.write_chunk(blobs, chunk)
    blobs.delete(names[lost])

    assert history.written_up_to(blobs, "baseline") == 5
    assert history.locate(blobs, "baseline", 6) is None
    assert len(query(tmp_path.as_uri(), "select * from history")) == 5

    assert history.resume(blobs, "baseline") == 5
    assert [name for name in names if blobs.get(name)] == []
    assert history.write_chunk(blobs, chunk) == names
    assert history.written_up_to(blobs, "baseline") == 35


def test_the_ledger_before_every_file_is_kept_in_it(blobs):
    chunk = chunk_of(some_signals(30))
    history.write_chunk(blobs, chunk)

    part = history.read_part(blobs, "baseline", 27)

    assert (part.first, part.end) == (24, 30)
    assert part.state_before == chunk.state_at(24)
    ledger = Ledger.from_bytes(Policy(), part.state_before)
    codes = pa.array([("BTC", "ETH").index(part.symbols[code]) for code in part.symbol], pa.int32())
    ledger.run(part.timestamp_us, codes.to_numpy(), part.decision, part.price)
    assert ledger.account[1] == chunk.rows.equity[-1]


def test_a_signal_is_read_back_with_its_features_and_its_place_in_the_journal(blobs):
    signals = some_signals(50)
    chunk = chunk_of(signals)
    history.write_chunk(blobs, chunk)

    for ordinal in (0, 1, 3, 24, 49):
        row = history.read_part(blobs, "baseline", ordinal).row_at(ordinal)
        assert row.batch.signal(0) == signals[ordinal]
        assert row.batch.content[0] == chunk.batch.content[ordinal]
        assert (row.sequence, row.record_row) == (ordinal // 10, ordinal % 10)


def test_a_row_behind_the_first_row_group_is_found(blobs):
    signals = some_signals(20_000, step_us=1000)
    history.write_chunk(blobs, chunk_of(signals))

    batch = history.read_part(blobs, "baseline", 19_999).row_at(19_999).batch

    assert batch.signal(0) == signals[-1]


def test_a_feature_is_a_number_in_one_row_and_a_text_in_another():
    first, second = some_signals(2)
    signals = [
        replace(first, features={"x": 1.5, "x.text": "a", "": 2.0}),
        replace(second, features={"x": "b"}),
    ]

    table = history.chunk_table(chunk_of(signals))

    assert table["feature_numbers"].to_pylist() == [[("", 2.0), ("x", 1.5)], []]
    assert table["feature_texts"].to_pylist() == [[("x.text", "a")], [("x", "b")]]
    batch = history.read.signals_of(table)
    assert [batch.signal(row) for row in (0, 1)] == signals
    assert history.read.signals_of(table.slice(1)).signal(0) == signals[1]


def test_one_name_decides_for_all_rows_or_every_row_has_its_own():
    chunk = replace(chunk_of(some_signals(3)), decided_by=["signal", "gate", "signal"])

    assert history.chunk_table(chunk)["decided_by"].to_pylist() == ["signal", "gate", "signal"]


def test_the_same_rows_make_the_same_bytes_whatever_was_written_beside_them(tmp_path):
    signals = some_signals(60)
    alone, together = FolderBlobs(tmp_path / "alone"), FolderBlobs(tmp_path / "together")
    history.write_chunk(together, chunk_of(signals))
    ledger = Ledger(Policy())
    for day in range(3):
        rows = signals[24 * day : 24 * (day + 1)]
        history.write_chunk(alone, chunk_of(rows, first=24 * day, ledger=ledger))

    assert alone.list("") == together.list("")
    for name in alone.list(""):
        assert alone.get(name) == together.get(name)


def test_nothing_written_is_nothing_to_read(blobs, tmp_path):
    assert history.written_up_to(blobs, "baseline") == 0
    assert history.locate(blobs, "baseline", 0) is None
    table = history.read_range(blobs, "baseline", 0, 10)
    assert (len(table), table.schema) == (0, history.FIXED)
    page = history.read_page(blobs, "baseline", limit=5)
    assert (len(page.table), page.after) == (0, None)
    answer = query(tmp_path.as_uri(), "select * from history")
    assert len(answer) == 0
    assert answer.column_names[:4] == ["portfolio", "date", "ordinal", "signal_id"]


def test_a_row_that_is_not_there_is_not_found(blobs):
    history.write_chunk(blobs, chunk_of(some_signals(5)))

    with pytest.raises(NotFound, match="no row 5"):
        history.read_part(blobs, "baseline", 5)
    with pytest.raises(NotFound):
        history.read_part(blobs, "other", 0)


def test_what_is_written_later_is_located_without_being_told(blobs):
    ledger = Ledger(Policy())
    history.write_chunk(blobs, chunk_of(some_signals(5), ledger=ledger))
    assert history.locate(blobs, "baseline", 7) is None

    history.write_chunk(blobs, chunk_of(some_signals(5, first=5), first=5, ledger=ledger))

    assert history.locate(blobs, "baseline", 7).first == 5
    assert history.written_up_to(blobs, "baseline") == 10


def test_portfolios_whose_names_begin_alike_are_kept_apart(blobs):
    history.write_chunk(blobs, chunk_of(some_signals(5)))
    history.write_chunk(blobs, renamed(chunk_of(some_signals(3)), "baseline2"))

    assert history.written_up_to(blobs, "baseline") == 5
    assert history.written_up_to(blobs, "baseline2") == 3
    assert history.written_up_to(blobs, "base") == 0


def test_only_rows_without_a_gap_before_them_count():
    names = [file_name("p", "2025-01-01", first, last) for first, last in ((0, 4), (5, 9), (12, 20))]

    assert [(span.first, span.last) for span in cover(names)["p"]] == [(0, 4), (5, 9)]
    assert cover(names[1:]) == {"p": []}


def test_rows_that_two_writers_both_wrote_are_read_once(blobs, tmp_path):
    signals = some_signals(20)
    for cuts in ((0, 8, 14), (0, 5, 12, 20)):
        ledger = Ledger(Policy())
        for first, stop in itertools.pairwise(cuts):
            history.write_chunk(blobs, chunk_of(signals[first:stop], first=first, ledger=ledger))
    whole = history.chunk_table(chunk_of(signals)).to_pylist()

    assert history.written_up_to(blobs, "baseline") == 20
    assert history.read_range(blobs, "baseline", 0, 99).to_pylist() == whole
    assert ordinals(history.read_page(blobs, "baseline", limit=99).table) == list(range(20))
    answer = query(tmp_path.as_uri(), "select * exclude (portfolio, date) from history order by ordinal")
    assert [row["ordinal"] for row in answer.to_pylist()] == list(range(20))
    assert answer["equity"].to_pylist() == [row["equity"] for row in whole]
    batch = history.read_part(blobs, "baseline", 13).row_at(13).batch
    assert batch.signal(0) == signals[13]


def test_pages_follow_one_another_and_the_last_says_that_it_is(blobs):
    history.write_chunk(blobs, chunk_of(some_signals(50)))

    first = history.read_page(blobs, "baseline", limit=30)
    second = history.read_page(blobs, "baseline", limit=30, after=first.after)

    assert (ordinals(first.table), first.after) == (list(range(30)), 29)
    assert (ordinals(second.table), second.after) == (list(range(30, 50)), None)


def test_a_page_that_ends_with_the_last_row_is_the_last(blobs):
    history.write_chunk(blobs, chunk_of(some_signals(50)))

    assert history.read_page(blobs, "baseline", limit=50).after is None


def test_a_page_holds_what_fits_the_time_the_action_and_the_symbol(blobs):
    history.write_chunk(blobs, chunk_of(some_signals(100)))

    page = history.read_page(
        blobs, "baseline", limit=100, start_us=START_US + 20 * HOUR_US, end_us=START_US + 75 * HOUR_US,
        action=Action.BUY, symbol="ETH",
    )  # fmt: skip

    assert ordinals(page.table) == [30, 45, 60]
    assert page.after is None


def test_a_search_that_finds_little_stops_and_says_where_to_go_on(blobs, monkeypatch):
    monkeypatch.setattr(history.read, "_SCANNED_A_PAGE", 40)
    history.write_chunk(blobs, chunk_of(some_signals(96)))

    page = history.read_page(blobs, "baseline", limit=10, symbol="DOGE")

    assert (len(page.table), page.after) == (0, 47)
    assert history.read_page(blobs, "baseline", limit=10, symbol="DOGE", after=47).after is None


def test_a_page_of_no_rows_is_refused(blobs):
    with pytest.raises(InvalidField):
        history.read_page(blobs, "baseline", limit=0)


@pytest.mark.parametrize("damage", [b"", b"PAR1 is not enough"])
def test_a_damaged_file_is_named(blobs, damage):
    (name,) = history.write_chunk(blobs, chunk_of(some_signals(5)))
    (blobs.folder / name).write_bytes(damage)

    for read in (
        lambda: history.read_part(blobs, "baseline", 0),
        lambda: history.read_range(blobs, "baseline", 0, 5),
    ):
        with pytest.raises(JournalDamaged, match=name):
            read()


def test_no_flipped_bit_is_shown_as_truth(blobs, tmp_path):
    (name,) = history.write_chunk(blobs, chunk_of(some_signals(5)))
    path = blobs.folder / name
    whole = path.read_bytes()
    reads = (
        lambda: history.read_range(blobs, "baseline", 0, 4),
        lambda: history.read_page(blobs, "baseline", limit=9),
        lambda: history.read_part(blobs, "baseline", 0),
        lambda: query(tmp_path.as_uri(), "select * from history"),
    )
    rng = Random(7)
    for flip in range(200):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises((JournalDamaged, StoreUnavailable)):
            reads[flip % len(reads)]()
    path.write_bytes(whole)
    assert len(query(tmp_path.as_uri(), "select * from history")) == 5


def test_readers_that_check_pages_find_a_flipped_bit(blobs):
    (name,) = history.write_chunk(blobs, chunk_of(some_signals(500, step_us=1000)))
    path = blobs.folder / name
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(6)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(OSError, match="CRC"):
        pd.read_parquet(path, page_checksum_verification=True)


def test_sql_sees_every_portfolio_with_its_date_and_its_features(blobs, tmp_path):
    history.write_chunk(blobs, chunk_of(some_signals(50)))
    history.write_chunk(blobs, renamed(chunk_of(some_signals(5)), "other"))

    answer = query(
        tmp_path.as_uri(),
        """select portfolio, date, count(*) as n, max("feature.rsi") as rsi, any_value(symbol) as symbol
           from history where symbol = 'BTC' and date < '2025-02-26' group by all order by all""",
    )

    assert [tuple(row.values())[0::2] for row in answer.to_pylist()] == [
        ("baseline", 19, "BTC"),
        ("baseline", 19, "BTC"),
        ("other", 4, "BTC"),
    ]
    assert query(tmp_path.as_uri(), "select count(*) from history")[0].to_pylist() == [55]


def number_one_day_and_text_the_next(blobs: FolderBlobs, portfolio: str = "baseline") -> None:
    ledger = Ledger(Policy())
    days = (
        {"x": 250.0, "only 'here'": 1.0}, {"x": "high"}, {}, {"x": 1.5, 'o"dd': "text"}
    )  # fmt: skip
    for day, features in enumerate(days):
        signals = [replace(each, features=features) for each in some_signals(2, first=24 * day)]
        chunk = renamed(chunk_of(signals, first=2 * day, ledger=ledger), portfolio)
        history.write_chunk(blobs, chunk)


def test_features_whose_names_differ_in_case_alone_have_columns_of_their_own_in_sql(blobs, tmp_path):
    features = [
        {"RSI": 30.0, "rsi": 31.0},
        {"rsi": "high"},
        {"Rsi": 50.0, "rsi~000": 1.0},
        {"ä": 1.0, "Ä": 2.0},
    ]
    signals = [replace(each, features=own) for each, own in zip(some_signals(4), features, strict=True)]
    history.write_chunk(blobs, chunk_of(signals))

    answer = query(tmp_path.as_uri(), "select * from history order by ordinal")

    columns = [name for name in answer.column_names if name.startswith("feature.")]
    assert {name: answer[name].to_pylist() for name in columns} == {
        "feature.RSI~111": [30.0, None, None, None],
        "feature.Rsi~100": [None, None, 50.0, None],
        "feature.rsi~~000": ["31", "high", None, None],
        "feature.rsi~000": [None, None, 1.0, None],
        "feature.ä": [None, None, None, 1.0],
        "feature.Ä": [None, None, None, 2.0],
    }
    for name in ("feature.rsi", "feature.RSI", "FEATURE.Rsi"):
        with pytest.raises(
            InputError, match=r'the columns are "feature.RSI~111", "feature.Rsi~100", "feature.rsi~~000"'
        ):
            query(tmp_path.as_uri(), f'select "{name}" from history')
    with pytest.raises(InputError) as raised:
        query(tmp_path.as_uri(), 'select "feature.mood" from history')
    assert "differ in case" not in str(raised.value)


def test_a_feature_that_is_a_number_one_day_and_a_text_the_next_is_a_text_in_sql(blobs, tmp_path):
    number_one_day_and_text_the_next(blobs)

    answer = query(tmp_path.as_uri(), "select * from history order by ordinal")

    assert answer["feature.x"].to_pylist()[::2] == ["250", "high", None, "1.5"]
    assert answer["feature.only 'here'"].to_pylist()[::2] == [1.0, None, None, None]
    assert answer['feature.o"dd'].to_pylist()[::2] == [None, None, None, "text"]
    assert not any(name.startswith("feature_") for name in answer.column_names)


def test_every_file_has_the_same_columns_whatever_features_its_rows_have(blobs):
    number_one_day_and_text_the_next(blobs)

    schemas = [pq.read_schema(path) for path in sorted(blobs.folder.rglob("*.parquet"))]

    assert len(schemas) == 5
    assert all(schema.equals(history.FIXED, check_metadata=False) for schema in schemas)


PORTFOLIOS = ["007", "2024", "1e5", "2025-01-01"]


@pytest.mark.parametrize("portfolios", [*([name] for name in PORTFOLIOS), PORTFOLIOS], ids=str)
def test_pandas_and_duckdb_read_the_folder_as_it_is(blobs, portfolios):
    for name in portfolios:
        number_one_day_and_text_the_next(blobs, name)
    folder = blobs.folder / "history"

    frame = pd.read_parquet(folder)
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"""select portfolio, date::varchar, feature_numbers['x'], feature_texts['x']
                from '{folder}/**/*.parquet' where ordinal % 2 = 0 order by portfolio, ordinal"""
        ).fetchall()

    assert frame["portfolio"].unique().tolist() == sorted(portfolios)
    frame = frame[frame["ordinal"] % 2 == 0].sort_values(["portfolio", "ordinal"])
    days = ["2025-02-24", "2025-02-25", "2025-02-26", "2025-02-27"]
    values = [(250.0, None), (None, "high"), (None, None), (1.5, None)]
    assert rows == [
        (name, day, *value) for name in sorted(portfolios) for day, value in zip(days, values, strict=True)
    ]
    assert frame["date"].tolist() == days * len(portfolios)
    read = [
        (dict(numbers).get("x"), dict(texts).get("x"))
        for numbers, texts in zip(frame["feature_numbers"], frame["feature_texts"], strict=True)
    ]
    assert read == values * len(portfolios)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", "syntax error"),
        ("select nothing from history", "nothing"),
        ("select * from elsewhere", "elsewhere"),
        ("", "no answer"),
        ("select 'x'::int", "Could not convert"),
    ],
)
def test_wrong_sql_is_answered_with_what_is_wrong(tmp_path, sql, says):
    with pytest.raises(InputError, match=says):
        query(tmp_path.as_uri(), sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "copy (select 1) to 'out.csv'",
        "attach 'file.db'",
        "install httpfs",
        "load httpfs",
        "select * from 'https://127.0.0.1/x.parquet'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "export database 'out'",
    ],
)
def test_sql_reaches_nothing_but_the_history(tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        query(tmp_path.as_uri(), sql)
    assert list(tmp_path.iterdir()) == []


def test_sql_cannot_reach_the_variables_of_the_program(tmp_path):
    secret = pa.table({"a": [1]})

    with pytest.raises(InputError, match="secret"):
        query(tmp_path.as_uri(), "select * from secret")
    assert len(secret) == 1


def test_an_address_that_is_no_store_is_refused():
    with pytest.raises(SettingsError, match="neither file:"):
        query("gs://bucket/prefix", "select 1")
