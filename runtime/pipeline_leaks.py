"""Whether a decision path sees the future: strategies, features and all that follows, on made-up markets.

The path is played on a market, and again with what comes after an instant cut off or going on otherwise. What it says
until that instant must be the same. Each play is a process of its own (`engine.strategies.isolation`), so that what a
strategy keeps from one cannot hide in the next that it saw the future. Besides, each strategy and its features are
given markets that are cut off at many more instants, in one process.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import msgspec
import numpy as np

from raysignal.data.bars import random_walk, with_books, with_contracts
from raysignal.engine.core.arrays import BoolArray
from raysignal.engine.core.errors import StrategyFailed
from raysignal.engine.core.events import PathEvent, StrategySignal, decode_event, encode_event
from raysignal.engine.core.instants import format_instant
from raysignal.engine.pipeline.backtest import CandleSeries, merged, resample
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import file_instrument
from raysignal.engine.pipeline.strategies import StrategySpec, StrategyStage
from raysignal.engine.strategies import registry
from raysignal.engine.strategies.checks import (
    OTHER_FUTURES,
    StrategyFinding,
    cuts_of,
    files_finding,
    going_on,
)
from raysignal.engine.strategies.features import FEATURES, parse_features
from raysignal.engine.strategies.isolation import IsolatedRuns
from raysignal.engine.strategies.strategy import Bars
from raysignal.runtime.pipeline import build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_session import candle_market

CANDLES = 2_000
TRIES = 12
# Cuts, each times as many as are tried: right after signals, right after candles without one, and where windows fill.
_PATH_CUTS = (1 / 3, 1 / 12, 1 / 12)
_STRATEGY_CUTS = (32 / 3, 16 / 3, 4 / 3)
_WORDS = {1: "BUY", 0: "nothing", -1: "SELL"}


def check_leaks(
    config: PipelineConfig, *, seed: int = 0, candles: int = CANDLES, tries: int = TRIES,
    runs: IsolatedRuns | None = None,
) -> list[StrategyFinding]:  # fmt: skip
    """What was found of each strategy, of the features, and of the path that follows them.

    Args:
        config: the path.
        seed: of the market, of where it is cut, and of how it goes on otherwise.
        candles: of the market, of the longest length that all candles of the path are made of.
        tries: half as many markets are cut off and go on otherwise for the whole path; for each strategy 11 times as
            many are cut off right after its signals, and 5 times as many right after candles at which it is silent.
        runs: the processes to take; None: those of this check alone.

    Raises:
        InvalidField: a strategy of the configuration refuses the market.
    """
    market = {}
    for place, symbol in enumerate(config.symbols):
        bars = random_walk(seed + place, candles, _step_us(config))
        known = with_contracts(bars, seed + place, unknown=0.1)
        market[symbol] = with_books(known, seed + place, unknown=0.1)
    with nullcontext(runs) if runs is not None else IsolatedRuns() as processes:
        return _LeakCheck(processes, config, market, np.random.default_rng(seed), tries).findings()


class _LeakCheck:
    """One check of one path on one market."""

    def __init__(
        self, runs: IsolatedRuns, config: PipelineConfig, market: Mapping[str, Bars], draws: np.random.Generator,
        tries: int,
    ) -> None:  # fmt: skip
        self._runs, self._config, self._market = runs, config, market
        self._draws, self._tries = draws, tries
        self._names = [each.name for each in config.strategies if each.posted is None]
        self._instants = next(iter(market.values())).known_at_us
        self._wrong: dict[str, str] = {}
        self._written: set[str] = set()
        self._read: set[str] = set()

    def findings(self) -> list[StrategyFinding]:
        self._runs.preload(("numba", f"{__name__}:warm"))
        last_us = int(self._instants[-1])
        try:
            whole = self._played(self._market, last_us)
        except StrategyFailed as failed:
            return [StrategyFinding("path", good=False, sentence=str(failed))]
        signals = {name: _signals_of(whole, name) for name in self._names}
        markets = self._try_path(whole)
        tries = {name: markets + self._try_strategy(name, own) for name, own in signals.items()}
        found = [files_finding(sorted(self._written), sorted(self._read - self._written))]
        for name, own in signals.items():
            wrong = self._wrong.get(name)
            if not own:
                wrong = f"it says nothing in {len(self._instants)} candles: nothing was checked; try more (--candles)"
            found.append(_finding(f"strategy {name}", wrong, f"{len(own)} signals", tries[name]))
        if self._config.features:
            wrong = self._wrong.get("features")
            found.append(_finding("features", wrong, ", ".join(self._config.features), sum(tries.values())))
        followed = sum(not isinstance(each, StrategySignal) for _, each in whole)
        return [*found, _finding("path", self._wrong.get("path"), f"{followed} events that follow", markets)]

    def _played(self, market: Mapping[str, Bars], until_us: int) -> "_Events":
        """What the path said until an instant, by a process of its own."""
        answer = self._runs.call(
            f"{__name__}:play_path", self._config.model_dump(exclude_unset=True), market, until_us
        )
        self._written.update(answer.written)
        self._read.update(answer.read)
        events = msgspec.msgpack.decode(answer.answer, type=list[tuple[int, bytes]])
        return [(at_us, decode_event(data)) for at_us, data in events]

    def _try_path(self, whole: "_Events") -> int:
        """The same market again, markets that are cut off, and markets that go on otherwise."""
        self._try_market("with the same market in another process", self._market, len(self._instants), whole)
        acts = self._rows(each.at_us for _, each in whole if isinstance(each, StrategySignal))
        cuts = cuts_of(acts, _PATH_CUTS, self._tries, self._draws)
        for place, cut in enumerate(cuts):
            future = OTHER_FUTURES[place % len(OTHER_FUTURES)]
            off = {symbol: bars.slice(0, cut) for symbol, bars in self._market.items()}
            other = {
                symbol: going_on(bars, cut, future, self._draws) for symbol, bars in self._market.items()
            }
            when = format_instant(int(self._instants[cut - 1]))
            self._try_market(f"with what comes after {when} cut off", off, cut, whole)
            self._try_market(f"with prices after {when} {future.words}", other, cut, whole)
        return 2 * len(cuts)

    def _try_market(self, how: str, market: Mapping[str, Bars], cut: int, whole: "_Events") -> None:
        until_us = int(self._instants[cut - 1])
        try:
            found = [event for _, event in self._played(market, until_us)]
        except StrategyFailed as failed:
            self._wrong.setdefault("path", f"{how}, {failed}")
            return
        expected = [event for at_us, event in whole if at_us <= until_us]
        if found == expected:
            return
        for name in self._names:
            self._compare(how, name, *(_sides(_own(events, name)) for events in (expected, found)))
        one, other = (
            [event for event in events if not isinstance(event, StrategySignal)]
            for events in (expected, found)
        )
        place = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if place is None and len(one) != len(other):
            place = min(len(one), len(other))
        if place is not None:
            was, is_now = _named(one, place), _named(other, place)
            said = f"the {was} is another" if was == is_now else f"there is {is_now} instead of {was}"
            self._wrong.setdefault("path", f"{how}, {said}")

    def _try_strategy(self, name: str, own: Sequence[StrategySignal]) -> int:
        """One strategy and the features at many instants, in one process."""
        acts = self._rows(each.at_us for each in own)
        cuts = sorted(cuts_of(acts, _STRATEGY_CUTS, self._tries, self._draws))
        until_us = [int(self._instants[cut - 1]) for cut in cuts]
        try:
            answer = self._runs.call(
                f"{__name__}:play_strategy",
                self._config.model_dump(exclude_unset=True),
                name,
                self._market,
                until_us,
            )
        except StrategyFailed as failed:
            self._wrong.setdefault(name, f"with what comes after some instant cut off, {failed}")
            return 0
        encoded = [(each.at_us, encode_event(each)) for each in own]
        for end_us, found in zip(
            until_us, msgspec.msgpack.decode(answer.answer, type=list[list[bytes]]), strict=True
        ):
            expected = [data for at_us, data in encoded if at_us <= end_us]
            if found != expected:
                how = f"with what comes after {format_instant(end_us)} cut off"
                both = (_sides(decode_event(data) for data in events) for events in (expected, found))
                self._compare(how, name, *both)
        return len(cuts)

    def _rows(self, at_us: Any) -> BoolArray:
        """At which of the shortest candles there is something."""
        return np.isin(self._instants, list(at_us))

    def _compare(self, how: str, name: str, one: "_Sides", other: "_Sides") -> None:
        """The signals of a strategy, and the features beside those that are the same."""
        nothing: tuple[int, float, dict[str, float]] = (0, 1.0, {})
        for at_us, symbol in sorted({*one, *other}):
            side, confidence, features = one.get((at_us, symbol), nothing)
            found, counts, values = other.get((at_us, symbol), nothing)
            place = f"for {symbol} at {format_instant(at_us)}"
            if side != found:
                said = f"{how}, its signal {place} is {_WORDS[found]} instead of {_WORDS[side]}"
                self._wrong.setdefault(name, said)
            elif confidence != counts:
                said = f"{how}, the confidence of its signal {place} is {counts} instead of {confidence}"
                self._wrong.setdefault(name, said)
            elif features != values:
                feature = next(
                    each for each in {**features, **values} if features.get(each) != values.get(each)
                )
                said = f"{how}, {feature} {place} is {values.get(feature)} instead of {features.get(feature)}"
                self._wrong.setdefault("features", said)


_Events = list[tuple[int, Any]]
"""Events, each with the instant of the candle that it followed."""
_Sides = dict[tuple[int, str], tuple[int, float, dict[str, float]]]
"""Side, confidence and features by instant and symbol."""


def _finding(check: str, wrong: str | None, what: str, tries: int) -> StrategyFinding:
    right = f"{what}: nothing changes with what comes after, in {tries} tries"
    return StrategyFinding(check, good=wrong is None, sentence=right if wrong is None else wrong)


def _named(events: Sequence[PathEvent], place: int) -> str:
    if place >= len(events):
        return "nothing"
    event = events[place]
    return f"{type(event).__name__} of {event.symbol} at {format_instant(event.at_us)}"


def _own(events: Sequence[Any], name: str) -> list[StrategySignal]:
    return [each for each in events if isinstance(each, StrategySignal) and each.strategy == name]


def _signals_of(events: _Events, name: str) -> list[StrategySignal]:
    """Those of a strategy as if it were alone."""
    return [msgspec.structs.replace(each, more=False) for each in _own([event for _, event in events], name)]


def _sides(signals: Any) -> _Sides:
    return {(each.at_us, each.symbol): (each.side, each.confidence, each.features) for each in signals}


def _step_us(config: PipelineConfig) -> int:
    """The longest length of candles that all candles of a path can be made of."""
    return math.gcd(*(each.interval_us for each in config.strategies))


def _series(config: PipelineConfig, market: Mapping[str, Bars]) -> list[CandleSeries]:
    return [
        CandleSeries(symbol, each, resample(bars, _step_us(config), each))
        for symbol, bars in market.items()
        for each in config.intervals_us(symbol)
    ]


# In processes of their own


class _FollowingEvents:
    """An event log that keeps what followed candles, each event with its candle's instant."""

    def __init__(self) -> None:
        self._at_us = 0
        self.events: list[tuple[int, bytes]] = []

    def input(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self._at_us = event.at_us

    def output(self, event: Any) -> None:
        """See `engine.pipeline.driver.EventLog`."""
        self.events.append((self._at_us, encode_event(event)))


def play_path(config: Mapping[str, Any], market: Mapping[str, Bars], until_us: int) -> bytes:
    """Every event of a path that followed the candles until an instant; its strategies are given later ones as well."""
    path = PipelineConfig(**config)
    instruments = {symbol: file_instrument(symbol) for symbol in path.symbols}
    pipeline, log = build(path, instruments), _FollowingEvents()
    driver = PathDriver(
        pipeline.path, pipeline.portfolio, pipeline.venue, log=log, market=candle_market(path, instruments)
    )
    for candle in merged(_series(path, market), pipeline.strategies.prepare):
        if candle.at_us > until_us:
            break
        driver.take(candle)
    return msgspec.msgpack.encode(log.events)


def play_strategy(
    config: Mapping[str, Any], name: str, market: Mapping[str, Bars], until_us: Sequence[int]
) -> bytes:
    """The signals of one strategy, with features, on the candles that have ended at each of some instants."""
    path = PipelineConfig(**config)
    (said,) = (each for each in path.strategies if each.name == name)
    series = [each for each in _series(path, market) if each.interval_us == said.interval_us]
    candles = list(merged(series, lambda *_: None))
    found = []
    for end_us in until_us:
        spec = StrategySpec(name, said.strategy(), said.interval_us, path.symbols_of(said))
        stage = StrategyStage([spec], parse_features(path.features))
        for each in series:
            count = int(np.searchsorted(each.bars.known_at_us, end_us, side="right"))
            stage.prepare(each.symbol, each.interval_us, each.bars.slice(0, count))
        events = [event for candle in candles if candle.at_us <= end_us for event in stage.on(candle)]
        found.append([encode_event(event) for event in events if isinstance(event, StrategySignal)])
    return msgspec.msgpack.encode(found)


@cache
def warm() -> None:
    """Play every strategy of the registry, so that what that compiles is there."""
    strategies = [{"name": name, "kind": name, "bar": "1d"} for name in registry.NAMES]
    members = {"name": "warm", "instruments": [{"symbol": "A"}], "strategies": strategies}
    bars = random_walk(1, 400)
    for venue, decide in (("none", "memory"), ("paper", "none")):
        config = {**members, "features": FEATURES, "venue": {"kind": venue}, "decide": decide}
        play_path(config, {"A": bars}, int(bars.known_at_us[-1]))
