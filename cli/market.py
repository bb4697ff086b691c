"""`raysignal market`: what exchanges trade, and their past prices as files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import feed, options
from raysignal.cli.on_ray import watching
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.verbs import VerbGroup, reading_options, require_extras
from raysignal.engine.core.errors import InvalidField, NotFound
from raysignal.engine.core.instants import format_instant, parse_bar, parse_instant

if TYPE_CHECKING:
    from raysignal.engine.core.listings import ListedSymbol
    from raysignal.engine.market.download import DownloadedBars, DownloadedFunding
    from raysignal.engine.market.period_files import TimeSpan
    from raysignal.engine.market.rest import RestClient
    from raysignal.engine.market.venues.protocol import Venue

app = typer.Typer(cls=VerbGroup, help="What exchanges trade, and their past prices as files.")

VenueName = Annotated[
    str, typer.Argument(metavar="VENUE", help="Such as binance, binance-usdm, okx, bybit or bybit-linear.")
]


@asynccontextmanager
async def _reached(
    venue: Venue, symbols: Sequence[str], market: feed.MarketOptions
) -> AsyncIterator[RestClient]:
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
        yield rest


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
    async with _reached(venue, traded, market) as rest:
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


# Download

_SHOWN_GAPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadConfig:
    """What is downloaded, and where it goes."""

    venue: VenueName
    symbol: Annotated[
        str,
        typer.Argument(metavar="SYMBOL", help="As the exchange writes it, such as BTCUSDT or BTC-USDT-SWAP."),
    ]
    bar: Annotated[
        str, typer.Option(metavar="LENGTH", callback=options.a_bar, help="Of the bars, such as 1m.")
    ] = "1m"
    from_: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help="The first bar opens then: 2024-01-01.")
    ]
    to: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="Bars open before it; default: all that are over."),
    ] = None
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Files go to VENUE/SYMBOL below it.")] = Path(
        "market"
    )
    market: feed.MarketOptions
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.to is not None and parse_instant(self.to, field="to") <= parse_instant(
            self.from_, field="from"
        ):
            raise InvalidField("to", self.to, f"an instant after --from {self.from_}")


def download(config: DownloadConfig) -> None:
    """Download an exchange's past bars as Parquet, and the funding rates of a perpetual.

    What is on disk is not asked for again: the same command goes on where one ended, and a later --to adds what has
    come since. Bars that the exchange does not give are named, also in gaps.json. A bar's stamp is its end, when it was
    known, so that sweep and backtest read the files as they are.
    """
    require_extras("market download", "feeds")
    from raysignal.engine.market.download import gap_as_dict
    from raysignal.engine.market.venues.catalogue import venue_named

    with reading_options():
        venue = venue_named(config.venue)
    output, interval_us = Output(config.json), parse_bar(config.bar)
    with options.writing_to(config.out), watching("bars", output) as progress:
        began = time.monotonic()
        span, bars, funding = asyncio.run(_download(venue, config, interval_us, progress))
        seconds = time.monotonic() - began
    first, last = (format_instant(each) for each in span)
    gaps = [gap_as_dict(each, interval_us) for each in bars.gaps]
    if config.json:
        output.json(
            {
                "venue": venue.name, "symbol": config.symbol, "bar": config.bar, "from": first, "to": last,
                "folder": str(bars.folder), "files": bars.files, "bars": bars.bars, "asked": bars.asked, "gaps": gaps,
                "funding": None
                if funding is None
                else {"folder": str(funding.folder), "rates": funding.rates},
            }
        )  # fmt: skip
        return
    output.say(
        f"bars      {bars.bars:,d} of {config.bar}, {first} to {last}, in {escape(str(bars.folder))}; "
        f"{bars.asked:,d} asked for in {seconds:,.1f} s"
    )
    if funding is not None:
        output.say(f"funding   {funding.rates:,d} rates in {escape(str(funding.folder))}")
    for gap in gaps[:_SHOWN_GAPS]:
        lacking = "1 bar" if gap["bars"] == 1 else f"{gap['bars']:,d} bars"
        output.say(f"gap       {lacking} that {venue.name} does not give, {gap['from']} to {gap['to']}")
    if len(gaps) > _SHOWN_GAPS:
        output.say(
            f"          and {len(gaps) - _SHOWN_GAPS:,d} more gaps, see {escape(str(bars.folder.parent))}/gaps.json"
        )


async def _download(
    venue: Venue, config: DownloadConfig, interval_us: int, progress: Callable[[int, int], None]
) -> tuple[TimeSpan, DownloadedBars, DownloadedFunding | None]:
    from raysignal.engine.core.listings import ContractKind
    from raysignal.engine.market.download import (
        TRIES,
        download_bars,
        download_funding,
        folder_of,
        only_download,
    )
    from raysignal.engine.market.feed import naming_symbols

    async with _reached(venue, [config.symbol], config.market) as rest:
        now_us = venue.read_time(await rest.get(venue.time_request, tries=TRIES))
        span = _span(config, interval_us, now_us)
        with naming_symbols(venue, [config.symbol]):
            body = await rest.get(venue.instruments_request([config.symbol]), tries=TRIES)
            (instrument,) = venue.read_instruments([config.symbol], body)
        (listed,) = (each for each in venue.read_symbols(body) if each.symbol == config.symbol)
        venue.klines_request(instrument, interval_us, span.to_us, 1)  # refuses a length that it has not
        folder = folder_of(config.out, instrument)
        with only_download(folder):
            bars = await download_bars(venue, instrument, interval_us, span, folder, rest, now_us, progress)
            funding = None
            if listed.kind is ContractKind.PERPETUAL:
                funding = await download_funding(venue, instrument, span, folder, rest, now_us)
        return span, bars, funding


def _span(config: DownloadConfig, interval_us: int, now_us: int) -> TimeSpan:
    """Whole bars from --from to --to that are over."""
    from raysignal.engine.market.period_files import TimeSpan

    from_us = -(-parse_instant(config.from_, field="from") // interval_us) * interval_us
    to_us = now_us if config.to is None else min(now_us, parse_instant(config.to, field="to"))
    to_us = to_us // interval_us * interval_us
    if from_us >= now_us:
        raise InvalidField("from", config.from_, f"an instant before now, {format_instant(now_us)}")
    if from_us >= to_us:
        raise InvalidField(
            "from", config.from_, f"at least one bar of {config.bar} before {format_instant(to_us)}"
        )
    return TimeSpan(from_us, to_us)
