"""The clocks that a feed is driven by: this machine's, and a fast one for generated markets.

A feed asks nothing but the clock it is given for instants and waits, so that a day can pass in a minute.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Instants, durations and waits, all at the clock's own speed."""

    def now_ns(self) -> int:
        """UTC, nanoseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def real(self, seconds: float) -> float:
        """How long so many seconds of this clock take, for libraries that time themselves."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """This machine's clock."""

    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)

    @staticmethod
    def real(seconds: float) -> float:
        """See `Clock`."""
        return seconds


class FastClock:
    """A clock that stood at `start_us` when it was made, and runs `speed` times as fast as this machine's."""

    def __init__(self, start_us: int, speed: float) -> None:
        self.speed = speed
        self._start_ns, self._made_ns = 1000 * start_us, time.monotonic_ns()

    def now_ns(self) -> int:
        """See `Clock`."""
        return self._start_ns + int((time.monotonic_ns() - self._made_ns) * self.speed)

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic() * self.speed

    def real(self, seconds: float) -> float:
        """See `Clock`."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds / self.speed)
