"""Processed rows of a shard in the order of its journal: what a broadcast makes its messages of.

The rows of all portfolios of a shard are counted from 0 in the order in which the journal holds them, so a row's number
is the same whoever counts, also after a restart. Those that the history does not hold yet are handed out by the shard
(`Shard.tail`), earlier ones are read by `engine.portfolio.stream_history`; both become `StreamRows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysignal.engine import history
from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome
from raysignal.engine.portfolio.decisions import SIGNAL, Decisions


@dataclass(frozen=True, slots=True)
class TailRows:
    """Consecutive rows of one journal record.

    Attributes:
        number: of the first row, among all rows of the shard.
        portfolio: whose they are.
        ordinal: of the first row, among those of the portfolio.
        sequence, record_row: the journal record, and the place of the first row in it.
        encoded: `SignalBatch.encode` of them, with features.
        rows: what the ledger made of them.
        decisions: what was decided about them; None where that was left to them.
    """

    number: int
    portfolio: str
    ordinal: int
    sequence: int
    record_row: int
    encoded: bytes | memoryview
    rows: LedgerRows
    decisions: Decisions | None

    @property
    def end(self) -> int:
        """The number behind the last row."""
        return self.number + len(self.rows)

    def cut(self, first: int, stop: int) -> "TailRows":
        """Those of them with a number from `first` to `stop`."""
        begin, end = max(first - self.number, 0), min(stop, self.end) - self.number
        if end - begin == len(self.rows):
            return replace(self, encoded=bytes(self.encoded))
        chosen = np.arange(begin, end)
        return TailRows(
            self.number + begin, self.portfolio, self.ordinal + begin, self.sequence, self.record_row + begin,
            SignalBatch.decode(self.encoded).take(chosen).encode(), self.rows.take(chosen),
            None if self.decisions is None else self.decisions.take(chosen),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShardTail:
    """What a shard holds in memory of its rows.

    Attributes:
        begins: the first row that is in memory: all before are in the history.
        end: how many rows there are.
        parts: the rows that were asked for, in order; none where the history holds the first of them.
    """

    begins: int
    end: int
    parts: tuple[TailRows, ...]


@dataclass(frozen=True, slots=True)
class StreamRows:
    """n processed rows of a portfolio as they are told of.

    Attributes:
        number: of each row among all rows of its shard.
        portfolio: whose they are.
        ordinal: of the first.
        batch: the signals, with their features.
        rows: what the ledger made of them.
        action: int8[n], what it was told to do.
        decided_by: n names.
        explanation: n texts, JSON or empty.
    """

    number: Sequence[int]
    portfolio: str
    ordinal: int
    batch: SignalBatch
    rows: LedgerRows
    action: Int8Array
    decided_by: Sequence[str]
    explanation: Sequence[str]

    @classmethod
    def of_tail(cls, part: TailRows) -> "StreamRows":
        """Rows from memory."""
        batch, told, n = SignalBatch.decode(part.encoded), part.decisions, len(part.rows)
        return cls(
            range(part.number, part.end), part.portfolio, part.ordinal, batch, part.rows,
            batch.action if told is None else told.action,
            [SIGNAL] * n if told is None else told.deciders,
            [""] * n if told is None else told.explanation.to_list(),
        )  # fmt: skip

    @classmethod
    def of_history(cls, number: Sequence[int], portfolio: str, table: pa.Table) -> "StreamRows":
        """Rows of the history, in its columns."""
        return cls(
            number, portfolio, int(table["ordinal"][0].as_py()), history.signals_of(table), _ledger_rows(table),
            table["decision"].to_numpy(), table["decided_by"].cast(pa.string()).to_pylist(),
            [text or "" for text in table["explanation"].to_pylist()],
        )  # fmt: skip


def _ledger_rows(table: pa.Table) -> LedgerRows:
    """What the ledger made of rows, from the columns of the history."""
    rows = LedgerRows.empty(len(table))
    for name, column in rows.columns().items():
        if name in _CODES:
            column[:] = [_CODES[name][text] for text in table[name].cast(pa.string()).to_pylist()]
        else:
            column[:] = _numbers(table[name], 0.0 if name == "exit_price" else np.nan)
    return rows


def _numbers(column: pa.ChunkedArray, missing: float) -> Float64Array:
    values: Float64Array = column.fill_null(missing).to_numpy()
    return values


_OUTCOMES: dict[str | None, int] = {each.name: each.value for each in Outcome}
_CLOSED: dict[str | None, int] = {each.name: each.value for each in CloseReason} | {None: CloseReason.SIGNAL}
_CODES: dict[str, dict[Any, int]] = {"outcome": _OUTCOMES, "executed": _OUTCOMES, "closed_by": _CLOSED}
