"""`raysignal backtest`, `raysignal pipeline` and `raysignal parity`: the decision path of a pipeline.yaml."""

from __future__ import annotations

import asyncio
import signal as signals
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import feed, options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.signal_files import read_stream
from raysignal.cli.verbs import Verb, VerbGroup, require_extras, verb
from raysignal.engine.core.errors import InvalidField, RaysignalError
from raysignal.engine.core.instants import format_instant

if TYPE_CHECKING:
    from raysignal.engine.core.market_events import Instrument
    from raysignal.engine.pipeline.backtest import CandleSeries
    from raysignal.engine.strategies.checks import StrategyFinding
    from raysignal.runtime.pipeline import Pipeline
    from raysignal.runtime.pipeline_config import PipelineConfig, StrategyConfig

DIFFERS = 1
_SHOWN_EVERY_S = 5.0

app = typer.Typer(cls=VerbGroup, help="Check, explain and run a decision path.", no_args_is_help=True)

Config = Annotated[
    Path, typer.Argument(metavar="PIPELINE.YAML", help="The configuration; see docs/pipeline.md.")
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep the session there, for raysignal parity; a new folder."),
]


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


class EventCounts:
    """An event log that counts, and keeps what a report shows; `also` is told the same."""

    def __init__(self, also: Any = None) -> None:
        self.counts: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.slippage = 0.0
        self.alarms: list[Any] = []
        self._also = also

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.counts[type(event).__name__] += 1
        if self._also is not None:
            self._also.input(event)

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        name = type(event).__name__
        self.counts[name] += 1
        if name == "OrderFill":
            self.slippage += event.side * (float(event.price) - event.decided_price) * float(event.quantity)
        elif name == "OrderEnded" and event.state != "filled":
            self.ended[f"{event.state}: {event.reason}" if event.reason else event.state] += 1
        elif name == "Alarm":
            self.alarms.append(event)
        elif name == "RiskVerdict":
            self.counts[f"risk_{event.outcome.value}"] += 1
        if self._also is not None:
            self._also.output(event)


# Backtest


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestConfig:
    """Which path, over which prices."""

    config: Config
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Prices: CSV, NDJSON, JSON, Parquet, or a folder of Parquet; default: made up, by the seed.",
        ),
    ] = None
    recording: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Raw messages instead, as feed record keeps them: books, trades, latency and all.",
        ),
    ] = None
    candles: Annotated[
        int, typer.Option(metavar="N", min=2, max=10_000_000, help="Of the made-up market.")
    ] = 20_000
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the made-up market.")] = 1
    record: Record = None
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    json: options.Json = False


def backtest(config: BacktestConfig) -> None:
    """Play prices through the whole decision path: strategies, weights, risk, orders, fills, and who earned what."""
    from raysignal.runtime.pipeline_config import read_config

    output = Output(config.json)
    path = read_config(config.config)
    if config.record is not None and config.record.exists():
        raise InvalidField("record", str(config.record), "a new folder: a backtest begins anew each time")
    for each in path.strategies:
        if each.posted is not None:
            output.say(
                f"posted    {escape(each.name)} says nothing here: only a service takes in its signals"
            )
    if config.recording:
        _play_recordings(config, path, output)
    else:
        _report(*_play_candles(config, path, output), output)
    if config.record is not None:
        output.say(f"recorded  {escape(str(config.record))}; raysignal parity {escape(str(config.record))}")


def sample_run(folder: Path) -> dict[str, Any]:
    """The sample pipeline on a made-up market, recorded; its figures, and `same`: the events that a replay repeats."""
    from raysignal.data.generator import SAMPLE
    from raysignal.runtime.pipeline_config import read_config
    from raysignal.runtime.pipeline_session import replay_session

    config = BacktestConfig(
        config=SAMPLE.with_name("pipeline.yaml"), record=folder, stamps=options.StampOptions()
    )
    figures = figures_of(*_play_candles(config, read_config(config.config), None))
    check = replay_session(folder)
    return figures | {"same": check.events if check.difference is None else None}


