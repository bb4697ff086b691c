"""What each submitted row is, found out before anything changes: new, seen before, or to be refused and why."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from engine import guard
from engine.columns import SignalBatch
from engine.digests import Ints, Words
from engine.errors import IdentityConflict, LateSignal, PriceJump, RaysignalError
from engine.identities import Identities, first_in_batch
from engine.instants import format_instant
from engine.portfolio import Portfolio

ERRORS_KEPT = 1000
"""So many refused rows get a sentence of their own; all are counted."""


class Finding(IntEnum):
    """What a row is; what is above `AGAIN` is refused."""

    FRESH = 0
    AGAIN = 1
    CONFLICT = 2
    LATE = 3
    JUMP = 4


REFUSALS = {Finding.CONFLICT: IdentityConflict, Finding.LATE: LateSignal, Finding.JUMP: PriceJump}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The findings about n rows.

    Attributes:
        finding: int8[n], a `Finding` each.
        ordinal: int64[n], of the processed row that it repeats; -1 otherwise.
        first: int64[n], the first row of the submission with its identity; mostly itself.
        met: the marks that the rows were measured against.
        limit: the largest believable factor between two prices.
    """

    finding: npt.NDArray[np.int8]
    ordinal: Ints
    first: Ints
    met: guard.Verdicts
    limit: float

    def rows(self, finding: Finding) -> Ints:
        """The rows that are found to be so."""
        return np.flatnonzero(self.finding == finding)

    @property
    def refused(self) -> dict[str, int]:
        """How many rows are refused, by the name of their error."""
        counts = {kind.__name__: len(self.rows(finding)) for finding, kind in REFUSALS.items()}
        return {name: count for name, count in counts.items() if count}

    def errors(self, batch: SignalBatch, positions: Ints | None) -> dict[int, RaysignalError]:
        """The sentences for the first refused rows, by row.

        Args:
            batch: what was judged.
            positions: int64[n], the rows' places in the caller's input, named in errors; None: do not name any.
        """
        errors: dict[int, RaysignalError] = {}
        for index in np.flatnonzero(self.finding > Finding.AGAIN)[:ERRORS_KEPT].tolist():
            row = None if positions is None else int(positions[index])
            # What repeats a refused row met the marks that that one met.
            met = int(self.first[index])
            symbol = batch.symbols[batch.symbol[index]]
            if self.finding[index] == Finding.CONFLICT:
                errors[index] = IdentityConflict(batch.signal_id[index], row)
            elif self.finding[index] == Finding.LATE:
                late, mark = batch.timestamp_us[index], self.met.high_water_us[met]
                errors[index] = LateSignal(symbol, format_instant(late), format_instant(mark), row)
            else:
                price, last = float(batch.price[index]), float(self.met.last_price[met])
                errors[index] = PriceJump(symbol, price, last, self.limit, row)
        return errors


def judge(
    portfolio: Portfolio,
    batch: SignalBatch,
    keys: Words,
    identities: Identities,
    *,
    limit: float,
    accept_price_jump: bool,
) -> Judgement:
    """Judge rows in time order as if each accepted one had been processed before the next; nothing changes.

    Args:
        portfolio: whose marks they are measured against.
        batch: the rows.
        keys: uint64[n, 2], their identities in this portfolio.
        identities: who has been seen.
        limit: the largest believable factor between two prices of a symbol.
        accept_price_jump: believe every price.
    """
    symbol, new = portfolio.codes(batch)
    high_water, last_price = portfolio.marks(len(new))
    ordinal, content = identities.lookup(keys)
    finding = np.where(
        ordinal < 0, Finding.FRESH, np.where(content == batch.content, Finding.AGAIN, Finding.CONFLICT)
    ).astype(np.int8)
    first = first_in_batch(keys)
    twin = np.flatnonzero((first != np.arange(len(batch))) & (finding == Finding.FRESH))
    same = batch.content[twin] == batch.content[first[twin]]
    finding[twin] = np.where(same, Finding.AGAIN, Finding.CONFLICT)
    met = guard.check(
        batch.timestamp_us, symbol, batch.price, finding != Finding.FRESH, high_water, last_price, limit,
        accept_jump=accept_price_jump,
    )  # fmt: skip
    finding[met.verdict == guard.LATE] = Finding.LATE
    finding[met.verdict == guard.JUMP] = Finding.JUMP
    # What repeats a row that is refused is refused as that one is.
    echo = twin[same]
    finding[echo] = np.maximum(finding[first[echo]], Finding.AGAIN)
    return Judgement(finding, ordinal, first, met, limit)
