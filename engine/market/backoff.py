"""How long to wait before trying again: longer each time, and never together with everybody else."""

from random import Random


class Backoff:
    """Delays that double up to a bound, each drawn from its upper half.

    Args:
        first_s, most_s: bounds of the delay before it is drawn.
        lasting_s: a success that lasted so long sets the delay back; one that did not was none, or a connection
            that is cut at once would be opened again without end.
    """

    def __init__(self, random: Random, *, first_s: float, most_s: float, lasting_s: float = 0.0) -> None:
        self._random, self._first_s, self._most_s, self._lasting_s = random, first_s, most_s, lasting_s
        self.failures = 0

    def failed(self, lasted_s: float = 0.0) -> float:
        """The delay before the next try; `lasted_s`: how long the last success held, 0 if there was none."""
        if self._lasting_s and lasted_s >= self._lasting_s:
            self.failures = 0
        whole = min(self._most_s, self._first_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return whole * self._random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """The next delay is a first one."""
        self.failures = 0


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header; None for one that is missing, a date or nonsense (the back-off decides)."""
    if value is None or not value.strip().isdecimal():
        return None
    return float(min(int(value), 86_400))