def _play_candles(
    config: BacktestConfig, path: PipelineConfig, output: Output | None
) -> tuple[Pipeline, EventCounts, list[tuple[int, float]]]:
    from raysignal.engine.pipeline.backtest import run_backtest
    from raysignal.engine.pipeline.driver import PathDriver
    from raysignal.engine.pipeline.session import SessionWriter
    from raysignal.runtime.pipeline import build
    from raysignal.runtime.pipeline_session import candle_market, write_about

    output = output or Output(as_json=True)
    series = _series(config, path, output)
    instruments = {symbol: _instrument(path, symbol, series) for symbol in path.symbols}
    pipeline = build(path, instruments)
    with ExitStack() as stack:
        writer = None
        if config.record is not None:
            with options.writing_to(config.record):
                writer = stack.enter_context(SessionWriter(config.record))
            write_about(config.record, config.config.read_text(encoding="utf-8"), path, instruments)
        log = EventCounts(writer)
        market = candle_market(path, instruments)
        driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=log, market=market)
        return pipeline, log, run_backtest(driver, pipeline.strategies, series)


def _instrument(path: PipelineConfig, symbol: str, series: list[CandleSeries]) -> Instrument:
    from raysignal.engine.pipeline.paper_venue import file_instrument

    if path.venue.kind == "none":
        return file_instrument(symbol)
    bars = next(each.bars for each in series if each.symbol == symbol)
    lowest, highest = float(bars.low.min()), float(bars.high.max())
    return file_instrument(symbol, lowest=lowest, highest=highest, cash=path.policy.initial_cash)


def _play_recordings(config: BacktestConfig, path: PipelineConfig, output: Output) -> None:
    require_extras("backtest --recording", "feeds")
    from raysignal.runtime.pipeline_session import play_recordings

    assert config.recording
    log = EventCounts()
    text = config.config.read_text(encoding="utf-8")
    pipeline, curve = play_recordings(path, config.recording, log, config.record, text)
    _report(pipeline, log, curve, output)


def _series(config: BacktestConfig, path: PipelineConfig, output: Output) -> list[CandleSeries]:
    from raysignal.engine.pipeline.backtest import CandleSeries, resample
    from raysignal.engine.portfolio.file_observations import length

    made = []
    for place, symbol in enumerate(path.symbols):
        wanted = path.intervals_us(symbol)
        bars = _bars(config, path, place, wanted[0], output)
        step_us = int((bars.known_at_us[1:] - bars.known_at_us[:-1]).min())
        if config.data is not None and step_us != wanted[0]:
            if wanted[0] % step_us:
                raise InvalidField(
                    "bar",
                    length(wanted[0]),
                    f"a multiple of {length(step_us)}, what lies between the rows of {symbol}",
                )
            bars = resample(bars, step_us, wanted[0])
        made += [CandleSeries(symbol, each, resample(bars, wanted[0], each)) for each in wanted]
        first, last = (format_instant(int(bars.known_at_us[row])) for row in (0, -1))
        output.say(f"prices    {escape(symbol)}: {len(bars):,d} candles, {first} to {last}")
    return made


def _bars(config: BacktestConfig, path: PipelineConfig, place: int, interval_us: int, output: Output) -> Any:
    """The candles of an instrument; a file names it as the portfolio or as its market."""
    if config.data is None:
        from raysignal.data.bars import random_walk

        return random_walk(config.seed + place, config.candles, interval_us=interval_us)
    from raysignal.experiments.sweeps.market import markets_of

    options.existing_prices(config.data)
    symbol = path.symbols[place]
    names = config.stamps.with_names(symbol, None)
    settings = options.configured()
    file = read_stream(
        config.data,
        names,
        settings,
        skip=False,
        accept_jump=config.accept_price_jump,
        output=output,
        prices_only=True,
    )
    market = path.instruments[place].market
    listed = file.batch.symbols
    known = market if market is not None and market in listed and symbol not in listed else symbol
    return markets_of(file.batch, symbols=(known,))[0].bars


