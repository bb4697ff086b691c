"""How far this machine's clock is from the venue's: estimated, never assumed.

Two ways, and each says how sure it is. From the stream alone: the smallest (received - exchange) of a window is the
offset plus the fastest way here, which cannot be told apart, so that a latency against it is one above the fastest
message. From a question (the venue's time, between two readings of this clock): the offset to within half the time the
answer took. Both follow a clock that drifts, because old readings leave the window.
"""

from collections import deque
from dataclasses import dataclass

_PARTS = 6


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
    """

    def __init__(self, window_us: int = 60_000_000) -> None:
        self._part_us = max(1, window_us // _PARTS)
        self._minima: deque[tuple[int, int]] = deque(maxlen=_PARTS + 1)  # part, smallest of it
        self._part, self._smallest = -1, 0
        self._least: int | None = None
        self._asked: deque[tuple[int, int, int]] = deque(maxlen=32)  # when, offset, uncertainty
        self._window_us = window_us

    def observe(self, received_us: int, exchange_us: int) -> None:
        """A message that carries the venue's time."""
        difference, part = received_us - exchange_us, received_us // self._part_us
        if part != self._part:
            self._turn(part, difference)
        elif difference < self._smallest:
            self._smallest = difference
            if self._least is None or difference < self._least:
                self._least = difference

    def asked(self, sent_us: int, server_us: int, received_us: int) -> None:
        """The venue said `server_us` some time between sending the question and receiving the answer."""
        if sent_us <= received_us:
            middle, half = (sent_us + received_us) // 2, (received_us - sent_us + 1) // 2
            self._asked.append((received_us, middle - server_us, half))

    def estimate(self, now_us: int) -> Offset | None:
        """The best there is; None: nothing was observed."""
        fresh = [each for each in self._asked if now_us - each[0] <= 10 * self._window_us]
        if fresh:
            _, offset, half = min(fresh, key=lambda each: each[2])
            return Offset(offset, half, "server time")
        if self._least is None:
            return None
        return Offset(self._least, None, "fastest message")

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
