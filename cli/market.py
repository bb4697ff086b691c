"""`raysignal market`: what exchanges trade, and their past prices as files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import feed, options
from raysignal.cli.output import Output, rows_table
from raysignal.cli.verbs import VerbGroup, reading_options, require_extras
from raysignal.engine.core.errors import NotFound

if TYPE_CHECKING:
    from raysignal.engine.core.listings import ListedSymbol
    from raysignal.engine.market.clocks import Clock
    from raysignal.engine.market.rest import RestClient
    from raysignal.engine.market.venues.protocol import Venue

app = typer.Typer(cls=VerbGroup, help="What exchanges trade, and their past prices as files.")

VenueName = Annotated[
    str, typer.Argument(metavar="VENUE", help="Such as binance, binance-usdm, okx, bybit or bybit-linear.")
]


@asynccontextmanager
async def _reached(
    venue: Venue, symbols: Sequence[str], market: feed.MarketOptions
) -> AsyncIterator[tuple[RestClient, Clock]]:
    """The venue's REST side within its limits, or that of a made-up exchange which trades `symbols`."""
    from raysignal.engine.market.limits import VenueLimits
    from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
    from raysignal.engine.market.rest import RestClient
    from raysignal.runtime.feeds import hosts_of

    settings = options.configured(feeds=tuple(f"{venue.name}:{symbol}" for symbol in symbols))
    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(feed.FollowedMarket(settings, market), stack)
        limits, jitter = VenueLimits.of(venue.manners), Random()  # noqa: S311
        rest = RestClient(hosts_of(settings, venue).rest, limits, clock, FeedMetrics(), jitter)
        stack.push_async_callback(rest.close)
        yield rest, clock


# Symbols


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolsConfig:
    """Whose symbols are shown, and which of them."""

    venue: VenueName
    match: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only symbols with this in their name, in any case.")
    ] = None
    market: feed.MarketOptions
    json: options.Json = False


def show_symbols(config: SymbolsConfig) -> None:
    """Show every symbol of an exchange: what it is, tick, lot, the least order, and whether it trades."""
    require_extras("market symbols", "feeds")
    from raysignal.engine.market.venues.catalogue import venue_named

    with reading_options():
        venue = venue_named(config.venue)
    output, text = Output(config.json), (config.match or "").casefold()
    listed = asyncio.run(_symbols(venue, config.market))
    found = [each for each in listed if text in each.symbol.casefold()]
    if listed and not found:
        raise NotFound(
            f"none of the {len(listed):,d} symbols of {venue.name} has {config.match!r} in its name; "
            "expected a part of one, such as BTC"
        )
    rows = [_written(each) for each in found]
    if config.json:
        output.json({"venue": venue.name, "symbols": rows})
        return
    columns = (
        "symbol", "kind", "tick", "lot", "least size", "least value", "contract size", "status",
    )  # fmt: skip
    shown = [
        (
            row["symbol"], f"{row['kind']}, inverse" if row["inverse"] else row["kind"], row["price_step"],
            row["size_step"], row["least_size"], row["least_value"], row["contract_size"], row["status"],
        )
        for row in rows
    ]  # fmt: skip
    output.table(rows_table(columns, shown))
    output.say(f"{len(rows):,d} of {len(listed):,d} symbols of {venue.name}")


async def _symbols(venue: Venue, market: feed.MarketOptions) -> list[ListedSymbol]:
    from raysignal.engine.market.feed import symbols_of

    traded: Sequence[str] = ()
    if market.loopback:
        from raysignal.loopback.exchanges.exchange import SYMBOLS

        traded = SYMBOLS[venue.name]
    async with _reached(venue, traded, market) as (rest, _):
        return await symbols_of(venue, rest)


def _written(symbol: ListedSymbol) -> dict[str, Any]:
    """A symbol in plain values; amounts as exact texts."""
    from raysignal.engine.core.amounts import plain

    return {
        "symbol": symbol.symbol,
        "kind": symbol.kind.value,
        "inverse": symbol.inverse,
        "base": symbol.base,
        "quote": symbol.quote,
        "price_step": plain(symbol.price_step),
        "size_step": plain(symbol.size_step),
        "least_size": plain(symbol.least_size),
        "least_value": plain(symbol.least_value),
        "contract_size": plain(symbol.contract_size),
        "status": symbol.status,
    }
