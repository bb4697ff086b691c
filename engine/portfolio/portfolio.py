"""One portfolio: its ledger, the marks that later signals are judged by, the rows not yet in the history."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.decisions import Decisions
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import PortfolioStatus, SymbolMark

NO_SIGNAL_YET_US = np.iinfo(np.int64).min
"""The high-water mark of a symbol that has had no signal."""


@dataclass(frozen=True, slots=True)
class UnwrittenRows:
    """Processed rows that the history does not hold yet.

    Attributes:
        first: the ordinal of the first row.
        sequence: the journal record they lie in.
        batch: the rows without their features, but with the ranges of their bars.
        encoded: the same with all features, as it lies in the journal.
        symbol: int32[n], the portfolio's own symbol codes.
        rows: what the kernel made of them.
        decisions: what was decided about them; None where that was left to them.
    """

    first: int
    sequence: int
    batch: SignalBatch
    encoded: bytes | memoryview
    symbol: Int32Array
    rows: LedgerRows
    decisions: Decisions | None = None

    @property
    def action(self) -> Int8Array:
        """int8[n], what the ledger was told to do."""
        return self.batch.action if self.decisions is None else self.decisions.action

    @property
    def terms(self) -> SignalTerms | None:
        """What it was told beside that."""
        return self.batch.order_terms(self.action)


@dataclass(slots=True)
class RowSpan:
    """Consecutive kept rows, with the ledger as it was before the first: any row's account follows from it.

    Attributes:
        dates: the UTC days that they have.
        last_day: that of the last row; None: there is none.
        alternates: whether they came back to one of these from another.
    """

    first: int
    state_before: bytes
    kept: list[UnwrittenRows] = field(default_factory=list)
    dates: set[int] = field(default_factory=set)
    last_day: int | None = None
    alternates: bool = False

    @property
    def end(self) -> int:
        """The ordinal after the last row."""
        return self.kept[-1].first + len(self.kept[-1].batch) if self.kept else self.first

    def keep(self, kept: UnwrittenRows) -> None:
        """Add the next rows; those of several symbols may go back and forth in time."""
        days = kept.batch.timestamp_us // DAY_US
        if len(days):
            runs = days[np.flatnonzero(np.diff(days, prepend=days[0] - 1))].tolist()
            entered = runs[1:] if runs[0] == self.last_day else runs
            if len(set(entered)) < len(entered) or not self.dates.isdisjoint(entered):
                self.alternates = True
            self.dates.update(runs)
            self.last_day = runs[-1]
        self.kept.append(kept)


class SymbolRename(NamedTuple):
    """A symbol that got another name: rows before `ordinal` have the old one."""

    ordinal: int
    code: int
    old: str
    new: str


class Portfolio:
    """The state of one portfolio; only `apply` and `rename` change it."""

    __slots__ = (
        "_code", "bytes_kept", "count", "high_water", "last_price", "ledger", "name", "open", "policy",
        "renamed", "symbols", "writing",
    )  # fmt: skip

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.ledger = Ledger(policy)
        self.symbols: list[str] = []
        self._code: dict[str, int] = {}
        self.renamed: list[SymbolRename] = []
        self.high_water: Int64Array = np.empty(0, np.int64)
        self.last_price: Float64Array = np.empty(0, np.float64)
        self.count = 0
        self.open = RowSpan(0, self.ledger.to_bytes())
        self.writing: RowSpan | None = None
        self.bytes_kept = 0

    def codes(self, batch: SignalBatch) -> tuple[Int32Array, list[str]]:
        """The portfolio's code of every row's symbol, int32[n], and the new symbols that it would take.

        New symbols are coded behind the known ones; nothing changes until `apply`. A batch may name symbols
        of which it has no row: what was refused is not known.
        """
        known = [self._code.get(symbol, -1) for symbol in batch.symbols]
        table = np.array(known, np.int32)
        new: list[str] = []
        if -1 in known:
            has_row = np.bincount(batch.symbol, minlength=len(known)) > 0
            for position in np.flatnonzero(has_row & (table < 0)).tolist():
                table[position] = len(self.symbols) + len(new)
                new.append(batch.symbols[position])
        return table[batch.symbol], new

    def marks(self, new_symbols: int) -> tuple[Int64Array, Float64Array]:
        """High-water marks and last prices, with room for symbols that are new: int64[S], float64[S]."""
        if not new_symbols:
            return self.high_water, self.last_price
        return (
            np.concatenate([self.high_water, np.full(new_symbols, NO_SIGNAL_YET_US)]),
            np.concatenate([self.last_price, np.full(new_symbols, np.nan)]),
        )

    def marks_by_symbol(self, symbols: Sequence[str]) -> dict[str, SymbolMark]:
        """The marks of those of some symbols that have had a row."""
        held: BoolArray = (self.ledger.positions[:, [at.QUANTITY, at.WAITING]] != 0.0).any(axis=1)
        codes = {name: self._code[name] for name in symbols if name in self._code}
        return {
            name: SymbolMark(int(self.high_water[code]), float(self.last_price[code]), bool(held[code]))
            for name, code in codes.items()
        }

    def apply(
        self,
        batch: SignalBatch,
        encoded: bytes | memoryview,
        sequence: int,
        accounts: Float64Array | None = None,
        codes: tuple[Int32Array, list[str]] | None = None,
        decisions: Decisions | None = None,
    ) -> LedgerRows:
        """Process rows that have been judged; the ledger rows, and the accounts where room for them is given.

        Rows are in time order and not before the marks of their symbols. `codes` is what `codes(batch)`
        gives, where that is known already; `decisions` what the ledger is to do instead of what the signals say.
        """
        symbol, new = self.codes(batch) if codes is None else codes
        for name in new:
            self._code[name] = len(self.symbols)
            self.symbols.append(name)
        self.high_water, self.last_price = self.marks(len(new))
        self.ledger.ensure_symbols(len(self.symbols))
        rows = LedgerRows.empty(len(batch))
        kept = UnwrittenRows(self.count, sequence, batch, encoded, symbol, rows, decisions)
        self.ledger.run(
            batch.timestamp_us, symbol, kept.action, batch.price, rows, accounts, terms=kept.terms
        )
        # In time order, so the last assignment to a symbol is its latest.
        self.high_water[symbol] = batch.timestamp_us
        self.last_price[symbol] = batch.price
        self.open.keep(kept)
        self.bytes_kept += len(encoded)
        self.count += len(batch)
        return rows

    def rename(self, old: str, new: str) -> bool:
        """Let an open position go on under another name of its symbol, with the symbol's marks.

        False, and nothing changed, where nothing is held under the old name, or the new one has been seen.
        """
        code = self._code.get(old)
        if (
            code is None
            or new in self._code
            or not self.ledger.positions[code, [at.QUANTITY, at.WAITING]].any()
        ):
            return False
        self.symbols[code] = new
        self._code[new] = self._code.pop(old)
        self.renamed.append(SymbolRename(self.count, code, old, new))
        return True

    def renamings(self) -> tuple[tuple[int, str, str], ...]:
        """Symbols that got another name: (ordinal of the first row under it, old, new)."""
        return tuple((each.ordinal, each.old, each.new) for each in self.renamed)

    def standing(self, sequence: int) -> PortfolioStatus:
        """The portfolio as it stands after journal record `sequence`."""
        return PortfolioStatus(
            portfolio=self.name,
            policy=self.policy,
            symbols=tuple(self.symbols),
            count=self.count,
            last_us=int(self.high_water.max()) if self.count else None,
            sequence=sequence,
            account=self.ledger.account.copy(),
        )

    def close_stretch(self) -> RowSpan | None:
        """Set the kept rows aside for the history and begin a new stretch; None if there are none."""
        if not self.open.kept:
            return None
        assert self.writing is None
        self.writing = self.open
        self.open = RowSpan(self.count, self.ledger.to_bytes())
        self.bytes_kept = 0
        return self.writing

    def dump(self) -> dict[str, Any]:
        """What a snapshot keeps of it; `load` takes it back."""
        return {
            "name": self.name,
            "policy": self.policy.as_dict(),
            "symbols": list(self.symbols),
            "renamed": list(self.renamed),
            "high_water": self.high_water.tobytes(),
            "last_price": self.last_price.tobytes(),
            "count": self.count,
            "ledger": self.ledger.to_bytes(),
        }

    @classmethod
    def load(cls, dump: dict[str, Any]) -> "Portfolio":
        """The portfolio that `dump` described."""
        portfolio = cls(dump["name"], Policy.from_dict(dump["policy"]))
        portfolio.ledger = Ledger.from_bytes(portfolio.policy, dump["ledger"])
        portfolio.symbols = list(dump["symbols"])
        portfolio.renamed = [SymbolRename(*each) for each in dump.get("renamed", ())]
        portfolio._code = {symbol: code for code, symbol in enumerate(portfolio.symbols)}
        portfolio.high_water = np.frombuffer(dump["high_water"], np.int64).copy()
        portfolio.last_price = np.frombuffer(dump["last_price"], np.float64).copy()
        portfolio.count = dump["count"]
        portfolio.open = RowSpan(portfolio.count, dump["ledger"])
        return portfolio
