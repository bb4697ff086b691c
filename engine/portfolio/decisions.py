"""What was decided about signals by others than themselves: columns that lie beside a batch.

A portfolio that an agent decides for takes signals in together with what to do with them. The signal stays as
it came, with its identity; the ledger does what was decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import InvalidField

_PLAIN, _FORMAT = 1, 2
_CODEC = "lz4"
SIGNAL = "signal"
"""Who decided where nobody overruled the signal."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions about n signals.

    Attributes:
        action: int8[n], what the ledger is to do: -1, 0, 1 or 2 (CLOSE).
        by: int8[n], positions in `names`.
        names: who decided.
        explanation: n texts, JSON each or empty: why.
    """

    action: Int8Array
    by: Int8Array
    names: tuple[str, ...]
    explanation: TextColumn

    def __post_init__(self) -> None:
        n = len(self.action)
        if not len(self.by) == len(self.explanation) == n:
            raise ValueError(f"columns of {n}, {len(self.by)} and {len(self.explanation)} rows")
        if n and not -1 <= int(self.action.min()) <= int(self.action.max()) <= 2:
            raise InvalidField("decision", int(self.action[np.abs(self.action).argmax()]), "-1, 0, 1 or 2")
        if n and not 0 <= int(self.by.min()) <= int(self.by.max()) < len(self.names):
            raise InvalidField("decided_by", int(self.by.max()), f"a position in {self.names}")

    def __len__(self) -> int:
        return len(self.action)

    @property
    def deciders(self) -> list[str]:
        """Who decided, a name a row."""
        return [self.names[code] for code in self.by.tolist()]

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """The named rows, in that order."""
        at = np.asarray(rows, np.int64)
        return type(self)(self.action[at], self.by[at], self.names, self.explanation.take(at))

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """One or more with the same `names` as one, in their order."""
        return cls(
            np.concatenate([part.action for part in parts]), np.concatenate([part.by for part in parts]),
            parts[0].names, TextColumn.concat([part.explanation for part in parts]),
        )  # fmt: skip

    def encode(self) -> bytes:
        """The bytes that lie in the journal before their batch; the texts packed, as they are much alike."""
        texts: Any = np.ascontiguousarray(self.explanation.data).data
        return msgspec.msgpack.encode(
            (
                _FORMAT, self.action.tobytes(), self.by.tobytes(), self.names,
                pa.Codec(_CODEC).compress(texts, asbytes=True),
                self.explanation.offsets.astype("<i8").tobytes(),
            )
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """What `encode` wrote, or the version before it did; `ValueError` for a later one's."""
        version, action, by, names, texts, offsets = msgspec.msgpack.decode(data)
        if version not in {_PLAIN, _FORMAT}:
            raise ValueError(f"decisions of format {version}, this version reads {_PLAIN} and {_FORMAT}")
        ends = np.frombuffer(offsets, "<i8").astype(np.int64)
        if version == _FORMAT:
            texts = pa.Codec(_CODEC).decompress(
                texts, decompressed_size=int(ends[-1] - ends[0]), asbytes=True
            )
        return cls(
            np.frombuffer(action, np.int8), np.frombuffer(by, np.int8), tuple(names),
            TextColumn(np.frombuffer(texts, np.uint8), ends),
        )  # fmt: skip


def deciders_of(parts: Sequence[tuple[int, Decisions | None]]) -> list[str]:
    """Who decided, over consecutive parts of n rows each; a part without decisions was left to its signals."""
    return [
        name
        for n, decisions in parts
        for name in (decisions.deciders if decisions is not None else [SIGNAL] * n)
    ]


def explanations_of(parts: Sequence[tuple[int, Decisions | None]]) -> TextColumn:
    """The explanations over consecutive parts, empty where there are none."""
    return TextColumn.concat(
        [decisions.explanation if decisions is not None else TextColumn.empty(n) for n, decisions in parts]
    )
