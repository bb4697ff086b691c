"""The one allowance of a cluster as a Ray actor, and the client through which every replica asks it."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from raysignal.agents.llm.budget import Admission, Allowance, Budget, Period, RateLimiter, StateFile
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import SettingsError
from raysignal.runtime.detached_actor import DetachedActor

T = TypeVar("T")

_NAME = "model-budget"


@dataclass(frozen=True, slots=True)
class ModelQuota:
    """How many model calls a cluster may make, and how fast.

    Attributes:
        limit: calls a period.
        period: `run` or `day`.
        per_minute: calls a minute; None: as fast as they come.
        burst: calls at once after a quiet time.
        state: a file for what was used, on a disk that every node sees; None: it is kept in memory, and an
            actor that was restarted allows nothing more in that period.
    """

    limit: int
    period: Period = Period.RUN
    per_minute: float | None = None
    burst: int = 1
    state: str | None = None


class BudgetActor:
    """The mailbox of one allowance."""

    def __init__(self, terms: dict[str, Any]) -> None:
        self._terms = ModelQuota(**terms)
        budget = Budget(self._terms.limit, Period(self._terms.period))
        limiter = None
        if self._terms.per_minute is not None:
            limiter = RateLimiter(self._terms.per_minute, self._terms.burst)
        keep = None if self._terms.state is None else StateFile(Path(self._terms.state))
        if keep is None and ray.get_runtime_context().was_current_actor_reconstructed:
            budget.exhaust(_now_us())
        self._allowance = Allowance(budget, limiter, now_us=_now_us, now_s=time.monotonic, keep=keep)

    async def terms(self) -> dict[str, Any]:
        """The terms it was made with."""
        return asdict(self._terms)

    async def admit(self, patience_s: float) -> Admission:
        """See `Allowance.admit`."""
        return await self._allowance.admit(patience_s)

    async def held(self) -> float:
        """See `Allowance.held`."""
        return await self._allowance.held()

    async def hold(self, seconds: float) -> None:
        """See `Allowance.hold`."""
        await self._allowance.hold(seconds)

    async def give_back(self, period: str) -> None:
        """See `Allowance.give_back`."""
        await self._allowance.give_back(period)

    async def left(self) -> int:
        """Calls that are left."""
        return self._allowance.left()


class ClusterAllowance:
    """The cluster's allowance, as a `budget.Gatekeeper`. When its actor cannot be reached, no call is made.

    Args:
        actor: the actor's handle.
        answer_s: seconds that the actor has to answer.
    """

    def __init__(self, actor: Any, *, answer_s: float = 2.0) -> None:
        self._actor, self._answer_s = actor, answer_s

    @classmethod
    def connect(cls, terms: ModelQuota, *, name: str = _NAME, answer_s: float = 2.0) -> "ClusterAllowance":
        """The cluster's allowance of that name; its actor is made where there is none.

        Raises:
            SettingsError: there is one, with other terms.
        """
        actor = DetachedActor(name, BudgetActor, asdict(terms), concurrency=None).handle()
        existing = ModelQuota(**ray.get(actor.terms.remote()))
        if existing != terms:
            raise SettingsError(
                f"the budget {name!r} of this cluster has the terms {existing}; expected {terms}, or another name"
            )
        return cls(actor, answer_s=answer_s)

    async def admit(self, patience_s: float) -> Admission:
        """See `Allowance.admit`. An answer that comes too late, when nobody waits any more, is given back."""
        none = Admission(reason=Reason.MODEL_UNAVAILABLE, detail="the budget's actor does not answer")
        answer = asyncio.ensure_future(self._actor.admit.remote(patience_s))
        try:
            return await self._or(none, asyncio.shield(answer), min(self._answer_s, patience_s))
        finally:
            if not answer.done():
                answer.add_done_callback(self._unwanted)

    def _unwanted(self, answer: "asyncio.Future[Admission]") -> None:
        if not answer.cancelled() and answer.exception() is None and answer.result().period is not None:
            self._actor.give_back.remote(answer.result().period)

    async def held(self) -> float:
        """See `Allowance.held`; a turn that was given stays given."""
        return await self._or(0.0, self._actor.held.remote(), self._answer_s)

    async def hold(self, seconds: float) -> None:
        """See `Allowance.hold`; it is told, and not waited for."""
        self._actor.hold.remote(seconds)

    async def give_back(self, period: str) -> None:
        """See `Allowance.give_back`; it is told, and not waited for."""
        self._actor.give_back.remote(period)

    async def left(self) -> int:
        """Calls that are left; 0 when the actor does not answer."""
        return await self._or(0, self._actor.left.remote(), self._answer_s)

    def end(self) -> None:
        """End the actor; what it kept in a file stays."""
        ray.kill(self._actor)

    async def _or(self, otherwise: T, answer: Awaitable[T], within_s: float) -> T:
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except (RayError, TimeoutError):
            return otherwise


def _now_us() -> int:
    return time.time_ns() // 1_000
