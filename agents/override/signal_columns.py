"""What is remembered of every row beside the memory: returns of both portfolios, verdicts, cohorts, vectors, texts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.situation_vectors import SituationVectors
from raysignal.agents.override.situations import LONGEST_LABEL, REGIMES, Situations
from raysignal.agents.override.words import comparable
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int32Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.portfolio.ledger import Ledger

MOST_CATEGORIES = 12
"""A feature with more different texts is no cohort."""
LONGEST_TEXT = 1_000
"""Characters that are kept of a text."""
LONGEST_ROW = 8_000
"""Characters that are kept of all texts of a row; where they have more, of each an equal share."""


class Column:
    """Values that are only ever added to; a view of them stays as it is when more come."""

    __slots__ = ("_data", "count")

    def __init__(self, kind: npt.DTypeLike) -> None:
        self._data: npt.NDArray[Any] = np.empty(1024, kind)
        self.count = 0

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Add some."""
        stop = self.count + len(values)
        if stop > len(self._data):
            longer = np.empty(max(stop, 2 * len(self._data)), self._data.dtype)
            longer[: self.count] = self._data[: self.count]
            self._data = longer
        self._data[self.count : stop] = values
        self.count = stop

    @property
    def values(self) -> npt.NDArray[Any]:
        """All of them."""
        return self._data[: self.count]


class Names:
    """A column of names as codes; -1 is none."""

    __slots__ = ("_codes", "_places")

    def __init__(self, before: int = 0) -> None:
        self._places: dict[str, int] = {}
        self._codes = Column(np.int32)
        self._codes.extend(np.full(before, -1, np.int32))

    def extend(self, names: Iterable[str]) -> None:
        """Add some; an empty one is none."""
        places = self._places
        self._codes.extend(
            np.array([places.setdefault(name, len(places)) if name else -1 for name in names], np.int32)
        )

    @property
    def distinct(self) -> int:
        """How many different ones there are."""
        return len(self._places)

    def labels(self) -> CategoryColumn:
        """All of them."""
        return CategoryColumn(self._codes.values, tuple(self._places))


class SignalColumns:
    """Columns over the rows of the stream, in its order.

    Attributes:
        verdict: int8, what was decided about each.
        difference: float64, the enhanced portfolio's return at each less that of the primary one, as shares.
        source: who made each.
        regime: position in `REGIMES` of each.
        vectors: what Chroma holds of each.
        texts: the texts among its features, one a line, as of `texts_of`.
    """

    def __init__(self, policy: Policy) -> None:
        self.verdict = Column(np.int8)
        self.difference = Column(np.float64)
        self.source = Names()
        self.regime = Column(np.int32)
        self._categories: dict[str, Names | None] = {}
        self.vectors = SituationVectors()
        self.texts: list[str] = []
        self._both = Ledger(policy), Ledger(policy)

    @property
    def count(self) -> int:
        """Rows so far."""
        return self.verdict.count

    def add(
        self,
        batch: SignalBatch,
        symbol: Int32Array,
        situations: Situations,
        verdict: Int8Array,
        decisions: tuple[Int8Array, Int8Array],
    ) -> None:
        """Take the next n rows in.

        Args:
            batch: the signals.
            symbol: int32[n], codes that stay the same over all calls.
            situations: of them.
            verdict: int8[n].
            decisions: two of int8[n], what the ledgers of the primary and of the enhanced portfolio were told.
        """
        before = self.count
        primary, enhanced = (
            self._returns(ledger, batch, symbol, told)
            for ledger, told in zip(self._both, decisions, strict=True)
        )
        self.difference.extend(enhanced - primary)
        self.source.extend(batch.sources[code] for code in batch.source.tolist())
        self.regime.extend(situations.regime)
        self._take_categories(batch, before)
        self.vectors.add(situations)
        self.texts += texts_of(batch)
        self.verdict.extend(verdict)

    def dimensions(self) -> dict[str, CategoryColumn]:
        """The cohorts that rows belong to, by dimension."""
        found = {"source": self.source.labels(), "regime": CategoryColumn(self.regime.values, REGIMES)}
        for name, names in sorted(self._categories.items()):
            if names is not None:
                found[f"category.{name}"] = names.labels()
        return found

    @staticmethod
    def _returns(ledger: Ledger, batch: SignalBatch, symbol: Int32Array, told: Int8Array) -> Float64Array:
        rows = LedgerRows.empty(len(batch))
        ledger.ensure_symbols(int(symbol.max(initial=-1)) + 1)
        ledger.run(batch.timestamp_us, symbol, told, batch.price, rows, terms=batch.order_terms(told))
        return rows.signal_return

    def _take_categories(self, batch: SignalBatch, before: int) -> None:
        for name in batch.texts:
            self._categories.setdefault(name, Names(before))
        for name, names in self._categories.items():
            if names is None:
                continue
            column = batch.texts.get(name)
            if column is None:
                names.extend([""] * len(batch))
                continue
            if int(np.diff(column.offsets).max(initial=0)) <= LONGEST_LABEL:
                names.extend(text.strip().casefold() for text in column.to_list())
                if names.distinct <= MOST_CATEGORIES:
                    continue
            self._categories[name] = None  # free text: not compared any more


def texts_of(batch: SignalBatch) -> list[str]:
    """The texts among the features of each row, one a line, `comparable`, each up to `LONGEST_TEXT`."""
    columns = [column.to_list() for name, column in sorted(batch.texts.items()) if not is_secret_name(name)]
    if not columns:
        return [""] * len(batch)
    return [_line_of(list(filter(None, row))) for row in zip(*columns, strict=True)]


def _line_of(texts: list[str]) -> str:
    kept = [comparable(text[:LONGEST_TEXT])[:LONGEST_TEXT] for text in texts]
    if sum(map(len, kept)) > LONGEST_ROW:
        share = LONGEST_ROW // len(kept)
        kept = [text[:share] for text in kept]
    return "\n".join(kept)
