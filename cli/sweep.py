"""`raysignal sweep`: thousands of configurations over the prices of a file, and whether the best of them is luck."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import experiment_on_ray, resumable, watching
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.runs import place_of, run_to_go_on_with
from raysignal.cli.signal_files import FileStream, read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import reading_options, require_extras
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import parse_instant, zone_named
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.engine.journal.stores import BlobStore
    from raysignal.experiments.sweeps.market import Market
    from raysignal.experiments.sweeps.pace import SweepSpeed
    from raysignal.experiments.sweeps.running import SweepResult
    from raysignal.experiments.sweeps.space import ChosenConfigurations, Space
    from raysignal.experiments.sweeps.sweep import SweepSpec
    from raysignal.runtime.settings import Settings

_space = partial(typer.Option, rich_help_panel="What is varied")
_honest = partial(typer.Option, rich_help_panel="How the choice is tried out of sample")
_run = partial(typer.Option, rich_help_panel="The run")
_SHOWN = 5
_FIGURES = ("total_return", "sharpe", "max_drawdown", "trades")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What is swept, over which prices, and how the choice is tried."""

    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Prices, with or without signals: CSV, NDJSON, JSON, Parquet, or a folder of Parquet.",
        ),
    ]
    grid: Annotated[
        list[str] | None,
        _space(
            metavar="NAME=VALUES",
            help="An axis: fee_bps=0:20:1 or sma_fast=5,10,20. A member of the policy, a parameter of the strategy "
            "with its name before it, or of the agent's gate (gate_against). As often as there are axes.",
        ),
    ] = None
    fixed: Annotated[
        list[str] | None,
        _space(
            "--param",
            "--set",
            metavar="NAME=VALUE",
            help="One value of what could be an axis, under the same name.",
        ),
    ] = None
    strategy: Annotated[
        str | None,
        _space(
            metavar="NAME",
            help="sma, rsi, macd, …, or signals for those of the file; told from the axes where it is not given.",
        ),
    ] = None
    search: Annotated[
        int | None,
        _space(
            metavar="N",
            min=1,
            help="Try N configurations that Optuna chooses, instead of all; for spaces too big for a grid.",
        ),
    ] = None
    objective: Annotated[
        str,
        typer.Option(
            metavar="FIGURE",
            help="What configurations are ranked by: sharpe, total_return, calmar, …; without a year if prices are "
            "short.",
        ),
    ] = "sharpe"
    walk_forward: Annotated[
        str | None,
        _honest(
            metavar="TRAIN,TEST", help="Choose on TRAIN bars, hold for the next TEST, and so on: 2000,500."
        ),
    ] = None
    anchored: Annotated[bool, _honest("--anchored", help="Train on everything before a test.")] = False
    cross_validation: Annotated[
        int | None, _honest(metavar="K", min=2, help="Cross-validate in K parts.")
    ] = None
    purge: Annotated[int, _honest(metavar="BARS", min=0, help="Bars left out of training before a test.")] = 0
    embargo: Annotated[
        int, _honest(metavar="BARS", min=0, help="Bars left out of training after a test.")
    ] = 0
    symbol: Annotated[
        str | None,
        _run(
            "--symbol",
            "--symbols",
            metavar="NAMES",
            help="Which of the file, with commas; default: all. One alone is that of rows that name none, too.",
        ),
    ] = None
    from_: Annotated[
        str | None,
        _run(
            "--from", metavar="INSTANT", help="Portfolios begin here; strategies have seen what was before."
        ),
    ] = None
    until: Annotated[str | None, _run(metavar="INSTANT", help="Such as 2024-01-01 or 2024-01-01T12:00Z.")] = (
        None
    )
    workers: Annotated[
        int | None, _run(metavar="N", min=1, max=10_000, help="A core each; default: all there are.")
    ] = None
    curves: Annotated[int, _run(metavar="N", min=0, help="Keep the whole account of the N best.")] = 3
    run_id: Annotated[str | None, _run(metavar="ID", help="Go on with a run that was stopped.")] = None
    seed: Annotated[int, _run(metavar="N", min=0, help="Of the bootstrap.")] = 0
    plan: Annotated[bool, _run("--plan", help="Say how large it is and how long it will take.")] = False
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    source: options.Source = None
    ray_address: options.RayAddress = None
    store: options.Store = None
    json: options.Json = False

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols that were named."""
        return tuple(name.strip() for name in self.symbol.split(",")) if self.symbol else ()

    @property
    def reading(self) -> options.ReadingOptions:
        """How the file is read: a symbol that is named alone is that of rows that name none."""
        return self.stamps.with_names(self.names[0] if len(self.names) == 1 else None, self.source)


def sweep(config: SweepConfig) -> None:
    """Run every configuration of a grid over the prices of a file, on all cores or a Ray cluster."""
    require_extras("sweep", "experiments")
    from raysignal.engine.journal.stores import open_stores
    from raysignal.experiments.sweeps.market import markets_of
    from raysignal.experiments.sweeps.pace import SweepSpeed, measure
    from raysignal.experiments.sweeps.space import Space

    settings = options.configured(store=config.store, ray_address=config.ray_address)
    output = Output(config.json)
    options.existing_prices(config.file)
    with reading_options():
        spec = _spec(config)
    reading = reading_of(config.reading, settings)
    output.say(f"file      {escape(str(config.file))}: {reading_sentences(config.reading, reading)}")
    file = read_stream(
        config.file, config.reading, settings, skip=config.on_error == "skip", accept_jump=config.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    markets = markets_of(
        file.batch,
        symbols=config.names,
        from_us=_instant(config.from_, "from", config, settings),
        until_us=_instant(config.until, "until", config, settings),
        whole=spec.needs_signals,
    )
    for market in markets:
        spec.check(market)
    output.say(f"prices    {file.sentence}")
    if isinstance(spec.space, Space) and config.search is not None:
        output.say(
            f"search    {config.search:,d} trials in {spec.space.combinations:,d} combinations: {_axes(spec.space)}"
        )
        pace = SweepSpeed(1e-8)
    else:
        pace = measure(markets[0], spec.space, spec.trial)
        output.say(f"grid      {_grid_sentence(spec.space)}")
        output.say(f"time      {_time_sentence(markets, spec.space, pace, config.workers, settings)}")
    if config.plan:
        if config.json:
            output.json(_plan(markets, spec.space, pace))
        return
    blobs = open_stores(settings.store).blobs
    with ShutdownSignal() as stop, experiment_on_ray(settings, stop, output, cpus=config.workers):
        if config.search is not None:
            spec = replace(spec, space=_searched(config, spec, markets, stop, output))
        run_id = _run_id(config, spec, markets, blobs)
        output.say(f"run       {run_id} in {escape(settings.store)}")
        swept, seconds = _carry_out(run_id, config, spec, markets, file, blobs, pace, stop, output)
    if config.json:
        output.json({"run_id": run_id, "store": settings.store, **swept.metrics})
        return
    _show(swept, spec, markets, seconds, settings, output)


def _spec(config: SweepConfig) -> SweepSpec:
    from raysignal.experiments.sweeps.space import MOST, Space
    from raysignal.experiments.sweeps.sweep import CrossValidation, SweepSpec, WalkForward

    if not config.grid:
        raise InvalidField("grid", "none", "at least one axis, such as --grid fee_bps=0:20:1")
    if config.walk_forward is not None and config.cross_validation is not None:
        raise InvalidField("walk-forward", config.walk_forward, "it, or --cross-validation, not both")
    validation: WalkForward | CrossValidation | None = None
    if config.walk_forward is not None:
        train, test = _pair(config.walk_forward)
        validation = WalkForward(train, test, config.anchored, config.purge, config.embargo)
    elif config.cross_validation is not None:
        validation = CrossValidation(config.cross_validation, config.purge, config.embargo)
    elif config.purge or config.embargo or config.anchored:
        raise InvalidField(
            "purge, embargo or anchored", "given", "it beside --walk-forward or --cross-validation"
        )
    space = Space.of(
        config.strategy, config.grid, config.fixed or (), most=MOST if config.search is None else None
    )
    if config.search is not None and config.run_id is not None:
        raise InvalidField("run-id", config.run_id, "a run without --search: a search begins anew")
    return SweepSpec(
        space, objective=config.objective, validation=validation, curves=config.curves, seed=config.seed,
        title=config.file.name,
    )  # fmt: skip


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise InvalidField(
            "walk-forward", text, "two numbers of bars, to train and to test, such as 2000,500"
        )
    return int(parts[0]), int(parts[1])


def _instant(text: str | None, name: str, config: SweepConfig, settings: Settings) -> int | None:
    if text is None:
        return None
    return parse_instant(text, zone_named(config.stamps.timezone or settings.intake.timezone), field=name)


def _run_id(config: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], blobs: BlobStore) -> str:
    from raysignal.experiments.runs import new_run_id

    if config.run_id is None:
        return new_run_id(time.time_ns() // 1000, spec.config(markets))
    return run_to_go_on_with(blobs, config.run_id)


def _grid_sentence(space: Space | ChosenConfigurations) -> str:
    left = f"; {space.senseless:,d} that make no sense are left out" if space.senseless else ""
    return f"{len(space):,d} configurations of {escape(space.strategy)}: {_axes(space)}{left}"


def _axes(space: Space | ChosenConfigurations) -> str:
    return escape(" x ".join(f"{len(axis.values):,d} {axis.name}" for axis in space.axes))


def _time_sentence(
    markets: tuple[Market, ...],
    space: Space | ChosenConfigurations,
    pace: SweepSpeed,
    workers: int | None,
    settings: Settings,
) -> str:
    bars = sum(len(market.bars) for market in markets)
    work = pace.seconds(bars, len(space))
    cores = workers or (os.cpu_count() or 1)
    where = f"{cores} cores" if settings.ray_address is None or workers else f"{cores} cores, less with more"
    return (
        f"{bars:,d} bars x {len(space):,d} configurations at {1 / pace.bar_s / 1e6:,.1f} million a second and core: "
        f"about {_long(work / cores)} on {where}, start-up apart"
    )


def _plan(
    markets: tuple[Market, ...], space: Space | ChosenConfigurations, pace: SweepSpeed
) -> dict[str, Any]:
    return {
        "configurations": len(space),
        "senseless": space.senseless,
        "symbols": {market.symbol: len(market.bars) for market in markets},
        "core_seconds": pace.seconds(sum(len(market.bars) for market in markets), len(space)),
    }


def _long(seconds: float) -> str:
    if seconds < 1.0:
        return "less than a second"
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"


def _searched(
    config: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], stop: ShutdownSignal, output: Output
) -> ChosenConfigurations:
    """The places of the space that a search has tried."""
    from raysignal.experiments.sweeps.actors import cores
    from raysignal.experiments.sweeps.search import search

    assert config.search is not None
    with watching("trials", output) as progress, stop.interruptible():
        return search(markets, spec, config.search, workers=config.workers or cores(), progress=progress)


def _carry_out(
    run_id: str, config: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], file: FileStream, blobs: BlobStore,
    pace: SweepSpeed, stop: ShutdownSignal, output: Output,
) -> tuple[SweepResult, float]:  # fmt: skip
    from raysignal.experiments.sweeps.running import run_sweep

    began, seconds = time.monotonic(), 0.0

    def begun(_workers: int) -> None:
        nonlocal began
        began = time.monotonic()

    def noted(progress: Callable[[int, int], None], done: int, whole: int) -> None:
        nonlocal seconds
        seconds = time.monotonic() - began
        progress(done, whole)

    with (
        watching("configurations", output) as progress,
        resumable(run_id, "a chunk ended before it was done", stop, output),
    ):
        swept = run_sweep(
            markets, spec, blobs, run_id=run_id, provenance=file.provenance, workers=config.workers, pace=pace,
            progress=partial(noted, progress), ready=begun,
        )  # fmt: skip
    return swept, seconds


def _show(
    swept: SweepResult,
    spec: SweepSpec,
    markets: tuple[Market, ...],
    seconds: float,
    settings: Settings,
    output: Output,
) -> None:
    names = [axis.name for axis in spec.space.axes]
    work = sum(len(market.bars) for market in markets) * len(spec.space)
    output.say(
        f"swept     {work / max(seconds, 1e-9) / 1e6:,.0f} million bars and configurations a second, "
        f"{seconds:.2f} s from ready workers to the last chunk"
    )
    for market in markets:
        found = swept.metrics["symbols"][market.symbol]
        held = found["buy_and_hold"]
        output.say("")
        output.say(
            f"[bold]{escape(market.symbol)}[/bold]: best by {found['ranked_by']} of {found['configurations']:,d}"
            + (f", of which {found['ruined']:,d} were ruined" if found["ruined"] else "")
        )
        if found["best"][0]["figures"][found["ranked_by"]] is None:
            output.say(f"none has a {found['ranked_by']}: they stand in the order of the grid")
        if found["ranked_by"] != spec.objective:
            output.say(f"these prices are too few or too short for {spec.objective}, a figure of a year")
        shown = dict.fromkeys((found["ranked_by"], *_FIGURES))
        rows = [
            [
                f"{place} ruined" if one["figures"]["ruined"] else str(place),
                *(one["parameters"][name] for name in names),
                *(_rounded(one["figures"][name]) for name in shown),
            ]
            for place, one in enumerate(found["best"][:_SHOWN], 1)
        ]
        rows.append(["", *("" for _ in names), *(_rounded(held.get(name)) for name in shown)])
        rows[-1][0] = "held"
        output.table(rows_table(["rank", *names, *shown], rows))
        if found["verdict"] is not None:
            output.say(f"verdict   {escape(found['verdict']['sentence'])}")
        if found["validation"] is not None:
            output.say(f"out of sample  {escape(found['validation']['sentence'])}")
    output.say("")
    output.say(f"report    {escape(place_of(settings.store, swept.run_id, 'report.html'))}")
    output.say(f"again     raysignal runs show {swept.run_id} --store {escape(settings.store)}")


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
