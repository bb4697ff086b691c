"""What `raysignal luck` does."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysignal.cli.checking_strategy import values_of
from raysignal.cli.files import reading_of, reading_sentences
from raysignal.cli.options import ReadingOptions, existing_file
from raysignal.cli.orchestrating import on_ray, watching
from raysignal.cli.output import Output, rows_table
from raysignal.cli.stream import read_stream
from raysignal.cli.texts import escape
from raysignal.cli.verbs import reading_options
from raysignal.engine.core.errors import InvalidField, RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.strategies import registry
from raysignal.experiments.luck.paths import MonteCarloSpec, source_of
from raysignal.experiments.luck.report import FIT_COLUMNS, fit_rows, fit_sentence, own_sentence, sentence
from raysignal.experiments.luck.running import MonteCarloResult, run_luck
from raysignal.experiments.result_files import blob_name
from raysignal.experiments.runs import new_run_id
from raysignal.experiments.sweeps.market import Market, markets_of
from raysignal.runtime.settings import Settings
from raysignal.serve.shutdown import ShutdownSignal


@dataclass(frozen=True, slots=True)
class LuckConfig:
    """One run as it was asked for; see `cli.luck.luck`."""

    path: Path
    reading: ReadingOptions
    skip: bool
    accept_price_jump: bool
    strategy: str | None
    param: tuple[str, ...]
    symbol: str | None
    policy: dict[str, Any]
    method: str
    paths: int
    ruin: float
    seed: int
    workers: int | None
    run_id: str | None


def run_job(asked: LuckConfig, settings: Settings, output: Output) -> None:
    """Draw, and show what came out; everything that can be refused is refused before anything starts."""
    existing_file(asked.path)
    with reading_options():
        spec = MonteCarloSpec(
            asked.method, asked.paths, asked.seed, asked.ruin, Policy.from_dict(asked.policy)
        )
        if asked.param and asked.strategy is None:
            raise InvalidField("param", ", ".join(asked.param), "a strategy that it is of: --strategy NAME")
        strategy = None if asked.strategy is None else registry.make(asked.strategy, values_of(asked.param))
    reading = reading_of(asked.reading, settings, now_us=time.time_ns() // 1000)
    output.say(f"file      {escape(str(asked.path))}: {reading_sentences(asked.reading, reading)}")
    file = read_stream(
        asked.path, asked.reading, settings, skip=asked.skip, accept_jump=asked.accept_price_jump,
        output=output, prices_only=strategy is not None,
    )  # fmt: skip
    market = _market(asked, markets_of(file.batch))
    output.say(f"prices    {file.sentence}")
    source = source_of(market, strategy, spec)
    blobs = open_stores(settings.store).blobs
    run_id = asked.run_id or new_run_id(time.time_ns() // 1000, spec.config(market, strategy))
    output.say(f"run       {run_id} in {escape(settings.store)}")
    with ShutdownSignal() as stop, on_ray(settings, asked.workers, stop, output):
        from ray.exceptions import RayError

        try:
            with watching("paths", output) as progress, stop.interruptible():
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
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RaysignalError(
                f"paths could not be drawn ({lines[-1]}); go on with --run-id {run_id}"
            ) from error
        except KeyboardInterrupt:
            output.err.print(f"interrupted; what is done is kept: go on with --run-id {run_id}")
            raise
    if output.as_json:
        output.json({"run_id": run_id, "store": settings.store, **done.metrics})
        return
    _show(done, settings, output)


def _market(asked: LuckConfig, markets: tuple[Market, ...]) -> Market:
    named = {market.symbol: market for market in markets}
    if asked.symbol is None:
        if len(markets) > 1:
            raise InvalidField("symbol", "not given", f"one of {', '.join(named)}")
        return markets[0]
    if asked.symbol not in named:
        raise InvalidField("symbol", asked.symbol, f"one of {', '.join(named)}")
    return named[asked.symbol]


def _show(done: MonteCarloResult, settings: Settings, output: Output) -> None:
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
    report = settings.store.removeprefix("file://") + "/" + blob_name(done.run_id, "report.html")
    output.say(f"report    {escape(report)}")


def _values(spread: dict[str, Any]) -> list[tuple[float, float]]:
    return [(spread["mean"], spread["error"]), *(tuple(pair) for pair in spread["quantiles"].values())]
