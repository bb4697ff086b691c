"""How figures are written for people: with sign and unit, and never as a number where there is none."""

import re
from collections.abc import Mapping
from typing import Any

NONE = "—"
"""Where there is no number."""
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_ALL_BUT = -0.9995  # from here on it would be rounded to -100.0%
_MANY_TIMES = 10.0  # from 1,000% on, without decimals

FILLED = {"signal": "at the signal's own price", "next": "at the next bar"}
"""What the fills of a portfolio are called."""


def bp(value: float | None, *, sign: bool = True) -> str:
    """Basis points with a sign, two decimals below 10, one above."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return NONE
    digits = 1 if abs(value) >= 10.0 else 2
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    return text.replace("-0.00", "0.00").replace("+0.00", "0.00")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return NONE if share is None or share != share else f"{100 * share:.{digits}f}%"  # noqa: PLR0124


def p_value(value: float) -> str:
    """A p-value with three decimals."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def p_equals(value: float) -> str:
    """The same inside a sentence: `p 0.037`, `p < 0.001`."""
    return f"p {p_value(value)}"


def interval(low: float, high: float) -> str:
    """From one end to the other, bp; a dash where there is none."""
    return _between(bp(low), bp(high))


def share_interval(low: float, high: float) -> str:
    """The same of shares, in whole percent."""
    return _between(percent(low, 0), percent(high, 0))


def total_return(figures: Mapping[str, Any]) -> str:
    """The total return of a performance: `ruined` without equity; what is not quite lost is not rounded to lost."""
    value = figures.get("total_return")
    if is_ruined(figures):
        return "ruined"
    if value is None:
        return NONE
    if value < _ALL_BUT:
        return "< -99.9%"
    text = f"{100 * value:+,.{0 if value >= _MANY_TIMES else 1}f}%"
    return "0.0%" if text in {"+0.0%", "-0.0%"} else text


def is_ruined(figures: Mapping[str, Any]) -> bool:
    """Whether the account of a performance came to an equity of 0 or less."""
    value = figures.get("total_return")
    return bool(figures.get("ruined")) or (value is not None and value <= -1.0)


def horizon_words(horizon: str) -> str:
    """`6b` as `over 6 bars`, `5400s` as `over 90 minutes`, `close` as `until the opposite signal`."""
    if horizon == "close":
        return "until the opposite signal"
    if match := re.fullmatch(r"(\d+)b", horizon):
        return f"over {counted(int(match[1]), 'bar')}"
    if match := re.fullmatch(r"(\d+)s", horizon):
        seconds = int(match[1])
        unit, name = next((unit, name) for unit, name in _UNITS if seconds % unit == 0)
        return f"over {counted(seconds // unit, name)}"
    return f"over {horizon}"


def counted(count: int, noun: str) -> str:
    """`1 signal`, `2 signals`."""
    return f"{count:,d} {noun}{'' if count == 1 else 's'}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _between(low: str, high: str) -> str:
    return NONE if NONE in {low, high} else f"{low} to {high}"
