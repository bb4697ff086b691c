"""Settled outcomes as the index takes them: a stretch of ordinals, with a vector, a text and some facts each."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import InvalidField

Facts = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Outcomes `start` to `start + n - 1`; `InvalidField` for other lengths, and vectors that are not finite."""

    start: int  # the ordinal of the first one
    vectors: Float32Array  # float32[n, d]
    texts: list[str]  # which can be searched for words
    facts: list[Facts]  # by which can be filtered

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32 or not np.isfinite(self.vectors).all():
            shape = f"{self.vectors.dtype}{list(self.vectors.shape)}"
            raise InvalidField("vectors", shape, "float32[n, d], all of them finite")
        if not len(self.texts) == len(self.facts) == len(self.vectors):
            counts = f"{len(self.texts)} texts and {len(self.facts)} facts"
            raise InvalidField("rows", counts, f"{len(self.vectors)}, one a vector")


class OutcomeRows(Protocol):
    """The settled outcomes, numbered from 0 in the order in which they became known; they never change."""

    def count(self) -> int:
        """How many there are."""
        ...

    def read(self, start: int, stop: int) -> VectorRows:
        """The outcomes from `start` to `stop - 1`; both within `count()`."""
        ...
