"""The columns of the history, and the names of its files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

FORMAT = b"2"

_NAMED = pa.dictionary(pa.int32(), pa.string())

FIXED = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("signal_id", pa.string(), nullable=False),
        pa.field("source", _NAMED, nullable=False),
        pa.field("symbol", _NAMED, nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("signal", pa.int8(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("decision", pa.int8(), nullable=False),
        pa.field("decided_by", _NAMED, nullable=False),
        pa.field("outcome", _NAMED, nullable=False),
        pa.field("executed", _NAMED, nullable=False),
        pa.field("fill_quantity", pa.float64(), nullable=False),
        pa.field("fill_price", pa.float64()),
        pa.field("fee", pa.float64(), nullable=False),
        pa.field("cash", pa.float64(), nullable=False),
        pa.field("position", pa.float64(), nullable=False),
        pa.field("equity", pa.float64(), nullable=False),
        pa.field("signal_return", pa.float64(), nullable=False),
        pa.field("realised_pnl", pa.float64(), nullable=False),
        pa.field("drawdown", pa.float64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("record_row", pa.int32(), nullable=False),
        pa.field("explanation", pa.string()),
        pa.field("feature_numbers", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("feature_texts", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("size", pa.float64()),
        pa.field("stop_loss", pa.float64()),
        pa.field("take_profit", pa.float64()),
        pa.field("trailing_stop_bps", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("expires", pa.timestamp("us", "UTC")),
        pa.field("closed_by", _NAMED),
        pa.field("exit_price", pa.float64()),
        pa.field("range_high", pa.float64()),
        pa.field("range_low", pa.float64()),
    ]
)
"""The columns of every file, for ever: what reads one reads all. `decision` is what was done with the signal,
`decided_by` who decided; `fill_price` is null without a fill; `sequence` and `record_row` say where in the journal
the signal lies; `explanation` is JSON, null where the decision was left to the signal. `feature_numbers` and
`feature_texts` are the signal's features by name: whatever came as a number, whatever came as a text. From `size` to
`expires` stands what a signal said beside its action, null where it did not; `closed_by` and `exit_price` say which
bracket closed what was held before the row, and at what price, null where none did; `range_high` and
`range_low` how far above and below its price the row's bar went, null where no further. Files of before lack these."""

SAID = (
    "size",
    "stop_loss",
    "take_profit",
    "trailing_stop_bps",
    "confidence",
    "expires",
    "closed_by",
    "exit_price",
    "range_high",
    "range_low",
)
"""The columns that are null in most rows, and that files of before lack."""

PARTITIONS = (pa.field("portfolio", pa.string()), pa.field("date", pa.date32()))
"""What the path of a file says of its rows; `query` gives them as columns."""

_NAME = re.compile(
    r"history/portfolio=([^/]+)/date=(\d{4}-\d{2}-\d{2})/(\d{12,})-(\d{12,})(?:\.(\d+)-of-(\d+))?\.parquet"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rows of the history, which of them count, and the files they lie in.

    Mostly it is one file of one date. Where signals alternate between dates it is a file a date, and together they
    hold every row of the span. `first` to `last` count, both included: where two spans hold the same rows (a writer
    that was cut off and its successor may both have written them), the later one counts from where the earlier one
    ends; `starts` is the first row that it holds.
    """

    portfolio: str
    files: tuple[tuple[str, str], ...]
    """Name and date of each."""
    starts: int
    first: int
    last: int


def folder_of(portfolio: str) -> str:
    """What the names of a portfolio's files begin with."""
    return f"history/portfolio={portfolio}/"


def file_name(portfolio: str, date: str, first: int, last: int, *, part: int = 1, parts: int = 1) -> str:
    """The name of the file that holds the rows of one UTC date among rows `first` to `last`.

    `part` of `parts`, from 1, says which of the files it is that hold these rows together.
    """
    suffix = f".{part}-of-{parts}" if parts > 1 else ""
    return f"{folder_of(portfolio)}date={date}/{first:012d}-{last:012d}{suffix}.parquet"


TEXT_PORTFOLIOS = f"{folder_of('~')}date=1970-01-01/columns.parquet"
"""A file without rows, under a portfolio that cannot be. Whoever reads the folder and guesses from all paths
whether `portfolio` is a number (pandas, DuckDB) finds that it is a text, also where portfolios are named 007 or
2024."""


def cover(names: Iterable[str]) -> dict[str, list[Span]]:
    """By portfolio the spans that hold its history without a gap from the first row on, in order.

    Spans behind a gap are left out: rows come back with the journal, not in pieces. So are spans of which a file is
    missing: their writer was cut off.
    """
    spans: dict[str, list[Span]] = {}
    for (portfolio, starts, _, last), files in sorted(_whole(names).items()):
        kept = spans.setdefault(portfolio, [])
        end = kept[-1].last + 1 if kept else 0
        if starts <= end <= last:
            kept.append(Span(portfolio, files, starts, end, last))
    return spans


def uncounted(names: Iterable[str]) -> list[str]:
    """The files of rows that are in no span of `cover`."""
    names = list(names)
    counted = {name for spans in cover(names).values() for span in spans for name, _ in span.files}
    return [name for name in names if _NAME.fullmatch(name) and name not in counted]


def newest_first(names: Iterable[str]) -> list[tuple[int, str]]:
    """The files of rows, each with the last ordinal that its span holds, from the highest to the lowest."""
    found = [(int(match[4]), name) for name in names if (match := _NAME.fullmatch(name))]
    return sorted(found, reverse=True)


def portfolio_of(name: str) -> str | None:
    """The portfolio that a file holds rows of; None for a file of no rows."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def _whole(names: Iterable[str]) -> dict[tuple[str, int, int, int], tuple[tuple[str, str], ...]]:
    """The spans that are there in full: by portfolio, first row, -last row and last row their files."""
    found: dict[tuple[str, int, int, int], dict[int, list[tuple[int, str, str]]]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            portfolio, date, starts, last, part, parts = match.groups("1")
            span = found.setdefault((portfolio, int(starts), -int(last), int(last)), {})
            span.setdefault(int(parts), []).append((int(part), name, date))
    return {
        key: tuple((name, date) for _, name, date in sorted(files))
        for key, by_parts in found.items()
        for parts, files in by_parts.items()
        if [part for part, _, _ in sorted(files)] == [*range(1, parts + 1)]
    }
