"""`raysignal performance` and `raysignal history`: what a portfolio has earned, and the signals that it processed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import direct_gateway
from raysignal.cli.output import Output, escape, performance_table, policy_sentence, rows_table

_PAGE = 1_000
_COLUMNS = (
    "timestamp", "symbol", "signal", "price", "executed", "outcome", "fill_quantity", "fill_price", "fee", "equity",
    "signal_return",
)  # fmt: skip

# What goes first where a table has no room.
_LEAST = ("fill_quantity", "fee", "fill_price", "signal_return", "outcome", "symbol", "price")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceConfig:
    """Whose performance is shown, and where the portfolios are."""

    portfolio: Annotated[
        str | None,
        typer.Argument(metavar="PORTFOLIO", help="Which; default: the primary one.", show_default=False),
    ] = None
    every: Annotated[bool, typer.Option("--all", help="Every portfolio, side by side.")] = False
    url: options.Url = None
    ray_address: options.RayAddress = None
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.every and self.portfolio is not None:
            raise typer.BadParameter("expected a portfolio or --all, not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryConfig:
    """Which rows of the history are shown; None: any."""

    portfolio: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose; default: the primary portfolio's.")
    ] = None
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="No earlier than this, such as 2025-02-24."),
    ] = None
    end: Annotated[
        str | None, typer.Option("--until", "--to", metavar="INSTANT", help="Earlier than this.")
    ] = None
    action: Annotated[
        Literal["SELL", "HOLD", "BUY", "CLOSE"] | None,
        typer.Option(case_sensitive=False, help="These signals only."),
    ] = None
    symbol: Annotated[str | None, typer.Option(metavar="NAME", help="This symbol only.")] = None
    limit: Annotated[int, typer.Option(min=1, metavar="ROWS", help="At most this many rows.")] = 50
    url: options.Url = None
    json: options.Json = False


def show_performance(config: PerformanceConfig) -> None:
    """Show what a portfolio has earned, beside buy-and-hold."""
    output = Output(config.json)
    standings = asyncio.run(_standings(config))
    if config.json:
        output.json(standings if config.every else standings[0])
        return
    for standing in standings:
        output.say(sentence_of(standing))
    output.table(performance_table(standings))


def sentence_of(standing: dict[str, Any]) -> str:
    """Which portfolio, as of when, with which policy."""
    as_of = f"as of {standing['as_of']}" if standing["as_of"] else "no signal yet"
    return f"[bold]{escape(standing['portfolio'])}[/bold]: {as_of}; {policy_sentence(standing['policy'])}"


async def _standings(config: PerformanceConfig) -> list[dict[str, Any]]:
    if config.ray_address is not None:
        settings = options.configured(ray_address=config.ray_address)
        async with direct_gateway(settings, take_over=False) as direct:
            if config.every:
                return [standing.as_dict() for standing in await direct.portfolios.standings()]
            return [await direct.standing(config.portfolio)]
    from raysignal.runtime.service_client import service_at

    async with service_at(config.url, options.configured()) as client:
        if config.every:
            standings: list[dict[str, Any]] = (await client.get("/portfolios"))["portfolios"]
            return standings
        return [await client.standing(config.portfolio)]


def show_history(config: HistoryConfig) -> None:
    """List processed signals, oldest first, with what was done and what it brought.

    For more than a look, ask the results themselves: raysignal query.
    """
    output = Output(config.json)
    rows, more = asyncio.run(_history(config))
    if output.as_json:
        output.json(rows)
        return
    columns = [name for name in _COLUMNS if not rows or name in rows[0]]
    shown = output.fitting(columns, rows, _LEAST)
    output.table(rows_table(shown, [[row.get(name) for name in shown] for row in rows]))
    if len(shown) < len(columns):
        output.say(
            f"left out, for want of room: {', '.join(name for name in columns if name not in shown)}; --json"
        )
    if not rows:
        output.say("no processed signal fits")
    elif more:
        output.say(f"the first {len(rows):,d}; there are more: --limit, --from")


async def _history(config: HistoryConfig) -> tuple[list[dict[str, Any]], bool]:
    """At most as many rows as are wanted, page by page, and whether there are more."""
    from raysignal.runtime.service_client import service_at

    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    async with service_at(config.url, options.configured()) as client:
        while True:
            page = await client.get(
                "/history", portfolio=config.portfolio, **{"from": config.start}, to=config.end,
                action=config.action, symbol=config.symbol, cursor=cursor,
                limit=min(config.limit + 1 - len(rows), _PAGE),
            )  # fmt: skip
            rows += page["rows"]
            cursor = page["cursor"]
            if cursor is None or len(rows) > config.limit:
                return rows[: config.limit], len(rows) > config.limit
