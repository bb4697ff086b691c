"""The signal: a pre-generated instruction for a symbol at an instant, at the price it was made at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Action(IntEnum):
    """What a signal asks for."""

    SELL = -1
    HOLD = 0
    BUY = 1


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal as a value.

    Attributes:
        symbol: what it is about, such as `BTC`.
        timestamp_us: the instant at which it was known, UTC microseconds since 1970.
        action: BUY, HOLD or SELL.
        price: the price it was made at, in the quote currency; finite and > 0.
        source: who made it.
        signal_id: its identity; empty means: derived from source, symbol, timestamp and action.
        features: everything else that came with it; NaN, null and empty ones are left out.
    """

    symbol: str
    timestamp_us: int
    action: Action
    price: float
    source: str = "default"
    signal_id: str = ""
    features: Mapping[str, float | str] = field(default_factory=dict)