def _report(pipeline: Pipeline, log: EventCounts, curve: list[tuple[int, float]], output: Output) -> None:
    _show(pipeline, log, figures_of(pipeline, log, curve), output)


def _show(pipeline: Pipeline, log: EventCounts, figures: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(figures)
        return
    output.say(
        f"path      {figures['signals']:,d} signals, {figures['decisions']:,d} decisions "
        f"({figures['reduced']:,d} reduced, {figures['refused']:,d} refused by risk), {figures['orders']:,d} orders, "
        f"{figures['fills']:,d} fills, {figures['trades']:,d} trades"
    )
    if figures["ended"]:
        ended = ", ".join(f"{count:,d} {escape(how)}" for how, count in figures["ended"].items())
        output.say(f"ended     not filled: {ended}")
    output.say(
        f"portfolio {escape(pipeline.config.name)}: {figures['initial']:,.2f} to {figures['equity']:,.2f}, "
        f"{figures['total_return']:+.4%}, largest drawdown {figures['max_drawdown']:.2%}, "
        f"slippage {figures['slippage']:,.2f}"
    )
    for alarm in log.alarms[-3:]:
        output.say(f"alarm     {format_instant(alarm.at_us)} {escape(alarm.message)}")
    rows = [
        (
            each["strategy"], each["trades"], f"{each['contribution']:+,.2f}", _share(each["hit_rate"]),
            _ratio(each["payoff"]), f"{each['turnover']:,.2f}",
        )
        for each in figures["strategies"]
    ]  # fmt: skip
    output.table(rows_table(("strategy", "trades", "profit", "hit rate", "payoff", "turnover"), rows))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def figures_of(pipeline: Pipeline, log: EventCounts, curve: list[tuple[int, float]]) -> dict[str, Any]:
    """What a run came to, in plain values."""
    import numpy as np

    counts = log.counts
    equity = np.array([worth for _, worth in curve] or [pipeline.portfolio.equity])
    initial = pipeline.config.policy.initial_cash
    peak = np.maximum.accumulate(np.concatenate([[initial], equity]))[1:]
    return {
        "name": pipeline.config.name,
        "candles": counts["Candle"],
        "signals": counts["StrategySignal"],
        "decisions": counts["PositionDecision"],
        "reduced": counts["risk_reduce"],
        "refused": counts["risk_refuse"],
        "orders": counts["PlannedOrder"],
        "fills": counts["OrderFill"],
        "ended": dict(log.ended.most_common()),
        "trades": counts["TradeAttribution"],
        "initial": initial,
        "equity": float(equity[-1]),
        "total_return": float(equity[-1] / initial - 1.0),
        "max_drawdown": float(np.max(1.0 - equity / peak)),
        "slippage": log.slippage,
        "breaker": pipeline.risk.stage.breaker.trading.value,
        "strategies": pipeline.earnings(),
        "weights": pipeline.weights(),
    }


# Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPipelineConfig:
    """Which path, on whose markets, and for how long."""

    config: Config
    market: feed.MarketOptions
    duration: feed.Duration = None
    record: Record = None
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
    from raysignal.runtime.pipeline_config import read_config

    output = Output(config.json)
    path = read_config(config.config)
    markets = [each.market for each in path.instruments if each.market]
    settings = options.configured(feeds=tuple(markets) or None)
    market = feed.FollowedMarket(settings, config.market, feed.seconds_of(config.duration))
    asyncio.run((_run if config.bus is None else _run_stage)(path, config, market, output))


async def _run(
    path: PipelineConfig, config: RunPipelineConfig, market: feed.FollowedMarket, output: Output
) -> None:
    from raysignal.runtime.feeds import hosts_of
    from raysignal.runtime.pipeline_live import live_pipeline

    log = EventCounts()
    text = config.config.read_text(encoding="utf-8")
    async with AsyncExitStack() as stack:
        settings, clock = await feed.loopback_settings(market, stack)
        live = await stack.enter_async_context(
            live_pipeline(
                path, text, config.record, log=log, hosts_of=partial(hosts_of, settings), clock=clock,
                random=Random(config.market.seed),  # noqa: S311 - jitter
            )
        )  # fmt: skip
        if live.resumed:
            output.say(
                f"resumed   {live.resumed:,d} events of {escape(str(config.record))} play as they were recorded"
            )
        await _until_told(
            live.run(), market.seconds, lambda: output.err.print(_line(log, live.pipeline.portfolio.equity))
        )
        figures = figures_of(live.pipeline, log, []) | {"max_drawdown": live.driver.max_drawdown}
        _show(live.pipeline, log, figures, output)
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
                path, text, bus, open_stores(settings.store), cache / f"pipeline={path.name}", log=log, hosts_of=hosts,
                clock=clock, random=random, accept_loss=config.accept_loss,
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
        _report(deciding.pipeline, log, [], output)


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


# Check, explain


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPipelineConfig:
    """Which configuration."""

    config: Config
    json: options.Json = False


def check_config(config: CheckPipelineConfig) -> None:
    """Check a pipeline.yaml: every field, and that all of it fits together."""
    from raysignal.runtime.pipeline_config import read_config

    output = Output(config.json)
    path = read_config(config.config)
    if config.json:
        output.json(path.model_dump(mode="json"))
    else:
        output.say(
            f"{escape(str(config.config))} is good: {escape(path.name)}, {len(path.instruments)} instruments, "
            f"{len(path.strategies)} strategies, fills by {_filler(path)}"
        )


def explain(config: CheckPipelineConfig) -> None:
    """Say in words what each stage of a path does, and with which figures."""
    from raysignal.runtime.pipeline_config import read_config

    output = Output(config.json)
    path = read_config(config.config)
    stages = _stages(path)
    if config.json:
        output.json([{"stage": stage, "does": does} for stage, does in stages])
    else:
        output.table(rows_table(("stage", "what it does"), stages))


def _filler(path: PipelineConfig) -> str:
    return "the portfolio itself" if path.venue.kind == "none" else f"the {path.venue.kind} exchange"


def _rule(strategy: StrategyConfig) -> str:
    return strategy.kind if ":" in strategy.kind else str(strategy.posted or strategy.strategy())


def _stages(path: PipelineConfig) -> list[tuple[str, str]]:
    policy, weighing, venue = path.policy, path.weighing, path.venue
    bars = sorted({(each.interval_us, each.bar) for each in path.strategies})
    limits = ", ".join(f"{name} {value}" for name, value in path.risk.items()) or "none"
    stages = [
        (
            "candles",
            f"trades of {', '.join(path.symbols)} to candles of {', '.join(name for _, name in bars)}",
        ),
    ]
    stages += [
        (
            f"strategy {each.name}",
            f"{_rule(each)} on {each.bar} candles of {', '.join(path.symbols_of(each))}",
        )
        for each in path.strategies
    ]
    if path.features:
        stages.append(("features", f"{', '.join(path.features)} beside every signal, of its own candles"))
    threshold = f", if their score is above {weighing.threshold:g}"
    return [
        *stages,
        ("aggregate", f"{weighing.method} weights{threshold}"),
        ("decide", f"{policy.side}, {policy.weight:.0%} of equity a position; overruled by {path.decide}"),
        ("risk", f"limits: {limits}"),
        (
            "execute",
            f"at the candle's {'price' if policy.fill == 'signal' else 'next price'}, fee {policy.fee_bps:g} bp"
            if venue.kind == "none"
            else f"orders at the {venue.kind} exchange, fee {venue.fee_bps:g} bp, latency {venue.latency_ms:g} ms",
        ),
        ("attribute", "each closed trade's profit to the strategies that wanted it, by weight"),
    ]


# Leaks


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLeaksConfig:
    """Which configuration, on which made-up markets."""

    config: Config
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the first market.")] = 0
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many markets, each of the next seed.")
    ] = 3
    candles: Annotated[
        int, typer.Option(metavar="N", min=8, max=1_000_000, help="Of each market, of the shortest length.")
    ] = 2_000
    tries: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How often each is cut off: more find what seldom looks ahead."
        ),
    ] = 12
    json: options.Json = False


