"""Alive, ready, or why not: tells a slow start from a dead feed.

    starting   not every book has been whole yet, and it is not late: wait
    failed     it has not become ready within its bound, or what was asked for is refused for good
    ready      every book is whole and moves
    stale      it was ready, and a book is lost, stands still or its connection is gone: do not trade on it; it is
               being mended
    dead       it has ended, or has not become ready again within its bound: it is begun anew

Liveness is "neither dead nor failed", readiness is "ready". Bounds are of the caller's clock.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FeedState(StrEnum):
    """See the module."""

    STARTING = "starting"
    FAILED = "failed"
    READY = "ready"
    STALE = "stale"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Health:
    """A state, its reason in words (empty when ready) and since when, in seconds of the clock given."""

    state: FeedState
    reason: str
    since_s: float

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        return {
            "state": self.state, "reason": self.reason, "since_s": self.since_s, "alive": self.alive,
            "ready": self.ready,
        }  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether there is still hope without a restart."""
        return self.state not in {FeedState.DEAD, FeedState.FAILED}

    @property
    def ready(self) -> bool:
        """Whether all that it says may be acted on."""
        return self.state is FeedState.READY


class HealthWatch:
    """Judges what is missing now; `was_ready` says whether nothing was once.

    Args:
        start_within_s: not ready for so long after the start is failed.
        mend_within_s: not ready again for so long is dead.
    """

    def __init__(self, now_s: float, *, start_within_s: float = 120.0, mend_within_s: float = 300.0) -> None:
        self._start_within_s, self._mend_within_s = start_within_s, mend_within_s
        self.was_ready = False
        self._ended: str | None = None
        self._health = Health(FeedState.STARTING, "nothing has happened yet", now_s)
        self._unready_since_s = now_s

    def ended(self, reason: str) -> None:
        """It has stopped for good."""
        self._ended = reason

    def judge(self, missing: str, now_s: float) -> Health:
        """The state now; `missing` says what is not as it should be, empty for nothing."""
        if self._ended is not None:
            return self._become(FeedState.DEAD, self._ended, now_s)
        if not missing:
            self.was_ready, self._unready_since_s = True, now_s
            return self._become(FeedState.READY, "", now_s)
        bound = self._mend_within_s if self.was_ready else self._start_within_s
        waited = now_s - self._unready_since_s
        if waited > bound:
            verb = "ready again" if self.was_ready else "ready"
            state = FeedState.DEAD if self.was_ready else FeedState.FAILED
            return self._become(state, f"not {verb} within {bound:g} s: {missing}", now_s)
        return self._become(FeedState.STALE if self.was_ready else FeedState.STARTING, missing, now_s)

    def _become(self, state: FeedState, reason: str, now_s: float) -> Health:
        since = self._health.since_s if self._health.state is state else now_s
        self._health = Health(state, reason, since)
        return self._health
