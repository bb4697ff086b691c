"""The columns of the history, and the names of its files."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

FORMAT = b"1"
FEATURE = "feature."
TEXT = ".text"

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
    ]
)
"""What every row has. `decision` is what was done with the signal, `decided_by` who decided; `fill_price` is null
without a fill; `sequence` and `record_row` say where in the journal the signal lies; `explanation` is JSON, null
where the decision was left to the signal. Features follow, sorted, as
`feature.<name>`: float64 or string, null where missing; the texts of a feature that is also a number in the same
file are in `feature.<name>.text`. The metadata of a feature's column holds its own name under `feature`."""

PARTITIONS = (pa.field("portfolio", pa.string()), pa.field("date", pa.date32()))
"""What the path of a file says of its rows; `dataset` and `query` give them as columns."""

_NAME = re.compile(r"history/portfolio=([^/]+)/date=(\d{4}-\d{2}-\d{2})/(\d{12,})-(\d{12,})\.parquet")


@dataclass(frozen=True, slots=True)
class Span:
    """A file of the history and which of its rows count: `first` to `last`, both included.

    Where two files hold the same rows (a writer that was cut off and its successor may both have written them),
    the later one counts from where the earlier one ends; `starts` is the first row that it holds.
    """

    name: str
    portfolio: str
    date: str
    starts: int
    first: int
    last: int


def folder_of(portfolio: str) -> str:
    """What the names of a portfolio's files begin with."""
    return f"history/portfolio={portfolio}/"


def file_name(portfolio: str, date: str, first: int, last: int) -> str:
    """The name of the file that holds rows `first` to `last`, all of one UTC date."""
    return f"{folder_of(portfolio)}date={date}/{first:012d}-{last:012d}.parquet"


def cover(names: Iterable[str]) -> dict[str, list[Span]]:
    """By portfolio the files that hold its history without a gap from the first row on, in order.

    Files behind a gap are left out: rows come back with the journal, not in pieces.
    """
    found = [
        (match[1], int(match[3]), int(match[4]), match[2], name)
        for name in names
        if (match := _NAME.fullmatch(name))
    ]
    spans: dict[str, list[Span]] = {}
    for portfolio, starts, last, date, name in sorted(found, key=lambda file: (file[0], file[1], -file[2])):
        kept = spans.setdefault(portfolio, [])
        end = kept[-1].last + 1 if kept else 0
        if starts <= end <= last:
            kept.append(Span(name, portfolio, date, starts, end, last))
    return spans


def unified_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for many files: the fixed columns, then every feature that one of them has.

    A feature that is a number in some files and a text in others is a text.
    """
    features: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            if field.name.startswith(FEATURE):
                known = features.setdefault(field.name, field)
                if known.type != field.type:
                    features[field.name] = known.with_type(pa.string())
    return pa.schema([*FIXED, *(features[name] for name in sorted(features))])