def check_path(config: CheckLeaksConfig) -> None:
    """Whether a path sees the future: it is played with what comes later cut off, and with another future.

    Each play is a process of its own. Status 0: it passed; 1: it failed; 2: it could not be checked.
    """
    from raysignal.cli.check_strategy import FAILED, NOT_CHECKED
    from raysignal.engine.strategies.isolation import IsolatedRuns
    from raysignal.runtime.pipeline_config import read_config
    from raysignal.runtime.pipeline_leaks import check_leaks

    output = Output(config.json)
    found: dict[str, tuple[int, StrategyFinding]] = {}
    try:
        path = read_config(config.config)
        with IsolatedRuns() as runs:
            for seed in range(config.seed, config.seed + config.seeds):
                for each in check_leaks(
                    path, seed=seed, candles=config.candles, tries=config.tries, runs=runs
                ):
                    if each.check not in found or found[each.check][1].good:
                        found[each.check] = seed, each  # the first that is wrong, or the last
    except RaysignalError as error:
        output.error(error)
        raise typer.Exit(NOT_CHECKED) from error
    good = all(each.good for _, each in found.values())
    if config.json:
        checks = [
            {"check": each.check, "good": each.good, "seed": seed, "sentence": each.sentence}
            for seed, each in found.values()
        ]
        output.json({"name": path.name, "good": good, "checks": checks})
    else:
        rows = [
            ("passed" if each.good else "FAILED", each.check, str(seed), each.sentence)
            for seed, each in found.values()
        ]
        output.table(rows_table(("", "check", "seed", "what was found"), rows))
    if not good:
        raise typer.Exit(FAILED)


