"""`raysignal query`: SQL over the results in a store, as a table, JSON or CSV; no service needed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, rows_table
from raysignal.engine.core.instants import format_instant, instant_of

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["table", "json", "csv"]

_SHOWN_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """A question to the results of a store."""

    sql: Annotated[
        str | None,
        typer.Argument(metavar="SQL", help="DuckDB's SQL over the view history.", show_default=False),
    ] = None
    store: options.Store = None
    schema: Annotated[bool, typer.Option("--schema", help="Show the view and its columns.")] = False
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout, and nothing else.")] = False
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.schema == (self.sql is not None):
            raise typer.BadParameter(
                'expected either SQL or --schema: raysignal query "SELECT * FROM history"'
            )
        if self.csv and self.json:
            raise typer.BadParameter("expected --csv or --json, not both")


def ask_results(config: QueryConfig) -> None:
    """Ask the results by SQL: one row a processed signal, or a price alone, in the view history.

    A running service writes its results every 30 s (RAYSIGNAL_JOURNAL__FLUSH_S) and when it ends.

    raysignal query "SELECT symbol, count(*), sum(fee) FROM history GROUP BY symbol"
    """
    store = options.configured(store=config.store).store
    form: Form = "csv" if config.csv else "json" if config.json else "table"
    if config.sql is None:
        describe(store, form, Output(config.json))
    else:
        answer(store, config.sql, form, Output(config.json))


def answer(store: str, sql: str, form: Form, output: Output) -> None:
    """Write the answer to a query; a table for a person shows its first 200 rows.

    Raises:
        InputError: the query is wrong.
        StoreUnavailable: the store cannot be read.
    """
    table = _asked(store, sql)
    write(table, form, output)
    if form == "table":
        _remark(store, len(table), output)


def describe(store: str, form: Form, output: Output) -> None:
    """Write the view's columns and their types: one row a column."""
    import pyarrow as pa

    schema = _asked(store, "SELECT * FROM history LIMIT 0").schema
    columns = pa.table({"column": schema.names, "type": [str(_plain(each)) for each in schema.types]})
    if form == "table":
        output.say(f"view [bold]history[/bold] of {store}: one row a processed signal")
    write(columns, form, output)
    if form == "table":
        output.say('a feature is quoted: SELECT "feature.sentiment" FROM history')


def write(table: pa.Table, form: Form, output: Output, *, shown: int = _SHOWN_ROWS) -> None:
    """Write a table: for a person its first rows, as JSON an array of objects, as CSV with a header."""
    match form:
        case "json":
            names = _distinct(table.column_names)
            output.json([_as_json(dict(zip(names, row, strict=True))) for row in _rows(table)])
        case "csv":
            writer = csv.writer(output.out.file, lineterminator="\n")
            writer.writerow(table.column_names)
            for batch in table.to_batches(max_chunksize=10_000):
                writer.writerows(zip(*(map(_as_text, column.to_pylist()) for column in batch), strict=True))
        case "table":
            rows = [[_as_text(value) for value in row] for row in _rows(table.slice(0, shown))]
            output.table(rows_table(table.column_names, rows))


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """By position, because a query may give two columns one name."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _distinct(names: list[str]) -> list[str]:
    """The names, with `_1`, `_2` and so on behind those that came before."""
    found: list[str] = []
    for name in names:
        other = (f"{name}_{number}" for number in count(1) if f"{name}_{number}" not in {*found, *names})
        found.append(next(other) if name in found else name)
    return found


def _remark(store: str, rows: int, output: Output) -> None:
    if rows > _SHOWN_ROWS:
        output.say(f"the first {_SHOWN_ROWS} of {rows:,d} rows; --json and --csv write all of them")
    elif rows == 0 and not len(_asked(store, "SELECT 1 FROM history LIMIT 1")):
        output.say(f"there are no results in {store} yet")


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124 - NaN is not itself
    return value if isinstance(value, (str, int)) or value is None else _as_text(value)


def _as_text(value: Any) -> Any:
    """Instants as everywhere else, a number as it is."""
    if isinstance(value, datetime):
        return format_instant(instant_of(value if value.tzinfo else value.replace(tzinfo=UTC)))
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


def _asked(store: str, sql: str) -> pa.Table:
    from raysignal.engine.history.query import query

    return query(store, sql)
