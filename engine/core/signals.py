"""The signal: a pre-generated instruction for a symbol at an instant, at the price it was made at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Action(IntEnum):
    """What a signal asks for."""

    SELL = -1
    HOLD = 0
    BUY = 1
    CLOSE = 2


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal as a value.

    Attributes:
        symbol: what it is about, such as `BTC`.
        timestamp_us: the instant at which it was known, UTC microseconds since 1970.
        action: BUY, HOLD, SELL, or CLOSE, which leaves nothing of the symbol held, whatever the side.
        price: the price it was made at, in the quote currency; finite and > 0.
        source: who made it.
        signal_id: its identity; empty means: derived from source, symbol, timestamp and action.
        features: everything else that came with it; NaN, null and empty ones are left out.
        size: share of equity that the position takes, above 0 and at most 1; None: the policy's weight.
        stop_loss, take_profit: prices at which the position is closed, a stop on the side of a loss.
        trailing_stop_bps: how far behind its best price the position is closed; above 0 and below 10000.
        confidence: 0 to 1; below the portfolio's `min_confidence` nothing is done.
        expires_us: the position is closed at the first row that is as late or later; after `timestamp_us`.
    """

    symbol: str
    timestamp_us: int
    action: Action
    price: float
    source: str = "default"
    signal_id: str = ""
    features: Mapping[str, float | str] = field(default_factory=dict)
    size: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing_stop_bps: float | None = None
    confidence: float | None = None
    expires_us: int | None = None

    @property
    def terms(self) -> tuple[float | None, ...]:
        """The six that are None where nothing is said, in the order of `engine.core.terms.TERMS`."""
        return (
            self.size, self.stop_loss, self.take_profit, self.trailing_stop_bps, self.confidence, self.expires_us,
        )  # fmt: skip
