"""What a venue lets one address do: connects, requests and texts, each within a window of time.

Limits are kept for one process: whoever runs several processes behind one address divides them, or finds them out by
the venue's 429.
"""

from collections import deque
from dataclasses import dataclass

from raysignal.engine.market.venues.protocol import RateRules

REST_SHARE = 0.5  # of what venues allow: others live behind the same address


class Limiter:
    """A sliding window: at most `amount` within any `within_s`. Times are of the caller's monotonic clock."""

    def __init__(self, amount: float, within_s: float) -> None:
        self._amount, self._within_s = amount, within_s
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._not_before = float("-inf")

    def reserve(self, now_s: float, weight: float = 1.0) -> float:
        """Book a place, the first after those booked before; how long to wait for it, 0 for now.

        A weight above the whole amount is let through once the window is empty, since it never fits.
        """
        at = max(now_s, self._not_before, self._taken[-1][0] if self._taken else now_s)
        while self._taken and (self._taken[0][0] <= at - self._within_s or self._sum + weight > self._amount):
            first, gone = self._taken.popleft()
            self._sum -= gone
            at = max(at, first + self._within_s)
        self._taken.append((at, weight))
        self._sum += weight
        return at - now_s

    def pause(self, until_s: float) -> None:
        """The venue has said not to come back before then."""
        self._not_before = max(self._not_before, until_s)

    def paused_for(self, now_s: float) -> float:
        """What is left of such a pause, also for those who had a place; 0: nothing."""
        return max(0.0, self._not_before - now_s)


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """One venue's limits, shared by all its connections in this process.

    Attributes:
        connects: connection attempts.
        weight: of REST requests, as the venue counts them.
        at_once: REST requests under way together.
    """

    connects: Limiter
    weight: Limiter
    at_once: int = 4

    @classmethod
    def of(cls, manners: RateRules) -> "VenueLimits":
        """By the venue's manners; requests by their half."""
        return cls(
            Limiter(manners.connects, manners.connects_within_s),
            Limiter(REST_SHARE * manners.weight, manners.weight_within_s),
        )
