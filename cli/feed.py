"""`raysignal feed`: follow exchanges, make signals of their moving averages' crossings, trade them on paper."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.extras import require_extras
from raysignal.cli.output import Output
from raysignal.cli.verbs import Verb, VerbGroup

_WATCH = "What is followed"
_PAPER = "Orders on paper"

app = typer.Typer(cls=VerbGroup, help="Follow exchanges, or record and replay what they say.")

Channels = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        rich_help_panel=_WATCH,
        help="Some of depth,trades,quotes,klines; bars need trades or depth.",
    ),
]
Instruments = Annotated[
    list[str] | None,
    typer.Option(
        "--instrument",
        "-i",
        metavar="VENUE:SYMBOL",
        rich_help_panel=_WATCH,
        help="Such as binance-usdm:BTCUSDT; may be given again (RAYSIGNAL_FEEDS).",
    ),
]
Order = Annotated[
    Literal["market", "limit"] | None, typer.Option(rich_help_panel=_PAPER, help="What orders are; market.")
]
OffsetBps = Annotated[
    float | None,
    typer.Option(
        metavar="BP",
        rich_help_panel=_PAPER,
        help="How much worse than the signal's price a limit is; below 0: better; 0.",
    ),
]
Duration = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="LENGTH",
        callback=options.a_length,
        help="End after so long, such as 60s; default: Ctrl-C.",
    ),
]
Loopback = Annotated[
    bool,
    typer.Option("--loopback", help="Follow a made-up market on this machine instead of the venue."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="With --loopback: which market.")]
Speed = Annotated[
    float,
    typer.Option(
        metavar="FACTOR", min=1.0, max=1000.0, help="With --loopback: the market's seconds a second."
    ),
]


@app.callback(invoke_without_command=True)
def feed(
    context: typer.Context,
    instrument: Instruments = None,
    bar: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            rich_help_panel=_WATCH,
            callback=options.a_bar,
            help="Of the bars (RAYSIGNAL_FEED_BAR); 1d.",
        ),
    ] = None,
    fast: Annotated[
        int | None,
        typer.Option(metavar="BARS", min=1, max=100_000, rich_help_panel=_WATCH, help="Fast average; 50."),
    ] = None,
    slow: Annotated[
        int | None,
        typer.Option(metavar="BARS", min=1, max=100_000, rich_help_panel=_WATCH, help="Slow average; 200."),
    ] = None,
    basis: Annotated[
        Literal["trades", "mids"] | None,
        typer.Option(rich_help_panel=_WATCH, help="What bars are made of; trades."),
    ] = None,
    duration: Duration = None,
    loopback: Loopback = False,
    speed: Speed = 1.0,
    seed: Seed = 1,
    portfolio: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where crossings are posted (RAYSIGNAL_FEED_PORTFOLIO); the primary one."
        ),
    ] = None,
    cash: Annotated[
        float | None,
        typer.Option(
            metavar="MONEY",
            min=0.0,
            max=1e15,
            rich_help_panel=_PAPER,
            help="At the start; 0: no orders; 10000.",
        ),
    ] = None,
    fee_bps: Annotated[
        float | None,
        typer.Option(metavar="BP", min=0.0, max=1000.0, rich_help_panel=_PAPER, help="On every fill; 10."),
    ] = None,
    order: Order = None,
    offset_bps: OffsetBps = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", min=0.0, max=60_000.0, rich_help_panel=_PAPER, help="Of an order; 50."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="sqlite:///file or postgresql://… (RAYSIGNAL_DATABASE_URL)."),
    ] = None,
    url: options.Url = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append what happens to this file, a line of JSON each."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Follow exchanges in the foreground: bars, crossings, orders on paper, and how the connections stand.

    Each crossing is stored, then posted to the running service; while there is none, it waits. A service with
    RAYSIGNAL_FEEDS does the same by itself, an actor for each venue.
    """
    if context.invoked_subcommand is not None:
        return
    if speed != 1.0 and not loopback:
        raise typer.BadParameter("--speed is for a made-up market: --loopback")
    settings = options.configured(
        feeds=tuple(instrument) if instrument else None, feed_bar=bar, feed_fast=fast, feed_slow=slow,
        feed_basis=basis, feed_portfolio=portfolio, paper_cash=cash, paper_fee_bps=fee_bps,
        paper_order=order, paper_offset_bps=offset_bps, paper_latency_ms=latency_ms, database_url=database,
    )  # fmt: skip
    if not settings.feeds:
        raise typer.BadParameter("nothing to follow; expected --instrument venue:symbol, or RAYSIGNAL_FEEDS")
    require_extras("feed", "feeds")
    from raysignal.cli.feed_job import FeedConfig, FollowedMarket, follow_until_told

    job = FeedConfig.of(settings, FollowedMarket(loopback, speed, seed), duration, url, log)
    follow_until_told(job, Output(json))


