"""A column of names, as codes into a list: what cohorts, regimes and categories are written in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Int32Array


@dataclass(frozen=True, slots=True, eq=False)
class CategoryColumn:
    """n names. `codes` is int32[n] into `names`; -1 means that the row has none.

    Raises:
        ValueError: a code points past the names.
    """

    codes: Int32Array
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.codes) and not -1 <= int(self.codes.min()) <= int(self.codes.max()) < len(self.names):
            raise ValueError(
                f"codes from {self.codes.min()} to {self.codes.max()} with {len(self.names)} names; "
                f"expected -1 to {len(self.names) - 1}"
            )

    @classmethod
    def of(cls, texts: Sequence[str]) -> "CategoryColumn":
        """From one name a row, in the order in which they first occur; an empty one is none."""
        places: dict[str, int] = {}
        codes = [places.setdefault(text, len(places)) if text else -1 for text in texts]
        return cls(np.array(codes, np.int32), tuple(places))

    @classmethod
    def same(cls, name: str, n: int) -> "CategoryColumn":
        """The same name n times."""
        return cls(np.zeros(n, np.int32), (name,))

    def __len__(self) -> int:
        return len(self.codes)

    def texts(self) -> list[str]:
        """One name a row, empty where it has none."""
        names = (*self.names, "")  # -1 finds the last
        return [names[code] for code in self.codes.tolist()]

    def counts(self) -> dict[str, int]:
        """How often each name occurs, the most frequent first, then by name; rows without one left out."""
        occurs = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names)).tolist()
        pairs = [(name, count) for name, count in zip(self.names, occurs, strict=True) if count]
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
