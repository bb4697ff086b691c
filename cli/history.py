"""`raysignal history`: the processed signals of a portfolio, from a running service."""

from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output


def history(
    portfolio: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose; default: the primary portfolio's.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="No earlier than this, such as 2025-02-24."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--until", "--to", metavar="INSTANT", help="Earlier than this.")
    ] = None,
    action: Annotated[
        Literal["SELL", "HOLD", "BUY"] | None,
        typer.Option(case_sensitive=False, help="These signals only."),
    ] = None,
    symbol: Annotated[str | None, typer.Option(metavar="NAME", help="This symbol only.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="ROWS", help="At most this many rows.")] = 50,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """List processed signals, oldest first, with what was done and what it brought.

    For more than a look, ask the results themselves: raysignal query.
    """
    from raysignal.cli.asking import HistoryFilter, show_history

    wanted = HistoryFilter(portfolio, start, end, action, symbol, limit)
    show_history(wanted, place=options.PortfolioAddress(url, None), output=Output(json))
