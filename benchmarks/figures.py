"""What a benchmark reports: one figure, its unit, and what it is to reach."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        benchmark: which benchmark it belongs to.
        what: what was measured.
        value: the figure.
        unit: its unit; `x` for a ratio.
        target: what it is to reach, if anything was asked of it.
        better: whether more or less is better; what `target` is compared by.
    """

    benchmark: str
    what: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["more", "less"] = "more"

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "more" else self.value <= self.target

    @property
    def shown(self) -> str:
        """The figure as a person reads it."""
        if self.value == 0 or abs(self.value) >= 1000:
            return f"{self.value:,.0f} {self.unit}"
        return f"{self.value:,.3g} {self.unit}"

    @property
    def asked(self) -> str:
        """The target as a person reads it; empty without one."""
        if self.target is None:
            return ""
        sign = "≥" if self.better == "more" else "≤"
        return f"{sign} {self.target:,.10g} {self.unit}"
