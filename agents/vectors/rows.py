"""Settled outcomes as the index takes them: a stretch of ordinals, a vector and some facts each."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import InvalidField

Column = Sequence[Any] | np.ndarray[Any, Any]
Facts = dict[str, str | int | float | bool]

KNOWN_AT = "known_at_us"
_ULPS = 1e-15
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Outcomes `start` to `start + n - 1`, as columns.

    Attributes:
        start: the ordinal of the first one.
        vectors: float32[n, d], finite.
        facts: by name one column of n texts, whole numbers, floats or flags: signal_id, symbol, source, action,
            decided_at_us, known_at_us, gross_bps, net_approve_bps, net_flip_bps, right, and short features.
            None, NaN, infinity and "" mean missing, and are left out. `known_at_us` is never missing.

    Raises:
        InvalidField: a column of another length, a vector that is not finite, or no `known_at_us`.
    """

    start: int
    vectors: Float32Array
    facts: Mapping[str, Column]

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InvalidField("start", self.start, "an ordinal, 0 or more")
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            shape = f"{self.vectors.dtype}{list(self.vectors.shape)}"
            raise InvalidField("vectors", shape, "float32[n, d]")
        finite = np.isfinite(self.vectors).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise InvalidField("vectors", self.vectors[row].tolist(), "finite numbers", row=row)
        for name, column in self.facts.items():
            if not _NAME.fullmatch(name):
                raise InvalidField("facts", name, "names of lower-case letters, digits and _")
            if len(column) != len(self):
                raise InvalidField(name, f"{len(column)} values", f"{len(self)}, one a vector")
        if KNOWN_AT not in self.facts:
            raise InvalidField("facts", sorted(self.facts), f"a column {KNOWN_AT}")
        for row, value in enumerate(_values(self.facts[KNOWN_AT])):
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidField(KNOWN_AT, value, "microseconds since 1970", row=row)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def stop(self) -> int:
        """The ordinal behind the last one."""
        return self.start + len(self)

    def part(self, start: int, stop: int) -> "VectorRows":
        """The outcomes from ordinal `start` to `stop - 1`."""
        begin, end = start - self.start, stop - self.start
        facts = {name: column[begin:end] for name, column in self.facts.items()}
        return VectorRows(start, self.vectors[begin:end], facts)

    def metadata(self) -> list[Facts]:
        """The facts of each outcome, without the missing ones, in Chroma's four types."""
        rows: list[Facts] = [{} for _ in range(len(self))]
        for name, column in self.facts.items():
            for row, value in zip(rows, _values(column), strict=True):
                plain = _plain(value)
                if plain is not None:
                    row[name] = plain
        return rows


class OutcomeRows(Protocol):
    """The settled outcomes, numbered from 0 in the order in which they became known; they never change."""

    def count(self) -> int:
        """How many there are."""
        ...

    def digest(self, upto: int) -> str:
        """A digest of the first `upto` outcomes: another history has another one."""
        ...

    def read(self, start: int, stop: int) -> VectorRows:
        """The outcomes from `start` to `stop - 1`; both within `count()`."""
        ...


def same_facts(held: list[Facts], settled: list[Facts]) -> bool:
    """Whether Chroma holds these facts: it writes floats as text and reads them up to 1 ulp off."""
    return held == settled or (len(held) == len(settled) and all(map(_same, held, settled)))


def _same(held: Facts, settled: Facts) -> bool:
    return held.keys() == settled.keys() and all(map(_same_value, map(held.get, settled), settled.values()))


def _same_value(held: Any, settled: Any) -> bool:
    if isinstance(held, float) and isinstance(settled, float):
        return math.isclose(held, settled, rel_tol=_ULPS)
    return bool(held == settled)


def _values(column: Column) -> Sequence[Any]:
    values: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    return values


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):  # a lone surrogate has no UTF-8
        return value.encode("utf-8", "replace").decode() or None
    if isinstance(value, bool | np.bool):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if value is None or not math.isfinite(value):
        return None
    return float(value)
