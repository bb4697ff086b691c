"""`raysignal feed record` and `raysignal feed replay`: what exchanges say, kept and played again."""

from __future__ import annotations

import asyncio
import signal as signals
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from raysignal.cli import feed, options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import InvalidField
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.engine.core.market_events import Channel
    from raysignal.engine.database.database import Database
    from raysignal.engine.market.limits import VenueLimits
    from raysignal.engine.market.venues.protocol import Subscription
    from raysignal.runtime.feed_recordings import RecordedInstrument
    from raysignal.runtime.settings import Settings

_LOOK_S = 0.2


# Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """What is recorded, and where."""

    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Where the files go; it is made, and nothing in it is changed."
        ),
    ]
    feeds: feed.Instruments = None
    channels: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=feed.WATCH,
            help="Some of depth,trades,quotes,klines,contract,liquidations; bars need trades or depth.",
        ),
    ] = "depth,trades,quotes,contract,liquidations"
    duration: feed.Duration = None
    market: feed.MarketOptions
    json: options.Json = False


def record(config: RecordConfig) -> None:
    """Write every message of exchanges to compressed files as it came, until Ctrl-C."""
    settings = options.configured(feeds=tuple(config.feeds) if config.feeds else None)
    if not settings.feed.instruments:
        raise typer.BadParameter(
            "nothing to record; expected --instrument venue:symbol, or RAYSIGNAL_FEED__INSTRUMENTS"
        )
    require_extras("feed record", "feeds")
    output, folder, wanted = Output(config.json), config.folder, _channels(config.channels)
    market = feed.FollowedMarket(settings, config.market, feed.seconds_of(config.duration))
    with options.writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = asyncio.run(_record(market, folder, wanted, output))
    if config.json:
        output.json({"recordings": found})
        return
    columns = ("recording", "messages", "left out", "reconnects", "gaps", "files", "MB written")
    rows = [
        (
            one["name"], one["messages"], one["left_out"], one["reconnects"], one["gaps"], len(one["files"]),
            round(one["bytes_written"] / 1e6, 3),
        )
        for one in found
    ]  # fmt: skip
    output.table(rows_table(columns, rows))
    output.say(f"replay    raysignal feed replay {escape(str(folder))}")


def _channels(text: str) -> frozenset[Channel]:
    from raysignal.engine.core.market_events import Channel

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in set(Channel):
            raise InvalidField("channels", name, f"some of {', '.join(Channel)}, with commas between them")
    return frozenset(Channel(name) for name in names)


async def _record(
    market: feed.FollowedMarket, folder: Path, channels: frozenset[Channel], output: Output
) -> list[dict[str, Any]]:
    from raysignal.runtime.feed_recordings import SHOWN_EVERY_S, record_instrument

    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signals.SIGINT, signals.SIGTERM):
        loop.add_signal_handler(number, told.set)
    recorded: list[RecordedInstrument] = []
    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(market, stack)
        limits: dict[str, VenueLimits] = {}
        for name in settings.feed.instruments:
            one = await record_instrument(name, settings, folder, channels, clock, limits, stack)
            await stack.enter_async_context(one.feed)
            recorded.append(one)
        ends = None if market.seconds is None else loop.time() + market.seconds
        shown = loop.time()
        while not told.is_set() and (ends is None or loop.time() < ends):
            try:
                async with asyncio.timeout(_LOOK_S):
                    await told.wait()
            except TimeoutError:
                pass
            for one in recorded:
                if (
                    failure := next((each.failure for each in one.recorders if each.failure), None)
                ) is not None:
                    raise failure
            if loop.time() - shown >= SHOWN_EVERY_S:
                shown = loop.time()
                for one in recorded:
                    output.err.print(one.sentence())
    return [one.as_dict() for one in recorded]


# Replaying


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBarOptions(feed.BarOptions):
    """Settings of bars and crossings of a recording, which is shorter than a market."""

    feed_bar: Annotated[
        str | None,
        typer.Option(
            "--bar",
            metavar="LENGTH",
            rich_help_panel=feed.WATCH,
            callback=options.a_bar,
            help="Of the bars; 1m.",
        ),
    ] = "1m"
    feed_fast: Annotated[
        int | None,
        typer.Option(
            "--fast", metavar="BARS", min=1, max=100_000, rich_help_panel=feed.WATCH, help="Fast average; 5."
        ),
    ] = 5
    feed_slow: Annotated[
        int | None,
        typer.Option(
            "--slow", metavar="BARS", min=1, max=100_000, rich_help_panel=feed.WATCH, help="Slow average; 20."
        ),
    ] = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedReplayConfig:
    """What is played, and what is made of it."""

    recordings: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Recordings, or folders of them.")]
    instrument: Annotated[
        str | None,
        typer.Option(
            "--instrument",
            "-i",
            metavar="VENUE:SYMBOL",
            rich_help_panel=feed.WATCH,
            help="Of what files are that do not say it; those of raysignal feed record do.",
        ),
    ] = None
    speed: Annotated[
        str,
        typer.Option(
            metavar="FACTOR|max", help="So many times as fast as it was recorded, or as fast as it goes."
        ),
    ] = "max"
    bars: RecordedBarOptions
    paper: feed.PaperOptions
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="ADDRESS",
            help="Keep bars, signals and orders there; default: nothing is kept.",
        ),
    ] = None
    log: feed.Log = None
    json: options.Json = False


