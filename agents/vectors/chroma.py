"""One Chroma collection; nothing else in this tree imports chromadb.

No embedding function is ever configured, so nothing is downloaded; telemetry is off.
"""

from typing import Any
from urllib.parse import urlsplit

import numpy as np

from raysignal.agents.vectors.rows import Facts
from raysignal.engine.core.arrays import Float32Array

Where = dict[str, Any]
_CONFIGURATION = {"hnsw": {"space": "l2", "ef_construction": 100, "ef_search": 200, "max_neighbors": 16}}


class Chroma:
    """A collection in a directory, in a server at http://host:port, or, at "", in this process."""

    def __init__(self, place: str, name: str) -> None:
        self._client = _client(place)
        self._name = name
        self._collection: Any = None
        self._metadata = {each.name: each.metadata or {} for each in self._client.list_collections()}
        if name in self._metadata:
            self._collection = self._client.get_collection(name, embedding_function=None)

    def mark(self) -> dict[str, Any] | None:
        """What the collection was created with; None without a collection."""
        return None if self._collection is None else dict(self._collection.metadata or {})

    def foreign(self) -> list[str]:
        """The names of the collections that were not made here."""
        return [name for name, mark in self._metadata.items() if not mark.keys() >= {"format", "dimensions"}]

    def create(self, mark: dict[str, Any]) -> None:
        """An empty collection in the place of the present one."""
        if self._collection is not None:
            self._client.delete_collection(self._name)
        self._collection = self._client.create_collection(
            self._name, embedding_function=None, configuration=_CONFIGURATION, metadata=mark
        )

    def count(self) -> int:
        """Outcomes in the collection, if they are those from ordinal 0 on; else -1."""
        ids = self._collection.get(include=[])["ids"]
        return len(ids) if sorted(ids) == _ids(range(len(ids))) else -1

    def write(self, start: int, vectors: Float32Array, texts: list[str], facts: list[Facts]) -> None:
        """Put in outcomes from an ordinal on; those that are there are written over."""
        ids = _ids(range(start, start + len(facts)))
        self._collection.upsert(ids=ids, embeddings=vectors, documents=texts, metadatas=facts)

    def read(self, start: int, stop: int) -> tuple[Float32Array, list[str], list[Facts]]:
        """The outcomes of a stretch that are there, by ordinal."""
        include = ["embeddings", "documents", "metadatas"]
        got = self._collection.get(ids=_ids(range(start, stop)), include=include)
        order = np.argsort(np.array(got["ids"], dtype=np.str_))
        vectors = np.asarray(got["embeddings"], np.float32)[order]
        return vectors, [got["documents"][at] for at in order], [got["metadatas"][at] for at in order]

    def nearest(self, vectors: Float32Array, k: int, where: Where | None) -> list[list[int]]:
        """For each vector the ordinals of up to k outcomes that are near it; the search is approximate."""
        got = self._collection.query(query_embeddings=vectors, n_results=k, where=where, include=[])
        return [[int(id_) for id_ in ids] for ids in got["ids"]]

    def containing(self, words: list[str], where: Where | None) -> list[int]:
        """The ordinals of outcomes whose texts hold all words, as they are written."""
        each: list[Where] = [{"$contains": word} for word in words]
        document = each[0] if len(each) == 1 else {"$and": each}
        got = self._collection.get(where=where, where_document=document, include=[])
        return sorted(int(id_) for id_ in got["ids"])

    def close(self) -> None:
        """Write out what is in memory, and let go."""
        self._client.close()


def _client(place: str) -> Any:
    import chromadb  # noqa: PLC0415 - half a second, which only the child spends
    from chromadb.config import Settings  # noqa: PLC0415

    settings = Settings(anonymized_telemetry=False)
    address = urlsplit(place)
    if address.scheme in {"http", "https"}:
        secure = address.scheme == "https"
        port = address.port or (443 if secure else 80)
        return chromadb.HttpClient(str(address.hostname), port, ssl=secure, settings=settings)
    return chromadb.PersistentClient(place, settings) if place else chromadb.EphemeralClient(settings)


def _ids(ordinals: range) -> list[str]:
    return [f"{ordinal:012d}" for ordinal in ordinals]
