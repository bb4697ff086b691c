import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine import history
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.history.query import query
from raysignal.engine.portfolio.ledger import Ledger
from tests.support.effort import examples
from tests.support.folder_blobs import FolderBlobs
from tests.support.history_chunks import HOUR_US, START_US, chunk_of, some_signals

features = st.dictionaries(
    st.sampled_from(["x", "x.text", "mood", "größe"]),
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    ),
    max_size=3,
)


@st.composite
def written(draw: st.DrawFn) -> list[list[Signal]]:
    """Signals in the pieces in which they are written."""
    n = draw(st.integers(0, 40))
    step = draw(st.sampled_from([HOUR_US // 60, 7 * HOUR_US, 30 * HOUR_US]))
    signals = [replace(signal, features=draw(features)) for signal in some_signals(n, step_us=step)]
    back = draw(st.sampled_from([0, 0, 3 * 24 * HOUR_US]))  # days that come again
    signals = [
        replace(signal, timestamp_us=signal.timestamp_us - row % 3 * back)
        for row, signal in enumerate(signals)
    ]
    cuts = sorted({0, n, *draw(st.lists(st.integers(0, n), max_size=4))})
    return [signals[start:stop] for start, stop in itertools.pairwise(cuts)]


@contextmanager
def store(pieces: list[list[Signal]]) -> Iterator[tuple[FolderBlobs, str, list[pa.Table]]]:
    with tempfile.TemporaryDirectory() as folder:
        blobs = FolderBlobs(Path(folder))
        ledger, first, tables = Ledger(Policy()), 0, []
        for piece in pieces:
            chunk = chunk_of(piece, first=first, ledger=ledger)
            tables.append(history.chunk_table(chunk))
            history.write_chunk(blobs, chunk)
            first += len(piece)
            assert history.written_up_to(blobs, "baseline") == first
        yield blobs, Path(folder).as_uri(), tables


def without_features(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if "feature." not in name} for row in rows]


@settings(max_examples=examples(40))
@given(pieces=written(), data=st.data())
def test_what_was_written_is_what_is_read(pieces, data):
    with store(pieces) as (blobs, url, tables):
        signals = [signal for piece in pieces for signal in piece]
        whole = history.read_range(blobs, "baseline", 0, len(signals))
        expected = without_features([row for table in tables for row in table.to_pylist()])
        assert without_features(whole.to_pylist()) == expected

        first = data.draw(st.integers(0, 45))
        last = data.draw(st.integers(0, 45))
        part = history.read_range(blobs, "baseline", first, last)
        assert without_features(part.to_pylist()) == expected[first : last + 1]

        ends = {first for cut in itertools.accumulate(map(len, pieces)) for first in (cut - 1, cut)}
        for ordinal in sorted({0, *ends} & set(range(len(signals)))):
            batch = history.read_part(blobs, "baseline", ordinal).row_at(ordinal).batch
            assert batch.signal(0) == signals[ordinal]

        answer = query(url, "select * from history order by ordinal").to_pylist()
        assert [(row["ordinal"], row["signal_id"], row["equity"]) for row in answer] == [
            (row["ordinal"], row["signal_id"], row["equity"]) for row in expected
        ]
        assert all(row["date"] == row["timestamp"].date() for row in answer)


@settings(max_examples=examples(40))
@given(
    pieces=written(),
    limit=st.integers(1, 12),
    action=st.none() | st.sampled_from(Action),
    symbol=st.none() | st.sampled_from(["BTC", "ETH", "DOGE"]),
    start=st.none() | st.integers(-5, 300),
    end=st.none() | st.integers(-5, 300),
)
def test_pages_hold_every_row_that_fits_once_and_in_order(pieces, limit, action, symbol, start, end):
    start_us = None if start is None else START_US + start * HOUR_US
    end_us = None if end is None else START_US + end * HOUR_US
    signals = [signal for piece in pieces for signal in piece]
    expected = [
        ordinal
        for ordinal, signal in enumerate(signals)
        if (action is None or signal.action == action)
        and (symbol is None or signal.symbol == symbol)
        and (start_us is None or signal.timestamp_us >= start_us)
        and (end_us is None or signal.timestamp_us < end_us)
    ]
    with store(pieces) as (blobs, _, _):
        seen: list[int] = []
        after: int | None = -1
        while after is not None:
            page = history.read_page(
                blobs, "baseline", start_us=start_us, end_us=end_us, action=action, symbol=symbol,
                after=after, limit=limit,
            )  # fmt: skip
            assert len(page.table) == limit or page.after is None
            seen += page.table["ordinal"].to_pylist()
            after = page.after
        assert seen == expected
