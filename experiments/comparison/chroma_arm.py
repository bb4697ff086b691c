"""The arm `chroma`: the gate on neighbours that Chroma's own filtered, approximate search picks.

It shows what approximation costs. Chroma holds what the service's index does, the standardised numbers of each settled
signal, and is asked for as many neighbours as the memory takes, filtered by what was known at the signal's instant. The
memory ranks by other distances: numbers and categories, weighed by what has told right from wrong so far. So two shares
are told: of the memory's own neighbours, and of the nearest by the same vectors, which the search alone can miss.
"""

import uuid

import numpy as np

from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.memory import OutcomeMemory
from raysignal.agents.override.situation_vectors import SituationVectors
from raysignal.agents.override.situations import Situations
from raysignal.agents.vectors.chroma import Chroma
from raysignal.agents.vectors.rows import Facts
from raysignal.engine.core.arrays import Int64Array


class ChromaNeighbours:
    """Picks the neighbours of signals in a collection in this process, see `evidence.NeighbourSearch`.

    Attributes:
        shares: of each signal that had neighbours, how many of the nearest by the same vectors were found.
    """

    def __init__(self, recall: RecallOptions) -> None:
        self._recall = recall
        self._vectors = SituationVectors()
        self._chroma = Chroma("", f"arm-{uuid.uuid4().hex}")
        self._chroma.create({"arm": "chroma"})
        self._written = 0
        self._known = 0
        self.shares: list[float] = []

    def __call__(self, memory: OutcomeMemory, situations: Situations) -> Int64Array:
        """The neighbours of the n latest signals of the memory."""
        first = memory.count - len(situations)
        self._vectors.add(situations)
        self._write(memory)
        asked = self._vectors.of(np.arange(first, memory.count))
        found = np.full((len(situations), self._recall.neighbours), -1, np.int64)
        for at, row in enumerate(range(first, memory.count)):
            as_of_us = int(memory.timestamp_us[row])
            while self._known < memory.settled:
                told = memory.queue[self._known]
                if memory.exit[told] > row or memory.known_at_us[told] > as_of_us:
                    break
                self._known += 1
            if memory.action[row] == 0 or self._known == 0:
                continue
            k = self._recall.most(self._known)
            where = {
                "$and": [
                    {"known_at_us": {"$lte": as_of_us}},
                    {"exit": {"$lte": row}},
                    {"place": {"$gte": max(0, row - memory.window)}},
                ]
            }
            (near,) = self._chroma.nearest(asked[at : at + 1], k, where)
            places = np.sort(memory.queue[near])
            found[at, : len(places)] = places
            self._compare(memory, row, near, k)
        return found

    def close(self) -> None:
        """Let go of the collection."""
        self._chroma.close()

    def _write(self, memory: OutcomeMemory) -> None:
        """Put in what is settled, one by one with a search behind each: Chroma puts what it took in since the last
        search into its graph in any order, and the same stream would have other neighbours each time.
        """
        for number in range(self._written, memory.settled):
            at = memory.queue[number : number + 1]
            facts: Facts = {
                "known_at_us": int(memory.known_at_us[at[0]]), "exit": int(memory.exit[at[0]]), "place": int(at[0])
            }  # fmt: skip
            vector = self._vectors.of(at)
            self._chroma.write(number, vector, [""], [facts])
            self._chroma.nearest(vector, 1, None)
        self._written = memory.settled

    def _compare(self, memory: OutcomeMemory, row: int, near: list[int], k: int) -> None:
        """Take the share of the nearest by the same vectors; equally far ones are as good as each other."""
        seen = memory.queue[: self._known]
        seen = seen[seen >= row - memory.window]
        apart = self._vectors.of(seen) - self._vectors.of(np.array([row]))
        squared = np.einsum("ij,ij->i", apart, apart)
        if not len(seen):
            return
        k = min(k, len(seen))
        furthest = np.partition(squared, k - 1)[k - 1]
        own = self._vectors.of(memory.queue[near]) - self._vectors.of(np.array([row]))
        hits = int(np.count_nonzero(np.einsum("ij,ij->i", own, own) <= furthest * (1 + 1e-6)))
        self.shares.append(min(hits, k) / k)


def shares_of(exact: Int64Array, picked: Int64Array) -> list[float]:
    """Of each row that has exact neighbours, the share of them that was picked.

    Args:
        exact: int64[n, k], -1 behind the last.
        picked: int64[n, k], the same.
    """
    rows = zip(exact, picked, strict=True)
    return [float(np.isin(own[own >= 0], other).mean()) for own, other in rows if own[0] >= 0]
