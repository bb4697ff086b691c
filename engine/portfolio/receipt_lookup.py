"""Rows of the past: what a signal did when it was first processed, computed again by the same kernel.

A receipt is never stored. A stretch of rows keeps the ledger as it was before its first row, in memory or in
the metadata of a Parquet file; the kernel runs over the stretch once more and stops at the rows asked for.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raysignal.engine import history
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import NotFound
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.history import HistoryChunk
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.decisions import SIGNAL, deciders_of, explanations_of
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.portfolio import Portfolio, RowSpan
from raysignal.engine.portfolio.receipts import Decision, FollowedRows, FoundSignal


@dataclass(frozen=True, slots=True)
class LedgerSpan:
    """Consecutive processed rows and the ledger before them: all that a recall needs.

    Attributes:
        first: the ordinal of the first row.
        state_before: `Ledger.to_bytes` before it.
        timestamp_us, symbol, action, price, terms: the kernel's inputs, n rows; `symbol` in the portfolio's codes.
    """

    first: int
    state_before: bytes
    timestamp_us: Int64Array
    symbol: Int32Array
    action: Int8Array
    price: Float64Array
    terms: SignalTerms | None

    @classmethod
    def of_stretch(cls, stretch: RowSpan) -> "LedgerSpan":
        """The rows of a stretch in memory."""
        kept = list(stretch.kept)
        return cls(
            stretch.first,
            stretch.state_before,
            np.concatenate([part.batch.timestamp_us for part in kept]),
            np.concatenate([part.symbol for part in kept]),
            np.concatenate([part.action for part in kept]),
            np.concatenate([part.batch.price for part in kept]),
            SignalTerms.concat([(len(part.batch), part.terms) for part in kept]),
        )

    def rows_at(self, policy: Policy, symbols: int, ordinals: Int64Array) -> tuple[LedgerRows, Float64Array]:
        """The ledger rows and the accounts after them at `ordinals` (any order, repeats allowed).

        Returns:
            m ledger rows and float64[m, ACCOUNT_SIZE], in the order of `ordinals`.
        """
        distinct, places = np.unique(ordinals - self.first, return_inverse=True)
        ledger = self._ledger(policy, symbols)
        rows = LedgerRows.empty(len(distinct))
        accounts = np.empty((len(distinct), ACCOUNT_SIZE))
        done = 0
        for place, offset in enumerate(distinct.tolist()):
            self._run(ledger, done, offset)
            self._run(ledger, offset, offset + 1, rows.slice(place, place + 1), accounts[place : place + 1])
            done = offset + 1
        return rows.take(places), accounts[places]

    def state_at(self, policy: Policy, offset: int) -> bytes:
        """The ledger before row `offset`; a function of the rows before it, whatever else is known by now."""
        if offset == 0:
            return self.state_before
        ledger = self._ledger(policy, int(self.symbol[:offset].max()) + 1)
        self._run(ledger, 0, offset)
        return ledger.to_bytes()

    def _ledger(self, policy: Policy, symbols: int) -> Ledger:
        ledger = Ledger.from_bytes(policy, self.state_before)
        ledger.ensure_symbols(symbols)
        return ledger

    def _run(
        self,
        ledger: Ledger,
        start: int,
        stop: int,
        rows: LedgerRows | None = None,
        accounts: Float64Array | None = None,
    ) -> None:
        part = slice(start, stop)
        ledger.run(
            self.timestamp_us[part], self.symbol[part], self.action[part], self.price[part], rows, accounts,
            terms=None if self.terms is None else self.terms.slice(start, stop),
        )  # fmt: skip


class ReceiptLookup(Protocol):
    """Some rows of the past and where they are read.

    Attributes:
        places: int64[m], the places in the caller's list that these rows are for.
        blocks: whether `rows` reads the store.
    """

    places: Int64Array
    blocks: bool

    def rows(self) -> tuple[LedgerRows, Float64Array]:
        """The m ledger rows and the accounts after them, float64[m, ACCOUNT_SIZE]."""

    def found(self, ordinal: int) -> FoundSignal:
        """One of the rows, with its features."""


class MemoryRecall:
    """Rows of a stretch that is still in memory."""

    blocks = False

    def __init__(
        self, portfolio: Portfolio, stretch: RowSpan, places: Int64Array, ordinals: Int64Array
    ) -> None:
        self.places = places
        self._policy, self._symbols = portfolio.policy, len(portfolio.symbols)
        self._name = portfolio.name
        self._stretch = stretch
        self._ordinals = ordinals

    def rows(self) -> tuple[LedgerRows, Float64Array]:
        """See `ReceiptLookup.rows`."""
        return LedgerSpan.of_stretch(self._stretch).rows_at(self._policy, self._symbols, self._ordinals)

    def found(self, ordinal: int) -> FoundSignal:
        """See `ReceiptLookup.found`."""
        firsts = [part.first for part in self._stretch.kept]
        part = self._stretch.kept[bisect_right(firsts, ordinal) - 1]
        row = ordinal - part.first
        batch = SignalBatch.decode(part.encoded).take(np.array([row]))
        rows, accounts = self.rows()
        decided = Decision(int(part.action[row]))
        if part.decisions is not None:
            told = part.decisions
            decided = Decision(int(part.action[row]), told.names[told.by[row]], told.explanation[row])
        return FoundSignal(
            self._name, self._policy, batch, ordinal, part.sequence, row, rows, accounts[0], decided
        )


class HistoryRecall:
    """Rows that only the history holds."""

    blocks = True

    def __init__(
        self, portfolio: Portfolio, blobs: BlobStore, places: Int64Array, ordinals: Int64Array
    ) -> None:
        self.places = places
        self._policy, self._symbols = portfolio.policy, tuple(portfolio.symbols)
        self._renamed = tuple(portfolio.renamed)
        self._name = portfolio.name
        self._blobs = blobs
        self._ordinals = ordinals

    def rows(self) -> tuple[LedgerRows, Float64Array]:
        """See `ReceiptLookup.rows`."""
        rows = LedgerRows.empty(len(self._ordinals))
        accounts = np.empty((len(self._ordinals), ACCOUNT_SIZE))
        left = np.arange(len(self._ordinals))
        while len(left):
            part = history.read_part(self._blobs, self._name, int(self._ordinals[left[0]]))
            here = (self._ordinals[left] >= part.first) & (self._ordinals[left] < part.end)
            past = LedgerSpan(
                part.first, part.state_before, part.timestamp_us, self._codes(part), part.decision, part.price,
                part.terms(bracketed=self._policy.has_bracket or Ledger.is_bracketed(part.state_before)),
            )  # fmt: skip
            some_rows, some_accounts = past.rows_at(
                self._policy, len(self._symbols), self._ordinals[left[here]]
            )
            rows.put(left[here], some_rows)
            accounts[left[here]] = some_accounts
            left = left[~here]
        return rows, accounts

    def found(self, ordinal: int) -> FoundSignal:
        """See `ReceiptLookup.found`."""
        part = history.read_part(self._blobs, self._name, ordinal)
        row = part.row_at(ordinal)
        rows, accounts = self.rows()
        return FoundSignal(
            self._name, self._policy, row.batch, ordinal, row.sequence, row.record_row, rows, accounts[0],
            Decision(row.decision, row.decided_by, row.explanation),
        )  # fmt: skip

    def _codes(self, part: history.Part) -> Int32Array:
        code = {symbol: position for position, symbol in enumerate(self._symbols)}
        codes = np.array([code.get(symbol, -1) for symbol in part.symbols], np.int32)[part.symbol]
        ordinal = part.first + np.arange(len(codes))
        # Backwards: of several symbols that had a name one after the other, a row has the earliest that fits.
        for renamed in reversed(self._renamed):
            if renamed.old in part.symbols:
                held = part.symbol == part.symbols.index(renamed.old)
                codes[held & (ordinal < renamed.ordinal)] = renamed.code
        return codes


def rows_of_stretch(stretch: RowSpan, first: int, stop: int) -> FollowedRows:
    """Rows `first` to `stop` of a stretch in memory, as far as it goes."""
    kept = stretch.kept
    begin = bisect_right(kept, first, key=lambda part: part.first) - 1
    parts = kept[begin : bisect_left(kept, stop, key=lambda part: part.first)]
    encoded, actions = [], []
    for part in parts:
        begin, end = max(first - part.first, 0), min(stop - part.first, len(part.batch))
        whole = end - begin == len(part.batch)
        chosen = (
            part.encoded if whole else SignalBatch.decode(part.encoded).take(np.arange(begin, end)).encode()
        )
        encoded.append(bytes(chosen))
        actions.append(part.action[begin:end])
    return FollowedRows(first, tuple(encoded), np.concatenate(actions))


def rows_of_history(blobs: BlobStore, name: str, first: int, stop: int) -> FollowedRows:
    """Rows `first` to `stop` that the history holds."""
    table = history.read_range(blobs, name, first, stop - 1).combine_chunks()
    if len(table) != stop - first:
        raise NotFound(
            f"the history of {name!r} holds no rows {first} to {stop - 1}", field="ordinal", value=first
        )
    return FollowedRows(first, (history.signals_of(table).encode(),), table["decision"].to_numpy())


def history_chunk(portfolio: Portfolio, stretch: RowSpan, skip: int = 0) -> HistoryChunk:
    """A stretch as the history writes it, with all features, without its first `skip` rows."""
    past = LedgerSpan.of_stretch(stretch)
    batch = SignalBatch.concat([SignalBatch.decode(part.encoded) for part in stretch.kept])
    rows = LedgerRows(
        *(
            np.concatenate(column)
            for column in zip(*(part.rows.columns().values() for part in stretch.kept), strict=True)
        )
    )
    told = [(len(part.batch), part.decisions) for part in stretch.kept]
    decided = any(decisions is not None for _, decisions in told)
    sequence = np.concatenate([np.full(len(part.batch), part.sequence) for part in stretch.kept])
    record_row = np.concatenate([np.arange(len(part.batch), dtype=np.int32) for part in stretch.kept])
    if skip:
        rest = np.arange(skip, len(batch))
        batch, rows, sequence, record_row = (
            batch.take(rest),
            rows.take(rest),
            sequence[rest],
            record_row[rest],
        )
    return HistoryChunk(
        portfolio=portfolio.name,
        first_ordinal=stretch.first + skip,
        batch=batch,
        decision=np.concatenate([part.action for part in stretch.kept])[skip:],
        decided_by=deciders_of(told)[skip:] if decided else SIGNAL,
        explanation=explanations_of(told).take(np.arange(skip, stretch.end - stretch.first))
        if decided
        else None,
        rows=rows,
        sequence=sequence,
        record_row=record_row,
        state_at=lambda offset: past.state_at(portfolio.policy, skip + offset),
    )
