"""Calls of a model within a deadline: waits for a turn, keeps to budget and rate, and leaves a dead server alone."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol

from raysignal.agents.llm.budget import Gatekeeper, pass_through
from raysignal.agents.llm.calls import Failure, Usage
from raysignal.agents.llm.models import Answered, Answered_co, Asked, Asked_contra
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField

MARGIN_S = 0.05
"""Of the deadline, kept for putting the outcome on record."""
CALL_SHARE = 0.5
"""Of the deadline, kept for the call: who had to wait for longer than the rest does not ask any more."""
NOT_ASKED = "not asked: "
"""So begins the detail of a failure where no call was made."""


class Callee(Protocol[Asked_contra, Answered_co]):
    """A model that can be called: a `LanguageModel`, or an `EmbeddingModel`."""

    async def call(self, request: Asked_contra, timeout_s: float, /) -> Answered_co | Failure:
        """See `LanguageModel.call`."""
        ...


class Circuit:
    """Stops asking a server that does not answer, and tries it again from time to time.

    Args:
        threshold: failures in a row after which it opens; 0: it never does.
        cool_s: seconds until one call may try again.
    """

    __slots__ = ("_detail", "_failures", "_last", "_opened_s", "cool_s", "threshold")

    def __init__(self, threshold: int = 3, cool_s: float = 30.0) -> None:
        self.threshold, self.cool_s = threshold, cool_s
        self._failures, self._opened_s = 0, float("-inf")
        self._last, self._detail = Reason.MODEL_UNAVAILABLE, ""

    @property
    def trouble(self) -> str:
        """Why the last calls brought nothing, in the words of the last; empty: they were fewer than the threshold."""
        if not self.threshold or self._failures < self.threshold:
            return ""
        return f"the last {self._failures} calls brought nothing ({self._last}): {self._detail}"

    def refusal(self, now_s: float) -> Failure | None:
        """Why nothing is asked now; None: ask. After the cooling time one caller at a time may try."""
        if not (trouble := self.trouble):
            return None
        if now_s - self._opened_s >= self.cool_s:
            self._opened_s = now_s
            return None
        return not_asked(self._last, trouble)

    def saw(self, outcome: object, now_s: float) -> None:
        """Learn from a call that was made."""
        if not isinstance(outcome, Failure) or outcome.reason not in _DEAD:
            self._failures = 0
            return
        self._failures += 1
        self._last, self._detail = outcome.reason, outcome.detail
        if self._failures == self.threshold:
            self._opened_s = now_s


_DEAD = frozenset({Reason.MODEL_TIMEOUT, Reason.MODEL_UNAVAILABLE})


class ModelCaller(Generic[Asked, Answered]):
    """Calls one model.

    Args:
        model: which.
        gate: how many calls may be made and how fast: `budget.Allowance`, or the cluster's.
        deadline_s: total seconds of one call, waiting included; at most half of it is spent waiting.
        concurrency: calls at once.
        circuit: None: one with its defaults.
        now_s: seconds of a steady clock; None: the event loop's.
    """

    def __init__(
        self,
        model: Callee[Asked, Answered],
        gate: Gatekeeper,
        *,
        deadline_s: float,
        concurrency: int,
        circuit: Circuit | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        if not deadline_s > 0:
            raise InvalidField("deadline_s", deadline_s, "a number of seconds above 0")
        if concurrency < 1:
            raise InvalidField("concurrency", concurrency, "at least 1")
        self._model, self._gate, self._deadline_s = model, gate, deadline_s
        self._circuit = Circuit() if circuit is None else circuit
        self._clock = now_s
        self._turns = asyncio.Semaphore(concurrency)

    @property
    def trouble(self) -> str:
        """See `Circuit.trouble`."""
        return self._circuit.trouble

    def now_s(self) -> float:
        """The clock."""
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    async def call(self, request: Asked, *, patience_s: float = 0.0) -> Answered | Failure:
        """One call, or the reason that there was none, within the deadline.

        Args:
            request: what is asked.
            patience_s: seconds to wait for a turn before the deadline begins.
        """
        until = self.now_s() + patience_s + self._deadline_s * (1.0 - min(0.5, MARGIN_S / self._deadline_s))
        try:
            async with asyncio.timeout(self._patience_s(until)):
                await self._turns.acquire()
        except TimeoutError:
            return not_asked(Reason.MODEL_TIMEOUT, "other calls took all the time")
        try:
            return await self._admitted(until, request)
        finally:
            self._turns.release()

    def _patience_s(self, until: float) -> float:
        """How long a call that must end at `until` can still wait before it begins."""
        return until - self.now_s() - CALL_SHARE * self._deadline_s

    async def _admitted(self, until: float, request: Asked) -> Answered | Failure:
        if (refusal := self._circuit.refusal(self.now_s())) is not None:
            return refusal
        admission = await pass_through(self._gate, self._patience_s(until), self.now_s)
        if admission.period is None:
            return not_asked(admission.reason, admission.detail)
        left_s = until - self.now_s()
        if left_s <= 0:
            await self._gate.give_back(admission.period)
            return not_asked(Reason.MODEL_TIMEOUT, "the turn came too late")
        outcome = await self._model.call(request, min(self._deadline_s, left_s))
        self._circuit.saw(outcome, self.now_s())
        if isinstance(outcome, Failure):
            if not outcome.sent:
                await self._gate.give_back(admission.period)
            if outcome.retry_after_s is not None:
                await self._gate.hold(outcome.retry_after_s)
        return outcome


def not_asked(reason: Reason, why: str) -> Failure:
    """No call was made."""
    return Failure(reason, f"{NOT_ASKED}{why}", usage=Usage(0, 0), sent=False)