def replay_recordings(config: FeedReplayConfig) -> None:
    """Play recordings through what follows a live feed: book, bars, crossings, orders on paper. Nothing is posted."""
    settings = options.configured(
        database_url=config.database_url, **asdict(config.bars), **asdict(config.paper)
    )
    require_extras("feed replay", "feeds")
    from raysignal.engine.market.replay import series_of
    from raysignal.runtime.feed_recordings import PlayedRecordings
    from raysignal.runtime.feeds import terms_of
    from raysignal.serve.logs import json_logger

    output = Output(config.json)
    told, speed = _subscription(config.instrument), _speed(config.speed)
    terms_of(settings)
    series = series_of(config.recordings, told)
    with ExitStack() as stack:
        lines = stack.enter_context(feed.open_lines(config.log))
        database = stack.enter_context(_database(settings, keeps=config.database_url is not None))
        stop = stack.enter_context(ShutdownSignal())
        played = PlayedRecordings(series, speed, settings, database, json_logger(lines))
        stack.callback(played.stop)
        interrupted = False
        try:
            with stop.interruptible():
                played.play(output.err.print)
        except KeyboardInterrupt:
            interrupted = True
        played.settle()
        found = played.as_dict() | {"ended": not interrupted}
    if config.json:
        output.json(found)
    else:
        _show(found, output)
    if interrupted:
        output.err.print("interrupted before the recordings ended")
        raise KeyboardInterrupt


# Export


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecordingsConfig:
    """Which recordings, and where their tables go."""

    recordings: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Recordings, or folders of them.")]
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Files go to VENUE/SYMBOL below it.")] = Path(
        "market"
    )
    levels: Annotated[
        int, typer.Option(metavar="N", min=1, max=200, help="Prices of each side of a book, the best first.")
    ] = 10
    json: options.Json = False


def export(config: ExportRecordingsConfig) -> None:
    """Write the trades and books of recordings as Parquet, which pandas reads."""
    require_extras("feed export", "feeds")
    from raysignal.engine.market.recording_tables import export_recordings
    from raysignal.engine.market.replay import series_of

    output = Output(config.json)
    series = series_of(config.recordings)
    with options.writing_to(config.out):
        found = export_recordings(series, config.out, config.levels)
    if config.json:
        output.json({"folder": str(config.out), "rows": found})
        return
    rows = [(name, one.get("trades", 0), one.get("books", 0)) for name, one in found.items()]
    output.table(rows_table(("instrument", "trades", "books"), rows))
    output.say(f"written   below {escape(str(config.out))}")


def _subscription(instrument: str | None) -> Subscription | None:
    """Of what recordings are that do not say it."""
    from raysignal.engine.core.market_events import Instrument
    from raysignal.engine.market.venues.catalogue import is_inverse, venue_named
    from raysignal.engine.market.venues.protocol import Subscription

    if instrument is None:
        return None
    venue, _, symbol = instrument.partition(":")
    if not symbol:
        raise InvalidField("instrument", instrument, "venue:symbol, such as binance-usdm:BTCUSDT")
    return Subscription(Instrument(venue_named(venue).name, symbol, inverse=is_inverse(venue, symbol)))


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < 1e6:
        raise InvalidField("speed", text, "max, or a number above 0 such as 1 or 60")
    return speed


@contextmanager
def _database(settings: Settings, *, keeps: bool) -> Iterator[Database]:
    from raysignal.engine.database.database import open_database

    if keeps:
        database = open_database(settings.database_url.get_secret_value())
        try:
            yield database
        finally:
            database.close()
        return
    with tempfile.TemporaryDirectory(prefix="raysignal-replay-") as folder:
        database = open_database(f"sqlite:///{folder}/replay.db")
        try:
            yield database
        finally:
            database.close()


def _show(found: Mapping[str, Any], output: Output) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{found['recorded_s']:,.1f} s recorded")
    for one in found["feeds"]:
        table.add_column(escape(one["name"]), justify="right")
    rows: list[tuple[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]] = [
        ("last price", lambda _, one: "—" if one["last"] is None else f"{one['last']:,.8g}"),
        ("bars of", lambda station, _: station["bar"]),
        ("last bar", lambda _, one: "—" if one["bar"] is None else one["bar"]["open"]),
        ("crossings", lambda station, _: station["signals"]),
        ("orders filled", lambda station, _: (station["paper"] or {}).get("orders", {}).get("filled", 0)),
        ("paper cash", lambda station, _: _cash(station["paper"])),
    ]
    table.add_row("last bid / ask", *(_pair(one["best"]) for one in found["feeds"]))
    for name, figure in rows:
        cells = []
        for one in found["feeds"]:
            (symbol,) = one["station"]["symbols"].values()
            cells.append(str(figure(one["station"], symbol)))
        table.add_row(name, *cells)
    output.table(table)
    books = found["books"]
    rate = "" if found["messages_per_s"] is None else f", {found['messages_per_s']:,.0f} a second"
    output.say(
        f"{found['messages']:,d} messages{rate}; {books['gaps']} gaps, {books['resyncs']} resyncs, "
        f"{books['crossed']} crossed books, {books['malformed']} messages that could not be read"
    )
    compared = books["agreed"] + books["differed"]
    output.say(
        f"{books['agreed']:,d} of {compared:,d} of the venue's own best prices are those of the book at the same update"
    )


def _pair(best: Mapping[str, float] | None) -> str:
    return "—" if best is None else f"{best['bid']:,.8g} / {best['ask']:,.8g}"


def _cash(paper: Mapping[str, Any] | None) -> str:
    cash = (paper or {}).get("cash")
    return "—" if cash is None else f"{float(cash):,.2f}"
