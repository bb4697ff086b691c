"""`raysignal pipeline`: run the decision path of a pipeline.yaml; other commands: `pipeline_checks`, `risk`."""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import feed, options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.pipeline_checks import (
    CheckLeaksConfig,
    CheckPipelineConfig,
    check_config,
    check_path,
    explain,
)
from raysignal.cli.pipeline_figures import EventCounts, report
from raysignal.cli.verbs import Verb, VerbGroup, require_extras, verb
from raysignal.engine.core.errors import InvalidField

if TYPE_CHECKING:
    from raysignal.runtime.pipeline_accounts import AccountDifference
    from raysignal.runtime.pipeline_config import PipelineConfig

_SHOWN_EVERY_S = 5.0

app = typer.Typer(cls=VerbGroup, help="Check, explain and run a decision path.", no_args_is_help=True)

BUS = "In several processes"
BusAddress = Annotated[
    str | None,
    typer.Option(
        "--bus",
        metavar="ADDRESS",
        rich_help_panel=BUS,
        help="Run one stage, with the others over this bus: redis://host:port/database.",
    ),
]
Stage = Annotated[
    Literal["market", "decide"] | None,
    typer.Option(
        rich_help_panel=BUS,
        help="market: feeds, candles and paper accounts (RAYSIGNAL_DATABASE_URL); decide: strategies to orders, "
        "in a journal (RAYSIGNAL_STORE).",
    ),
]
AcceptLoss = Annotated[
    bool,
    typer.Option(
        "--accept-loss",
        rich_help_panel=BUS,
        help="With --stage decide: go on although the bus has lost events.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPipelineConfig:
    """Which path, on whose markets, and for how long."""

    config: options.PipelineFile
    market: feed.MarketOptions
    duration: feed.Duration = None
    record: options.SessionFolder = None
    bus: BusAddress = None
    stage: Stage = None
    accept_loss: AcceptLoss = False
    json: options.Json = False

    def __post_init__(self) -> None:
        if (self.bus is None) != (self.stage is None):
            raise typer.BadParameter(
                "--bus and --stage go together: each process runs a stage, and the bus is between"
            )
        if self.bus is not None and self.record is not None:
            raise typer.BadParameter(
                "--record is for a run in one process; with --bus the journal in the store has all"
            )
        if self.accept_loss and self.stage != "decide":
            raise typer.BadParameter("--accept-loss is for --stage decide")


def run_pipeline(config: RunPipelineConfig) -> None:
    """Run a decision path on live markets, with orders on paper, until Ctrl-C.

    With --record what comes is kept before anything is made of it; a run that finds a session there goes on with it.
    With --bus and --stage it is one of two processes, which can be ended and started again at any time.
    """
    require_extras("pipeline run", "feeds")
    from raysignal.runtime.pipeline_file import read_config

    output = Output(config.json)
    path = read_config(config.config)
    markets = [each.market for each in path.instruments if each.market]
    settings = options.configured(feeds=tuple(markets) or None)
    market = feed.FollowedMarket(settings, config.market, feed.seconds_of(config.duration))
    asyncio.run((_run if config.bus is None else _run_stage)(path, config, market, output))


async def _run(
    path: PipelineConfig, config: RunPipelineConfig, market: feed.FollowedMarket, output: Output
) -> None:
    from raysignal.runtime.advisers import own_adviser
    from raysignal.runtime.feeds import hosts_of
    from raysignal.runtime.pipeline_live import live_pipeline

    log = EventCounts()
    text = config.config.read_text(encoding="utf-8")
    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(market, stack)
        live = await stack.enter_async_context(
            live_pipeline(
                path, text, config.record, log=log, hosts_of=partial(hosts_of, settings), clock=clock,
                random=Random(config.market.seed), advise=partial(own_adviser, settings),  # noqa: S311 - jitter
            )
        )  # fmt: skip
        if live.resumed:
            output.say(
                f"resumed   {live.resumed:,d} events of {escape(str(config.record))} play as they were recorded"
            )
        await _until_told(
            live.run(), market.seconds, lambda: output.err.print(_line(log, live.pipeline.portfolio.equity))
        )
        report(live.pipeline, log, output)
        if config.record is not None:
            output.say(
                f"recorded  {escape(str(config.record))}; raysignal parity {escape(str(config.record))}"
            )


async def _run_stage(
    path: PipelineConfig, config: RunPipelineConfig, market: feed.FollowedMarket, output: Output
) -> None:
    from raysignal.engine.core.private_files import cache_folder
    from raysignal.engine.database.database import open_database
    from raysignal.engine.journal.stores import open_stores
    from raysignal.engine.pipeline.bus import open_bus
    from raysignal.runtime.advisers import own_adviser
    from raysignal.runtime.feeds import hosts_of
    from raysignal.runtime.pipeline_bus import decide_process, market_process

    assert config.bus is not None
    if config.bus == "memory":
        raise InvalidField("bus", config.bus, "redis://host:port/database: one in memory is of one process")
    log, random = EventCounts(), Random(config.market.seed)  # noqa: S311 - jitter
    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(market, stack)
        bus = await asyncio.to_thread(open_bus, config.bus)
        stack.callback(bus.close)
        hosts = partial(hosts_of, settings)
        if config.stage == "market":
            database = await asyncio.to_thread(open_database, settings.database_url.get_secret_value())
            stack.callback(database.close)
            process = await stack.enter_async_context(
                market_process(path, bus, database, log=log, hosts_of=hosts, clock=clock, random=random)
            )
            await _until_told(process.run(), market.seconds, lambda: output.err.print(_line(log, None)))
            output.say(_line(log, None))
            return
        text, cache = config.config.read_text(encoding="utf-8"), cache_folder("index", settings.store)
        deciding = await stack.enter_async_context(
            decide_process(
                text, bus, open_stores(settings.store), cache / f"pipeline={path.name}", log=log, hosts_of=hosts,
                clock=clock, random=random, advise=partial(own_adviser, settings), accept_loss=config.accept_loss,
            )
        )  # fmt: skip
        if deciding.stage.taken:
            output.say(
                f"resumed   {deciding.stage.taken:,d} events of the journal in {escape(settings.store)}"
            )
        portfolio = deciding.pipeline.portfolio
        await _until_told(
            deciding.run(), market.seconds, lambda: output.err.print(_line(log, portfolio.equity))
        )
        report(deciding.pipeline, log, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileConfig:
    """Whose accounts are held against whose journal, and whether what differs is taken over."""

    config: options.PipelineFile
    market: feed.MarketOptions
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: the accounts are to hold what the journal says.")
    ] = False
    json: options.Json = False


def reconcile_accounts(config: ReconcileConfig) -> None:
    """Show where the paper accounts of a pipeline in two processes differ from its journal, and ask what to do.

    Both processes are to be ended first. Accounts are in RAYSIGNAL_DATABASE_URL, the journal in RAYSIGNAL_STORE. What
    is agreed to, the accounts hold what the journal says. Status 1: they differ, and nothing was changed.
    """
    require_extras("pipeline reconcile", "feeds")
    from raysignal.runtime.pipeline_file import read_config

    output = Output(config.json)
    path = read_config(config.config)
    markets = tuple(each.market for each in path.instruments if each.market)
    market = feed.FollowedMarket(options.configured(feeds=markets or None), config.market, None)
    differences = asyncio.run(_reconciled(path, market, accept=False))
    if differences and not config.json:
        rows = [(each.account, each.what, f"{each.journal:f}", f"{each.found:f}") for each in differences]
        output.table(rows_table(("account", "what", "journal", "account has"), rows))
    agreed = bool(differences) and (
        config.yes or (not config.json and typer.confirm("Let the accounts hold what the journal says?"))
    )
    if agreed:
        asyncio.run(_reconciled(path, market, accept=True))
    if config.json:
        shown = [
            asdict(each) | {"journal": str(each.journal), "found": str(each.found)} for each in differences
        ]
        output.json({"differences": shown, "taken_over": agreed})
    elif not differences:
        output.say(f"the accounts of {escape(path.name)} are what its journal says")
    elif agreed:
        output.say(f"the accounts of {escape(path.name)} hold what its journal says now")
    if differences and not agreed:
        raise typer.Exit(1)


async def _reconciled(
    path: PipelineConfig, market: feed.FollowedMarket, *, accept: bool
) -> list[AccountDifference]:
    from raysignal.engine.database.database import open_database
    from raysignal.engine.journal.stores import open_stores
    from raysignal.runtime.feeds import hosts_of
    from raysignal.runtime.pipeline_accounts import reconcile
    from raysignal.runtime.pipeline_live import markets_of

    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(market, stack)
        found = await markets_of(path, partial(hosts_of, settings), clock, Random())  # noqa: S311 - jitter
        stores = open_stores(settings.store)
        with closing(open_database(settings.database_url.get_secret_value())) as database:
            return reconcile(path, found.instruments, found.listings, stores, database, accept=accept)


async def _until_told(
    running: Coroutine[Any, Any, None], seconds: float | None, show: Callable[[], None]
) -> None:
    """Run until SIGINT, SIGTERM, the end of the time or an error, which comes out of here."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signals.SIGINT, signals.SIGTERM):
        loop.add_signal_handler(number, told.set)
    task = asyncio.create_task(running)
    ends = None if seconds is None else loop.time() + seconds
    try:
        while not told.is_set() and not task.done() and (ends is None or loop.time() < ends):
            left = _SHOWN_EVERY_S if ends is None else min(_SHOWN_EVERY_S, ends - loop.time())
            waiting = asyncio.create_task(told.wait())
            await asyncio.wait({waiting, task}, timeout=max(left, 0.01), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            show()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def _line(log: EventCounts, equity: float | None) -> str:
    counts = log.counts
    said = (
        f"{counts['Candle']:,d} candles, {counts['StrategySignal']:,d} signals, {counts['PlannedOrder']:,d} orders, "
        f"{counts['OrderFill']:,d} fills"
    )
    return said if equity is None else f"{said}, equity {equity:,.2f}"


app.command("run", cls=Verb)(verb(RunPipelineConfig, run_pipeline))
app.command("reconcile", cls=Verb)(verb(ReconcileConfig, reconcile_accounts))
app.command("check", cls=Verb)(verb(CheckPipelineConfig, check_config))
app.command("check-leaks", cls=Verb)(verb(CheckLeaksConfig, check_path))
app.command("explain", cls=Verb)(verb(CheckPipelineConfig, explain))
