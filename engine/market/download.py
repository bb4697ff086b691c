"""Past bars and funding rates of a symbol, asked of its venue, as files that pandas and the sweep read.

    <folder>/1m/2024-01.parquet         timestamp (when the bar was known), symbol, price (the close), open, high, low,
                                        close, volume; bars that are shorter than a minute have a file a day
    <folder>/funding/2024-01.parquet    timestamp, symbol, funding_rate
    <folder>/gaps.json                  the bars that the venue does not give, by length

The newest come first, so that a venue which has no more is not asked on. Files are whole or not there, and say what
they cover (`engine.market.period_files`): a download that ended in the middle goes on where it was.
"""

import asyncio
import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import Conflict, NotFound, UnreadableInput
from raysignal.engine.core.instants import MICROSECONDS, format_instant
from raysignal.engine.core.market_events import FundingRate, Instrument, Kline
from raysignal.engine.market.bars import bar_name
from raysignal.engine.market.feed import Answers
from raysignal.engine.market.period_files import PeriodFiles, TimeSpan, complete
from raysignal.engine.market.venues.protocol import Venue

TRIES = 8
"""Of a request; with the waits between them, some two minutes."""

AT_ONCE = 4
"""Requests under way together."""

SETTLED_US = 3_600 * MICROSECONDS
"""A bar that the venue has not given so long after its end is a gap; before, it may still come."""

_STAMP = pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False)
_SYMBOL = pa.field("symbol", pa.string(), nullable=False)
_PRICES = ("price", "open", "high", "low", "close", "volume")
BARS = pa.schema([_STAMP, _SYMBOL, *(pa.field(name, pa.float64(), nullable=False) for name in _PRICES)])
FUNDING = pa.schema([_STAMP, _SYMBOL, pa.field("funding_rate", pa.float64(), nullable=False)])


@dataclass(frozen=True, slots=True)
class DownloadedBars:
    """The bars of a span that are on disk now.

    Attributes:
        folder, files: where they are; files of other spans are among them.
        bars: of the span.
        asked: how many bars the venue was asked for; the others were there.
        gaps: spans in which bars would open that the venue does not give.
    """

    folder: Path
    files: int
    bars: int
    asked: int
    gaps: tuple[TimeSpan, ...]


@dataclass(frozen=True, slots=True)
class DownloadedFunding:
    """The funding rates on disk."""

    folder: Path
    rates: int


def folder_of(root: Path, instrument: Instrument) -> Path:
    """Where the files of an instrument are."""
    return root / instrument.venue / quote(instrument.symbol, safe="")


