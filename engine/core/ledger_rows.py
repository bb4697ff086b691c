"""What a signal did to a portfolio, row by row: outcome, fill, cash, equity."""

from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysignal.engine.core.arrays import Float64Array, Int8Array


class Outcome(IntEnum):
    """What became of a decision; `reason` says why where nothing, or only half of it, was traded."""

    HOLD = 0
    OPENED = 1
    CLOSED = 2
    FLIPPED = 3
    ALREADY_HELD = 4
    PENDING = 5
    NOTHING_TO_SELL = 6
    NO_CASH = 7
    INSOLVENT = 8
    CLOSED_ONLY = 9
    TOO_LARGE = 10
    NOTHING_TO_CLOSE = 11
    LOW_CONFIDENCE = 12
    EXPIRED = 13


class CloseReason(IntEnum):
    """Why a position was closed. `END_OF_FILE` is for lists of trades: the ledger itself closes nothing at an end."""

    SIGNAL = 0
    STOP = 1
    TARGET = 2
    TRAILING = 3
    EXPIRY = 4
    END_OF_FILE = 5


_REASONS: dict[int, str] = {
    Outcome.HOLD: "the decision was HOLD",
    Outcome.ALREADY_HELD: "this side is already held",
    Outcome.PENDING: "it will be executed at the symbol's next price",
    Outcome.NOTHING_TO_SELL: "there is nothing to sell, and this portfolio does not go short",
    Outcome.NO_CASH: "no cash is free, other positions take all of it",
    Outcome.INSOLVENT: "equity is not above zero, so nothing can be opened",
    Outcome.CLOSED_ONLY: "the position was closed, but nothing is left to open the other side with",
    Outcome.TOO_LARGE: "equity is above 1e250, so nothing is opened: its figures could be too large for a number",
    Outcome.NOTHING_TO_CLOSE: "nothing of the symbol is held",
    Outcome.LOW_CONFIDENCE: "the signal's confidence is below the portfolio's min_confidence, so it counts as HOLD",
    Outcome.EXPIRED: "the signal expired before the symbol's next price",
}


_CLOSED: dict[int, str] = {
    CloseReason.SIGNAL: "a signal closed it",
    CloseReason.STOP: "the price met its stop",
    CloseReason.TARGET: "the price met its target",
    CloseReason.TRAILING: "the price fell behind its best one by the trailing stop",
    CloseReason.EXPIRY: "it expired",
    CloseReason.END_OF_FILE: "the file ended",
}


def close_sentence(closed_by: int) -> str:
    """Why a position was closed, as a sentence for people."""
    return _CLOSED[closed_by]


def reason(outcome: int) -> str | None:
    """Why nothing, or only half, was traded, as a sentence for people; None where all of it was."""
    return _REASONS.get(outcome)


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """What each row did: one array a column, all of length n.

    Attributes:
        outcome: int8, an `Outcome`: what became of the row's own decision (`PENDING` under fill `next`).
        executed: int8, an `Outcome`: what became of the order executed at this row's price. The same as
            `outcome` under fill `signal`; under `next` it is the decision of the symbol's row before (`HOLD`
            if there was none).
        closed_by: int8, a `CloseReason`: the bracket's; `SIGNAL` where an order closed something, or nothing did.
        fill_quantity: bought (above 0) or sold (below 0) at this row; a flip is the sum of both halves; 0
            without.
        fill_price: price of the fill, slippage included; NaN without one.
        fee: paid at this row.
        cash: after the row.
        position: quantity of the row's symbol after the row.
        equity: after the row.
        signal_return: equity / equity before the row - 1.
        realised_pnl: profit of all positions closed so far, after fees.
        drawdown: 1 - equity / highest equity so far, which is that of an instant's last row or of this one; at most 1.
        exit_price: price of the fill with which a bracket closed what was held before the row, slippage included;
            0 where none did. Such a fill comes before that of the row's order, and `fill_quantity` and `fee` hold
            both; `fill_price` is that of the last.
    """

    outcome: Int8Array
    executed: Int8Array
    closed_by: Int8Array
    fill_quantity: Float64Array
    fill_price: Float64Array
    fee: Float64Array
    cash: Float64Array
    position: Float64Array
    equity: Float64Array
    signal_return: Float64Array
    realised_pnl: Float64Array
    drawdown: Float64Array
    exit_price: Float64Array

    @classmethod
    def empty(cls, n: int) -> "LedgerRows":
        """Rows to be filled by `Ledger.run`."""
        outcomes = np.zeros((len(_CODES), n), dtype=np.int8)
        figures = np.zeros((len(_FIGURES), n))
        return cls(*outcomes, *figures)

    def __len__(self) -> int:
        return len(self.outcome)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order of the fields."""
        return _arrays(self)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, in the order of the fields."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def __reduce__(self) -> tuple[Any, ...]:
        # As one run of bytes: thirteen arrays a receipt would cost more to send than all they say.
        return LedgerRows.from_bytes, (len(self), self.to_bytes())

    def to_bytes(self) -> bytes:
        """All columns, one after another."""
        return b"".join([column.tobytes() for column in (*_figures(self), *_codes(self))])

    @classmethod
    def from_bytes(cls, n: int, data: bytes) -> "LedgerRows":
        """The n rows that `to_bytes` wrote; the arrays are read-only."""
        figures = np.frombuffer(data, np.float64, len(_FIGURES) * n).reshape(len(_FIGURES), n)
        codes = np.frombuffer(data, np.int8, len(_CODES) * n, figures.nbytes).reshape(len(_CODES), n)
        return cls(*codes, *figures)

    def slice(self, start: int, stop: int) -> "LedgerRows":
        """Rows `start` to `stop` as views: filling them fills these."""
        return LedgerRows(*(column[start:stop] for column in self.columns().values()))

    def put(self, places: ArrayLike, rows: "LedgerRows") -> None:
        """Set the rows at `places` to others, in their order."""
        at_places = np.asarray(places)
        for own, other in zip(self.columns().values(), rows.columns().values(), strict=True):
            own[at_places] = other

    def take(self, rows: ArrayLike) -> "LedgerRows":
        """The named rows, copied: positions or a mask."""
        chosen = np.asarray(rows)
        return LedgerRows(*(column[chosen] for column in self.columns().values()))


_COLUMNS = tuple(field.name for field in fields(LedgerRows))
_CODES, _FIGURES = _COLUMNS[:3], _COLUMNS[3:]
_codes, _figures, _arrays = attrgetter(*_CODES), attrgetter(*_FIGURES), attrgetter(*_COLUMNS)
