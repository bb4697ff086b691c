"""What `raysignal feed` does: feeds and stations in this process, posting to a service over HTTP."""

import asyncio
import signal as signals
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import typer
from rich.table import Table
from structlog.typing import FilteringBoundLogger

from raysignal.cli.asking import service_at
from raysignal.cli.client import ServiceError
from raysignal.cli.options import writing_to
from raysignal.cli.output import Output
from raysignal.cli.texts import escape
from raysignal.cli.ways import SendResult
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, RaysignalError, StoreUnavailable
from raysignal.engine.core.instants import MICROSECONDS, parse_bar
from raysignal.engine.core.signals import Signal
from raysignal.engine.database.database import open_database
from raysignal.engine.market.clocks import Clock, SystemClock
from raysignal.engine.market.monitoring.health import FeedState
from raysignal.engine.market.signal_posts import answer_from_thread, batch_of
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.feeds import FeedContext, FollowedInstrument, following
from raysignal.runtime.settings import Settings
from raysignal.serve.logs import json_logger

_REQUEST_S = 45.0
_SHOWN_EVERY_S = 5.0
_DASH = "—"


@dataclass(frozen=True, slots=True)
class FollowedMarket:
    """Whose market is followed.

    Attributes:
        loopback: a made-up one on this machine; else the venues' own.
        speed, seed: of the made-up one.
    """

    loopback: bool = False
    speed: float = 1.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """What is asked for.

    Attributes:
        seconds: of this machine's clock, until it ends by itself; None: until it is told.
        url: of the service that crossings are posted to; None: the one that is configured here.
        log: lines of JSON go there; None: nowhere.
    """

    settings: Settings
    market: FollowedMarket
    seconds: float | None
    url: str | None
    log: Path | None

    @classmethod
    def of(
        cls,
        settings: Settings,
        market: FollowedMarket,
        duration: str | None,
        url: str | None,
        log: Path | None,
    ) -> "FeedConfig":
        """With a duration such as `60s`."""
        return cls(
            settings, market, None if duration is None else parse_bar(duration) / MICROSECONDS, url, log
        )


def follow_until_told(job: FeedConfig, output: Output) -> None:
    """Follow until SIGINT, SIGTERM or the job's end; then show what was seen.

    Raises:
        typer.Exit: with 1 if a feed ended in trouble, or never was ready.
    """
    with open_lines(job.log) as stream:
        statuses = asyncio.run(_follow_until_told(job, json_logger(stream), output))
    if output.as_json:
        output.json({"feeds": [without_buckets(status) for status in statuses]})
    else:
        output.table(feeds_table(statuses))
    failures = [failure for status in statuses if (failure := failure_of(status))]
    for failure in failures:
        output.err.print(f"error: {escape(failure)}")
    if failures:
        raise typer.Exit(1)


def open_lines(log: Path | None) -> BinaryIO:
    """A file that lines are appended to; None: nowhere."""
    path = Path("/dev/null") if log is None else log
    with writing_to(path):
        return path.open("ab", buffering=0)


async def _follow_until_told(
    job: FeedConfig, log: FilteringBoundLogger, output: Output
) -> list[dict[str, Any]]:
    told = asyncio.Event()
    for number in (signals.SIGINT, signals.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return await follow(job, log, told, lambda status: output.err.print(sentence_of(status)))


async def follow(
    job: FeedConfig, log: FilteringBoundLogger, told: asyncio.Event, show: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Follow until `told`, the job's end or a failure; `show` is given each feed's state now and then.

    Returns:
        Each feed's last state, see `FollowedInstrument.status`.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        followed = await stack.enter_async_context(_all_following(job, log))
        running = [asyncio.create_task(each.run()) for each in followed]
        stack.push_async_callback(_ended, running)
        ends = None if job.seconds is None else loop.time() + job.seconds
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


async def _ended(running: Sequence[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def _all_following(
    job: FeedConfig, log: FilteringBoundLogger
) -> AsyncIterator[list[FollowedInstrument]]:
    """Every instrument of the job, with a made-up exchange for each venue if that is what is followed."""
    async with AsyncExitStack() as stack:
        settings, clock = await loopback_settings(job, stack)
        database = await asyncio.to_thread(open_database, settings.database_url.get_secret_value())
        stack.callback(database.close)
        post = poster(settings, job.url, asyncio.get_running_loop())
        rename = renamer(settings, job.url, asyncio.get_running_loop())
        around = FeedContext(database, post, log, clock, Random(job.market.seed), None, {}, rename)  # noqa: S311 - jitter
        yield [await stack.enter_async_context(following(name, settings, around)) for name in settings.feeds]


async def loopback_settings(job: FeedConfig, stack: AsyncExitStack) -> tuple[Settings, Clock]:
    """The settings with the addresses of the made-up exchanges, and the clock that they run by."""
    if not job.market.loopback:
        return job.settings, SystemClock()
    symbols: dict[str, list[str]] = {}
    for name in job.settings.feeds:
        venue, _, symbol = name.partition(":")
        symbols.setdefault(venue, []).append(symbol)
    # Ends about now, so that no signal is of the future.
    start_us = time.time_ns() // 1000 - round((job.seconds or 0.0) * job.market.speed * MICROSECONDS)
    hosts: dict[str, dict[str, str]] = {}
    clock: Clock = SystemClock()
    for venue, traded in symbols.items():
        exchange = GeneratedExchange(venue, seed=job.market.seed, start_us=start_us, symbols=traded)
        loopback = await stack.enter_async_context(ExchangeServer(exchange, speed=job.market.speed))
        hosts[venue] = {"stream": loopback.hosts.stream, "rest": loopback.hosts.rest}
        clock = loopback.clock
    return job.settings.model_copy(update={"feed_hosts": hosts}), clock


def poster(settings: Settings, url: str | None, loop: asyncio.AbstractEventLoop) -> Callable[[Signal], str]:
    """How a keeper's thread posts a signal to a service, see `engine.market.recorder.Post`."""
    portfolio = settings.feed_portfolio or settings.primary

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
    health = status["health"]
    if status["trouble"]:
        return f"{status['name']}: {status['trouble']}"
    if health["state"] in {FeedState.READY, FeedState.STALE}:
        return ""
    return f"{status['name']} is {health['state']}: {health['reason']}"


def renamer(
    settings: Settings, url: str | None, loop: asyncio.AbstractEventLoop
) -> Callable[[str, str], bool]:
    """How a keeper's thread renames a symbol of a service's portfolio, see `engine.market.recorder.Rename`."""
    portfolio = settings.feed_portfolio or settings.primary

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
