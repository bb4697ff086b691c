"""Pipelines for tests: a configuration, bars, and everything that came of a run."""

from typing import Any

from raysignal.data.bars import random_walk
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.pipeline.backtest import CandleSeries, resample, run_backtest
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import file_instrument
from raysignal.engine.strategies.strategy import Bars
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_session import candle_market

MINUTE_US = 60_000_000


class Events:
    """An event log that keeps everything."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.everything: list[Any] = []

    def input(self, event: Any) -> None:
        self.inputs.append(event)
        self.everything.append(event)

    def output(self, event: Any) -> None:
        self.outputs.append(event)
        self.everything.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.outputs if type(event) is kind]


def config_of(**changes: Any) -> PipelineConfig:
    """One symbol, one fast crossover on minutes; `changes` are members of the configuration."""
    strategies = [{"name": "cross", "kind": "sma", "bar": "1m", "parameters": {"fast": 2, "slow": 5}}]
    members: dict[str, Any] = {"name": "test", "instruments": [{"symbol": "BTC"}], "strategies": strategies}
    return PipelineConfig(**(members | changes))


def walk(seed: int = 1, count: int = 400) -> Bars:
    """Minutes of a made-up market."""
    return random_walk(seed, count, MINUTE_US)


def played(
    config: PipelineConfig, bars: Bars, *, intervals_us: tuple[int, ...] = (MINUTE_US,),
    instrument: Instrument | None = None,
) -> tuple[Pipeline, Events]:  # fmt: skip
    """A backtest of one symbol; the pipeline as it ends, and its events."""
    (symbol,) = config.symbols
    instruments = {symbol: instrument or file_instrument(symbol)}
    pipeline, events = build(config, instruments), Events()
    driver = PathDriver(
        pipeline.path,
        pipeline.portfolio,
        pipeline.venue,
        log=events,
        market=candle_market(config, instruments),
    )
    series = [CandleSeries(symbol, each, resample(bars, MINUTE_US, each)) for each in intervals_us]
    run_backtest(driver, pipeline.strategies, series)
    return pipeline, events
