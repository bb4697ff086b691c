"""Whether a strategy can be believed: it sees no bar that is not there yet, says the same again, warms up as it says.

Nothing is asked of a strategy but `actions`; one that has a `stream` as well is held to it. `Rerun` gives a stream to
one that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from engine.errors import InvalidField
from engine.strategies.strategy import Actions, Bars

TRIES = 24
_LEAST = 8  # bars
_SINGLY = 64  # bars at the start that a stream is given one by one
_SPEAKING = 64  # bars that speak, right after which the rest is cut off


class Vectorised(Protocol):
    """What every strategy has."""

    def actions(self, bars: Bars) -> Actions:
        """See `Strategy`."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        good: whether the strategy passed.
        sentence: for people.
        bar: the first bar at which something is wrong; None: nothing is.
    """

    check: str
    good: bool
    sentence: str
    bar: int | None = None


class Rerun:
    """A stream of a strategy that has none: it works out everything again with every piece.

    For rules of a user's own: the cost of n pieces grows with their square.
    """

    def __init__(self, strategy: Vectorised) -> None:
        self._strategy = strategy
        self._seen: Bars | None = None

    def advance(self, bars: Bars) -> Actions:
        """See `Stream`."""
        self._seen = bars if self._seen is None else _joined(self._seen, bars)
        count = len(self._seen)
        whole = np.asarray(self._strategy.actions(self._seen))
        return whole[count - len(bars) :].astype(np.int8)


class UserStrategy:
    """A base for rules of a user's own: `actions` alone is needed.

    Attributes:
        warm_up: bars at the start that are always HOLD.
    """

    warm_up: int = 0

    def actions(self, bars: Bars) -> Actions:
        """int8[n] of n bars; each may use its bar and those before it."""
        raise NotImplementedError

    def stream(self) -> Rerun:
        """By working everything out again."""
        return Rerun(self)


def check_strategy(strategy: Any, bars: Bars, *, seed: int = 0, tries: int = TRIES) -> list[Finding]:
    """Every check, in an order in which the first that fails explains the others.

    Args:
        strategy: what is checked.
        bars: at least 8.
        seed: of where the bars are cut and changed.
        tries: how many cuts are tried.

    Raises:
        InvalidField: too few bars, or no strategy.
    """
    if len(bars) < _LEAST:
        raise InvalidField("bars", len(bars), f"at least {_LEAST}")
    if not callable(getattr(strategy, "actions", None)):
        raise InvalidField("strategy", type(strategy).__name__, "a class with a method actions(bars)")
    try:
        whole = strategy.actions(bars)
    except Exception as error:  # noqa: BLE001 - a rule of somebody else's
        return [Finding("actions", good=False, sentence=f"it raises {type(error).__name__}: {error}")]
    shape = _shape(whole, len(bars))
    if not shape.good:
        return [shape]
    draws = np.random.default_rng(seed)
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("determinism", lambda: _same_again(strategy, bars, whole)),
        ("look-ahead", lambda: _no_look_ahead(strategy, bars, whole, draws, tries)),
        ("warm-up", lambda: _warm_up(strategy, whole)),
    ]
    if callable(getattr(strategy, "stream", None)):
        checks.append(("stream", lambda: _streams(strategy, bars, whole, draws, tries)))
    return [shape, *(_held(check) for check in checks)]


def _held(check: tuple[str, Callable[[], Finding]]) -> Finding:
    """What a check found, or what the rule raised on fewer bars, or bars in pieces."""
    name, found = check
    try:
        return found()
    except Exception as error:  # noqa: BLE001 - a rule of somebody else's
        return Finding(name, good=False, sentence=f"it raises {type(error).__name__}: {error}")


def _shape(whole: Any, n: int) -> Finding:
    name = "actions"
    if not isinstance(whole, np.ndarray) or whole.shape != (n,):
        shape = getattr(whole, "shape", type(whole).__name__)
        return Finding(name, good=False, sentence=f"actions are {shape}; expected an array of {n}, one a bar")
    if whole.dtype != np.int8:
        return Finding(name, good=False, sentence=f"actions are {whole.dtype}; expected int8")
    wrong = np.flatnonzero((whole < -1) | (whole > 1))
    if len(wrong):
        at = int(wrong[0])
        return Finding(
            name, good=False, sentence=f"action {whole[at]} at bar {at}; expected -1, 0 or 1", bar=at
        )
    said = {side: int(np.count_nonzero(whole == side)) for side in (1, -1)}
    return Finding(name, good=True, sentence=f"{said[1]} BUY and {said[-1]} SELL in {n} bars")


def _same_again(strategy: Vectorised, bars: Bars, whole: Actions) -> Finding:
    again = np.asarray(strategy.actions(bars))
    if len(again) != len(whole):
        sentence = f"the same bars give {len(again)} actions instead of {len(whole)}"
        return Finding("determinism", good=False, sentence=sentence, bar=min(len(again), len(whole)))
    at = _first_difference(whole, again)
    if at is None:
        return Finding("determinism", good=True, sentence="the same bars give the same actions")
    return Finding(
        "determinism",
        good=False,
        sentence=f"the same bars give {again[at]} instead of {whole[at]} at bar {at}",
        bar=at,
    )


def _no_look_ahead(
    strategy: Vectorised, bars: Bars, whole: Actions, draws: np.random.Generator, tries: int
) -> Finding:
    """By bars that are cut off, and by bars that become others."""
    worst: int | None = None
    cuts = _cuts(whole, draws, tries)
    for cut in cuts:
        for shown in (bars.slice(0, cut), _other_future(bars, cut, draws)):
            found = np.asarray(strategy.actions(shown))[:cut]
            at = _first_difference(whole[:cut], found)
            if at is not None:
                worst = at if worst is None else min(worst, at)
    if worst is None:
        return Finding(
            "look-ahead",
            good=True,
            sentence=f"no action changes with what comes after it, in {len(cuts)} tries",
        )
    return Finding(
        "look-ahead",
        good=False,
        sentence=f"the action at bar {worst} (or sooner) changes with bars that come after it",
        bar=worst,
    )


def _warm_up(strategy: Any, whole: Actions) -> Finding:
    warm_up = getattr(strategy, "warm_up", 0)
    said = np.flatnonzero(whole)
    first = int(said[0]) if len(said) else None
    if first is not None and first < warm_up:
        return Finding(
            "warm-up",
            good=False,
            sentence=f"it says something at bar {first}; its warm-up is {warm_up} bars",
            bar=first,
        )
    shown = "it never says anything here" if first is None else f"the first action is at bar {first}"
    return Finding("warm-up", good=True, sentence=f"its warm-up is {warm_up} bars, {shown}")


def _streams(strategy: Any, bars: Bars, whole: Actions, draws: np.random.Generator, tries: int) -> Finding:
    n, worst = len(bars), None
    for place in range(max(1, tries // 4)):
        cuts = sorted({0, n, *draws.integers(0, n, 5).tolist()})
        if place == 0:
            cuts = [*range(min(n, _SINGLY) + 1), n] if n > _SINGLY else list(range(n + 1))
        stream = strategy.stream()
        parts = [
            np.asarray(part)
            for part in [stream.advance(bars.slice(begin, end)) for begin, end in pairwise(cuts)]
        ]
        if any(part.dtype != np.int8 for part in parts):
            return Finding("stream", good=False, sentence="its stream gives other than int8")
        at = _first_difference(whole, np.concatenate(parts))
        if at is not None:
            worst = at if worst is None else min(worst, at)
    if worst is None:
        return Finding(
            "stream", good=True, sentence="one by one and in pieces it says the same as all at once"
        )
    return Finding(
        "stream", good=False, sentence=f"in pieces it says something else at bar {worst}", bar=worst
    )


def _cuts(whole: Actions, draws: np.random.Generator, tries: int) -> list[int]:
    """Right after bars that speak (a rule that peeks speaks too soon), where windows fill, and anywhere."""
    n, spoke = len(whole), np.flatnonzero(whole)
    after = (
        spoke[np.linspace(0, len(spoke) - 1, min(len(spoke), _SPEAKING)).astype(np.int64)] + 1
        if len(spoke)
        else spoke
    )
    anywhere = [*draws.integers(1, max(2, n // 4), tries // 3), *draws.integers(1, n, tries - tries // 3)]
    return sorted({int(cut) for cut in (*after, *anywhere)})


def _other_future(bars: Bars, cut: int, draws: np.random.Generator) -> Bars:
    """The same until a bar, and then prices that go on otherwise."""
    n = len(bars)
    factor = np.ones(n)
    factor[cut:] = np.exp(np.cumsum(draws.normal(0.0, 0.05, n - cut)))
    return Bars(
        bars.known_at_us,
        bars.open * factor,
        bars.high * factor,
        bars.low * factor,
        bars.close * factor,
        bars.volume,
    )


def _first_difference(one: Actions, other: Actions) -> int | None:
    if len(one) != len(other):
        return min(len(one), len(other))
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
