"""How many calls may be made, and how fast: reserved before a call, never after it.

A `Budget` counts calls of a run or of a UTC day, a `RateLimiter` spaces them, an `Allowance` asks both at once.
All are plain and read no clock; `runtime/model_budget_actor.py` puts one allowance behind one mailbox for a whole
cluster.
"""

import asyncio
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.instants import DAY_US, format_date

RUN = "run"
_NEVER_US = -1


class Period(StrEnum):
    """Over what a budget counts."""

    RUN = "run"
    DAY = "day"  # of UTC


class Budget:
    """At most `limit` calls a period. What was reserved counts, whether or not the call was made.

    Args:
        limit: calls; 0 allows none.
        period: over what they are counted.
    """

    __slots__ = ("_named", "_used", "limit", "period")

    def __init__(self, limit: int, period: Period = Period.RUN) -> None:
        if limit < 0:
            raise InvalidField("limit", limit, "a number of calls of at least 0")
        self.limit, self.period = limit, period
        self._named, self._used = "", 0

    def reserve(self, now_us: int) -> str | None:
        """Take one call out of the period of `now_us`: that period's name; None: nothing is left."""
        self._turn(now_us)
        if self._used >= self.limit:
            return None
        self._used += 1
        return self._named

    def give_back(self, period: str) -> None:
        """Put one call back that certainly was not sent, into the period it was taken from."""
        if period == self._named and self._used > 0:
            self._used -= 1

    def left(self, now_us: int) -> int:
        """Calls that are left in the period of `now_us`."""
        self._turn(now_us)
        return self.limit - self._used

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as plain JSON values."""
        return {"period": self._named, "used": self._used}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; `UnreadableInput` if it is none."""
        named, used = state.get("period"), state.get("used")
        if not isinstance(named, str) or type(used) is not int or used < 0:
            raise UnreadableInput(f"the budget's state is {dict(state)!r}; expected period and used")
        self._named, self._used = named, used

    def exhaust(self, now_us: int) -> None:
        """Nothing is left in this period: what was used of it is not known any more."""
        self._turn(now_us)
        self._used = max(self._used, self.limit)

    def _turn(self, now_us: int) -> None:
        """Begin a new period where one has begun. A clock that goes back opens no day again; one that was days ahead
        is believed again, and what was used meanwhile counts today.
        """
        named = RUN if self.period is Period.RUN else format_date(now_us)
        if named > self._named or (self._named and (self._named == RUN) != (named == RUN)):
            self._named, self._used = named, 0
        elif named != RUN and format_date(now_us + 2 * DAY_US) <= self._named:
            self._named = named


class RateLimiter:
    """A token bucket that gives out turns in the order they are asked for.

    Args:
        per_minute: calls a minute, in the long run; infinite: as fast as they come.
        burst: calls at once after a quiet time.
    """

    __slots__ = ("_held_until", "_latest", "_tokens", "burst", "per_minute")

    def __init__(self, per_minute: float, burst: int = 1) -> None:
        if not per_minute > 0:
            raise InvalidField("per_minute", per_minute, "a number above 0")
        if burst < 1:
            raise InvalidField("burst", burst, "at least 1")
        self.per_minute, self.burst = per_minute, burst
        self._tokens, self._latest = float(burst), float("-inf")
        self._held_until = float("-inf")

    def wait(self, now_s: float) -> float:
        """Seconds until a call that asks now has its turn; nothing is taken."""
        self._refill(now_s)
        return self.held(now_s) + max(0.0, (1.0 - self._tokens) * 60.0 / self.per_minute)

    def take(self, now_s: float) -> float:
        """Take the next turn: the seconds to wait for it."""
        waiting = self.wait(now_s)
        self._tokens -= 1.0
        return waiting

    def give_back(self) -> None:
        """Put a turn back that was not used."""
        self._tokens = min(self._tokens + 1.0, float(self.burst))

    def hold(self, now_s: float, seconds: float) -> None:
        """The server asked to be left alone: no turn before that, for anyone, and no crowd when it is over."""
        self._refill(now_s)
        self._held_until = max(self._held_until, now_s + seconds)
        # No turns gather meanwhile.
        self._latest = max(self._latest, self._held_until)

    def held(self, now_s: float) -> float:
        """Seconds for which a server's request still holds everyone."""
        return max(0.0, self._held_until - now_s)

    def _refill(self, now_s: float) -> None:
        if now_s > self._latest:
            passed = min(now_s - self._latest, 1e9)
            self._tokens = min(float(self.burst), self._tokens + passed * self.per_minute / 60.0)
            self._latest = now_s


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether one call may be made.

    Attributes:
        wait_s: seconds to wait before it.
        period: the budget's period that it was taken from; None: it may not be made.
        reason: why it may not be made.
        detail: the same for people.
    """

    wait_s: float = 0.0
    period: str | None = None
    reason: Reason = Reason.MODEL_BUDGET
    detail: str = ""


class Gatekeeper(Protocol):
    """Whoever lets calls through: an `Allowance` here, or the cluster's through `runtime.model_budget_actor`."""

    async def admit(self, patience_s: float) -> Admission:
        """Reserve one call that need not wait longer than `patience_s`; never raises for a lack of calls."""
        ...

    async def held(self) -> float:
        """Seconds for which everyone is held, asked again after a wait."""
        ...

    async def hold(self, seconds: float) -> None:
        """The server asked everyone to wait."""
        ...

    async def give_back(self, period: str) -> None:
        """One reserved call was certainly not sent."""
        ...


