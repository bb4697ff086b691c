"""How far this machine's clock is from the venue's: estimated, never assumed.

Two ways, and each says how sure it is. From the stream alone: the smallest (received - exchange) of a window is the
offset plus the fastest way here, which cannot be told apart, so that a latency against it is one above the fastest
message. From a question (the venue's time, between two readings of this clock): the offset to within half the time the
answer took. Both follow a clock that drifts, because old readings leave the window.

A clock that is wrong by more than `CORRECTED_FROM_US` is set right (`VenueClock`): what is stamped by it is compared
with the venue's stamps, which a wrong clock makes look like trades of the future, or like bars that are over.
"""

from collections import deque
from dataclasses import dataclass

from raysignal.engine.market.clocks import Clock

_PARTS = 6
CORRECTED_FROM_US = 1_000_000
"""A clock that is wrong by less is left as it is: bars wait longer than that for nothing."""


@dataclass(frozen=True, slots=True)
class Offset:
    """received - exchange for a message that took no time.

    Attributes:
        uncertainty_us: at most so far off; None: cannot be told (`fastest message` includes the way here).
        basis: `server time` or `fastest message`.
    """

    offset_us: int
    uncertainty_us: int | None
    basis: str


class ClockOffset:
    """The estimate for one venue.

    Args:
        window_us: how long a reading counts.

    Attributes:
        correction_us: how far this machine's clock is ahead of the venue's as far as it is set right; 0: it is not.
    """

    def __init__(self, window_us: int = 60_000_000) -> None:
        self._part_us = max(1, window_us // _PARTS)
        self._minima: deque[tuple[int, int]] = deque(maxlen=_PARTS + 1)  # part, smallest of it
        self._part, self._smallest = -1, 0
        self._least: int | None = None
        self._asked: deque[tuple[int, int, int]] = deque(maxlen=32)  # when, offset, uncertainty
        self._window_us = window_us
        self.correction_us = 0

    def observe(self, received_us: int, exchange_us: int) -> None:
        """A message that carries the venue's time, received by the clock that is set right."""
        difference, part = received_us - exchange_us, received_us // self._part_us
        if part != self._part:
            self._turn(part, difference)
        elif difference < self._smallest:
            self._smallest = difference
            if self._least is None or difference < self._least:
                self._least = difference

    def asked(self, sent_us: int, server_us: int, received_us: int) -> None:
        """The venue said `server_us` some time between sending the question and receiving the answer.

        Both by this machine's own clock.
        """
        if sent_us > received_us:
            return  # the clock was set meanwhile
        middle, half = (sent_us + received_us) // 2, (received_us - sent_us + 1) // 2
        offset_us = middle - server_us
        if abs(offset_us - self.correction_us) - half > CORRECTED_FROM_US:
            # The clock was set, or is looked at for the first time: what was observed before is of another clock.
            self._asked.clear()
            self._minima.clear()
            self._part, self._least = -1, None
            self.correction_us = offset_us if abs(offset_us) > CORRECTED_FROM_US else 0
        self._asked.append((received_us, offset_us, half))

    def estimate(self, now_us: int) -> Offset | None:
        """The best there is, of this machine's own clock; None: nothing was observed.

        Args:
            now_us: by this machine's own clock.
        """
        fresh = [each for each in self._asked if now_us - each[0] <= 10 * self._window_us]
        if fresh:
            _, offset, half = min(fresh, key=lambda each: each[2])
            return Offset(offset, half, "server time")
        if self._least is None:
            return None
        return Offset(self._least + self.correction_us, None, "fastest message")

    def offset_us(self) -> int:
        """The estimate from the stream alone, as it is used for every message; 0 before the first."""
        return 0 if self._least is None else self._least

    def _turn(self, part: int, difference: int) -> None:
        if self._part >= 0:
            self._minima.append((self._part, self._smallest))
        while self._minima and self._minima[0][0] <= part - _PARTS:
            self._minima.popleft()
        self._part, self._smallest = part, difference
        self._least = min([difference, *(least for _, least in self._minima)])


class VenueClock:
    """This machine's clock, set right by the venue's where it is known to be wrong; see `ClockOffset`."""

    def __init__(self, clock: Clock, offset: ClockOffset) -> None:
        self._clock, self._offset = clock, offset
        self.monotonic, self.real, self.sleep = clock.monotonic, clock.real, clock.sleep

    def now_ns(self) -> int:
        """UTC as the venue has it, to within `CORRECTED_FROM_US`."""
        return self._clock.now_ns() - 1000 * self._offset.correction_us
