"""Frames and files to signals, by the rules of every other way in: one signal has one identity, whichever it came by.

A pandas index of instants is the column `timestamp`. Names of columns may be in any case (`Close`); the columns that
yfinance makes, a level of fields above one of tickers, become rows with a `ticker` each.
"""

import io
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, InvalidField, NotFound, RaysignalError, RowErrors
from raysignal.engine.core.instants import format_instant, is_stamp, parse_bar, zone_named
from raysignal.engine.core.signals import Action
from raysignal.engine.intake import IntakeResult, Reading, read_batch, read_file
from raysignal.engine.intake.field_rules import FIELD_OF, check_names, fields_in
from raysignal.engine.intake.fields import name_of
from raysignal.engine.journal.dedup import first_in_batch
from raysignal.engine.portfolio.file_observations import length
from raysignal.engine.portfolio.signal_file_report import SignalFileReport
from raysignal.experiments.notebook.study import Study
from raysignal.runtime.settings import load_settings
from raysignal.runtime.signal_bodies import PARQUET, signal_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TICKER = "ticker"
_EXPECTED = "a path, a pandas frame, or a frame with the Arrow interface (polars, pyarrow, duckdb, …)"


class WritingOptions(TypedDict, total=False):
    """How dates and numbers are written, and what is believed; see `read`."""

    day_first: bool | None
    decimal: str
    thousands: str
    accept_price_jump: bool
    force: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Signals(Study):
    """Signals that were read, in time, each once.

    Attributes:
        batch: the signals.
        rows, refused, repeated: of what was read; the refused and the repeated are not among the signals.
        prices_only: rows needed no action; those without are HOLDs.
    """

    batch: SignalBatch
    rows: int
    refused: int
    repeated: int
    prices_only: bool

    @classmethod
    def of(cls, data: Any, *, prices_only: bool = False, **options: Any) -> "Signals":
        """What `read` makes of the data; signals that were read already, as they are."""
        if not isinstance(data, Signals):
            return read(data, prices_only=prices_only, **options)
        if options:
            raise InvalidField(", ".join(options), "given", "it where the signals were read, with read()")
        if data.prices_only and not prices_only:
            raise InvalidField(
                "signals", "prices alone", "rows with a column signal: -1, 0 or 1, or SELL, HOLD or BUY"
            )
        return data

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def table(self) -> pa.Table:
        return signal_table(self.batch, ids=True)

    @property
    def summary(self) -> dict[str, Any]:
        batch = self.batch
        return {
            "signals": len(batch),
            "symbols": list(batch.symbols),
            "from": format_instant(int(batch.timestamp_us[0])),
            "to": format_instant(int(batch.timestamp_us[-1])),
            "buys": int(np.count_nonzero(batch.action == Action.BUY)),
            "sells": int(np.count_nonzero(batch.action == Action.SELL)),
            "features": sorted({**batch.numbers, **batch.texts}),
            "rows": self.rows,
            "refused": self.refused,
            "repeated": self.repeated,
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        said = self.summary
        names = ", ".join(said["symbols"][:4]) + (", …" if len(said["symbols"]) > 4 else "")
        what = "prices" if self.prices_only else "signals"
        sides = f"{said['buys']:,d} BUY and {said['sells']:,d} SELL"
        left = f"of {self.rows:,d} rows {self.refused:,d} refused and {self.repeated:,d} repeated"
        return f"{len(self):,d} {what} of {names}, {said['from']} to {said['to']}.", f"{sides}; {left}."

    def _shown(self) -> "pd.DataFrame":
        return self.frame.head()

    def _draw(self, figure: "Figure") -> None:
        from raysignal.experiments.notebook.pictures import draw_prices  # noqa: PLC0415 - matplotlib is slow to import

        series = []
        for code, name in enumerate(self.batch.symbols):
            rows = np.flatnonzero(self.batch.symbol == code)
            if len(rows):
                at = self.batch.timestamp_us[rows].astype("datetime64[us]")
                series.append((name, at, self.batch.price[rows]))
        draw_prices(figure, series)


def read(
    data: Any,
    *,
    timezone: str | None = None,
    bar: str | None = None,
    label: Literal["open", "close"] = "close",
    symbol: str | None = None,
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
    prices_only: bool = False,
    on_error: Literal["refuse", "skip"] = "refuse",
    **writing: Unpack[WritingOptions],
) -> Signals:
    """The signals, or the prices, of a file or a frame.

    What is not said is as the settings of this environment have it (`RAYSIGNAL_INTAKE__TIMEZONE`, …).

    Args:
        data: a path (CSV, NDJSON, JSON, Parquet), a pandas frame, or any frame with the Arrow interface.
        timezone: the zone of stamps that name none, such as `America/New_York`.
        bar: the bar that a stamp labels, such as `10m` or `1d`.
        label: which end of its bar a stamp names; with `open`, a row is known one bar later.
        symbol: of rows that name none.
        source: the same.
        columns: which column a field is, such as `{"price": "Adj Close"}`; other names of the field are not read then.
        prices_only: rows need no action; those without are HOLDs.
        on_error: on a row that cannot be used: raise, or leave it out.
        writing: `day_first` (dates with slashes say the day before the month), `decimal` and `thousands` (what stands
            before the decimals and between the thousands of numbers in texts), `accept_price_jump` (believe prices
            however far they are from the last one), `force` (believe `bar`, though rows are closer together).

    Raises:
        RowErrors: rows that cannot be used, the first of them with row, field, value and what was expected.
        InvalidField: a column that is missing, an option that cannot be, or no rows at all.
        NotFound: no such file.
    """
    if unknown := sorted(writing.keys() - WritingOptions.__annotations__.keys()):
        raise TypeError(f"read() has no option {unknown[0]!r}")
    day_first, settings = writing.get("day_first"), load_settings({})
    for name, text in (("timezone", timezone), ("bar", bar)):
        if text is not None and not isinstance(text, str):
            raise InvalidField(name, text, "a text, such as 'America/New_York' or '10m'")
    reading = Reading(
        zone=zone_named(timezone or settings.intake.timezone),
        symbol=settings.intake.symbol if symbol is None else name_of("symbol", "symbol", symbol, None),
        source=settings.intake.source if source is None else name_of("source", "source", source, None),
        now_us=time.time_ns() // 1000,
        max_future_us=int(settings.intake.max_future_s * 1e6),
        bar_us=parse_bar(bar) if bar else 0,
        label=label,
        prices_only=prices_only,
        symbols=settings.intake.symbols,
        names=_names_of(columns),
        day_first=settings.intake.day_first if day_first is None else day_first,
        decimal=writing.get("decimal", "."),
        thousands=writing.get("thousands", ""),
    )
    if label == "open" and bar is None:
        raise InvalidField("label", label, "the length of the bar beside it, such as bar='1d'")
    if on_error not in {"refuse", "skip"}:
        raise InvalidField("on_error", on_error, "refuse or skip")
    jump = None if writing.get("accept_price_jump") else settings.intake.max_price_jump
    report = SignalFileReport(jump, zone=reading.zone, shift_us=reading.shift_us)
    try:
        intake = _intake(data, reading)
        batch = report.add(intake)
        if report.refused and on_error == "refuse":
            raise _row_errors(intake, report)
    except RaysignalError as error:
        raise _in_python(error) from None
    if not len(batch):
        raise InvalidField("data", "no usable row", "at least one")
    if bar is not None and not writing.get("force"):
        _check_bar(bar, reading, report)
    once = np.flatnonzero(first_in_batch(batch.key) == np.arange(len(batch)))
    return Signals(batch.take(once), report.rows, report.refused, report.repeated, prices_only)


def _check_bar(bar: str, reading: Reading, report: SignalFileReport) -> None:
    """Refuse a bar that is longer than what lies between the rows."""
    step_us = report.usual_step_us
    if step_us is not None and step_us < reading.bar_us:
        between = length(step_us)
        raise InvalidField(
            "bar", bar, f"at most {between}, which is what lies between rows; if it is true, say force=True"
        )


def _row_errors(intake: IntakeResult, report: SignalFileReport) -> InputError:
    if intake.errors:
        return RowErrors(intake.errors, report.rows, report.refused)
    first = report.errors[0]
    left = f"{report.refused:,d} of {report.rows:,d} rows cannot be used; leave them out with on_error='skip'"
    return InvalidField(
        str(first["field"]), first["value"], f"{first['expected']} ({left})", row=first["row"]
    )


def _names_of(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Field to column, by the fields' own names."""
    if columns is not None and not isinstance(columns, Mapping):
        raise InvalidField("columns", columns, 'a dict of fields, such as {"price": "Adj Close"}')
    try:
        return check_names({FIELD_OF.get(name, name): column for name, column in (columns or {}).items()})
    except InvalidField as error:
        expected = str(error.fields["expected"]).removesuffix(" before the =")
        raise InvalidField("columns", error.fields["value"], expected) from None


_OPTION = re.compile(r"--(map|decimal|thousands|day-first)(?:(?<!first) ('[^']+'|[^\s;]+))?")
_BESIDE = re.compile(r"(columns=\{[^{}]*)\} columns=\{|((?:decimal|thousands)='.') (?=decimal|thousands)")


def _in_python(error: RaysignalError) -> RaysignalError:
    """The same, with the options of the command line that it advises written as arguments of `read`."""
    error.args = tuple(_arguments(text) for text in error.args)
    for entry in (error.fields, *(error.fields.get("errors") or ())):
        for name in ("expected", "detail"):
            if isinstance(entry.get(name), str):
                entry[name] = _arguments(entry[name])
    return error


def _arguments(text: str) -> str:
    """A sentence with the options in it as arguments, those of one name as one."""
    text = _OPTION.sub(_argument, text)
    for _ in FIELD_OF:
        text = _BESIDE.sub(lambda found: f"{found[1] or found[2]}, ", text)
    return text


def _argument(option: re.Match[str]) -> str:
    name, value = option[1], option[2]
    if name == "map":
        field, _, column = value.rstrip(")").partition("=")
        return f'columns={{"{field}": "{column}"}}' + ")" * value.endswith(")")
    return "day_first=True" if value is None else f"{name}={shlex.split(value)[0]!r}"


def _intake(data: Any, reading: Reading) -> IntakeResult:
    if isinstance(data, str | Path):
        if not Path(data).is_file():
            raise NotFound(
                f"{data} is no file; expected a signal file, or a frame", field="data", value=str(data)
            )
        return read_file(data, reading)
    table = _table_of(data, named="timestamp" in reading.names)
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink, compression="none")
    except pa.ArrowException as error:
        raise InvalidField("data", type(data).__name__, f"columns that Parquet can hold ({error})") from error
    return read_batch(sink.getbuffer(), PARQUET, reading)


def _table_of(data: Any, *, named: bool) -> pa.Table:
    """A frame as an Arrow table; `InvalidField` if it is none.

    An index of instants is the column `timestamp`; with `named`, it keeps its name, where it has one.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _pandas_table(data, named=named)
    if isinstance(data, pa.Table):
        return data
    if not hasattr(data, "__arrow_c_stream__"):
        raise InvalidField("data", type(data).__name__, _EXPECTED)
    try:
        return pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidField(
            "data", type(data).__name__, f"{_EXPECTED}, and not one column ({error})"
        ) from error


def _pandas_table(frame: "pd.DataFrame", *, named: bool) -> pa.Table:
    import pandas as pd  # noqa: PLC0415 - it is there: it made the frame

    if isinstance(frame.columns, pd.MultiIndex):
        frame = _long(frame)
    levels = range(frame.index.nlevels)
    kinds = (*frame.dtypes, *(frame.index.get_level_values(level).dtype for level in levels))
    if any(isinstance(kind, pd.PeriodDtype) for kind in kinds):
        raise InvalidField(
            "data",
            "of periods",
            "instants: frame.to_timestamp(), or .dt.to_timestamp() of a column, and for days bar='1d', label='open'",
        )
    stamped = named or "timestamp" in fields_in([str(name) for name in frame.columns], {}).fields.values()
    kept: dict[str, Any] = {}
    for level in levels:
        values, name = frame.index.get_level_values(level), frame.index.names[level]
        stamps = isinstance(values, pd.DatetimeIndex) or (
            name is None and not stamped and _holds_stamps(values)
        )
        if stamps and not (named and name is not None):
            kept["timestamp"] = values
        elif name is not None:
            kept[str(name)] = values
    frame = frame.rename(columns=str)
    names = [*kept, *frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidField("columns", ", ".join(twice), "each name once, the index's among them")
    frame = frame.reset_index(drop=True)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        for place, (name, values) in enumerate(kept.items()):
            table = table.add_column(place, name, pa.Array.from_pandas(values))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidField(
            "data", "a column of several kinds", f"one kind of value a column ({error})"
        ) from error
    return table


def _holds_stamps(index: "pd.Index[Any]") -> bool:
    """Whether an index without a name begins with a date or a text that is a time."""
    first = index[0] if len(index) else None
    return isinstance(first, date) or (isinstance(first, str) and is_stamp(first))


def _long(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Columns of several levels, one of them of tickers, as rows with a ticker each."""
    import pandas as pd  # noqa: PLC0415 - it is there: it made the frame

    names = [str(name).casefold() for name in frame.columns.names]
    if frame.columns.nlevels != 2 or _TICKER not in names:
        raise InvalidField(
            "columns", f"of the levels {', '.join(names)}", "one level, or two of which one is named Ticker"
        )
    place = names.index(_TICKER)
    tickers = [ticker for ticker in frame.columns.unique(level=place) if ticker != ""]
    # What was added beside them, as in frame["Signal"] = …, has no ticker: it is of all of them.
    labels = [
        (at, field, ticker)
        for at, label in enumerate(frame.columns)
        for field, ticker in [
            (label[1 - place], own) for own in ([label[place]] if label[place] != "" else tickers)
        ]
    ]
    told = Counter((field, ticker) for _, field, ticker in labels)
    if twice := sorted({str(field) for (field, _), times in told.items() if times > 1}):
        raise InvalidField("columns", ", ".join(twice), "each name once: of a ticker, or of all of them")
    downloaded = {label[1 - place] for label in frame.columns if label[place] != ""}
    frame = frame.iloc[:, [at for at, _, _ in labels]]
    frame.columns = pd.MultiIndex.from_tuples(
        [(ticker, field) for _, field, ticker in labels], names=[_TICKER, None]
    )
    found: Any = frame.stack(level=0, future_stack=True)  # noqa: PD013 - what melt cannot: many columns at once
    found = found.dropna(how="all", subset=[name for name in found.columns if name in downloaded])
    found.index = found.index.set_names(_TICKER, level=-1)
    return cast("pd.DataFrame", found)
