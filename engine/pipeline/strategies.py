"""Strategies on candles: several on one symbol, each with its own parameters and length of candle.

After candles that were missed they begin a new warm-up. What they were before is kept: if the missed ones come
afterwards (`CandleBackfill`), they go on from there, as if they had seen all of them in time.

Beside what a strategy says stand the features that are known then, of the same candles: of those that have ended.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array
from raysignal.engine.core.errors import RaysignalError, StrategyFailed
from raysignal.engine.core.events import (
    Alarm,
    BookSummary,
    Candle,
    CandleBackfill,
    ContractSummary,
    StrategySignal,
)
from raysignal.engine.core.instants import format_instant
from raysignal.engine.strategies.features import CandleFeature, FeatureStream
from raysignal.engine.strategies.strategy import Bars, ConfidentStream, Strategy, StrategyStream

MOST_MISSED = 1_000
"""Candles after which those that were missed are not waited for any more."""


@dataclass(frozen=True, slots=True)
class CandleGap:
    """Candles that strategies have not seen: those of a length that end after `from_us`, until `to_us`."""

    symbol: str
    interval_us: int
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """One strategy of a pipeline.

    Attributes:
        name: unique in the pipeline; whose votes and profits these are.
        interval_us: length of the candles that it sees.
        symbols: of which symbols.
    """

    name: str
    strategy: Strategy
    interval_us: int
    symbols: tuple[str, ...]


_Said = tuple[int, float]
"""A side, and how far it is to count."""
_NOTHING: _Said = (0, 1.0)


class _Running:
    """A strategy on one symbol; `ahead` is what it says at instants that a replay has worked out already."""

    def __init__(self, spec: StrategySpec) -> None:
        self.spec = spec
        self.ahead: dict[int, _Said] = {}
        self.restart()

    def restart(self) -> None:
        """Begin with the first bar."""
        self.go_on_with(self.spec.strategy.stream())

    def go_on_with(self, stream: StrategyStream) -> None:
        """Go on where this one is."""
        self.stream = stream
        self._confident = stream if isinstance(stream, ConfidentStream) else None

    def advance(self, bars: Bars) -> tuple[Int8Array, Float64Array]:
        """What it says at the next bars: sides, and how far they are to count.

        Raises:
            StrategyFailed: it raised, or what it says are no sides and confidences.
        """
        try:
            if self._confident is not None:
                sides, confidences = self._confident.advance_with_confidence(bars)
            else:
                sides, confidences = self.stream.advance(bars), np.ones(len(bars))
        except StrategyFailed as failed:
            raise StrategyFailed(f"strategy {self.spec.name}: {failed}", failed.fields["bar"]) from failed
        except RaysignalError:
            raise
        except Exception as error:
            raise StrategyFailed(
                f"strategy {self.spec.name} raised {type(error).__name__}: {error}"
            ) from error
        self._check(bars, sides, (sides >= -1) & (sides <= 1), "side", "-1, 0 or 1")
        if self._confident is not None:
            self._check(
                bars, confidences, (confidences >= 0.0) & (confidences <= 1.0), "confidence", "0 to 1"
            )
        return sides, confidences

    def _check(
        self, bars: Bars, column: Int8Array | Float64Array, good: BoolArray, what: str, expected: str
    ) -> None:
        name, n = self.spec.name, len(bars)
        if good.shape != (n,):
            raise StrategyFailed(
                f"strategy {name} has {len(column)} of {what} for {n} bars; expected one a bar"
            )
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            at = format_instant(int(bars.known_at_us[row]))
            raise StrategyFailed(f"strategy {name}: {what} at {at} is {column[row]}; expected {expected}")


@dataclass(slots=True)
class _BeforeGap:
    """Strategies and features as they were before candles were missed, and what they have not seen of those after.

    The candles that are missed end after `from_us`, until `to_us`.
    """

    features: list[tuple[str, FeatureStream]]
    strategies: list[StrategyStream]
    from_us: int
    to_us: int
    after: dict[int, Candle] = field(default_factory=dict)


class _Place:
    """Strategies and features on one symbol's candles of one length.

    `ahead` are the features at instants until `ahead_until_us`, where a strategy speaks.
    """

    def __init__(self, features: Sequence[CandleFeature]) -> None:
        self.strategies: list[_Running] = []
        self._features = features
        self._streams = [(each.name, each.stream()) for each in features]
        self.ahead: dict[int, dict[str, float]] = {}
        self.ahead_until_us = 0
        self.ended_us: int | None = None
        self.before: _BeforeGap | None = None

    def restart(self) -> None:
        """Begin a new warm-up."""
        self._streams = [(each.name, each.stream()) for each in self._features]
        for running in self.strategies:
            running.restart()

    def missed(self, candle: Candle, ended_us: int | None) -> None:
        """A candle came that is not whole or does not follow the last one, which ended then: keep what was before."""
        begins_us = candle.at_us - candle.interval_us
        if ended_us is None or begins_us < ended_us:
            self.before = None
            return
        if self.before is None:
            streams = [running.stream for running in self.strategies]
            self.before = _BeforeGap(self._streams, streams, ended_us, ended_us)
        self.before.to_us = begins_us if candle.complete else candle.at_us

    def note(self, candle: Candle) -> None:
        """Keep a candle for strategies that wait for those before it."""
        if self.before is None:
            return
        if candle.at_us - self.before.from_us > MOST_MISSED * candle.interval_us:
            self.before = None
        elif candle.complete:
            self.before.after[candle.at_us] = candle

    def go_back(self, backfill: CandleBackfill) -> int:
        """Go on from before the gap, if all candles since are known now; how many were missed."""
        before = self.before
        if before is None or self.ended_us is None:
            return 0
        known = {each.at_us: each for each in backfill.candles} | before.after
        step_us = backfill.interval_us
        wanted = range(before.from_us + step_us, self.ended_us + step_us, step_us)
        if not all(at_us in known for at_us in wanted):
            return 0
        bars = _bars(*(known[at_us] for at_us in wanted))
        self._streams = before.features
        self.features(bars)
        for running, stream in zip(self.strategies, before.strategies, strict=True):
            running.go_on_with(stream)
            running.advance(bars)
        self.before = None
        return len(wanted) - len(before.after)

    def features(self, bars: Bars) -> list[tuple[str, Float64Array]]:
        """Names and values at the next bars."""
        return [(name, stream.advance(bars)) for name, stream in self._streams]


class StrategyStage:
    """Candles to signals. A candle that is not complete begins a new warm-up, with an alarm.

    Args:
        specs: who speaks.
        features: what each signal says beside its side, where it is known.
        gapless: so does one that does not begin where the last of its symbol and length ended. Not in a file of
            prices, which has nights and holidays.
    """

    def __init__(
        self, specs: Iterable[StrategySpec], features: Sequence[CandleFeature] = (), *, gapless: bool = False
    ) -> None:
        self._gapless = gapless
        self._of_books = [each.name for each in features if each.reads_book]
        self._of_contracts = [each.name for each in features if each.reads_contract]
        self._was_known: dict[tuple[str, str], bool] = {}
        self._places: dict[tuple[str, int], _Place] = {}
        for spec in specs:
            for symbol in spec.symbols:
                place = self._places.setdefault((symbol, spec.interval_us), _Place(features))
                place.strategies.append(_Running(spec))

    def prepare(self, symbol: str, interval_us: int, bars: Bars) -> None:
        """Work out what will be said at candles that come next: a strategy says the same however bars are cut.

        A replay that has the bars calls it for pieces of them; each candle's signals are still said at the candle.
        """
        place = self._places.get((symbol, interval_us))
        if place is None or not len(bars):
            return
        speaks = np.zeros(len(bars), np.bool_)
        for running in place.strategies:
            sides, confidences = running.advance(bars)
            rows = np.flatnonzero(sides)
            speaks[rows] = True
            said = zip(sides[rows].tolist(), confidences[rows].tolist(), strict=True)
            running.ahead = dict(zip(bars.known_at_us[rows].tolist(), said, strict=True))
        values = place.features(bars)
        place.ahead = {
            int(bars.known_at_us[row]): _known(values, row) for row in np.flatnonzero(speaks).tolist()
        }
        place.ahead_until_us = int(bars.known_at_us[-1])

    @property
    def gaps(self) -> list[CandleGap]:
        """The candles that were missed and that strategies can still be given (`CandleBackfill`)."""
        return [
            CandleGap(symbol, interval_us, before.from_us, before.to_us)
            for (symbol, interval_us), place in self._places.items()
            if (before := place.before) is not None
        ]

    def on(self, candle: Candle | CandleBackfill) -> Sequence[StrategySignal | Alarm]:
        """See `engine.pipeline.path`."""
        if isinstance(candle, CandleBackfill):
            return self._go_back(candle)
        place = self._places.get((candle.symbol, candle.interval_us))
        if place is None:
            return ()
        lost: list[Alarm] = []
        if self._of_books:
            lost += self._lost(candle, "book", candle.book is not UNSET, self._of_books)
        if self._of_contracts:
            lost += self._lost(candle, "contract", candle.contract is not UNSET, self._of_contracts)
        said = self._speak(place, candle)
        return [*lost, *said] if lost else said

    def _go_back(self, backfill: CandleBackfill) -> Sequence[Alarm]:
        """Strategies go on as if nothing had been missed; what they would have said at it is not said."""
        place = self._places.get((backfill.symbol, backfill.interval_us))
        missed = 0 if place is None else place.go_back(backfill)
        if not missed:
            return ()
        message = (
            f"{missed} candles of {backfill.interval_us / 1e6:g} s that were missed came late: strategies go on "
            "with them, and say nothing of them"
        )
        code = "candles_backfilled"
        return (Alarm(at_us=backfill.at_us, symbol=backfill.symbol, code=code, message=message),)

    def _lost(self, candle: Candle, what: str, known: bool, features: Sequence[str]) -> Sequence[Alarm]:
        """An alarm, if the order book of its symbol, or the state of the contract, was known until now."""
        was_known = self._was_known.get((candle.symbol, what), False)
        self._was_known[candle.symbol, what] = known
        if known or not was_known:
            return ()
        name = "order book" if what == "book" else "state of the contract"
        message = f"the {name} of {candle.symbol} was lost; signals leave out {', '.join(features)}"
        return (Alarm(at_us=candle.at_us, symbol=candle.symbol, code=f"{what}_lost", message=message),)

    def _speak(self, place: _Place, candle: Candle) -> Sequence[StrategySignal | Alarm]:
        if candle.at_us <= place.ahead_until_us:
            said = [each.ahead.get(candle.at_us, _NOTHING) for each in place.strategies]
            if not any(side for side, _ in said):
                return ()
            return _signals(place.strategies, candle, said, place.ahead[candle.at_us])
        begins_us = candle.at_us - candle.interval_us
        ended_us, place.ended_us = place.ended_us, candle.at_us
        follows = not self._gapless or ended_us in {None, begins_us}
        whole = candle.complete and follows
        if self._gapless and not whole:
            place.missed(candle, ended_us)
        place.note(candle)
        if not whole:
            place.restart()
            message = (
                f"candles of {candle.interval_us / 1e6:g} s are missing or incomplete: "
                f"{len(place.strategies)} strategies begin a new warm-up"
            )
            return (Alarm(at_us=candle.at_us, symbol=candle.symbol, code="candles_missing", message=message),)
        bars = _bars(candle)
        columns = [each.advance(bars) for each in place.strategies]
        said = [(int(sides[0]), float(confidences[0])) for sides, confidences in columns]
        values = place.features(bars)
        speaks = any(side for side, _ in said)
        return _signals(place.strategies, candle, said, _known(values, 0)) if speaks else []


def _known(values: Sequence[tuple[str, Float64Array]], row: int) -> dict[str, float]:
    """The features that are known at a row."""
    found = ((name, float(column[row])) for name, column in values)
    return {name: value for name, value in found if math.isfinite(value)}


def _signals(
    running: Sequence[_Running], candle: Candle, sides: Sequence[_Said], features: dict[str, float]
) -> list[StrategySignal]:
    said = [
        (each.spec.name, side, confidence)
        for each, (side, confidence) in zip(running, sides, strict=True)
        if side
    ]
    return [
        StrategySignal(
            at_us=candle.at_us, symbol=candle.symbol, strategy=name, side=side, price=candle.close,
            interval_us=candle.interval_us, confidence=confidence, features=features, more=place < len(said),
        )
        for place, (name, side, confidence) in enumerate(said, 1)
    ]  # fmt: skip


def _bars(*candles: Candle) -> Bars:
    rows = np.array([(each.open, each.high, each.low, each.close, each.volume) for each in candles])
    opened, high, low, close, volume = rows.T.copy()
    stamps = np.array([each.at_us for each in candles], np.int64)
    book = _column((each.book for each in candles), 4)
    contract = _column((each.contract for each in candles), 6)
    return Bars(stamps, opened, high, low, close, volume, book, contract)


def _column(
    summaries: Iterable[BookSummary | ContractSummary | UnsetType], width: int
) -> Float64Array | None:
    """float64[n, width], NaN where it is not known; None: at none."""
    rows = [None if each is UNSET else astuple(each) for each in summaries]
    if not any(rows):
        return None
    return np.array([(math.nan,) * width if row is None else row for row in rows])