@contextmanager
def only_download(folder: Path) -> Iterator[None]:
    """Within, no other process downloads to the folder; `Conflict` if one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another download writes to {folder}; wait until it has ended") from error
        yield


# Bars


async def download_bars(
    venue: Venue, instrument: Instrument, interval_us: int, span: TimeSpan, folder: Path, rest: Answers, now_us: int,
    progress: Callable[[int, int], None],
) -> DownloadedBars:  # fmt: skip
    """Have the bars that open in a span on disk, as far as the venue gives them.

    `span` is of whole bars that are over, `folder` that of the instrument (see `folder_of`), `now_us` the venue's time;
    `progress` is told bars done and bars in all.

    Raises:
        InvalidField: the venue has no bars of this length; nothing is written.
        StoreUnavailable: it does not answer; what was written stays.
        UnreadableInput: its answer is none, or a file on disk is none of these.
    """
    files = PeriodFiles(folder / bar_name(interval_us), BARS, daily=interval_us < 60 * MICROSECONDS)
    files.folder.mkdir(parents=True, exist_ok=True)
    files.clean()
    whole = (span.to_us - span.from_us) // interval_us
    history = _BarHistory(
        venue, instrument, interval_us, rest, now_us, lambda done: progress(min(done, whole), whole)
    )
    for path, part in reversed(files.periods(span)):
        if not history.exhausted or files.covered(path) is not None:
            await complete(files, path, part, now_us - SETTLED_US, history.rows)
        history.note((span.to_us - part.from_us) // interval_us)
    known, covered = _on_disk(files)
    opens = known - interval_us
    gaps = _gaps(opens, _joined([*covered, _given(span, opens, now_us, interval_us)]), interval_us)
    _write_gaps(folder / "gaps.json", bar_name(interval_us), gaps, interval_us)
    bars = int(np.count_nonzero((opens >= span.from_us) & (opens < span.to_us)))
    in_span = tuple(
        TimeSpan(max(each.from_us, span.from_us), min(each.to_us, span.to_us))
        for each in gaps
        if each.from_us < span.to_us and each.to_us > span.from_us
    )
    return DownloadedBars(files.folder, len(files.paths()), bars, history.asked, in_span)


class _BarHistory:
    """A venue's bars.

    Attributes:
        exhausted: it has none before those that were asked for.
        asked: how many it was asked for.
    """

    def __init__(
        self, venue: Venue, instrument: Instrument, interval_us: int, rest: Answers, now_us: int,
        progress: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._venue, self._instrument, self._interval_us = venue, instrument, interval_us
        self._rest, self._now_us, self._progress = rest, now_us, progress
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._done = 0
        self.exhausted, self.asked = False, 0

    def note(self, done: int) -> None:
        """So many bars are done at least, the newest."""
        self._done = max(self._done, done)
        self._progress(self._done)

    async def rows(self, span: TimeSpan) -> pa.Table:
        """The bars that open in a span, in as many requests as it takes."""
        step_us = self._venue.most_klines * self._interval_us
        parts = [
            TimeSpan(start, min(start + step_us, span.to_us))
            for start in range(span.from_us, span.to_us, step_us)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._part(part)) for part in reversed(parts)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return _bar_rows(self._instrument, [kline for task in reversed(tasks) for kline in task.result()])

    async def _part(self, span: TimeSpan) -> list[Kline]:
        venue, interval_us = self._venue, self._interval_us
        count = (span.to_us - span.from_us) // interval_us
        async with self._at_once:
            if self.exhausted:
                return []
            request = venue.klines_request(self._instrument, interval_us, span.to_us, count)
            body = await self._rest.get(request, tries=TRIES)
        klines = venue.read_klines(self._instrument, interval_us, body, self._now_us)
        self.asked += count
        self.note(self._done + count)
        # An answer goes back as far as it takes to find as many bars: an empty one says that there are none before.
        self.exhausted = self.exhausted or not klines
        found = {each.open_us: each for each in klines if each.closed}
        for open_us in found:
            if open_us % interval_us:
                raise UnreadableInput(
                    f"{venue.name} gave a bar that opens at {format_instant(open_us)}; "
                    f"expected whole lengths of {bar_name(interval_us)}"
                )
        return [found[open_us] for open_us in sorted(found) if span.from_us <= open_us < span.to_us]


def _bar_rows(instrument: Instrument, klines: Sequence[Kline]) -> pa.Table:
    def prices(name: str) -> list[float]:
        return [instrument.price(getattr(each, name)) for each in klines]

    columns = {name: prices(name) for name in ("open", "high", "low", "close")}
    columns |= {"price": columns["close"], "volume": [instrument.size(each.volume) for each in klines]}
    stamps = [each.open_us + each.interval_us for each in klines]
    return _table(BARS, instrument, stamps, columns)


def _table(
    schema: pa.Schema, instrument: Instrument, stamps: list[int], columns: dict[str, list[float]]
) -> pa.Table:
    known = pa.array(stamps, pa.int64()).view(_STAMP.type)
    symbols = pa.array([instrument.name] * len(stamps), pa.string())
    return pa.table({"timestamp": known, "symbol": symbols, **columns}, schema=schema)


# Gaps


def _on_disk(files: PeriodFiles) -> tuple[Int64Array, list[TimeSpan]]:
    """The stamps of all rows, rising, and the spans that the files cover."""
    stamps, spans = [np.empty(0, np.int64)], []
    for path in files.paths():
        covered = files.covered(path)
        assert covered is not None
        spans.append(covered)
        column = files.read(path, ["timestamp"])["timestamp"].combine_chunks()
        stamps.append(column.view(pa.int64()).to_numpy())
    return np.concatenate(stamps), spans


def _given(span: TimeSpan, opens: Int64Array, now_us: int, interval_us: int) -> TimeSpan:
    """A span without its end, where bars may still come."""
    last_us = int(opens[-1]) + interval_us if len(opens) else 0
    settled_us = (now_us - SETTLED_US) // interval_us * interval_us
    return TimeSpan(span.from_us, max(span.from_us, min(span.to_us, max(settled_us, last_us))))


def _joined(spans: Sequence[TimeSpan]) -> list[TimeSpan]:
    """The same time in as few spans as it takes, in order."""
    joined: list[TimeSpan] = []
    for each in sorted(spans):
        if joined and each.from_us <= joined[-1].to_us:
            joined[-1] = TimeSpan(joined[-1].from_us, max(joined[-1].to_us, each.to_us))
        else:
            joined.append(each)
    return joined


def _gaps(opens: Int64Array, spans: Sequence[TimeSpan], interval_us: int) -> list[TimeSpan]:
    """Where in these spans bars should open and do not."""
    gaps = []
    for span in spans:
        first, last = np.searchsorted(opens, span)
        edges = np.concatenate([[span.from_us - interval_us], opens[first:last], [span.to_us]])
        gaps += [
            TimeSpan(int(edges[at]) + interval_us, int(edges[at + 1]))
            for at in np.flatnonzero(np.diff(edges) > interval_us)
        ]
    return gaps


def _write_gaps(path: Path, bar: str, gaps: Sequence[TimeSpan], interval_us: int) -> None:
    """Say the gaps of one length; those of others stay."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        said = {}
    said = {
        **(said if isinstance(said, dict) else {}),
        bar: [gap_as_dict(each, interval_us) for each in gaps],
    }
    unfinished = path.with_name(".gaps.json.tmp")
    unfinished.write_text(json.dumps(dict(sorted(said.items())), indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)


def gap_as_dict(gap: TimeSpan, interval_us: int) -> dict[str, object]:
    """A gap in plain values: where its first bar would open, where its last one would end, and how many they are."""
    return {
        "from": format_instant(gap.from_us),
        "to": format_instant(gap.to_us),
        "bars": (gap.to_us - gap.from_us) // interval_us,
    }


# Funding


async def download_funding(
    venue: Venue, instrument: Instrument, span: TimeSpan, folder: Path, rest: Answers, now_us: int
) -> DownloadedFunding:
    """Have the funding rates of a span on disk, up to an hour ago, as far as the venue gives them.

    Raises:
        StoreUnavailable, UnreadableInput: as `download_bars` does.
    """
    files = PeriodFiles(folder / "funding", FUNDING)
    files.folder.mkdir(parents=True, exist_ok=True)
    files.clean()

    async def rows(part: TimeSpan) -> pa.Table:
        return _funding_rows(instrument, await _funding(venue, instrument, part, rest))

    settled = TimeSpan(span.from_us, min(span.to_us, now_us - SETTLED_US))
    for path, part in files.periods(settled) if settled.from_us < settled.to_us else ():
        await complete(files, path, part, part.to_us, rows)
    return DownloadedFunding(files.folder, len(_on_disk(files)[0]))


def read_funding(folder: Path) -> list[tuple[int, str, str]]:
    """Instant, name of the instrument and rate, as the text of a decimal, of what was downloaded, in time.

    Raises:
        NotFound: there is nothing in the folder.
        UnreadableInput: a file that holds something else.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if not files:
        raise NotFound(f"{folder} holds no funding rates; expected the folder `funding` of a download")
    rows: list[tuple[int, str, str]] = []
    for path in files:
        table = _read_funding_file(path)
        stamps = table["timestamp"].combine_chunks().view(pa.int64()).to_pylist()
        rates = [repr(rate) for rate in table["funding_rate"].to_pylist()]
        rows += zip(stamps, table["symbol"].to_pylist(), rates, strict=True)
    return sorted(rows)


def _read_funding_file(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableInput(f"{path} is no Parquet file: {error}") from error
    if not table.schema.remove_metadata().equals(FUNDING):
        raise UnreadableInput(
            f"{path} holds {', '.join(table.column_names)}; expected {', '.join(FUNDING.names)}"
        )
    return table


async def _funding(venue: Venue, instrument: Instrument, span: TimeSpan, rest: Answers) -> list[FundingRate]:
    found: list[FundingRate] = []
    end_us = span.to_us
    while True:
        request = venue.funding_request(instrument, span.from_us, end_us)
        rates = venue.read_funding(instrument, await rest.get(request, tries=TRIES))
        kept = [each for each in rates if span.from_us <= each.at_us < end_us]
        found = kept + found
        if not kept or len(rates) < venue.most_funding:
            return found
        end_us = kept[0].at_us


def _funding_rows(instrument: Instrument, rates: Sequence[FundingRate]) -> pa.Table:
    columns = {"funding_rate": [float(each.rate) for each in rates]}
    return _table(FUNDING, instrument, [each.at_us for each in rates], columns)
