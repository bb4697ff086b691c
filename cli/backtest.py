"""`raysignal backtest`: prices through the whole decision path of a pipeline.yaml."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape
from raysignal.cli.pipeline_figures import EventCounts, figures_of, report
from raysignal.cli.signal_files import read_stream
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant

if TYPE_CHECKING:
    from raysignal.engine.core.events import FundingRateSettled
    from raysignal.engine.core.market_events import Instrument
    from raysignal.engine.pipeline.backtest import CandleSeries
    from raysignal.runtime.pipeline import Pipeline
    from raysignal.runtime.pipeline_config import PipelineConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestConfig:
    """Which path, over which prices."""

    config: options.PipelineFile
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
    funding: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Funding rates of the prices' contracts, as market download keeps them, for orders on paper.",
        ),
    ] = None
    candles: Annotated[
        int, typer.Option(metavar="N", min=2, max=10_000_000, help="Of the made-up market.")
    ] = 20_000
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the made-up market.")] = 1
    record: options.SessionFolder = None
    accept_price_jump: options.AcceptPriceJump = False
    stamps: options.StampOptions
    json: options.Json = False


def backtest(config: BacktestConfig) -> None:
    """Play prices through the whole decision path: strategies, weights, risk, orders, fills, and who earned what."""
    from raysignal.runtime.pipeline_file import read_config

    output = Output(config.json)
    path = read_config(config.config)
    if config.record is not None and config.record.exists():
        raise InvalidField("record", str(config.record), "a new folder: a backtest begins anew each time")
    for each in path.strategies:
        if each.posted is not None:
            output.say(
                f"posted    {escape(each.name)} says nothing here: only a service takes in its signals"
            )
    if config.data is not None and path.book_features:
        output.say(
            f"features  {', '.join(path.book_features)}: not known here; files of prices have no order books"
        )
    if config.data is not None and path.contract_features:
        output.say(
            f"features  {', '.join(path.contract_features)}: not known here; files of prices say nothing of contracts"
        )
    if config.funding is not None and (config.data is None or path.venue.kind == "none"):
        raise InvalidField(
            "funding", str(config.funding),
            "none without --data and venue.kind paper: recordings have their own, and a portfolio that fills by itself "
            "holds no contracts",
        )  # fmt: skip
    if path.decide == "review":
        llm = options.configured().llm
        output.say(f"review    {escape(llm.model)} is asked, at most {llm.budget:,d} times a day")
    if config.recording:
        _play_recordings(config, path, output)
    else:
        report(*_play_candles(config, path, output), output)
    if config.record is not None:
        output.say(f"recorded  {escape(str(config.record))}; raysignal parity {escape(str(config.record))}")


def sample_run(folder: Path) -> dict[str, Any]:
    """The sample pipeline on a made-up market, recorded; its figures, and `same`: the events that a replay repeats."""
    from raysignal.data.generator import SAMPLE
    from raysignal.runtime.pipeline_file import read_config
    from raysignal.runtime.pipeline_session import replay_session

    config = BacktestConfig(
        config=SAMPLE.with_name("pipeline.yaml"), record=folder, stamps=options.StampOptions()
    )
    figures = figures_of(*_play_candles(config, read_config(config.config), None))
    check = replay_session(folder)
    return figures | {"same": check.events if check.difference is None else None}


def _play_candles(
    config: BacktestConfig, path: PipelineConfig, output: Output | None
) -> tuple[Pipeline, EventCounts]:
    from raysignal.engine.pipeline.backtest import run_backtest
    from raysignal.engine.pipeline.driver import PathDriver
    from raysignal.engine.pipeline.session import SessionWriter
    from raysignal.runtime.advisers import own_adviser
    from raysignal.runtime.model_asker import backtest_asker
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
        after = stack.enter_context(
            backtest_asker(partial(own_adviser, options.configured()), pipeline, driver)
        )
        rates = [] if config.funding is None else _rates(config.funding, path, output)
        run_backtest(driver, pipeline.strategies, series, after, rates)
    return pipeline, log


def _rates(folder: Path, path: PipelineConfig, output: Output) -> list[FundingRateSettled]:
    from raysignal.engine.core.events import FundingRateSettled
    from raysignal.engine.market.download import read_funding

    symbols = {name: each.symbol for each in path.instruments for name in (each.symbol, each.market) if name}
    rates = [
        FundingRateSettled(at_us=at_us, symbol=symbols[name], rate=rate)
        for at_us, name, rate in read_funding(folder)
        if name in symbols
    ]
    output.say(f"funding   {len(rates):,d} rates of {escape(str(folder))}")
    return rates


def _instrument(path: PipelineConfig, symbol: str, series: list[CandleSeries]) -> Instrument:
    from raysignal.engine.pipeline.paper_venue import file_instrument

    if path.venue.kind == "none":
        return file_instrument(symbol)
    bars = next(each.bars for each in series if each.symbol == symbol)
    lowest, highest = float(bars.low.min()), float(bars.high.max())
    return file_instrument(symbol, lowest=lowest, highest=highest, cash=path.policy.initial_cash)


def _play_recordings(config: BacktestConfig, path: PipelineConfig, output: Output) -> None:
    require_extras("backtest --recording", "feeds")
    from raysignal.runtime.advisers import own_adviser
    from raysignal.runtime.model_asker import backtest_asker
    from raysignal.runtime.pipeline_session import play_recordings

    assert config.recording
    log = EventCounts()
    text = config.config.read_text(encoding="utf-8")
    pipeline = play_recordings(
        path,
        config.recording,
        log,
        config.record,
        text,
        partial(backtest_asker, partial(own_adviser, options.configured())),
    )
    report(pipeline, log, output)


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
        from raysignal.data.bars import random_walk, with_books, with_contracts

        bars = random_walk(config.seed + place, config.candles, interval_us=interval_us)
        bars = with_contracts(bars, config.seed + place) if path.contract_features else bars
        return with_books(bars, config.seed + place) if path.book_features else bars
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