@app.command("record", cls=Verb)
def record(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Where the files go; it is made, and nothing in it is changed."
        ),
    ],
    instrument: Instruments = None,
    channels: Channels = "depth,trades,quotes",
    duration: Duration = None,
    loopback: Loopback = False,
    speed: Speed = 1.0,
    seed: Seed = 1,
    json: options.Json = False,
) -> None:
    """Write every message of exchanges to compressed files as it came, until Ctrl-C."""
    if speed != 1.0 and not loopback:
        raise typer.BadParameter("--speed is for a made-up market: --loopback")
    settings = options.configured(feeds=tuple(instrument) if instrument else None)
    if not settings.feeds:
        raise typer.BadParameter("nothing to record; expected --instrument venue:symbol, or RAYSIGNAL_FEEDS")
    require_extras("feed record", "feeds")
    from raysignal.cli.feed_job import FeedConfig, FollowedMarket
    from raysignal.cli.recording_job import record_until_told

    job = FeedConfig.of(settings, FollowedMarket(loopback, speed, seed), duration, None, None)
    record_until_told(job, folder, channels, Output(json))


@app.command("replay", cls=Verb)
def replay(
    recordings: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Recordings, or folders of them.")
    ],
    instrument: Annotated[
        str | None,
        typer.Option(
            "--instrument",
            "-i",
            metavar="VENUE:SYMBOL",
            rich_help_panel=_WATCH,
            help="Of what files are that do not say it; those of raysignal feed record do.",
        ),
    ] = None,
    speed: Annotated[
        str,
        typer.Option(
            metavar="FACTOR|max", help="So many times as fast as it was recorded, or as fast as it goes."
        ),
    ] = "max",
    bar: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", rich_help_panel=_WATCH, callback=options.a_bar, help="Of the bars; 1m."
        ),
    ] = "1m",
    fast: Annotated[
        int | None,
        typer.Option(metavar="BARS", min=1, max=100_000, rich_help_panel=_WATCH, help="Fast average; 5."),
    ] = 5,
    slow: Annotated[
        int | None,
        typer.Option(metavar="BARS", min=1, max=100_000, rich_help_panel=_WATCH, help="Slow average; 20."),
    ] = 20,
    basis: Annotated[
        Literal["trades", "mids"] | None,
        typer.Option(rich_help_panel=_WATCH, help="What bars are made of; trades."),
    ] = None,
    cash: Annotated[
        float | None,
        typer.Option(
            metavar="MONEY",
            min=0.0,
            max=1e15,
            rich_help_panel=_PAPER,
            help="At the start; 0: no orders; 10000.",
        ),
    ] = None,
    fee_bps: Annotated[
        float | None,
        typer.Option(metavar="BP", min=0.0, max=1000.0, rich_help_panel=_PAPER, help="On every fill; 10."),
    ] = None,
    order: Order = None,
    offset_bps: OffsetBps = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", min=0.0, max=60_000.0, rich_help_panel=_PAPER, help="Of an order; 50."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Keep bars, signals and orders there; default: nothing is kept."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append what happens to this file, a line of JSON each."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Play recordings through what follows a live feed: book, bars, crossings, orders on paper. Nothing is posted."""
    settings = options.configured(
        feed_bar=bar, feed_fast=fast, feed_slow=slow, feed_basis=basis, paper_cash=cash, paper_fee_bps=fee_bps,
        paper_order=order, paper_offset_bps=offset_bps, paper_latency_ms=latency_ms, database_url=database,
    )  # fmt: skip
    require_extras("feed replay", "feeds")
    from raysignal.cli.recording_job import Replay, replay_files

    replay_files(
        Replay.of(recordings, instrument, speed, keeps=database is not None), settings, log, Output(json)
    )
