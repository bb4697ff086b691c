"""Rates with their intervals, and lines that say what was asked and whether it holds."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many of n."""

    count: int
    n: int

    @property
    def share(self) -> float:
        """Of n; 0 where there were none."""
        return self.count / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of 95 %."""
        from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

        if not self.n:
            return 0.0, 1.0
        found = binomtest(self.count, self.n).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%})"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that is asked.

    Attributes:
        what: in words.
        value: measured, a share.
        bound: asked.
        at_least: whether it must reach the bound, or stay at or below it.
        note: shown behind.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False
    note: str = ""

    @classmethod
    def of_rate(cls, what: str, rate: Proportion, bound: float, *, at_least: bool = False) -> "Criterion":
        """About a rate, whose interval is the note."""
        low, high = rate.interval
        return cls(what, rate.share, bound, at_least, f"{rate.count} of {rate.n}, {low:.1%} to {high:.1%}")

    @property
    def holds(self) -> bool:
        """Whether it does; a value that is no number does not."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        note = f"  ({self.note})" if self.note else ""
        return f"{'holds' if self.holds else 'FAILS'}  {self.value:>7.1%} {sign} {self.bound:<6.1%} {self.what}{note}"


def show(lines: Sequence[str], results: Sequence[Criterion]) -> int:
    """Print a table and what is asked of it; the status of the program: 1 if something does not hold."""
    print(*lines, "", *results, sep="\n")
    return 0 if all(each.holds for each in results) else 1
