"""`raysignal luck`: how much of a result is luck, by other orders, other histories and other markets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.check_strategy import values_of
from raysignal.cli.on_ray import experiment_on_ray, resumable, watching
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.runs import place_of
from raysignal.cli.signal_files import read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import reading_options, require_extras
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.experiments.monte_carlo.running import MonteCarloResult
    from raysignal.runtime.settings import Settings

_account = partial(typer.Option, rich_help_panel="Whose luck")
_paths = partial(typer.Option, rich_help_panel="The paths")


@dataclass(frozen=True, slots=True, kw_only=True)
class LuckConfig:
    """Whose luck is looked at, and which paths are drawn."""

    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Prices, with or without signals: CSV, NDJSON, JSON or Parquet."),
    ]
    strategy: Annotated[
        str | None, _account(metavar="NAME", help="sma, rsi, macd, …; default: the signals of the file.")
    ] = None
    param: Annotated[list[str] | None, _account("--param", metavar="NAME=VALUE", help="Of the strategy.")] = (
        None
    )
    symbol: Annotated[
        str | None,
        _account(
            "--symbol",
            "--of",
            metavar="NAME",
            help="Which of the file; default: its only one. It is that of rows that name none, too.",
        ),
    ] = None
    policy: options.PolicyOptions
    method: Annotated[
        str,
        _paths(
            metavar="NAME",
            help="order (its trades in another order), trades (drawn from them), bootstrap (blocks of its returns), or "
            "made-up markets like this one: gbm, garch, regimes, jumps.",
        ),
    ] = "bootstrap"
    paths: Annotated[int, _paths(metavar="N", help="How many.")] = 10_000
    ruin: Annotated[float, _paths(metavar="SHARE", help="Of the beginning, at which a path is ruined.")] = 0.5
    seed: Annotated[int, _paths(metavar="N", help="Of all paths.")] = 0
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=10_000, help="A core each; default: all there are.")
    ] = None
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="Go on with a run that was stopped.")] = (
        None
    )
    on_error: options.OnError = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    source: options.Source = None
    ray_address: options.RayAddress = None
    store: options.Store = None
    json: options.Json = False

    @property
    def reading(self) -> options.ReadingOptions:
        """How the file is read."""
        return self.stamps.with_names(self.symbol, self.source)


def luck(config: LuckConfig) -> None:
    """Draw many paths that an account could have taken, and show how they spread."""
    require_extras("luck", "experiments")
    from raysignal.engine.journal.stores import open_stores
    from raysignal.engine.strategies import registry
    from raysignal.experiments.monte_carlo.paths import MonteCarloSpec, source_of
    from raysignal.experiments.monte_carlo.running import run_luck
    from raysignal.experiments.runs import new_run_id
    from raysignal.experiments.sweeps.market import market_named, markets_of

    settings = options.configured(store=config.store, ray_address=config.ray_address)
    output = Output(config.json)
    options.existing_file(config.file)
    with reading_options():
        spec = MonteCarloSpec(
            config.method, config.paths, config.seed, config.ruin, Policy.from_dict(config.policy.given())
        )
        if config.param and config.strategy is None:
            raise InvalidField("param", ", ".join(config.param), "a strategy that it is of: --strategy NAME")
        strategy = (
            None if config.strategy is None else registry.make(config.strategy, values_of(config.param))
        )
    reading = reading_of(config.reading, settings)
    output.say(f"file      {escape(str(config.file))}: {reading_sentences(config.reading, reading)}")
    file = read_stream(
        config.file, config.reading, settings, skip=config.on_error == "skip", accept_jump=config.accept_price_jump,
        output=output, prices_only=strategy is not None,
    )  # fmt: skip
    market = market_named(config.symbol, markets_of(file.batch))
    output.say(f"prices    {file.sentence}")
    source = source_of(market, strategy, spec)
    blobs = open_stores(settings.store).blobs
    run_id = config.run_id or new_run_id(time.time_ns() // 1000, spec.config(market, strategy))
    output.say(f"run       {run_id} in {escape(settings.store)}")
    with (
        ShutdownSignal() as stop,
        experiment_on_ray(settings, stop, output, cpus=config.workers),
        watching("paths", output) as progress,
        resumable(run_id, "paths could not be drawn", stop, output),
    ):
        done = run_luck(
            market,
            strategy,
            spec,
            source,
            blobs,
            run_id=run_id,
            provenance=file.provenance,
            progress=progress,
        )
    if config.json:
        output.json({"run_id": run_id, "store": settings.store, **done.metrics})
        return
    _show(done, settings, output)


def _show(done: MonteCarloResult, settings: Settings, output: Output) -> None:
    from raysignal.experiments.monte_carlo.report import (
        FIT_COLUMNS,
        fit_rows,
        fit_sentence,
        own_sentence,
        sentence,
    )

    output.say("")
    output.say(escape(sentence(done.metrics)))
    output.say(escape(own_sentence(done.metrics)))
    figures = done.metrics["figures"]
    columns = ["figure", "mean", *next(iter(figures.values()))["quantiles"]]
    rows = [
        [name.replace("_", " "), *(f"{value:.4g} ± {error:.1g}" for value, error in _values(spread))]
        for name, spread in figures.items()
    ]
    output.table(rows_table(columns, rows))
    if done.metrics["fit"] is not None:
        output.say(escape(fit_sentence(done.metrics)))
        output.table(rows_table(FIT_COLUMNS, fit_rows(done.metrics)))
    for note in done.metrics["notes"]:
        output.say(f"note      {escape(note)}")
    output.say(f"report    {escape(place_of(settings.store, done.run_id, 'report.html'))}")


def _values(spread: dict[str, Any]) -> list[tuple[float, float]]:
    return [(spread["mean"], spread["error"]), *(tuple(pair) for pair in spread["quantiles"].values())]
