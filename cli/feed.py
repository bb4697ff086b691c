"""`raysignal feed`: follow exchanges, make signals of their moving averages' crossings, trade them on paper."""

from __future__ import annotations

import asyncio
import signal as signals
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer
from rich.table import Table

from raysignal.cli import options
from raysignal.cli.output import Output, escape
from raysignal.cli.verbs import VerbGroup, require_extras, verb
from raysignal.engine.core.errors import InputError, RaysignalError, StoreUnavailable
from raysignal.engine.core.instants import MICROSECONDS, parse_length
from raysignal.engine.core.policy import check_portfolio_name

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from raysignal.engine.core.columns import SignalBatch
    from raysignal.engine.core.signals import Signal
    from raysignal.engine.database.database import Database
    from raysignal.engine.market.clocks import Clock
    from raysignal.runtime.feeds import FeedContext, FollowedInstrument
    from raysignal.runtime.portfolio_gateway import SendResult
    from raysignal.runtime.settings import Settings

WATCH = "What is followed"
_paper = partial(typer.Option, rich_help_panel="Orders on paper")
_REQUEST_S = 45.0
_SHOWN_EVERY_S = 5.0
_DASH = "—"

app = typer.Typer(cls=VerbGroup, help="Follow exchanges, or record and replay what they say.")