app.command("run", cls=Verb)(verb(RunPipelineConfig, run_pipeline))
app.command("check", cls=Verb)(verb(CheckPipelineConfig, check_config))
app.command("check-leaks", cls=Verb)(verb(CheckLeaksConfig, check_path))
app.command("explain", cls=Verb)(verb(CheckPipelineConfig, explain))


# Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityConfig:
    """Which session."""

    session: Annotated[Path, typer.Argument(metavar="FOLDER", help="What --record made.")]
    json: options.Json = False


def parity(config: ParityConfig) -> None:
    """Play a recorded session again and hold every event against it, byte for byte.

    Status 0: all are the same; 1: the first that differs is shown.
    """
    from raysignal.runtime.pipeline_session import replay_session

    output = Output(config.json)
    check = replay_session(config.session)
    found = check.difference
    if config.json:
        output.json(
            {
                "events": check.events, "whole": check.whole,
                "difference": None if found is None else {
                    "number": found.number, "frame": found.after, "recorded": repr(found.recorded),
                    "replayed": repr(found.replayed),
                },
            }
        )  # fmt: skip
    elif found is None:
        output.say(f"the same: {check.events:,d} events, byte for byte")
        if not check.whole:
            output.say(
                "note: the session has no end: its last run was killed, goes on still, or was cut off here"
            )
    else:
        output.say(f"event {found.number:,d}, after frame {found.after:,d}, differs")
        output.say(f"recorded  {escape(repr(found.recorded))}")
        output.say(f"replayed  {escape(repr(found.replayed))}")
    if found is not None:
        raise typer.Exit(DIFFERS)
