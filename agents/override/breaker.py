"""The breaker: it turns the agent off when what it overruled turns out to have cost more than a stated limit.

It watches what each decided signal gained over approving it, as the outcomes become known, signals that were
left alone counting 0. When the lower bound of the mean over the recent ones falls below the limit, every
signal stands from then on, until somebody resets it; it does not close by itself, and a restart keeps it.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numba import njit

from raysignal.agents.override.outcomes import Outcomes
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When the breaker opens.

    Attributes:
        limit_bps: the lower bound of the mean gain a signal may not fall below; at most 0.
        recent: so many judged signals are looked at.
        least: fewer than so many say nothing.
        sure: standard errors, as of independent gains, from the mean to its lower bound; 1.645 leaves 5 % below it
            where they are, more where they overlap.
    """

    limit_bps: float = -15.0
    recent: int = 500
    least: int = 100
    sure: float = 1.645

    def __post_init__(self) -> None:
        if not self.limit_bps <= 0.0:
            raise InvalidField("limit_bps", self.limit_bps, "a number of basis points, at most 0")
        if not 2 <= self.least <= self.recent:
            raise InvalidField("least", self.least, f"2 to `recent`, {self.recent}")
        if not self.sure >= 0.0:
            raise InvalidField("sure", self.sure, "a number from 0 on")


@dataclass(frozen=True, slots=True)
class BreakerTrip:
    """Why the breaker opened.

    Attributes:
        ordinal: the place of the first signal that stood because of it.
        at_us: its instant.
        mean_bps, lower_bps: of the recent gains.
        judged: how many they were.
    """

    ordinal: int
    at_us: int
    mean_bps: float
    lower_bps: float
    judged: int


class Breaker:
    """Watches the decisions of one stream, in its order."""

    __slots__ = ("_gains", "_until", "_verdicts", "_waiting", "rules", "trip")

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self.trip: BreakerTrip | None = None
        self._verdicts: dict[int, int] = {}  # of overruled signals whose outcome is not known yet
        self._waiting: deque[tuple[int, int, int, tuple[float, float, float]]] = deque()
        # The recent gains are the last ones before `_until`; when it comes to the end they move to the front.
        self._gains = np.empty(2 * rules.recent)
        self._until = 0

    @property
    def is_open(self) -> bool:
        """Whether every signal stands."""
        return self.trip is not None

    def pass_on(
        self, first: int, timestamp_us: Int64Array, verdict: Int8Array, outcomes: Outcomes
    ) -> BoolArray:
        """Which of the next n verdicts stand as they are: bool[n]; the others are to be approvals.

        Args:
            first: the place of the first signal; it goes on from the last call.
            timestamp_us: int64[n], the signals' instants.
            verdict: int8[n].
            outcomes: what these n rows settled.
        """
        self._waiting.extend(
            zip(
                outcomes.exit.tolist(), outcomes.known_at_us.tolist(), outcomes.ordinal.tolist(),
                map(tuple, outcomes.net_bps.tolist()), strict=True,
            )
        )  # fmt: skip
        stands = np.ones(len(verdict), np.bool_)
        for row, (instant, kind) in enumerate(zip(timestamp_us.tolist(), verdict.tolist(), strict=True)):
            if self._take_known(first + row, instant) and self.trip is None:
                self._look(first + row, instant)
            if self.trip is not None:
                stands[row] = False
            elif kind != Verdict.APPROVE:
                self._verdicts[first + row] = kind
        return stands

    def count_late(self, ordinal: int, verdict: Verdict) -> None:
        """An earlier signal is overruled, which stood until now; its outcome is not known yet."""
        if self.trip is None:
            self._verdicts[ordinal] = int(verdict)

    def reset(self) -> None:
        """Close it; what was gained or lost before is forgotten."""
        self.trip = None
        self._until = 0

    def status(self) -> dict[str, Any]:
        """Its state in plain values."""
        judged = len(self._recent())
        mean, lower = self._bounds() if judged > 1 else (None, None)
        return {
            "open": self.is_open,
            "trip": None if self.trip is None else asdict(self.trip),
            "judged": judged,
            "mean_bps": mean,
            "lower_bps": lower,
            "limit_bps": self.rules.limit_bps,
        }

    def dump(self) -> dict[str, Any]:
        """All of its state, for a snapshot; `load` takes it back."""
        return {
            "trip": None if self.trip is None else asdict(self.trip),
            "verdicts": list(self._verdicts.items()),
            "waiting": [list(entry) for entry in self._waiting],
            "gains": self._recent().tolist(),
        }

    @classmethod
    def load(cls, rules: BreakerRules, dump: Mapping[str, Any]) -> Self:
        """The breaker that `dump` described."""
        breaker = cls(rules)
        breaker.trip = None if dump["trip"] is None else BreakerTrip(**dump["trip"])
        breaker._verdicts = dict(map(tuple, dump["verdicts"]))
        breaker._waiting.extend((row, known, at, tuple(net)) for row, known, at, net in dump["waiting"])
        for gain in dump["gains"]:
            breaker._add(gain)
        return breaker

    def _take_known(self, row: int, instant: int) -> bool:
        """Take in the outcomes that are known at a row; whether there were any."""
        found = False
        while self._waiting and self._waiting[0][0] <= row and self._waiting[0][1] <= instant:
            _, _, ordinal, net = self._waiting.popleft()
            kind = self._verdicts.pop(ordinal, int(Verdict.APPROVE))
            self._add(net[kind] - net[Verdict.APPROVE])
            found = True
        return found

    def _look(self, row: int, instant: int) -> None:
        judged = len(self._recent())
        if judged < self.rules.least:
            return
        mean, lower = self._bounds()
        if lower < self.rules.limit_bps:
            self.trip = BreakerTrip(row, instant, mean, lower, judged)

    def _recent(self) -> Float64Array:
        return self._gains[max(0, self._until - self.rules.recent) : self._until]

    def _add(self, gain: float) -> None:
        if self._until == len(self._gains):
            kept = self._recent().copy()
            self._until = len(kept)
            self._gains[: self._until] = kept
        self._gains[self._until] = gain
        self._until += 1

    def _bounds(self) -> tuple[float, float]:
        mean, error = _mean_and_error(self._recent())
        return mean, mean - self.rules.sure * error


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mean_and_error(values: Float64Array) -> tuple[float, float]:
    """The mean of two or more values and its standard error; numpy takes fifty times longer for so few."""
    n = len(values)
    total = 0.0
    for value in values:
        total += value
    mean = total / n
    squares = 0.0
    for value in values:
        squares += (value - mean) * (value - mean)
    return mean, np.sqrt(squares / (n - 1.0) / n)
