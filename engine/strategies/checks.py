"""Whether a strategy can be believed: it sees no bar that is not there yet, says the same again, warms up as it says.

Nothing is asked of a strategy but `actions`; one that has a `stream` as well is held to it. `RecomputingStream` gives
a stream to one that has none.

What a strategy says of a prefix of the bars, and of bars that go on otherwise, is compared with what it says of all of
them. Each is a run in a process of its own (`engine.strategies.isolation`), so that what a strategy keeps from one run
cannot hide in the next that it saw the future.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Int8Array
from raysignal.engine.core.errors import InvalidField, StrategyFailed
from raysignal.engine.core.instants import format_instant
from raysignal.engine.strategies.isolation import (
    TIME_LIMIT_S,
    IsolatedRuns,
    StrategyAnswer,
    StrategyRun,
    StrategySource,
)
from raysignal.engine.strategies.strategy import Bars

TRIES = 24
# Cuts, each times as many as are tried: right after actions, right after bars without one, and where windows fill.
_SINGLE_CUTS = (2 / 3, 1 / 6, 1 / 6)
_GROWING_CUTS = (8 / 3, 8 / 3, 2 / 3)  # in one process
_LEAST = 8  # bars
_SINGLY = 64  # bars at the start that a stream is given one by one
_NOISE = 0.05  # of a bar's logarithmic return, in prices that go on otherwise
_MOST_NOISE = 5.0  # at the end of them
_MOST_LOG = 20.0  # by which they differ from the last price that is kept
_WORDS = {1: "BUY", 0: "HOLD", -1: "SELL"}


class ActionsStrategy(Protocol):
    """What every strategy has."""

    def actions(self, bars: Bars) -> Int8Array:
        """See `Strategy`."""
        ...


@dataclass(frozen=True, slots=True)
class StrategyFinding:
    """What a check found.

    Attributes:
        check: its name.
        good: whether the strategy passed.
        sentence: for people.
        bar: the first bar at which something is wrong, in the run that showed it; None: nothing is.
    """

    check: str
    good: bool
    sentence: str
    bar: int | None = None


@dataclass(frozen=True, slots=True)
class RecomputedStrategy:
    """A strategy with the `stream` and the `warm_up` that its own class lacks."""

    own: ActionsStrategy

    @property
    def warm_up(self) -> int:
        """What it says of itself, or 0."""
        return int(getattr(self.own, "warm_up", 0))

    def actions(self, bars: Bars) -> Int8Array:
        """See `Strategy`."""
        return self.own.actions(bars)

    def stream(self) -> "RecomputingStream":
        """By working everything out again."""
        return RecomputingStream(self.own)


class RecomputingStream:
    """A stream of a strategy that has none: it works out everything again with every piece.

    For rules of a user's own: the cost of n pieces grows with their square.
    """

    def __init__(self, strategy: ActionsStrategy) -> None:
        self._strategy = strategy
        self._seen: Bars | None = None

    def advance(self, bars: Bars) -> Int8Array:
        """See `StrategyStream`."""
        self._seen = bars if self._seen is None else _joined(self._seen, bars)
        count = len(self._seen)
        whole = np.asarray(self._strategy.actions(self._seen))
        if whole.shape != (count,):
            raise StrategyFailed(f"actions are {whole.shape}; expected an array of {count}, one a bar")
        said = whole[count - len(bars) :]
        wrong = np.flatnonzero(~np.isin(said, (-1, 0, 1)))
        if len(wrong):
            bar = count - len(bars) + int(wrong[0])
            raise StrategyFailed(f"action {whole[bar]} at bar {bar}; expected -1, 0 or 1", bar)
        return said.astype(np.int8)


class UserStrategy:
    """A base for rules of a user's own: `actions` alone is needed.

    Attributes:
        warm_up: bars at the start that are always HOLD.
    """

    warm_up: int = 0

    def actions(self, bars: Bars) -> Int8Array:
        """int8[n] of n bars; each may use its bar and those before it."""
        raise NotImplementedError

    def stream(self) -> RecomputingStream:
        """By working everything out again."""
        return RecomputingStream(self)


def check_strategy(
    strategy: object,
    bars: Bars,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    tries: int = TRIES,
    time_limit_s: float = TIME_LIMIT_S,
    runs: IsolatedRuns | None = None,
) -> list[StrategyFinding]:
    """Every check, in an order in which the first that fails explains the others.

    Args:
        strategy: a name of `engine.strategies.registry`, `module:Class`, a class, or an object of a frozen dataclass;
            every run imports the module and makes the object anew.
        bars: at least 8, with closes above 0.
        parameters: of the class, by name.
        seed: of where the bars are cut and how they go on otherwise.
        tries: how many cuts are tried in a process of their own, and six times as many in one process that is
            given more and more bars; of these, 8/3 times `tries` are right after an action, and as many right after a
            bar without one. So a rule that owes one action in k to the next bar, or one in k of the bars at which it
            says HOLD, is missed with a probability of at most about (1 - 1/k) ** (8/3 * tries).
        time_limit_s: for one call of the strategy.
        runs: the processes to take, with their time limit, for many checks in a row; None: those of this check alone.

    Raises:
        InputError: too few bars, a close that is no price, no such strategy, or parameters that it does not take.
    """
    if len(bars) < _LEAST:
        raise InvalidField("bars", len(bars), f"at least {_LEAST}")
    bad = ~((bars.close > 0.0) & np.isfinite(bars.close))
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidField("close", float(bars.close[row]), "a finite number above 0", row=row)
    source = StrategySource.of(strategy, parameters)
    with nullcontext(runs) if runs is not None else IsolatedRuns(time_limit_s=time_limit_s) as processes:
        return _Check(processes, source, bars, np.random.default_rng(seed), tries).findings()


@dataclass(frozen=True, slots=True)
class _Probe:
    """Bars that are the same until a cut.

    Attributes:
        cut: how many bars are the same.
        shown: what the strategy is given.
        how: what was done to the bars, for a sentence.
    """

    cut: int
    shown: Bars
    how: str


@dataclass(frozen=True, slots=True)
class OtherFuture:
    """How prices go on otherwise, besides noise.

    Attributes:
        words: for a sentence.
        level: the factor of all prices.
        volatility: the factor of all returns.
        late: whether the bars are three times as far apart, and their volume is not known.
    """

    words: str
    level: float = 1.0
    volatility: float = 1.0
    late: bool = False


OTHER_FUTURES = (
    OtherFuture("ten times as high", level=10.0),
    OtherFuture("a tenth as high", level=0.1),
    OtherFuture("five times as volatile", volatility=5.0),
    OtherFuture("three times as far apart and without volume", late=True),
)


class _Check:
    """One check of one strategy on some bars."""

    def __init__(
        self, runs: IsolatedRuns, source: StrategySource, bars: Bars, draws: np.random.Generator, tries: int
    ) -> None:
        self._runs, self._source, self._bars = runs, source, bars
        self._draws, self._tries = draws, tries
        self._written: set[str] = set()
        self._read: set[str] = set()

    def findings(self) -> list[StrategyFinding]:
        if ":" not in self._source.name:
            self._runs.preload(("numba",))  # each of the registry's needs it
        try:
            answer = self._run(StrategyRun(self._bars, actions=(len(self._bars),)))
        except StrategyFailed as failed:
            return [StrategyFinding("actions", good=False, sentence=str(failed), bar=failed.fields["bar"])]
        (whole,) = answer.actions
        said = {side: int(np.count_nonzero(whole == side)) for side in (1, -1)}
        if not any(said.values()):
            return [StrategyFinding("actions", good=False, sentence=_NOTHING.format(n=len(whole)))]
        self._runs.preload(answer.modules)
        sentence = f"{said[1]} BUY and {said[-1]} SELL in {len(whole)} bars"
        checks: list[tuple[str, Callable[[Int8Array], StrategyFinding]]] = [
            ("determinism", self._determinism),
            ("look-ahead", self._look_ahead),
        ]
        found = [self._held(name, check, whole) for name, check in checks]
        found.append(_warm_up(answer.warm_up, whole))
        if answer.has_stream:
            found.append(self._held("stream", self._stream, whole))
        # Of all runs: a rule may write when it is asked a second time, or for so many bars.
        files = files_finding(sorted(self._written), sorted(self._read - self._written))
        return [StrategyFinding("actions", good=True, sentence=sentence), files, *found]

    def _run(self, run: StrategyRun) -> StrategyAnswer:
        answer = self._runs.run(self._source, run)
        self._written.update(answer.written)
        self._read.update(answer.read)
        return answer

    def _held(
        self, name: str, check: Callable[[Int8Array], StrategyFinding], whole: Int8Array
    ) -> StrategyFinding:
        """What a check found, or how the strategy failed in it."""
        try:
            return check(whole)
        except StrategyFailed as failed:
            return StrategyFinding(name, good=False, sentence=str(failed), bar=failed.fields["bar"])

    def _determinism(self, whole: Int8Array) -> StrategyFinding:
        """By an object in another process, and by the same one once more."""
        bars = self._bars
        again = self._run(StrategyRun(bars, actions=(len(bars), len(bars)))).actions
        for found, when in zip(again, ("in another process", "for the second time"), strict=True):
            bar = _first_difference(whole, found)
            if bar is not None:
                sentence = f"with the same bars {when}, {_told(bars, whole, found, bar)}"
                return StrategyFinding("determinism", good=False, sentence=sentence, bar=bar)
        return StrategyFinding("determinism", good=True, sentence="the same bars give the same actions")

    def _look_ahead(self, whole: Int8Array) -> StrategyFinding:
        """By bars that are cut off, go on otherwise, or grow; what is told is the first that shows it."""
        compared = np.zeros(len(whole), np.bool_)
        probes = list(self._probes(whole))
        for probe in probes:
            try:
                (found,) = self._run(StrategyRun(probe.shown, actions=(len(probe.shown),))).actions
            except StrategyFailed as failed:
                sentence = f"{probe.how}, {failed}"
                if len(probe.shown) == probe.cut:
                    sentence += "; expected HOLD where there are too few bars"
                return StrategyFinding("look-ahead", good=False, sentence=sentence, bar=failed.fields["bar"])
            bar = _first_difference(whole[: probe.cut], found[: probe.cut])
            if bar is not None:
                sentence = f"{probe.how}, {_told(self._bars, whole, found, bar)}"
                return StrategyFinding("look-ahead", good=False, sentence=sentence, bar=bar)
            compared[: probe.cut] |= whole[: probe.cut] != 0
        growing = tuple(sorted(cuts_of(whole != 0, _GROWING_CUTS, self._tries, self._draws)))
        for cut, found in zip(
            growing, self._run(StrategyRun(self._bars, actions=growing)).actions, strict=True
        ):
            bar = _first_difference(whole[:cut], found)
            if bar is not None:
                told = _told(self._bars, whole, found, bar)
                return StrategyFinding(
                    "look-ahead", good=False, sentence=f"{self._cut_off(cut)}, {told}", bar=bar
                )
            compared[:cut] |= whole[:cut] != 0
        many = int(np.count_nonzero(compared))
        sentence = (
            f"nothing changes with what comes after it: {many} action{'s' if many != 1 else ''} compared in "
            f"{len(probes) + len(growing)} tries"
        )
        return StrategyFinding("look-ahead", good=True, sentence=sentence)

    def _stream(self, whole: Int8Array) -> StrategyFinding:
        """By one bar after another, pieces anywhere, and a second stream of the object after one of all bars."""
        bars, n = self._bars, len(self._bars)
        pieces = [tuple(sorted({0, n, *self._draws.integers(0, n, 5).tolist()})) for _ in range(3)]
        singly = (*range(min(n, _SINGLY)), n)
        for streams, how in (
            ((singly,), "in pieces"),
            *(((edges,), "in pieces") for edges in pieces),
            (((0, n), pieces[0]), "in the second stream of an object"),
        ):
            found = self._run(StrategyRun(bars, streams=streams)).streams[-1]
            bar = _first_difference(whole, found)
            if bar is not None:
                sentence = f"{how}, {_told(bars, whole, found, bar)}"
                return StrategyFinding("stream", good=False, sentence=sentence, bar=bar)
        return StrategyFinding(
            "stream", good=True, sentence="one by one and in pieces it says the same as all at once"
        )

    def _probes(self, whole: Int8Array) -> Iterator[_Probe]:
        """At every cut the rest cut off and another future, and then more bars at the end."""
        bars, n = self._bars, len(self._bars)
        for place, cut in enumerate(cuts_of(whole != 0, _SINGLE_CUTS, self._tries, self._draws)):
            yield _Probe(cut, bars.slice(0, cut), self._cut_off(cut))
            future = OTHER_FUTURES[place % len(OTHER_FUTURES)]
            how = f"with the bars after {self._instant(cut - 1)} {future.words}"
            yield _Probe(cut, going_on(bars, cut, future, self._draws), how)
        longer = _joined(bars, _repeated(bars))
        for future in OTHER_FUTURES:
            how = f"with {len(longer) - n} more bars after the last, {future.words}"
            yield _Probe(n, going_on(longer, n, future, self._draws), how)

    def _cut_off(self, cut: int) -> str:
        return f"with the bars after {self._instant(cut - 1)} cut off"

    def _instant(self, bar: int) -> str:
        return format_instant(int(self._bars.known_at_us[bar]))


_NOTHING = (
    "it never acts in {n} bars: nothing was checked; try other prices (--data, --seed) or other parameters"
)


def cuts_of(
    acts: BoolArray, shares: tuple[float, float, float], tries: int, draws: np.random.Generator
) -> list[int]:
    """How many bars to keep: right after actions (a rule that peeks acts too soon), right after other bars (or leaves
    out what it would have said), and where windows fill; in any order. Where there are too few of the first, more of
    the second, and the other way round.

    Args:
        acts: at which bars there are actions.
        shares: how many of each, times `tries`.
        tries: as of `check_strategy`.
        draws: of which.
    """
    after, silent, early = (math.ceil(share * tries) for share in shares)
    acted, quiet = (draws.permutation(np.flatnonzero(kind) + 1) for kind in (acts[:-1], ~acts[:-1]))
    first = acted[: max(after, after + silent - len(quiet))]
    second = quiet[: after + silent - len(first)]
    filling = draws.integers(1, max(2, len(acts) // 4), early)
    return [int(cut) for cut in draws.permutation(np.unique([*first, *second, *filling]))]


def files_finding(written: list[str], read: list[str]) -> StrategyFinding:
    """Of the files that a strategy wrote and read."""
    if written:
        sentence = (
            f"it writes {written[0]}: what one run keeps there another can read, so that look-ahead cannot be "
            "seen; delete it, and write nothing where actions are asked for"
        )
        return StrategyFinding("files", good=False, sentence=sentence)
    if read:
        sentence = f"it writes no file; it reads {read[0]}, which may know the future: that cannot be seen"
        return StrategyFinding("files", good=True, sentence=sentence)
    return StrategyFinding("files", good=True, sentence="it reads and writes no file")


def _warm_up(warm_up: int, whole: Int8Array) -> StrategyFinding:
    first = int(np.flatnonzero(whole)[0])
    if first < warm_up:
        sentence = f"it acts at bar {first}; its warm-up is {warm_up} bars"
        return StrategyFinding("warm-up", good=False, sentence=sentence, bar=first)
    sentence = f"its warm-up is {warm_up} bars, the first action is at bar {first}"
    return StrategyFinding("warm-up", good=True, sentence=sentence)


def going_on(bars: Bars, cut: int, future: OtherFuture, draws: np.random.Generator) -> Bars:
    """The same until a bar, and then prices, volumes and, where it is late, instants that go on otherwise."""
    n = len(bars) - cut
    last = max(0, cut - 1)
    was = np.log(bars.close[cut:] / bars.close[last])
    noise = np.cumsum(draws.normal(0.0, min(_NOISE, _MOST_NOISE / np.sqrt(max(1, n))), n))
    becomes = np.clip(future.volatility * was + noise + np.log(future.level), -_MOST_LOG, _MOST_LOG)
    factor, of_volume, stamps = np.ones(len(bars)), np.ones(len(bars)), bars.known_at_us.copy()
    factor[cut:] = np.exp(becomes - was)
    of_volume[cut:] = np.nan if future.late else np.exp(draws.normal(0.0, 1.0, n)) * future.level
    if future.late:
        stamps[cut:] = stamps[last] + (stamps[cut:] - stamps[last]) * 3
    return Bars(
        stamps, bars.open * factor, bars.high * factor, bars.low * factor, bars.close * factor,
        bars.volume * of_volume,
        None if bars.book is None else bars.book * np.stack([factor, of_volume, factor, of_volume], axis=1),
        None
        if bars.contract is None
        else bars.contract * np.stack([of_volume, factor, factor, of_volume, of_volume, of_volume], axis=1),
    )  # fmt: skip


def _repeated(bars: Bars) -> Bars:
    """What could come after the last bar: the first quarter once more, from the last price on."""
    first = bars.slice(0, max(_LEAST // 2, len(bars) // 4))
    factor = bars.close[-1] / first.open[0]
    stamps = bars.known_at_us
    return Bars(
        stamps[-1] + (stamps[-1] - stamps[-2]) + first.known_at_us - first.known_at_us[0],
        first.open * factor, first.high * factor, first.low * factor, first.close * factor, first.volume,
    )  # fmt: skip


def _told(bars: Bars, whole: Int8Array, found: Int8Array, bar: int) -> str:
    """What differs at a bar, for a sentence."""
    when = format_instant(int(bars.known_at_us[bar]))
    return (
        f"the action at bar {bar} ({when}) is {_WORDS[int(found[bar])]} instead of {_WORDS[int(whole[bar])]}"
    )


def _first_difference(one: Int8Array, other: Int8Array) -> int | None:
    apart = np.flatnonzero(one != other)
    return int(apart[0]) if len(apart) else None


def _joined(one: Bars, other: Bars) -> Bars:
    return Bars(
        np.concatenate([one.known_at_us, other.known_at_us]),
        *(
            np.concatenate([getattr(one, name), getattr(other, name)])
            for name in ("open", "high", "low", "close", "volume")
        ),
    )