Instruments = Annotated[
    list[str] | None,
    typer.Option(
        "--instrument",
        "-i",
        metavar="VENUE:SYMBOL",
        rich_help_panel=WATCH,
        help="Such as binance-usdm:BTCUSDT; may be given again (RAYSIGNAL_FEED__INSTRUMENTS).",
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
Log = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Append what happens to this file, a line of JSON each.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarOptions:
    """Settings of bars and crossings, under their names; None: as configured."""

    feed_bar: Annotated[
        str | None,
        typer.Option(
            "--bar",
            metavar="LENGTH",
            rich_help_panel=WATCH,
            callback=options.a_bar,
            help="Of the bars (RAYSIGNAL_FEED__BAR); 1d.",
        ),
    ] = None
    feed_fast: Annotated[
        int | None,
        typer.Option(
            "--fast", metavar="BARS", min=1, max=100_000, rich_help_panel=WATCH, help="Fast average; 50."
        ),
    ] = None
    feed_slow: Annotated[
        int | None,
        typer.Option(
            "--slow", metavar="BARS", min=1, max=100_000, rich_help_panel=WATCH, help="Slow average; 200."
        ),
    ] = None
    feed_basis: Annotated[
        Literal["trades", "mids"] | None,
        typer.Option("--basis", rich_help_panel=WATCH, help="What bars are made of; trades."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOptions:
    """Settings of orders on paper, under their names; None: as configured."""

    paper_cash: Annotated[
        float | None,
        _paper("--cash", metavar="MONEY", min=0.0, max=1e15, help="At the start; 0: no orders; 10000."),
    ] = None
    paper_fee_bps: Annotated[
        float | None, _paper("--fee-bps", metavar="BP", min=0.0, max=1000.0, help="On every fill; 10.")
    ] = None
    paper_order: Annotated[
        Literal["market", "limit"] | None, _paper("--order", help="What orders are; market.")
    ] = None
    paper_offset_bps: Annotated[
        float | None,
        _paper(
            "--offset-bps",
            metavar="BP",
            help="How much worse than the signal's price a limit is; below 0: better; 0.",
        ),
    ] = None
    paper_latency_ms: Annotated[
        float | None, _paper("--latency-ms", metavar="MS", min=0.0, max=60_000.0, help="Of an order; 50.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketOptions:
    """Whose market is followed: the venues' own, or a made-up one."""

    loopback: Annotated[
        bool, typer.Option("--loopback", help="Follow a made-up market on this machine instead of the venue.")
    ] = False
    speed: Annotated[
        float,
        typer.Option(
            metavar="FACTOR", min=1.0, max=1000.0, help="With --loopback: the market's seconds a second."
        ),
    ] = 1.0
    seed: Annotated[int, typer.Option(metavar="N", help="With --loopback: which market.")] = 1

    def __post_init__(self) -> None:
        if self.speed != 1.0 and not self.loopback:
            raise typer.BadParameter("--speed is for a made-up market: --loopback")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedConfig:
    """What is followed, where its crossings are posted, and how they are traded on paper."""

    feeds: Instruments = None
    bars: BarOptions
    duration: Duration = None
    market: MarketOptions
    feed_portfolio: Annotated[
        str | None,
        typer.Option(
            "--portfolio",
            metavar="NAME",
            help="Where bars and crossings are posted, with --url any portfolio of that service "
            "(RAYSIGNAL_FEED__PORTFOLIO); the primary one.",
        ),
    ] = None
    paper: PaperOptions
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="ADDRESS", help="sqlite:///file or postgresql://… (RAYSIGNAL_DATABASE_URL)."
        ),
    ] = None
    url: options.Url = None
    log: Log = None
    json: options.Json = False


@dataclass(frozen=True, slots=True)
class FollowedMarket:
    """A market that is followed.

    Attributes:
        settings: the instruments, and what is made of them.
        options: whose market it is.
        seconds: of this machine's clock, until it ends by itself; None: until it is told.
        url: of the service that crossings are posted to; None: the one that is configured here.
        portfolio: of that service, where they are posted; None: as configured.
    """

    settings: Settings
    options: MarketOptions
    seconds: float | None = None
    url: str | None = None
    portfolio: str | None = None


def follow_exchanges(config: FeedConfig) -> None:
    """Follow exchanges in the foreground: bars, crossings, orders on paper, and how the connections stand.

    Each crossing is stored, then posted to the running service; while there is none, it waits. A service with
    RAYSIGNAL_FEED__INSTRUMENTS does the same by itself, an actor for each venue.
    """
    # Which portfolios the service at a URL has is not said by the settings here.
    elsewhere = config.feed_portfolio and check_portfolio_name(config.feed_portfolio) if config.url else None
    settings = options.configured(
        feeds=tuple(config.feeds) if config.feeds else None, database_url=config.database_url,
        feed_portfolio=None if elsewhere else config.feed_portfolio, **asdict(config.bars), **asdict(config.paper),
    )  # fmt: skip
    if not settings.feed.instruments:
        raise typer.BadParameter(
            "nothing to follow; expected --instrument venue:symbol, or RAYSIGNAL_FEED__INSTRUMENTS"
        )
    require_extras("feed", "feeds")
    market = FollowedMarket(settings, config.market, seconds_of(config.duration), config.url, elsewhere)
    follow_until_told(market, config.log, Output(config.json))


def seconds_of(duration: str | None) -> float | None:
    """A duration such as `60s` in seconds."""
    return None if duration is None else parse_length(duration, "for") / MICROSECONDS


def follow_until_told(market: FollowedMarket, log: Path | None, output: Output) -> None:
    """Follow until SIGINT, SIGTERM or the market's end; then show what was seen.

    Raises:
        typer.Exit: with 1 if a feed ended in trouble, or never was ready.
    """
    from raysignal.serve.logs import json_logger

    with open_lines(log) as stream:
        statuses = asyncio.run(_follow_until_told(market, json_logger(stream), output))
    if output.as_json:
        output.json({"feeds": [without_buckets(status) for status in statuses]})
    else:
        output.table(feeds_table(statuses))
    if waiting := sum(status["unposted"] or 0 for status in statuses):
        output.err.print(
            f"{waiting:,d} bars and crossings are not posted; they are stored, and posted by the next feed of this "
            "database with these settings"
        )
    failures = [failure for status in statuses if (failure := failure_of(status))]
    for failure in failures:
        output.err.print(f"error: {escape(failure)}")
    if failures:
        raise typer.Exit(1)


def open_lines(log: Path | None) -> BinaryIO:
    """A file that lines are appended to; None: nowhere."""
    path = Path("/dev/null") if log is None else log
    with options.writing_to(path):
        return path.open("ab", buffering=0)


async def _follow_until_told(
    market: FollowedMarket, log: FilteringBoundLogger, output: Output
) -> list[dict[str, Any]]:
    told = asyncio.Event()
    for number in (signals.SIGINT, signals.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return await follow(market, log, told, lambda status: output.err.print(sentence_of(status)))


async def follow(
    market: FollowedMarket,
    log: FilteringBoundLogger,
    told: asyncio.Event,
    show: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Follow until `told`, the market's end or a failure; `show` is given each feed's state now and then.

    Returns:
        Each feed's last state, see `FollowedInstrument.status`, and as `unposted` how many bars and crossings wait.
    """
    from raysignal.runtime.feeds import terms_of

    async with AsyncExitStack() as stack:
        settings, context = await _context(market, log, stack)
        async with _all_following(settings, context) as followed:
            statuses = await _followed(followed, market.seconds, told, show)
        watches = [terms_of(settings).watch(each.instrument).identity for each in followed]
        unposted = await asyncio.to_thread(_unposted, context.database, watches)
        return [{**status, "unposted": count} for status, count in zip(statuses, unposted, strict=True)]


async def _followed(
    followed: Sequence[FollowedInstrument],
    seconds: float | None,
    told: asyncio.Event,
    show: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        running = [asyncio.create_task(each.run()) for each in followed]
        stack.push_async_callback(_ended, running)
        ends = None if seconds is None else loop.time() + seconds
        while not told.is_set() and (ends is None or loop.time() < ends):
            left = _SHOWN_EVERY_S if ends is None else min(_SHOWN_EVERY_S, ends - loop.time())
            waiting = asyncio.create_task(told.wait())
            done, _ = await asyncio.wait(
                {waiting, *running}, timeout=max(left, 0.01), return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
            for task in done & set(running):
                task.result()
            for each in followed:
                show(await asyncio.to_thread(each.status))
        return [await asyncio.to_thread(each.status) for each in followed]


def _unposted(database: Database, watches: Sequence[str]) -> list[int | None]:
    """How many bars and crossings of each watch wait; None where the database does not say."""
    from raysignal.engine.market.signal_rows import count_pending

    try:
        with database.reading() as connection:
            return [count_pending(connection, identity) for identity in watches]
    except StoreUnavailable:
        return [None] * len(watches)


async def _ended(running: Sequence[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _context(
    market: FollowedMarket, log: FilteringBoundLogger, stack: AsyncExitStack
) -> tuple[Settings, FeedContext]:
    """What all feeds share, with a made-up exchange for each venue if that is what is followed."""
    from raysignal.engine.database.database import open_database
    from raysignal.runtime.feeds import FeedContext

    settings, clock = await loopback_settings(market, stack)
    database = await asyncio.to_thread(open_database, settings.database_url.get_secret_value())
    stack.callback(database.close)
    portfolio = market.portfolio or settings.feed.portfolio or settings.primary
    post = poster(settings, market.url, portfolio, asyncio.get_running_loop())
    rename = renamer(settings, market.url, portfolio, asyncio.get_running_loop())
    random = Random(market.options.seed)  # noqa: S311 - jitter
    return settings, FeedContext(database, post, log, clock, random, None, {}, rename)


@asynccontextmanager
async def _all_following(settings: Settings, context: FeedContext) -> AsyncIterator[list[FollowedInstrument]]:
    """Every instrument of the settings."""
    from raysignal.runtime.feeds import following

    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(following(name, settings, context))
            for name in settings.feed.instruments
        ]


async def loopback_settings(market: FollowedMarket, stack: AsyncExitStack) -> tuple[Settings, Clock]:
    """The settings with the addresses of the made-up exchanges, and the clock that they run by."""
    from raysignal.engine.market.clocks import SystemClock

    if not market.options.loopback:
        return market.settings, SystemClock()
    from raysignal.loopback.exchanges.exchange import GeneratedExchange
    from raysignal.loopback.exchanges.server import ExchangeServer

    symbols: dict[str, list[str]] = {}
    for name in market.settings.feed.instruments:
        venue, _, symbol = name.partition(":")
        symbols.setdefault(venue, []).append(symbol)
    # Ends about now, so that no signal is of the future.
    start_us = time.time_ns() // 1000 - round((market.seconds or 0.0) * market.options.speed * MICROSECONDS)
    hosts: dict[str, dict[str, str]] = {}
    clock: Clock = SystemClock()
    for venue, traded in symbols.items():
        exchange = GeneratedExchange(venue, seed=market.options.seed, start_us=start_us, symbols=traded)
        loopback = await stack.enter_async_context(ExchangeServer(exchange, speed=market.options.speed))
        hosts[venue] = {"stream": loopback.hosts.stream, "rest": loopback.hosts.rest}
        clock = loopback.clock
    return market.settings.model_copy(
        update={"feed": market.settings.feed.model_copy(update={"hosts": hosts})}
    ), clock


def poster(
    settings: Settings, url: str | None, portfolio: str, loop: asyncio.AbstractEventLoop
) -> Callable[[Signal], str]:
    """How a keeper's thread posts a signal to a service, see `engine.market.recorder.Post`."""
    from raysignal.engine.market.signal_posts import batch_of
    from raysignal.runtime.service_client import service_at

    async def sent(batch: SignalBatch) -> SendResult:
        async with service_at(url, settings) as client:
            return await client.send_one(portfolio, batch, 0, accept_price_jump=False)

    def post(signal: Signal) -> str:
        future = asyncio.run_coroutine_threadsafe(sent(batch_of(signal)), loop)
        try:
            answer = future.result(_REQUEST_S)
        except TimeoutError as error:
            future.cancel()
            raise StoreUnavailable(f"the service did not answer within {_REQUEST_S:g} s") from error
        except RaysignalError as error:
            raise StoreUnavailable(str(error)) from error
        if answer.refused:
            raise InputError(str(answer.errors[0].get("error", answer.errors[0])))
        return signal.signal_id

    return post


def failure_of(status: Mapping[str, Any]) -> str:
    """Why what a feed has done is not what was asked for; empty: it is. A book that is being mended is no failure."""
    from raysignal.engine.market.monitoring.health import FeedState

    health = status["health"]
    if status["trouble"]:
        return f"{status['name']}: {status['trouble']}"
    if health["state"] in {FeedState.READY, FeedState.STALE}:
        return ""
    return f"{status['name']} is {health['state']}: {health['reason']}"


def renamer(
    settings: Settings, url: str | None, portfolio: str, loop: asyncio.AbstractEventLoop
) -> Callable[[str, str], bool]:
    """How a keeper's thread renames a symbol of a service's portfolio, see `engine.market.recorder.Rename`."""
    from raysignal.engine.market.signal_posts import answer_from_thread
    from raysignal.runtime.service_client import ServiceError, service_at

    async def renamed(old: str, new: str) -> bool:
        async with service_at(url, settings) as client:
            return await client.rename_symbol(portfolio, old, new)

    def rename(old: str, new: str) -> bool:
        try:
            return answer_from_thread(lambda: renamed(old, new), loop)
        except ServiceError as error:
            raise StoreUnavailable(str(error)) from error

    return rename


def without_buckets(status: Mapping[str, Any]) -> dict[str, Any]:
    """A feed's state without the histograms' buckets, which are for Prometheus."""
    latency = {
        stage: {name: value for name, value in figures.items() if name != "buckets"}
        for stage, figures in status["latency"].items()
    }
    return {**status, "latency": latency}


def sentence_of(status: Mapping[str, Any]) -> str:
    """How a feed stands, in a line."""
    health, counts, station = status["health"], status["counts"], status["station"]
    (shown,) = station["symbols"].values()
    paper = station["paper"] or {}
    why = f" ({health['reason']})" if health["reason"] else ""
    return (
        f"{status['name']}: {health['state']}{why}; {counts['messages']:,d} messages, last {_number(shown['last'])}, "
        f"{station['signals']} crossings, {sum(paper.get('orders', {}).values())} order updates"
    )


def feeds_table(statuses: Sequence[Mapping[str, Any]]) -> Table:
    """Feeds side by side."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("feed")
    for status in statuses:
        table.add_column(status["name"], justify="right")
    rows: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("state", lambda one: one["health"]["state"]),
        ("messages", lambda one: f"{one['counts']['messages']:,d}"),
        ("gaps / resyncs", lambda one: f"{one['books']['gaps']} / {one['books']['resyncs']}"),
        ("book, p50 / p99", lambda one: _latency(one, "book")),
        ("decision, p50 / p99", lambda one: _latency(one, "decision")),
        ("order, p50 / p99", lambda one: _latency(one, "order")),
        ("last price", lambda one: _number(_symbol(one)["last"])),
        ("bars", lambda one: one["station"]["bar"]),
        ("windows", lambda one: " / ".join(map(str, one["station"]["windows"]))),
        ("crossings", lambda one: str(one["station"]["signals"])),
        (
            "orders filled",
            lambda one: str((one["station"]["paper"] or {}).get("orders", {}).get("filled", 0)),
        ),
        ("paper cash", lambda one: _decimal((one["station"]["paper"] or {}).get("cash"))),
        ("paper position", lambda one: _position(one["station"]["paper"])),
        ("memory", lambda one: f"{one['process']['memory_bytes'] / 1e6:,.0f} MB"),
    ]
    for name, figure in rows:
        table.add_row(name, *(figure(status) for status in statuses))
    return table


def _symbol(status: Mapping[str, Any]) -> Mapping[str, Any]:
    (shown,) = status["station"]["symbols"].values()
    found: Mapping[str, Any] = shown
    return found


def _latency(status: Mapping[str, Any], stage: str) -> str:
    figures = status["latency"][stage]
    if not figures["count"]:
        return _DASH
    return f"{figures['p50_us']:,.0f} / {figures['p99_us']:,.0f} µs"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:,.2f}"


def _decimal(value: str | None) -> str:
    return _DASH if value is None else f"{float(value):,.2f}"


def _position(paper: Mapping[str, Any] | None) -> str:
    held = [f"{quantity} {symbol}" for symbol, quantity in ((paper or {}).get("positions") or {}).items()]
    return ", ".join(held) or _DASH


app.callback(invoke_without_command=True)(verb(FeedConfig, follow_exchanges, group=True))