class Allowance:
    """A budget and a limiter that are asked at once, so that a call that is refused by one costs the other nothing.

    Args:
        budget: how many.
        limiter: how fast; None: as fast as they come, but for a server that asks to wait.
        now_us: microseconds of UTC, for the budget's day.
        now_s: seconds of any steady clock, for the limiter.
        keep: where the budget's state is kept over restarts; None: it lives as long as this.
    """

    def __init__(
        self,
        budget: Budget,
        limiter: RateLimiter | None,
        *,
        now_us: Callable[[], int],
        now_s: Callable[[], float],
        keep: "StateFile | None" = None,
    ) -> None:
        self._budget, self._limiter = budget, limiter or RateLimiter(math.inf)
        self._now_us, self._now_s, self._keep = now_us, now_s, keep
        if keep is not None and (state := keep.load()) is not None:
            budget.restore(state)

    async def admit(self, patience_s: float) -> Admission:
        """See `Gatekeeper.admit`; the reservation is durable, where it is kept, before this returns."""
        wait_s = self._limiter.wait(self._now_s())
        if wait_s > patience_s:
            detail = f"the next turn is in {wait_s:.3g} s, but the decision is due in {patience_s:.3g} s"
            return Admission(reason=Reason.MODEL_QUOTA, detail=detail)
        period = self._budget.reserve(self._now_us())
        if period is None:
            detail = f"all {self._budget.limit} calls of this {self._budget.period} are used"
            return Admission(reason=Reason.MODEL_BUDGET, detail=detail)
        self._save()
        self._limiter.take(self._now_s())
        return Admission(wait_s, period)

    async def held(self) -> float:
        """See `Gatekeeper.held`."""
        return self._limiter.held(self._now_s())

    async def hold(self, seconds: float) -> None:
        """See `Gatekeeper.hold`."""
        self._limiter.hold(self._now_s(), seconds)

    async def give_back(self, period: str) -> None:
        """See `Gatekeeper.give_back`."""
        self._budget.give_back(period)
        self._save()
        self._limiter.give_back()

    def left(self) -> int:
        """Calls that are left."""
        return self._budget.left(self._now_us())

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.save(self._budget.state())


@dataclass(frozen=True, slots=True)
class StateFile:
    """A small state of plain JSON in a file, replaced as a whole and durable when `save` returns."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """The state; None: there is none yet; `UnreadableInput`: it is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            state: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise UnreadableInput(f"{self.path} holds no JSON: {error}") from error
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(json.dumps(dict(state)).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def pass_through(gate: Gatekeeper, patience_s: float, now_s: Callable[[], float]) -> Admission:
    """Reserve a call and wait for its turn; a hold that came meanwhile is waited for as well, while there is time.

    Args:
        gate: who lets through.
        patience_s: how long all of it may take.
        now_s: seconds of a steady clock.
    """
    until = now_s() + patience_s
    admission = await gate.admit(patience_s)
    waiting = admission.wait_s
    while admission.period is not None and waiting > 0:
        if now_s() + waiting > until:
            await gate.give_back(admission.period)
            detail = f"the server asked for {waiting:.3g} s more, which is too late for this decision"
            return Admission(reason=Reason.MODEL_QUOTA, detail=detail)
        await asyncio.sleep(waiting)
        waiting = await gate.held()
    return admission
