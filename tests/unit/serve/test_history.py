from itertools import pairwise
from pathlib import Path

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action
from raysignal.engine.history import chunk_table, write_chunk
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import RecentRows
from raysignal.serve.history import HistoryQuery, newest_rows, read_rows
from tests.support.folder_blobs import FolderBlobs
from tests.support.history_chunks import HOUR_US, START_US, chunk_of, some_signals

WRITTEN, KEPT = 70, 50


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


@pytest.fixture
def recent(blobs: FolderBlobs) -> RecentRows:
    """120 rows: 70 in the history, the last 60 in memory, so that 10 of them stand in both."""
    ledger = Ledger(Policy())
    chunks = []
    for first, end in pairwise((0, WRITTEN - 10, WRITTEN, WRITTEN + KEPT)):
        chunks.append(chunk_of(some_signals(end - first, first=first), first=first, ledger=ledger))
    for chunk in chunks[:2]:
        write_chunk(blobs, chunk)
    return RecentRows("baseline", WRITTEN - 10, [chunk_table(chunk) for chunk in chunks[1:]])


def all_pages(blobs: FolderBlobs, recent: RecentRows, wanted: HistoryQuery, limit: int) -> list[int]:
    found, after = [], -1
    while True:
        rows, more = read_rows(blobs, recent, wanted, after=after, limit=limit)
        assert len(rows) <= limit
        found += [row["ordinal"] for row in rows]
        if more is None:
            return found
        assert more > after
        after = more


@pytest.mark.parametrize("limit", [1, 7, 10, 60, 70, 119, 120, 121])
def test_every_row_comes_once_and_in_order_wherever_it_lies(
    blobs: FolderBlobs, recent: RecentRows, limit: int
) -> None:
    assert all_pages(blobs, recent, HistoryQuery("baseline"), limit) == list(range(120))


@pytest.mark.parametrize("limit", [1, 9, 200])
def test_filters_hold_in_memory_as_in_parquet(blobs: FolderBlobs, recent: RecentRows, limit: int) -> None:
    wanted = HistoryQuery(
        "baseline",
        start_us=START_US + 20 * HOUR_US,
        end_us=START_US + 110 * HOUR_US,
        action=Action.BUY,
        symbol="BTC",
    )
    expected = [
        index
        for index, signal in enumerate(some_signals(120))
        if 20 <= index < 110 and signal.action == Action.BUY and signal.symbol == "BTC"
    ]
    assert all_pages(blobs, recent, wanted, limit) == expected


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 200])
@pytest.mark.parametrize("wanted", [HistoryQuery("baseline"), HistoryQuery("baseline", symbol="ETH")])
def test_from_the_end_every_row_of_a_source_comes_once_the_latest_first(
    blobs: FolderBlobs,
    recent: RecentRows,
    wanted: HistoryQuery,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raysignal.serve.history._NARROWEST", 16)
    found, before = [], None
    while True:
        rows, before = newest_rows(blobs, recent, wanted, source="model", before=before, limit=limit)
        assert len(rows) <= limit
        found += [row["ordinal"] for row in rows]
        if before is None:
            break
    expected = [
        index
        for index, signal in enumerate(some_signals(120))
        if signal.source == "model" and wanted.symbol in {None, signal.symbol}
    ]
    assert found == expected[::-1]


def test_rows_are_plain_and_carry_their_own_features_only(blobs: FolderBlobs, recent: RecentRows) -> None:
    rows, _ = read_rows(blobs, recent, HistoryQuery("baseline"), after=-1, limit=200)
    for index, (row, signal) in enumerate(zip(rows, some_signals(120), strict=True)):
        assert row["ordinal"] == index
        assert row["signal_id"] == signal.signal_id
        assert row["signal"] == signal.action.name
        assert row["price"] == signal.price
        assert row["timestamp"].endswith("Z")
        assert row["features"] == dict(signal.features)


def test_a_cursor_continues_where_it_says() -> None:
    wanted = HistoryQuery("baseline", action=Action.BUY)
    assert wanted.after(wanted.cursor(41)) == 41
    assert wanted.after(None) == -1


@pytest.mark.parametrize("cursor", ["", "x", "====", "MQ", "é", "MS4wMDAwMDAwMA", "LTEuMDAwMDAwMDA" * 100])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidField):
        HistoryQuery("baseline").after(cursor)


def test_a_cursor_of_other_filters_is_refused() -> None:
    with pytest.raises(InvalidField):
        HistoryQuery("baseline", symbol="BTC").after(HistoryQuery("baseline", symbol="ETH").cursor(1))
