"""`raysignal query`: SQL over the results in a store, no service needed."""

from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output


def query(
    sql: Annotated[
        str | None,
        typer.Argument(metavar="SQL", help="DuckDB's SQL over the view history.", show_default=False),
    ] = None,
    store: options.Store = None,
    schema: Annotated[bool, typer.Option("--schema", help="Show the view and its columns.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout, and nothing else.")] = False,
    json: options.Json = False,
) -> None:
    """Ask the results by SQL: one row a processed signal, in the view history.

    A running service writes its results every 30 s (RAYSIGNAL_FLUSH_S) and when it ends.

    raysignal query "SELECT symbol, count(*), sum(fee) FROM history GROUP BY symbol"
    """
    if schema == (sql is not None):
        raise typer.BadParameter('expected either SQL or --schema: raysignal query "SELECT * FROM history"')
    if csv and json:
        raise typer.BadParameter("expected --csv or --json, not both")
    from raysignal.cli.querying import answer, describe  # noqa: PLC0415 - DuckDB and pyarrow: only this verb waits for them

    url = options.configured(store=store).store
    form: Literal["csv", "json", "table"] = "csv" if csv else "json" if json else "table"
    if sql is None:
        describe(url, form, Output(json))
    else:
        answer(url, sql, form, Output(json))
