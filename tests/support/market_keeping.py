"""What a keeper is given in tests: a history, portfolios that answer as told, a log that can be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson

from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.signals import Signal
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.crossover_watch import Watch
from raysignal.engine.market.recorder import MarketRecorder, RecorderContext
from raysignal.serve.logs import json_logger
from tests.support.market_bars import INSTRUMENT


@dataclass
class Past:
    """A history that has these bars; while `error` is set it does not answer."""

    bars: Sequence[Bar] = ()
    error: Exception | None = None
    asked: int = 0
    instrument: Instrument = INSTRUMENT

    def __call__(self, instrument: Instrument, interval_us: int, from_us: int, to_us: int) -> list[Bar]:
        assert (instrument, interval_us) == (self.instrument, DAY_US)
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [bar for bar in self.bars if from_us <= bar.open_us < to_us]


@dataclass
class Portfolios:
    """Takes signals; `answers` says, by number of the call, what is raised instead."""

    answers: dict[int, Exception] = field(default_factory=dict)
    taken: list[Signal] = field(default_factory=list)
    calls: int = 0

    def __call__(self, signal: Signal) -> str:
        self.calls += 1
        if (error := self.answers.get(self.calls)) is not None:
            raise error
        self.taken.append(signal)
        return f"receipt of {signal.signal_id}"


@dataclass
class Names:
    """Renames symbols; `answers` says, by number of the call, what is raised instead."""

    known: set[str] = field(default_factory=set)
    answers: dict[int, Exception] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, old: str, new: str) -> bool:
        self.asked.append((old, new))
        if (error := self.answers.get(len(self.asked))) is not None:
            raise error
        if old not in self.known:
            return False
        self.known = self.known - {old} | {new}
        return True


@dataclass
class Clock:
    now: int = 0

    def __call__(self) -> int:
        return self.now


class Log:
    """A JSON log in memory."""

    def __init__(self) -> None:
        self._stream = BytesIO()
        self.logger = json_logger(self._stream)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        lines = [orjson.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if name is None or line["event"] == name]


@dataclass
class World:
    """A keeper and all that it was given."""

    keeper: MarketRecorder
    watch: Watch
    past: Past
    portfolios: Portfolios
    clock: Clock
    log: Log


def world(
    database: Any,
    *,
    bars: Sequence[Bar] = (),
    fast: int = 1,
    slow: int = 2,
    now_us: int = 0,
    basis: Basis = Basis.TRADES,
    instrument: Instrument = INSTRUMENT,
    **options: Any,
) -> World:
    """A keeper that has not begun, with one watch of daily bars; bars are not posted unless told."""
    options = {"post_bars": False} | options
    past, portfolios, clock, log = Past(bars, instrument=instrument), Portfolios(), Clock(now_us), Log()
    watch = Watch(instrument, DAY_US, fast=fast, slow=slow, basis=basis)
    told = {name: options.pop(name) for name in ("blobs", "rename", "post") if name in options}
    context = RecorderContext(
        database=database, history=past, log=log.logger, now_us=clock, **({"post": portfolios} | told)
    )
    keeper = MarketRecorder(context, [watch], **options)
    return World(keeper, watch, past, portfolios, clock, log)
