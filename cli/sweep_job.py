"""What `raysignal sweep` does: says how large it is and how long it takes, runs it, and shows what came out."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from raysignal.cli.files import reading_of, reading_sentences
from raysignal.cli.options import ReadingOptions, existing_file
from raysignal.cli.orchestrating import on_ray, watching
from raysignal.cli.output import Output, rows_table
from raysignal.cli.stream import FileStream, read_stream
from raysignal.cli.texts import escape
from raysignal.cli.verbs import reading_options
from raysignal.engine.core.errors import InvalidField, NotFound, RaysignalError
from raysignal.engine.core.instants import parse_instant, zone_named
from raysignal.engine.journal.stores import BlobStore, open_stores
from raysignal.experiments.result_files import blob_name
from raysignal.experiments.runs import CONFIG, check_run_id, new_run_id
from raysignal.experiments.sweeps.market import Market, markets_of
from raysignal.experiments.sweeps.pace import SweepSpeed, measure
from raysignal.experiments.sweeps.running import SweepResult, run_sweep
from raysignal.experiments.sweeps.space import MOST, ChosenConfigurations, Space
from raysignal.experiments.sweeps.sweep import CrossValidation, SweepSpec, WalkForward
from raysignal.runtime.settings import Settings
from raysignal.serve.shutdown import ShutdownSignal

_MARKS = 4
_SHOWN = 5
_FIGURES = ("total_return", "sharpe", "max_drawdown", "trades")


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """One sweep as it was asked for; see `cli.sweep.sweep`."""

    path: Path
    reading: ReadingOptions
    skip: bool
    accept_price_jump: bool
    strategy: str | None
    grid: tuple[str, ...]
    fixed: tuple[str, ...]
    search: int | None
    objective: str
    walk_forward: str | None
    anchored: bool
    cross_validation: int | None
    purge: int
    embargo: int
    symbols: tuple[str, ...]
    from_: str | None
    until: str | None
    workers: int | None
    curves: int
    run_id: str | None
    seed: int
    plan: bool


def run_job(asked: SweepConfig, settings: Settings, output: Output) -> None:
    """Sweep, and show what came out; everything that can be refused is refused before anything starts."""
    existing_file(asked.path)
    with reading_options():
        spec = _spec(asked)
    reading = reading_of(asked.reading, settings, now_us=time.time_ns() // 1000)
    output.say(f"file      {escape(str(asked.path))}: {reading_sentences(asked.reading, reading)}")
    file = read_stream(
        asked.path, asked.reading, settings, skip=asked.skip, accept_jump=asked.accept_price_jump,
        output=output, prices_only=True,
    )  # fmt: skip
    markets = markets_of(
        file.batch,
        symbols=asked.symbols,
        from_us=_instant(asked.from_, "from", asked, settings),
        until_us=_instant(asked.until, "until", asked, settings),
        whole=spec.needs_signals,
    )
    for market in markets:
        spec.check(market)
    output.say(f"prices    {file.sentence}")
    if isinstance(spec.space, Space) and asked.search is not None:
        output.say(
            f"search    {asked.search:,d} trials in {spec.space.combinations:,d} combinations: {_axes(spec.space)}"
        )
        pace = SweepSpeed(1e-8)
    else:
        pace = measure(markets[0], spec.space, spec.trial)
        output.say(f"grid      {_grid_sentence(spec.space)}")
        output.say(f"time      {_time_sentence(markets, spec.space, pace, asked.workers, settings)}")
    if asked.plan:
        if output.as_json:
            output.json(_plan(markets, spec.space, pace))
        return
    blobs = open_stores(settings.store).blobs
    with ShutdownSignal() as stop, on_ray(settings, asked.workers, stop, output):
        if asked.search is not None:
            spec = replace(spec, space=_searched(asked, spec, markets, stop, output))
        run_id = _run_id(asked, spec, markets, blobs)
        output.say(f"run       {run_id} in {escape(settings.store)}")
        swept, seconds = _carry_out(run_id, asked, spec, markets, file, blobs, pace, stop, output)
    if output.as_json:
        output.json({"run_id": run_id, "store": settings.store, **swept.metrics})
        return
    _show(swept, spec, markets, seconds, settings, output)


def _spec(asked: SweepConfig) -> SweepSpec:
    if not asked.grid:
        raise InvalidField("grid", "none", "at least one axis, such as --grid fee_bps=0:20:1")
    if asked.walk_forward is not None and asked.cross_validation is not None:
        raise InvalidField("walk-forward", asked.walk_forward, "it, or --cross-validation, not both")
    validation: WalkForward | CrossValidation | None = None
    if asked.walk_forward is not None:
        train, test = _pair(asked.walk_forward)
        validation = WalkForward(train, test, asked.anchored, asked.purge, asked.embargo)
    elif asked.cross_validation is not None:
        validation = CrossValidation(asked.cross_validation, asked.purge, asked.embargo)
    elif asked.purge or asked.embargo or asked.anchored:
        raise InvalidField(
            "purge, embargo or anchored", "given", "it beside --walk-forward or --cross-validation"
        )
    space = Space.of(asked.strategy, asked.grid, asked.fixed, most=MOST if asked.search is None else None)
    if asked.search is not None and asked.run_id is not None:
        raise InvalidField("run-id", asked.run_id, "a run without --search: a search begins anew")
    return SweepSpec(
        space, objective=asked.objective, validation=validation, curves=asked.curves, seed=asked.seed,
        title=asked.path.name,
    )  # fmt: skip


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise InvalidField(
            "walk-forward", text, "two numbers of bars, to train and to test, such as 2000,500"
        )
    return int(parts[0]), int(parts[1])


def _instant(text: str | None, name: str, asked: SweepConfig, settings: Settings) -> int | None:
    if text is None:
        return None
    return parse_instant(text, zone_named(asked.reading.timezone or settings.timezone), field=name)


def _run_id(asked: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], blobs: BlobStore) -> str:
    if asked.run_id is None:
        return new_run_id(time.time_ns() // 1000, spec.config(markets))
    if blobs.get(blob_name(check_run_id(asked.run_id), CONFIG)) is None:
        raise NotFound(
            f"there is no run {asked.run_id!r} to go on with; raysignal runs list shows those of a store",
            run_id=asked.run_id,
        )
    return asked.run_id


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
    import os

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
    asked: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], stop: ShutdownSignal, output: Output
) -> ChosenConfigurations:
    """The places of the space that a search has tried."""
    from raysignal.experiments.sweeps.actors import cores
    from raysignal.experiments.sweeps.search import search

    assert asked.search is not None
    with watching("trials", output) as progress, stop.interruptible():
        return search(markets, spec, asked.search, workers=asked.workers or cores(), progress=progress)


def _carry_out(
    run_id: str, asked: SweepConfig, spec: SweepSpec, markets: tuple[Market, ...], file: FileStream, blobs: BlobStore,
    pace: SweepSpeed, stop: ShutdownSignal, output: Output,
) -> tuple[SweepResult, float]:  # fmt: skip
    from ray.exceptions import RayError

    began, seconds = time.monotonic(), 0.0

    def begun(_workers: int) -> None:
        nonlocal began
        began = time.monotonic()

    def noted(progress: Callable[[int, int], None], done: int, whole: int) -> None:
        nonlocal seconds
        seconds = time.monotonic() - began
        progress(done, whole)

    try:
        with watching("configurations", output) as progress, stop.interruptible():
            swept = run_sweep(
                markets, spec, blobs, run_id=run_id, provenance=file.provenance, workers=asked.workers, pace=pace,
                progress=partial(noted, progress), ready=begun,
            )  # fmt: skip
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RaysignalError(
            f"a chunk ended before it was done ({lines[-1]}); go on with --run-id {run_id}"
        ) from error
    except KeyboardInterrupt:
        output.err.print(f"interrupted; what is done is kept: go on with --run-id {run_id}")
        raise
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
    report = settings.store.removeprefix("file://") + "/" + blob_name(swept.run_id, "report.html")
    output.say("")
    output.say(f"report    {escape(report)}")
    output.say(f"again     raysignal runs show {swept.run_id} --store {escape(settings.store)}")


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
