"""Generated questions to the memory, each of whose answers is checked against all outcomes there are.

    python -m tests.support.similar_queries 100000

asks a real Chroma in this process so many, says how many hits there were, and ends with status 1 at the first that
should not have been shown.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.agents.override.follower import Follower
from raysignal.agents.override.outcome_vectors import SettledRows
from raysignal.agents.override.similar import OutcomeFilter, OutcomeIndex, SimilarQuery, find_similar
from raysignal.agents.override.situation_vectors import SLOTS
from raysignal.agents.vectors.chroma import Chroma
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import ChromaUnavailable
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.signals import Action, Signal
from tests.support.enhanced_world import MINUTE, World, live, stream, terms

WORDS = ("fear", "greed", "rates", "halving")


@dataclass(frozen=True, slots=True, repr=False)
class Remembered:
    """What a follower knows: its outcomes, the follower itself, and the signals that it has decided."""

    rows: SettledRows
    follower: Follower
    batch: SignalBatch


def remembered(folder: Path, n: int = 600) -> Remembered:
    """Signals about two symbols with texts, decided by a follower and settled as far as they can be."""
    one, other = stream(n // 2, 1), stream(n - n // 2, 2, symbol="ETH")
    signals = [part.signal(row) for part in (one, other) for row in range(len(part))]
    signals = [
        Signal(
            each.symbol, each.timestamp_us, Action(each.action), each.price, source=each.source,
            features=each.features | {"note": f"{WORDS[at % 4]} and {WORDS[at % 3]} {at}"},
        )
        for at, each in enumerate(signals)
    ]  # fmt: skip
    batch = SignalBatch.of_signals(signals).in_time()
    world, rows = World(folder), SettledRows()

    async def follow() -> Follower:
        world.post(batch)
        follower = await world.begin(terms())
        await live(follower)
        return follower

    follower = asyncio.run(follow())
    rows.follow(follower)
    return Remembered(rows, follower, batch)


class InProcess:
    """A real Chroma collection with all outcomes, in this process."""

    def __init__(self, rows: SettledRows) -> None:
        self._chroma = Chroma("", f"similar-{id(self)}")
        self._chroma.create({"format": 2})
        held = rows.read(0, rows.count())
        self._chroma.write(0, held.vectors, held.texts, held.facts)

    def nearest(self, vector: Any, k: int, where: dict[str, Any]) -> list[int]:
        return self._chroma.nearest(vector[None, :], k, where)[0]

    def containing(self, words: list[str], where: dict[str, Any]) -> list[int]:
        return self._chroma.containing(words, where)

    def rebuild(self, reason: str) -> None:
        raise AssertionError(f"a sound collection was distrusted: {reason}")

    def close(self) -> None:
        self._chroma.close()


class Careless:
    """An index that answers with any outcomes, whatever is asked, some of which there are not."""

    def __init__(self, rows: SettledRows, draws: np.random.Generator) -> None:
        self._count, self._draws = rows.count(), draws
        self.rebuilt = 0

    def nearest(self, _vector: Any, k: int, _where: dict[str, Any]) -> list[int]:
        found: list[int] = self._draws.integers(-1, self._count + 1, min(k, 3)).tolist()
        return found

    def containing(self, words: list[str], where: dict[str, Any]) -> list[int]:
        return self.nearest(words, 3, where)

    def rebuild(self, _reason: str) -> None:
        self.rebuilt += 1


def drawn(known: Remembered, draws: np.random.Generator) -> SimilarQuery:
    """Any question: about a signal, a vector or words; as of any instant from before the first signal on."""
    last = int(known.batch.timestamp_us[-1])
    as_of_us = int(draws.integers(0, last + 10 * MINUTE))

    def some(*values: Any) -> Any:
        return values[draws.integers(len(values))] if draws.random() < 0.3 else None

    start, end = sorted(draws.integers(0, last + MINUTE, 2).tolist())
    fits = OutcomeFilter(
        symbol=some("BTC", "ETH", "SOL"), side=some("BUY", "SELL"), regime=some("unknown", "quiet", "wild"),
        right=some(True, False), start_us=some(start), end_us=some(end + 1),
    )  # fmt: skip
    query = SimilarQuery(as_of_us=as_of_us, fits=fits, k=int(draws.integers(1, 20)))
    kind = draws.integers(3)
    if kind == 0:
        text = " ".join(draws.choice(WORDS, draws.integers(1, 3)))
        return replace(query, text=text.upper())
    signal_id = known.batch.signal_id[int(draws.integers(len(known.batch)))]
    if kind == 1:
        return replace(query, signal_id=signal_id, as_of_us=None if draws.random() < 0.5 else as_of_us)
    return replace(query, signal_id=signal_id, vector=draws.normal(size=SLOTS).astype(np.float32))


def check(known: Remembered, index: OutcomeIndex, query: SimilarQuery) -> int:
    """Ask, and check every hit by the whole list of outcomes; how many there were."""
    found = find_similar(known.rows, index, query)
    as_of_us = parse_instant(found["as_of"])
    if query.as_of_us is not None:
        assert as_of_us == query.as_of_us
    else:
        place = known.batch.signal_id.to_list().index(query.signal_id)
        assert as_of_us == known.batch.timestamp_us[place]
    truth = {facts["signal_id"]: facts for facts in known.rows.read(0, known.rows.count()).facts}
    assert len(found["hits"]) <= query.k
    for hit in found["hits"]:
        facts = truth[hit["signal_id"]]
        assert facts["known_at_us"] <= as_of_us, (hit, found["as_of"])
        assert query.fits.fits(facts, as_of_us), (hit, query)
        assert hit["signal_id"] != query.signal_id or query.text is not None
        assert parse_instant(hit["known_at"]) == facts["known_at_us"]
    return len(found["hits"])


def run(known: Remembered, index: OutcomeIndex, queries: int, draws: np.random.Generator) -> tuple[int, int]:
    """So many questions; how many hits there were, and how many times the index was found out."""
    hits = refused = 0
    for _ in range(queries):
        try:
            hits += check(known, index, drawn(known, draws))
        except ChromaUnavailable:
            refused += 1
    return hits, refused


def main(queries: int, say: Callable[[str], Any] = print) -> None:
    """Half of the questions to a real Chroma, half to one that answers anything."""
    draws, began = np.random.default_rng(7), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        known = remembered(Path(folder))
        with closing(InProcess(known.rows)) as index:
            hits, refused = run(known, index, queries - queries // 2, draws)
        assert refused == 0
        careless = run(known, Careless(known.rows, draws), queries // 2, draws)
    say(
        f"{queries:,d} questions in {time.monotonic() - began:.0f} s: {hits:,d} hits of Chroma and {careless[0]:,d} of "
        f"an index that answers anything (found out {careless[1]:,d} times); none was known after as_of"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
