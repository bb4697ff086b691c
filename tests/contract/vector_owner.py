"""Settled outcomes for the tests of the vector index, and a process that owns an index until it is killed.

    python -m tests.contract.vector_owner PLACE NAME COUNT

appends outcomes in small batches, and says how many it has put in, one number a line.
"""

import sys

import numpy as np

from raysignal.agents.vectors import VectorIndex, VectorRows

HOUR_US = 3_600_000_000


class Settled:
    """A truth of `count` outcomes; another seed is another history, and a longer one begins as the shorter."""

    def __init__(self, count: int, *, dimensions: int = 6, seed: int = 1) -> None:
        self.held, self.dimensions, self.seed = count, dimensions, seed

    def count(self) -> int:
        return self.held

    def read(self, start: int, stop: int) -> VectorRows:
        assert 0 <= start <= stop <= self.held
        ordinals = np.arange(start, stop)
        angles = np.outer(ordinals + 1, np.sqrt(np.arange(2, self.dimensions + 2))) * self.seed
        gross = np.sin(ordinals * 1.7 + self.seed) * 40
        return VectorRows(
            start,
            np.sin(angles).astype(np.float32),
            ["" if ordinal % 5 == 0 else f"rates fear {ordinal}" for ordinal in ordinals.tolist()],
            [
                {
                    "signal_id": f"s-{ordinal}",
                    "symbol": "BTC-USD" if ordinal % 2 else "ETH-USD",
                    "side": "BUY" if ordinal % 2 else "SELL",
                    "decided_at_us": ordinal * HOUR_US,
                    "known_at_us": (ordinal + 3) * HOUR_US,
                    "gross_bps": move,
                    "right": move > 0,
                }
                for ordinal, move in zip(ordinals.tolist(), gross.tolist(), strict=True)
            ],
        )


def own(place: str, name: str, count: int) -> None:
    """Append outcome after outcome until somebody ends this."""
    settled = Settled(0)
    index = VectorIndex.open(place, settled, dimensions=settled.dimensions, name=name)
    assert "chromadb" not in sys.modules, "the owner has chromadb in its own process"
    while settled.held < count:
        settled.held = min(settled.held + 40, count)
        assert index.catch_up(), index.status()
        print(settled.held, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    own(sys.argv[1], sys.argv[2], int(sys.argv[3]))
