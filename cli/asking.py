"""What `raysignal performance` and `raysignal history` do: ask a running service, or its actors, and show it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from raysignal.cli.client import ServiceClient
from raysignal.cli.options import PortfolioAddress, configured
from raysignal.cli.output import Output, performance_table, policy_sentence, rows_table
from raysignal.cli.texts import escape
from raysignal.runtime.settings import Settings
from raysignal.serve.service import reachable

_PAGE = 1_000
_COLUMNS = (
    "timestamp", "symbol", "signal", "price", "executed", "outcome", "fill_quantity", "fill_price", "fee", "equity",
    "signal_return",
)  # fmt: skip

# What goes first where a table has no room.
_LEAST = ("fill_quantity", "fee", "fill_price", "signal_return", "outcome", "symbol", "price")


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which rows of the history; None: any."""

    portfolio: str | None
    start: str | None
    end: str | None
    action: str | None
    symbol: str | None
    limit: int


@asynccontextmanager
async def service_at(url: str | None, settings: Settings) -> AsyncIterator[ServiceClient]:
    """The service at an address, or the one that these settings would start on this machine."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    address = url or f"http://{reachable(settings.host)}:{settings.port}"
    async with ServiceClient.open(address, api_key=key, clock=time.monotonic, sleep=asyncio.sleep) as client:
        yield client


def show_performance(portfolio: str | None, *, every: bool, place: PortfolioAddress, output: Output) -> None:
    """Show one portfolio or all of them, beside buy-and-hold."""
    standings = asyncio.run(_standings(portfolio, every=every, place=place))
    if output.as_json:
        output.json(standings if every else standings[0])
        return
    for standing in standings:
        output.say(sentence_of(standing))
    output.table(performance_table(standings))


def sentence_of(standing: dict[str, Any]) -> str:
    """Which portfolio, as of when, with which policy."""
    as_of = f"as of {standing['as_of']}" if standing["as_of"] else "no signal yet"
    return f"[bold]{escape(standing['portfolio'])}[/bold]: {as_of}; {policy_sentence(standing['policy'])}"


async def _standings(portfolio: str | None, *, every: bool, place: PortfolioAddress) -> list[dict[str, Any]]:
    if place.ray_address is not None:
        from raysignal.cli.direct import DirectGateway

        settings = configured(ray_address=place.ray_address)
        async with DirectGateway.open(settings, take_over=False) as direct:
            if every:
                return [standing.as_dict() for standing in await direct.desk.standings()]
            return [await direct.standing(portfolio)]
    async with service_at(place.url, configured()) as client:
        if every:
            standings: list[dict[str, Any]] = (await client.get("/portfolios"))["portfolios"]
            return standings
        return [await client.standing(portfolio)]


def show_history(wanted: HistoryFilter, *, place: PortfolioAddress, output: Output) -> None:
    """Show the rows that are wanted, oldest first."""
    rows, more = asyncio.run(_history(wanted, place))
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


async def _history(wanted: HistoryFilter, place: PortfolioAddress) -> tuple[list[dict[str, Any]], bool]:
    """At most as many rows as are wanted, page by page, and whether there are more."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    async with service_at(place.url, configured()) as client:
        while True:
            page = await client.get(
                "/history", portfolio=wanted.portfolio, **{"from": wanted.start}, to=wanted.end,
                action=wanted.action, symbol=wanted.symbol, cursor=cursor,
                limit=min(wanted.limit + 1 - len(rows), _PAGE),
            )  # fmt: skip
            rows += page["rows"]
            cursor = page["cursor"]
            if cursor is None or len(rows) > wanted.limit:
                return rows[: wanted.limit], len(rows) > wanted.limit
