"""What a portfolio does with a signal: the one set of parameters that the kernel reads."""

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from raysignal.engine.core.errors import InvalidField

Side = Literal["long-flat", "long-short"]
FillAt = Literal["signal", "next"]
Calendar = Literal["observed", "365x24", "252-sessions"]

_LATER = {
    "min_confidence": 0.0, "stop_bps": 0.0, "take_bps": 0.0, "trail_bps": 0.0, "calendar": "observed",
    "periods_per_year": None,
}  # fmt: skip
"""Members that policies of before did not have: where they have these values, what is stored and shown is as it was."""
_ALWAYS = object()

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

MIN_CASH, MAX_CASH = 1e-9, 1e15
MAX_LEVEL_BPS = 9_999.0
"""A level that is not above 0 would never be reached."""
MAX_PERIODS_PER_YEAR = 1e9


@dataclass(frozen=True, slots=True)
class Policy:
    """A portfolio's policy.

    Attributes:
        initial_cash: money at the start, in the quote currency; 1e-9 to 1e15: below, quantities would lose digits.
        fee_bps: fee on the notional of every fill, in basis points; 0 to 1000.
        slippage_bps: how much worse than the price a fill is, in basis points; 0 to 1000.
        side: `long-flat` (SELL closes) or `long-short` (SELL closes and opens the other side).
        weight: share of equity that a position takes; 0 < weight <= 1.
        fill: `signal` fills at the signal's own price, `next` at the price of the symbol's next signal.
        min_confidence: signals that say a confidence below it are not followed; 0 to 1.
        stop_bps, take_bps: where a position is closed, in basis points of the price of the row that opened it, on the
            side of a loss and of a profit; 0: nowhere. For positions whose signal names no level of its own.
        trail_bps: how far behind its best price since then; 0: nowhere. Likewise.
        calendar: how many periods a year of annual figures has. `observed`: as many as came a year of 365 days;
            `365x24` and `252-sessions`: a whole number a day of that many, or days a period, nearest to what came, so
            that gaps, nights and holidays count for nothing. Sessions are days from Monday to Friday in UTC.
        periods_per_year: that number itself, whatever the calendar; None: by the calendar.
    """

    initial_cash: float = 10_000.0
    fee_bps: float = 10.0
    slippage_bps: float = 0.0
    side: Side = "long-flat"
    weight: float = 1.0
    fill: FillAt = "signal"
    min_confidence: float = 0.0
    stop_bps: float = 0.0
    take_bps: float = 0.0
    trail_bps: float = 0.0
    calendar: Calendar = "observed"
    periods_per_year: float | None = None

    def __post_init__(self) -> None:
        _within(self, "initial_cash", low=MIN_CASH, high=MAX_CASH)
        _within(self, "fee_bps", low=0.0, high=1000.0)
        _within(self, "slippage_bps", low=0.0, high=1000.0)
        _within(self, "weight", low=0.0, high=1.0, open_low=True)
        _one_of(self, "side", ("long-flat", "long-short"))
        _one_of(self, "fill", ("signal", "next"))
        _within(self, "min_confidence", low=0.0, high=1.0)
        for name in ("stop_bps", "take_bps", "trail_bps"):
            _within(self, name, low=0.0, high=MAX_LEVEL_BPS)
        _one_of(self, "calendar", ("observed", "365x24", "252-sessions"))
        if self.periods_per_year is not None:
            _within(self, "periods_per_year", low=0.0, high=MAX_PERIODS_PER_YEAR, open_low=True)

    @property
    def has_bracket(self) -> bool:
        """Whether every position has a bracket, whatever its signal says."""
        return self.stop_bps > 0.0 or self.take_bps > 0.0 or self.trail_bps > 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the fields; of those of `_LATER` the ones that are not the default."""
        return {name: value for name, value in asdict(self).items() if _LATER.get(name, _ALWAYS) != value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Policy":
        """From plain values; an unknown name raises `InvalidField`."""
        known = {field.name for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise InvalidField(name, value, f"one of {', '.join(sorted(known))}")
        return cls(**values)


def check_portfolio_name(name: object, field: str = "portfolio") -> str:
    """The name itself, if it can be a folder and a part of an address; else `InvalidField`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidField(field, name, "1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit")
    return name


def _within(policy: Policy, name: str, *, low: float, high: float, open_low: bool = False) -> None:
    value = getattr(policy, name)
    bounds = (
        f"a number {'above' if open_low else 'from'} {low:g} {'and at most' if open_low else 'to'} {high:g}"
    )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidField(name, value, bounds)
    if not low <= value <= high or (open_low and value == low):  # nor nan
        raise InvalidField(name, value, bounds)
    object.__setattr__(policy, name, float(value))


def _one_of(policy: Policy, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(policy, name)
    if value not in allowed:
        raise InvalidField(name, value, " or ".join(allowed))
