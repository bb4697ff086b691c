"""Files, whole and in pieces."""

import json
import random
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField, NotFound, UnreadableInput
from raysignal.engine.core.instants import DAY_US, format_instant, zone_named
from raysignal.engine.intake import Reading, read_file, read_file_chunks
from raysignal.engine.intake.source import BLOCK_ROWS

READING = Reading()
HEADER = "datetime,close,Signal,mood\r\n"


def csv_of(minutes: list[int]) -> str:
    return HEADER + "".join(
        f"2025-{1 + m // 43_200:02d}-{1 + m // 1440 % 30:02d} {m // 60 % 24:02d}:{m % 60:02d},{m + 1},1,m{m}\r\n"
        for m in minutes
    )


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_kind_of_file_is_read_by_its_ending(tmp_path: Path) -> None:
    rows = [
        {"datetime": f"2025-02-24 00:0{i}", "close": 1.5 + i, "Signal": 1, "mood": f"m{i}"} for i in range(3)
    ]
    paths = [
        write(tmp_path, "a.csv", HEADER + "".join(",".join(map(str, row.values())) + "\n" for row in rows)),
        write(tmp_path, "a.ndjson", "\n".join(map(json.dumps, rows))),
        write(tmp_path, "a.JSONL", "\n".join(map(json.dumps, rows))),
        write(tmp_path, "a.json", json.dumps(rows, indent=1)),
        tmp_path / "a.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(rows), paths[-1])
    contents = [read_file(path, READING).batch.content.tolist() for path in paths]
    assert contents == [contents[0]] * 5
    assert len(contents[0]) == 3


def test_days_of_23_and_25_hours_end_when_they_do_in_every_kind_of_file(tmp_path: Path) -> None:
    days = ["2018-03-10", "2018-03-11", "2018-11-04", "2018-11-05"]
    known = ["2018-03-11T05:00:00Z", "2018-03-12T04:00:00Z", "2018-11-05T05:00:00Z", "2018-11-06T05:00:00Z"]
    rows = [{"datetime": day, "close": 1.5, "Signal": 1} for day in days]
    stamps = pa.array([datetime.fromisoformat(day) for day in days], pa.timestamp("us"))
    written = pa.Table.from_pylist(rows)
    pq.write_table(written, tmp_path / "texts.parquet")
    pq.write_table(written.set_column(0, "datetime", stamps), tmp_path / "stamps.parquet")
    pq.write_table(written.set_column(0, "datetime", stamps.cast(pa.date32())), tmp_path / "days.parquet")
    paths = [
        write(tmp_path, "a.csv", "datetime,close,Signal\n" + "".join(f"{day},1.5,1\n" for day in days)),
        write(tmp_path, "a.ndjson", "\n".join(map(json.dumps, rows))),
        *sorted(tmp_path.glob("*.parquet")),
    ]
    reading = Reading(zone=zone_named("America/New_York"), bar_us=DAY_US, label="open")
    for path in paths:
        found = read_file(path, reading).batch.timestamp_us.tolist()
        assert [format_instant(each) for each in found] == known, path.name


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_file(tmp_path / "none.csv", READING)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0", "a PNG image; expected CSV"), ("a.ndjson", b"PAR1" + b"\0" * 30, "Parquet"),
        ("a.parquet", b"datetime,close,Signal\n", "not Parquet"), ("a.csv", b"", "empty"), ("a.csv", b"\n \n", "empty"),
        ("a.csv", b"\x1f\x8b\x08\0", "gzip"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_gets_a_sentence(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableInput, match=said):
        read_file(write(tmp_path, name, content), READING)


def test_a_folder_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UnreadableInput):
        read_file(tmp_path / "folder.csv", READING)
    with pytest.raises(InvalidField, match="ends in"):
        read_file(write(tmp_path, "a.xlsx", b"PK"), READING)


def test_rows_in_any_order_come_out_in_time(tmp_path: Path) -> None:
    minutes = random.Random(3).sample(range(1000), 300)
    batch = read_file(write(tmp_path, "a.csv", csv_of(minutes)), READING).batch
    assert batch.price.tolist() == [float(m + 1) for m in sorted(minutes)]
    assert batch.row.tolist() == np.argsort(minutes).tolist()


def test_a_sorted_file_comes_in_pieces_that_make_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", csv_of(list(range(3 * BLOCK_ROWS + 7))))
    pieces = list(read_file_chunks(path, READING, rows=BLOCK_ROWS))
    assert [len(piece.batch) for piece in pieces] == [BLOCK_ROWS] * 3 + [7]
    whole = read_file(path, READING).batch
    joined = SignalBatch.concat([piece.batch for piece in pieces])
    assert joined.content.tolist() == whole.content.tolist()
    assert joined.row.tolist() == whole.row.tolist()


def test_a_file_out_of_order_comes_in_pieces_in_time(tmp_path: Path) -> None:
    minutes = list(range(2 * BLOCK_ROWS))
    random.Random(5).shuffle(minutes)
    path = write(tmp_path, "a.csv", csv_of(minutes) + "2025-01-01,0,1,no price\r\n")
    pieces = list(read_file_chunks(path, READING, rows=10_000))
    assert [len(piece.batch) for piece in pieces] == [10_000, 10_000, 10_000, 2 * BLOCK_ROWS - 30_000]
    assert [m for piece in pieces for m in piece.batch.price.tolist()] == [
        float(m + 1) for m in sorted(minutes)
    ]
    assert [piece.refused for piece in pieces] == [1, 0, 0, 0]
    assert sum(piece.rows for piece in pieces) == 2 * BLOCK_ROWS + 1


def test_disorder_within_a_piece_is_sorted_where_it_is(tmp_path: Path) -> None:
    minutes = list(range(2 * BLOCK_ROWS))
    minutes[5], minutes[6] = minutes[6], minutes[5]
    path = write(tmp_path, "a.csv", csv_of(minutes) + "soon,1,1,no time\r\n")
    pieces = list(read_file_chunks(path, READING, rows=BLOCK_ROWS))
    assert [m for piece in pieces for m in piece.batch.price.tolist()] == [
        float(m + 1) for m in range(2 * BLOCK_ROWS)
    ]
    assert sum(piece.refused for piece in pieces) == 1


def test_a_file_without_rows_is_one_empty_piece(tmp_path: Path) -> None:
    pieces = list(read_file_chunks(write(tmp_path, "a.csv", HEADER), READING))
    assert [(len(piece.batch), piece.rows) for piece in pieces] == [(0, 0)]


def test_a_folder_is_its_parquet_files_one_after_the_other(tmp_path: Path) -> None:
    rows = [
        {"timestamp": f"2025-02-2{day}T00:00:00Z", "price": 1.5 + day, "signal": 1} for day in range(1, 7)
    ]
    for first in (4, 0):
        pq.write_table(pa.Table.from_pylist(rows[first : first + 4]), tmp_path / f"part{first}.parquet")
    (tmp_path / ".part9.parquet").write_bytes(b"half")
    (tmp_path / "gaps.json").write_text("{}")
    found = read_file(tmp_path, READING)
    assert (found.rows, found.refused) == (6, 0)
    assert found.batch.price.tolist() == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert found.batch.row.tolist() == [0, 1, 2, 3, 4, 5]
    (piece,) = read_file_chunks(tmp_path, READING)
    assert piece.batch.content.tolist() == found.batch.content.tolist()


def test_a_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"is a folder without \.parquet files"):
        read_file(tmp_path, READING)
