"""What a gated decision costs, and what the vector index would: `python -m benchmarks.recall`.

One decision is everything from the signal to the ruling: situation, settlement, exact search of the memory,
statistics, gate. With texts, each signal has four fields of made-up news, 2.6 KB together; with embeddings these
have vectors as a model would give them, on record. The peer is a
filtered query of Chroma for as many neighbours among the same rows; it is approximate, and only a search.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import chromadb
import numpy as np

from benchmarks.figures import Figure
from raysignal.agents.llm.embeddings import DIMENSIONS
from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.text_embeddings import RecordedEmbeddings, key_of
from raysignal.agents.override.texts import Embedder, text_at
from raysignal.agents.warm import warm
from raysignal.data.generator import GeneratorSpec, generate_with_truth
from raysignal.data.texts import FREE_TEXT
from raysignal.engine.core.arrays import Float32Array, UInt64Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.policy import Policy

STORED = 100_000
STREAMS = (1_000, 10_000, 100_000)
_DECISIONS = 500
_QUERIES = 15
_CHUNK = 512
_STORIES = 4_000  # rows of free text that are made, and come again and again
_NUMBERS = ("mvrv_btc_momentum", "spot_volume_daily_sum", "index", "intensity")
_TEXTS = ("sentiment", "dominant_emotions", "dominant_sentiment")


def measure(
    stored: int = STORED, streams: tuple[int, ...] = STREAMS, decisions: int = _DECISIONS
) -> list[Figure]:
    """Milliseconds a decision and a query of the index, signals a second of whole streams."""
    warm()
    # Behind the last that is settled its horizon is open still.
    batch = generated_batch(max(stored + 6 + decisions, *streams))
    learned, asked = stored + 6, stored + 6 + decisions
    agent = Override(_POLICY, AgentRules())
    for part in _parts(batch, 0, learned):
        agent.learn(part)
    known = agent.memory.settled
    singles = [batch.take(np.array([row])) for row in range(learned, asked)]
    spent = _times(agent.take, singles)
    frame = generate_with_truth(GeneratorSpec(rows=_STORIES, seed=3, texts="long"))[0]
    stories = {name: TextColumn.of(frame[name].fillna("")) for name in FREE_TEXT}
    with_texts = _decisions_with_texts(batch, learned, asked, stories, None)
    embedded = _decisions_with_texts(batch, learned, asked, stories, _embeddings(stories))
    index = _times(_index(agent, known), singles[:_QUERIES])
    median = float(np.median(spent))
    what = f"{known:,} settled outcomes"
    figures = [
        _figure(f"a gated decision over {what}, p50", median * 1e3, "ms", 2.0),
        _figure(f"a gated decision over {what}, p99", float(np.quantile(spent, 0.99)) * 1e3, "ms", 10.0),
        _figure("the same with free texts of 2.6 KB, p50", float(np.median(with_texts)) * 1e3, "ms", 2.0),
        _figure(
            "the same with free texts of 2.6 KB, p99", float(np.quantile(with_texts, 0.99)) * 1e3, "ms", 10.0
        ),
        _figure("the same with their embeddings, p50", float(np.median(embedded)) * 1e3, "ms", 2.0),
        _figure("the same with their embeddings, p99", float(np.quantile(embedded, 0.99)) * 1e3, "ms", 10.0),
        _figure(f"Chroma's filtered query over the same, k = {_K}, p50", float(np.median(index)) * 1e3, "ms"),
        Figure("recall", "Chroma's query against the decision", float(np.median(index)) / median, "x"),
    ]
    for rows in streams:
        fresh = Override(_POLICY, AgentRules())
        took = sum(_times(fresh.take, _parts(batch, 0, rows)))
        what = f"a stream of {rows:,} signals, calls of {_CHUNK}"
        figures.append(Figure("recall", what, rows / took, "signals/s"))
    return figures


_POLICY = Policy(side="long-short")
_K = AgentRules().recall.neighbours


def generated_batch(rows: int) -> SignalBatch:
    """Signals with the features of a generated file, free text left out."""
    spec = GeneratorSpec(rows=rows, seed=3, texts="none")
    frame, truth = generate_with_truth(spec)
    return SignalBatch.of(
        timestamp_us=truth.opened_us + spec.bar_us,
        action=frame["Signal"].to_numpy(np.int8),
        price=frame["close"].to_numpy(np.float64),
        symbol=np.zeros(rows, np.int32),
        symbols=spec.symbols,
        source=np.zeros(rows, np.int32),
        sources=("desk",),
        numbers={name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in _NUMBERS},
        texts={
            name: TextColumn.of(text if isinstance(text, str) else None for text in frame[name])
            for name in _TEXTS
        },
    )


def _decisions_with_texts(
    batch: SignalBatch, learned: int, asked: int, stories: Mapping[str, TextColumn], embedder: Embedder | None
) -> list[float]:
    """Seconds of each decision on signals with free texts, after as many that had some, too."""

    def told(part: SignalBatch, start: int) -> SignalBatch:
        rows = np.arange(start, start + len(part)) % _STORIES
        return replace(part, texts=part.texts | {name: column.take(rows) for name, column in stories.items()})

    agent = Override(_POLICY, AgentRules(), embedder=embedder)
    for place, part in enumerate(_parts(batch, 0, learned)):
        agent.learn(told(part, place * _CHUNK))
    return _times(agent.take, [told(batch.take(np.array([row])), row) for row in range(learned, asked)])


def _embeddings(stories: Mapping[str, TextColumn]) -> RecordedEmbeddings:
    """A vector of length 1 for each text, as a model would give; these are drawn."""
    draws = np.random.default_rng(5)
    texts = {text_at(column, row).strip() for column in stories.values() for row in range(_STORIES)}
    vectors = draws.standard_normal((len(texts), DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return RecordedEmbeddings(dict(zip(map(key_of, sorted(texts)), vectors, strict=True)))


def _parts(batch: SignalBatch, start: int, stop: int) -> Iterable[SignalBatch]:
    for at in range(start, stop, _CHUNK):
        yield batch.take(np.arange(at, min(at + _CHUNK, stop)))


def _times(step: Callable[[SignalBatch], object], batches: Iterable[SignalBatch]) -> list[float]:
    """Seconds of each call."""
    spent = []
    for batch in batches:
        began = time.perf_counter()
        step(batch)
        spent.append(time.perf_counter() - began)
    return spent


def _index(agent: Override, known: int) -> Callable[[SignalBatch], object]:
    """A query of a Chroma collection that holds the settled outcomes of a memory, vectors of the same width."""
    memory = agent.memory
    width = len(memory.number_names) + len(memory.label_names)
    vectors = _vectors(memory.numbers, memory.labels)
    collection = chromadb.EphemeralClient().create_collection("outcomes", embedding_function=None)
    at = memory.queue[:known]
    for start in range(0, known, 5_000):
        some = at[start : start + 5_000].tolist()
        collection.add(
            ids=[str(place) for place in some],
            embeddings=vectors[some],
            metadatas=[{"known_at": int(memory.known_at_us[place])} for place in some],
        )
    asked = iter(vectors[memory.count - _QUERIES : memory.count])

    def query(batch: SignalBatch) -> object:
        vector = next(asked)
        assert len(vector) == width
        then: Any = {"known_at": {"$lte": int(batch.timestamp_us[0])}}
        found = collection.query(
            query_embeddings=[vector.tolist()], n_results=_K, where=then, include=["distances"]
        )
        assert found["ids"]
        return found

    return query


def _vectors(numbers: Float32Array, labels: UInt64Array) -> Float32Array:
    """float32[rows, width]: numbers standardised over all rows, of each category a hash of its labels."""
    spread = np.nanstd(numbers, axis=1, keepdims=True)
    standard = np.nan_to_num(
        (numbers - np.nanmean(numbers, axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    )
    marks = (labels % np.uint64(97)).astype(np.float32) / 97.0
    vectors: Float32Array = np.concatenate([standard, marks]).T.astype(np.float32)
    return vectors


def _figure(what: str, value: float, unit: str, target: float | None = None) -> Figure:
    return Figure("recall", what, value, unit, target, "less")


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<70} {found.shown:>18} {found.asked}")
