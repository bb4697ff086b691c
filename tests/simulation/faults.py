"""Which fault happens when: drawn from the seed, counted by kind.

A schedule switches a few kinds on (so that every kind is also seen without the others) and gives them a budget.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class SimCrash(BaseException):
    """The process that was running is gone. Not an `Exception`: nothing in the core may catch it."""


CLIENT_KINDS = ("client_duplicate", "client_reorder", "client_delay", "client_retry")
CRASH_KINDS = tuple(
    f"{how}_{when}_{what}"
    for how in ("kill", "power_loss")
    for when in ("before", "after")
    for what in ("write", "sync")
)
S3_CRASH_KINDS = ("kill_before_put", "kill_after_put")
DISK_KINDS = (
    "disk_error_write",
    "disk_error_sync",
    "disk_error_other",
    "torn_cut",
    "torn_zeros",
    "torn_lost",
    "name_lost",
)
S3_KINDS = ("s3_500", "s3_500_applied", "s3_timeout_lost", "s3_timeout_applied", "s3_late_put", "s3_down")
HARM_KINDS = ("snapshot_lost", "snapshot_damaged", "run_lost", "run_damaged", "history_lost")
SHARED_KINDS = ("takeover", "stale_write", "interleaved", "kill_idle", "flipped_byte", *HARM_KINDS)

EXHAUSTING = frozenset((*CRASH_KINDS, *S3_CRASH_KINDS, *DISK_KINDS, *S3_KINDS, "interleaved"))
"""Kinds that could strike at every operation: without a limit nothing would ever get done."""

KINDS = {
    "local": CLIENT_KINDS + CRASH_KINDS + DISK_KINDS + SHARED_KINDS,
    "s3": CLIENT_KINDS + S3_CRASH_KINDS + S3_KINDS + ("cache_lost",) + SHARED_KINDS,
}
"""Every kind that is planned for a store; a long run in which one never happened has failed."""


@dataclass(slots=True)
class Faults:
    """The faults of one schedule."""

    rng: random.Random
    trace: Callable[[str], None]
    rates: dict[str, float] = field(default_factory=dict)
    budget: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    _quiet: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether somebody is only looking."""
        return self._quiet > 0

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing happens meanwhile: for who checks."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def happens(self, kind: str) -> bool:
        """Whether a fault of this kind happens here and now."""
        rate = self.rates.get(kind, 0.0)
        if self._quiet or not rate or self.rng.random() >= rate:
            return False
        if kind in EXHAUSTING:
            if self.budget <= 0:
                return False
            self.budget -= 1
        self.count(kind)
        return True

    def count(self, kind: str) -> None:
        """Note a fault that happened."""
        self.injected[kind] += 1
        self.trace(f"fault {kind}")
